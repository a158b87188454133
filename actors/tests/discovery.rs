//! Who answers a question to all.

use headcount_core::detect::roster::Roster;
use headcount_core::detect::strangers::COUNTED_FOR;
use headcount_core::detect::table::MAX_FLEETS;
use headcount_core::glob::Glob;

use super::support::broker::FakeBroker;
use super::support::site::Site;
use super::support::{live, pass, secs, until};

#[test]
fn answers_in_made_up_names_start_no_probers_without_end() {
    live(async {
        let site = Site::new(&FakeBroker::new(&[]));
        let known = |broker: &str, fleet: usize| {
            let prober = site.directory.of_answer(broker, &format!("made-up-{fleet}"));
            prober.is_some()
        };
        assert!((0..MAX_FLEETS).all(|fleet| known("main", fleet)));
        assert!(!(MAX_FLEETS..2 * MAX_FLEETS).any(|fleet| known("main", fleet)));
        assert!(known("main", 7), "those that were taken up go on being asked");
        assert!(known("other", MAX_FLEETS), "each broker has a bound of its own");
    });
}

/// A mistake in a pattern: both workers are left alone, the one that beats and the one that only answers, and are counted.
#[test]
fn workers_that_match_no_fleet_are_counted() {
    live(async {
        let broker = FakeBroker::new(&["sms@h1"]);
        broker.state().answer = vec!["sms@h2".into(), "headcount@h".into()];
        let patterns = vec![Glob::parse("smss@*").unwrap()];
        let roster = Roster::of([("smss".into(), patterns)]).without(vec!["headcount@h".into()]);
        let site = Site::of(&broker, roster);
        let unmatched = || site.reported().map(|(status, _)| status.unmatched);
        until("both are counted", || unmatched() == Some(2)).await;
        // They answer once a minute, and beat every two seconds.
        pass(COUNTED_FOR).await;
        assert_eq!(unmatched(), Some(2));
        broker.state().answer.clear();
        broker.state().workers.clear();
        pass(COUNTED_FOR + secs(70)).await;
        assert_eq!(unmatched(), Some(0), "whoever is gone is not counted for ever");
    });
}
