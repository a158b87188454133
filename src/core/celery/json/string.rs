//! JSON's strings.

use std::borrow::Cow;

use super::{Json, NotJson};

impl<'a> Json<'a> {
    /// Reads a string. Lone surrogates, which Python writes and Unicode forbids, become U+FFFD.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, NotJson> {
        let (start, end, escaped) = self.string_span()?;
        let inside = self.text.get(start..end).ok_or(NotJson)?;
        if escaped {
            unescape(inside).map(Cow::Owned)
        } else {
            Ok(Cow::Borrowed(inside))
        }
    }

    /// Steps over a string: where its inside starts and ends, and whether it has escapes.
    #[inline(always)]
    pub(super) fn string_span(&mut self) -> Result<(usize, usize, bool), NotJson> {
        if self.byte() != Some(b'"') {
            return Err(NotJson);
        }
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        let bytes = self.text.as_bytes();
        loop {
            at = special(bytes, at).ok_or(NotJson)?;
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok((start, at, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                _ => return Err(NotJson),
            }
        }
    }
}

/// The first byte at or after `from` that a string cannot hold as it is: a quote, a backslash or a control character.
/// Eight bytes at a time.
#[inline(always)]
fn special(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let rest = bytes.get(from..)?;
    let (chunks, tail) = rest.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        // A borrow can only spoil bytes after (above) the first true hit, and only the first is used.
        let quote = word ^ (ONES * 0x22);
        let slash = word ^ (ONES * 0x5c);
        let hit = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let hit = hit & HIGH;
        if hit != 0 {
            return Some(from + index * 8 + (hit.trailing_zeros() / 8) as usize);
        }
    }
    let done = from + chunks.len() * 8;
    tail.iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
        .map(|index| done + index)
}

/// What a string's inside means. A surrogate without its partner becomes U+FFFD: Python writes such for undecodable
/// bytes, and they are no reason to lose the event.
#[cold]
fn unescape(inside: &str) -> Result<String, NotJson> {
    let mut out = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = escape.chars();
        let plain = match chars.next().ok_or(NotJson)? {
            'u' => {
                let (unit, after) = unit(chars.as_str())?;
                let (decoded, after) = pair(unit, after);
                out.push(decoded);
                rest = after;
                continue;
            }
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            same @ ('"' | '\\' | '/') => same,
            _ => return Err(NotJson),
        };
        out.push(plain);
        rest = chars.as_str();
    }
    out.push_str(rest);
    Ok(out)
}

/// Four hexadecimal digits, and what follows them.
fn unit(text: &str) -> Result<(u32, &str), NotJson> {
    let (digits, after) = text.split_at_checked(4).ok_or(NotJson)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(NotJson);
    }
    u32::from_str_radix(digits, 16)
        .map(|unit| (unit, after))
        .map_err(|_| NotJson)
}

/// The character that a UTF-16 unit begins, with the second unit of a pair if it has one.
fn pair(first: u32, after: &str) -> (char, &str) {
    if (0xd800..0xdc00).contains(&first)
        && let Some(Ok((second, rest))) = after.strip_prefix("\\u").map(unit)
        && (0xdc00..0xe000).contains(&second)
    {
        let both = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER), rest);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), after)
}
