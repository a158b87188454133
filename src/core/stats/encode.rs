//! The bytes of states: numbers in as few bytes as they need, one version in front, and all of it hostile until read.

use thiserror::Error;

/// Bytes that are no state, or none that this Headcount knows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a damaged state: {what} at byte {at}")]
pub struct Damaged {
    /// What is not as it should be.
    pub what: &'static str,
    /// Where.
    pub at: usize,
}

/// Writes a state.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Into a buffer that was used before: after what it holds.
    pub(super) fn over(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Seven bits a byte, the lowest first (LEB128).
    pub(super) fn unsigned(&mut self, number: u64) {
        self.long(u128::from(number));
    }

    /// The same, the sign in the lowest bit.
    pub(super) fn signed(&mut self, number: i128) {
        self.long(((number << 1) ^ (number >> 127)) as u128);
    }

    pub(super) fn float(&mut self, float: f64) {
        self.slice(&float.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.unsigned(text.len() as u64);
        self.slice(text.as_bytes());
    }

    fn long(&mut self, mut number: u128) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

/// Reads a state. It never reads beyond the end, and never makes room for more than is there.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            length: bytes.len(),
        }
    }

    pub(super) fn damaged(&self, what: &'static str) -> Damaged {
        Damaged {
            what,
            at: self.length - self.rest.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn end(&self) -> Result<(), Damaged> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.damaged("more than a state"))
        }
    }

    pub(super) fn slice(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        match self.rest.split_at_checked(length) {
            Some((slice, rest)) => {
                self.rest = rest;
                Ok(slice)
            }
            None => Err(self.damaged("an early end")),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        match self.rest.split_first_chunk::<N>() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(*array)
            }
            None => Err(self.damaged("an early end")),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Damaged> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.damaged("neither true nor false")),
        }
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, Damaged> {
        let number = self.long(64)?;
        u64::try_from(number).map_err(|_| self.damaged("a number that does not fit"))
    }

    pub(super) fn signed(&mut self) -> Result<i128, Damaged> {
        let number = self.long(128)?;
        Ok((number >> 1) as i128 ^ -((number & 1) as i128))
    }

    pub(super) fn float(&mut self) -> Result<f64, Damaged> {
        self.array().map(f64::from_le_bytes)
    }

    /// How many of something follow, each of which takes at least one byte.
    pub(super) fn count(&mut self, most: usize) -> Result<usize, Damaged> {
        let count = self.unsigned()?;
        match usize::try_from(count) {
            Ok(count) if count <= most && count <= self.rest.len() => Ok(count),
            _ => Err(self.damaged("more than there can be")),
        }
    }

    pub(super) fn text(&mut self, most: usize) -> Result<&'a str, Damaged> {
        let length = self.count(most)?;
        let at = self.damaged("a text that is not UTF-8");
        std::str::from_utf8(self.slice(length)?).map_err(|_| at)
    }

    fn long(&mut self, bits: u32) -> Result<u128, Damaged> {
        let mut number = 0_u128;
        for place in 0..bits.div_ceil(7) {
            let byte = self.byte()?;
            let seven = u128::from(byte & 0x7f);
            if seven.leading_zeros() < 7 * place {
                return Err(self.damaged("a number that does not fit"));
            }
            number |= seven << (7 * place);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number without an end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_that_do_not_end_or_fit_are_refused() {
        let read = |bytes: &[u8]| Reader::new(bytes).unsigned();
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            Ok(u64::MAX)
        );
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02])
                .unwrap_err()
                .what,
            "a number that does not fit"
        );
        assert_eq!(read(&[0x80; 10]).unwrap_err().what, "a number without an end");
        assert_eq!(
            read(&[0x80]).unwrap_err(),
            Damaged {
                what: "an early end",
                at: 1
            }
        );
        assert_eq!(
            Reader::new(&[0xff; 19]).signed().unwrap_err().what,
            "a number that does not fit"
        );
        assert_eq!(
            Reader::new(&[5, b'a']).text(9).unwrap_err().what,
            "more than there can be"
        );
        assert_eq!(
            Reader::new(&[1, 0xff]).text(9).unwrap_err().what,
            "a text that is not UTF-8"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn all_that_is_written_is_read(a in any::<u64>(), b in any::<i128>(), c in any::<f64>(), text in "\\PC*") {
            let mut to = Writer::default();
            to.unsigned(a);
            to.signed(b);
            to.float(c);
            to.text(&text);
            let bytes = to.finish();
            let mut from = Reader::new(&bytes);
            prop_assert_eq!(from.unsigned(), Ok(a));
            prop_assert_eq!(from.signed(), Ok(b));
            prop_assert_eq!(from.float().unwrap().to_bits(), c.to_bits());
            prop_assert_eq!(from.text(usize::MAX), Ok(text.as_str()));
            prop_assert_eq!(from.end(), Ok(()));
        }
    }
}
