//! The judging half of the program: aggregator, debouncer, notifiers.

use std::sync::Arc;

use actix::{Addr, Arbiter};
use headcount_core::status::Status;
use tokio::sync::{mpsc, watch};

use super::notifier::Channel;
use super::store::FakeStore;
use crate::debouncer::{Addressee, Debouncer, Debouncing};
use crate::health_aggregator::{Aggregating, HealthAggregator};
use crate::meters::{ActorLabel, FleetLabel, Meters, NotificationLabel, SharedSeries};
use crate::ports::Notifier;
use crate::ports::traces::{NoTracer, SharedTracer};
use crate::slack_notifier::{Notifying, SlackNotifier};
use crate::supervise::{Post, Supervision};
use crate::vitals::Vitals;

/// Messages that may wait for an actor of a test.
pub(in crate::tests) const MAILBOX: usize = 64;

/// A supervision with what it writes to.
pub(in crate::tests) struct Watch {
    pub(in crate::tests) supervision: Supervision,
    pub(in crate::tests) vitals: Vitals,
    pub(in crate::tests) meters: Meters,
    pub(in crate::tests) given_up: mpsc::UnboundedReceiver<compact_str::CompactString>,
}

impl Watch {
    pub(in crate::tests) fn new() -> Self {
        let (vitals, meters) = (Vitals::default(), Meters::default());
        let (supervision, given_up) = Supervision::new(vitals.clone(), meters.clone());
        Self {
            supervision,
            vitals,
            meters,
            given_up,
        }
    }

    pub(in crate::tests) fn start<A>(&self, kind: &'static str, make: impl FnOnce() -> A + Send + 'static) -> Addr<A>
    where
        A: actix::Actor<Context = actix::Context<A>> + actix::Supervised,
    {
        let post = Post {
            kind,
            of: None,
            mailbox: MAILBOX,
        };
        self.supervision.start(&Arbiter::current(), post, make)
    }

    /// How often an actor was started again.
    pub(in crate::tests) fn restarts(&self, kind: &str) -> u64 {
        let label = ActorLabel { actor: kind.to_owned() };
        self.meters.actor_restarts.get_or_create(&label).get()
    }

    /// How often a fleet could not be probed.
    pub(in crate::tests) fn probe_failures(&self, fleet: &str) -> u64 {
        let label = FleetLabel {
            fleet: fleet.to_owned(),
        };
        self.meters.probe_failures.get_or_create(&label).get()
    }

    pub(in crate::tests) fn notifications(&self, notifier: &str, outcome: &'static str) -> u64 {
        let label = NotificationLabel {
            notifier: notifier.to_owned(),
            outcome,
        };
        self.meters.notifications.get_or_create(&label).get()
    }
}

/// The actors.
pub(in crate::tests) struct House {
    pub(in crate::tests) watch: Watch,
    pub(in crate::tests) aggregator: Addr<HealthAggregator>,
    pub(in crate::tests) debouncer: Addr<Debouncer>,
}

impl House {
    pub(in crate::tests) fn build(store: &Arc<FakeStore>, channels: &[Arc<Channel>]) -> Self {
        Self::traced(store, channels, &(Arc::new(NoTracer) as SharedTracer))
    }

    /// One whose actors tell a tracer.
    pub(in crate::tests) fn traced(store: &Arc<FakeStore>, channels: &[Arc<Channel>], tracer: &SharedTracer) -> Self {
        let watch = Watch::new();
        let mut addressees = Vec::new();
        for channel in channels {
            let notifying = Notifying {
                notifier: channel.clone(),
                store: store.clone(),
                meters: watch.meters.clone(),
                tracer: tracer.clone(),
            };
            let addr = watch.start("SlackNotifier", move || SlackNotifier::new(notifying));
            addressees.push(Addressee {
                name: channel.name().into(),
                has_threads: channel.has_threads(),
                wake: addr.recipient(),
            });
        }
        let debouncing = Debouncing {
            store: store.clone(),
            notifiers: addressees,
            public_url: None,
            tracer: tracer.clone(),
        };
        let debouncer = watch.start("Debouncer", move || Debouncer::new(debouncing));
        let (status, _) = watch::channel(Arc::new(Status::default()));
        let aggregating = Aggregating {
            store: store.clone(),
            debouncer: debouncer.clone().recipient(),
            view: Arc::new(status),
            brokers: vec!["main".into()],
            tracer: tracer.clone(),
            series: SharedSeries::default(),
        };
        let aggregator = watch.start("HealthAggregator", move || HealthAggregator::new(aggregating));
        Self {
            watch,
            aggregator,
            debouncer,
        }
    }
}
