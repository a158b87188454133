//! Ends what this process started, when this process goes without having done so itself.
//!
//! A small shell in a process group of its own holds the read end of a pipe. When the pipe closes, because this process
//! returned, panicked, aborted or was killed, the shell kills the process groups that are still on its list and removes
//! the temporary directories. (A parent-death signal would end only the direct child, and would come already when the
//! *thread* that started it ends.)

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};

/// `+ 12` puts a group on the list, `- 12` takes it off, `d /path` names a directory.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
groups=' '
while read -r word rest; do
  case $word in
    +) groups="$groups$rest " ;;
    -) groups="${groups%% "$rest" *} ${groups#* "$rest" }" ;;
    d) set -- "$@" "$rest" ;;
  esac
done
for group in $groups; do kill -9 -"$group"; done
for again in 1 2 4 8; do rm -rf -- "$@" && break; sleep "$again"; done
"#;

static REAPER: LazyLock<Mutex<Reaper>> = LazyLock::new(|| Mutex::new(Reaper::start()));

struct Reaper {
    pipe: ChildStdin,
    groups: Vec<Pid>,
    directories: Vec<std::path::PathBuf>,
}

impl Reaper {
    #[expect(clippy::zombie_processes, reason = "it is there to outlive this process")]
    fn start() -> Self {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "headcount-reaper"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("start /bin/sh");
        let pipe = shell.stdin.take().expect("the pipe was asked for");
        Reaper {
            pipe,
            groups: Vec::new(),
            directories: Vec::new(),
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.pipe, "{line}").expect("the reaper lives as long as we do");
    }
}

fn with<T>(act: impl FnOnce(&mut Reaper) -> T) -> T {
    act(&mut REAPER.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Starts the reaper. Called before anything is started that it may have to end.
pub(crate) fn ready() {
    with(|_| ());
}

/// Puts a process group on the list.
pub(crate) fn watch(group: Pid) {
    with(|reaper| {
        reaper.groups.push(group);
        reaper.say(&format!("+ {}", group.as_raw_nonzero()));
    });
}

/// Takes a process group off the list: all of it has ended.
pub(crate) fn forget(group: Pid) {
    with(|reaper| {
        reaper.groups.retain(|other| *other != group);
        reaper.say(&format!("- {}", group.as_raw_nonzero()));
    });
}

/// A new temporary directory, which goes when this process does, if it is not removed before.
pub(crate) fn directory(name: &str) -> tempfile::TempDir {
    directory_in(&std::env::temp_dir(), name)
}

/// A new directory in another, which goes when this process does, if it is not removed before.
pub(crate) fn directory_in(folder: &Path, name: &str) -> tempfile::TempDir {
    let dir = tempfile::Builder::new()
        .prefix(&format!("headcount-{name}-"))
        .tempdir_in(folder)
        .expect("a temporary directory");
    let path: &Path = dir.path();
    with(|reaper| {
        reaper.directories.push(path.to_owned());
        reaper.say(&format!("d {}", path.display()));
    });
    dir
}

/// Kills at once everything that is still running, and removes its directories: for a program that was told to stop.
pub fn end_everything() {
    with(|reaper| {
        for group in &reaper.groups {
            let _ = kill_process_group(*group, Signal::KILL);
        }
        for group in &reaper.groups {
            // Its leader is our child. Without this it would stay a zombie where the first process reaps nobody.
            let _ = waitpid(Some(*group), WaitOptions::empty());
        }
        for directory in &reaper.directories {
            let _ = std::fs::remove_dir_all(directory);
        }
    });
}
