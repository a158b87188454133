//! A connection that only listens to one channel, read by [`super::resp`].

use std::time::Duration;

use headcount_actors::ports::BrokerError;
use redis::Cmd;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::connect::{Address, Stream};
use super::resp::{Frame, NotResp, Reader};

/// How often the connection is asked whether it still stands, and how long it may owe the answer.
const PING_EVERY: Duration = Duration::from_secs(5);
const PONG_WITHIN: Duration = Duration::from_secs(15);

/// A subscription that stands.
pub(super) struct Subscriber {
    stream: Stream,
    reader: Reader,
    /// When the connection is asked again.
    tick: Interval,
    /// When it last said anything.
    answered: Instant,
}

impl Subscriber {
    /// Connects, authenticates and subscribes; shows itself to the operator as `name`.
    pub(super) async fn open(address: &Address, name: &str, channel: &str) -> Result<Self, BrokerError> {
        let mut tick = interval(PING_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut subscriber = Self {
            stream: address.stream().await?,
            reader: Reader::new(),
            tick,
            answered: Instant::now(),
        };
        if let Some(password) = address.login.password() {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = address.login.username() {
                auth.arg(user);
            }
            subscriber.ask(address, auth.arg(password)).await?;
        }
        // For the operator's eyes; old servers do not know it, and not everybody may.
        let _ = subscriber
            .ask(address, redis::cmd("CLIENT").arg("SETNAME").arg(name))
            .await;
        // Not to a pattern, as workers do: whoever counts workers by that is not to count this one.
        subscriber.ask(address, redis::cmd("SUBSCRIBE").arg(channel)).await?;
        Ok(subscriber)
    }

    async fn ask(&mut self, address: &Address, command: &Cmd) -> Result<(), BrokerError> {
        self.send(command).await?;
        loop {
            match self.reader.next().map_err(protocol)? {
                Some(Frame::Error(text)) => return Err(address.said(&String::from_utf8_lossy(text))),
                Some(Frame::Message { .. }) => {}
                Some(_) => return Ok(()),
                None => self.reader.fill(&mut self.stream).await.map_err(|error| lost(&error))?,
            }
        }
    }

    async fn send(&mut self, command: &Cmd) -> Result<(), BrokerError> {
        let packed = command.get_packed_command();
        self.stream.write_all(&packed).await.map_err(|error| lost(&error))?;
        self.stream.flush().await.map_err(|error| lost(&error))
    }

    /// The next payload. To be awaited to its end, or not again.
    pub(super) async fn next(&mut self, address: &Address) -> Result<Vec<u8>, BrokerError> {
        loop {
            match self.reader.next().map_err(protocol)? {
                Some(Frame::Message { payload, .. }) => {
                    self.answered = Instant::now();
                    return Ok(payload.to_vec());
                }
                Some(Frame::Error(text)) => return Err(address.said(&String::from_utf8_lossy(text))),
                Some(_) => {
                    self.answered = Instant::now();
                    continue;
                }
                None => {}
            }
            tokio::select! {
                filled = self.reader.fill(&mut self.stream) => filled.map_err(|error| lost(&error))?,
                _ = self.tick.tick() => {
                    if self.answered.elapsed() > PONG_WITHIN {
                        return Err(BrokerError::Lost(format!("the connection was silent for {PONG_WITHIN:?}")));
                    }
                    self.send(&redis::cmd("PING")).await?;
                }
            }
        }
    }
}

fn lost(error: &std::io::Error) -> BrokerError {
    BrokerError::Lost(error.to_string())
}

fn protocol(error: NotResp) -> BrokerError {
    BrokerError::Protocol(error.to_string())
}
