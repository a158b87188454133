//! One session of a node on Redis.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headcount_actors::ports::BrokerError;
use headcount_actors::ports::node::{Heard, Joining, Link, Order};
use headcount_core::celery::task::{self, RawTask};
use headcount_core::celery::{RawRequest, read_request};
use headcount_core::node::Settle;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::held::{Books, Held};
use super::send::Sender;
use super::take::Taker;
use super::{RedisNode, lock};
use crate::brokers::redis::commands::Commands;
use crate::brokers::redis::connect::Address;
use crate::brokers::redis::subscriber::Subscriber;

/// How often what is held here is shown to be held, and what the dead held is sought; oftener where the visibility timeout is
/// so short that this would be too seldom.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// A message is shown to be held so many times before its visibility timeout is over: one or two that fail do no harm.
const TIMES: u32 = 4;

/// Messages that are settled in one go. A node that leaves may give back tens of thousands that wait for their time.
const SETTLE_AT_ONCE: usize = 500;

/// How the node's connections show themselves to the operator.
const NAME: &str = "headcount-node";

/// A take that is under way, whoever waits for it: it brings the taker back, and what is held by now.
type Taking = JoinHandle<(Taker, Result<Option<(u64, Vec<u8>)>, BrokerError>)>;

/// One session.
pub(super) struct Session<'a> {
    node: &'a RedisNode,
    hostname: String,
    prefetch: u16,
    commands: Arc<Commands>,
    subscriber: Subscriber,
    taker: Option<Taker>,
    books: Books,
    sender: Sender,
    /// In the bindings of the control exchange.
    mailbox: String,
}

impl<'a> Session<'a> {
    pub(super) async fn open(node: &'a RedisNode, joining: &Joining) -> Result<Self, BrokerError> {
        // A take of the last session notes what it brings; it does not last longer than a command.
        drop(node.turn.lock().await);
        let patience = node.address.connect_timeout;
        timeout(patience, Self::open_at_leisure(node, joining))
            .await
            .unwrap_or(Err(BrokerError::Timeout(patience)))
    }

    async fn open_at_leisure(node: &'a RedisNode, joining: &Joining) -> Result<Self, BrokerError> {
        let patience = node.address.command_timeout;
        let commands = Arc::new(Commands::open(&node.address, patience).await?);
        let waits = Commands::open(&node.address, patience + Taker::WAITS_FOR).await?;
        for connection in [&*commands, &waits] {
            // Not everybody may.
            let mut name = redis::cmd("CLIENT");
            name.arg("SETNAME").arg(NAME);
            let _ = name.query_async::<()>(&mut connection.handle()).await;
        }
        let books = Books::new(&node.wire, &joining.queue);
        // What the last session had taken: the node has forgotten of it what it has not begun, and knows what it has.
        give_up_all(node, &books, &commands).await?;
        let mailbox = node.wire.binding_member("", &node.wire.mailbox(&joining.hostname));
        bind(node, &commands, joining, &mailbox).await?;
        let channel = node.wire.control_channel(node.address.db);
        let subscriber = Subscriber::open(&node.address, NAME, &channel).await?;
        Ok(Self {
            node,
            hostname: joining.hostname.clone(),
            prefetch: joining.prefetch,
            taker: Some(Taker::new(Arc::clone(&commands), waits, books.keys(), &joining.queue)),
            sender: Sender {
                commands: Arc::clone(&commands),
                wire: node.wire.clone(),
                db: node.address.db,
            },
            commands,
            subscriber,
            books,
            mailbox,
        })
    }

    pub(super) async fn run(self, link: Link) -> Result<(), BrokerError> {
        let Self {
            node,
            hostname,
            prefetch,
            commands,
            mut subscriber,
            taker,
            books,
            sender,
            mailbox,
        } = self;
        let hearing = hear(&mut subscriber, &node.address, &hostname, link.heard.clone());
        let working = Work {
            node,
            prefetch,
            commands,
            taker,
            books,
            sender,
            mailbox,
        }
        .run(link);
        tokio::select! {
            error = hearing => Err(error),
            ended = working => ended,
        }
    }
}

/// Everything but the mailbox.
struct Work<'a> {
    node: &'a RedisNode,
    prefetch: u16,
    commands: Arc<Commands>,
    taker: Option<Taker>,
    books: Books,
    sender: Sender,
    mailbox: String,
}

impl Work<'_> {
    async fn run(mut self, link: Link) -> Result<(), BrokerError> {
        let heard = link.heard;
        let mut orders = Orders {
            node: self.node,
            orders: link.orders,
            aside: None,
        };
        heard.send(Heard::Opened).await.map_err(|_| gone())?;
        let every = KEEP_EVERY
            .min(self.node.visibility_timeout / TIMES)
            .max(Duration::from_millis(50));
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taking: Option<Taking> = None;
        let (mut leaving, mut takes) = (false, true);
        loop {
            if taking.is_none() && takes && self.node.held().len() < usize::from(self.prefetch) {
                let turn = self.node.turn.clone().lock_owned().await;
                let held = self.node.held.clone();
                taking = self.taker.take().map(|taker| take(taker, held, turn));
            }
            if leaving && taking.is_none() {
                return self.leave().await;
            }
            tokio::select! {
                // What is ordered first: acknowledgements make room for what comes.
                biased;
                order = orders.next(), if !leaving => match order.ok_or_else(gone)? {
                    Order::Settle { number, how } => {
                        let ended = orders.and_further(number, how);
                        settle(self.node, &self.books, &self.commands, ended).await?;
                    }
                    Order::TakeNoMore => takes = false,
                    Order::Leave => (leaving, takes) = (true, false),
                    order => self.carry_out(order).await?,
                },
                took = async { match taking.as_mut() { Some(taking) => taking.await, None => std::future::pending().await } } => {
                    taking = None;
                    let (taker, taken) = took.map_err(|error| BrokerError::Protocol(error.to_string()))?;
                    self.taker = Some(taker);
                    if let Some((number, payload)) = taken? {
                        let message = task::decode(RawTask::Redis { payload: &payload }).map(Box::new);
                        drop(payload);
                        if !leaving {
                            heard.send(Heard::Message { number, message }).await.map_err(|_| gone())?;
                        }
                    }
                }
                _ = tick.tick() => self.keep().await?,
            }
        }
    }

    async fn carry_out(&mut self, order: Order) -> Result<(), BrokerError> {
        match order {
            Order::Prefetch(count) => {
                self.prefetch = count;
                Ok(())
            }
            Order::Publish { publication, sent } => {
                let told = self.sender.send(&publication).await;
                match (&told, sent) {
                    (Ok(()), None) => {}
                    // Its own names are to blame, and nothing else: the session goes on.
                    (Err(BrokerError::Refused(why)), None) => tracing::debug!(why, "a message that nobody waits for"),
                    (Err(error), None) => return Err(error.clone()),
                    (_, Some(sent)) => {
                        let _ = sent.send(told);
                    }
                }
                Ok(())
            }
            Order::Settle { .. } | Order::TakeNoMore | Order::Leave => Ok(()),
        }
    }

    /// Shows that what is held here is held, and takes over what the dead held.
    async fn keep(&mut self) -> Result<(), BrokerError> {
        let tags = self.node.held().tags();
        self.books.keep(&self.commands, &tags, seconds()).await?;
        let doubtful = self.node.held().doubtful();
        for began in doubtful {
            self.books.take_back(&self.commands, began).await?;
        }
        let (now, patience) = (seconds(), self.node.visibility_timeout);
        let taken_over = self.books.take_over(&self.commands, now, patience).await?;
        self.node.held().trust(now - patience.as_secs_f64());
        if taken_over > 0 {
            tracing::warn!(
                broker = self.node.name,
                taken_over,
                "tasks that somebody had taken, and never settled, are back in the queue"
            );
        }
        Ok(())
    }

    /// What is still held goes back, and the mailbox is closed.
    async fn leave(&mut self) -> Result<(), BrokerError> {
        give_up_all(self.node, &self.books, &self.commands).await?;
        let mut closing = redis::cmd("SREM");
        closing
            .arg(self.node.wire.binding_key(&self.node.wire.control_exchange()))
            .arg(&self.mailbox);
        closing
            .query_async::<()>(&mut self.commands.handle())
            .await
            .map_err(|error| self.commands.what(&error))
    }
}

/// Hands over each command, until the connection breaks.
async fn hear(
    subscriber: &mut Subscriber,
    address: &Address,
    hostname: &str,
    heard: mpsc::Sender<Heard>,
) -> BrokerError {
    loop {
        let payload = match subscriber.next(address).await {
            Ok(payload) => payload,
            Err(error) => return error,
        };
        let news = match read_request(RawRequest::Redis { payload: &payload }, hostname) {
            Ok(None) => continue,
            Ok(Some(command)) => Heard::Command(command),
            Err(why) => Heard::Unreadable(why.as_str()),
        };
        if heard.send(news).await.is_err() {
            return gone();
        }
    }
}

/// Takes, and notes what it brings, also when nobody waits for it any more.
fn take(mut taker: Taker, held: Arc<Mutex<Held>>, turn: OwnedMutexGuard<()>) -> Taking {
    tokio::spawn(async move {
        let began = seconds();
        let taken = taker.take(began).await;
        let taken = match taken {
            Ok(taken) => Ok(taken.map(|(taken, payload)| (lock(&held).note(Arc::new(taken)), payload))),
            Err(error) => {
                lock(&held).doubt(began);
                Err(error)
            }
        };
        drop(turn);
        (taker, taken)
    })
}

/// Settles what is to be settled, and puts back the rest.
async fn give_up_all(node: &RedisNode, books: &Books, commands: &Commands) -> Result<(), BrokerError> {
    let mut all = node.held().all();
    // The last first, as each goes in front of those before.
    while !all.is_empty() {
        let ended = all.split_off(all.len().saturating_sub(SETTLE_AT_ONCE));
        settle(node, books, commands, ended).await?;
    }
    Ok(())
}

/// Settles these. Where that fails the next session does it.
async fn settle(
    node: &RedisNode,
    books: &Books,
    commands: &Commands,
    ended: Vec<(u64, Settle)>,
) -> Result<(), BrokerError> {
    let taken: Vec<_> = {
        let mut held = node.held();
        let each = ended
            .iter()
            .filter_map(|(number, how)| Some((held.settle(*number, *how)?, *how)));
        each.collect()
    };
    books.finish(commands, &taken).await?;
    let mut held = node.held();
    for (number, _) in ended {
        held.remove(number);
    }
    Ok(())
}

/// What a session is told. What it was told to settle and did not come to is left to the next one.
struct Orders<'a> {
    node: &'a RedisNode,
    orders: mpsc::Receiver<Order>,
    /// One that was looked at, and is the next; it settles nothing.
    aside: Option<Order>,
}

impl Orders<'_> {
    async fn next(&mut self) -> Option<Order> {
        match self.aside.take() {
            Some(order) => Some(order),
            None => self.orders.recv().await,
        }
    }

    /// This one, and what else is to be settled by now.
    fn and_further(&mut self, number: u64, how: Settle) -> Vec<(u64, Settle)> {
        let mut ended = vec![(number, how)];
        while ended.len() < SETTLE_AT_ONCE
            && let Ok(order) = self.orders.try_recv()
        {
            match order {
                Order::Settle { number, how } => ended.push((number, how)),
                other => {
                    self.aside = Some(other);
                    break;
                }
            }
        }
        ended
    }
}

impl Drop for Orders<'_> {
    fn drop(&mut self) {
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Settle { number, how } = order {
                self.node.held().settle(number, how);
            }
        }
    }
}

/// As kombu does: the queue by its own name, for good; the mailbox, for as long as this one is here.
async fn bind(node: &RedisNode, commands: &Commands, joining: &Joining, mailbox: &str) -> Result<(), BrokerError> {
    let own = node.wire.binding_member(&joining.queue, &joining.queue);
    let mut binding = redis::pipe();
    binding.sadd(node.wire.binding_key(&joining.queue), &own).ignore();
    binding.sadd(node.wire.permanent_key(&joining.queue), &own).ignore();
    binding
        .sadd(node.wire.binding_key(&node.wire.control_exchange()), mailbox)
        .ignore();
    binding
        .query_async(&mut commands.handle())
        .await
        .map_err(|error| commands.what(&error))
}

/// Seconds since the Unix epoch, as kombu writes them.
fn seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

fn gone() -> BrokerError {
    BrokerError::Lost("nobody listens to the session any more".into())
}
