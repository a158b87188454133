//! JSON's numbers, and Python's additions to them.

use super::{Json, NotJson};

/// A number, kept whole where it is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// A non-negative integer that fits.
    Whole(u64),
    /// Anything else, `NaN` and the infinities included.
    Float(f64),
}

impl Json<'_> {
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
        self.number_slowly()
    }

    #[inline(never)]
    fn number_slowly(&mut self) -> Result<Number, NotJson> {
        if let Some(special) = self.non_finite() {
            return Ok(Number::Float(special));
        }
        let start = self.at;
        self.skip_number()?;
        let number = self.text.get(start..self.at).ok_or(NotJson)?;
        match number.parse() {
            Ok(whole) => Ok(Number::Whole(whole)),
            Err(_) => number.parse().map(Number::Float).map_err(|_| NotJson),
        }
    }

    /// Steps over a number.
    pub(super) fn skip_number(&mut self) -> Result<(), NotJson> {
        if self.non_finite().is_some() {
            return Ok(());
        }
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

    fn non_finite(&mut self) -> Option<f64> {
        match self.byte()? {
            b'N' => self.word("NaN").ok().map(|()| f64::NAN),
            b'I' => self.word("Infinity").ok().map(|()| f64::INFINITY),
            b'-' => self.word("-Infinity").ok().map(|()| f64::NEG_INFINITY),
            _ => None,
        }
    }
}
