//! What records refer to by number: names, and profiles of workers. Both sides count in the order of definition.

use compact_str::{CompactString, ToCompactString};
use rustc_hash::FxHashMap;

use super::bytes::Bad;
use super::{MAX_TABLE, MAX_TABLE_BYTES};

/// What is the same in every event of one process. A number of a name is [`NONE`] where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    pub(super) hostname: u32,
    pub(super) pid: Option<u32>,
    /// Heartbeat interval as the bits of the float, which are its own to the last.
    pub(super) freq: Option<u64>,
    pub(super) software: [Option<u32>; 3],
}

/// The writer's side.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    names: FxHashMap<CompactString, u32>,
    bytes: usize,
    profiles: FxHashMap<Profile, u32>,
}

impl Numbers {
    /// The number of a name; `define` is called for one that is new.
    pub(super) fn name(&mut self, name: &str, define: impl FnOnce()) -> u32 {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        define();
        let number = self.names.len() as u32;
        self.names.insert(name.to_compact_string(), number);
        self.bytes += name.len();
        number
    }

    /// The number of a profile; `define` is called for one that is new.
    pub(super) fn profile(&mut self, profile: Profile, define: impl FnOnce()) -> u32 {
        if let Some(known) = self.profiles.get(&profile) {
            return *known;
        }
        define();
        let number = self.profiles.len() as u32;
        self.profiles.insert(profile, number);
        number
    }

    /// Whether it is time to begin anew: asked after each record, and no broker's answer fills the other half at once.
    pub(super) fn is_full(&self) -> bool {
        self.names.len() > MAX_TABLE / 2 || self.bytes > MAX_TABLE_BYTES / 2 || self.profiles.len() > MAX_TABLE / 2
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(super) struct Meanings {
    names: Vec<CompactString>,
    bytes: usize,
    profiles: Vec<Profile>,
}

impl Meanings {
    pub(super) fn add_name(&mut self, name: &str) -> Result<(), Bad> {
        if self.names.len() >= MAX_TABLE || self.bytes + name.len() > MAX_TABLE_BYTES {
            return Err("there are too many names");
        }
        self.bytes += name.len();
        self.names.push(name.to_compact_string());
        Ok(())
    }

    pub(super) fn add_profile(&mut self, profile: Profile) -> Result<(), Bad> {
        if self.profiles.len() >= MAX_TABLE {
            return Err("there are too many profiles");
        }
        self.profiles.push(profile);
        Ok(())
    }

    pub(super) fn name(&self, number: u32) -> Result<&CompactString, Bad> {
        self.names
            .get(number as usize)
            .ok_or("a name is used that was not defined")
    }

    pub(super) fn profile(&self, number: u32) -> Result<&Profile, Bad> {
        self.profiles
            .get(number as usize)
            .ok_or("a profile is used that was not defined")
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
