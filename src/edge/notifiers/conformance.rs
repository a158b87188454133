//! What every notifier must do, written against the port alone.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headcount_actors::ports::{Notifier, NotifyError, Receipt};

use super::samples;
use super::stand_in::{Say, StandIn};

/// It takes every notice, ordinary or hostile, first or later in a thread, whatever the receipt is.
pub(super) async fn takes_everything(notifier: &dyn Notifier) {
    assert!(!notifier.name().is_empty());
    let strange = Receipt("no receipt of this notifier".into());
    for (name, notice) in samples::all() {
        let first = notifier
            .post(&notice, None)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        notifier
            .post(&notice, Some(&first))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        notifier
            .post(&notice, Some(&strange))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        if notifier.has_threads() {
            notifier
                .refresh(&notice, &first)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            notifier
                .refresh(&notice, &strange)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

async fn fails(notifier: &dyn Notifier, server: &StandIn, say: Say) -> NotifyError {
    server.next(say.clone());
    notifier
        .post(&samples::opened(), None)
        .await
        .expect_err(&format!("{say:?}"))
}

/// For a notifier that speaks HTTP to `server`: whatever goes wrong is an error with a reason, and none of its
/// `secrets` is in an error or in the log. Must run on a runtime of one thread.
pub(super) async fn fails_well(notifier: &dyn Notifier, server: &StandIn, secrets: &[&str]) {
    let log = Log::default();
    let catch = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || catch.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log is caught");
    let mut errors = Vec::new();

    // Left alone for as long as it asks, within reason.
    for (header, after) in [
        (Some("Retry-After: 30"), Some(30)),
        // At once would be asked at once again, for ever.
        (Some("retry-after: 0"), Some(1)),
        (Some("Retry-After: 999999999999"), Some(15 * 60)),
        (Some("Retry-After: garbage"), None),
        (None, None),
    ] {
        let headers = header.map(str::to_owned).into_iter().collect();
        let error = fails(notifier, server, Say::Answer(429, headers, b"rate_limited".to_vec())).await;
        let expected = after.map(Duration::from_secs);
        assert!(
            matches!(&error, NotifyError::Later { after, .. } if *after == expected),
            "{header:?}: {error:?}"
        );
        errors.push(error);
    }
    for say in [
        Say::answer(500, "oops"),
        Say::answer(408, "request_timeout"),
        Say::answer(503, "<html>oops</html>"),
        Say::Close,
        Say::answer(200, "<!doctype html><title>Log in to the hotel's network</title>"),
    ] {
        let error = fails(notifier, server, say.clone()).await;
        assert!(
            matches!(error, NotifyError::Later { after: None, .. }),
            "{say:?}: {error:?}"
        );
        errors.push(error);
    }
    // An answer that repeats the secret, or has no end, or leads elsewhere.
    server.asked();
    for secret in secrets {
        for status in [200, 302, 400, 403, 404, 410] {
            let elsewhere = vec![format!("Location: {}/elsewhere", server.url)];
            errors.push(
                fails(
                    notifier,
                    server,
                    Say::Answer(status, elsewhere, format!("<b>{secret}</b>").into()),
                )
                .await,
            );
        }
    }
    assert!(
        server.asked().iter().all(|asked| !asked.head.contains("/elsewhere")),
        "a redirect is not followed"
    );
    errors.push(fails(notifier, server, Say::Answer(400, vec![], vec![b'x'; 4 << 20])).await);
    // No answer at all: it gives up by itself.
    let error = fails(notifier, server, Say::Nothing).await;
    assert!(
        matches!(&error, NotifyError::Later { after: None, why } if why.contains("no answer")),
        "{error:?}"
    );
    errors.push(error);
    tokio::time::resume();

    drop(guard);
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("the log is caught"));
    for secret in secrets {
        assert!(!log.contains(secret), "a secret in the log: {log}");
        for error in &errors {
            assert!(!format!("{error} {error:?}").contains(secret), "a secret in {error:?}");
            assert!(error.to_string().len() < 1_000, "{error}");
        }
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
