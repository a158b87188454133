//! A listening session that a test can look into.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::{Broker, Lane, SessionEnd};
use headcount_core::celery::{Decoder, Event, Malformed, RawMessage};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Far longer than anything takes, on a machine that builds something else meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) opened: bool,
    /// Workers whose events came.
    pub(crate) workers: BTreeSet<String>,
    /// What could not be decoded: the reason, and the message's size.
    pub(crate) malformed: Vec<(Malformed, usize)>,
    pub(crate) canaries: Vec<Duration>,
    pub(crate) blocked: bool,
}

struct Recorder {
    decoder: Decoder,
    pending: Heard,
    shown: watch::Sender<Heard>,
}

impl Recorder {
    fn show(&self) {
        self.shown.send_replace(self.pending.clone());
    }
}

impl Lane for Recorder {
    fn opened(&mut self) {
        self.pending.opened = true;
        self.show();
    }

    fn message(&mut self, message: RawMessage<'_>) {
        let size = match message {
            RawMessage::Amqp { body, .. } => body.len(),
            RawMessage::Redis { payload } => payload.len(),
        };
        let workers = &mut self.pending.workers;
        let decoded = self.decoder.decode(message, |event| {
            if let Event::Worker(worker) = event {
                workers.insert(worker.hostname.to_owned());
            }
        });
        self.pending.malformed.extend(decoded.why.map(|why| (why, size)));
    }

    fn batch_end(&mut self) {
        self.show();
    }

    fn canary(&mut self, round_trip: Duration) {
        self.pending.canaries.push(round_trip);
        self.show();
    }

    fn blocked(&mut self, blocked: bool) {
        self.pending.blocked = blocked;
        self.show();
    }
}

/// A session in a task of its own.
pub(crate) struct Listener {
    heard: watch::Receiver<Heard>,
    session: JoinHandle<SessionEnd>,
}

impl Listener {
    pub(crate) async fn start(broker: &Arc<dyn Broker>) -> Self {
        let mut listener = Self::begin(broker);
        listener.until("the session stands", |heard| heard.opened).await;
        listener
    }

    /// Tries again until a session stands.
    pub(crate) async fn start_in_the_end(broker: &Arc<dyn Broker>) -> Self {
        let trying = async {
            loop {
                let mut listener = Self::begin(broker);
                if listener.heard.wait_for(|heard| heard.opened).await.is_ok() {
                    return listener;
                }
            }
        };
        timeout(2 * PATIENCE, trying)
            .await
            .expect("a session stands in the end")
    }

    fn begin(broker: &Arc<dyn Broker>) -> Self {
        let (shown, heard) = watch::channel(Heard::default());
        let broker = Arc::clone(broker);
        let mut recorder = Recorder {
            decoder: Decoder::new(),
            pending: Heard::default(),
            shown,
        };
        let session = tokio::spawn(async move { broker.listen(&mut recorder).await });
        Self { heard, session }
    }

    pub(crate) async fn until(&mut self, what: &str, condition: impl FnMut(&Heard) -> bool) -> Heard {
        let waited = timeout(PATIENCE, self.heard.wait_for(condition))
            .await
            .map(|seen| seen.map(|heard| heard.clone()));
        match waited {
            Ok(Ok(heard)) => heard,
            Ok(Err(_)) => panic!("the session ended before {what}"),
            Err(_) => panic!("not in time: {what}; heard {:?}", self.heard.borrow()),
        }
    }

    pub(crate) async fn end(self) -> SessionEnd {
        timeout(PATIENCE, self.session)
            .await
            .expect("the session ends")
            .expect("and does not panic")
    }

    /// Drops the session's future.
    pub(crate) async fn drop_session(self) {
        self.session.abort();
        assert!(self.session.await.unwrap_err().is_cancelled());
    }
}

/// How a session that cannot be opened ends.
pub(crate) async fn refused_session(broker: &Arc<dyn Broker>) -> SessionEnd {
    let (shown, _heard) = watch::channel(Heard::default());
    let mut recorder = Recorder {
        decoder: Decoder::new(),
        pending: Heard::default(),
        shown,
    };
    timeout(PATIENCE, broker.listen(&mut recorder)).await.expect("it ends")
}
