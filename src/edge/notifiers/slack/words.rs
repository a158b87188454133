//! Text for Slack: escaped, so that nothing from outside is a command to it, and cut to its limits.

use headcount_core::alert::text::{Moment, name, says};
use headcount_core::time::Wall;

/// Text that is escaped as it grows and never exceeds its bound. Slack does not say in which unit it counts, nor
/// whether before or after escaping: this counts the escaped text in UTF-16 units, which is never less.
#[derive(Debug)]
pub(super) struct Text {
    out: String,
    room: usize,
}

impl Text {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            out: String::new(),
            room: max,
        }
    }

    /// Adds words of our own, markup included; false, and nothing added, where they do not fit.
    pub(super) fn markup(&mut self, text: &str) -> bool {
        let need = units(text);
        let fits = need <= self.room;
        if fits {
            self.room -= need;
            self.out.push_str(text);
        }
        fits
    }

    /// Adds as much of a text from outside as fits, escaped, with an ellipsis where it was cut.
    pub(super) fn plain(&mut self, text: &str) {
        let escaped = escape(text);
        if self.markup(&escaped) {
            return;
        }
        for c in text.chars() {
            let piece = escape(c.encode_utf8(&mut [0; 4]));
            // One unit stays free for the ellipsis.
            if units(&piece) >= self.room {
                break;
            }
            self.markup(&piece);
        }
        self.markup("…");
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Slack's three control characters, as its documentation "Escaping text" has them. Without `<` there is no mention,
/// no link and no `<!channel>`.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A name in code style: nothing in it is formatted or linked.
pub(super) fn code(raw: &str) -> String {
    match name(raw).replace('`', "'") {
        empty if empty.trim().is_empty() => "`?`".to_owned(),
        clean => format!("`{}`", escape(&clean)),
    }
}

/// A sentence from outside.
pub(super) fn sentence(raw: &str) -> String {
    escape(&says(raw))
}

/// The last moment that Slack's clients format: the end of the year 9999.
const LAST: i64 = 253_402_300_799;

/// A moment, in the time zone of each reader.
pub(super) fn moment(at: Wall) -> String {
    let plain = Moment(at);
    match at.as_secs() {
        secs @ 0..=LAST => format!("<!date^{secs}^{{date_short_pretty}} {{time_secs}}|{plain}>"),
        _ => plain.to_string(),
    }
}

/// A link, where the address is one and cannot break out of Slack's form for it.
pub(super) fn link(url: &str, label: &str) -> Option<String> {
    const MAX: usize = 1_000;
    let good = (url.starts_with("https://") || url.starts_with("http://"))
        && url.len() <= MAX
        && !url.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '|'));
    good.then(|| format!("<{}|{label}>", escape(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, max: usize) -> String {
        let mut out = Text::new(max);
        out.plain(text);
        out.finish()
    }

    #[test]
    fn cuts_between_characters_and_never_inside_an_escape() {
        let table = [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("a&b", 7, "a&amp;b"),
            ("a&b", 6, "a…"),
            ("a&bc", 7, "a&amp;…"),
            ("&&&", 5, "…"),
            ("😀😀😀", 6, "😀😀😀"),
            ("😀😀😀", 5, "😀😀…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
            ("", 0, ""),
        ];
        for (text, max, expected) in table {
            assert_eq!(cut(text, max), expected, "{text} {max}");
        }
    }

    #[test]
    fn nothing_from_outside_is_a_command() {
        assert_eq!(code("<!channel>`x`"), "`&lt;!channel&gt;'x'`");
        assert_eq!(code(" "), "`?`");
        assert_eq!(sentence("<@U1> & more"), "&lt;@U1&gt; &amp; more");
        assert_eq!(
            link("https://h/#/i?a=1&b=2", "open").as_deref(),
            Some("<https://h/#/i?a=1&amp;b=2|open>")
        );
        for bad in [
            "javascript:alert(1)",
            "https://h/|<!channel>",
            "https://h/> <!here>",
            "https://h/\n",
            "",
        ] {
            assert_eq!(link(bad, "open"), None);
        }
    }

    #[test]
    fn moments_far_off_stay_plain() {
        assert_eq!(
            moment(Wall::from_micros(1_795_507_392_000_000)),
            "<!date^1795507392^{date_short_pretty} {time_secs}|2026-11-24 08:03:12 UTC>"
        );
        assert!(!moment(Wall::from_micros(-1)).contains('<'));
        assert!(!moment(Wall::from_micros(i64::MAX)).contains('<'));
    }
}
