//! One session with the broker after the other.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use headcount_core::node::MAX_SCHEDULED;
use headcount_core::span::Span;
use headcount_core::time::Mono;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::ports::node::{Heard, Joining, Link, Order, SharedNodeBroker};
use crate::ports::{BrokerError, SessionEnd};

/// What was heard and is not taken yet. The broker hands out few at a time, so only a flood of commands fills it; that then
/// waits in the socket.
const HEARD: usize = 256;

/// Orders that the session has not carried out. A session that takes so many no more is broken: it is given up, and what was
/// not settled comes again. All that wait for their time may be given back at once.
const ORDERS: usize = 8_192 + MAX_SCHEDULED;

/// Where orders go, and of which session; none while there is none.
pub(super) type Line = Option<(u64, mpsc::Sender<Order>)>;

type Serving = Pin<Box<dyn Future<Output = Result<(), SessionEnd>>>>;

/// What comes of waiting for a session.
pub(super) enum Event {
    /// Something was heard in the session of this number.
    Heard(u64, Heard),
    /// The session has ended.
    Ended,
    /// It has ended because it was told to.
    Left,
}

/// The sessions of one node.
pub(super) struct Sessions {
    broker: SharedNodeBroker,
    joining: Joining,
    backoff: Backoff,
    number: u64,
    serving: Option<(Serving, mpsc::Receiver<Heard>, Mono)>,
    orders: Option<mpsc::Sender<Order>>,
    retry_at: Mono,
    /// Those who conclude calls read here by which session.
    line: watch::Sender<Line>,
}

impl Sessions {
    pub(super) fn new(broker: SharedNodeBroker, joining: Joining) -> Self {
        Self {
            backoff: Backoff::for_brokers(broker.name()),
            broker,
            joining,
            number: 0,
            serving: None,
            orders: None,
            retry_at: Clock.mono(),
            line: watch::Sender::new(None),
        }
    }

    /// The line, for whoever has to send something in whichever session stands.
    pub(super) fn line(&self) -> watch::Receiver<Line> {
        self.line.subscribe()
    }

    /// The number of the session that is served, or was last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn is_open(&self) -> bool {
        self.line.borrow().is_some()
    }

    /// Passes an order on. False if the session does not take it any more, and has been given up.
    pub(super) fn order(&mut self, order: Order) -> bool {
        let Some(orders) = &self.orders else { return false };
        let taken = orders.try_send(order).is_ok();
        if !taken {
            tracing::warn!(
                broker = self.broker.name(),
                most = ORDERS,
                "the broker does not take what the node sends: joining anew, and unsettled tasks come again"
            );
            self.close();
        }
        taken
    }

    /// The next that happens. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Event {
        if self.serving.is_none() {
            sleep(self.retry_at.since(Clock.mono())).await;
            self.open();
        }
        let Some((serving, heard, _)) = &mut self.serving else {
            return Event::Ended;
        };
        tokio::select! {
            biased;
            Some(heard) = heard.recv() => {
                if matches!(heard, Heard::Opened) {
                    let orders = self.orders.clone().map(|orders| (self.number, orders));
                    self.line.send_replace(orders);
                    tracing::info!(broker = self.broker.name(), node = self.joining.hostname, queue = self.joining.queue, "the node has joined");
                }
                Event::Heard(self.number, heard)
            }
            ended = serving => self.ended(ended),
        }
    }

    fn open(&mut self) {
        self.number += 1;
        let (heard_in, heard) = mpsc::channel(HEARD);
        let (orders_in, orders) = mpsc::channel(ORDERS);
        let (broker, joining) = (self.broker.clone(), self.joining.clone());
        let link = Link {
            heard: heard_in,
            orders,
        };
        let serving = Box::pin(async move { broker.serve(&joining, link).await });
        self.serving = Some((serving, heard, Clock.mono()));
        self.orders = Some(orders_in);
    }

    fn ended(&mut self, ended: Result<(), SessionEnd>) -> Event {
        let stood = self
            .serving
            .as_ref()
            .map_or(Duration::ZERO, |(_, _, began)| Clock.mono().since(*began));
        self.close();
        let Err(end) = ended else { return Event::Left };
        let rest = match &end {
            SessionEnd::NotOpened(BrokerError::Refused(_)) => self.backoff.after_refusal(),
            SessionEnd::NotOpened(_) => self.backoff.after_failure(),
            SessionEnd::Broke(_) => self.backoff.after_session(stood),
        };
        self.retry_at = Clock.mono() + rest;
        let (SessionEnd::NotOpened(error) | SessionEnd::Broke(error)) = end;
        tracing::warn!(
            broker = self.broker.name(), address = self.broker.address(), node = self.joining.hostname, %error,
            retry_in = %Span::about(rest), "the node has not joined, and takes no tasks until it has: trying again"
        );
        Event::Ended
    }

    fn close(&mut self) {
        self.serving = None;
        self.orders = None;
        self.line.send_replace(None);
    }
}
