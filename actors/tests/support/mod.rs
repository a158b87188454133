//! A world for actors: its own time, and ports that do what a test says.

pub(super) mod broker;
pub(super) mod house;
pub(super) mod jobs;
pub(super) mod notifier;
pub(super) mod recorder;
pub(crate) mod reports;
pub(super) mod site;
pub(super) mod store;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::System;
use compact_str::CompactString;
use headcount_core::time::Wall;
use tokio::sync::Notify;

use crate::clock::machine;

thread_local! {
    /// How long this test's world has existed, over all of its lives.
    static AGE: Cell<Duration> = const { Cell::new(Duration::from_secs(1)) };
}

/// Runs one life of the program: all actors live in this thread, and time jumps to the next timer whenever nobody has
/// anything to do. When it returns, all actors are gone, as after a kill. The next life goes on a second later.
pub(super) fn live<T>(life: impl Future<Output = T>) -> T {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    System::with_tokio_rt(runtime).block_on(async move {
        machine::go_on_from(AGE.get());
        let result = life.await;
        AGE.set(age() + Duration::from_secs(1));
        result
    })
}

/// How long this test's world has existed.
pub(super) fn age() -> Duration {
    machine::elapsed()
}

/// The next life begins when the wall clock shows this.
pub(super) fn skip_to(wall: Wall) {
    AGE.set(machine::elapsed_at(wall));
}

/// Waits until something is so; fails if it is not within a minute of the test's own time.
pub(super) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = age() + Duration::from_secs(60);
    while !so() {
        assert!(age() < deadline, "this did not come: {what}");
        pass(Duration::from_millis(10)).await;
    }
}

/// Lets time pass.
pub(super) async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
}

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What all ports of a world share: whether it has stopped, as it does at a kill.
#[derive(Default)]
pub(super) struct World {
    stopped: AtomicBool,
    stop: Notify,
    /// By notifier: the message that it accepted last, until the store knows.
    unknown: Mutex<BTreeMap<CompactString, usize>>,
}

impl World {
    /// Nothing happens any more in this life.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.stop.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) async fn stopped(&self) {
        self.stop.notified().await;
    }

    /// Ports call this wherever the program waits for them: in a world that has stopped it never returns.
    pub(super) async fn step(&self) {
        tokio::task::yield_now().await;
        if self.stopped.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    /// A new life begins.
    pub(super) fn go_on(&self) {
        self.stopped.store(false, Ordering::SeqCst);
        lock(&self.unknown).clear();
    }

    pub(super) fn accepted(&self, notifier: &str, message: usize) {
        lock(&self.unknown).insert(notifier.into(), message);
    }

    pub(super) fn known(&self, notifier: &str) {
        lock(&self.unknown).remove(notifier);
    }

    /// The message that this notifier accepted, and of whose acceptance the store never heard.
    pub(super) fn unknown(&self, notifier: &str) -> Option<usize> {
        lock(&self.unknown).get(notifier).copied()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
