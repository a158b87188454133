//! What actors tell a tracer of an incident joins to one trace, whatever happens in between.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use headcount_core::alert::Turn;
use headcount_core::detect::BrokerState;
use headcount_core::time::Wall;
use headcount_core::trace::incident::{Check, Fall};
use headcount_core::trace::{Span, TraceId};

use super::support::house::House;
use super::support::notifier::{Answer, Channel};
use super::support::store::FakeStore;
use super::support::{World, live, lock, ms, pass, reports, secs, until};
use crate::clock::Clock;
use crate::messages::FleetReported;
use crate::ports::traces::{SharedTracer, Tracer};

#[derive(Default)]
struct Recorder(Mutex<Vec<Span>>);

impl Tracer for Recorder {
    fn is_open(&self) -> bool {
        true
    }

    fn keeps(&self, _: TraceId) -> bool {
        true
    }

    fn take(&self, span: Span) {
        lock(&self.0).push(span);
    }
}

impl Recorder {
    fn named(&self, name: &str) -> Vec<Span> {
        let spans = lock(&self.0);
        spans.iter().filter(|span| span.name == name).cloned().collect()
    }

    /// All spans so far are one trace with one root; the root is returned.
    fn joined(&self) -> Span {
        let spans = lock(&self.0);
        let ids: BTreeSet<_> = spans.iter().map(|span| span.id).collect();
        assert_eq!(ids.len(), spans.len(), "an id twice: {spans:#?}");
        let roots: Vec<&Span> = spans.iter().filter(|span| span.parent.is_none()).collect();
        assert_eq!(roots.len(), 1, "{spans:#?}");
        for span in spans.iter() {
            assert_eq!(span.trace, roots[0].trace, "{span:?}");
            assert!(span.parent.is_none_or(|parent| ids.contains(&parent)), "{span:?}");
            assert!(span.began >= roots[0].began && span.ended >= span.began, "{span:?}");
        }
        roots[0].clone()
    }
}

/// What outlives a house.
struct Site {
    store: Arc<FakeStore>,
    channel: Arc<Channel>,
    recorder: Arc<Recorder>,
}

impl Site {
    fn new() -> Self {
        let world = Arc::new(World::default());
        Self {
            store: FakeStore::new(&world),
            channel: Channel::new(&world, "slack", false),
            recorder: Arc::default(),
        }
    }

    fn house(&self) -> House {
        let tracer: SharedTracer = self.recorder.clone();
        House::traced(&self.store, std::slice::from_ref(&self.channel), &tracer)
    }
}

/// A fleet whose first worker was last seen nine seconds ago, suspected five seconds later and found down now.
fn fallen(now: Wall) -> FleetReported {
    let check = |ago| Check {
        began: now - secs(ago),
        ended: now - ms(ago * 1_000 - 500),
        present: Some(false),
    };
    let mut reported = reports::fleet("sms", "main", 1);
    let missing = &mut reported.report.verdict.missing[0];
    missing.last_seen = Some(now - secs(9));
    reported.falls = vec![Fall {
        hostname: missing.hostname.clone(),
        last_seen: None,
        suspected_at: Some(now - secs(4)),
        down_at: now,
        checks: vec![check(3), check(2), check(1)],
    }];
    reported
}

#[test]
fn an_alert_is_one_trace_over_a_restart() {
    let site = Site::new();
    let (channel, recorder) = (&site.channel, &site.recorder);
    let mut answers = [Answer::Later(None)].into_iter();
    channel.answer(move |_, _| answers.next().unwrap_or(Answer::Accepts));
    let life = |missing: bool, turns: &[Turn]| {
        live(async {
            let house = site.house();
            let first = Clock.now().wall;
            until("what is told", || {
                let _ = house
                    .aggregator
                    .try_send(reports::broker("main", BrokerState::Heard, false));
                let report = if missing {
                    fallen(first)
                } else {
                    reports::fleet("sms", "main", 0)
                };
                let _ = house.aggregator.try_send(report);
                channel.turns() == turns
            })
            .await;
            pass(secs(2)).await;
        });
    };
    life(true, &[Turn::Opened]);
    let root = recorder.joined();
    let names = [
        "worker.silent",
        "worker.suspect",
        "incident.judge",
        "incident.hold",
        "outbox.write",
    ];
    let way = names.map(|name| {
        let found = recorder.named(name);
        assert_eq!(found.len(), 1, "{name}: {found:#?}");
        found[0].clone()
    });
    assert!(way.windows(2).all(|pair| pair[0].ended <= pair[1].began), "{way:#?}");
    assert_eq!(way[0].began, root.began);
    assert_eq!(recorder.named("worker.check").len(), 3);
    let attempts = recorder.named("notify");
    let failed: Vec<bool> = attempts.iter().map(|attempt| attempt.failed.is_some()).collect();
    assert_eq!(failed, [true, false]);

    life(false, &[Turn::Opened, Turn::Recovered]);
    assert_eq!(
        recorder.joined(),
        root,
        "the same root still, and everything hangs on it"
    );
    assert_eq!(
        (recorder.named("notify").len(), recorder.named("outbox.wait").len()),
        (3, 2)
    );
}

#[test]
fn workers_of_one_name_on_two_brokers_fall_each_in_its_own_way() {
    let site = Site::new();
    let (channel, recorder) = (&site.channel, &site.recorder);
    live(async {
        let house = site.house();
        let now = Clock.now().wall;
        let here = fallen(now);
        let mut there = fallen(now - secs(10));
        let fleet = &mut there.report.verdict.fleet;
        (fleet.broker, fleet.name) = ("east".into(), "first".into());
        assert_eq!(here.falls[0].hostname, there.falls[0].hostname);
        for broker in ["east", "main"] {
            let _ = house
                .aggregator
                .try_send(reports::broker(broker, BrokerState::Heard, false));
        }
        let _ = house.aggregator.try_send(there);
        let _ = house.aggregator.try_send(here);
        until("that both are told", || channel.turns().len() == 2).await;
        let suspects = recorder.named("worker.suspect");
        let ends: BTreeSet<Wall> = suspects.iter().map(|span| span.ended).collect();
        assert_eq!(ends, [now - secs(10), now].into(), "{suspects:#?}");
        let traces: BTreeSet<_> = suspects.iter().map(|span| span.trace).collect();
        assert_eq!((traces.len(), suspects.len()), (2, 2), "{suspects:#?}");
    });
}

#[test]
fn what_was_over_before_it_was_told_has_a_root_too() {
    let site = Site::new();
    let (channel, recorder) = (&site.channel, &site.recorder);
    live(async {
        let house = site.house();
        let _ = house
            .aggregator
            .try_send(reports::broker("main", BrokerState::Heard, false));
        let mut unsettled = fallen(Clock.now().wall);
        unsettled.report.verdict.unsettled = true;
        let _ = house.aggregator.try_send(unsettled);
        until("that it is opened", || !recorder.named("incident.store").is_empty()).await;
        let _ = house.aggregator.try_send(reports::fleet("sms", "main", 0));
        until("that it is over", || !recorder.named("incident").is_empty()).await;
        pass(secs(5)).await;
    });
    recorder.joined();
    assert!(recorder.named("notify").is_empty() && channel.turns().is_empty());
}
