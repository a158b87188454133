//! Names from outside, made safe to show on one line.

use std::borrow::Cow;

/// The longest name shown, in characters. Celery's own are under 80; what is longer is cut in its end, because its
/// beginning says the service. Raising it lengthens every message by four times as much.
pub const MAX_NAME: usize = 100;

/// The longest sentence from outside that is shown, in characters, such as a broker's own words for an error.
pub const MAX_SAYS: usize = 300;

/// What stands for a character that must not be shown.
const HIDDEN: char = '\u{FFFD}';

/// A name without control characters, without marks that turn or hide text, and of bounded length.
///
/// What a channel gives a meaning to, such as `<!channel>`, is left alone here: each notifier escapes for itself.
pub fn name(raw: &str) -> Cow<'_, str> {
    clean(raw, MAX_NAME)
}

/// The same for a whole sentence.
pub fn says(raw: &str) -> Cow<'_, str> {
    clean(raw, MAX_SAYS)
}

fn clean(raw: &str, max: usize) -> Cow<'_, str> {
    if raw.len() <= max && !raw.contains(misleads) {
        return Cow::Borrowed(raw);
    }
    let mut out: String = raw
        .chars()
        .take(max)
        .map(|c| if misleads(c) { HIDDEN } else { c })
        .collect();
    if raw.chars().nth(max).is_some() {
        out.pop();
        out.push('…');
    }
    Cow::Owned(out)
}

/// Whether a character breaks the line, turns its direction, or cannot be seen at all.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
            // Zero width, marks and separators; bidirectional embeddings, overrides and isolates; invisible operators.
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}'
            // Tags and variation selectors.
            | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names() {
        let table = [
            ("sms@host1", "sms@host1"),
            ("größe@höst", "größe@höst"),
            ("", ""),
            ("sms@h\r\nDOWN billing", "sms@h\u{FFFD}\u{FFFD}DOWN billing"),
            ("a\u{202E}b\u{2066}c", "a\u{FFFD}b\u{FFFD}c"),
            ("a\u{200B}b\u{1b}[31m", "a\u{FFFD}b\u{FFFD}[31m"),
            ("line\u{2028}sep", "line\u{FFFD}sep"),
            ("<!channel> `x`", "<!channel> `x`"),
        ];
        for (raw, shown) in table {
            assert_eq!(name(raw), shown, "{raw:?}");
        }
    }

    #[test]
    fn long_names_are_cut_and_say_so() {
        assert_eq!(name(&"x".repeat(MAX_NAME)), "x".repeat(MAX_NAME));
        for long in ["x".repeat(10_000), "ü".repeat(MAX_NAME + 1), "\u{202E}".repeat(5_000)] {
            let cut = name(&long);
            assert_eq!(cut.chars().count(), MAX_NAME);
            assert!(cut.ends_with('…'));
        }
        // Many bytes and few characters: nothing to cut.
        assert_eq!(name(&"ü".repeat(MAX_NAME)), "ü".repeat(MAX_NAME));
    }
}
