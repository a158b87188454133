//! One connection that many calls share: opened when first needed, and again after it broke.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headcount_actors::ports::BrokerError;
use tokio::sync::Mutex;

/// How long a failure to connect speaks for the calls that come after it, so that many callers do not each wait for
/// an absent broker in turn, nor hammer it. Whoever calls does the real backing off.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// A connection of kind `T`, or the lack of it.
#[derive(Debug)]
pub(super) struct Shared<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
enum State<T> {
    Closed,
    Open(Arc<T>),
    Failed(Instant, BrokerError),
}

/// What can tell whether it is still connected.
pub(super) trait Stands {
    fn stands(&self) -> bool;

    /// The broker has said that it holds us back, so that its silence is no sign of a broken connection.
    fn is_held_back(&self) -> bool {
        false
    }
}

impl<T: Stands> Shared<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::Closed),
        }
    }

    /// The connection; `open` is used if there is none that stands. Calls that come meanwhile wait for the same one.
    pub(super) async fn get(
        &self,
        open: impl Future<Output = Result<T, BrokerError>> + Send,
    ) -> Result<Arc<T>, BrokerError> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Open(connection) if connection.stands() => return Ok(Arc::clone(connection)),
            State::Failed(at, error) if at.elapsed() < FAILED_FOR => return Err(error.clone()),
            _ => {}
        }
        *state = State::Closed;
        match open.await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *state = State::Open(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                *state = State::Failed(Instant::now(), error.clone());
                Err(error)
            }
        }
    }

    /// Passes on what a call by `connection` brought. After an error that says that the connection is of no use any
    /// more, the next call opens another; calls that still use it may finish.
    pub(super) async fn checked<R>(
        &self,
        connection: &Arc<T>,
        result: Result<R, BrokerError>,
    ) -> Result<R, BrokerError> {
        let useless = match &result {
            Err(BrokerError::Timeout(_)) => !connection.is_held_back(),
            Err(BrokerError::Lost(_)) => true,
            _ => false,
        };
        if useless {
            self.discard(connection).await;
        }
        result
    }

    async fn discard(&self, connection: &Arc<T>) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Open(open) if Arc::ptr_eq(open, connection)) {
            *state = State::Closed;
        }
    }
}

/// Opens the connection by which workers and the broker are asked, and says what came of it: one line for all who wait for it.
pub(super) async fn told<T>(
    broker: &str,
    opening: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    let opened = opening.await;
    match &opened {
        Ok(_) => tracing::debug!(broker, "the connection for questions stands"),
        Err(error) => tracing::debug!(
            broker, %error, rests = ?FAILED_FOR,
            "the connection for questions cannot be opened: whoever asks after this rest tries it again"
        ),
    }
    opened
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Fake(AtomicBool, AtomicBool);

    impl Stands for Fake {
        fn stands(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        fn is_held_back(&self) -> bool {
            self.1.load(Ordering::Relaxed)
        }
    }

    async fn fresh() -> Result<Fake, BrokerError> {
        Ok(Fake(AtomicBool::new(true), AtomicBool::new(false)))
    }

    async fn absent() -> Result<Fake, BrokerError> {
        Err(BrokerError::Connect("nobody".into()))
    }

    #[tokio::test]
    async fn calls_share_it_until_it_breaks() {
        let shared = Shared::new();
        let first = shared.get(fresh()).await.unwrap();
        assert!(Arc::ptr_eq(&first, &shared.get(absent()).await.unwrap()));
        first.0.store(false, Ordering::Relaxed);
        let second = shared.get(fresh()).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        shared.discard(&first).await;
        assert!(Arc::ptr_eq(&second, &shared.get(absent()).await.unwrap()));
        shared.discard(&second).await;
        shared.get(absent()).await.unwrap_err();
    }

    #[tokio::test]
    async fn one_that_did_not_answer_in_time_is_replaced_unless_it_is_held_back() {
        let shared = Shared::new();
        let first = shared.get(fresh()).await.unwrap();
        let refused = Err::<(), _>(BrokerError::Refused("no".into()));
        shared.checked(&first, refused).await.unwrap_err();
        assert!(Arc::ptr_eq(&first, &shared.get(absent()).await.unwrap()));
        let late = Err::<(), _>(BrokerError::Timeout(Duration::from_secs(1)));
        first.1.store(true, Ordering::Relaxed);
        shared.checked(&first, late.clone()).await.unwrap_err();
        assert!(Arc::ptr_eq(&first, &shared.get(absent()).await.unwrap()));
        first.1.store(false, Ordering::Relaxed);
        shared.checked(&first, late).await.unwrap_err();
        assert!(!Arc::ptr_eq(&first, &shared.get(fresh()).await.unwrap()));
    }

    #[tokio::test]
    async fn a_failure_speaks_for_those_who_come_right_after() {
        loop {
            let (shared, began) = (Shared::new(), Instant::now());
            shared.get(absent()).await.unwrap_err();
            let next = shared.get(fresh()).await;
            // Where the machine stood still in between, it was not right after.
            if began.elapsed() < FAILED_FOR {
                assert!(matches!(next, Err(BrokerError::Connect(_))));
                return;
            }
        }
    }
}
