//! The data points of the metrics: of counters and histograms what has been added since the last time, as New Relic wants it, or
//! all that there has been since a start, as Prometheus does.
//!
//! A difference counts as sent once a collector has accepted it, or has said that it will never take what is in it. Where it has
//! not, the next one covers that time as well: so an outage of the collector, or a wrong key, however long, loses nothing of a
//! counter, and takes no memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use rustc_hash::FxHashMap;

use super::config::Temporality;
use super::exposition::{Family, Kind, Reader, Series, Value};
use super::wire::text;

/// Counters and histograms of one worker, task and queue: celery-exporter's nine, Flower's nine of a task, and those of a few
/// exceptions. Each is remembered with 60 bytes, a histogram with 180.
pub(super) const POINTS_A_CELL: usize = 24;

/// Counters and histograms beside these: Headcount's own, by broker, fleet, job, pipeline and the like.
pub(super) const POINTS_BESIDE: usize = 20_000;

/// Data points of one request: some 300 KiB before they are packed, far below the 1 MB that New Relic takes.
pub(super) const MAX_POINTS: usize = 2_000;

/// What is known of each counter and histogram. Gauges need none of it.
pub(super) struct Points {
    temporality: Temporality,
    /// Counters that are the program's, and go on when its configuration is read again and all others begin anew.
    lasting: &'static [&'static str],
    /// Series that are followed. Beyond, they are left out and counted.
    most: usize,
    /// When it was last looked at them, in nanoseconds since the Unix epoch; at first, when it was begun.
    looked: u64,
    round: u32,
    /// By a number made of their names and labels with a secret of this run's: that two of a million have the same is as likely
    /// as one in 30 million, and nobody can bring it about.
    known: FxHashMap<u64, Known>,
    numbers: RandomState,
}

/// What is known of one series.
#[derive(Debug)]
struct Known {
    /// In which round it was last there.
    round: u32,
    /// It is one of [`Points::lasting`].
    lasting: bool,
    /// Since when the next point counts, in nanoseconds since the Unix epoch.
    from: u64,
    last: Last,
}

/// What was last accepted; of a cumulative series, what was last seen.
#[derive(Debug, Default)]
enum Last {
    #[default]
    Nothing,
    Whole(i64),
    Real(f64),
    Histogram {
        counts: Box<[u64]>,
        sum: f64,
    },
}

/// One request's worth.
#[derive(Default)]
pub(super) struct Part {
    pub(super) metrics: Vec<Metric>,
    pub(super) reached: Reached,
}

/// How far a collector has come when it has taken a part.
#[derive(Default)]
pub(super) struct Reached {
    pub(super) points: usize,
    at: u64,
    series: Vec<(u64, Last)>,
}

/// One look at all series, part by part.
pub(super) struct Round<'a> {
    points: &'a mut Points,
    series: Reader<'a>,
    /// The metric whose points are being put together.
    metric: Option<(Arc<Family>, Data)>,
    part: Part,
    at: u64,
    left_out: usize,
}

impl Points {
    /// Everything is counted from now on. So many combinations of worker, task and queue may there be; `lasting` are the names of
    /// counters that [`Points::begin_anew`] goes on with.
    pub(super) fn new(temporality: Temporality, cells: usize, lasting: &'static [&'static str], now: u64) -> Self {
        Self {
            temporality,
            lasting,
            most: most(cells),
            looked: now,
            round: 0,
            known: FxHashMap::default(),
            numbers: RandomState::new(),
        }
    }

    /// All that is counted begins anew, but for what is lasting: that goes on from what a collector has accepted. With another
    /// temporality it begins anew as well, because what is known of it is something else then.
    pub(super) fn begin_anew(&mut self, temporality: Temporality, cells: usize, now: u64) {
        let goes_on = temporality == self.temporality;
        self.forget_passing();
        if !goes_on {
            self.known.clear();
        }
        self.temporality = temporality;
        self.most = most(cells);
        // A clock that was set back makes no interval that ends before it begins.
        self.looked = now.max(self.looked);
    }

    /// Keeps what [`Points::begin_anew`] goes on with, and no more memory than that.
    pub(super) fn forget_passing(&mut self) {
        self.known.retain(|_, known| known.lasting);
        self.known.shrink_to_fit();
    }

    /// Looks at all series of a text. Each part has to be taken, and the round to be ended.
    pub(super) fn round<'a>(&'a mut self, text: &'a str, now: u64) -> Round<'a> {
        self.round = self.round.wrapping_add(1);
        // A clock that was set back makes no interval that ends before it begins.
        let at = now.max(self.looked);
        Round {
            points: self,
            series: Reader::new(text),
            metric: None,
            part: Part::default(),
            at,
            left_out: 0,
        }
    }

    /// A collector has accepted a part, or will never take it.
    pub(super) fn settle(&mut self, reached: Reached) {
        for (number, last) in reached.series {
            if let Some(known) = self.known.get_mut(&number) {
                (known.from, known.last) = (reached.at, last);
            }
        }
    }

    fn known(&mut self, series: &Series<'_>) -> Option<(u64, &mut Known)> {
        let number = self.numbers.hash_one((&series.family.name, &series.labels));
        if self.known.len() >= self.most && !self.known.contains_key(&number) {
            return None;
        }
        // One that was not there the last time has begun since.
        let (from, round, lasting) = (self.looked, self.round, self.lasting);
        let known = self.known.entry(number).or_insert_with(|| Known {
            round,
            lasting: lasting.contains(&series.family.name.as_str()),
            from,
            last: Last::Nothing,
        });
        known.round = round;
        Some((number, known))
    }
}

/// How many counters and histograms are followed where there may be so many combinations of worker, task and queue.
fn most(cells: usize) -> usize {
    cells.saturating_mul(POINTS_A_CELL).saturating_add(POINTS_BESIDE)
}

impl Iterator for Round<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        while self.part.reached.points < MAX_POINTS {
            let Some(series) = self.series.next() else {
                self.end_metric();
                return (self.part.reached.points > 0).then(|| self.take());
            };
            self.put(series);
        }
        self.end_metric();
        Some(self.take())
    }
}

impl Round<'_> {
    /// Forgets the series that are not there any more, and says how many data points there was no room for.
    pub(super) fn end(self) -> usize {
        let points = self.points;
        points.known.retain(|_, known| known.round == points.round);
        points.looked = self.at;
        self.left_out
    }

    fn take(&mut self) -> Part {
        self.part.reached.at = self.at;
        std::mem::take(&mut self.part)
    }

    fn end_metric(&mut self) {
        if let Some((family, data)) = self.metric.take() {
            self.part.metrics.push(Metric {
                name: family.name.clone(),
                description: family.help.clone(),
                unit: family.unit.clone(),
                data: Some(data),
                ..Metric::default()
            });
        }
    }

    fn put(&mut self, series: Series<'_>) {
        let at = self.at;
        if series.family.kind == Kind::Gauge {
            let number = match series.value {
                Value::Whole(whole) => Number::AsInt(whole),
                Value::Real(real) if real.is_finite() => Number::AsDouble(real),
                _ => return,
            };
            let family = series.family.clone();
            return self.add(&family, Point::Number(point(attributes(series), number, (0, at))));
        }
        let (temporality, looked) = (self.points.temporality, self.points.looked);
        let Some((number, known)) = self.points.known(&series) else {
            self.left_out += 1;
            return;
        };
        let (from, value, reached) = match temporality {
            Temporality::Delta => match added(&series.value, &known.last) {
                Some(value) => (known.from, value, Some(Last::of(&series.value))),
                None => return,
            },
            Temporality::Cumulative => {
                let Some(total) = Last::total(&series.value) else {
                    return;
                };
                if total.is_less_than(&known.last) {
                    known.from = looked;
                }
                known.last = total;
                (known.from, series.value.clone(), None)
            }
        };
        let family = series.family.clone();
        let attributes = attributes(series);
        let point = match value {
            Value::Whole(whole) => Point::Number(point(attributes, Number::AsInt(whole), (from, at))),
            Value::Real(real) => Point::Number(point(attributes, Number::AsDouble(real), (from, at))),
            Value::Histogram(buckets) => Point::Histogram(HistogramDataPoint {
                attributes,
                start_time_unix_nano: from,
                time_unix_nano: at,
                count: buckets.counts.iter().sum(),
                sum: Some(buckets.sum),
                bucket_counts: buckets.counts,
                explicit_bounds: buckets.bounds,
                ..HistogramDataPoint::default()
            }),
        };
        self.add(&family, point);
        self.part.reached.series.extend(reached.map(|last| (number, last)));
    }

    fn add(&mut self, family: &Arc<Family>, point: Point) {
        if self.metric.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, family)) {
            self.end_metric();
        }
        let temporality = self.points.temporality;
        let (_, data) = self
            .metric
            .get_or_insert_with(|| (family.clone(), empty(family.kind, temporality)));
        match (data, point) {
            (Data::Sum(sum), Point::Number(point)) => sum.data_points.push(point),
            (Data::Gauge(gauge), Point::Number(point)) => gauge.data_points.push(point),
            (Data::Histogram(histogram), Point::Histogram(point)) => histogram.data_points.push(point),
            // The text says one thing of a metric and another of its series.
            _ => return,
        }
        self.part.reached.points += 1;
    }
}

enum Point {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
}

impl Last {
    fn of(value: &Value) -> Self {
        match value {
            Value::Whole(whole) => Last::Whole(*whole),
            Value::Real(real) => Last::Real(*real),
            Value::Histogram(buckets) => Last::Histogram {
                counts: buckets.counts.as_slice().into(),
                sum: buckets.sum,
            },
        }
    }

    /// As much of it as tells whether it has begun anew; none where it is no number.
    fn total(value: &Value) -> Option<Self> {
        match value {
            Value::Whole(whole) => Some(Last::Whole(*whole)),
            Value::Real(real) => real.is_finite().then_some(Last::Real(*real)),
            Value::Histogram(buckets) => {
                let count = buckets.counts.iter().fold(0_u64, |sum, more| sum.saturating_add(*more));
                Some(Last::Whole(i64::try_from(count).unwrap_or(i64::MAX)))
            }
        }
    }

    fn is_less_than(&self, last: &Last) -> bool {
        match (self, last) {
            (Last::Whole(now), Last::Whole(last)) => now < last,
            (Last::Real(now), Last::Real(last)) => now < last,
            _ => false,
        }
    }
}

fn attributes(series: Series<'_>) -> Vec<KeyValue> {
    let labels = series.labels.into_iter();
    labels.map(|(key, value)| text(key, value)).collect()
}

fn empty(kind: Kind, temporality: Temporality) -> Data {
    let aggregation_temporality = match temporality {
        Temporality::Delta => AggregationTemporality::Delta,
        Temporality::Cumulative => AggregationTemporality::Cumulative,
    } as i32;
    match kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: Vec::new(),
            aggregation_temporality,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge::default()),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: Vec::new(),
            aggregation_temporality,
        }),
    }
}

fn point(attributes: Vec<KeyValue>, value: Number, (from, at): (u64, u64)) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: from,
        time_unix_nano: at,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// What was added; none where that is nothing. The first time it is all, be it nothing: so the next is an increase. A counter that
/// is less than it was has begun anew.
fn added(value: &Value, last: &Last) -> Option<Value> {
    match (value, last) {
        (Value::Whole(now), Last::Whole(last)) if now >= last => (now > last).then(|| Value::Whole(now - last)),
        (Value::Real(now), Last::Real(last)) if now >= last => (now > last).then(|| Value::Real(now - last)),
        (Value::Real(now), _) if !now.is_finite() => None,
        (Value::Histogram(now), Last::Histogram { counts, sum }) => {
            // The bounds are the program's own, and the same for as long as it runs.
            let goes_on =
                now.counts.len() == counts.len() && now.counts.iter().zip(counts).all(|(now, last)| now >= last);
            let mut added = now.clone();
            if goes_on {
                for (now, last) in added.counts.iter_mut().zip(counts) {
                    *now -= last;
                }
                added.sum -= sum;
            }
            added
                .counts
                .iter()
                .any(|count| *count > 0)
                .then_some(Value::Histogram(added))
        }
        (now, _) => Some(now.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELLS: usize = 10;
    const LASTING: &[&str] = &["log_total"];

    fn sum(parts: &[Part], name: &str) -> Option<i64> {
        let metrics = parts
            .iter()
            .flat_map(|part| &part.metrics)
            .filter(|metric| metric.name == name);
        let mut total = None;
        for metric in metrics {
            let Some(Data::Sum(sum)) = &metric.data else { panic!() };
            for point in &sum.data_points {
                let Some(Number::AsInt(number)) = point.value else {
                    panic!()
                };
                *total.get_or_insert(0) += number;
            }
        }
        total
    }

    fn look(points: &mut Points, text: &str, now: u64) -> (Vec<Part>, usize) {
        let mut round = points.round(text, now);
        let parts = round.by_ref().collect();
        (parts, round.end())
    }

    fn settle(points: &mut Points, parts: Vec<Part>) {
        parts.into_iter().for_each(|part| points.settle(part.reached));
    }

    fn counter(value: u64) -> String {
        format!("# TYPE a counter\na_total{{x=\"1\"}} {value}\n")
    }

    /// Since when, until when, and how much, of the only point.
    fn only(parts: &[Part]) -> (u64, u64, Number) {
        let Some(Data::Sum(sum)) = &parts[0].metrics[0].data else {
            panic!()
        };
        let point = &sum.data_points[0];
        (point.start_time_unix_nano, point.time_unix_nano, point.value.unwrap())
    }

    #[test]
    fn what_is_not_accepted_is_in_the_next_difference() {
        let mut points = Points::new(Temporality::Delta, CELLS, LASTING, 5);
        let (parts, _) = look(&mut points, &counter(0), 10);
        assert_eq!(only(&parts), (5, 10, Number::AsInt(0)), "the first time, zero too");
        settle(&mut points, parts);
        assert!(look(&mut points, &counter(0), 20).0.is_empty(), "nothing was added");
        let (lost, _) = look(&mut points, &counter(3), 30);
        assert_eq!(sum(&lost, "a_total"), Some(3));
        let (parts, _) = look(&mut points, &counter(7), 40);
        assert_eq!(only(&parts), (10, 40, Number::AsInt(7)));
        settle(&mut points, parts);
        let (parts, _) = look(&mut points, &counter(8), 50);
        assert_eq!(sum(&parts, "a_total"), Some(1));
        settle(&mut points, parts);
        let (parts, _) = look(&mut points, &counter(2), 60);
        assert_eq!(sum(&parts, "a_total"), Some(2), "begun anew");
    }

    #[test]
    fn a_cumulative_counter_keeps_its_start_until_it_begins_anew() {
        let mut points = Points::new(Temporality::Cumulative, CELLS, LASTING, 5);
        let mut see = |value, now| {
            // Whether a collector takes it makes no difference.
            let (parts, _) = look(&mut points, &counter(value), now);
            let Some(Data::Sum(sum)) = &parts[0].metrics[0].data else {
                panic!()
            };
            assert_eq!(sum.aggregation_temporality, AggregationTemporality::Cumulative as i32);
            only(&parts)
        };
        assert_eq!(see(0, 10), (5, 10, Number::AsInt(0)));
        assert_eq!(see(3, 20), (5, 20, Number::AsInt(3)));
        assert_eq!(see(3, 30), (5, 30, Number::AsInt(3)), "each time, added or not");
        assert_eq!(
            see(1, 40),
            (30, 40, Number::AsInt(1)),
            "less under the same start would be a lie"
        );
        assert_eq!(see(4, 50), (30, 50, Number::AsInt(4)));
        let (nothing, _) = look(&mut points, "", 60);
        assert!(nothing.is_empty());
        let (parts, _) = look(&mut points, &counter(4), 70);
        assert_eq!(only(&parts), (60, 70, Number::AsInt(4)), "it was not there at 60");
        let (parts, _) = look(&mut points, &counter(5), 65);
        assert_eq!(only(&parts), (60, 70, Number::AsInt(5)), "the clock was set back");
    }

    /// The counter that lasts, and one that does not.
    fn two(log: u64, passing: u64) -> String {
        format!("# TYPE log counter\nlog_total {log}\n# TYPE a counter\na_total{{x=\"1\"}} {passing}\n")
    }

    #[test]
    fn what_lasts_goes_on_when_all_else_begins_anew() {
        let mut points = Points::new(Temporality::Delta, CELLS, LASTING, 5);
        let (parts, _) = look(&mut points, &two(5, 3), 10);
        settle(&mut points, parts);
        // One more that nobody has taken.
        look(&mut points, &two(6, 3), 20);
        points.forget_passing();
        assert_eq!(points.known.len(), 1);
        points.begin_anew(Temporality::Delta, CELLS, 30);
        let (parts, _) = look(&mut points, &two(8, 4), 40);
        assert_eq!(
            (sum(&parts, "log_total"), sum(&parts, "a_total")),
            (Some(3), Some(4)),
            "the other has been at nothing since"
        );
        assert_eq!(only(&parts).0, 10, "since what was accepted");
        settle(&mut points, parts);
        points.begin_anew(Temporality::Delta, CELLS, 50);
        assert_eq!(sum(&look(&mut points, &two(8, 0), 60).0, "log_total"), None);
    }

    #[test]
    fn what_lasts_keeps_its_start_while_it_is_cumulative() {
        let mut points = Points::new(Temporality::Cumulative, CELLS, LASTING, 5);
        look(&mut points, &two(5, 3), 10);
        points.begin_anew(Temporality::Cumulative, CELLS, 20);
        let (parts, _) = look(&mut points, &two(6, 1), 30);
        assert_eq!(only(&parts), (5, 30, Number::AsInt(6)));
        let Some(Data::Sum(passing)) = &parts[0].metrics[1].data else {
            panic!()
        };
        assert_eq!(passing.data_points[0].start_time_unix_nano, 20);
        // As differences all of it is said once more: to those there were none yet.
        points.begin_anew(Temporality::Delta, CELLS, 40);
        assert_eq!(only(&look(&mut points, &two(7, 1), 50).0), (40, 50, Number::AsInt(7)));
    }

    #[test]
    fn a_cumulative_histogram_is_all_of_it() {
        let mut points = Points::new(Temporality::Cumulative, CELLS, LASTING, 0);
        for (all, count) in [(3, 3), (5, 5), (2, 2)] {
            let text = format!("# TYPE h histogram\nh_sum 9\nh_bucket{{le=\"1\"}} 1\nh_bucket{{le=\"+Inf\"}} {all}\n");
            let (parts, _) = look(&mut points, &text, 10 * all);
            let Some(Data::Histogram(histogram)) = &parts[0].metrics[0].data else {
                panic!()
            };
            let point = &histogram.data_points[0];
            assert_eq!(
                (point.count, point.bucket_counts.as_slice()),
                (count, &[1, count - 1][..])
            );
            assert_eq!(point.start_time_unix_nano, if all == 2 { 50 } else { 0 });
        }
    }

    #[test]
    fn a_series_that_has_ended_is_forgotten() {
        let mut points = Points::new(Temporality::Delta, CELLS, LASTING, 0);
        let (parts, _) = look(&mut points, &counter(3), 10);
        settle(&mut points, parts);
        look(&mut points, "", 20);
        assert!(points.known.is_empty());
    }

    #[test]
    fn a_histogram_of_what_was_added() {
        let text = |low: u64, all: u64, total: f64| {
            format!(
                "# TYPE h histogram\nh_sum {total}\nh_count {all}\nh_bucket{{le=\"0.5\"}} {low}\nh_bucket{{le=\"+Inf\"}} {all}\n"
            )
        };
        let mut points = Points::new(Temporality::Delta, CELLS, LASTING, 0);
        let (parts, _) = look(&mut points, &text(1, 3, 9.0), 10);
        settle(&mut points, parts);
        let (parts, _) = look(&mut points, &text(2, 5, 19.0), 20);
        let Some(Data::Histogram(histogram)) = &parts[0].metrics[0].data else {
            panic!()
        };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts, [1, 1]);
        assert_eq!((point.count, point.sum), (2, Some(10.0)));
        settle(&mut points, parts);
        assert!(look(&mut points, &text(2, 5, 19.0), 30).0.is_empty());
    }

    #[test]
    fn many_points_are_several_requests_and_add_up() {
        let lines: String = (0..MAX_POINTS * 2 + 7)
            .map(|n| format!("a_total{{n=\"{n}\"}} 1\n"))
            .collect();
        let mut points = Points::new(Temporality::Delta, CELLS, LASTING, 0);
        let (parts, left_out) = look(&mut points, &format!("# TYPE a counter\n{lines}"), 1);
        assert_eq!((parts.len(), left_out), (3, 0));
        assert!(parts.iter().all(|part| part.reached.points <= MAX_POINTS));
        assert_eq!(sum(&parts, "a_total"), Some(4_007));
        settle(&mut points, parts);
        assert_eq!(points.known.len(), 4_007);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_the_rest_goes_on() {
        let text = |many: usize| -> String {
            let lines: String = (0..many).map(|n| format!("a_total{{n=\"{n}\"}} 1\n")).collect();
            format!("# TYPE a counter\n{lines}# TYPE g gauge\ng 1\n")
        };
        let most = POINTS_BESIDE + POINTS_A_CELL * CELLS;
        let mut points = Points::new(Temporality::Delta, CELLS, LASTING, 0);
        let (parts, left_out) = look(&mut points, &text(most), 1);
        assert_eq!((left_out, sum(&parts, "a_total")), (0, Some(20_240)));
        settle(&mut points, parts);
        let (parts, left_out) = look(&mut points, &text(most + 7), 2);
        assert_eq!((left_out, points.known.len()), (7, most));
        assert_eq!(parts[0].metrics[0].name, "g", "gauges need no room");
    }

    #[test]
    fn a_gauge_without_a_value_is_none() {
        let mut points = Points::new(Temporality::Delta, CELLS, LASTING, 0);
        let (parts, _) = look(&mut points, "# TYPE g gauge\ng{x=\"1\"} NaN\ng{x=\"2\"} 3\n", 1);
        assert_eq!(parts[0].reached.points, 1);
    }
}
