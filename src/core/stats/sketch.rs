//! Quantiles of values that are not kept: how many fell into each of a row of bins, every bin 2 % wider than the one
//! before (DDSketch: Masson, Rim and Lee, VLDB 2019).
//!
//! A quantile is within 1 % of the value that has its rank. Which bin a value falls into depends on the value alone, so
//! merging is adding, in any order, and whoever can compute a logarithm can do the counting: a database too.
//!
//! The bins are not those of a library, because none has all of this: the widest range of values costs no accuracy anywhere
//! (other sketches of this kind keep a window of bins and give up the low ones, so that one value that is much too great
//! spoils a whole roll-up); a state of a few values takes a few bytes; and bytes that are damaged are refused.

use super::encode::{Damaged, Reader, Writer};
use super::measure::Quantile;

/// How much wider each bin is than the one before.
pub const GAMMA: f64 = 1.02;
/// The natural logarithm of [`GAMMA`].
pub const LN_GAMMA: f64 = 0.019_802_627_296_179_73;
/// A quantile is at most this part of the value away from it: (γ - 1) / (γ + 1), rounded up.
pub const RELATIVE_ERROR: f64 = 0.01;
/// Values of a smaller magnitude are zero to a sketch.
pub const TINY: f64 = 1e-15;

/// The numbers of the bins that [`TINY`] and [`HUGE`](super::value::HUGE) fall into.
const LOWEST: i32 = -1_744;
const HIGHEST: i32 = 3_489;
/// The most bins of one sketch: those of either sign, and zero's. No more than so many different values fill so many, each
/// costs 16 bytes, and ordinary ones (the durations of one kind of task) fill fifty.
pub const MAX_BINS: usize = 2 * (HIGHEST - LOWEST + 1) as usize + 1;

/// A bin, in the order of the values in it. The positive number n stands for (γⁿ⁻¹, γⁿ] with its n moved so that the lowest is 1,
/// the negative one for the same below zero, and 0 for zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bin(i16);

impl Bin {
    /// Zero's, and that of all that is smaller than [`TINY`].
    pub const ZERO: Self = Self(0);

    /// The bin of a value. One beyond [`HUGE`](super::value::HUGE) falls into the last; NaN is zero, so keep it out.
    pub fn of(value: f64) -> Self {
        let magnitude = value.abs();
        if magnitude >= TINY {
            let number = (magnitude.ln() / LN_GAMMA).ceil() as i32;
            Self::place(number.clamp(LOWEST, HIGHEST), value < 0.0)
        } else {
            Self::ZERO
        }
    }

    /// The bin with the number ⌈ln x / ln γ⌉, of positive values x or of negative ones -x. None if no value that may be
    /// measured has that number.
    pub fn numbered(number: i64, negative: bool) -> Option<Self> {
        // One more on either side: another's logarithm may be rounded otherwise.
        let inside = (i64::from(LOWEST) - 1..=i64::from(HIGHEST) + 1).contains(&number);
        let number = i32::try_from(number).ok().filter(|_| inside)?;
        Some(Self::place(number.clamp(LOWEST, HIGHEST), negative))
    }

    fn place(number: i32, negative: bool) -> Self {
        let place = (number - LOWEST + 1) as i16;
        Self(if negative { -place } else { place })
    }

    /// The value that is at most [`RELATIVE_ERROR`] away from all that fall into it.
    pub fn value(self) -> f64 {
        if self.0 == 0 {
            return 0.0;
        }
        let number = i32::from(self.0.abs()) - 1 + LOWEST;
        let value = (f64::from(number) * LN_GAMMA).exp() * 2.0 / (GAMMA + 1.0);
        if self.0 < 0 { -value } else { value }
    }
}

/// How many values fell into each bin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// In order, none of them empty.
    bins: Vec<(Bin, u64)>,
    count: u64,
}

impl Sketch {
    /// One that has seen nothing.
    pub const fn new() -> Self {
        Self {
            bins: Vec::new(),
            count: 0,
        }
    }

    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.add_bin(Bin::of(value), 1);
    }

    /// Adds so many values that fell into this bin.
    pub fn add_bin(&mut self, bin: Bin, count: u64) {
        if count == 0 {
            return;
        }
        self.count = self.count.saturating_add(count);
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => {
                if let Some((_, there)) = self.bins.get_mut(at) {
                    *there = there.saturating_add(count);
                }
            }
            Err(at) => self.bins.insert(at, (bin, count)),
        }
    }

    /// Adds all that another has seen.
    pub fn merge(&mut self, other: &Sketch) {
        if self.bins.is_empty() {
            self.clone_from(other);
            return;
        }
        for (bin, count) in &other.bins {
            self.add_bin(*bin, *count);
        }
    }

    /// How many values it has seen.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The value that has that part of all others below it: of n in order the one at ⌊q · (n - 1)⌋, counted from zero, or one within
    /// [`RELATIVE_ERROR`] of it. None where nothing was seen.
    pub fn quantile(&self, quantile: Quantile) -> Option<f64> {
        let rank = quantile.rank(self.count);
        let mut below = 0_u64;
        let found = self.bins.iter().find(|(_, count)| {
            below = below.saturating_add(*count);
            below > rank
        });
        found.or(self.bins.last()).map(|(bin, _)| bin.value())
    }

    /// The bytes that it has on the heap.
    pub(super) const fn heap(&self) -> usize {
        self.bins.capacity() * size_of::<(Bin, u64)>()
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.unsigned(self.bins.len() as u64);
        let mut last = 0;
        for (bin, count) in &self.bins {
            to.signed(i128::from(bin.0) - last);
            to.unsigned(*count);
            last = i128::from(bin.0);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let length = from.count(MAX_BINS)?;
        let mut sketch = Self {
            bins: Vec::with_capacity(length),
            count: 0,
        };
        let mut last: Option<i16> = None;
        for _ in 0..length {
            let place = i128::from(last.unwrap_or(0)).checked_add(from.signed()?);
            let place = place
                .and_then(|place| i16::try_from(place).ok())
                .filter(|place| usize::from(place.unsigned_abs()) <= MAX_BINS / 2)
                .filter(|place| last.is_none_or(|last| last < *place))
                .ok_or_else(|| from.damaged("a bin"))?;
            let count = from.unsigned()?;
            if count == 0 {
                return Err(from.damaged("an empty bin"));
            }
            sketch.bins.push((Bin(place), count));
            sketch.count = sketch.count.saturating_add(count);
            last = Some(place);
        }
        Ok(sketch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::value::HUGE;
    use proptest::prelude::*;

    fn sketch(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::new();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    fn close(found: f64, value: f64) -> bool {
        (found - value).abs() <= RELATIVE_ERROR * value.abs() + TINY
    }

    #[test]
    fn the_bins_are_as_wide_as_they_say() {
        assert!((GAMMA.ln() - LN_GAMMA).abs() < 1e-17);
        const { assert!((GAMMA - 1.0) / (GAMMA + 1.0) < RELATIVE_ERROR - 9e-5) }
        assert_eq!(Bin::of(TINY), Bin(1));
        assert_eq!(Bin::of(HUGE).0 as usize, MAX_BINS / 2);
        assert_eq!(Bin::of(-HUGE).0, -Bin::of(HUGE).0);
        assert_eq!(Bin::of(f64::MAX), Bin::of(HUGE));
        assert_eq!(
            (Bin::of(0.0), Bin::of(-TINY / 2.0), Bin::of(f64::NAN)),
            (Bin::ZERO, Bin::ZERO, Bin::ZERO)
        );
        assert_eq!(Bin::numbered(0, false), Some(Bin::of(1.0)));
        assert_eq!(Bin::numbered(36, true), Some(Bin::of(-2.0)), "1.02^35 = 1.9999");
        assert_eq!(
            (Bin::numbered(3_491, false), Bin::numbered(i64::MIN, true)),
            (None, None)
        );
    }

    #[test]
    fn one_value_that_is_much_too_great_spoils_nothing() {
        let mut values = vec![0.010; 100];
        values.push(1e29);
        let found = sketch(&values).quantile(Quantile::P50).unwrap();
        assert!(close(found, 0.010), "{found}");
    }

    #[test]
    fn nothing_seen_has_no_quantile() {
        assert_eq!(Sketch::new().quantile(Quantile::P50), None);
        assert_eq!(sketch(&[0.0]).quantile(Quantile::P99), Some(0.0));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let read = |bytes: &[u8]| Sketch::read(&mut Reader::new(bytes)).map(|sketch| sketch.count);
        assert_eq!(read(&[2, 2, 1, 2, 7]), Ok(8));
        assert_eq!(read(&[2, 2, 1, 0, 7]).unwrap_err().what, "a bin", "the same twice");
        assert_eq!(read(&[2, 2, 1, 1, 7]).unwrap_err().what, "a bin", "backwards");
        assert_eq!(
            read(&[1, 0xff, 0xff, 3, 1]).unwrap_err().what,
            "a bin",
            "beyond the last"
        );
        assert_eq!(read(&[1, 2, 0]).unwrap_err().what, "an empty bin");
        assert_eq!(read(&[200, 200, 1, 2, 1]).unwrap_err().what, "more than there can be");
    }

    fn values() -> impl Strategy<Value = f64> {
        let any = any::<f64>().prop_filter("measurable", |value| value.is_finite() && value.abs() <= HUGE);
        prop_oneof![any, -1e3..1e3, 1e-3..1e5, Just(0.0), Just(TINY), Just(1.0), Just(GAMMA)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_quantile_is_within_its_error(mut all in prop::collection::vec(values(), 1..200), millionths in 1_u32..1_000_000) {
            let quantile = Quantile::millionths(millionths).unwrap();
            let sketch = sketch(&all);
            all.sort_by(f64::total_cmp);
            let value = all[quantile.rank(all.len() as u64) as usize];
            let found = sketch.quantile(quantile).unwrap();
            prop_assert!(close(found, value), "{} for {}", found, value);
        }

        #[test]
        fn merging_is_adding(left in prop::collection::vec(values(), 0..60), right in prop::collection::vec(values(), 0..60), third in prop::collection::vec(values(), 0..20)) {
            let all = sketch(&[&*left, &*right, &*third].concat());
            let (a, b, c) = (sketch(&left), sketch(&right), sketch(&third));
            let mut one = a.clone();
            one.merge(&b);
            one.merge(&c);
            let mut other = c;
            other.merge(&b);
            other.merge(&a);
            prop_assert_eq!(&one, &all);
            prop_assert_eq!(&other, &all);
            let mut bytes = Writer::default();
            all.write(&mut bytes);
            let bytes = bytes.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(&Sketch::read(&mut reader).unwrap(), &all);
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn bins_keep_the_order_of_their_values(a in values(), b in values()) {
            if a < b {
                prop_assert!(Bin::of(a) <= Bin::of(b) && Bin::of(a).value() <= Bin::of(b).value());
            }
        }

        #[test]
        fn any_bytes_are_a_sketch_or_damaged(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(sketch) = Sketch::read(&mut Reader::new(&bytes)) {
                prop_assert!(sketch.bins.len() <= MAX_BINS);
                let _ = sketch.quantile(Quantile::P99);
            }
        }
    }
}
