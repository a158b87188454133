//! The log, on standard error.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// For people on a terminal, JSON for whoever collects it elsewhere. `RUST_LOG` overrides `level`.
pub(super) fn layer<S>(level: &str) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // lapin and its like tell every connection's end as an error of theirs; whoever uses them says it better.
    let usual = format!("{level},actix_server=warn,lapin=off,async_rs=off,redis=off");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let log = fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        log.with_target(false).with_ansi(colours).with_filter(filter).boxed()
    } else {
        log.json().flatten_event(true).with_filter(filter).boxed()
    }
}
