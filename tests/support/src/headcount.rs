//! Headcount itself, the built program.

use std::process::{ExitStatus, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Process, Usage, command};
use crate::wait::poll_until;
use crate::{free_port, reaper};

/// A daemon that hears its brokers is ready within a second; machines that build beside it are slower.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The contract: after SIGTERM it ends within 10 s. Waited for a little longer: a machine that stands still meanwhile adds that.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// So long may one answer over HTTP take, and one command that asks the daemon. It takes milliseconds, where nothing stalls.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A scrape of many series is larger than what the client takes unless it is told otherwise.
const MAX_ANSWER: u64 = 200 << 20;

/// A running daemon, with its port, its store and its configuration, which outlive it.
#[derive(Debug)]
pub struct Headcount {
    program: String,
    args: Vec<String>,
    port: u16,
    process: Process,
    dir: tempfile::TempDir,
    /// What the environment that it was started with says that it is to be shown.
    token: Option<String>,
}

/// The variable that holds the token.
const TOKEN: &str = "HEADCOUNT__SERVER__TOKEN";

impl Headcount {
    /// Starts it with a configuration, to which the kit adds `[server] listen` and `[store] url`; returns when
    /// `/readyz` says yes. `program` is `env!("CARGO_BIN_EXE_headcount")` of the test.
    pub fn start(program: &str, config: &str) -> Self {
        let headcount = Self::launch(program, config);
        headcount.wait_ready();
        headcount
    }

    /// Starts it with a configuration, and waits only until it serves HTTP: for what cannot become ready.
    pub fn launch(program: &str, config: &str) -> Self {
        let (port, dir) = (free_port(), reaper::directory("daemon"));
        let file = write_config(&dir, port, config);
        Self::run(
            program,
            vec!["run".into(), "--config".into(), file.display().to_string()],
            port,
            dir,
        )
    }

    /// The same, with variables of the environment over it.
    pub fn launch_with(program: &str, config: &str, environment: &[(&str, &str)]) -> Self {
        let (port, dir) = (free_port(), reaper::directory("daemon"));
        let file = write_config(&dir, port, config);
        let args = vec!["run".into(), "--config".into(), file.display().to_string()];
        Self::run_with(program, args, port, dir, environment)
    }

    /// Starts it as `headcount run ARGS`, without a file; port and directory come from the environment.
    pub fn start_with_args(program: &str, args: &[&str]) -> Self {
        let (port, dir) = (free_port(), reaper::directory("daemon"));
        let args = std::iter::once("run")
            .chain(args.iter().copied())
            .map(str::to_owned)
            .collect();
        let headcount = Self::run(program, args, port, dir);
        headcount.wait_ready();
        headcount
    }

    fn run(program: &str, args: Vec<String>, port: u16, dir: tempfile::TempDir) -> Self {
        Self::run_with(program, args, port, dir, &[])
    }

    fn run_with(
        program: &str,
        args: Vec<String>,
        port: u16,
        dir: tempfile::TempDir,
        environment: &[(&str, &str)],
    ) -> Self {
        let process = spawn(program, &args, port, &dir, environment);
        let headcount = Headcount {
            program: program.to_owned(),
            args,
            port,
            process,
            dir,
            token: environment
                .iter()
                .find(|(name, _)| *name == TOKEN)
                .map(|(_, token)| (*token).to_owned()),
        };
        headcount.wait_serving();
        headcount
    }

    fn wait_serving(&self) {
        self.process.wait("an answer over HTTP", READY_WITHIN, || {
            self.try_get("/healthz").map(drop)
        });
    }

    /// Waits until `/readyz` says yes.
    pub fn wait_ready(&self) {
        self.process.wait("a yes from /readyz", READY_WITHIN, || {
            self.try_get("/readyz").filter(|(status, _)| *status == 200).map(drop)
        });
    }

    /// Gives it another configuration, with the same port and store, and tells it to read that (SIGHUP).
    pub fn reconfigure(&self, config: &str) {
        write_config(&self.dir, self.port, config);
        self.process.sighup();
    }

    /// Starts it again with the same configuration, port and store, after its end; returns when it is ready.
    pub fn restart(&mut self) {
        self.process = spawn(&self.program, &self.args, self.port, &self.dir, &[]);
        self.wait_serving();
        self.wait_ready();
    }

    /// Its address, for `--url`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it uses now.
    pub fn usage(&self) -> Usage {
        self.process.usage()
    }

    /// SIGKILL. Returns the moment.
    pub fn sigkill(&self) -> Instant {
        self.process.sigkill()
    }

    /// SIGTERM. Returns how it ended, once it has.
    ///
    /// # Panics
    /// When it has not ended within the time that the contract gives it.
    pub fn sigterm(&self) -> ExitStatus {
        self.process.sigterm();
        self.process.wait_exit(STOP_WITHIN)
    }

    /// Status and body of `GET path`; none when it does not answer.
    pub fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut request = agent().get(format!("{}{path}", self.url()));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().ok()?;
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string()
            .ok()?;
        Some((response.status().as_u16(), body))
    }

    /// The body of `GET path`.
    ///
    /// # Panics
    /// When it is not answered with 200.
    pub fn get_text(&self, path: &str) -> String {
        match self.try_get(path) {
            Some((200, body)) => body,
            other => panic!("GET {path}: {other:?}\n{}", self.process.last_lines()),
        }
    }

    /// The JSON of `GET path`.
    ///
    /// # Panics
    /// When it is not answered with 200 and JSON.
    pub fn get(&self, path: &str) -> Value {
        let body = self.get_text(path);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("GET {path}: not JSON ({error}): {body}"))
    }

    /// The status of `POST path` without a body; none when it does not answer.
    pub fn post(&self, path: &str) -> Option<u16> {
        agent()
            .post(format!("{}{path}", self.url()))
            .send_empty()
            .ok()
            .map(|response| response.status().as_u16())
    }

    /// The sum of all samples of a metric whose labels hold `labels`, such as `broker="main"`; none if there is none.
    pub fn metric(&self, name: &str, labels: &str) -> Option<f64> {
        let text = self.get_text("/metrics");
        let samples: Vec<f64> = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter(|line| line.contains(labels))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!samples.is_empty()).then(|| samples.iter().sum())
    }

    /// The worker as `/api/v1/workers` shows it, if it is known; none also while nobody answers.
    pub fn worker(&self, hostname: &str) -> Option<Value> {
        self.find("/api/v1/workers", |worker| worker["hostname"] == hostname)
    }

    /// The first of a list that matches; none also while nobody answers, as in a reload.
    fn find(&self, path: &str, matches: impl Fn(&Value) -> bool) -> Option<Value> {
        let (_, body) = self.try_get(path)?;
        let list: Vec<Value> = serde_json::from_str(&body).ok()?;
        list.into_iter().find(matches)
    }

    /// Waits until a worker is in a state.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn wait_worker(&self, hostname: &str, state: &str, within: Duration) -> Value {
        self.wait_for(&format!("{hostname} {state}"), within, || {
            self.worker(hostname).filter(|worker| worker["state"] == state)
        })
    }

    /// Waits until a fleet is in a state.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn wait_fleet(&self, fleet: &str, state: &str, within: Duration) -> Value {
        self.wait_for(&format!("fleet {fleet} {state}"), within, || {
            self.find("/api/v1/fleets", |found| {
                found["name"] == fleet && found["state"] == state
            })
        })
    }

    fn wait_for<T>(&self, what: &str, within: Duration, condition: impl FnMut() -> Option<T>) -> T {
        poll_until(within, condition).unwrap_or_else(|| {
            let workers = self
                .try_get("/api/v1/workers")
                .map(|(_, body)| body)
                .unwrap_or_default();
            panic!(
                "headcount: not {what} within {within:?}; workers: {workers}\n{}",
                self.process.last_lines()
            )
        })
    }

    /// Runs another command of the same program against this daemon.
    pub fn ask(&self, args: &[&str]) -> Output {
        let mut args: Vec<&str> = args.to_vec();
        let url = self.url();
        args.extend(["--url", &url]);
        run_once(&self.program, &args, ANSWER_WITHIN)
    }
}

fn spawn(program: &str, args: &[String], port: u16, dir: &tempfile::TempDir, environment: &[(&str, &str)]) -> Process {
    let mut daemon = command(program);
    daemon
        .args(args)
        .current_dir(dir.path())
        .env("HEADCOUNT__SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .envs(environment.iter().copied());
    Process::start("headcount", &mut daemon)
}

/// A client for one request: an answer with any status is an answer.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_WITHIN))
        .build()
        .into()
}

fn write_config(dir: &tempfile::TempDir, port: u16, config: &str) -> std::path::PathBuf {
    let file = dir.path().join("headcount.toml");
    let store = dir.path().join("headcount.db");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n\n[store]\nurl = \"sqlite:{}\"\n\n{config}",
        store.display()
    );
    std::fs::write(&file, text).expect("write the configuration");
    file
}

/// Runs a command to its end, and returns its output.
///
/// # Panics
/// When it has not ended in time.
pub fn run_once(program: &str, args: &[&str], within: Duration) -> Output {
    let process = Process::start(format!("{program} {}", args.join(" ")), command(program).args(args));
    let status = process.wait_exit(within);
    let (stdout, stderr) = process.whole_output();
    Output {
        status,
        stdout: stdout.into_bytes(),
        stderr: stderr.into_bytes(),
    }
}
