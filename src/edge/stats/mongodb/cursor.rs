//! The cursor field, by whose values documents are read: of which kind they are, which of two comes first, and ranges of them.
//!
//! MongoDB compares values of one kind with each other, and `$gt` finds no others. So a pipeline reads documents of one kind,
//! that of most. Who has another one has no place in the order; it must not lend its value to a position, since from there
//! all others are out of sight.

use std::cmp::Ordering;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::{RawBsonRef, RawDocument};
use mongodb::bson::spec::{BinarySubtype, ElementType};
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};

use super::extract::raw;

/// Values that MongoDB compares with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Number,
    Text,
    Document,
    Binary,
    ObjectId,
    Boolean,
    Date,
    Timestamp,
}

/// The longest value of the cursor field that its document is read by, in bytes. A part has three of them and each step of the tail
/// remembers one, so without a bound one document might leave no room for the rest.
pub(super) const MAX_CURSOR: usize = 4_096;
/// The last character there is.
const LAST: char = char::MAX;

/// Kinds that nothing is read by.
const NO_KINDS: [&str; 4] = ["regex", "javascript", "minKey", "maxKey"];

impl Kind {
    const ALL: [Self; 8] = [
        Self::Number,
        Self::Text,
        Self::Document,
        Self::Binary,
        Self::ObjectId,
        Self::Boolean,
        Self::Date,
        Self::Timestamp,
    ];

    const fn of_type(element: ElementType) -> Option<Self> {
        Some(match element {
            ElementType::Int32 | ElementType::Int64 | ElementType::Double | ElementType::Decimal128 => Self::Number,
            ElementType::String | ElementType::Symbol => Self::Text,
            ElementType::EmbeddedDocument => Self::Document,
            ElementType::Binary => Self::Binary,
            ElementType::ObjectId => Self::ObjectId,
            ElementType::Boolean => Self::Boolean,
            ElementType::DateTime => Self::Date,
            ElementType::Timestamp => Self::Timestamp,
            _ => return None,
        })
    }

    /// The kind of a value, if documents can be read by it.
    pub(super) fn of(value: &Bson) -> Option<Self> {
        Self::of_type(value.element_type())
    }

    /// Whether a value is of this kind.
    pub(super) fn has(self, value: RawBsonRef<'_>) -> bool {
        Self::of_type(value.element_type()) == Some(self)
    }

    /// For people.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Document => "a document",
            Self::Binary => "binary data",
            Self::ObjectId => "an object id",
            Self::Boolean => "true or false",
            Self::Date => "a date",
            Self::Timestamp => "a time stamp of MongoDB's own",
        }
    }

    /// The server's names of the types that are of this kind.
    const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Number => &["number"],
            Self::Text => &["string", "symbol"],
            Self::Document => &["object"],
            Self::Binary => &["binData"],
            Self::ObjectId => &["objectId"],
            Self::Boolean => &["bool"],
            Self::Date => &["date"],
            Self::Timestamp => &["timestamp"],
        }
    }

    /// The kind of most of some values.
    pub(super) fn of_most<'a>(values: impl Iterator<Item = &'a Bson> + Clone) -> Option<Self> {
        let count = |kind: &Self| values.clone().filter(|value| Self::of(value) == Some(*kind)).count();
        Self::ALL.into_iter().filter(|kind| count(kind) > 0).max_by_key(count)
    }

    /// The first value of this kind of a moment, where values of this kind tell one.
    pub(super) fn value_at(self, at: DateTime) -> Option<Bson> {
        match self {
            Self::ObjectId => {
                let seconds = u32::try_from(at.timestamp_millis().div_euclid(1_000)).ok()?;
                let mut bytes = [0; 12];
                bytes[..4].copy_from_slice(&seconds.to_be_bytes());
                Some(Bson::ObjectId(ObjectId::from_bytes(bytes)))
            }
            Self::Date => Some(Bson::DateTime(at)),
            _ => None,
        }
    }
}

/// The moment that a value of the cursor field tells.
pub(super) fn moment(value: &Bson) -> Option<DateTime> {
    match value {
        Bson::ObjectId(id) => Some(id.timestamp()),
        Bson::DateTime(date) => Some(*date),
        _ => None,
    }
}

/// What is wrong with a value that nothing is read by, where it is too long for that.
pub(super) fn too_long(cursor: &str, value: RawBsonRef<'_>) -> Option<String> {
    let bytes = match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => text.len(),
        RawBsonRef::Binary(binary) => binary.bytes.len(),
        RawBsonRef::Document(document) => document.as_bytes().len(),
        _ => 0,
    };
    (bytes > MAX_CURSOR).then(|| no_position(cursor))
}

/// What is said of a value that is too long.
pub(super) fn no_position(cursor: &str) -> String {
    format!("field `{cursor}`: more than the {MAX_CURSOR} bytes that documents are read by")
}

/// The value itself, or where it is a text that is too long, a short one behind it: no other that is short enough to be read lies
/// between the two, so who has read this one has read all up to there.
pub(super) fn bounded(value: Bson) -> Bson {
    match value {
        Bson::String(text) | Bson::Symbol(text) if text.len() > MAX_CURSOR => behind(&text).into(),
        other => other,
    }
}

/// A text behind a long one, after all that begins as it does.
fn behind(text: &str) -> String {
    let cut = (MAX_CURSOR..text.len()).find(|place| text.is_char_boundary(*place));
    let cut = cut.unwrap_or(text.len());
    let (head, rest) = text.split_at(cut);
    // What all begin with, and then more than any of them goes on with.
    let run = rest.find(|c| c != LAST).unwrap_or(rest.len());
    if run < MAX_CURSOR && run < rest.len() {
        return format!("{head}{}{LAST}", &rest[..run]);
    }
    // Only a text made for it goes on like this. The next shorter one that is greater; of all texts it passes over itself alone.
    let head = head.trim_end_matches(LAST);
    let mut chars = head.chars();
    let next = chars.next_back().and_then(|last| (last..=LAST).nth(1));
    next.map_or_else(|| LAST.to_string(), |next| format!("{}{next}", chars.as_str()))
}

/// The greatest binary value that documents are read by: of two the longer one is greater.
fn greatest_binary() -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::UserDefined(u8::MAX),
        bytes: vec![u8::MAX; MAX_CURSOR],
    })
}

fn max_cursor() -> i64 {
    i64::try_from(MAX_CURSOR).unwrap_or(i64::MAX)
}

/// The cursor field for the server: its value, or where that is too long, a short one of its kind. Of a list nothing but that.
pub(super) fn short(cursor: &str) -> Document {
    let field = format!("${cursor}");
    let branches = vec![
        doc! { "case": is_long(cursor, "string"), "then": { "$substrCP": [&field, 0, max_cursor() / 4] } },
        doc! { "case": is_long(cursor, "binData"), "then": greatest_binary() },
        doc! { "case": is_long(cursor, "object"), "then": { "$literal": {} } },
        doc! { "case": { "$isArray": [&field] }, "then": { "$literal": [] } },
    ];
    doc! { "$switch": { "branches": branches, "default": &field } }
}

/// Whether the cursor field is too long, for the server.
pub(super) fn is_any_long(cursor: &str) -> Document {
    let kinds = ["string", "binData", "object"].map(|kind| is_long(cursor, kind));
    doc! { "$or": kinds.to_vec() }
}

/// Whether the cursor field is of one of the server's types and too long, for the server.
fn is_long(cursor: &str, kind: &str) -> Document {
    let field = format!("${cursor}");
    let size = if kind == "object" { "$bsonSize" } else { "$binarySize" };
    let size = doc! { "$cond": [{ "$eq": [{ "$type": &field }, kind] }, { size: &field }, 0] };
    doc! { "$gt": [size, max_cursor()] }
}

/// A value of the cursor field as a position, if it is of the kind that is read.
pub(super) fn position(document: &RawDocument, cursor: &str, kind: Kind) -> Option<Bson> {
    let value = raw(document, cursor)?;
    kind.has(value)
        .then(|| Bson::try_from(value).ok().map(bounded))
        .flatten()
}

/// Which of two values of one kind comes first, as MongoDB has it; none where only MongoDB knows.
pub(super) fn order(a: &Bson, b: &Bson) -> Option<Ordering> {
    match (a, b) {
        (Bson::ObjectId(a), Bson::ObjectId(b)) => Some(a.cmp(b)),
        (Bson::DateTime(a), Bson::DateTime(b)) => Some(a.cmp(b)),
        (Bson::String(a), Bson::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Bson::Binary(a), Bson::Binary(b)) => {
            let key = |binary: &mongodb::bson::Binary| (binary.bytes.len(), u8::from(binary.subtype));
            Some(key(a).cmp(&key(b)).then_with(|| a.bytes.cmp(&b.bytes)))
        }
        _ => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => float(a)?.partial_cmp(&float(b)?),
        },
    }
}

fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(whole) => Some(i64::from(*whole)),
        Bson::Int64(whole) => Some(*whole),
        _ => None,
    }
}

/// The nearest float of a number.
fn float(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(whole) => Some(f64::from(*whole)),
        Bson::Int64(whole) => Some(*whole as f64),
        Bson::Double(float) => Some(*float),
        Bson::Decimal128(decimal) => decimal.to_string().parse().ok(),
        _ => None,
    }
}

/// Whether a position cannot lie between two values: `1`, `1.0` and a long `1` are the same to the server. Where two numbers are so
/// near that they may be, they count as the same: that only makes a step longer.
pub(super) fn is_same(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> bool {
    let is_number = |value| Kind::Number.has(value);
    if a == b || !(is_number(a) && is_number(b)) {
        return a == b;
    }
    match (Bson::try_from(a), Bson::try_from(b)) {
        (Ok(a), Ok(b)) => same(&a, &b),
        _ => false,
    }
}

/// As [`is_same`].
pub(super) fn same(a: &Bson, b: &Bson) -> bool {
    a == b || order(a, b) == Some(Ordering::Equal)
}

/// The paths under which a list may be: what is in a list has no place of its own in the order.
fn paths(cursor: &str) -> impl Iterator<Item = &str> {
    let within = cursor.match_indices('.').map(|(place, _)| &cursor[..place]);
    // The server takes no list for an `_id`.
    within.chain((cursor != "_id").then_some(cursor))
}

/// Documents whose cursor field is of a kind, after a value (`MinKey`: all), up to another one. A list is compared by what is in
/// it, and would be found wherever one of its items is. Of values that are too long to be read by, texts alone are found: others would
/// lend no position.
pub(super) fn range(cursor: &str, kind: Kind, after: &Bson, upto: Option<&Bson>) -> Document {
    let mut range = Document::new();
    if *after != Bson::MinKey {
        range.insert("$gt", after.clone());
    }
    if let Some(upto) = upto {
        range.insert("$lte", upto.clone());
    } else if kind == Kind::Binary {
        range.insert("$lte", greatest_binary());
    }
    if range.is_empty() && kind == Kind::Number {
        // All but NaN, which has no place among them.
        range.insert("$gte", f64::NEG_INFINITY);
    } else if range.is_empty() {
        range.insert("$type", kind.types().to_vec());
    }
    let mut all = vec![doc! { cursor: range }];
    if kind == Kind::Document {
        all.push(doc! { "$expr": { "$not": [is_long(cursor, "object")] } });
    }
    all.extend(paths(cursor).map(|path| doc! { path: { "$not": { "$type": "array" } } }));
    match <[Document; 1]>::try_from(all) {
        Ok([only]) => only,
        Err(all) => doc! { "$and": all },
    }
}

/// Documents whose cursor field is of any other kind, `lists` among them or not, or too long to be found in a range. Those that have none are no part of it.
pub(super) fn others(cursor: &str, kind: Kind, lists: bool) -> Document {
    let types = Kind::ALL
        .into_iter()
        .filter(|other| *other != kind)
        .flat_map(Kind::types);
    let types: Vec<&str> = types.copied().chain(NO_KINDS).collect();
    let mut any = vec![doc! { cursor: { "$type": types } }];
    if kind == Kind::Number {
        any.push(doc! { cursor: f64::NAN });
    }
    match kind {
        Kind::Binary => any.push(doc! { cursor: { "$gt": greatest_binary() } }),
        Kind::Document => any.push(doc! { cursor: { "$type": "object" }, "$expr": is_long(cursor, "object") }),
        _ => {}
    }
    if lists {
        any.extend(paths(cursor).map(|path| doc! { path: { "$type": "array" } }));
    }
    doc! { "$or": any }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::rawdoc;

    use super::*;

    #[test]
    fn the_kind_is_that_of_most() {
        let values: [Bson; 6] = [
            "a".into(),
            1.into(),
            2_i64.into(),
            3.0.into(),
            Bson::Null,
            vec![1].into(),
        ];
        assert_eq!(Kind::of_most(values.iter()), Some(Kind::Number));
        assert_eq!(Kind::of_most([Bson::Null, vec![1].into()].iter()), None);
        let document = rawdoc! { "a": "12", "b": 12, "c": [12] };
        let at = |name| position(&document, name, Kind::Number);
        assert_eq!(
            (at("a"), at("b"), at("c"), at("d")),
            (None, Some(12.into()), None, None)
        );
    }

    #[test]
    fn numbers_of_different_types_are_compared_by_what_they_are() {
        let all =
            rawdoc! { "int": 1, "long": 1_i64, "double": 1.0, "more": 1.5, "great": i64::MAX, "less": i64::MAX - 1 };
        let same = |a, b| is_same(all.get(a).unwrap().unwrap(), all.get(b).unwrap().unwrap());
        assert!(same("int", "long") && same("long", "double") && same("double", "int"));
        assert!(!same("int", "more") && !same("great", "less"));
        assert_eq!(order(&1.into(), &1.5.into()), Some(Ordering::Less));
        assert_eq!(order(&i64::MAX.into(), &(i64::MAX - 1).into()), Some(Ordering::Greater));
        assert_eq!(order(&doc! { "a": 1 }.into(), &doc! { "a": 2 }.into()), None);
    }

    #[test]
    fn a_long_text_lends_a_short_position_behind_it() {
        let short = "a".repeat(MAX_CURSOR);
        assert_eq!(bounded(short.clone().into()), short.clone().into());
        let behind = |text: &str| match bounded(text.into()) {
            Bson::String(behind) => behind,
            other => panic!("{other}"),
        };
        let runs = |n: usize| LAST.to_string().repeat(n);
        // In the middle of a character, with the last character after the cut, and with hardly anything else.
        for text in [
            format!("{short}b"),
            format!("{}{}", "a".repeat(MAX_CURSOR - 1), "ü".repeat(1 << 20)),
            format!("{short}{}{}", runs(3), "b".repeat(1 << 20)),
            format!("{short}{}", runs(1 << 20)),
            format!("a\u{d7ff}{}", runs(1 << 20)),
        ] {
            let found = behind(&text);
            assert!(
                found > text && found.len() <= 2 * MAX_CURSOR + 8,
                "{} bytes",
                found.len()
            );
            // The least of those that are greater and short.
            assert!(found.as_str() < "b");
        }
        assert_eq!(behind(&format!("a\u{d7ff}{}", runs(1 << 20))), "a\u{e000}");
        // Nothing short is greater than this, and there is no end to it.
        assert_eq!(behind(&runs(1 << 20)), runs(1));
    }

    #[test]
    fn a_value_that_is_too_long_is_told() {
        let all =
            rawdoc! { "text": "x".repeat(5_000), "document": { "a": "x".repeat(5_000) }, "short": "x", "number": 1 };
        let said = |name: &str| too_long(name, all.get(name).unwrap().unwrap());
        assert_eq!(
            said("text").as_deref(),
            Some("field `text`: more than the 4096 bytes that documents are read by")
        );
        assert!(said("document").is_some() && said("short").is_none() && said("number").is_none());
    }

    #[test]
    fn a_range_is_of_one_kind_and_without_lists() {
        let all = Bson::MinKey;
        assert_eq!(
            range("_id", Kind::ObjectId, &all, None),
            doc! { "_id": { "$type": ["objectId"] } }
        );
        // A NaN would be the first of them, and a position that nothing comes after.
        assert_eq!(
            range("_id", Kind::Number, &all, None),
            doc! { "_id": { "$gte": f64::NEG_INFINITY } }
        );
        let no_list = doc! { "$not": { "$type": "array" } };
        assert_eq!(
            range("a.b", Kind::Number, &1.into(), Some(&2.into())),
            doc! { "$and": [{ "a.b": { "$gt": 1, "$lte": 2 } }, { "a": no_list.clone() }, { "a.b": no_list }] }
        );
    }
}
