//! `[[stats]]`.

use headcount_edge::stats::Config;

use super::spot::Spot;

/// Reports all that is wrong with a pipeline's table, by itself and beside those before it.
pub(super) fn check(config: &Config, before: &[Config], spot: &mut Spot<'_>) {
    let mut found = Vec::new();
    for mistake in config.check() {
        // What has already been found faulty is missing here, which would look like a mistake of its own.
        let key = mistake.key.split('.').next().unwrap_or_default();
        if !spot.has_mistakes_under(key) {
            found.push(mistake);
        }
    }
    for mistake in found {
        spot.say(&mistake.key, mistake.why);
    }
    if !spot.has_mistakes_under("name") && before.iter().any(|other| other.name == config.name) {
        spot.say(
            "name",
            format!(
                "there is another pipeline named {:?}: its state is kept by its name",
                config.name
            ),
        );
    }
}
