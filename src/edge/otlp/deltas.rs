//! What has been added since the last time: counters and histograms with delta temporality, as New Relic wants them.
//!
//! A difference counts as sent once a collector has accepted it. Where none has, the next one covers that time as well: so an
//! outage of the collector, however long, loses nothing of a counter, and takes no memory.

use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

use super::exposition::{Buckets, Family, Kind, Series, Value};
use super::wire::text;

/// Series that are followed. Beyond, they are dropped and counted; raising it takes some hundred bytes for each.
pub(super) const MAX_SERIES: usize = 100_000;

/// Data points of one request: some 300 KiB before they are packed, far below the 1 MB that New Relic takes.
pub(super) const MAX_POINTS: usize = 2_000;

const DELTA: i32 = AggregationTemporality::Delta as i32;

/// What was last accepted, of each series.
pub(super) struct Deltas {
    since: u64,
    accepted: HashMap<String, Accepted>,
}

#[derive(Clone, Debug)]
struct Accepted {
    at: u64,
    value: Value,
}

/// One request's worth.
#[derive(Default)]
pub(super) struct Part {
    pub(super) metrics: Vec<Metric>,
    pub(super) points: usize,
    reached: Vec<(String, Accepted)>,
}

impl Deltas {
    /// Everything is counted from now on.
    pub(super) fn new(since: u64) -> Self {
        Self {
            since,
            accepted: HashMap::new(),
        }
    }

    /// What is to be sent, and how many data points there was no room for.
    pub(super) fn differences(&mut self, families: Vec<Family>, now: u64) -> (Vec<Part>, usize) {
        let (mut parts, mut part) = (Vec::new(), Part::default());
        let mut followed = HashMap::new();
        let (mut series_seen, mut left_out) = (0, 0);
        for family in families {
            let mut data = empty(family.kind);
            let (name, help, unit) = (family.name, family.help, family.unit);
            let metric = |data| Metric {
                name: name.clone(),
                description: help.clone(),
                unit: unit.clone(),
                data: Some(data),
                ..Metric::default()
            };
            let mut points = 0;
            for series in family.series {
                series_seen += 1;
                if series_seen > MAX_SERIES {
                    left_out += 1;
                    continue;
                }
                let key = key(&name, &series);
                let before = self.accepted.remove(&key);
                if let Some(before) = &before {
                    followed.insert(key.clone(), before.clone());
                }
                let reached = Accepted {
                    at: now,
                    value: series.value.clone(),
                };
                if !put(&mut data, series, before, (self.since, now)) {
                    continue;
                }
                points += 1;
                part.points += 1;
                if family.kind != Kind::Gauge {
                    part.reached.push((key, reached));
                }
                if part.points >= MAX_POINTS {
                    part.metrics
                        .push(metric(std::mem::replace(&mut data, empty(family.kind))));
                    points = 0;
                    parts.push(std::mem::take(&mut part));
                }
            }
            if points > 0 {
                part.metrics.push(metric(data));
            }
        }
        if part.points > 0 {
            parts.push(part);
        }
        // A series that is not there any more is forgotten.
        self.accepted = followed;
        (parts, left_out)
    }

    /// A collector has accepted a part, or will never take it.
    pub(super) fn settle(&mut self, part: Part) {
        self.accepted.extend(part.reached);
    }
}

fn key(name: &str, series: &Series) -> String {
    let mut key = name.to_owned();
    for (label, value) in &series.labels {
        key.push('\0');
        key.push_str(label);
        key.push('\u{1}');
        key.push_str(value);
    }
    key
}

fn empty(kind: Kind) -> Data {
    match kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: Vec::new(),
            aggregation_temporality: DELTA,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge::default()),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: Vec::new(),
            aggregation_temporality: DELTA,
        }),
    }
}

/// Puts one point in. False where there is none: nothing was added, or a gauge has no value.
fn put(data: &mut Data, series: Series, before: Option<Accepted>, (since, now): (u64, u64)) -> bool {
    let attributes: Vec<KeyValue> = series.labels.into_iter().map(|(key, value)| text(key, value)).collect();
    let is_new = before.is_none();
    let (from, last) = before.map_or((since, None), |before| (before.at, Some(before.value)));
    match (data, series.value) {
        (Data::Sum(sum), value @ (Value::Whole(_) | Value::Real(_))) => {
            let Some((number, any)) = added(&value, last.as_ref()) else {
                return false;
            };
            // From zero, so that the first is an increase.
            if any || is_new {
                sum.data_points.push(point(attributes, number, (from, now)));
            }
            any || is_new
        }
        (Data::Gauge(gauge), value) => {
            let number = match value {
                Value::Whole(whole) => Number::AsInt(whole),
                Value::Real(real) if real.is_finite() => Number::AsDouble(real),
                _ => return false,
            };
            gauge.data_points.push(point(attributes, number, (0, now)));
            true
        }
        (Data::Histogram(histogram), Value::Histogram(buckets)) => {
            let buckets = match last {
                Some(Value::Histogram(last)) => since_then(buckets, &last),
                _ => buckets,
            };
            let count: u64 = buckets.counts.iter().sum();
            if count > 0 || is_new {
                histogram.data_points.push(HistogramDataPoint {
                    attributes,
                    start_time_unix_nano: from,
                    time_unix_nano: now,
                    count,
                    sum: Some(buckets.sum),
                    bucket_counts: buckets.counts,
                    explicit_bounds: buckets.bounds,
                    ..HistogramDataPoint::default()
                });
            }
            count > 0 || is_new
        }
        _ => false,
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

/// What was added, and whether that is anything. A counter that is less than it was has begun anew.
fn added(value: &Value, last: Option<&Value>) -> Option<(Number, bool)> {
    match (value, last) {
        (Value::Whole(now), Some(Value::Whole(last))) if now >= last => Some((Number::AsInt(now - last), now > last)),
        (Value::Real(now), Some(Value::Real(last))) if now >= last => Some((Number::AsDouble(now - last), now > last)),
        (Value::Whole(now), _) => Some((Number::AsInt(*now), *now != 0)),
        (Value::Real(now), _) if now.is_finite() => Some((Number::AsDouble(*now), *now != 0.0)),
        _ => None,
    }
}

fn since_then(now: Buckets, last: &Buckets) -> Buckets {
    let goes_on = now.bounds == last.bounds && now.counts.iter().zip(&last.counts).all(|(now, last)| now >= last);
    if !goes_on {
        return now;
    }
    Buckets {
        counts: now
            .counts
            .iter()
            .zip(&last.counts)
            .map(|(now, last)| now - last)
            .collect(),
        sum: now.sum - last.sum,
        bounds: now.bounds,
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::read;
    use super::*;

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

    fn settle(deltas: &mut Deltas, parts: Vec<Part>) {
        parts.into_iter().for_each(|part| deltas.settle(part));
    }

    fn counter(value: u64) -> Vec<Family> {
        read(&format!("# TYPE a counter\na_total{{x=\"1\"}} {value}\n"))
    }

    #[test]
    fn what_is_not_accepted_is_in_the_next_difference() {
        let mut deltas = Deltas::new(5);
        let (parts, _) = deltas.differences(counter(0), 10);
        assert_eq!(sum(&parts, "a_total"), Some(0), "the first time, zero too");
        settle(&mut deltas, parts);
        assert!(deltas.differences(counter(0), 20).0.is_empty(), "nothing was added");
        let (lost, _) = deltas.differences(counter(3), 30);
        assert_eq!(sum(&lost, "a_total"), Some(3));
        let (parts, _) = deltas.differences(counter(7), 40);
        assert_eq!(sum(&parts, "a_total"), Some(7));
        let Some(Data::Sum(points)) = &parts[0].metrics[0].data else {
            panic!()
        };
        let times = &points.data_points[0];
        assert_eq!((times.start_time_unix_nano, times.time_unix_nano), (10, 40));
        settle(&mut deltas, parts);
        let (parts, _) = deltas.differences(counter(8), 50);
        assert_eq!(sum(&parts, "a_total"), Some(1));
        settle(&mut deltas, parts);
        assert_eq!(
            sum(&deltas.differences(counter(2), 60).0, "a_total"),
            Some(2),
            "begun anew"
        );
    }

    #[test]
    fn a_series_that_has_ended_is_forgotten() {
        let mut deltas = Deltas::new(0);
        let (parts, _) = deltas.differences(counter(3), 10);
        settle(&mut deltas, parts);
        deltas.differences(Vec::new(), 20);
        assert!(deltas.accepted.is_empty());
    }

    #[test]
    fn a_histogram_of_what_was_added() {
        let text = |low: u64, all: u64, total: f64| {
            read(&format!(
                "# TYPE h histogram\nh_sum {total}\nh_count {all}\nh_bucket{{le=\"0.5\"}} {low}\nh_bucket{{le=\"+Inf\"}} {all}\n"
            ))
        };
        let mut deltas = Deltas::new(0);
        let (parts, _) = deltas.differences(text(1, 3, 9.0), 10);
        settle(&mut deltas, parts);
        let (parts, _) = deltas.differences(text(2, 5, 19.0), 20);
        let Some(Data::Histogram(histogram)) = &parts[0].metrics[0].data else {
            panic!()
        };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts, [1, 1]);
        assert_eq!((point.count, point.sum), (2, Some(10.0)));
    }

    #[test]
    fn many_points_are_several_requests_and_add_up() {
        let lines: String = (0..MAX_POINTS * 2 + 7)
            .map(|n| format!("a_total{{n=\"{n}\"}} 1\n"))
            .collect();
        let mut deltas = Deltas::new(0);
        let (parts, left_out) = deltas.differences(read(&format!("# TYPE a counter\n{lines}")), 1);
        assert_eq!((parts.len(), left_out), (3, 0));
        assert!(parts.iter().all(|part| part.points <= MAX_POINTS));
        assert_eq!(sum(&parts, "a_total"), Some(4_007));
        settle(&mut deltas, parts);
        assert_eq!(deltas.accepted.len(), 4_007);
    }

    #[test]
    fn a_gauge_without_a_value_is_none() {
        let mut deltas = Deltas::new(0);
        let (parts, _) = deltas.differences(read("# TYPE g gauge\ng{x=\"1\"} NaN\ng{x=\"2\"} 3\n"), 1);
        assert_eq!(parts[0].points, 1);
    }
}
