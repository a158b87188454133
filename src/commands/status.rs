//! `headcount status`: what a running daemon sees.

mod screen;

use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::{Daemon, Status};

use super::{CommandError, Outcome, argument, to_stdout};
use screen::Picture;

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// How long the daemon gets for one answer: it answers from memory.
const WITHIN: Duration = Duration::from_secs(5);

/// Reads the daemon and shows it, once or again and again.
///
/// # Errors
/// The daemon cannot be reached or read.
pub async fn run(args: Status) -> Outcome {
    let client = Client::new(&args.daemon)?;
    loop {
        let shown = show(&client, args.json).await;
        if !args.watch {
            to_stdout(&shown?)?;
            return Ok(ExitCode::SUCCESS);
        }
        // While watching, a daemon that is away is part of the picture: it may be restarting.
        let text = shown.unwrap_or_else(|error| format!("{error}\n"));
        to_stdout(&frame(&text, args.json))?;
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// One picture of `--watch`: over the last one where there is a screen, under it in a pipe.
fn frame(text: &str, json: bool) -> String {
    use std::io::IsTerminal;
    if json || !std::io::stdout().is_terminal() {
        return format!("{text}\n");
    }
    // Home, each line cleared to its end, then everything below: no flicker, unlike clearing the screen first.
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

async fn show(client: &Client, as_json: bool) -> Result<String, CommandError> {
    if as_json {
        let (fleets, workers, incidents, ready, health): (Value, Value, Value, Value, Value) = client.all().await?;
        let (brokers, store) = (ready.get("brokers"), health.get("store"));
        let all =
            json!({"fleets": fleets, "workers": workers, "incidents": incidents, "brokers": brokers, "store": store});
        return Ok(super::json(&all));
    }
    let (fleets, workers, incidents, ready, health) = client.all().await?;
    let picture = Picture {
        fleets,
        workers,
        incidents,
        ready,
        health,
    };
    Ok(picture.render(&client.url, jiff::Timestamp::now(), super::table::colours()))
}

/// Asks a running daemon.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(daemon: &Daemon) -> Result<Self, CommandError> {
        let url = daemon.url.trim_end_matches('/').to_owned();
        let sound = url::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !sound {
            return Err(CommandError::Use(format!(
                "--url: expected an address such as http://127.0.0.1:8787, found {url:?}"
            )));
        }
        let token = daemon
            .token
            .as_deref()
            .filter(|token| !token.is_empty())
            .map(|token| argument("--token", token))
            .transpose()?;
        let http = reqwest::Client::builder().timeout(WITHIN).build();
        let http = http.map_err(|error| CommandError::Failed(chain(&error)))?;
        Ok(Self { http, url, token })
    }

    async fn all<F, W, I, R, H>(&self) -> Result<(F, W, I, R, H), CommandError>
    where
        F: DeserializeOwned,
        W: DeserializeOwned,
        I: DeserializeOwned,
        R: DeserializeOwned,
        H: DeserializeOwned,
    {
        Ok((
            self.get("/api/v1/fleets").await?,
            self.get("/api/v1/workers").await?,
            self.get("/api/v1/incidents?state=open&limit=1000").await?,
            self.get("/readyz").await?,
            self.get("/healthz").await?,
        ))
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, page: &str) -> Result<T, CommandError> {
        self.ask(Method::GET, page, None).await
    }

    pub(super) async fn put<T: DeserializeOwned>(&self, page: &str, body: &Value) -> Result<T, CommandError> {
        self.ask(Method::PUT, page, Some(body)).await
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, page: &str) -> Result<T, CommandError> {
        self.ask(Method::DELETE, page, None).await
    }

    /// Whoever answers there is something else, or another version.
    pub(super) fn not_an_answer(&self, page: &str, error: &dyn std::error::Error) -> CommandError {
        CommandError::Failed(format!(
            "{}{page}: not what a daemon answers ({}); does --url lead to a headcount of this version?",
            self.url,
            chain(error)
        ))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        page: &str,
        body: Option<&Value>,
    ) -> Result<T, CommandError> {
        let failed = |why: String| CommandError::Failed(format!("{}{page}: {why}", self.url));
        let mut request = self.http.request(method, format!("{}{page}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| {
            let (connects, error) = (error.is_connect(), error.without_url());
            // Of what is behind a failed connection only the last says anything: that it was refused.
            let why = match causes(&error).last() {
                Some(last) if connects => format!("cannot connect: {last}"),
                _ => chain(&error),
            };
            CommandError::Failed(format!(
                "no daemon answers at {} ({why}); is `headcount run` running there?",
                self.url
            ))
        })?;
        let status = response.status();
        // Not ready, or not well, is an answer, and the one that says why.
        let says_why = matches!(page, "/readyz" | "/healthz") && status == StatusCode::SERVICE_UNAVAILABLE;
        if !status.is_success() && !says_why {
            if status == StatusCode::UNAUTHORIZED {
                let why = match self.token {
                    None => "the daemon wants its token: give --token, or set HEADCOUNT_TOKEN",
                    Some(_) => {
                        "the daemon does not take this token; the right one is `token` under [server] in its configuration"
                    }
                };
                return Err(failed(why.to_owned()));
            }
            let problem: Option<Value> = response.json().await.ok();
            let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
            return Err(failed(format!(
                "{status}{}",
                detail.map(|text| format!(": {text}")).unwrap_or_default()
            )));
        }
        let answer = response.json().await;
        answer.map_err(|error| self.not_an_answer(page, &error.without_url()))
    }
}

/// An error with its causes: reqwest's own words stop before the reason.
fn chain(error: &dyn std::error::Error) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn causes(error: &dyn std::error::Error) -> impl Iterator<Item = &dyn std::error::Error> {
    std::iter::successors(Some(error), |error| error.source())
}
