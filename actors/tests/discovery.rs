//! Who answers a question to all.

use headcount_core::detect::table::MAX_FLEETS;

use super::support::broker::FakeBroker;
use super::support::live;
use super::support::site::Site;

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
