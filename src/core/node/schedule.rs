//! Tasks that wait for their time.
//!
//! All of them are unsettled at the broker, as a worker's are. Those that are due first are held here whole; where they are more
//! than may be in memory the latest are left at the broker: no more is kept of one than when it is due. Then it is given back,
//! and the broker hands it out again, to whoever is free.

use std::collections::BTreeMap;

use super::call::Call;
use super::spec::MAX_SCHEDULED_BYTES;
use super::step::Tag;
use crate::time::Wall;

/// When, and a number that no other has.
type Key = (Wall, u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    held: BTreeMap<Key, Held>,
    /// What all that is held takes in memory, in bytes.
    weight: usize,
    left: BTreeMap<Key, Left>,
}

#[derive(Debug)]
struct Held {
    call: Call,
    weight: usize,
}

/// One that the broker has.
#[derive(Debug)]
struct Left {
    tag: Tag,
    id: String,
}

/// One whose time has come.
#[derive(Debug)]
pub(super) enum Due {
    /// To be run.
    Call(Box<Call>),
    /// To be given back, so that it is handed out anew.
    Left(Tag),
}

impl Schedule {
    /// Keeps one until `eta`. `number` is one that no other has.
    pub(super) fn add(&mut self, eta: Wall, number: u64, call: Call) {
        let weight = call.weight();
        self.weight += weight;
        self.held.insert((eta, number), Held { call, weight });
        while self.weight > MAX_SCHEDULED_BYTES {
            let Some((key, held)) = self.held.pop_last() else { break };
            self.weight = self.weight.saturating_sub(held.weight);
            // What waits is not acknowledged.
            if let Some(tag) = held.call.tag {
                let id = held.call.message.id;
                self.left.insert(key, Left { tag, id });
            }
        }
    }

    /// How many wait, wherever they are.
    pub(super) fn len(&self) -> usize {
        self.held.len() + self.left.len()
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Wall> {
        let held = self.held.keys().next();
        let left = self.left.keys().next();
        held.into_iter().chain(left).map(|(at, _)| *at).min()
    }

    /// One that is due by now.
    pub(super) fn take_due(&mut self, now: Wall) -> Option<Due> {
        if let Some(entry) = self.held.first_entry().filter(|entry| entry.key().0 <= now) {
            let held = entry.remove();
            self.weight = self.weight.saturating_sub(held.weight);
            return Some(Due::Call(Box::new(held.call)));
        }
        let entry = self.left.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(Due::Left(entry.remove().tag))
    }

    /// Those that are held, the next one first.
    pub(super) fn calls(&self) -> impl Iterator<Item = (Wall, &Call)> {
        self.held.iter().map(|((at, _), held)| (*at, &held.call))
    }

    /// The ids of all.
    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        let held = self.held.values().map(|held| &held.call.message.id);
        held.chain(self.left.values().map(|left| &left.id))
    }

    /// Takes out those of such ids, as if they were due.
    pub(super) fn take(&mut self, mut wanted: impl FnMut(&str) -> bool) -> Vec<Due> {
        let held = self.held.iter().filter(|(_, held)| wanted(&held.call.message.id));
        let held: Vec<Key> = held.map(|(key, _)| *key).collect();
        let left = self.left.iter().filter(|(_, left)| wanted(&left.id));
        let left: Vec<Key> = left.map(|(key, _)| *key).collect();
        let mut taken = Vec::with_capacity(held.len() + left.len());
        for held in held.into_iter().filter_map(|key| self.held.remove(&key)) {
            self.weight = self.weight.saturating_sub(held.weight);
            taken.push(Due::Call(Box::new(held.call)));
        }
        let left = left.into_iter().filter_map(|key| self.left.remove(&key));
        taken.extend(left.map(|left| Due::Left(left.tag)));
        taken
    }

    /// Forgets all; what the broker waits to hear about.
    pub(super) fn clear(&mut self) -> Vec<Tag> {
        self.weight = 0;
        let held = std::mem::take(&mut self.held).into_values();
        let left = std::mem::take(&mut self.left).into_values();
        let tags = held.filter_map(|held| held.call.tag);
        tags.chain(left.map(|left| left.tag)).collect()
    }
}
