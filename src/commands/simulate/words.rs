//! The figures for people: the claim first, then what it rests on.

use headcount_simulate::report::Quantiles;
use headcount_simulate::run::{Detector, Measured, Plan, Results};
use headcount_simulate::score::Tally;

use super::goals;
use crate::commands::table::{Cell, Columns, Tone, paint};

/// So many false alarms and misses are shown.
const SHOWN_EXAMPLES: usize = 5;

/// Everything.
pub(super) fn all(plan: &Plan, results: &Results, colours: bool) -> String {
    let mut text = String::new();
    text.push_str(&paint(&claim(plan, results), Tone::Plain, colours));
    text.push_str(&format!("\n{}\n", run(plan, results)));
    for measured in own(results) {
        text.push_str("\nHeadcount, scenario by scenario. Times are in seconds.\n");
        text.push_str(&scenarios(plan, measured).render(colours));
        let examples = measured.total(plan, |_| true).examples;
        for example in examples.iter().take(SHOWN_EXAMPLES) {
            text.push_str(&format!("  {example}\n"));
        }
    }
    let goals = goals::of(plan, results);
    if goals.iter().any(|goal| goal.reached.is_some()) {
        let mut columns = Columns::new(&["GOAL", "CAME TO", ""]);
        for goal in goals.iter().filter(|goal| goal.reached.is_some()) {
            let (word, tone) = verdict(goal.reached);
            columns.row(vec![goal.what.into(), Cell::from(&goal.came), Cell::new(word, tone)]);
        }
        text.push('\n');
        text.push_str(&columns.render(colours));
    }
    if results.measured.len() > 1 {
        text.push_str(
            "\nAll scenarios, each rule as it usually is and at its best: the quickest with the fewest false alarms.\n",
        );
        text.push_str(&rules(plan, results).render(colours));
    }
    text
}

/// A goal's last column.
pub(super) fn verdict(reached: Option<bool>) -> (&'static str, Tone) {
    match reached {
        Some(true) => ("reached", Tone::Good),
        Some(false) => ("MISSED", Tone::Bad),
        None => ("not tried", Tone::Plain),
    }
}

fn own(results: &Results) -> impl Iterator<Item = &Measured> {
    let is_own = |measured: &&Measured| measured.detector == Detector::Headcount;
    results.measured.iter().filter(is_own)
}

/// The first sentence.
pub(super) fn claim(plan: &Plan, results: &Results) -> String {
    let Some(measured) = own(results).next() else {
        return "Without Headcount itself.".to_owned();
    };
    let total = measured.total(plan, |_| true);
    let alarms = match total.false_alarms {
        0 => "no false alarm".to_owned(),
        1 => "1 false alarm".to_owned(),
        more => format!("{more} false alarms"),
    };
    let days = format!("Headcount: {alarms} in {} worker-days", worker_days(total.worker_days));
    match Quantiles::of(&total.detect).p50 {
        Some(p50) => format!(
            "{days}; {} of {} failures found, half of them within {p50:.1} s.",
            total.failures - total.missed,
            total.failures
        ),
        None if total.failures > 0 => format!("{days}; none of {} failures found.", total.failures),
        None => format!("{days}; there was no failure to find."),
    }
}

/// Whole ones, and of few also a part: a run of an hour is not one of nothing.
pub(super) fn worker_days(days: f64) -> String {
    if days > 0.0 && days < 10.0 {
        format!("{days:.2}")
    } else {
        format!("{days:.0}")
    }
}

/// What was run.
pub(super) fn run(plan: &Plan, results: &Results) -> String {
    let many = plan.scenarios.len();
    let sum = |of_quiet: bool| {
        let days = |measured: &Measured| measured.total(plan, |one| one.quiet == of_quiet).worker_days;
        results.measured.first().map_or(0.0, days)
    };
    format!(
        "Seed {}: {many} scenario{} of {} workers; {} worker-days of quiet and {} of faults; {:.1} million heartbeats.",
        plan.seed,
        if many == 1 { "" } else { "s" },
        plan.workers,
        worker_days(sum(true)),
        worker_days(sum(false)),
        results.beats as f64 / 1e6
    )
}

fn scenarios(plan: &Plan, measured: &Measured) -> Columns {
    let mut columns = Columns::new(&[
        "#",
        "SCENARIO",
        "TRUTH",
        "FALSE",
        "FOUND",
        "P50",
        "P99",
        "MAX",
        "INCIDENTS",
        "MESSAGES",
        "RIGHT",
        "CLEAR P50",
        "P99",
    ]);
    for (scenario, tally) in plan.scenarios.iter().zip(&measured.scenarios) {
        let mut row: Vec<Cell> = vec![scenario.number.into(), scenario.name.into(), scenario.truth.into()];
        row.extend(figures(tally));
        columns.row(row);
    }
    let total = measured.total(plan, |_| true);
    let mut row: Vec<Cell> = vec!["".into(), "all".into(), "".into()];
    row.extend(figures(&total));
    columns.row(row);
    columns
}

fn figures(tally: &Tally) -> Vec<Cell> {
    let (detect, clear) = (Quantiles::of(&tally.detect), Quantiles::of(&tally.clear));
    let found = tally.failures - tally.missed;
    vec![
        Cell::new(
            tally.false_alarms,
            if tally.false_alarms == 0 {
                Tone::Plain
            } else {
                Tone::Bad
            },
        ),
        Cell::new(
            share(found, tally.failures),
            if tally.missed == 0 { Tone::Plain } else { Tone::Bad },
        ),
        seconds(detect.p50).into(),
        seconds(detect.p99).into(),
        seconds(detect.max).into(),
        tally.incidents.into(),
        tally.messages.into(),
        share(tally.diagnosis_right, tally.diagnosed).into(),
        seconds(clear.p50).into(),
        seconds(clear.p99).into(),
    ]
}

/// Each rule as it usually is, and at its best.
fn rules(plan: &Plan, results: &Results) -> Columns {
    let mut columns = Columns::new(&[
        "RULE",
        "THRESHOLD",
        "",
        "FALSE",
        "PER 1,000 W-D",
        "FOUND",
        "P50",
        "P99",
        "MESSAGES",
    ]);
    for (measured, why) in notable(plan, results) {
        let total = measured.total(plan, |_| true);
        let detect = Quantiles::of(&total.detect);
        columns.row(vec![
            measured.detector.name().into(),
            threshold(measured).into(),
            why.into(),
            total.false_alarms.into(),
            format!("{:.1}", total.false_rate()).into(),
            share(total.failures - total.missed, total.failures).into(),
            seconds(detect.p50).into(),
            seconds(detect.p99).into(),
            total.messages.into(),
        ]);
    }
    columns
}

/// Each rule at its usual threshold, and at the one with the fewest false alarms, of those the quickest.
pub(super) fn notable<'a>(plan: &Plan, results: &'a Results) -> Vec<(&'a Measured, &'static str)> {
    let mut notable = Vec::new();
    for detector in &plan.detectors {
        let mut of_it: Vec<(&Measured, Tally)> = results
            .measured
            .iter()
            .filter(|measured| measured.detector == *detector)
            .map(|measured| (measured, measured.total(plan, |_| true)))
            .collect();
        let usual = of_it
            .iter()
            .find(|(measured, _)| measured.threshold == detector.usual());
        let usual = usual.map(|(measured, _)| *measured);
        of_it.sort_by(|(a, of_a), (b, of_b)| {
            (of_a.false_alarms, of_a.missed)
                .cmp(&(of_b.false_alarms, of_b.missed))
                .then(a.threshold.total_cmp(&b.threshold))
        });
        let best = of_it.first().map(|(measured, _)| *measured);
        match (usual, best) {
            (Some(usual), Some(best)) if usual.threshold == best.threshold => notable.push((usual, "")),
            (usual, best) => {
                notable.extend(usual.map(|measured| (measured, "usual")));
                notable.extend(best.map(|measured| (measured, "best")));
            }
        }
    }
    notable
}

/// A threshold with its unit.
pub(super) fn threshold(measured: &Measured) -> String {
    let threshold = measured.threshold;
    match measured.detector {
        Detector::Headcount => format!("down_after {threshold:.0} s"),
        Detector::Celery => format!("{threshold:.0} %"),
        Detector::Timeout => format!("{threshold:.0} s"),
        Detector::Phi => format!("phi {threshold:.0}"),
        Detector::Ping => format!("{threshold:.0} misses"),
    }
}

/// So many of so many; nothing of none.
pub(super) fn share(some: u64, of: u64) -> String {
    match of {
        0 => "–".to_owned(),
        _ if some == of => of.to_string(),
        _ => format!("{some}/{of}"),
    }
}

/// To a tenth.
pub(super) fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_is_not_one_of_nothing() {
        let shown = [0.0, 4.0 / 24.0, 9.5, 10.0, 1_799.6].map(worker_days);
        assert_eq!(shown, ["0", "0.17", "9.50", "10", "1800"]);
    }
}
