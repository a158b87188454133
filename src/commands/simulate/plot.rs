//! False alarms against detection time, each rule a curve of its thresholds, as an SVG.
//!
//! Written by hand: of the libraries for charts none draws a zero beside a logarithmic axis, and zero is the point of it.

use std::fmt::Write;

use headcount_simulate::report::Quantiles;
use headcount_simulate::run::{Detector, Measured, Plan, Results};
use headcount_simulate::score::Tally;

use super::words::threshold;

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 560.0;
/// The plot itself.
const LEFT: f64 = 90.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 430.0;
/// Where no false alarm is drawn: apart from the logarithmic axis, which has no zero.
const ZERO: f64 = 475.0;

/// One threshold of one rule.
struct Point<'a> {
    measured: &'a Measured,
    detect: f64,
    rate: f64,
    missed: u64,
}

/// The picture.
pub(super) fn draw(plan: &Plan, results: &Results) -> String {
    let points: Vec<Point<'_>> = results
        .measured
        .iter()
        .filter_map(|measured| point(plan, measured))
        .collect();
    let x = Axis::over(points.iter().map(|point| point.detect), LEFT, RIGHT);
    let rates = points.iter().map(|point| point.rate).filter(|rate| *rate > 0.0);
    let y = Axis::over(rates, BOTTOM, TOP);
    let mut svg = head(plan, results);
    grid(&mut svg, &x, &y);
    for detector in Detector::ALL {
        let own: Vec<&Point<'_>> = points
            .iter()
            .filter(|point| point.measured.detector == detector)
            .collect();
        curve(&mut svg, &own, &x, &y);
    }
    legend(&mut svg, plan);
    svg.push_str("</svg>\n");
    svg
}

/// Over the scenarios in which workers fail: no baseline could find a broker's failure or a stalled worker.
fn point<'a>(plan: &Plan, measured: &'a Measured) -> Option<Point<'a>> {
    let total = measured.total(plan, |_| true);
    let workers: Tally = measured.total(plan, |scenario| matches!(scenario.truth, "down" | "by count"));
    let detect = Quantiles::of(&workers.detect).p50?;
    Some(Point {
        measured,
        detect: detect.max(0.1),
        rate: total.false_rate(),
        missed: workers.missed,
    })
}

/// A logarithmic axis over whole decades.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (least, most) = values.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let (low, high) = if least > most {
            (0.0, 1.0)
        } else {
            (least.log10().floor(), most.log10().ceil())
        };
        Self {
            low,
            high: high.max(low + 1.0),
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Values to mark: 1, 2 and 5 of each decade where there are few of them, else the decades.
    fn marks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.high - self.low > 2.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let decades = self.low as i32..=self.high as i32;
        let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
        all.filter(|value| value.log10() <= self.high + 1e-9).collect()
    }
}

fn colour(detector: Detector) -> &'static str {
    // Okabe and Ito's, which people who see few colours can tell apart.
    match detector {
        Detector::Headcount => "#d55e00",
        Detector::Celery => "#0072b2",
        Detector::Timeout => "#009e73",
        Detector::Phi => "#cc79a7",
        Detector::Ping => "#555555",
    }
}

fn head(plan: &Plan, results: &Results) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(
        &mut svg,
        LEFT,
        28.0,
        "start",
        17.0,
        "False alarms against detection time",
    );
    let days = results
        .measured
        .first()
        .map_or(0.0, |one| one.total(plan, |_| true).worker_days);
    let what = format!(
        "{} scenarios, {days:.0} worker-days, seed {}; each rule's threshold swept over the same events",
        plan.scenarios.len(),
        plan.seed
    );
    text(&mut svg, LEFT, 48.0, "start", 12.0, &what);
    svg
}

fn grid(svg: &mut String, x: &Axis, y: &Axis) {
    for value in x.marks() {
        let at = x.at(value);
        line(svg, (at, TOP), (at, ZERO), "#e4e4e4");
        text(svg, at, ZERO + 22.0, "middle", 12.0, &number(value));
    }
    for value in y.marks() {
        let at = y.at(value);
        line(svg, (LEFT, at), (RIGHT, at), "#e4e4e4");
        text(svg, LEFT - 8.0, at + 4.0, "end", 12.0, &number(value));
    }
    line(svg, (LEFT, ZERO), (RIGHT, ZERO), "#222222");
    text(svg, LEFT - 8.0, ZERO + 4.0, "end", 13.0, "none");
    // The axis is broken between the least that is drawn and none.
    for offset in [0.0, 6.0] {
        let at = (BOTTOM + ZERO) / 2.0 + offset;
        line(svg, (LEFT - 6.0, at), (LEFT + 6.0, at - 6.0), "#222222");
    }
    let middle = (LEFT + RIGHT) / 2.0;
    let below = "half of the failed workers are found within … seconds (logarithmic)";
    text(svg, middle, ZERO + 46.0, "middle", 13.0, below);
    let _ = writeln!(
        svg,
        "<text transform=\"translate(24 {:.0}) rotate(-90)\" text-anchor=\"middle\">false alarms in 1,000 worker-days (logarithmic)</text>",
        (TOP + BOTTOM) / 2.0
    );
}

fn curve(svg: &mut String, points: &[&Point<'_>], x: &Axis, y: &Axis) {
    let Some(first) = points.first() else { return };
    let detector = first.measured.detector;
    let colour = colour(detector);
    // Celery's is a timeout too: it is drawn below that, and wider, so that both are seen.
    let wide = if detector == Detector::Celery { 6.0 } else { 1.5 };
    let place = |point: &Point<'_>| {
        let height = if point.rate > 0.0 { y.at(point.rate) } else { ZERO };
        (x.at(point.detect), height)
    };
    for pair in points.windows(2) {
        let (from, to) = (place(pair[0]), place(pair[1]));
        // From something to nothing there is no line on a logarithmic axis: it is dashed.
        let dashes = if (from.1 == ZERO) == (to.1 == ZERO) {
            ""
        } else {
            " stroke-dasharray=\"3 4\""
        };
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"{wide}\" stroke-opacity=\"0.6\"{dashes}/>",
            from.0, from.1, to.0, to.1
        );
    }
    for point in points {
        let (cx, cy) = place(point);
        let own = detector == Detector::Headcount;
        let radius = match detector {
            Detector::Headcount => 8.0,
            Detector::Celery => 6.0,
            _ => 4.0,
        };
        // Hollow: some failures were never found at this threshold, and the time is that of the others.
        let fill = if point.missed == 0 { colour } else { "white" };
        let title = format!(
            "{} {}: {:.2} false alarms in 1,000 worker-days, found within {:.1} s, {} missed",
            detector.name(),
            threshold(point.measured),
            point.rate,
            point.detect,
            point.missed
        );
        let _ = writeln!(
            svg,
            "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{radius}\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.5\"><title>{}</title></circle>",
            escape(&title)
        );
        if own {
            text(svg, cx, cy - 14.0, "middle", 13.0, "Headcount");
        } else if point.measured.threshold == detector.usual() {
            text(svg, cx + 8.0, cy - 6.0, "start", 11.0, &threshold(point.measured));
        }
    }
}

fn legend(svg: &mut String, plan: &Plan) {
    let mut at = TOP + 8.0;
    for detector in Detector::ALL.into_iter().filter(|one| plan.detectors.contains(one)) {
        let words = match detector {
            Detector::Headcount => "Headcount",
            Detector::Celery => "Celery's alive rule",
            Detector::Timeout => "fixed timeout",
            Detector::Phi => "phi accrual (Akka's)",
            Detector::Ping => "pings alone",
        };
        let colour = colour(detector);
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{colour}\" stroke=\"{colour}\"/>",
            RIGHT + 24.0,
            at - 4.0
        );
        text(svg, RIGHT + 36.0, at, "start", 13.0, words);
        at += 24.0;
    }
    let notes = [
        "Hollow: at this threshold",
        "some failures are never",
        "found. Marked: the usual",
        "threshold of each rule.",
    ];
    for note in notes {
        at += 17.0;
        text(svg, RIGHT + 20.0, at, "start", 12.0, note);
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, size: f64, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"#222222\">{}</text>",
        escape(words)
    );
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// As people write it: 0.01, 5, 1,000.
fn number(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.0},000,000", value / 1e6)
    } else if value >= 1_000.0 {
        format!("{:.0},000", value / 1_000.0)
    } else if value >= 1.0 {
        format!("{value:.0}")
    } else {
        let places = (-value.log10()).ceil() as usize;
        format!("{value:.places$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_spans_whole_decades_and_numbers_read_as_people_write_them() {
        let axis = Axis::over([4.0, 300.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.at(1.0), axis.at(10.0), axis.at(1_000.0)), (0.0, 100.0, 300.0));
        let empty = Axis::over(std::iter::empty(), 0.0, 1.0);
        assert!(empty.at(1.0).is_finite());
        let shown: Vec<String> = [0.01, 0.5, 20.0, 1_000.0, 1e6].map(number).to_vec();
        assert_eq!(shown, ["0.01", "0.5", "20", "1,000", "1,000,000"]);
    }
}
