//! Real Celery workers.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Process, command};
use crate::reaper;

/// A worker takes 1 to 2 s of processor time to start; several of them beside a compiler take their time.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// A script starts as a worker does, and then waits for what its tasks do.
const SCRIPT_WITHIN: Duration = Duration::from_secs(240);

/// The root of this repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate is in tests/support")
        .to_owned()
}

/// The Python that has Celery: `HEADCOUNT_TEST_PYTHON`, or the one that `scripts/install.sh` made.
///
/// # Panics
/// When there is none.
pub fn python() -> PathBuf {
    let python = std::env::var_os("HEADCOUNT_TEST_PYTHON")
        .map_or_else(|| repository().join(".cache/venv/bin/python"), PathBuf::from);
    assert!(
        python.exists(),
        "no Python with Celery at {}: run scripts/install.sh",
        python.display()
    );
    python
}

/// How a worker runs its tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pool {
    /// Child processes, Celery's default.
    Prefork,
    /// In the main thread, one at a time: no heartbeat, no answer meanwhile.
    Solo,
    /// Threads. The default here: one process, and it starts quickest.
    #[default]
    Threads,
    /// Green threads.
    Gevent,
}

/// What is not the same for each worker.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// How it runs tasks.
    pub pool: Pool,
    /// How many at once.
    pub concurrency: u32,
    /// Its queues; none of them: the fleet's name, which is the part of the node name before the `@`.
    pub queues: Vec<String>,
    /// Whether it sends task events (`-E`).
    pub events: bool,
    /// Further arguments of `celery worker`.
    pub extra: Vec<String>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        WorkerOptions {
            pool: Pool::default(),
            concurrency: 2,
            queues: Vec::new(),
            events: true,
            extra: Vec::new(),
        }
    }
}

/// A real Celery worker.
#[derive(Debug)]
pub struct Worker {
    broker_url: String,
    hostname: String,
    options: WorkerOptions,
    process: Process,
    /// For what a killed worker's Python leaves in its temporary directory.
    temporary: tempfile::TempDir,
}

impl Worker {
    /// Starts one and returns when it says that it is ready.
    pub fn start(broker_url: &str, hostname: &str, options: WorkerOptions) -> Self {
        let worker = Self::launch(broker_url, hostname, options);
        worker.wait_ready();
        worker
    }

    /// Starts several at once, and returns when all are ready.
    pub fn start_all(broker_url: &str, hostnames: &[&str], options: &WorkerOptions) -> Vec<Self> {
        let workers: Vec<Self> = hostnames
            .iter()
            .map(|hostname| Self::launch(broker_url, hostname, options.clone()))
            .collect();
        workers.iter().for_each(Worker::wait_ready);
        workers
    }

    /// Starts one and does not wait for it.
    pub fn launch(broker_url: &str, hostname: &str, options: WorkerOptions) -> Self {
        let temporary = reaper::directory("worker");
        let process = spawn(broker_url, hostname, &options, temporary.path());
        Worker {
            broker_url: broker_url.to_owned(),
            hostname: hostname.to_owned(),
            options,
            process,
            temporary,
        }
    }

    /// Waits until it says that it is ready, which is after its `worker-online`.
    pub fn wait_ready(&self) {
        self.process.wait_line(" ready.", READY_WITHIN);
    }

    /// Starts it again under the same name, after its end; returns when it is ready, with the moment at which it was.
    pub fn restart(&mut self) -> Instant {
        self.relaunch();
        self.wait_ready();
        Instant::now()
    }

    /// Starts it again under the same name, after its end, without waiting.
    pub fn relaunch(&mut self) {
        self.process = spawn(&self.broker_url, &self.hostname, &self.options, self.temporary.path());
    }

    /// Its whole node name.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Its main process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL to the main process and its children. Returns the moment.
    pub fn sigkill(&self) -> Instant {
        self.process.sigkill()
    }

    /// SIGKILL to all of these at once: each is signalled before any is waited for, so that nothing comes in between. Returns the
    /// moment of the first.
    pub fn sigkill_together<'w>(workers: impl IntoIterator<Item = &'w Worker>) -> Instant {
        Process::sigkill_together(workers.into_iter().map(Worker::process))
    }

    /// SIGSTOP to the main process and its children. Returns the moment.
    pub fn sigstop(&self) -> Instant {
        self.process.sigstop()
    }

    /// SIGCONT to the main process and its children. Returns the moment.
    pub fn sigcont(&self) -> Instant {
        self.process.sigcont()
    }

    /// SIGTERM to the main process: it finishes what it runs, says goodbye and ends. Returns how, when it has.
    pub fn warm_shutdown(&self, within: Duration) -> ExitStatus {
        self.process.sigterm();
        self.process.wait_exit(within)
    }

    /// Waits until its log says that it has received `count` tasks since its start.
    pub fn wait_received(&self, count: usize, within: Duration) {
        self.process.wait(&format!("{count} received tasks"), within, || {
            let received = |lines: Vec<String>| lines.iter().filter(|line| line.contains("] received")).count();
            (received(self.process.stderr()) + received(self.process.stdout()) >= count).then_some(())
        });
    }
}

fn spawn(broker_url: &str, hostname: &str, options: &WorkerOptions, temporary: &Path) -> Process {
    let pool = match options.pool {
        Pool::Prefork => "prefork",
        Pool::Solo => "solo",
        Pool::Threads => "threads",
        Pool::Gevent => "gevent",
    };
    let queues = if options.queues.is_empty() {
        hostname.split('@').next().unwrap_or(hostname).to_owned()
    } else {
        options.queues.join(",")
    };
    let mut celery = celery_command(broker_url);
    celery.args([
        "-m",
        "celery",
        "-A",
        "app",
        "worker",
        "--loglevel",
        "INFO",
        "--pool",
        pool,
    ]);
    celery.args(["-n", hostname, "-Q", &queues, "-c", &options.concurrency.to_string()]);
    if options.events {
        celery.arg("-E");
    }
    celery.args(&options.extra).env("TMPDIR", temporary);
    Process::start(hostname, &mut celery)
}

/// Sends tasks, each as (queue, task, arguments), and returns when the broker has them.
///
/// # Panics
/// When they could not be sent.
pub fn send_tasks(broker_url: &str, tasks: &[(&str, &str, Value)]) {
    let tasks = serde_json::to_string(tasks).expect("it is JSON");
    let process = Process::start("send.py", celery_command(broker_url).args(["send.py", &tasks]));
    let status = process.wait_exit(READY_WITHIN);
    assert!(status.success(), "send.py: {status}\n{}", process.last_lines());
}

/// Starts a script of `tests/apps`, with these arguments.
pub fn start_script(broker_url: &str, script: &str, arguments: &[&str]) -> Process {
    Process::start(script, celery_command(broker_url).arg(script).args(arguments))
}

/// Runs a script of `tests/apps` to its end. Returns what it printed last, read as JSON; null if it printed nothing.
///
/// # Panics
/// When it failed.
pub fn run_script(broker_url: &str, script: &str, arguments: &[&str]) -> Value {
    let process = start_script(broker_url, script, arguments);
    finish_script(&process)
}

/// Waits for the end of a script; see [`run_script`].
///
/// # Panics
/// When it failed.
pub fn finish_script(process: &Process) -> Value {
    let status = process.wait_exit(SCRIPT_WITHIN);
    assert!(status.success(), "{status}\n{}", process.last_lines());
    let last = process.stdout().pop();
    last.map_or(Value::Null, |line| serde_json::from_str(&line).expect("it prints JSON"))
}

/// Runs `celery -A app ARGUMENTS` to its end. Returns its exit code and all that it printed on standard output.
pub fn celery(broker_url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut celery = celery_command(broker_url);
    celery.args(["-m", "celery", "-A", "app"]).args(arguments);
    let process = Process::start("celery", &mut celery);
    let status = process.wait_exit(READY_WITHIN);
    (status.code(), process.stdout().join("\n"))
}

/// Gives one worker a command of Celery's remote control, such as `cancel_consumer` with `{"queue": "sms"}`, and returns when
/// it has done so.
///
/// # Panics
/// When it did not answer, or refused.
pub fn control(broker_url: &str, hostname: &str, method: &str, arguments: &Value) {
    let mut celery = celery_command(broker_url);
    celery.args(["control.py", broker_url, hostname, method, &arguments.to_string()]);
    let process = Process::start("control.py", &mut celery);
    let status = process.wait_exit(READY_WITHIN);
    assert!(
        status.success(),
        "{method} at {hostname}: {status}\n{}",
        process.last_lines()
    );
}

/// A Python for the application of the tests.
pub(crate) fn celery_command(broker_url: &str) -> std::process::Command {
    let mut celery = command(python());
    celery
        .current_dir(repository().join("tests/apps"))
        .env("HEADCOUNT_TEST_BROKER", broker_url)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Tests may run as root; the messages are JSON, so that this is not dangerous.
        .env("C_FORCE_ROOT", "1");
    celery
}
