//! The wish that the program ends, heard whatever it is doing.

use std::future::Future;
use std::io;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// SIGTERM or SIGINT, and since when: stopping may take so long from there on.
pub(super) struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    /// Listens from now on, beside whatever is done.
    ///
    /// # Errors
    /// Where the system refuses to tell of signals.
    pub(super) fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (told, asked) = watch::channel(None);
        actix_rt::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            told.send_replace(Some(Instant::now()));
        });
        Ok(Self(asked))
    }

    /// Since when the program is to end; none as long as it is not.
    pub(super) fn since(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Comes when the program is to end, and at once if it was to before.
    pub(super) async fn asked(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            // The listener has ended without a signal, with the runtime alone.
            std::future::pending().await
        }
    }

    /// Does something, unless the program is to end, which is looked at first; what is under way then is dropped.
    pub(super) async fn unless<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.asked() => None,
            done = what => Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn nothing_is_begun_once_the_program_is_to_end() {
        let (told, asked) = watch::channel(None);
        let mut stop = Stop(asked);
        assert_eq!(stop.unless(ready(1)).await, Some(1));
        let when = Instant::now();
        let (dropped, ()) = tokio::join!(stop.unless(pending::<()>()), async {
            told.send_replace(Some(when));
        });
        assert!(dropped.is_none(), "what is under way is left");
        let begun = std::cell::Cell::new(false);
        assert!(stop.unless(async { begun.set(true) }).await.is_none());
        assert!(!begun.get());
        assert_eq!(stop.since(), Some(when));
    }
}
