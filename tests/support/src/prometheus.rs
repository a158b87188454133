//! A Prometheus of one's own, and its promtool.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::free_port;
use crate::process::{Process, command};
use crate::reaper;

const READY_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A real Prometheus on a free port of loopback.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    process: Process,
    _dir: tempfile::TempDir,
}

/// One series of an answer: its labels, and its value.
#[derive(Clone, Debug)]
pub struct Sample {
    /// With its name as `__name__`, where it has one.
    pub labels: Value,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// One label; empty where it has none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or_default()
    }
}

impl Prometheus {
    /// Starts one that scrapes `target`, such as `127.0.0.1:8787`, every two seconds, once for each of these jobs; returns
    /// when each has scraped once.
    ///
    /// # Panics
    /// When there is none, or it does not start.
    pub fn start(target: &str, jobs: &[&str]) -> Self {
        let (port, dir) = (free_port(), reaper::directory("prometheus"));
        let scrapes: String = jobs
            .iter()
            .map(|job| format!("  - job_name: {job}\n    static_configs: [{{targets: [\"{target}\"]}}]\n"))
            .collect();
        let config = format!("global: {{scrape_interval: 2s, scrape_timeout: 2s}}\nscrape_configs:\n{scrapes}");
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("write the configuration");
        let mut prometheus = command("prometheus");
        prometheus
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn");
        let process = Process::start(format!("prometheus:{port}"), &mut prometheus);
        let prometheus = Prometheus {
            port,
            process,
            _dir: dir,
        };
        for job in jobs {
            prometheus.wait(&format!("a scrape of {job}"), READY_WITHIN, || {
                let up = prometheus.try_query(&format!("up{{job=\"{job}\"}} == 1")).ok()?;
                (!up.is_empty()).then_some(())
            });
        }
        prometheus
    }

    /// Waits until something is so; fails with its last lines.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn wait<T>(&self, what: &str, within: Duration, condition: impl FnMut() -> Option<T>) -> T {
        self.process.wait(what, within, condition)
    }

    /// What an expression gives now.
    ///
    /// # Panics
    /// When it is wrong.
    pub fn query(&self, expression: &str) -> Vec<Sample> {
        self.try_query(expression)
            .unwrap_or_else(|why| panic!("{expression}: {why}\n{}", self.process.last_lines()))
    }

    /// What an expression gives now, or why it gives nothing.
    ///
    /// # Errors
    /// Prometheus's own words.
    pub fn try_query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let answer = self.get("query", &[("query", expression)])?;
        let sample = |series: &Value| {
            // A scalar is its value alone.
            let value = if series.is_object() {
                &series["value"][1]
            } else {
                series
            };
            Sample {
                labels: series["metric"].clone(),
                value: value.as_str().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN),
            }
        };
        let result = &answer["result"];
        if answer["resultType"] == "scalar" {
            return Ok(vec![sample(&result[1])]);
        }
        Ok(result
            .as_array()
            .map_or_else(Vec::new, |all| all.iter().map(sample).collect()))
    }

    /// The names of all metrics that it has ever scraped.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn names(&self) -> Vec<String> {
        let names = self.get("label/__name__/values", &[]).expect("the names of metrics");
        serde_json::from_value(names).expect("a list of names")
    }

    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_WITHIN))
            .build()
            .into();
        let mut request = agent.get(url);
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        let mut response = request.call().map_err(|error| error.to_string())?;
        let body = response
            .body_mut()
            .read_to_string()
            .map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(answer["error"].to_string()),
        }
    }
}

/// Runs promtool with these arguments in a directory, with this text as its input. All that it says, where it is not content.
///
/// # Errors
/// What it says.
///
/// # Panics
/// When there is none.
pub fn promtool(directory: &Path, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool: {error}; run scripts/install.sh"));
    let mut stdin = promtool.stdin.take().expect("asked for");
    stdin.write_all(input.as_bytes()).expect("it reads its input");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(said) } else { Err(said) }
}
