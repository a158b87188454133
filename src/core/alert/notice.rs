//! A notice: one thing to tell people about one incident, independent of the channel that will carry it.

use serde::{Deserialize, Serialize};

use super::incident::{Incident, IncidentId, Kind, Scene, Severity};
use crate::time::Wall;

/// Which turn of an incident a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// It began.
    Opened,
    /// It got worse: a graver severity, or more are missing.
    Worsened,
    /// It got better without being over: told only where a channel has threads.
    Eased,
    /// After it had eased it got worse again, and not worse than it had been: told only where a channel has threads.
    Relapsed,
    /// As many are missing, but others, or for other reasons: told only where a channel has threads.
    Shifted,
    /// It is over.
    Recovered,
    /// It was over before its opening could be delivered: one message says both.
    OpenedAndRecovered,
    /// Nothing happened: somebody tries the notifier.
    Test,
}

/// One thing to tell, with all that a channel needs to tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Which turn this is.
    pub turn: Turn,
    /// When it was decided.
    pub at: Wall,
    /// The incident as it stood at that moment.
    pub incident: Incident,
    /// A page that shows the incident, where Headcount knows its own address.
    pub link: Option<String>,
}

impl Notice {
    /// What `headcount notify test` sends: about nothing, and in every channel's own form.
    pub fn test(at: Wall) -> Self {
        let incident = Incident {
            id: IncidentId("test".into()),
            kind: Kind::Fleet,
            subject: "headcount".into(),
            broker: "test".into(),
            severity: Severity::Degraded,
            diagnosis: None,
            opened_at: at,
            changed_at: at,
            resolved_at: Some(at),
            unwatched: false,
            began: None,
            scene: Scene::default(),
            evidence: Vec::new(),
            told: None,
        };
        Self {
            turn: Turn::Test,
            at,
            incident,
            link: None,
        }
    }

    /// What a heading shows: the first word and whose trouble it is, such as `DOWN sms`.
    pub fn title(&self) -> String {
        super::text::title(self)
    }

    /// The plain text, what a phone shows: one line, and the first word says all.
    pub fn text(&self) -> String {
        super::text::line(self)
    }
}
