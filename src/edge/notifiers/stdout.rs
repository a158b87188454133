//! Tells on standard output: one line a notice, the time first.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use headcount_actors::ports::{Notifier, NotifyError, Receipt};
use headcount_core::alert::Notice;
use headcount_core::time::Wall;
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use super::{OpenError, Table, check_name};

/// The table `[[notify]]` with `kind = "stdout"`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Read before, to find this struct.
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// Its name; `stdout` where it is not given.
    name: Option<String>,
}

impl Table for Config {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("stdout")
    }

    fn check(&self) -> Result<(), OpenError> {
        check_name(self.name())
    }

    fn server(&self) -> Option<Url> {
        None
    }

    fn open(&self) -> Result<Arc<dyn Notifier>, OpenError> {
        self.check()?;
        Ok(Arc::new(Stdout {
            name: self.name().to_owned(),
            out: Arc::new(Mutex::new(io::stdout())),
        }))
    }
}

struct Stdout<W> {
    name: String,
    out: Arc<Mutex<W>>,
}

#[async_trait]
impl<W: Write + Send + 'static> Notifier for Stdout<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_threads(&self) -> bool {
        false
    }

    async fn post(&self, notice: &Notice, _first: Option<&Receipt>) -> Result<Receipt, NotifyError> {
        let line = format!("{} {}\n", rfc3339(notice.at), notice.text());
        let out = Arc::clone(&self.out);
        // A pipe whose reader sleeps blocks: on a thread that may.
        let written = tokio::task::spawn_blocking(move || {
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(line.as_bytes())?;
            out.flush()
        });
        match written.await {
            Ok(Ok(())) => Ok(Receipt(String::new())),
            Ok(Err(error)) => Err(later(format!("cannot write to standard output: {error}"))),
            Err(_) => Err(later("writing to standard output was interrupted".to_owned())),
        }
    }

    async fn refresh(&self, _notice: &Notice, _first: &Receipt) -> Result<(), NotifyError> {
        Ok(())
    }
}

fn later(why: String) -> NotifyError {
    NotifyError::Later { after: None, why }
}

/// In UTC, to the second.
fn rfc3339(at: Wall) -> String {
    jiff::Timestamp::from_second(at.as_secs())
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifiers::{conformance, samples};

    fn with<W: Write + Send + 'static>(out: W) -> (Stdout<W>, Arc<Mutex<W>>) {
        let out = Arc::new(Mutex::new(out));
        (
            Stdout {
                name: "stdout".into(),
                out: Arc::clone(&out),
            },
            out,
        )
    }

    #[tokio::test]
    async fn passes_the_kit() {
        let (notifier, _) = with(Vec::new());
        conformance::takes_everything(&notifier).await;
    }

    #[tokio::test]
    async fn one_line_a_notice() {
        let (notifier, out) = with(Vec::new());
        let all = samples::all();
        for (_, notice) in &all {
            notifier.post(notice, None).await.unwrap();
        }
        let text = String::from_utf8(out.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), all.len());
        for (line, (_, notice)) in text.lines().zip(&all) {
            assert_eq!(line, format!("2026-11-24T08:03:12Z {}", notice.text()));
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_closed_pipe_is_tried_again_later() {
        let (notifier, _) = with(Closed);
        let error = notifier.post(&samples::all()[0].1, None).await.unwrap_err();
        assert!(
            matches!(&error, NotifyError::Later { after: None, why } if why.contains("broken pipe")),
            "{error:?}"
        );
    }
}
