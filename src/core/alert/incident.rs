//! An incident: one stretch of trouble of one fleet, one worker or one broker.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::detect::{Diagnosis, Signal, WorkerState};
use crate::time::Wall;

/// The name of an incident: short, unique in a store, and safe in a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub CompactString);

impl std::fmt::Display for IncidentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A fleet has fewer workers than expected.
    Fleet,
    /// One worker is in trouble of its own, whatever its fleet. Nothing opens one today: a worker that is alive and does not
    /// work is told with its fleet. The kind is part of the API and of `headcount_incidents_open`, where it shows a zero.
    Worker,
    /// A broker cannot be reached.
    Broker,
    /// Workers of several fleets of one broker were lost together, such as all on one host.
    Fleets,
}

impl Kind {
    /// All kinds, for metrics that must show a zero.
    pub const ALL: [Kind; 4] = [Kind::Fleet, Kind::Worker, Kind::Broker, Kind::Fleets];

    /// The word that the API and the metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Fleet => "fleet",
            Kind::Worker => "worker",
            Kind::Broker => "broker",
            Kind::Fleets => "fleets",
        }
    }
}

/// How bad it is, from mild to grave; each has the word that a message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Alive, and not getting on with what they have taken.
    Stuck,
    /// Down and up again and again, and otherwise well.
    Flapping,
    /// Alive, and not consuming.
    Stalled,
    /// Fewer workers than expected, at least the minimum.
    Degraded,
    /// Under the minimum.
    Down,
    /// The broker itself cannot be reached.
    BrokerDown,
}

impl Severity {
    /// The mildest.
    pub const LEAST: Severity = Severity::Stuck;

    /// The word that the plain text of a message begins with (the contract's list).
    pub const fn headline(self) -> &'static str {
        match self {
            Severity::Stuck | Severity::Stalled => "STALLED",
            Severity::Flapping => "FLAPPING",
            Severity::Degraded => "DEGRADED",
            Severity::Down => "DOWN",
            Severity::BrokerDown => "BROKER DOWN",
        }
    }
}

/// One expected worker that is not up, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The whole node name, such as `sms@host1`.
    pub hostname: CompactString,
    /// Its state when this was written.
    pub state: WorkerState,
    /// Why it is down, where that is known.
    pub diagnosis: Option<Diagnosis>,
    /// When the last sign of life came.
    pub last_seen: Option<Wall>,
    /// Of one that is alive and does not do its work: since when.
    #[serde(default)]
    pub since: Option<Wall>,
}

/// What all that are lost have in common, and nobody who is well has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shared {
    /// The host in their names.
    Host(CompactString),
    /// Their software.
    Software(CompactString),
    /// A queue that they consumed.
    Queue(CompactString),
}

/// Of an incident of several fleets: which losses of one of them it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// The fleet.
    pub fleet: CompactString,
    /// How many of its workers.
    pub lost: u32,
    /// Who they are; at most [`Scene::MAX_MISSING`], the count tells the rest. Whoever else it loses is an incident of its
    /// own.
    #[serde(default)]
    pub workers: Vec<CompactString>,
    /// Whether it is under its minimum.
    pub down: bool,
}

/// Whether two lists miss the same workers for the same reasons. A sign of life from one that is still down is no news.
pub fn same_missing(a: &[Missing], b: &[Missing]) -> bool {
    let news = |missing: &Missing| (missing.hostname.clone(), missing.state, missing.diagnosis);
    a.iter().map(news).eq(b.iter().map(news))
}

/// What an incident looks like at one moment: the count, and who is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scene {
    /// Workers that are up.
    pub up: u32,
    /// Workers that should be.
    pub expected: u32,
    /// Under this many the fleet is down.
    pub minimum: u32,
    /// Who is missing, the longest silent first; at most [`Scene::MAX_MISSING`], the count tells the rest.
    pub missing: Vec<Missing>,
    /// Of a broker: the fleets that cannot be seen without it; at most [`Scene::MAX_FLEETS`].
    #[serde(default)]
    pub fleets: Vec<CompactString>,
    /// Of a broker: it stands, and blocks publishers.
    #[serde(default)]
    pub blocked: bool,
    /// Of a broker: it stands, and refuses Headcount.
    #[serde(default)]
    pub refused: bool,
    /// What the lost have in common.
    #[serde(default)]
    pub shared: Option<Shared>,
    /// Of a fleet whose workers do not do their work: how many tasks wait in its queues.
    #[serde(default)]
    pub waiting: Option<u64>,
    /// Of an incident of several fleets: what it stands for, one for each fleet.
    #[serde(default)]
    pub covers: Vec<Cover>,
}

impl Scene {
    /// Whether another scene shows the same. How many tasks wait changes all the time, and is no news.
    pub fn is_same(&self, other: &Scene) -> bool {
        (self.up, self.expected, self.minimum) == (other.up, other.expected, other.minimum)
            && same_missing(&self.missing, &other.missing)
            && self.fleets == other.fleets
            && (self.blocked, self.refused) == (other.blocked, other.refused)
            && self.shared == other.shared
            && self.covers == other.covers
    }

    /// How many missing workers an incident names: a message must stay readable, and the store bounded.
    pub const MAX_MISSING: usize = 50;

    /// How many fleets an incident of a broker names, for the same reasons.
    pub const MAX_FLEETS: usize = 50;

    /// Who is named, and why.
    pub fn named(&self) -> Vec<(CompactString, Option<Diagnosis>)> {
        self.missing
            .iter()
            .map(|one| (one.hostname.clone(), one.diagnosis))
            .collect()
    }

    /// How many workers are missing, named or not.
    pub const fn missing_count(&self) -> u32 {
        self.expected.saturating_sub(self.up)
    }
}

/// One observation that a verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When it was observed.
    pub at: Wall,
    /// About whom: a worker's hostname, a fleet or a broker.
    pub subject: CompactString,
    /// Which signal said it; none where the broker connection itself did.
    pub signal: Option<Signal>,
    /// What it said, in words for a person.
    pub says: String,
}

/// What has last been put into the outbox about an incident: the base that the next notice is reckoned from, so that a
/// crash between deciding and telling neither loses a message nor tells one twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The gravest severity that was told.
    pub severity: Severity,
    /// The most that were told to be missing.
    pub missing: u32,
    /// The severity that a channel with threads shows.
    pub shown_severity: Severity,
    /// How many are missing there.
    pub shown_missing: u32,
    /// Who is named there, and why.
    #[serde(default)]
    pub shown: Vec<(CompactString, Option<Diagnosis>)>,
    /// Whether the recovery has been told.
    pub recovered: bool,
    /// Whether it has been told that workers of it flap.
    #[serde(default)]
    pub flapped: bool,
    /// When.
    pub at: Wall,
}

/// One message about an incident, as the history shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The notifier's name.
    pub notifier: CompactString,
    /// The plain text that was sent.
    pub text: String,
    /// When it was put into the outbox.
    pub queued_at: Wall,
    /// When the channel accepted it; none while it is owed.
    pub delivered_at: Option<Wall>,
    /// Why the last attempt failed, if it did.
    pub error: Option<String>,
}

/// One stretch of trouble, from its opening to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// Whose trouble it is.
    pub kind: Kind,
    /// The fleet's, worker's or broker's name.
    pub subject: CompactString,
    /// The broker that it concerns.
    pub broker: CompactString,
    /// How bad it is now; how bad it was at its end once resolved.
    pub severity: Severity,
    /// Why, in one word, where all that is missing shares it.
    pub diagnosis: Option<Diagnosis>,
    /// When the trouble was found.
    pub opened_at: Wall,
    /// When it last changed.
    pub changed_at: Wall,
    /// When it ended; none while it is open.
    pub resolved_at: Option<Wall>,
    /// It did not end: the configuration no longer has its subject.
    #[serde(default)]
    pub unwatched: bool,
    /// The first thing that it rests on, such as the last sign of life of who was missing when it was opened: its trace begins
    /// there. None of one that an earlier version has opened.
    #[serde(default)]
    pub began: Option<Wall>,
    /// What it looks like now.
    pub scene: Scene,
    /// What the verdict rests on; at most [`Incident::MAX_EVIDENCE`] observations, the newest kept.
    pub evidence: Vec<Evidence>,
    /// What people have been told; none before the first message is in the outbox.
    pub told: Option<Told>,
}

impl Incident {
    /// How many observations one incident keeps.
    pub const MAX_EVIDENCE: usize = 100;

    /// Whether the trouble goes on.
    pub const fn is_open(&self) -> bool {
        self.resolved_at.is_none()
    }
}
