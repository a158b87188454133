//! OpenMetrics text, as Headcount's own `/metrics` has it, read back: so that each metric is written once, and both ways of
//! getting at it show the same. It is read series by series, and names and labels stay where they are in the text, which has
//! 5 KB for each worker, task and queue.

use std::borrow::Cow;
use std::str::Lines;
use std::sync::Arc;

/// One metric, without its series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family {
    /// As its series are called in the text, `_total` included.
    pub(super) name: String,
    pub(super) help: String,
    pub(super) unit: String,
    pub(super) kind: Kind,
    /// The name without `_total`.
    base: String,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Names and values, as the text has them.
pub(super) type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series<'a> {
    pub(super) family: Arc<Family>,
    pub(super) labels: Labels<'a>,
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
pub(super) struct Reader<'a> {
    lines: Lines<'a>,
    family: Option<Arc<Family>>,
    /// A histogram of which more lines may come.
    open: Option<Open<'a>>,
    /// What stands behind that one, and was read to see that it has ended.
    next: Option<Series<'a>>,
}

struct Open<'a> {
    family: Arc<Family>,
    labels: Labels<'a>,
    /// Upper bound and how many are below it.
    below: Vec<(f64, u64)>,
    sum: f64,
}

/// What one line of a histogram says.
enum Part {
    Sum(f64),
    Below(f64, u64),
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            lines: text.lines(),
            family: None,
            open: None,
            next: None,
        }
    }

    fn about(&mut self, about: &str) {
        let mut words = about.splitn(3, ' ');
        let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        if !matches!(what, "HELP" | "TYPE" | "UNIT") {
            return;
        }
        if self.family.as_ref().is_none_or(|family| family.base != name) {
            self.family = Some(Arc::new(Family {
                name: name.to_owned(),
                help: String::new(),
                unit: String::new(),
                kind: Kind::Gauge,
                base: name.to_owned(),
            }));
        }
        let Some(family) = &mut self.family else { return };
        let family = Arc::make_mut(family);
        match (what, rest) {
            ("HELP", help) => family.help = unescape(help).into_owned(),
            ("UNIT", unit) => unit.clone_into(&mut family.unit),
            ("TYPE", "counter") => {
                family.kind = Kind::Counter;
                family.name = format!("{name}_total");
            }
            ("TYPE", "histogram") => family.kind = Kind::Histogram,
            _ => {}
        }
    }

    /// What one line comes to: a series, or the end of the histogram before it, or nothing yet.
    fn sample(&mut self, line: &'a str) -> Option<Series<'a>> {
        let family = self.family.clone()?;
        let at = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(at);
        let (mut labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => read_labels(inside)?,
            None => (Vec::new(), rest),
        };
        // A time and an exemplar may follow.
        let number = rest.split_whitespace().next()?;
        let suffix = name.strip_prefix(family.base.as_str())?;
        match (family.kind, suffix) {
            (Kind::Counter, "_total") | (Kind::Gauge, "" | "_info") => {
                let value = match number.parse() {
                    Ok(whole) => Value::Whole(whole),
                    Err(_) => Value::Real(number.parse().ok()?),
                };
                Some(Series { family, labels, value })
            }
            (Kind::Histogram, "_sum") => self.part(family, labels, Part::Sum(number.parse().ok()?)),
            (Kind::Histogram, "_bucket") => {
                let le = labels.iter().position(|(key, _)| *key == "le")?;
                let bound = labels.remove(le).1.parse::<f64>().ok()?;
                self.part(family, labels, Part::Below(bound, number.parse().ok()?))
            }
            _ => None,
        }
    }

    /// Adds to the histogram that is open. All of its lines stand together; where others come, it has ended.
    fn part(&mut self, family: Arc<Family>, labels: Labels<'a>, part: Part) -> Option<Series<'a>> {
        let goes_on = |open: &Open<'_>| open.labels == labels && Arc::ptr_eq(&open.family, &family);
        let ended = self.open.take_if(|open| !goes_on(open));
        let open = self.open.get_or_insert_with(|| Open {
            family,
            labels,
            below: Vec::new(),
            sum: 0.0,
        });
        match part {
            Part::Sum(sum) => open.sum = sum,
            Part::Below(bound, count) => open.below.push((bound, count)),
        }
        ended.and_then(Open::end)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Series<'a>;

    fn next(&mut self) -> Option<Series<'a>> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        while let Some(line) = self.lines.next() {
            if let Some(about) = line.strip_prefix("# ") {
                self.about(about);
                continue;
            }
            let Some(series) = self.sample(line) else { continue };
            // What is no histogram ends one.
            let of_histogram = matches!(series.value, Value::Histogram(_));
            return match self.open.take_if(|_| !of_histogram).and_then(Open::end) {
                Some(ended) => {
                    self.next = Some(series);
                    Some(ended)
                }
                None => Some(series),
            };
        }
        self.open.take().and_then(Open::end)
    }
}

impl<'a> Open<'a> {
    /// None without the bucket that has no bound: it is no whole one.
    fn end(mut self) -> Option<Series<'a>> {
        self.below.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut buckets = Buckets {
            sum: self.sum,
            ..Buckets::default()
        };
        let mut before = 0;
        for (bound, below) in self.below {
            buckets.counts.push(below.saturating_sub(before));
            before = below;
            if bound.is_finite() {
                buckets.bounds.push(bound);
            }
        }
        (buckets.counts.len() == buckets.bounds.len() + 1).then_some(Series {
            family: self.family,
            labels: self.labels,
            value: Value::Histogram(buckets),
        })
    }
}

/// What is between the braces, and what is behind them.
fn read_labels(text: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (key, value) = rest.split_once("=\"")?;
        let end = end_of_quote(value)?;
        labels.push((key, unescape(value.get(..end)?)));
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

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
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
    plain.into()
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family as Labelled;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Registry;

    use super::*;

    type Own = Vec<(String, String)>;

    #[test]
    fn what_prometheus_client_writes_is_read_back() {
        let mut registry = Registry::default();
        let counter = Labelled::<Own, Counter>::default();
        let labels = vec![
            ("broker".to_owned(), "a \"b\" \\ c\nd, e}".to_owned()),
            ("x".to_owned(), String::new()),
        ];
        counter.get_or_create(&labels).inc_by(3);
        registry.register("events", "Events, \"all\" of them", counter.clone());
        let gauge = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        gauge.set(0.5);
        registry.register("load", "Load", gauge);
        registry.register("none", "Without a series", Labelled::<Own, Counter>::default());
        let seconds: Labelled<Own, Histogram, fn() -> Histogram> =
            Labelled::new_with_constructor(|| Histogram::new([0.1, 1.0]));
        let fleet = |name: &str| vec![("fleet".to_owned(), name.to_owned())];
        for value in [0.05, 0.5, 0.6, 7.0] {
            seconds.get_or_create(&fleet("sms")).observe(value);
        }
        seconds.get_or_create(&fleet("mail")).observe(0.2);
        registry.register("probe_seconds", "Time", seconds.clone());
        let retries = Counter::<u64>::default();
        registry.register("retries", "After a histogram", retries);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();

        let series: Vec<_> = Reader::new(&text).collect();
        let names: Vec<_> = series
            .iter()
            .map(|series| (series.family.name.as_str(), series.family.kind))
            .collect();
        assert_eq!(
            names,
            [
                ("events_total", Kind::Counter),
                ("load", Kind::Gauge),
                ("probe_seconds", Kind::Histogram),
                ("probe_seconds", Kind::Histogram),
                ("retries_total", Kind::Counter),
            ]
        );
        assert_eq!(series[0].family.help, "Events, \"all\" of them.");
        let own = |series: &Series<'_>| -> Own {
            let labels = series.labels.iter();
            labels
                .map(|(key, value)| ((*key).to_owned(), value.to_string()))
                .collect()
        };
        assert_eq!((own(&series[0]), &series[0].value), (labels, &Value::Whole(3)));
        assert_eq!(series[1].value, Value::Real(0.5));
        let sms = series.iter().find(|series| own(series) == fleet("sms")).unwrap();
        let Value::Histogram(buckets) = &sms.value else {
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
        let series: Vec<_> = Reader::new(text).collect();
        assert_eq!(series.len(), 1);
        assert_eq!((series[0].labels.len(), &series[0].value), (0, &Value::Whole(4)));
    }

    #[test]
    fn half_a_histogram_is_none() {
        let text = "# TYPE h histogram\nh_sum{x=\"1\"} 3\nh_bucket{x=\"1\",le=\"1\"} 2\n# TYPE g gauge\ng 1\n";
        let series: Vec<_> = Reader::new(text).collect();
        assert_eq!(series.len(), 1);
        assert_eq!(series[0].family.name, "g");
    }
}
