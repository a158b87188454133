//! Numbers and texts as bytes: LEB128 variable-length integers, zigzag for those with a sign, lengths before texts.

/// Why bytes are not what they should be.
pub(super) type Bad = &'static str;

pub(super) fn put_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    put_uint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Zero for none; every other number is one more than what it stands for.
pub(super) fn put_optional(out: &mut Vec<u8>, value: Option<u64>) {
    put_uint(out, value.map_or(0, |value| value.saturating_add(1)));
}

/// A text with its length before it; beyond `max` bytes it is cut between two characters.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str, max: usize) {
    let text = cut(text, max);
    put_uint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// At most the first `max` bytes, in whole characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Reads on from where it stands; every read says what was wrong.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Bad> {
        let (first, rest) = self.rest.split_first().ok_or("a record breaks off")?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("a record breaks off")?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn uint(&mut self) -> Result<u64, Bad> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is too large")
    }

    pub(super) fn int(&mut self) -> Result<i64, Bad> {
        let value = self.uint()?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    /// See [`put_optional`].
    pub(super) fn optional(&mut self) -> Result<Option<u64>, Bad> {
        Ok(self.uint()?.checked_sub(1))
    }

    /// The same of a small number.
    pub(super) fn optional_small(&mut self) -> Result<Option<u32>, Bad> {
        let value = self.optional()?.map(u32::try_from).transpose();
        value.map_err(|_| "a number is too large")
    }

    pub(super) fn small(&mut self) -> Result<u32, Bad> {
        u32::try_from(self.uint()?).map_err(|_| "a number is too large")
    }

    /// A length, or the number of entries, at most `max`.
    pub(super) fn count(&mut self, max: usize) -> Result<usize, Bad> {
        let count = usize::try_from(self.uint()?).map_err(|_| "a length is too large")?;
        if count > max {
            return Err("a length is too large");
        }
        Ok(count)
    }

    pub(super) fn text(&mut self, max: usize) -> Result<&'a str, Bad> {
        let length = self.count(max)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8")
    }
}
