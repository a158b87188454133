//! A reader of JSON as Python writes it: borrowed, bounded in depth, and without an allocation unless a string has escapes.
//!
//! Why not a general one: Python's `json` also writes `NaN`, `Infinity` and lone surrogates, which strict readers refuse,
//! so that one odd value in one task's arguments would lose a whole batch of events. And an event is read for a dozen of
//! its fields; the rest is only stepped over.

use std::borrow::Cow;

use super::unescape::unescape;

/// How deep lists and objects may be nested: Celery's own are 4 deep at most. Each level costs a stack frame.
pub(crate) const MAX_DEPTH: usize = 64;

/// The text is not JSON, is cut off, or is nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// A number, kept whole where it is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// A non-negative integer that fits.
    Whole(u64),
    /// Anything else, `NaN` and the infinities included.
    Float(f64),
}

/// What the next value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Object,
    List,
    Text,
    Null,
    Bool,
    Number,
}

/// A position in a JSON text.
pub(crate) struct Json<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Json<'a> {
    /// At the start of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The kind of the next value; the position is then at its first byte.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Next, NotJson> {
        match self.peek() {
            Some(b'"') => Ok(Next::Text),
            Some(b'{') => Ok(Next::Object),
            Some(b'[') => Ok(Next::List),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(Next::Number),
            Some(b'n') => Ok(Next::Null),
            Some(b't' | b'f') => Ok(Next::Bool),
            _ => Err(NotJson),
        }
    }

    /// Reads an object: calls `each` with every key, which must read or skip the value.
    #[inline(always)]
    pub(crate) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.enter(b'{')?;
        if self.peek() == Some(b'}') {
            return self.leave();
        }
        loop {
            self.peek();
            let key = self.string()?;
            self.expect(b':')?;
            each(self, key)?;
            if self.last(b'}')? {
                return self.leave();
            }
        }
    }

    /// Reads a list: calls `each` before every entry, which it must read or skip.
    #[inline(always)]
    pub(crate) fn list(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), NotJson>) -> Result<(), NotJson> {
        self.enter(b'[')?;
        if self.peek() == Some(b']') {
            return self.leave();
        }
        loop {
            each(self)?;
            if self.last(b']')? {
                return self.leave();
            }
        }
    }

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

    /// Reads a number, Python's `NaN`, `Infinity` and `-Infinity` included.
    #[inline(always)]
    pub(crate) fn number(&mut self) -> Result<Number, NotJson> {
        let start = self.at;
        let mut whole: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - start;
        let plain = !matches!(self.byte(), Some(b'.' | b'e' | b'E'));
        // 19 digits always fit. A leading zero stands alone; everything else is looked at again.
        if plain && (1..=19).contains(&digits) && (digits == 1 || self.text.as_bytes().get(start) != Some(&b'0')) {
            return Ok(Number::Whole(whole));
        }
        self.at = start;
        self.float().map(Number::Float)
    }

    #[inline(never)]
    fn float(&mut self) -> Result<f64, NotJson> {
        if let Some(special) = self.non_finite() {
            return Ok(special);
        }
        let start = self.at;
        self.number_span()?;
        self.text
            .get(start..self.at)
            .and_then(|number| number.parse().ok())
            .ok_or(NotJson)
    }

    /// Reads `true` or `false`.
    pub(crate) fn bool(&mut self) -> Result<bool, NotJson> {
        match self.byte() {
            Some(b't') => self.word("true").map(|()| true),
            _ => self.word("false").map(|()| false),
        }
    }

    /// Reads `null`.
    pub(crate) fn null(&mut self) -> Result<(), NotJson> {
        self.word("null")
    }

    /// Steps over one value of any kind.
    pub(crate) fn skip(&mut self) -> Result<(), NotJson> {
        match self.next()? {
            Next::Text => self.string_span().map(|_| ()),
            Next::Number => match self.non_finite() {
                Some(_) => Ok(()),
                None => self.number_span(),
            },
            Next::Null => self.null(),
            Next::Bool => self.bool().map(|_| ()),
            Next::List => self.list(Self::skip),
            Next::Object => self.skip_object(),
        }
    }

    /// Only white space may be left.
    pub(crate) fn end(&mut self) -> Result<(), NotJson> {
        if self.peek().is_none() { Ok(()) } else { Err(NotJson) }
    }

    fn skip_object(&mut self) -> Result<(), NotJson> {
        self.enter(b'{')?;
        if self.peek() == Some(b'}') {
            return self.leave();
        }
        loop {
            self.peek();
            self.string_span()?;
            self.expect(b':')?;
            self.skip()?;
            if self.last(b'}')? {
                return self.leave();
            }
        }
    }

    #[inline(always)]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    #[inline(always)]
    fn expect(&mut self, wanted: u8) -> Result<(), NotJson> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            Ok(())
        } else {
            Err(NotJson)
        }
    }

    #[inline(always)]
    fn enter(&mut self, open: u8) -> Result<(), NotJson> {
        self.expect(open)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(NotJson) } else { Ok(()) }
    }

    /// Past the closing bracket, which is the next byte.
    #[inline(always)]
    fn leave(&mut self) -> Result<(), NotJson> {
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// After an entry: a comma, or the bracket that closes (which is left in place).
    #[inline(always)]
    fn last(&mut self, close: u8) -> Result<bool, NotJson> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == close => Ok(true),
            _ => Err(NotJson),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), NotJson> {
        if self
            .text
            .as_bytes()
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word.as_bytes()))
        {
            self.at += word.len();
            Ok(())
        } else {
            Err(NotJson)
        }
    }

    fn non_finite(&mut self) -> Option<f64> {
        match self.byte()? {
            b'N' => self.word("NaN").ok().map(|()| f64::NAN),
            b'I' => self.word("Infinity").ok().map(|()| f64::INFINITY),
            b'-' => self.word("-Infinity").ok().map(|()| f64::NEG_INFINITY),
            _ => None,
        }
    }

    /// Steps over a number.
    fn number_span(&mut self) -> Result<(), NotJson> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotJson) }
    }

    /// Steps over a string: where its inside starts and ends, and whether it has escapes.
    #[inline(always)]
    fn string_span(&mut self) -> Result<(usize, usize, bool), NotJson> {
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
