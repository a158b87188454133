//! A Redis of one's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::process::{Process, command};
use crate::{free_port, reaper};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// It answers in microseconds, and later on a machine that stalls: only one that is gone never does.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A real Redis on a free port of loopback, without persistence. One for each scenario is cheap (0.04 s), and keeps its
/// list of connections free of other scenarios' workers.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    password: Option<String>,
    process: Process,
    dir: tempfile::TempDir,
}

impl Redis {
    /// Starts one, and returns when it answers.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts one that wants a password.
    pub fn start_with_password(password: &str) -> Self {
        Self::start_with(Some(password.to_owned()))
    }

    fn start_with(password: Option<String>) -> Self {
        let (port, dir) = (free_port(), reaper::directory("redis"));
        let process = Self::launch(port, password.as_deref(), dir.path());
        Redis {
            port,
            password,
            process,
            dir,
        }
    }

    fn launch(port: u16, password: Option<&str>, dir: &std::path::Path) -> Process {
        let mut redis = command("redis-server");
        redis.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ]);
        redis.arg(dir);
        if let Some(password) = password {
            redis.args(["--requirepass", password]);
        }
        let process = Process::start(format!("redis:{port}"), &mut redis);
        process.wait("an answer", READY_WITHIN, || answers(port).then_some(()));
        process
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, as Celery and Headcount read it.
    pub fn url(&self) -> String {
        let user = self
            .password
            .as_ref()
            .map(|password| format!(":{password}@"))
            .unwrap_or_default();
        format!("redis://{user}127.0.0.1:{}/0", self.port)
    }

    /// Tells it something, as `redis-cli` would.
    pub fn tell(&self, command: &str) {
        let tell = || -> std::io::Result<[u8; 3]> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            stream.write_all(format!("{command}\r\n").as_bytes())?;
            let mut answer = [0; 3];
            stream.read_exact(&mut answer)?;
            Ok(answer)
        };
        let answer = tell().expect("Redis answers");
        assert_eq!(&answer, b"+OK", "{command}");
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL. Returns the moment.
    pub fn kill(&self) -> Instant {
        self.process.sigkill()
    }

    /// Starts it again, after [`Redis::kill`], on the same port. What it held is gone. Returns when it answers.
    pub fn restart(&mut self) {
        self.process = Self::launch(self.port, self.password.as_deref(), self.dir.path());
    }

    /// SIGSTOP: connections stay, and nothing answers.
    pub fn pause(&self) -> Instant {
        self.process.sigstop()
    }

    /// SIGCONT.
    pub fn resume(&self) -> Instant {
        self.process.sigcont()
    }
}

/// Whether a Redis listens there; one that wants a password says so, which is an answer too.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut first = [0; 5];
        stream.read_exact(&mut first)?;
        Ok(&first == b"+PONG" || &first == b"-NOAU")
    };
    ask().unwrap_or(false)
}
