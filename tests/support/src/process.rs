//! A process in a group of its own, with what it wrote.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::reaper;
use crate::wait::poll_until;

/// So long may a killed process take to be gone; only an uninterruptible wait in the kernel takes that long.
const KILL_WITHIN: Duration = Duration::from_secs(20);

/// So many of its last lines are shown when a process disappoints.
const LAST_LINES: usize = 40;

/// A child process, leader of its own group. Dropping it kills the whole group.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    /// It has been waited for, and its group killed: its number may belong to somebody else by now.
    gone: AtomicBool,
    out: Lines,
    err: Lines,
}

/// What a process uses, from `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub rss_kb: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub files: usize,
}

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Collected>);

#[derive(Debug, Default)]
struct Collected {
    lines: Mutex<Vec<String>>,
    /// Everybody who could write has closed it.
    complete: AtomicBool,
}

impl Lines {
    fn collect(from: impl Read + Send + 'static) -> Self {
        let lines = Lines::default();
        let into = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                into.get().push(String::from_utf8_lossy(&line).into_owned());
            }
            into.0.complete.store(true, Ordering::Release);
        });
        lines
    }

    fn get(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts `command` in a group of its own, without standard input, its output kept.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: impl Into<String>, command: &mut Command) -> Self {
        reaper::ready();
        let name = name.into();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: cannot start {:?}: {error}", command.get_program()));
        let pid = Pid::from_child(&child);
        reaper::watch(pid);
        let out = Lines::collect(child.stdout.take().expect("asked for"));
        let err = Lines::collect(child.stderr.take().expect("asked for"));
        Process {
            name,
            pid,
            child: Mutex::new(child),
            gone: AtomicBool::new(false),
            out,
            err,
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process id, which is also that of its group.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The lines of its standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.out.get().clone()
    }

    /// The lines of its standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.err.get().clone()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("a child can be waited for")
    }

    /// Waits until a line of its output holds `part`, and returns that line.
    ///
    /// # Panics
    /// When it ends before, or the time is over.
    pub fn wait_line(&self, part: &str, within: Duration) -> String {
        self.wait(&format!("a line with `{part}`"), within, || {
            let found = |lines: &Lines| lines.get().iter().find(|line| line.contains(part)).cloned();
            found(&self.out).or_else(|| found(&self.err))
        })
    }

    /// Waits until `condition` gives something.
    ///
    /// # Panics
    /// When the process ends before, or the time is over; with its last lines.
    pub fn wait<T>(&self, what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
        let found = poll_until(within, || {
            let ended = self.ended();
            match condition() {
                Some(found) => Some(Ok(found)),
                None => ended.map(Err),
            }
        });
        match found {
            Some(Ok(found)) => found,
            Some(Err(status)) => panic!("{}: ended ({status}) before {what}\n{}", self.name, self.last_lines()),
            None => panic!("{}: no {what} within {within:?}\n{}", self.name, self.last_lines()),
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it has not ended in time.
    pub fn wait_exit(&self, within: Duration) -> ExitStatus {
        let status = poll_until(within, || self.ended())
            .unwrap_or_else(|| panic!("{}: has not ended within {within:?}\n{}", self.name, self.last_lines()));
        // What of its group has outlived it goes too, or it would hold ports and connections.
        if !self.gone.swap(true, Ordering::Relaxed) {
            let _ = kill_process_group(self.pid, Signal::KILL);
            reaper::forget(self.pid);
        }
        // Nobody is left to write, so what it said last is read soon.
        for lines in [&self.out, &self.err] {
            poll_until(KILL_WITHIN, || lines.0.complete.load(Ordering::Acquire).then_some(()));
        }
        status
    }

    /// All that it wrote to standard output and standard error, after its end.
    pub(crate) fn whole_output(&self) -> (String, String) {
        let whole = |lines: &Lines| {
            poll_until(KILL_WITHIN, || lines.0.complete.load(Ordering::Acquire).then_some(()));
            lines.get().iter().map(|line| format!("{line}\n")).collect()
        };
        (whole(&self.out), whole(&self.err))
    }

    /// The end of what it wrote, for a person who wants to know what went wrong.
    pub fn last_lines(&self) -> String {
        let last = |title: &str, lines: &Lines| {
            let lines = lines.get();
            let from = lines.len().saturating_sub(LAST_LINES);
            let shown: String = lines.iter().skip(from).map(|line| format!("    {line}\n")).collect();
            if shown.is_empty() {
                String::new()
            } else {
                format!("  {} {title}:\n{shown}", self.name)
            }
        };
        last("standard output", &self.out) + &last("standard error", &self.err)
    }

    /// Sends a signal to the process alone. Returns the moment.
    pub(crate) fn signal(&self, signal: Signal) -> Instant {
        let now = Instant::now();
        let child = self.child();
        // Under the lock nobody can have waited for it in between, so the pid is still its own.
        kill_process(Pid::from_child(&child), signal)
            .unwrap_or_else(|error| panic!("{}: cannot signal: {error}", self.name));
        now
    }

    /// Sends a signal to the whole group. Returns the moment.
    pub(crate) fn signal_group(&self, signal: Signal) -> Instant {
        let now = Instant::now();
        kill_process_group(self.pid, signal).unwrap_or_else(|error| panic!("{}: cannot signal: {error}", self.name));
        now
    }

    /// SIGKILL to the whole group; returns the moment of the signal, when the process is gone.
    pub fn sigkill(&self) -> Instant {
        let at = self.signal_group(Signal::KILL);
        self.wait_exit(KILL_WITHIN);
        at
    }

    /// SIGKILL to the groups of all of these at once; returns the moment of the first, when all are gone.
    pub(crate) fn sigkill_together<'p>(processes: impl Iterator<Item = &'p Process>) -> Instant {
        let killed: Vec<_> = processes
            .map(|process| (process, process.signal_group(Signal::KILL)))
            .collect();
        for (process, _) in &killed {
            process.wait_exit(KILL_WITHIN);
        }
        killed.first().expect("somebody is killed").1
    }

    /// SIGTERM to the process alone. Returns the moment.
    pub fn sigterm(&self) -> Instant {
        self.signal(Signal::TERM)
    }

    /// SIGSTOP to the whole group. Returns the moment.
    pub fn sigstop(&self) -> Instant {
        self.signal_group(Signal::STOP)
    }

    /// SIGCONT to the whole group. Returns the moment.
    pub fn sigcont(&self) -> Instant {
        self.signal_group(Signal::CONT)
    }

    /// SIGHUP to the process alone. Returns the moment.
    pub fn sighup(&self) -> Instant {
        self.signal(Signal::HUP)
    }

    /// The most memory that it has had resident so far, in KiB; none once it has ended.
    pub fn peak_kb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// What it uses now.
    ///
    /// # Panics
    /// When it is not there any more.
    pub fn usage(&self) -> Usage {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .unwrap_or_else(|error| panic!("{}: not running: {error}\n{}", self.name, self.last_lines()));
        let number = |key: &str| {
            let line = status
                .lines()
                .find(|line| line.starts_with(key))
                .expect("the kernel tells it");
            line.split_whitespace()
                .nth(1)
                .and_then(|word| word.parse().ok())
                .expect("a number")
        };
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count);
        Usage {
            rss_kb: number("VmRSS:"),
            threads: number("Threads:"),
            files,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !*self.gone.get_mut() {
            let _ = kill_process_group(self.pid, Signal::KILL);
            // Killed, so this does not wait long; afterwards the pid may be used again, so the reaper must not know it.
            let _ = self.child().wait();
            reaper::forget(self.pid);
        }
    }
}

/// A command with an environment that does not depend on who runs the tests.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C.UTF-8")
        .env("PYTHONUNBUFFERED", "1")
        .env_remove("PYTHONPATH");
    command
}
