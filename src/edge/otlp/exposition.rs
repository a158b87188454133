//! OpenMetrics text, as Headcount's own `/metrics` has it, read back: so that each metric is written once, and both ways of
//! getting at it show the same.

use std::collections::HashMap;

/// One metric with all of its series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family {
    /// As its series are called in the text, `_total` included.
    pub(super) name: String,
    pub(super) help: String,
    pub(super) unit: String,
    pub(super) kind: Kind,
    pub(super) series: Vec<Series>,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Whole(i64),
    Real(f64),
    Histogram(Buckets),
}

/// A histogram; the last count, beyond all bounds, has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets {
    pub(super) bounds: Vec<f64>,
    /// Of each bucket alone, one more than there are bounds.
    pub(super) counts: Vec<u64>,
    pub(super) sum: f64,
}

/// Reads the text. A line that cannot be read is left out.
pub(super) fn read(text: &str) -> Vec<Family> {
    let mut reader = Reader::default();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(about) => reader.about(about),
            None => {
                // One that cannot be read is left out.
                let _ = reader.sample(line);
            }
        }
    }
    reader.end();
    reader.done
}

#[derive(Default)]
struct Reader {
    done: Vec<Family>,
    now: Option<Family>,
    /// The name without `_total`.
    base: String,
    histograms: Vec<Open>,
    /// Where the series with these labels is.
    places: HashMap<String, usize>,
}

struct Open {
    labels: Vec<(String, String)>,
    /// Upper bound and how many are below it.
    below: Vec<(f64, u64)>,
    sum: f64,
}

impl Reader {
    fn about(&mut self, about: &str) {
        let mut words = about.splitn(3, ' ');
        let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        if name != self.base || self.now.is_none() {
            if !matches!(what, "HELP" | "TYPE" | "UNIT") {
                return;
            }
            self.end();
            name.clone_into(&mut self.base);
            self.now = Some(Family {
                name: name.to_owned(),
                help: String::new(),
                unit: String::new(),
                kind: Kind::Gauge,
                series: Vec::new(),
            });
        }
        let Some(family) = &mut self.now else { return };
        match (what, rest) {
            ("HELP", help) => family.help = unescape(help),
            ("UNIT", unit) => unit.clone_into(&mut family.unit),
            ("TYPE", "counter") => {
                family.kind = Kind::Counter;
                family.name = format!("{name}_total");
            }
            ("TYPE", "histogram") => family.kind = Kind::Histogram,
            _ => {}
        }
    }

    fn sample(&mut self, line: &str) -> Option<()> {
        let family = self.now.as_mut()?;
        let at = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(at);
        let (mut labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => read_labels(inside)?,
            None => (Vec::new(), rest),
        };
        // A time and an exemplar may follow.
        let number = rest.split_whitespace().next()?;
        let suffix = name.strip_prefix(self.base.as_str())?;
        match (family.kind, suffix) {
            (Kind::Counter, "_total") | (Kind::Gauge, "" | "_info") => {
                let value = match number.parse() {
                    Ok(whole) => Value::Whole(whole),
                    Err(_) => Value::Real(number.parse().ok()?),
                };
                family.series.push(Series { labels, value });
            }
            (Kind::Histogram, "_bucket" | "_sum") => {
                let mut bound = None;
                if suffix == "_bucket" {
                    let le = labels.iter().position(|(key, _)| key == "le")?;
                    bound = Some(labels.remove(le).1.parse::<f64>().ok()?);
                }
                let key = format!("{labels:?}");
                let histograms = &mut self.histograms;
                let place = *self.places.entry(key).or_insert_with(|| {
                    histograms.push(Open {
                        labels,
                        below: Vec::new(),
                        sum: 0.0,
                    });
                    histograms.len() - 1
                });
                let open = histograms.get_mut(place)?;
                match bound {
                    Some(bound) => open.below.push((bound, number.parse().ok()?)),
                    None => open.sum = number.parse().ok()?,
                }
            }
            _ => {}
        }
        Some(())
    }

    fn end(&mut self) {
        self.places.clear();
        let histograms = std::mem::take(&mut self.histograms);
        let Some(mut family) = self.now.take() else { return };
        for mut open in histograms {
            open.below.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut buckets = Buckets {
                sum: open.sum,
                ..Buckets::default()
            };
            let mut before = 0;
            for (bound, below) in open.below {
                buckets.counts.push(below.saturating_sub(before));
                before = below;
                if bound.is_finite() {
                    buckets.bounds.push(bound);
                }
            }
            // Without the bucket that has no bound it is none.
            if buckets.counts.len() == buckets.bounds.len() + 1 {
                family.series.push(Series {
                    labels: open.labels,
                    value: Value::Histogram(buckets),
                });
            }
        }
        if !family.series.is_empty() {
            self.done.push(family);
        }
    }
}

/// What is between the braces, and what is behind them.
fn read_labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (key, value) = rest.split_once("=\"")?;
        let end = end_of_quote(value)?;
        labels.push((key.to_owned(), unescape(value.get(..end)?)));
        rest = value.get(end + 1..)?;
    }
}

/// Where the quotation ends.
fn end_of_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family as Labelled;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Registry;

    use super::*;

    type Labels = Vec<(String, String)>;

    #[test]
    fn what_prometheus_client_writes_is_read_back() {
        let mut registry = Registry::default();
        let counter = Labelled::<Labels, Counter>::default();
        let labels = vec![
            ("broker".to_owned(), "a \"b\" \\ c\nd, e}".to_owned()),
            ("x".to_owned(), String::new()),
        ];
        counter.get_or_create(&labels).inc_by(3);
        registry.register("events", "Events, \"all\" of them", counter.clone());
        let gauge = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        gauge.set(0.5);
        registry.register("load", "Load", gauge);
        registry.register("none", "Without a series", Labelled::<Labels, Counter>::default());
        let seconds: Labelled<Labels, Histogram, fn() -> Histogram> =
            Labelled::new_with_constructor(|| Histogram::new([0.1, 1.0]));
        let fleet = vec![("fleet".to_owned(), "sms".to_owned())];
        for value in [0.05, 0.5, 0.6, 7.0] {
            seconds.get_or_create(&fleet).observe(value);
        }
        registry.register("probe_seconds", "Time", seconds.clone());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();

        let families = read(&text);
        let names: Vec<_> = families
            .iter()
            .map(|family| (family.name.as_str(), family.kind))
            .collect();
        assert_eq!(
            names,
            [
                ("events_total", Kind::Counter),
                ("load", Kind::Gauge),
                ("probe_seconds", Kind::Histogram)
            ]
        );
        assert_eq!(families[0].help, "Events, \"all\" of them.");
        assert_eq!(
            families[0].series,
            [Series {
                labels,
                value: Value::Whole(3)
            }]
        );
        assert_eq!(families[1].series[0].value, Value::Real(0.5));
        assert_eq!(families[2].series[0].labels, fleet);
        let Value::Histogram(buckets) = &families[2].series[0].value else {
            panic!()
        };
        assert_eq!(
            (buckets.bounds.as_slice(), buckets.counts.as_slice()),
            (&[0.1, 1.0][..], &[1, 2, 1][..])
        );
        assert!((buckets.sum - 8.15).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let text = "x 1\n# TYPE a counter\na_total{l=\"v 1\na_total nonsense\nb 3\na_total 4 1700000000 # {t=\"x\"} 1\n# EOF\n";
        let families = read(text);
        assert_eq!(families.len(), 1);
        assert_eq!(
            families[0].series,
            [Series {
                labels: vec![],
                value: Value::Whole(4)
            }]
        );
    }
}
