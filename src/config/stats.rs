//! `[[stats]]`.

use headcount_edge::stats::Config;

use super::spot::Spot;

/// Reports all that is wrong with a pipeline's table, by itself and beside those before it.
pub(super) fn check(config: &Config, before: &[Config], spot: &mut Spot<'_>) {
    // What has already been found faulty is missing here, which would look like a mistake of its own.
    if spot.has_mistakes() {
        return;
    }
    for mistake in config.check() {
        spot.say(&mistake.key, mistake.why);
    }
    if before.iter().any(|other| other.name == config.name) {
        spot.say(
            "name",
            format!(
                "there is another pipeline named {:?}: its state is kept by its name",
                config.name
            ),
        );
    }
}
