//! How many different values there were: exactly up to a thousand, an estimate beyond, merged in any order.
//!
//! What is kept of a value are 64 bits of its hash. Up to [`EXACT`] of them are kept as they are (two of a thousand are equal
//! with a probability of 3 · 10⁻¹⁴). Beyond, it is a HyperLogLog (Flajolet and others, 2007) with Ertl's estimator ("New
//! cardinality estimation algorithms for HyperLogLog sketches", 2017), which needs no table of corrections and has no
//! dent where others change their method. Which of the two it is depends on the set of values alone, not on its history.
//!
//! A library that counts exactly to a given number, and whose bytes may be damaged, was not to be found.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::encode::{Damaged, Reader, Writer};
use super::value::{Value, Why};

/// So many different values are counted exactly. Each costs 8 bytes, so that the two forms are of one size.
pub const EXACT: usize = 1_000;
/// The bits of a hash that choose a register.
const PRECISION: u32 = 13;
/// The registers of an estimate, one byte each: 8 KiB.
const REGISTERS: usize = 1 << PRECISION;
/// The greatest value of a register: the bits that are left, and one.
const HIGHEST: usize = 64 - PRECISION as usize + 1;
/// The standard error of an estimate, as a part of it: 1.04 / √8192.
pub const STANDARD_ERROR: f64 = 0.011_5;

/// The values seen so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// All hashes, in order.
    Exact(Vec<u64>),
    /// For each beginning of a hash, the longest run of zeros that followed it, and one.
    Estimate(Box<[u8]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self(Form::Exact(Vec::new()))
    }
}

impl Distinct {
    /// Adds a value. A whole number and a float that are equal are one value, as MongoDB has it.
    ///
    /// # Errors
    /// It is no scalar, NaN or infinite.
    pub fn add(&mut self, value: &Value<'_>) -> Result<(), Why> {
        self.add_hash(hash(value)?);
        Ok(())
    }

    /// Adds the hash of a value.
    pub(super) fn add_hash(&mut self, hash: u64) {
        match &mut self.0 {
            Form::Exact(hashes) => {
                let Err(at) = hashes.binary_search(&hash) else {
                    return;
                };
                if hashes.len() < EXACT {
                    hashes.insert(at, hash);
                } else {
                    let mut registers = vec![0; REGISTERS].into_boxed_slice();
                    hashes.iter().for_each(|hash| note(&mut registers, *hash));
                    note(&mut registers, hash);
                    self.0 = Form::Estimate(registers);
                }
            }
            Form::Estimate(registers) => note(registers, hash),
        }
    }

    /// Adds all that another has seen.
    pub fn merge(&mut self, other: &Distinct) {
        match (&mut self.0, &other.0) {
            (_, Form::Exact(hashes)) => hashes.iter().for_each(|hash| self.add_hash(*hash)),
            (Form::Estimate(mine), Form::Estimate(theirs)) => {
                for (mine, theirs) in mine.iter_mut().zip(theirs) {
                    *mine = (*mine).max(*theirs);
                }
            }
            (Form::Exact(hashes), Form::Estimate(registers)) => {
                let mut registers = registers.clone();
                hashes.iter().for_each(|hash| note(&mut registers, *hash));
                self.0 = Form::Estimate(registers);
            }
        }
    }

    /// How many different values it has seen: exactly, or with [`STANDARD_ERROR`].
    pub fn count(&self) -> u64 {
        match &self.0 {
            Form::Exact(hashes) => hashes.len() as u64,
            // There were more than could be counted, whatever the estimate says.
            Form::Estimate(registers) => (estimate(registers).round() as u64).max(EXACT as u64 + 1),
        }
    }

    /// Whether [`Distinct::count`] is no estimate.
    pub const fn is_exact(&self) -> bool {
        matches!(self.0, Form::Exact(_))
    }

    /// The bytes that it has on the heap.
    pub(super) fn heap(&self) -> usize {
        match &self.0 {
            Form::Exact(hashes) => hashes.capacity() * size_of::<u64>(),
            Form::Estimate(registers) => registers.len(),
        }
    }

    pub(super) fn write(&self, to: &mut Writer) {
        match &self.0 {
            Form::Exact(hashes) => {
                to.unsigned(hashes.len() as u64);
                hashes.iter().for_each(|hash| to.slice(&hash.to_le_bytes()));
            }
            Form::Estimate(registers) => {
                to.unsigned(EXACT as u64 + 1);
                // Six bits hold a register.
                for four in registers.chunks_exact(4) {
                    let bits = four.iter().fold(0, |bits, register| bits << 6 | u32::from(*register));
                    to.slice(&bits.to_le_bytes()[..3]);
                }
            }
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let length = from.count(EXACT + 1)?;
        if length <= EXACT {
            let mut hashes = Vec::with_capacity(length);
            for _ in 0..length {
                let hash = u64::from_le_bytes(from.array()?);
                if hashes.last().is_some_and(|last| *last >= hash) {
                    return Err(from.damaged("hashes out of order"));
                }
                hashes.push(hash);
            }
            return Ok(Self(Form::Exact(hashes)));
        }
        let mut registers = Vec::with_capacity(REGISTERS);
        for _ in 0..REGISTERS / 4 {
            let [low, middle, high] = from.array()?;
            let bits = u32::from_le_bytes([low, middle, high, 0]);
            registers.extend([18, 12, 6, 0].map(|shift| (bits >> shift & 63) as u8));
        }
        if registers.iter().any(|register| usize::from(*register) > HIGHEST) {
            return Err(from.damaged("a register"));
        }
        Ok(Self(Form::Estimate(registers.into())))
    }
}

/// Notes a hash in its register.
fn note(registers: &mut [u8], hash: u64) {
    let zeros = (hash << PRECISION).leading_zeros().min(64 - PRECISION);
    if let Some(register) = registers.get_mut((hash >> (64 - PRECISION)) as usize) {
        *register = (*register).max(zeros as u8 + 1);
    }
}

fn estimate(registers: &[u8]) -> f64 {
    let mut counts = [0_u32; HIGHEST + 1];
    for register in registers {
        if let Some(count) = counts.get_mut(usize::from(*register)) {
            *count += 1;
        }
    }
    let all = REGISTERS as f64;
    let mut sum = all * tau(1.0 - f64::from(counts[HIGHEST]) / all);
    for count in counts[1..HIGHEST].iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += all * sigma(f64::from(counts[0]) / all);
    all * all / (2.0 * std::f64::consts::LN_2 * sum)
}

/// Ertl's σ: x + Σ x^(2ᵏ) · 2ᵏ⁻¹ over k from 1.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power *= 2.0;
        if sum == before {
            return sum;
        }
    }
}

/// Ertl's τ: (1 - x - Σ (1 - x^(2⁻ᵏ))² · 2⁻ᵏ over k from 1) / 3.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x).powi(2) * power;
        if sum == before {
            return sum / 3.0;
        }
    }
}

/// 64 bits of a value (XXH3, the kind of the value as its seed). The same on every machine and in every version.
pub(super) fn hash(value: &Value<'_>) -> Result<u64, Why> {
    let (seed, bytes): (u64, &[u8]) = match value {
        Value::Null => (0, &[]),
        Value::Bool(value) => (1, if *value { &[1] } else { &[0] }),
        Value::Int(whole) => (2, &whole.to_le_bytes()),
        Value::Float(float) if !float.is_finite() => {
            return Err(if float.is_nan() { Why::NotANumber } else { Why::Infinite });
        }
        Value::Float(float) => match whole(*float) {
            Some(whole) => (2, &whole.to_le_bytes()),
            None => (3, &float.to_bits().to_le_bytes()),
        },
        Value::Date(at) => (4, &at.as_micros().to_le_bytes()),
        Value::Id(id) => (5, id),
        Value::Text(text) => (6, text.as_bytes()),
        Value::Other(kind) => {
            return Err(Why::Kind {
                expected: "a scalar",
                found: kind,
            });
        }
    };
    Ok(xxh3_64_with_seed(bytes, seed))
}

/// The whole number that a float is.
pub(super) fn whole(float: f64) -> Option<i64> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    (float.fract() == 0.0 && (-TWO_63..TWO_63).contains(&float)).then_some(float as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(range: std::ops::Range<i64>) -> Distinct {
        let mut distinct = Distinct::default();
        range.for_each(|number| distinct.add(&Value::Int(number)).unwrap());
        distinct
    }

    #[test]
    fn exact_to_a_thousand_and_near_beyond() {
        for count in [0, 1, 999, 1_000] {
            assert_eq!(
                (numbers(0..count).count(), numbers(0..count).is_exact()),
                (count as u64, true)
            );
        }
        for count in [1_001, 1_500, 3_000, 10_000, 30_000, 100_000, 1_000_000] {
            let distinct = numbers(0..count);
            let off = (distinct.count() as f64 - count as f64).abs() / count as f64;
            assert!(
                !distinct.is_exact() && off < 3.0 * STANDARD_ERROR,
                "{count}: {}",
                distinct.count()
            );
        }
    }

    /// Of a hundred sets of 5,000 values, the errors are spread as they should be.
    #[test]
    fn the_error_is_what_it_says() {
        let squares = (0..100).map(|set| {
            let distinct = numbers(set * 5_000..(set + 1) * 5_000);
            (distinct.count() as f64 / 5_000.0 - 1.0).powi(2)
        });
        let error = (squares.sum::<f64>() / 100.0).sqrt();
        assert!((0.6 * STANDARD_ERROR..1.3 * STANDARD_ERROR).contains(&error), "{error}");
    }

    #[test]
    fn what_is_the_same_value_and_what_is_not() {
        let mut distinct = Distinct::default();
        for value in [
            Value::Int(1),
            Value::Float(1.0),
            Value::text("1"),
            Value::Bool(true),
            Value::Date(crate::time::Wall::from_micros(1)),
            Value::Float(1.5),
            Value::Float(0.0),
            Value::Float(-0.0),
            Value::Id([1; 12]),
            Value::text(""),
        ] {
            distinct.add(&value).unwrap();
            distinct.add(&value).unwrap();
        }
        assert_eq!(distinct.count(), 8);
        assert_eq!(distinct.add(&Value::Float(f64::NAN)), Err(Why::NotANumber));
        assert_eq!(distinct.add(&Value::Float(f64::INFINITY)), Err(Why::Infinite));
        assert_eq!(
            distinct.add(&Value::Other("a list")).unwrap_err().to_string(),
            "expected a scalar, found a list"
        );
        assert_eq!(distinct.count(), 8);
    }

    /// A state that was written by one version is read by the next: the hash must stay.
    #[test]
    fn the_hash_is_for_ever() {
        assert_eq!(hash(&Value::text("headcount")), Ok(xxh3_64_with_seed(b"headcount", 6)));
        assert_eq!(
            hash(&Value::Null).unwrap(),
            0x2d06_8005_38d3_94c2,
            "XXH3 of nothing, as published"
        );
    }

    fn some() -> impl Strategy<Value = std::ops::Range<i64>> {
        (0_i64..3_000, prop_oneof![0_i64..900, 900_i64..1_100, 1_000_i64..2_500])
            .prop_map(|(from, count)| from..from + count)
    }

    proptest! {
        #![proptest_config(crate::property::cases(64))]

        #[test]
        fn neither_order_nor_grouping_nor_repetition_matters(a in some(), b in some(), c in some()) {
            let mut one = numbers(a.clone());
            one.merge(&numbers(b.clone()));
            one.merge(&numbers(c.clone()));
            let mut right = numbers(c.clone());
            right.merge(&numbers(b.clone()));
            let mut other = right;
            other.merge(&numbers(a.clone()));
            other.merge(&numbers(a.clone()));
            let mut together = numbers(a.clone());
            b.chain(c).for_each(|number| together.add(&Value::Int(number)).unwrap());
            prop_assert_eq!(&one, &other);
            prop_assert_eq!(&one, &together);
            let mut bytes = Writer::default();
            one.write(&mut bytes);
            let bytes = bytes.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(&Distinct::read(&mut reader).unwrap(), &one);
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn any_bytes_are_values_or_damaged(bytes in prop::collection::vec(any::<u8>(), 0..9_000)) {
            if let Ok(distinct) = Distinct::read(&mut Reader::new(&bytes)) {
                let _ = distinct.count();
            }
        }
    }
}
