//! Supervision: a panic anywhere in an actor restarts that one, and nothing is lost but what panicked.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use actix::prelude::SendError;
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Supervised, WrapFuture};

use super::support::house::{MAILBOX, Watch};
use super::support::{live, lock, ms, pass, secs, until};
use crate::vitals::Vital;

/// Where it is to panic, and how often.
#[derive(Default)]
struct Plan {
    started: AtomicU32,
    restarting: AtomicU32,
    handled: Mutex<Vec<u32>>,
}

fn due(times: &AtomicU32) -> bool {
    times
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok()
}

struct Fragile(Arc<Plan>);

#[derive(Message)]
#[rtype(result = "()")]
enum Do {
    Note(u32),
    Panic,
    PanicInAFuture,
}

impl Actor for Fragile {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        assert!(!due(&self.0.started), "in started");
    }
}

impl Supervised for Fragile {
    fn restarting(&mut self, _: &mut Context<Self>) {
        assert!(!due(&self.0.restarting), "in restarting");
    }
}

impl Handler<Do> for Fragile {
    type Result = ();

    fn handle(&mut self, message: Do, context: &mut Context<Self>) {
        match message {
            Do::Note(n) => lock(&self.0.handled).push(n),
            Do::Panic => panic!("in a handler"),
            Do::PanicInAFuture => {
                let future = async {
                    tokio::task::yield_now().await;
                    panic!("in a future")
                };
                context.spawn(future.into_actor(self));
            }
        }
    }
}

fn start(watch: &Watch, kind: &'static str) -> (Addr<Fragile>, Arc<Plan>) {
    let plan = Arc::new(Plan::default());
    let own = plan.clone();
    (watch.start(kind, move || Fragile(own)), plan)
}

fn vital(watch: &Watch, kind: &str) -> (Vital, u64) {
    let report = watch.vitals.report();
    let one = report.iter().find(|one| one.actor == kind).unwrap();
    (one.vital, one.restarts)
}

#[test]
fn a_panic_restarts_one_and_what_was_queued_is_handled() {
    live(async {
        let watch = Watch::new();
        let (fragile, plan) = start(&watch, "Fragile");
        let (other, others) = start(&watch, "Other");
        for (n, panic) in [Do::Panic, Do::PanicInAFuture].into_iter().enumerate() {
            let n = u32::try_from(n).unwrap();
            lock(&plan.handled).clear();
            fragile.try_send(Do::Note(1)).unwrap();
            fragile.try_send(panic).unwrap();
            fragile.try_send(Do::Note(2)).unwrap();
            until("the rest", || vital(&watch, "Fragile").0 == Vital::Restarting).await;
            fragile.try_send(Do::Note(3)).unwrap();
            other.send(Do::Note(n)).await.unwrap();
            until("what was queued", || *lock(&plan.handled) == [1, 2, 3]).await;
            fragile.send(Do::Note(4)).await.unwrap();
            assert_eq!(vital(&watch, "Fragile"), (Vital::Running, u64::from(n) + 1));
            assert_eq!(watch.restarts("Fragile"), u64::from(n) + 1);
        }
        assert_eq!(*lock(&others.handled), [0, 1]);
        assert_eq!(vital(&watch, "Other"), (Vital::Running, 0));
    });
}

#[test]
fn a_panic_in_started_or_restarting_is_one_more_try() {
    live(async {
        let watch = Watch::new();
        let plan = Arc::new(Plan::default());
        plan.started.store(2, Ordering::SeqCst);
        plan.restarting.store(2, Ordering::SeqCst);
        let own = plan.clone();
        let fragile = watch.start("Fragile", move || Fragile(own));
        fragile.try_send(Do::Note(1)).unwrap();
        until("its start", || *lock(&plan.handled) == [1]).await;
        assert_eq!(vital(&watch, "Fragile").0, Vital::Running);
        // Twice in `started` and twice in `restarting`: two of the four restarts began.
        assert_eq!(watch.restarts("Fragile"), 2);
    });
}

#[test]
fn one_that_cannot_even_be_made_is_given_up() {
    live(async {
        let mut watch = Watch::new();
        let addr = watch.start("Fragile", || -> Fragile { panic!("while it is made") });
        until("word of it", || watch.given_up.try_recv().as_deref() == Ok("Fragile")).await;
        assert_eq!(vital(&watch, "Fragile"), (Vital::Failed, 0));
        assert!(matches!(addr.try_send(Do::Note(1)), Err(SendError::Closed(_))));
    });
}

#[test]
fn the_mailbox_stays_bounded_while_an_actor_rests() {
    live(async {
        let watch = Watch::new();
        let (fragile, plan) = start(&watch, "Fragile");
        fragile.try_send(Do::Panic).unwrap();
        until("the rest", || vital(&watch, "Fragile").0 == Vital::Restarting).await;
        let taken = (0..).take_while(|n| fragile.try_send(Do::Note(*n)).is_ok()).count();
        assert!((MAILBOX..=MAILBOX + 1).contains(&taken), "{taken}");
        assert!(matches!(fragile.try_send(Do::Note(0)), Err(SendError::Full(_))));
        until("all that was taken", || lock(&plan.handled).len() == taken).await;
    });
}

#[test]
fn too_many_panics_are_given_up_and_the_program_hears_of_it() {
    live(async {
        let mut watch = Watch::new();
        let (fragile, _) = start(&watch, "Fragile");
        let (other, _) = start(&watch, "Other");
        let mut panics = 0;
        while fragile.try_send(Do::Panic).is_ok() {
            panics += 1;
            pass(secs(11)).await;
            if vital(&watch, "Fragile").0 == Vital::Failed {
                break;
            }
        }
        assert_eq!(panics, 11);
        assert_eq!(vital(&watch, "Fragile"), (Vital::Failed, 10));
        assert_eq!(watch.given_up.try_recv().unwrap(), "Fragile");
        other.send(Do::Note(1)).await.unwrap();
    });
}

#[test]
fn a_healthy_stretch_forgives_earlier_panics() {
    live(async {
        let mut watch = Watch::new();
        let (fragile, plan) = start(&watch, "Fragile");
        for n in 0..25 {
            fragile.try_send(Do::Panic).unwrap();
            pass(secs(if n % 5 == 4 { 75 } else { 11 })).await;
        }
        // The rest is short again, as after a first panic.
        fragile.try_send(Do::Panic).unwrap();
        fragile.try_send(Do::Note(1)).unwrap();
        pass(ms(150)).await;
        assert_eq!(*lock(&plan.handled), [1]);
        assert_eq!(watch.restarts("Fragile"), 26);
        assert!(watch.given_up.try_recv().is_err());
    });
}

#[test]
fn nobody_asks_after_one_that_nobody_can_reach() {
    live(async {
        let watch = Watch::new();
        let (fragile, _) = start(&watch, "Fragile");
        fragile.try_send(Do::Panic).unwrap();
        drop(fragile);
        until("its end", || watch.vitals.report().is_empty()).await;
    });
}
