//! A Flower of one's own.

use std::time::{Duration, Instant};

use crate::celery::celery_command;
use crate::free_port;
use crate::process::Process;

/// It takes a second of processor time to start; beside a compiler and workers it takes its time.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Who may use its API.
#[derive(Clone, Debug, Default)]
enum Api {
    /// Everybody (`FLOWER_UNAUTHENTICATED_API`).
    #[default]
    Open,
    /// Nobody: what a Flower does that nobody has configured.
    Closed,
    /// Whoever has this user name and password, separated by a colon (`--basic-auth`); the pages too.
    Login(String),
}

/// A real Flower on a free port of loopback, which watches a broker.
#[derive(Debug)]
pub struct Flower {
    broker_url: String,
    api: Api,
    /// Files with its certificate and its key, where it is served by TLS.
    tls: Option<[String; 2]>,
    port: u16,
    process: Process,
}

impl Flower {
    /// Starts one that everybody may use, and returns when it serves.
    pub fn start(broker_url: &str) -> Self {
        Self::start_with(broker_url, Api::Open, None)
    }

    /// Starts one whose pages everybody may see, and whose API nobody may use.
    pub fn start_without_api(broker_url: &str) -> Self {
        Self::start_with(broker_url, Api::Closed, None)
    }

    /// Starts one that wants a user name and a password.
    pub fn start_with_login(broker_url: &str, user: &str, password: &str) -> Self {
        Self::start_with(broker_url, Api::Login(format!("{user}:{password}")), None)
    }

    /// Starts one that everybody may use, by TLS, with a certificate for `localhost` and its key from these files.
    pub fn start_with_tls(broker_url: &str, certificate: &str, key: &str) -> Self {
        Self::start_with(broker_url, Api::Open, Some([certificate, key].map(str::to_owned)))
    }

    fn start_with(broker_url: &str, api: Api, tls: Option<[String; 2]>) -> Self {
        let port = free_port();
        Flower {
            process: launch(broker_url, &api, tls.as_ref(), port),
            broker_url: broker_url.to_owned(),
            api,
            tls,
            port,
        }
    }

    /// Its address, as Headcount reads it, with the login if it wants one.
    pub fn url(&self) -> String {
        let login = match &self.api {
            Api::Login(login) => format!("{login}@"),
            Api::Open | Api::Closed => String::new(),
        };
        let (scheme, host) = if self.tls.is_some() {
            ("https", "localhost")
        } else {
            ("http", "127.0.0.1")
        };
        format!("{scheme}://{login}{host}:{}", self.port)
    }

    /// The configuration of this Flower as a broker of that name, without any fleet.
    pub fn config(&self, name: &str) -> String {
        format!(
            "[[broker]]\nkind = \"flower\"\nname = \"{name}\"\nurl = \"{}\"\n\n",
            self.url()
        )
    }

    /// What its API answers to `GET path`, as JSON; none when it does not.
    pub fn get(&self, path: &str) -> Option<serde_json::Value> {
        let mut response = ureq::get(format!("{}{path}", self.url())).call().ok()?;
        serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()
    }

    /// What its API answers to `POST path`: the status, and its text; none when it does not.
    pub fn post(&self, path: &str) -> Option<(u16, String)> {
        let asked = ureq::post(format!("{}{path}", self.url()))
            .config()
            .http_status_as_error(false)
            .build()
            .send_empty();
        let mut response = asked.ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        Some((response.status().as_u16(), text))
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL. Returns the moment.
    pub fn kill(&self) -> Instant {
        self.process.sigkill()
    }

    /// Starts it again, after [`Flower::kill`], on the same port. What it knew is gone. Returns when it serves.
    pub fn restart(&mut self) {
        self.process = launch(&self.broker_url, &self.api, self.tls.as_ref(), self.port);
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

fn launch(broker_url: &str, api: &Api, tls: Option<&[String; 2]>, port: u16) -> Process {
    let mut flower = celery_command(broker_url);
    flower.args(["-m", "celery", "-A", "app", "flower", "--address=127.0.0.1"]);
    flower.arg(format!("--port={port}"));
    match api {
        Api::Open => {
            flower.env("FLOWER_UNAUTHENTICATED_API", "true");
        }
        Api::Closed => {
            flower.env_remove("FLOWER_UNAUTHENTICATED_API");
        }
        Api::Login(login) => {
            flower.arg(format!("--basic-auth={login}"));
        }
    }
    if let Some([certificate, key]) = tls {
        flower.arg(format!("--certfile={certificate}"));
        flower.arg(format!("--keyfile={key}"));
    }
    let process = Process::start(format!("flower:{port}"), &mut flower);
    // It says so before it serves, and connections wait meanwhile; by TLS there is no certificate to trust here.
    process.wait_line("Visit me at", READY_WITHIN);
    if tls.is_none() {
        process.wait("an answer", READY_WITHIN, || {
            let url = format!("http://127.0.0.1:{port}/healthcheck");
            ureq::get(url).call().ok().map(drop)
        });
    }
    process
}
