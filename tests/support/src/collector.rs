//! A real OpenTelemetry Collector, as `make test-collector` builds it.

use std::path::Path;
use std::time::Duration;

use crate::process::{Process, command};
use crate::{free_port, reaper};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// One on free ports of loopback: it takes OTLP over HTTP, writes what it took to its log, and shows metrics to Prometheus.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    endpoint: String,
    scrape: String,
    _dir: tempfile::TempDir,
}

impl Collector {
    /// Starts a program that `tests/collector/builder.yaml` made.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(program: &Path) -> Self {
        let (otlp, scrape, dir) = (free_port(), free_port(), reaper::directory("collector"));
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{otlp}\"}}}}}}}}\n\
             exporters: {{debug: {{verbosity: detailed}}, prometheus: {{endpoint: \"127.0.0.1:{scrape}\"}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n\
             \x20   traces: {{receivers: [otlp], exporters: [debug]}}\n\
             \x20   metrics: {{receivers: [otlp], exporters: [debug, prometheus]}}\n\
             \x20   logs: {{receivers: [otlp], exporters: [debug]}}\n"
        );
        let file = dir.path().join("collector.yaml");
        std::fs::write(&file, config).expect("write the configuration");
        let mut start = command(program);
        start.arg(format!("--config={}", file.display()));
        let process = Process::start(format!("collector:{otlp}"), &mut start);
        process.wait_line("Everything is ready", READY_WITHIN);
        Self {
            process,
            endpoint: format!("http://127.0.0.1:{otlp}"),
            scrape: format!("http://127.0.0.1:{scrape}/metrics"),
            _dir: dir,
        }
    }

    /// Where it takes OTLP.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it wrote of what it took, line by line.
    pub fn log(&self) -> Vec<String> {
        self.process.stderr()
    }

    /// What it shows to Prometheus; none where it does not answer.
    pub fn metrics(&self) -> Option<String> {
        let mut answer = ureq::get(&self.scrape).call().ok()?;
        answer.body_mut().read_to_string().ok()
    }
}
