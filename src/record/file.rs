//! The file of a trace, and the thread that writes it: a slow disk must hold up nobody who listens.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use headcount_simulate::trace::{self, Frame};
use thiserror::Error;
use tokio::sync::oneshot;

use super::tape::Tape;

/// How often what was recorded is written and made durable: with the time that the disk takes, a crash costs the last
/// second at most. Raising it packs a little better, and costs more.
const WRITE_EVERY: Duration = Duration::from_millis(700);

/// Why a trace could not be written.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    /// There is something already.
    #[error("{} exists already; --force overwrites it", .0.display())]
    Exists(PathBuf),
    /// Another recorder writes it.
    #[error("cannot write {}: another `headcount record` is writing it", .0.display())]
    InUse(PathBuf),
    /// What was recorded went to a file that has no name any more.
    #[error("{} is gone: it was deleted or moved while it was written", .0.display())]
    Gone(PathBuf),
    /// The system refused.
    #[error("cannot write {}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The disk does not keep up.
    #[error("cannot write {} as fast as events come: the recording ends here", .0.display())]
    TooSlow(PathBuf),
}

/// A trace's file, with its head in it.
#[derive(Debug)]
pub(crate) struct TraceFile {
    path: PathBuf,
    file: File,
    /// How many bytes of it are whole frames.
    length: u64,
}

impl TraceFile {
    /// Makes it. One that is there is left alone, unless it may be overwritten.
    pub(crate) fn create(path: &Path, overwrite: bool) -> Result<Self, WriteError> {
        let mut options = OpenOptions::new();
        options.write(true);
        if overwrite {
            // Emptied once it is certain that nobody writes it.
            options.create(true).truncate(false);
        } else {
            options.create_new(true);
        }
        let path = path.to_path_buf();
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(WriteError::Exists(path)),
            Err(error) => return Err(WriteError::Io { path, error }),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WriteError::InUse(path)),
            // A file system without locks is no reason not to record.
            Err(TryLockError::Error(_)) => {}
        }
        match file.set_len(0) {
            Ok(()) => {}
            // A pipe or a device has no length.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => return Err(WriteError::Io { path, error }),
        }
        let mut trace = Self { path, file, length: 0 };
        trace.append(&trace::HEAD)?;
        trace.sync_folder();
        Ok(trace)
    }

    /// Writes frames, and returns when they are durable. After an error only whole frames stay.
    fn write(&mut self, frames: &[Frame]) -> Result<(), WriteError> {
        let packed: Vec<u8> = frames.iter().flat_map(|frame| frame.pack()).collect();
        if packed.is_empty() {
            return Ok(());
        }
        self.append(&packed)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let written = self.file.write_all(bytes).and_then(|()| match self.file.sync_data() {
            // A pipe or a device has nothing to make durable.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        });
        match written {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a frame would be read as a torn one, so this need not succeed.
                let _ = self.file.set_len(self.length);
                let path = self.path.clone();
                Err(WriteError::Io { path, error })
            }
        }
    }

    /// Whoever deletes or moves the file does not stop the writing: it ends well, and nothing is where it was to be.
    fn is_there(&self) -> bool {
        let identity = |data: std::fs::Metadata| (data.dev(), data.ino());
        let (own, named) = (self.file.metadata(), std::fs::metadata(&self.path));
        matches!((own.map(identity), named.map(identity)), (Ok(own), Ok(named)) if own == named)
    }

    /// A new name, too, is only durable once its folder is; where that cannot be done, the file is there all the same.
    fn sync_folder(&self) {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
            let _ = folder.sync_all();
        }
    }
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Writing {
    /// Comes when it had to end.
    pub(crate) failed: oneshot::Receiver<()>,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<u64, WriteError>>,
}

impl Writing {
    /// Begins to write what is on the tape.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(tape: Tape, file: TraceFile) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (fail, failed) = oneshot::channel();
        let write = move || {
            let written = write(&tape, file, &stopped);
            if written.is_err() {
                // Who does not wait for it any more is about to ask how it ended.
                let _ = fail.send(());
            }
            written
        };
        let thread = std::thread::Builder::new().name("trace".to_owned()).spawn(write)?;
        Ok(Self { failed, stop, thread })
    }

    /// Writes the rest, and returns how long the file is.
    pub(crate) fn finish(self) -> Result<u64, WriteError> {
        drop(self.stop);
        match self.thread.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write(tape: &Tape, mut file: TraceFile, stopped: &mpsc::Receiver<()>) -> Result<u64, WriteError> {
    loop {
        let last = !matches!(stopped.recv_timeout(WRITE_EVERY), Err(RecvTimeoutError::Timeout));
        let taken = tape.take();
        file.write(&taken.frames)?;
        if taken.full {
            return Err(WriteError::TooSlow(file.path));
        }
        if last {
            return if file.is_there() {
                Ok(file.length)
            } else {
                Err(WriteError::Gone(file.path))
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use headcount_simulate::trace::{Ending, Reader, Record};

    use super::*;

    fn records(path: &Path) -> (u64, Ending) {
        let mut reader = Reader::new(File::open(path).unwrap()).unwrap();
        let mut count = 0;
        while reader.next().unwrap().is_some() {
            count += 1;
        }
        (count, reader.ending())
    }

    #[test]
    fn what_is_on_the_tape_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.trace");
        let tape = Tape::default();
        let writing = Writing::start(tape.clone(), TraceFile::create(&path, false).unwrap()).unwrap();
        for _ in 0..5 {
            tape.write(&Record::Tick);
        }
        tape.write(&Record::End);
        let length = writing.finish().unwrap();
        assert_eq!(length, std::fs::metadata(&path).unwrap().len());
        assert_eq!(records(&path), (6, Ending::Whole));
    }

    #[test]
    fn a_tape_that_overflows_is_written_to_where_it_did() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.trace");
        let tape = Tape::default();
        // Nobody takes anything away meanwhile.
        let why = "x".repeat(1_000);
        let left_out_from = (0..200_000).find(|_| {
            tape.write(&Record::Ended(why.as_str().into()));
            tape.is_full()
        });
        let writing = Writing::start(tape, TraceFile::create(&path, false).unwrap()).unwrap();
        let error = writing.finish().unwrap_err();
        assert!(matches!(error, WriteError::TooSlow(_)), "{error}");
        assert_eq!(records(&path), (left_out_from.unwrap(), Ending::CutOff));
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.trace");
        std::fs::write(&path, "precious").unwrap();
        let refused = TraceFile::create(&path, false).unwrap_err().to_string();
        assert!(refused.contains("a.trace exists already"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        TraceFile::create(&path, true).unwrap();
        assert_eq!(records(&path), (0, Ending::CutOff));
    }

    #[test]
    fn a_file_that_another_recorder_writes_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.trace");
        let first = TraceFile::create(&path, false).unwrap();
        let refused = TraceFile::create(&path, true).unwrap_err();
        assert!(matches!(refused, WriteError::InUse(_)), "{refused}");
        assert_eq!(records(&path), (0, Ending::CutOff), "its head is still there");
        drop(first);
        TraceFile::create(&path, true).unwrap();
    }

    #[test]
    fn a_file_that_was_deleted_or_replaced_meanwhile_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.trace");
        for replaced in [false, true] {
            let writing = Writing::start(Tape::default(), TraceFile::create(&path, true).unwrap()).unwrap();
            std::fs::remove_file(&path).unwrap();
            if replaced {
                std::fs::write(&path, "another's").unwrap();
            }
            let error = writing.finish().unwrap_err();
            assert!(matches!(error, WriteError::Gone(_)), "{error}");
        }
    }

    #[test]
    fn a_full_disk_is_told_with_the_name_of_the_file() {
        let error = TraceFile::create(Path::new("/dev/full"), true).unwrap_err().to_string();
        assert!(
            error.contains("/dev/full") && error.contains("No space left"),
            "{error}"
        );
    }
}
