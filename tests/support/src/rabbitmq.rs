//! A RabbitMQ of one's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Process, command};
use crate::wait::poll_until;
use crate::{free_port, reaper};

/// The start takes 12 s on two busy cores, and several times that when everything else is being built meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(240);

/// Debian's own script. The one in `/usr/sbin` changes the user and loses the environment.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// Its tool, beside it for the same reason.
const TOOL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// A real RabbitMQ on a free port of loopback, with its own epmd and its own data. As its start is slow, share one among
/// scenarios, each on a virtual host of its own.
#[derive(Debug)]
pub struct RabbitMq {
    ports: Ports,
    process: Process,
    // Before `dir`, so that it ends before its directory goes; after `process`, which talks to it.
    _epmd: Process,
    dir: tempfile::TempDir,
}

/// A queue as RabbitMQ counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Messages that wait in it.
    pub ready: usize,
    /// Messages that a consumer has, and has not acknowledged.
    pub unacknowledged: usize,
}

impl Queue {
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let name = fields.next()?.to_owned();
        let mut count = || fields.next()?.trim().parse().ok();
        let (ready, unacknowledged) = (count()?, count()?);
        Some(Queue {
            name,
            ready,
            unacknowledged,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    amqp: u16,
    distribution: u16,
    epmd: u16,
}

impl RabbitMq {
    /// Starts one with the virtual host `/` alone, and returns when it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further virtual hosts, and returns when it answers.
    pub fn start_with(vhosts: &[&str]) -> Self {
        let (epmd, epmd_port) = start_epmd();
        let ports = Ports {
            amqp: free_port(),
            distribution: free_port(),
            epmd: epmd_port,
        };
        let dir = reaper::directory("rabbitmq");
        write_configuration(dir.path(), vhosts).expect("write RabbitMQ's configuration");
        let process = launch(ports, dir.path());
        RabbitMq {
            ports,
            process,
            _epmd: epmd,
            dir,
        }
    }

    /// Its AMQP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// The URL of the virtual host `/`, as Celery and Headcount read it.
    pub fn url(&self) -> String {
        self.vhost_url("/")
    }

    /// The URL of one of its virtual hosts.
    pub fn vhost_url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.ports.amqp)
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// All queues of the virtual host `/` as the server itself counts them.
    ///
    /// # Panics
    /// When the server's own tool cannot ask it.
    pub fn queues(&self) -> Vec<Queue> {
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        let text = self.tool(&[&["list_queues", "--no-table-headers"], columns.as_slice()].concat());
        text.lines().filter_map(Queue::read).collect()
    }

    /// Blocks all who publish, as a server that is short of memory does, or lets them go on.
    ///
    /// # Panics
    /// When the server's own tool cannot do it.
    pub fn block_publishers(&self, block: bool) {
        let watermark = if block { "0.000001" } else { "0.6" };
        self.tool(&["set_vm_memory_high_watermark", watermark]);
    }

    /// What is rejected in queues whose names match goes to this exchange: by a policy, which changes no queue's arguments.
    ///
    /// # Panics
    /// When the server's own tool cannot do it.
    pub fn dead_letters(&self, pattern: &str, exchange: &str) {
        let policy = format!("{{\"dead-letter-exchange\":\"{exchange}\"}}");
        self.tool(&["set_policy", "--apply-to", "queues", "dead-letters", pattern, &policy]);
    }

    /// How many lines of its log hold this.
    pub fn logged(&self, part: &str) -> usize {
        let files = std::fs::read_dir(self.dir.path().join("log"))
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter_map(|file| std::fs::read_to_string(file.path()).ok())
            .map(|text| text.lines().filter(|line| line.contains(part)).count())
            .sum()
    }

    fn tool(&self, arguments: &[&str]) -> String {
        let mut tool = command(TOOL);
        settings(&mut tool, self.ports, self.dir.path());
        tool.arg("--silent").args(arguments);
        let said = tool.stdin(Stdio::null()).output().expect("run RabbitMQ's tool");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
        text
    }

    /// SIGKILL. Returns the moment.
    pub fn kill(&self) -> Instant {
        self.process.sigkill()
    }

    /// Starts it again, after [`RabbitMq::kill`], on the same port and data. Returns when it answers.
    pub fn restart(&mut self) {
        self.process = launch(self.ports, self.dir.path());
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

/// Started here and in the foreground: RabbitMQ would start it as a daemon that outlives everything. It ends at once
/// where somebody else has taken the port meanwhile: then another one is tried.
fn start_epmd() -> (Process, u16) {
    loop {
        let port = free_port();
        let mut epmd = command("epmd");
        epmd.args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
        let epmd = Process::start("epmd", &mut epmd);
        let answers = || TcpStream::connect(("127.0.0.1", port)).ok().map(drop);
        poll_until(READY_WITHIN, || answers().or_else(|| epmd.ended().map(drop))).expect("epmd answers, or ends");
        if epmd.ended().is_none() {
            return (epmd, port);
        }
    }
}

/// What makes the server, and its tool, those of this directory and these ports.
fn settings(command: &mut Command, ports: Ports, dir: &Path) {
    command
        // Where it writes its last words when it is killed while it starts.
        .current_dir(dir)
        .env("ERL_CRASH_DUMP", dir.join("erl_crash.dump"))
        .env("HOME", dir.join("home"))
        .env("ERL_EPMD_PORT", ports.epmd.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("headcount{}@localhost", ports.amqp))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
}

fn launch(ports: Ports, dir: &Path) -> Process {
    let mut server = command(SERVER);
    settings(&mut server, ports, dir);
    server
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", ports.amqp.to_string())
        .env("RABBITMQ_DIST_PORT", ports.distribution.to_string())
        .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", dir.join("log"))
        .env("RABBITMQ_PID_FILE", dir.join("pid"))
        .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
        // Distribution on loopback only; schedulers that do not spin while they wait, on machines with two cores.
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
        )
        // Makes the script exec the server, so that the pid is the server's own.
        .env("RUNNING_UNDER_SYSTEMD", "1");
    let process = Process::start(format!("rabbitmq:{}", ports.amqp), &mut server);
    process.wait("an answer", READY_WITHIN, || answers(ports.amqp).then_some(()));
    process
}

fn write_configuration(dir: &Path, vhosts: &[&str]) -> std::io::Result<()> {
    std::fs::create_dir(dir.join("home"))?;
    let mut config = String::new();
    if !vhosts.is_empty() {
        let names = || std::iter::once(&"/").chain(vhosts);
        let definitions = serde_json::json!({
            "users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
            "vhosts": names().map(|name| serde_json::json!({"name": name})).collect::<Vec<_>>(),
            "permissions": names()
                .map(|name| serde_json::json!({"user": "guest", "vhost": name, "configure": ".*", "write": ".*", "read": ".*"}))
                .collect::<Vec<_>>(),
        });
        let path = dir.join("definitions.json");
        std::fs::write(&path, definitions.to_string())?;
        config = format!("load_definitions = {}\n", path.display());
    }
    std::fs::write(dir.join("rabbitmq.conf"), config)
}

/// Whether a RabbitMQ listens there: the first frame of its answer to a greeting is a method frame.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first == [1])
    };
    ask().unwrap_or(false)
}
