//! Supervision: a panic in one actor restarts that one and no other.
//!
//! actix's own `Supervisor` restarts an actor that stops, and dies with one that panics (measured; CRATES). Here the
//! context's future is polled inside of `catch_unwind`; after a panic the actor rests for a while and is restarted by
//! its context. Its address stays valid, and what was queued behind the panic is handled after the restart. An actor
//! that panics again and again is given up, and with it the program: systemd then starts it anew.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::dev::channel::channel;
use actix::{Actor, Addr, ArbiterHandle, Context, Supervised};
use compact_str::CompactString;
use headcount_core::doubling::doubled;
use headcount_core::span::Span;
use headcount_core::time::Mono;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::clock::Clock;
use crate::meters::{ActorLabel, Meters};
use crate::vitals::{self, Duty, Vital, Vitals};

/// The rest after the first panic; it doubles with each that follows.
const FIRST_REST: Duration = Duration::from_millis(100);
/// The longest rest. Raising it leaves a part of Headcount out for longer.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// After so long without a panic the next one counts as the first.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// So many panics without a healthy stretch between them, and the actor is given up.
const MAX_PANICS: u32 = 10;

/// Starts actors, and watches over them.
#[derive(Clone, Debug)]
pub struct Supervision {
    vitals: Vitals,
    meters: Meters,
    given_up: mpsc::UnboundedSender<CompactString>,
}

/// What an actor is called, and how much may wait for it.
#[derive(Clone, Debug)]
pub struct Post {
    /// The kind, such as `FleetProber`: a label of the metrics.
    pub kind: &'static str,
    /// Which of that kind, such as the fleet's name; none if there is only one.
    pub of: Option<CompactString>,
    /// Messages that may wait in its mailbox; a sender is told when it is full.
    pub mailbox: usize,
}

impl Post {
    /// The name that `/healthz` shows, such as `FleetProber(sms)`.
    pub fn name(&self) -> CompactString {
        match &self.of {
            Some(of) => compact_str::format_compact!("{}({of})", self.kind),
            None => self.kind.into(),
        }
    }
}

impl Supervision {
    /// A supervision, and the end at which the program hears of actors that were given up. That channel is unbounded
    /// because an actor is given up at most once.
    pub fn new(vitals: Vitals, meters: Meters) -> (Self, mpsc::UnboundedReceiver<CompactString>) {
        let (given_up, receiver) = mpsc::unbounded_channel();
        (
            Self {
                vitals,
                meters,
                given_up,
            },
            receiver,
        )
    }

    /// Starts an actor in the thread of `arbiter`.
    pub fn start<A>(&self, arbiter: &ArbiterHandle, post: Post, make: impl FnOnce() -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>> + Supervised,
    {
        let (sender, receiver) = channel(post.mailbox);
        let watch = self.clone();
        // Noted before it runs, so that one whose thread never comes up is missed.
        watch.vitals.note(&post.name(), Vital::Running, false);
        // From zero, so that the first restart is an increase.
        let label = ActorLabel {
            actor: post.kind.to_owned(),
        };
        drop(watch.meters.actor_restarts.get_or_create(&label));
        let name = post.name();
        let spawned = arbiter.spawn_fn(move || {
            // There is nothing to restart yet: one that cannot even be made is given up at once.
            match catch_unwind(AssertUnwindSafe(make)) {
                Ok(actor) => {
                    let future = Context::with_receiver(receiver).into_future(actor);
                    drop(actix::spawn(Guarded::new(future, post, watch)));
                }
                Err(payload) => watch.give_up(post.name(), reason(payload.as_ref())),
            }
        });
        if !spawned {
            tracing::error!(
                actor = %name,
                "an actor could not be started, because its thread has ended: what it does is not done; restart Headcount, and \
                 please report this"
            );
        }
        Addr::new(sender)
    }

    fn give_up(&self, actor: CompactString, reason: String) {
        tracing::error!(
            %actor, reason,
            "the actor is given up, and the program ends: its supervisor should start it again; please report the reason"
        );
        self.vitals.note(&actor, Vital::Failed, false);
        // Nobody listens any more only while the program ends anyway.
        let _ = self.given_up.send(actor);
    }
}

/// An actor's future, with its panics caught.
struct Guarded<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    future: ContextFut<A, Context<A>>,
    post: Post,
    duty: Rc<Duty>,
    watch: Supervision,
    rest: Option<Pin<Box<Sleep>>>,
    panics: u32,
    last_panic: Option<Mono>,
}

impl<A> Guarded<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    fn new(future: ContextFut<A, Context<A>>, post: Post, watch: Supervision) -> Self {
        Self {
            future,
            duty: Rc::new(Duty {
                kind: post.kind,
                of: post.of.clone(),
            }),
            post,
            watch,
            rest: None,
            panics: 0,
            last_panic: None,
        }
    }

    /// Notes a panic. False if it was one too many.
    fn panicked(&mut self, payload: &(dyn Any + Send)) -> bool {
        let now = Clock.mono();
        if self.last_panic.is_none_or(|last| now.since(last) >= HEALTHY_AFTER) {
            self.panics = 0;
        }
        self.last_panic = Some(now);
        self.panics += 1;
        let (actor, reason) = (self.post.name(), reason(payload));
        if self.panics > MAX_PANICS {
            let reason = format!("it panicked {} times in a row, the last time: {reason}", self.panics);
            self.watch.give_up(actor, reason);
            return false;
        }
        let rest = doubled(FIRST_REST, self.panics - 1, LONGEST_REST);
        // Where it was and why has been told when it happened (`edge/sentry/panics.rs`).
        tracing::warn!(%actor, reason, rest = %Span::about(rest), "the actor starts anew from the store after its panic, as soon as it has rested");
        self.watch.vitals.note(&actor, Vital::Restarting, false);
        self.rest = Some(Box::pin(tokio::time::sleep(rest)));
        true
    }

    fn restarted(&self) {
        self.watch.vitals.note(&self.post.name(), Vital::Running, true);
        let label = ActorLabel {
            actor: self.post.kind.to_owned(),
        };
        self.watch.meters.actor_restarts.get_or_create(&label).inc();
    }
}

impl<A> Future for Guarded<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        let _duty = vitals::on_duty(this.duty.clone());
        loop {
            if let Some(rest) = &mut this.rest {
                ready!(rest.as_mut().poll(cx));
                this.rest = None;
                match catch_unwind(AssertUnwindSafe(|| this.future.restart())) {
                    Ok(true) => this.restarted(),
                    // Nobody holds its address any more.
                    Ok(false) => {
                        this.watch.vitals.remove(&this.post.name());
                        return Poll::Ready(());
                    }
                    Err(payload) if this.panicked(payload.as_ref()) => continue,
                    Err(_) => return Poll::Ready(()),
                }
            }
            match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.future).poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => {
                    this.watch.vitals.remove(&this.post.name());
                    return Poll::Ready(());
                }
                Err(payload) if this.panicked(payload.as_ref()) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}

fn reason(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
