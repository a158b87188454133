//! Names in words, where there may be too many for all of them.

use std::borrow::Borrow;

/// These names, and how many more of `all` there are: `a, b and 3 more`.
pub fn and_more<S: Borrow<str>>(names: &[S], all: usize) -> String {
    let mut text = names.join(", ");
    let more = all.saturating_sub(names.len());
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// The first of these names, so many at most, and how many more there are.
pub fn first<S: Borrow<str>>(names: &[S], most: usize) -> String {
    and_more(names.get(..most).unwrap_or(names), names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_few_and_the_first_of_many() {
        assert_eq!(first(&["a", "b"], 2), "a, b");
        assert_eq!(first(&["a", "b", "c", "d"], 2), "a, b and 2 more");
        assert_eq!(and_more(&["a"], 3), "a and 2 more");
        assert_eq!(first::<&str>(&[], 2), "");
    }
}
