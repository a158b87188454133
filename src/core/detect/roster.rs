//! Which fleet a worker belongs to.

use compact_str::CompactString;

/// The longest hostname that is believed: Celery's own are `<name>@<host>`, a host name has at most 253 bytes.
pub const MAX_HOSTNAME: usize = 512;

/// The fleets of one broker, by the names of their workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    named: Vec<(Vec<CompactString>, CompactString)>,
    discovers: bool,
}

impl Roster {
    /// A roster that knows no fleet, and makes one for each name it hears: `sms@host1` belongs to `sms`.
    pub fn discovering() -> Self {
        Self {
            named: Vec::new(),
            discovers: true,
        }
    }

    /// A roster of the configured fleets of one broker; workers of none of them are left alone.
    pub fn of(fleets: impl IntoIterator<Item = (CompactString, Vec<CompactString>)>) -> Self {
        Self {
            named: fleets.into_iter().map(|(name, globs)| (globs, name)).collect(),
            discovers: false,
        }
    }

    /// The fleet of a worker: the first whose patterns match.
    pub fn fleet_of(&self, hostname: &str) -> Option<CompactString> {
        if hostname.is_empty() || hostname.len() > MAX_HOSTNAME || hostname.chars().any(char::is_control) {
            return None;
        }
        let named = self
            .named
            .iter()
            .find(|(globs, _)| globs.iter().any(|glob| matches(glob, hostname)));
        match named {
            Some((_, name)) => Some(name.clone()),
            None if self.discovers => {
                let name = hostname.split('@').next().unwrap_or(hostname);
                Some(if name.is_empty() { hostname.into() } else { name.into() })
            }
            None => None,
        }
    }
}

/// Whether `text` matches `glob`: `*` is any run of characters, `?` is any one, all else is itself, as in Celery's own
/// `glob` matcher without its brackets. Linear in the product of the lengths, whatever the pattern.
pub fn matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    g = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, text, expected) in [
            ("sms@*", "sms@host1", true),
            ("sms@*", "sms2@host1", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("s?s@h*1", "sms@host1", true),
            ("s?s@h*1", "sms@host12", false),
            ("*@*.eu", "a@b.eu.eu", true),
            ("a*b*c", "a-c-b", false),
            ("größe@*", "größe@h", true),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_the_product() {
        let glob = "*a".repeat(200) + "b";
        assert!(!matches(&glob, &"a".repeat(MAX_HOSTNAME)));
    }

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
        let roster = Roster::of([
            ("eu".into(), vec!["sms@eu*".into()]),
            ("sms".into(), vec!["sms@*".into(), "text@*".into()]),
        ]);
        assert_eq!(roster.fleet_of("sms@eu1").as_deref(), Some("eu"));
        assert_eq!(roster.fleet_of("text@h").as_deref(), Some("sms"));
        assert_eq!(roster.fleet_of("other@h"), None);
    }
}
