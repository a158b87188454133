//! Texts of which no more is formatted than is kept: what others show of themselves may be of any length.

use std::fmt::{self, Debug, Write};

/// What stands where a text was cut.
pub const MORE: char = '…';

/// Takes so many bytes, and ends the writing of whatever is longer.
#[derive(Debug)]
pub struct Bounded {
    text: String,
    most: usize,
    is_cut: bool,
}

impl Bounded {
    /// What `{:?}` shows of a value, to so many bytes. What cannot be shown is shown as far as it can.
    pub fn debug(value: &dyn Debug, most: usize) -> Self {
        let mut bounded = Self {
            text: String::new(),
            most,
            is_cut: false,
        };
        // An error means that there is more of it than is kept, or that it is one that fails.
        let _ = write!(bounded, "{value:?}");
        bounded
    }

    /// What was taken.
    pub fn text(self) -> String {
        self.text
    }

    /// What was taken, and [`MORE`] where that is not all.
    pub fn marked(mut self) -> String {
        if self.is_cut {
            self.text.push(MORE);
        }
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        let taken = cut(text, self.most.saturating_sub(self.text.len()));
        self.text.push_str(taken);
        self.is_cut = taken.len() < text.len();
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The longest beginning of at most so many bytes.
pub fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A text of so many bytes at most, and [`MORE`] where that is not all.
pub fn marked(text: &str, most: usize) -> String {
    let mut taken = cut(text, most).to_owned();
    if taken.len() < text.len() {
        taken.push(MORE);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_two_characters() {
        assert_eq!(marked("aä", 2), "a…");
        assert_eq!(marked("aä", 3), "aä");
        assert_eq!(Bounded::debug(&format_args!("aäb"), 2).marked(), "a…");
        assert_eq!(Bounded::debug(&format_args!("aäb"), 2).text(), "a");
        assert_eq!(Bounded::debug(&"aä", 5).marked(), "\"aä\"");
    }

    #[test]
    fn nothing_is_taken_of_what_comes_after_the_cut() {
        struct GoesOn;
        impl Debug for GoesOn {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Two bytes where there is room for one: then one would fit.
                let _ = f.write_str("ä");
                f.write_str("b")
            }
        }
        assert_eq!(Bounded::debug(&GoesOn, 1).marked(), "…");
    }

    #[test]
    fn what_is_not_kept_is_not_formatted() {
        struct Endless;
        impl Debug for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("more and ")?;
                }
            }
        }
        assert_eq!(Bounded::debug(&Endless, 8).marked(), "more and…");
    }
}
