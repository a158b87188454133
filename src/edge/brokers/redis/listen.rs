//! One session of listening to events on Redis.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use headcount_actors::ports::{BrokerError, CANARY_EVERY, CANARY_LOST, Lane, SessionEnd};
use headcount_core::celery::RawMessage;
use redis::Cmd;
use tokio::io::AsyncWriteExt;
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::Redis;
use super::connect::Stream;
use super::resp::{Frame, NotResp, Reader};
use crate::brokers::canary::Canary;

type Publishing<'a> = Pin<Box<dyn Future<Output = Result<(), BrokerError>> + Send + 'a>>;

struct Session<'a> {
    broker: &'a Redis,
    stream: Stream,
    reader: Reader,
    /// The channel of our messages to ourselves.
    own_channel: String,
    /// Redis' number of this connection, noted as ours while the session lives.
    id: Option<u64>,
}

/// See [`headcount_actors::ports::Broker::listen`]. Dropping the future closes the connection.
pub(super) async fn listen(broker: &Redis, lane: &mut (dyn Lane + Send)) -> SessionEnd {
    let patience = broker.address.connect_timeout;
    let mut session = match timeout(patience, Session::open(broker)).await {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => return SessionEnd::NotOpened(error),
        Err(_) => return SessionEnd::NotOpened(BrokerError::Timeout(patience)),
    };
    lane.opened();
    SessionEnd::Broke(session.run(lane).await)
}

impl<'a> Session<'a> {
    async fn open(broker: &'a Redis) -> Result<Self, BrokerError> {
        let own_channel = format!("headcount.canary.{}", Uuid::new_v4().simple());
        let stream = broker.address.stream().await?;
        let mut session = Session {
            broker,
            stream,
            reader: Reader::new(),
            own_channel,
            id: None,
        };
        let login = &broker.address.login;
        if let Some(password) = login.password() {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = login.username() {
                auth.arg(user);
            }
            session.ask(auth.arg(password)).await?;
        }
        // For the operator's eyes, and to know ourselves again in the list of clients; old servers know neither.
        let _ = session
            .ask(redis::cmd("CLIENT").arg("SETNAME").arg("headcount-events"))
            .await;
        if let Ok(Said::Number(id)) = session.ask(redis::cmd("CLIENT").arg("ID")).await {
            session.id = u64::try_from(id).ok();
            broker.own_connections().extend(session.id);
        }
        // The events last: nothing else is read before the lane stands.
        let own_channel = session.own_channel.clone();
        session.ask(redis::cmd("SUBSCRIBE").arg(own_channel)).await?;
        session
            .ask(redis::cmd("PSUBSCRIBE").arg(broker.wire.event_pattern(broker.address.db)))
            .await?;
        Ok(session)
    }

    /// One command, and its answer.
    async fn ask(&mut self, command: &Cmd) -> Result<Said, BrokerError> {
        self.stream
            .write_all(&command.get_packed_command())
            .await
            .map_err(|error| lost(&error))?;
        self.stream.flush().await.map_err(|error| lost(&error))?;
        loop {
            match self.reader.next().map_err(protocol)? {
                Some(Frame::Error(text)) => return Err(self.broker.address.said(&String::from_utf8_lossy(text))),
                Some(Frame::Integer(number)) => return Ok(Said::Number(number)),
                // The canary's channel is subscribed already; nobody knows it yet.
                Some(Frame::Message { .. }) => {}
                Some(_) => return Ok(Said::Fine),
                None => self.reader.fill(&mut self.stream).await.map_err(|error| lost(&error))?,
            }
        }
    }

    async fn run(&mut self, lane: &mut (dyn Lane + Send)) -> BrokerError {
        let broker = self.broker;
        let own_channel = self.own_channel.clone();
        let mut canary = Canary::new();
        let mut tick = interval(CANARY_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut publishing: Option<Publishing<'_>> = None;
        loop {
            // What has come with the answer to the subscription is there already, so first this.
            if let Err(error) = self.batch(lane, &mut canary) {
                return error;
            }
            // A flood must not keep the thread from everybody else.
            tokio::task::yield_now().await;
            tokio::select! {
                filled = self.reader.fill(&mut self.stream) => if let Err(error) = filled {
                    return lost(&error);
                },
                sent = async { publishing.as_mut()?.await.into() }, if publishing.is_some() => {
                    publishing = None;
                    // A publisher that broke is no proof that nothing is heard: that is for the canary to show.
                    if let Some(Err(error @ BrokerError::Refused(_))) = sent {
                        return error;
                    }
                }
                _ = tick.tick() => match canary.launch(Instant::now()) {
                    None => return BrokerError::Lost(format!("no message to ourselves came back for {CANARY_LOST:?}")),
                    // One that has not been sent yet is enough; the next count all the same.
                    Some(_) if publishing.is_some() => {}
                    Some(body) => publishing = Some(Box::pin(broker.publish(&own_channel, body))),
                },
            }
        }
    }

    /// Hands over everything that has been read: what one read of the socket brought, so that a batch is bounded.
    fn batch(&mut self, lane: &mut (dyn Lane + Send), canary: &mut Canary) -> Result<(), BrokerError> {
        let mut any = false;
        let ended = loop {
            match self.reader.next() {
                Ok(None) => break Ok(()),
                Ok(Some(Frame::Message { channel, payload })) => {
                    any = true;
                    if channel == self.own_channel.as_bytes() {
                        if let Some(round_trip) = canary.landed(payload, Instant::now()) {
                            lane.canary(round_trip);
                        }
                    } else {
                        lane.message(RawMessage::Redis { payload });
                    }
                }
                Ok(Some(Frame::Error(text))) => {
                    break Err(self.broker.address.said(&String::from_utf8_lossy(text)));
                }
                Ok(Some(_)) => {}
                Err(error) => break Err(protocol(error)),
            }
        };
        if any {
            lane.batch_end();
        }
        ended
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.broker.own_connections().remove(&id);
        }
    }
}

enum Said {
    Fine,
    Number(i64),
}

fn lost(error: &std::io::Error) -> BrokerError {
    BrokerError::Lost(error.to_string())
}

fn protocol(error: NotResp) -> BrokerError {
    BrokerError::Protocol(error.to_string())
}
