//! Sums that do not depend on the order of what is added: whole numbers are added as such, and of floats all that
//! addition rounds off is kept.
//!
//! The floats are a list of partial sums that do not overlap, whose exact sum is that of all that was added (Shewchuk,
//! "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates", 1997; Python's `math.fsum` is the
//! same). Ordinary data need two or three. The sum itself is rounded once, when it is read.

use super::encode::{Damaged, Reader, Writer};
use super::value::{HUGE, Number, Value};

/// The most partial sums: floats have 2,098 bits between the greatest and the least, and no two partial sums share one.
const MAX_PARTS: usize = 2_098;

/// The greatest magnitude of a partial sum: of as many numbers of [`HUGE`] as can be counted.
const MAX_PART: f64 = HUGE * 18_446_744_073_709_551_616.0;

/// A sum.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    whole: i128,
    parts: Vec<f64>,
    /// Whether a float was added, so that the sum of floats is one also where it is whole.
    floats: bool,
}

impl Sum {
    /// Adds a number.
    pub fn add(&mut self, number: Number) {
        match number {
            Number::Int(whole) => self.whole = self.whole.saturating_add(i128::from(whole)),
            Number::Float(float) => {
                self.floats = true;
                grow(&mut self.parts, float);
            }
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Sum) {
        self.whole = self.whole.saturating_add(other.whole);
        self.floats |= other.floats;
        for part in &other.parts {
            grow(&mut self.parts, *part);
        }
    }

    /// The sum: a whole number if all were whole and it fits, else the float next to the exact sum.
    pub fn value(&self) -> Value<'static> {
        match i64::try_from(self.whole) {
            Ok(whole) if !self.floats => Value::Int(whole),
            _ => Value::Float(self.as_f64()),
        }
    }

    /// The float next to the exact sum.
    pub fn as_f64(&self) -> f64 {
        if self.whole == 0 {
            return round(&self.parts);
        }
        let mut parts = self.parts.clone();
        let mut rest = self.whole;
        // Three floats hold 159 bits; the last rest is nothing.
        for _ in 0..3 {
            let piece = rest as f64;
            grow(&mut parts, piece);
            rest = rest.saturating_sub(piece as i128);
        }
        round(&parts)
    }

    /// The bytes that it has on the heap.
    pub(super) const fn heap(&self) -> usize {
        self.parts.capacity() * size_of::<f64>()
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.signed(self.whole);
        to.byte(u8::from(self.floats));
        to.unsigned(self.parts.len() as u64);
        for part in &self.parts {
            to.float(*part);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let whole = from.signed()?;
        let floats = from.flag()?;
        let count = from.count(MAX_PARTS)?;
        let mut parts = Vec::with_capacity(count.min(8));
        for _ in 0..count {
            let part = from.float()?;
            if !floats || !part.is_finite() || part.abs() > MAX_PART {
                return Err(from.damaged("a sum"));
            }
            // Whatever was written there: adding makes it what it has to be.
            grow(&mut parts, part);
        }
        Ok(Self { whole, parts, floats })
    }
}

/// Adds a float to partial sums, exactly.
fn grow(parts: &mut Vec<f64>, float: f64) {
    let mut high = float;
    parts.retain_mut(|part| {
        let (large, small) = if high.abs() < part.abs() {
            (*part, high)
        } else {
            (high, *part)
        };
        high = large + small;
        *part = small - (high - large);
        *part != 0.0
    });
    if high != 0.0 {
        parts.push(high);
    }
}

/// The float next to the sum of partial sums. Half-way cases go to the even one: what lies below the last two decides.
fn round(parts: &[f64]) -> f64 {
    let mut rest = parts.iter().rev().copied();
    let Some(mut high) = rest.next() else {
        return 0.0;
    };
    let mut low = 0.0;
    for part in rest.by_ref() {
        let before = high;
        high = before + part;
        low = part - (high - before);
        if low != 0.0 {
            break;
        }
    }
    if let Some(next) = rest.next()
        && ((low < 0.0 && next < 0.0) || (low > 0.0 && next > 0.0))
    {
        let twice = low * 2.0;
        let beyond = high + twice;
        if beyond - high == twice {
            high = beyond;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(numbers: &[f64]) -> Sum {
        let mut sum = Sum::default();
        numbers.iter().for_each(|number| sum.add(Number::Float(*number)));
        sum
    }

    /// Expected values from Python's `math.fsum`.
    #[test]
    fn floats_are_summed_exactly() {
        assert_eq!(sum(&[0.1; 10]).as_f64(), 1.0);
        assert_eq!(sum(&[1e16, 1.0, 1e-16]).as_f64(), 1e16 + 2.0);
        assert_eq!(sum(&[1e30, 1.0, -1e30]).as_f64(), 1.0);
        assert_eq!(sum(&[1e16, 1.0]).as_f64(), 1e16);
        assert_eq!(sum(&[1e16, 1.0, 5e-324]).as_f64(), 1e16 + 2.0);
        assert_eq!(sum(&[0.5, -0.5]).value(), Value::Float(0.0));
        assert_eq!(sum(&[]).value(), Value::Int(0));
    }

    #[test]
    fn whole_numbers_are_exact_and_become_floats_only_where_they_must() {
        let mut sum = Sum::default();
        sum.add(Number::Int(i64::MAX));
        assert_eq!(sum.value(), Value::Int(i64::MAX));
        sum.add(Number::Int(1));
        assert_eq!(sum.value(), Value::Float(9_223_372_036_854_775_808.0));
        sum.add(Number::Int(-2));
        assert_eq!(sum.value(), Value::Int(i64::MAX - 1));
        sum.add(Number::Float(0.25));
        sum.add(Number::Int(-(i64::MAX - 1)));
        assert_eq!(sum.value(), Value::Float(0.25), "no bit of the whole ones was lost");
    }

    fn floats() -> impl Strategy<Value = f64> {
        let any = (any::<f64>()).prop_filter("measurable", |float| float.is_finite() && float.abs() <= HUGE);
        prop_oneof![any, -1e3..1e3, -1e30..1e30, Just(5e-324), Just(HUGE), Just(-HUGE)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_order_and_no_grouping_matters(mut numbers in prop::collection::vec(floats(), 0..30), wholes in prop::collection::vec(any::<i64>(), 0..5), cut in any::<prop::sample::Index>()) {
            let mut all = sum(&numbers);
            wholes.iter().for_each(|whole| all.add(Number::Int(*whole)));
            let (left, right) = numbers.split_at(cut.index(numbers.len() + 1));
            let mut merged = sum(right);
            wholes.iter().for_each(|whole| merged.add(Number::Int(*whole)));
            merged.merge(&sum(left));
            prop_assert_eq!(all.as_f64().to_bits(), merged.as_f64().to_bits());
            numbers.reverse();
            let mut backwards = sum(&numbers);
            wholes.iter().for_each(|whole| backwards.add(Number::Int(*whole)));
            prop_assert_eq!(all.as_f64().to_bits(), backwards.as_f64().to_bits());
            let mut bytes = Writer::default();
            all.write(&mut bytes);
            let bytes = bytes.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Sum::read(&mut reader).unwrap().as_f64().to_bits(), all.as_f64().to_bits());
            reader.end().unwrap();
        }

        #[test]
        fn small_fractions_add_up_as_whole_numbers_do(numbers in prop::collection::vec(-1_000_000_i64..1_000_000, 0..100)) {
            let floats: Vec<f64> = numbers.iter().map(|number| *number as f64 / 1024.0).collect();
            prop_assert_eq!(sum(&floats).as_f64(), numbers.iter().sum::<i64>() as f64 / 1024.0);
        }
    }
}
