//! Which fleet a worker belongs to.

use compact_str::CompactString;

use crate::glob::Glob;

/// The longest hostname that is believed: Celery's own are `<name>@<host>`, a host name has at most 253 bytes.
pub const MAX_HOSTNAME: usize = 512;

/// The fleets of one broker, by the names of their workers.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    named: Vec<(Vec<Glob>, CompactString)>,
    discovers: bool,
    left_out: Vec<CompactString>,
}

impl Roster {
    /// A roster that knows no fleet, and makes one for each name it hears: `sms@host1` belongs to `sms`.
    pub fn discovering() -> Self {
        Self {
            discovers: true,
            ..Self::default()
        }
    }

    /// A roster of the configured fleets of one broker; workers of none of them are left alone.
    pub fn of(fleets: impl IntoIterator<Item = (CompactString, Vec<Glob>)>) -> Self {
        Self {
            named: fleets.into_iter().map(|(name, globs)| (globs, name)).collect(),
            ..Self::default()
        }
    }

    /// The same, and none of these belongs to any fleet: Headcount's own nodes, as nobody misses himself.
    #[must_use]
    pub fn without(self, left_out: Vec<CompactString>) -> Self {
        Self { left_out, ..self }
    }

    /// The fleet of a worker: the first whose patterns match.
    pub fn fleet_of(&self, hostname: &str) -> Option<CompactString> {
        if !self.is_somebody(hostname) {
            return None;
        }
        let named = self
            .named
            .iter()
            .find(|(globs, _)| globs.iter().any(|glob| glob.matches(hostname)));
        match named {
            Some((_, name)) => Some(name.clone()),
            None if self.discovers => {
                let name = hostname.split('@').next().unwrap_or(hostname);
                Some(if name.is_empty() { hostname.into() } else { name.into() })
            }
            None => None,
        }
    }

    /// Whether a worker is left alone, as no fleet's patterns match it. A name that is not believed is no worker's, and
    /// Headcount's own nodes are not meant to be matched.
    pub fn leaves_alone(&self, hostname: &str) -> bool {
        self.is_somebody(hostname) && self.fleet_of(hostname).is_none()
    }

    fn is_somebody(&self, hostname: &str) -> bool {
        let believed =
            !hostname.is_empty() && hostname.len() <= MAX_HOSTNAME && !hostname.chars().any(char::is_control);
        believed && !self.left_out.iter().any(|own| own == hostname)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_names_the_part_before_the_at_sign() {
        let roster = Roster::discovering();
        assert_eq!(roster.fleet_of("sms@host1").as_deref(), Some("sms"));
        assert_eq!(roster.fleet_of("celery@3f2a").as_deref(), Some("celery"));
        assert_eq!(roster.fleet_of("plain").as_deref(), Some("plain"));
        assert_eq!(roster.fleet_of("@host").as_deref(), Some("@host"));
        assert_eq!(roster.fleet_of(""), None);
        assert_eq!(roster.fleet_of("a\nb@h"), None);
    }

    #[test]
    fn the_first_configured_fleet_wins_and_strangers_are_left_alone() {
        let glob = |text| Glob::parse(text).unwrap();
        let roster = Roster::of([
            ("eu".into(), vec![glob("sms@eu*")]),
            ("sms".into(), vec![glob("sms@*"), glob("text@*")]),
        ]);
        assert_eq!(roster.fleet_of("sms@eu1").as_deref(), Some("eu"));
        assert_eq!(roster.fleet_of("text@h").as_deref(), Some("sms"));
        assert_eq!(roster.fleet_of("other@h"), None);
        assert!(roster.leaves_alone("other@h"));
        for other in ["text@h", "", "a\nb@h"] {
            assert!(!roster.leaves_alone(other), "{other:?}");
        }
    }

    #[test]
    fn who_is_left_out_belongs_to_no_fleet() {
        for roster in [
            Roster::discovering(),
            Roster::of([("all".into(), vec![Glob::parse("*").unwrap()])]),
        ] {
            let roster = roster.without(vec!["headcount@h1".into()]);
            assert_eq!(roster.fleet_of("headcount@h1"), None);
            assert!(!roster.leaves_alone("headcount@h1"));
            assert!(roster.fleet_of("headcount@h2").is_some());
        }
    }
}
