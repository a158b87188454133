//! From what a step has folded to what its transaction writes.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use futures_util::TryStreamExt;
use headcount_core::stats::group::Group;
use headcount_core::stats::plan::Plan;
use headcount_core::stats::rollup::Rollup;
use headcount_core::time::Wall;
use mongodb::bson::{Document, doc};
use mongodb::options::ReadConcern;

use super::Desk;
use super::commit::{StateWrite, state_id};
use super::home::Fail;
use super::parts::{Part, date};

/// So many keys are asked for at once.
const ASK: usize = 10_000;
/// The keys of a part that are remembered, eight bytes each, so that what is new need not be looked for. Beyond, all are.
const MAX_KNOWN: usize = 1_000_000;

/// Which states a part has already, as far as that is known.
#[derive(Debug)]
pub(super) struct Known {
    hasher: RandomState,
    /// None where somebody else has worked on the part before.
    hashes: Option<HashSet<u64>>,
}

impl Known {
    pub(super) fn of(part: &Part) -> Self {
        Self {
            hasher: RandomState::new(),
            hashes: (part.documents == 0).then(HashSet::new),
        }
    }

    fn may_have(&self, id: &str) -> bool {
        let hash = || self.hasher.hash_one(id);
        self.hashes.as_ref().is_none_or(|hashes| hashes.contains(&hash()))
    }

    /// These are there now.
    pub(super) fn add(&mut self, states: &[StateWrite]) {
        if let Some(hashes) = &mut self.hashes {
            hashes.extend(states.iter().map(|state| self.hasher.hash_one(&state.id)));
            if hashes.len() > MAX_KNOWN {
                self.hashes = None;
            }
        }
    }
}

impl Desk {
    /// Adds what was there before to what a step has folded.
    pub(super) async fn writes(
        &self,
        part: &Part,
        known: &Known,
        folded: Vec<(Wall, Group, Rollup)>,
    ) -> Result<Vec<StateWrite>, Fail> {
        let plan = &self.site.spec.plan;
        let named: Vec<_> = folded
            .into_iter()
            .map(|(bucket, group, rollup)| (group.id(bucket), bucket, group, rollup))
            .collect();
        let ask: Vec<String> = named
            .iter()
            .filter(|(id, ..)| known.may_have(id))
            .map(|(id, ..)| state_id(part, id))
            .collect();
        let before = self.load(&ask).await?;
        named
            .into_iter()
            .map(|(id, bucket, group, mut rollup)| {
                let mut count = None;
                if let Some(state) = before.get(&state_id(part, &id)) {
                    rollup.merge(&read_state(plan, state)?);
                    count = state.get_i64("documents").ok();
                }
                Ok(StateWrite {
                    documents: documents(&rollup),
                    before: count,
                    bucket: date(bucket),
                    group: group.as_bytes().to_vec(),
                    state: rollup.to_bytes(plan),
                    id,
                })
            })
            .collect()
    }

    async fn load(&self, ids: &[String]) -> Result<HashMap<String, Document>, Fail> {
        let mut found = HashMap::new();
        for some in ids.chunks(ASK) {
            let states: Vec<Document> = self
                .home
                .states()
                .find(doc! { "_id": { "$in": some } })
                .projection(doc! { "documents": 1, "state": 1 })
                .read_concern(ReadConcern::majority())
                .await?
                .try_collect()
                .await?;
            for state in states {
                let id = state.get_str("_id").map(str::to_owned);
                let id = id.map_err(|_| Fail::Damaged("a state without a name".to_owned()))?;
                found.insert(id, state);
            }
        }
        Ok(found)
    }
}

pub(super) fn documents(rollup: &Rollup) -> i64 {
    i64::try_from(rollup.documents()).unwrap_or(i64::MAX)
}

/// The roll-up of a state's document.
pub(super) fn read_state(plan: &Plan, state: &Document) -> Result<Rollup, Fail> {
    let bytes = state
        .get_binary_generic("state")
        .map_err(|error| Fail::Damaged(error.to_string()))?;
    Rollup::from_bytes(plan, bytes).map_err(|error| Fail::Damaged(error.to_string()))
}
