//! Fault points, in tests only: each actor can be made to panic.

use actix::{Context, Handler};

use crate::broker_listener::BrokerListener;
use crate::debouncer::Debouncer;
use crate::fleet_prober::FleetProber;
use crate::health_aggregator::HealthAggregator;
use crate::job_scheduler::JobScheduler;
use crate::messages::Provoke;
use crate::slack_notifier::SlackNotifier;
use crate::stats_pipeline::{StatsPublisher, StatsReader};
use crate::stats_processor::StatsProcessor;

macro_rules! panics_when_provoked {
    ($($actor:ty),+ $(,)?) => {
        $(impl Handler<Provoke> for $actor {
            type Result = ();

            fn handle(&mut self, _: Provoke, _: &mut Context<Self>) {
                panic!("provoked by a test");
            }
        })+
    };
}

panics_when_provoked!(
    BrokerListener,
    Debouncer,
    FleetProber,
    HealthAggregator,
    JobScheduler,
    SlackNotifier,
    StatsProcessor,
    StatsPublisher,
    StatsReader
);
