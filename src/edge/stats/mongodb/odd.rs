//! Documents that the tail does not read and nobody else will: they are put aside, so that somebody hears of them.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::Cursor;
use mongodb::bson::raw::{RawBsonRef, RawDocumentBuf};
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Error;
use mongodb::options::ReadConcern;

use super::Desk;
use super::commit::{DeadLetter, letter_id};
use super::cursor::{Kind, is_any_long, no_position, others, range, short};
use super::extract::{raw, scalar};
use super::home::{Fail, code};
use super::ids::{bytes_of, id_of};

/// So many documents of other kinds are told one by one. It is a mistake of whoever writes them, and not of single documents.
const MAX_ODD: i64 = 1_000;
/// What is read of them in one look, in bytes: all of it is in memory, and their `_id`s go into one transaction.
const MAX_ODD_BYTES: usize = 8 << 20;
/// The name under which the server is asked for the cursor field, which may be of any length, in short.
const VALUE: &str = "value";
/// The name under which it says whether that field is too long to be read by.
const IS_LONG: &str = "is_long";
/// A look for them may take so long. Only where a list has ever been in the field must the whole collection be looked through.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// MongoDB's code for an operation that took longer than it was allowed to.
const MAX_TIME_EXPIRED: i32 = 50;

impl Desk {
    /// Those whose cursor field is of another kind than is read, but for those that have a letter.
    pub(super) async fn odd(&self, kind: Kind) -> Result<Vec<DeadLetter>, Fail> {
        let cursor = self.site.spec.cursor.as_str();
        let lists = self.may_have_lists(kind).await?;
        let found = self
            .source
            .clone_with_type::<RawDocumentBuf>()
            .find(others(cursor, kind, lists))
            .projection(doc! { "_id": 1, VALUE: short(cursor), IS_LONG: is_any_long(cursor) })
            .limit(MAX_ODD)
            .max_time(LOOK_WITHIN)
            .read_concern(ReadConcern::majority())
            .await;
        let found = match found {
            Ok(found) => some(found).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            // It is looked again, and nothing depends on it.
            Err(error) if code(&error) == Some(MAX_TIME_EXPIRED) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let letter = |document: &RawDocumentBuf| {
            let value = raw(document, VALUE);
            if matches!(raw(document, IS_LONG), Some(RawBsonRef::Boolean(true)))
                && value.is_some_and(|value| kind.has(value))
            {
                return DeadLetter {
                    source_id: id_of(document),
                    reason: no_position(cursor),
                    ahead: None,
                };
            }
            let what = match value {
                None => "nothing",
                Some(RawBsonRef::Double(_)) if kind == Kind::Number => "not a number",
                Some(value) => scalar(value).kind(),
            };
            DeadLetter {
                source_id: id_of(document),
                reason: format!(
                    "field `{cursor}`: {what}, where others have {}: it has no place in the order of reading",
                    kind.noun()
                ),
                ahead: None,
            }
        };
        self.without_letter(found.iter().map(letter).collect()).await
    }

    /// Those that nobody has been told of yet.
    async fn without_letter(&self, letters: Vec<DeadLetter>) -> Result<Vec<DeadLetter>, Fail> {
        if letters.is_empty() {
            return Ok(letters);
        }
        let id = |letter: &DeadLetter| letter_id(&self.site.name, &letter.source_id);
        let all: Vec<Document> = letters.iter().map(id).collect();
        let told: Vec<Document> = self
            .home
            .dead_letters()
            .find(doc! { "_id": { "$in": all } })
            .projection(doc! { "_id": 1 })
            .await?
            .try_collect()
            .await?;
        let told: HashSet<Vec<u8>> = told
            .iter()
            .filter_map(|letter| letter.get("_id"))
            .map(bytes_of)
            .collect();
        let is_new = |letter: &DeadLetter| !told.contains(&bytes_of(&id(letter).into()));
        Ok(letters.into_iter().filter(is_new).collect())
    }

    /// Whether the index of the cursor field has ever had a list: the server knows, and plans otherwise from then on.
    async fn may_have_lists(&self, kind: Kind) -> Result<bool, Fail> {
        let cursor = self.site.spec.cursor.as_str();
        if cursor == "_id" {
            return Ok(false);
        }
        let find = doc! { "find": self.source.name(), "filter": range(cursor, kind, &Bson::MinKey, None) };
        let database = self.source.client().database(&self.source.namespace().db);
        let plan = database
            .run_command(doc! { "explain": find, "verbosity": "queryPlanner" })
            .await?;
        Ok(is_multikey(&plan.into()))
    }
}

/// As many as may be in memory, and at least one.
async fn some(mut found: Cursor<RawDocumentBuf>) -> Result<Vec<RawDocumentBuf>, Error> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    while bytes < MAX_ODD_BYTES
        && let Some(document) = found.try_next().await?
    {
        bytes += document.as_bytes().len();
        all.push(document);
    }
    Ok(all)
}

fn is_multikey(plan: &Bson) -> bool {
    match plan {
        Bson::Document(stage) => {
            stage.get_bool("isMultiKey").unwrap_or(false) || stage.iter().any(|(_, within)| is_multikey(within))
        }
        Bson::Array(stages) => stages.iter().any(is_multikey),
        _ => false,
    }
}

/// The `_id` and the cursor field.
pub(super) fn projection(cursor: &str) -> Document {
    if cursor == "_id" {
        doc! { "_id": 1 }
    } else {
        doc! { "_id": 1, cursor: 1 }
    }
}
