//! A reader of JSON as Python writes it: borrowed, bounded in depth, and without an allocation unless a string has escapes.
//!
//! Why not a general one: Python's `json` also writes `NaN`, `Infinity` and lone surrogates, which strict readers refuse,
//! so that one odd value in one task's arguments would lose a whole batch of events. And an event is read for a dozen of
//! its fields; the rest is only stepped over.

mod number;
mod plain;
mod string;

use std::borrow::Cow;

pub(crate) use number::Number;
pub use plain::plain_json;

/// How deep lists and objects may be nested: Celery's own are 4 deep at most. Each level costs a stack frame.
pub(crate) const MAX_DEPTH: usize = 64;

/// The text is not JSON, is cut off, or is nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

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

    /// Steps over one value of any kind. What the escapes of its strings mean, and whether anything, is not looked at.
    pub(crate) fn skip(&mut self) -> Result<(), NotJson> {
        match self.next()? {
            Next::Text => self.string_span().map(|_| ()),
            Next::Number => self.skip_number(),
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
}
