//! `GET /workers?json=1`: what Flower has counted of each worker. Every field may be missing, or of another type.

use std::borrow::Cow;
use std::fmt;

use compact_str::CompactString;
use headcount_actors::ports::BrokerError;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::bounded::{List, parse};

/// One worker, as Flower shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) hostname: CompactString,
    pub(super) counts: Counts,
    /// The newest of Flower's own times of receipt; none after a goodbye.
    pub(super) newest: Option<f64>,
    pub(super) pid: Option<u64>,
    pub(super) clock: Option<u64>,
    pub(super) freq: Option<f64>,
    pub(super) active: Option<u64>,
    pub(super) processed: Option<u64>,
    pub(super) sw_ident: Option<String>,
    pub(super) sw_ver: Option<String>,
    pub(super) sw_sys: Option<String>,
}

/// How many events of each type Flower has received of one worker since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) beats: u64,
    pub(super) onlines: u64,
    pub(super) goodbyes: u64,
    /// Of its tasks, all types together.
    pub(super) tasks: u64,
}

/// The list, as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// How many were left out: they are no rows, or name nobody.
    pub(super) malformed: usize,
}

/// Reads the list.
///
/// # Errors
/// Where it is no list of Flower's.
pub(super) fn read(body: &[u8]) -> Result<Rows, BrokerError> {
    #[derive(Deserialize)]
    struct Page {
        data: List<MaybeRow>,
    }
    let page: Page = parse("list of workers", body)?;
    let all = page.data.0.len();
    let named = |row: &Row| !row.hostname.is_empty();
    let rows: Vec<Row> = page.data.0.into_iter().filter_map(|row| row.0).filter(named).collect();
    let malformed = all - rows.len();
    Ok(Rows { rows, malformed })
}

struct MaybeRow(Option<Row>);

impl<'de> Deserialize<'de> for MaybeRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowVisitor)
    }
}

/// Visits a map, and passes over anything else.
struct RowVisitor;

/// What a visitor says of values that it has no use for.
macro_rules! pass_over {
    ($value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

impl<'de> Visitor<'de> for RowVisitor {
    type Value = MaybeRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a worker")
    }

    pass_over!(MaybeRow(None));

    fn visit_u64<E>(self, _: u64) -> Result<MaybeRow, E> {
        Ok(MaybeRow(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<MaybeRow, E> {
        Ok(MaybeRow(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<MaybeRow, E> {
        Ok(MaybeRow(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<MaybeRow, E> {
        Ok(MaybeRow(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<MaybeRow, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(MaybeRow(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<MaybeRow, A::Error> {
        let mut row = Row::default();
        while let Some(key) = fields.next_key::<Key<'de>>()? {
            match &*key.0 {
                "hostname" => row.hostname = fields.next_value::<Loose>()?.text().unwrap_or_default().into(),
                "worker-heartbeat" => row.counts.beats = fields.next_value::<Loose>()?.whole().unwrap_or(0),
                "worker-online" => row.counts.onlines = fields.next_value::<Loose>()?.whole().unwrap_or(0),
                "worker-offline" => row.counts.goodbyes = fields.next_value::<Loose>()?.whole().unwrap_or(0),
                "heartbeats" => row.newest = fields.next_value::<Loose>()?.real(),
                "pid" => row.pid = fields.next_value::<Loose>()?.whole(),
                "clock" => row.clock = fields.next_value::<Loose>()?.whole(),
                "freq" => row.freq = fields.next_value::<Loose>()?.real(),
                "active" => row.active = fields.next_value::<Loose>()?.whole(),
                "processed" => row.processed = fields.next_value::<Loose>()?.whole(),
                "sw_ident" => row.sw_ident = fields.next_value::<Loose>()?.text(),
                "sw_ver" => row.sw_ver = fields.next_value::<Loose>()?.text(),
                "sw_sys" => row.sw_sys = fields.next_value::<Loose>()?.text(),
                // Producers send this one, under a name that is no worker's.
                key if key.starts_with("task-") && key != "task-sent" => {
                    let count = fields.next_value::<Loose>()?.whole().unwrap_or(0);
                    row.counts.tasks = row.counts.tasks.saturating_add(count);
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(MaybeRow(Some(row)))
    }
}

/// A key, borrowed where it holds no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A value of any type.
enum Loose {
    Whole(u64),
    Real(f64),
    Text(String),
    Nothing,
}

impl Loose {
    fn whole(self) -> Option<u64> {
        match self {
            Loose::Whole(number) => Some(number),
            // Out of bounds it saturates.
            Loose::Real(number) if number >= 0.0 => Some(number as u64),
            _ => None,
        }
    }

    fn real(self) -> Option<f64> {
        match self {
            Loose::Whole(number) => Some(number as f64),
            Loose::Real(number) if number.is_finite() => Some(number),
            _ => None,
        }
    }

    fn text(self) -> Option<String> {
        match self {
            Loose::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    pass_over!(Loose::Nothing);

    fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
        Ok(Loose::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
        Ok(Loose::Real(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
        Ok(Loose::Real(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    /// The greatest number in a list.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        let mut greatest: Option<f64> = None;
        while let Some(item) = items.next_element::<Loose>()? {
            if let Some(number) = item.real() {
                greatest = Some(greatest.map_or(number, |greatest| greatest.max(number)));
            }
        }
        Ok(greatest.map_or(Loose::Nothing, Loose::Real))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Loose, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Flower 2.2.0 said it of a worker that had run tasks.
    const REAL: &str = r#"{"data": [{"worker-online": 1, "worker-heartbeat": 5, "task-sent": 9, "task-received": 2,
        "task-started": 2, "hostname": "sms@b", "pid": 3973, "freq": 2.0, "heartbeats": [1795518890.46, 1795518896.47,
        1795518894.47], "clock": 22, "active": 0, "processed": 7, "loadavg": [0.46, 0.66, 0.82],
        "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux", "status": true}]}"#;

    #[test]
    fn what_a_real_flower_says_is_read() {
        let expected = Row {
            hostname: "sms@b".into(),
            counts: Counts {
                beats: 5,
                onlines: 1,
                goodbyes: 0,
                tasks: 4,
            },
            newest: Some(1_795_518_896.47),
            pid: Some(3973),
            clock: Some(22),
            freq: Some(2.0),
            active: Some(0),
            processed: Some(7),
            sw_ident: Some("py-celery".to_owned()),
            sw_ver: Some("5.7.0".to_owned()),
            sw_sys: Some("Linux".to_owned()),
        };
        let read = read(REAL.as_bytes()).unwrap();
        assert_eq!((read.rows.as_slice(), read.malformed), (&[expected][..], 0));
    }

    #[test]
    fn one_odd_row_takes_no_other_with_it() {
        let body = r#"{"more": {}, "data": [null, 7, -7, 0.5, "x", true, [1, {}], {}, {"hostname": 5}, {"hostname": "a@h",
            "worker-heartbeat": "many", "pid": -1, "freq": {"a": 1}, "heartbeats": [null, "x", [3], 2], "clock": 1e300,
            "active": 2.0, "processed": [], "sw_ver": 5, "task-x": -1}, {"hostname": "\u0062@h", "task\u002dx": 3}]}"#;
        let Rows { rows, malformed } = read(body.as_bytes()).unwrap();
        assert_eq!(malformed, 9);
        let names: Vec<_> = rows.iter().map(|row| row.hostname.as_str()).collect();
        assert_eq!(names, ["a@h", "b@h"]);
        assert_eq!(
            (
                rows[0].counts,
                rows[0].newest,
                rows[0].clock,
                rows[0].active,
                rows[0].pid
            ),
            (Counts::default(), Some(3.0), Some(u64::MAX), Some(2), None)
        );
        assert_eq!(rows[1].counts.tasks, 3);
    }

    /// As Flower 2.2.0 passes on what one worker sent it.
    #[test]
    fn values_that_json_does_not_have_cost_no_row() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let body = format!(
            r#"{{"data": [{{"hostname": "odd@h", "worker-heartbeat": 3, "sw_ident": "\ud800", "loadavg": [NaN],
            "clock": {}, "freq": Infinity, "active": {deep}}}, {{"hostname": "a@h", "worker-heartbeat": 5}}]}}"#,
            "9".repeat(400)
        );
        let Rows { rows, malformed } = read(body.as_bytes()).unwrap();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.hostname.as_str(), row.counts.beats))
            .collect();
        assert_eq!((seen, malformed), (vec![("odd@h", 3), ("a@h", 5)], 0));
        assert_eq!(
            (rows[0].sw_ident.as_deref(), rows[0].clock, rows[0].freq),
            (Some("\u{fffd}"), None, None)
        );
    }

    #[test]
    fn what_is_no_list_of_flowers_is_said_to_be_none() {
        let deep = "[".repeat(100_000);
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"data": {}}"#,
            r#"{"data": [{}"#,
            "OK",
            &deep,
            &REAL[..300],
        ] {
            let error = read(body.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, "unexpected answer: not Flower's list of workers");
        }
        let page = read(b" <html>").unwrap_err().to_string();
        assert!(page.contains("a web page"), "{page}");
        assert!(read(b"\xff\xfe").is_err());
    }
}
