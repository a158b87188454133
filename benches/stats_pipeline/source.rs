//! The documents that all contestants read, and MongoDB's own grouping of them.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::StreamExt;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::{InsertManyOptions, ReadConcern};
use mongodb::{Client, Collection, Database};
use serde_json::Value;
use tokio::task::JoinSet;

/// The documents are spread over so many seconds, in the order of their ids, as they come in life.
const SPAN_S: u64 = 7_200;
/// The youngest is so old that no pipeline waits for others like it.
const AGO_S: u64 = 600;
const INSERT: u64 = 10_000;
const WRITERS: u64 = 3;
const CAMPAIGNS: u64 = 50;
const COUNTRIES: [&str; 20] = [
    "at", "be", "ch", "cz", "de", "dk", "es", "fi", "fr", "gb", "gr", "hu", "ie", "it", "nl", "no", "pl", "pt", "se",
    "us",
];

/// A bucket in milliseconds, campaign, country.
pub(crate) type Key = (i64, String, String);

/// The plain measures of one roll-up, in their order: count, sum, mean, least, most.
pub(crate) type Measured = [f64; 5];

pub(crate) struct Source {
    pub(crate) database: Database,
    pub(crate) clicks: Collection<Document>,
}

impl Source {
    pub(crate) async fn open(url: &str) -> Self {
        let client = Client::with_uri_str(url).await.expect("a URL of MongoDB");
        let database = client.database("app");
        let clicks = database.collection("clicks");
        Source { database, clicks }
    }

    /// Inserts so many documents. Returns the seconds that it took.
    pub(crate) async fn fill(&self, count: u64) -> f64 {
        let began = Instant::now();
        let now = u64::try_from(DateTime::now().timestamp_millis()).expect("after 1970") / 60_000 * 60_000;
        let from = now - (SPAN_S + AGO_S) * 1_000;
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let clicks = self.clicks.clone();
            writers.spawn(async move {
                let unordered = InsertManyOptions::builder().ordered(false).build();
                for batch in (writer..count.div_ceil(INSERT)).step_by(WRITERS as usize) {
                    let numbers = batch * INSERT..count.min((batch + 1) * INSERT);
                    let documents: Vec<Document> = numbers.map(|number| one(number, count, from)).collect();
                    let insert = clicks.insert_many(documents).with_options(unordered.clone());
                    insert.await.expect("MongoDB takes documents");
                }
            });
        }
        writers.join_all().await;
        began.elapsed().as_secs_f64()
    }

    /// Drops everything but the documents.
    pub(crate) async fn clear(&self) {
        for name in self.database.list_collection_names().await.expect("MongoDB answers") {
            if name != "clicks" && name != "expected" {
                let collection: Collection<Document> = self.database.collection(&name);
                collection.drop().await.expect("MongoDB answers");
            }
        }
    }

    /// MongoDB's own grouping, of all documents or of the first so many, written by `$merge` where `into` names a collection.
    /// Returns how many roll-ups it made.
    pub(crate) async fn group(&self, first: Option<u64>, into: Option<&str>) -> u64 {
        let mut stages = Vec::new();
        if let Some(first) = first {
            stages.extend([
                doc! { "$sort": { "_id": 1 } },
                doc! { "$limit": i64::try_from(first).expect("few") },
            ]);
        }
        stages.push(doc! { "$group": {
            "_id": { "bucket": { "$dateTrunc": { "date": "$at", "unit": "minute" } }, "campaign": "$campaign", "country": "$country" },
            "n": { "$sum": 1 }, "paid": { "$sum": "$price" }, "typical": { "$avg": "$price" },
            "least": { "$min": "$ms" }, "most": { "$max": "$ms" },
        } });
        stages.push(match into {
            Some(into) => doc! { "$merge": { "into": into } },
            None => doc! { "$count": "n" },
        });
        let mut found = self
            .clicks
            .aggregate(stages)
            .allow_disk_use(true)
            .await
            .expect("MongoDB groups");
        let mut count = 0;
        while found.advance().await.expect("MongoDB groups") {
            let document = found.deserialize_current().expect("it is BSON");
            count = u64::try_from(document.get_i32("n").expect("a count")).expect("a count");
        }
        match into {
            Some(into) => self.count(into).await,
            None => count,
        }
    }

    /// Reads what a pipeline reads, in its way, over so many connections, and does nothing with it.
    pub(crate) async fn read(&self, connections: u32, count: u64) {
        let first = self
            .clicks
            .find_one(doc! {})
            .sort(doc! { "_id": 1 })
            .await
            .expect("MongoDB answers");
        let first = first
            .expect("a document")
            .get_object_id("_id")
            .expect("an id")
            .timestamp();
        let mut readers = JoinSet::new();
        for reader in 0..connections {
            let border = |part: u32| {
                let at = first.timestamp_millis() / 1_000 + SPAN_S as i64 * i64::from(part) / i64::from(connections);
                let mut id = [0; 12];
                id[..4].copy_from_slice(&u32::try_from(at).expect("before 2106").to_be_bytes());
                ObjectId::from_bytes(id)
            };
            let mut range = doc! { "$gte": border(reader) };
            if reader + 1 < connections {
                range.insert("$lt", border(reader + 1));
            }
            let clicks = self.clicks.clone();
            readers.spawn(async move {
                let fields = doc! { "_id": 1, "at": 1, "campaign": 1, "country": 1, "price": 1, "ms": 1 };
                let find = clicks
                    .find(doc! { "_id": range })
                    .sort(doc! { "_id": 1 })
                    .projection(fields);
                let mut batches = find
                    .batch_size(4_000)
                    .read_concern(ReadConcern::majority())
                    .batch()
                    .await
                    .expect("MongoDB answers");
                let mut read = 0;
                while let Some(batch) = batches.next().await {
                    read += batch
                        .expect("MongoDB answers")
                        .doc_slices()
                        .expect("documents")
                        .into_iter()
                        .count();
                }
                read as u64
            });
        }
        assert_eq!(readers.join_all().await.into_iter().sum::<u64>(), count);
    }

    pub(crate) async fn count(&self, collection: &str) -> u64 {
        let collection: Collection<Document> = self.database.collection(collection);
        collection.estimated_document_count().await.expect("MongoDB answers")
    }

    /// The roll-ups of a collection: as `$group` writes them, with the group as `_id`, or as a pipeline does.
    pub(crate) async fn rollups(&self, collection: &str) -> HashMap<Key, Measured> {
        let collection: Collection<Document> = self.database.collection(collection);
        let mut found = collection.find(doc! {}).await.expect("MongoDB answers");
        let mut rollups = HashMap::new();
        while found.advance().await.expect("MongoDB answers") {
            let rollup = found.deserialize_current().expect("it is BSON");
            let group = rollup.get_document("_id").unwrap_or(&rollup);
            let text = |name| group.get_str(name).expect("a group").to_owned();
            let bucket = group.get_datetime("bucket").expect("a bucket").timestamp_millis();
            let measured = ["n", "paid", "typical", "least", "most"].map(|name| number(rollup.get(name)));
            rollups.insert((bucket, text("campaign"), text("country")), measured);
        }
        rollups
    }
}

/// The roll-ups of an index.
pub(crate) fn in_index(documents: Vec<Value>) -> HashMap<Key, Measured> {
    let read = |rollup: Value| {
        let text = |name: &str| rollup[name].as_str().expect("a text").to_owned();
        let bucket = DateTime::parse_rfc3339_str(text("bucket"))
            .expect("a time")
            .timestamp_millis();
        let measured = ["n", "paid", "typical", "least", "most"].map(|name| rollup[name].as_f64().unwrap_or(f64::NAN));
        ((bucket, text("campaign"), text("country")), measured)
    };
    documents.into_iter().map(read).collect()
}

/// What two have different, in words; none where they have the same. Sums may differ in their last digits, by their order.
pub(crate) fn difference(found: &HashMap<Key, Measured>, expected: &HashMap<Key, Measured>) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} roll-ups instead of {}", found.len(), expected.len()));
    }
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    let wrong = expected.iter().find(|(key, right)| {
        let same = |measured: &Measured| measured.iter().zip(*right).all(|(a, b)| near(*a, *b));
        !found.get(*key).is_some_and(same)
    });
    wrong.map(|(key, right)| format!("{key:?} is {:?} instead of {right:?}", found.get(key)))
}

fn number(value: Option<&Bson>) -> f64 {
    match value {
        Some(Bson::Int32(whole)) => f64::from(*whole),
        Some(Bson::Int64(whole)) => *whole as f64,
        Some(Bson::Double(float)) => *float,
        _ => f64::NAN,
    }
}

/// A number that is the same everywhere (splitmix64).
const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn one(number: u64, count: u64, from: u64) -> Document {
    let at = from + number * SPAN_S * 1_000 / count;
    let dice = |which: u64, sides: u64| mix(number * 5 + which) % sides;
    let mut id = [0; 12];
    id[..4].copy_from_slice(&u32::try_from(at / 1_000).expect("before 2106").to_be_bytes());
    id[4..].copy_from_slice(&number.to_be_bytes());
    doc! {
        "_id": ObjectId::from_bytes(id),
        "at": DateTime::from_millis(i64::try_from(at).expect("a time")),
        "campaign": format!("campaign-{:02}", dice(0, CAMPAIGNS)),
        "country": COUNTRIES[dice(1, COUNTRIES.len() as u64) as usize],
        "price": dice(2, 10_000) as f64 / 100.0,
        "ms": (1 + dice(3, 50_000)) as f64 / 10.0,
        "user": i64::try_from(dice(4, 100_000)).expect("small"),
    }
}
