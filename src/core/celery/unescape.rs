//! JSON's escapes.

use super::json::NotJson;

/// What a string's inside means. A surrogate without its partner becomes U+FFFD: Python writes such for undecodable
/// bytes, and they are no reason to lose the event.
#[cold]
pub(crate) fn unescape(inside: &str) -> Result<String, NotJson> {
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
