//! The figures as Markdown, for `docs/detection.md`.

use headcount_simulate::report::Quantiles;
use headcount_simulate::run::{Detector, Plan, Results};
use headcount_simulate::score::Tally;

use super::goals;
use super::words::{self, seconds, share, threshold};

/// Where the figures begin in the document.
const BEGIN: &str = "<!-- simulate: begin -->";
/// Where they end.
const END: &str = "<!-- simulate: end -->";

/// Puts the figures between the markers of a document; none if it has none.
pub(super) fn fill(document: &str, figures: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{figures}{END}{after}"))
}

/// The figures.
pub(super) fn write(plan: &Plan, results: &Results) -> String {
    let mut text = format!("\n{} {}\n", words::claim(plan, results), words::run(plan, results));
    text.push_str("\n| goal | came to | |\n|---|---|---|\n");
    for goal in goals::of(plan, results) {
        let (word, _) = words::verdict(goal.reached);
        text.push_str(&format!("| {} | {} | {word} |\n", goal.what, goal.came));
    }
    let own = results
        .measured
        .iter()
        .find(|measured| measured.detector == Detector::Headcount);
    if let Some(own) = own {
        text.push_str("\nHeadcount, scenario by scenario; times in seconds:\n\n");
        text.push_str(
            "| # | scenario | truth | worker-days | false alarms | failures | missed | detected p50 | p99 | max | incidents | messages | right reason | cleared p50 | p99 |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for (scenario, tally) in plan.scenarios.iter().zip(&own.scenarios) {
            let row = format!("| {} | {} | {} |", scenario.number, scenario.name, scenario.truth);
            text.push_str(&format!("{row}{}\n", figures(tally)));
        }
        text.push_str(&format!("| | all | |{}\n", figures(&own.total(plan, |_| true))));
    }
    text.push_str(
        "\nAll rules over the very same events, as they usually are and at their best (the quickest with the fewest false alarms):\n\n\
         | rule | threshold | | false alarms | per 1,000 worker-days | found | detected p50 | p99 | messages |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (measured, why) in words::notable(plan, results) {
        let total = measured.total(plan, |_| true);
        let detect = Quantiles::of(&total.detect);
        text.push_str(&format!(
            "| {} | {} | {why} | {} | {:.1} | {} | {} | {} | {} |\n",
            measured.detector.name(),
            threshold(measured),
            total.false_alarms,
            total.false_rate(),
            share(total.failures - total.missed, total.failures),
            seconds(detect.p50),
            seconds(detect.p99),
            total.messages
        ));
    }
    text.push('\n');
    text
}

fn figures(tally: &Tally) -> String {
    let (detect, clear) = (Quantiles::of(&tally.detect), Quantiles::of(&tally.clear));
    format!(
        " {:.0} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        tally.worker_days,
        tally.false_alarms,
        tally.failures,
        tally.missed,
        seconds(detect.p50),
        seconds(detect.p99),
        seconds(detect.max),
        tally.incidents,
        tally.messages,
        share(tally.diagnosis_right, tally.diagnosed),
        seconds(clear.p50),
        seconds(clear.p99)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_the_markers_stays() {
        let document = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nThe end.\n");
        let filled = fill(&document, "new\n").unwrap();
        assert_eq!(filled, format!("# Title\n\n{BEGIN}\nnew\n{END}\n\nThe end.\n"));
        assert_eq!(fill(&filled, "new\n").unwrap(), filled);
        assert_eq!(fill("no markers", "new"), None);
    }
}
