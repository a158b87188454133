//! One thread that owns the connection, and a bounded queue of work before it.

use std::panic::AssertUnwindSafe;
use std::thread::JoinHandle;

use headcount_actors::ports::StoreError;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

/// How many calls may wait for the connection; who comes later waits to be let in. A call takes some milliseconds, so a
/// full queue is about a second of work; raising it holds more of what is to be written in memory, for no gain.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to the connection. Dropping it finishes what is queued and closes the file.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(mut db: Connection) -> Result<Self, StoreError> {
        let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                while let Some(job) = jobs.blocking_recv() {
                    // A job that panics rolls its transaction back and fails its caller, nobody else.
                    if std::panic::catch_unwind(AssertUnwindSafe(|| job(&mut db))).is_err() {
                        tracing::error!(
                            panic = true,
                            "a call of the store panicked, which is a mistake in Headcount: it was rolled back, and its caller tries again; please report it"
                        );
                    }
                }
            })
            .map_err(|error| StoreError::Open(format!("cannot start its thread: {error}")))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs `work` in a transaction of its own, and returns when it is on the disk.
    /// It happens as a whole also where the caller ceases to wait.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let ended = || StoreError::Failed("its thread has ended, or the call panicked".to_owned());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            // Nobody waits any more: that is the caller's choice, not an error.
            let _ = answer.send(transact(db, work));
        });
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        queue.send(job).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

fn transact<T>(db: &mut Connection, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let transaction = db.transaction().map_err(failed)?;
    let result = work(&transaction)?;
    transaction.commit().map_err(failed)?;
    Ok(result)
}

/// The database's own words: they name tables and columns at most, never a value.
pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; its disk is full: make room, nothing else needs to be done",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "; see who owns its file and directory",
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => "; see to its disk, whether it is full or broken",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "; its file is damaged: stop Headcount, move it away, and start again"
        }
        _ => "",
    };
    StoreError::Failed(format!("{error}{hint}"))
}

impl Drop for Writer {
    /// Waits for the thread, so that the file is free when the store is gone.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_panics_fails_alone() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (a)").unwrap();
        let writer = Writer::start(db).unwrap();
        let put = |db: &Connection| db.execute("INSERT INTO t VALUES (1)", []).map_err(failed);
        let count = |db: &Connection| {
            db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))
                .map_err(failed)
        };

        let panicked = writer
            .run(move |db| -> Result<(), _> { put(db).map(|_| panic!("on purpose")) })
            .await;
        assert!(panicked.is_err());
        let refused =
            writer.run(move |db| -> Result<(), _> { put(db).and_then(|_| Err(StoreError::Failed("no".into()))) });
        assert!(refused.await.is_err());
        assert_eq!(writer.run(count).await.unwrap(), 0_i64, "both were rolled back");
        writer.run(put).await.unwrap();
        assert_eq!(writer.run(count).await.unwrap(), 1_i64);
    }
}
