//! Which counting a roll-up is of.
//!
//! A generation is a moment in seconds: when the pipeline was made, or when somebody last asked for buckets to be counted anew.
//! So what is counted from nothing, in whatever database its state is kept, is newer than all that counted before, of which it
//! may know nothing. Tokens of leases begin at such a moment, too.

use mongodb::bson::DateTime;

/// The beginning of 2020, in seconds since 1970: with 31 bits, generations last until 2088.
const EPOCH: i64 = 1_577_836_800;
/// The greatest generation.
const MAX: i64 = (1 << 31) - 1;
/// The bits below it: documents of a roll-up, of which more than four thousand million count as so many; or takings of a lease.
const BELOW: u32 = 32;

/// That of a moment.
pub(super) fn at(now: DateTime) -> i64 {
    now.timestamp_millis()
        .div_euclid(1_000)
        .saturating_sub(EPOCH)
        .clamp(0, MAX)
}

/// The version of a roll-up: of two of one generation, the one with more documents is the newer.
pub(super) fn version(generation: i64, documents: i64) -> i64 {
    (generation.clamp(0, MAX) << BELOW) | documents.clamp(0, (1 << BELOW) - 1)
}

/// The token of a lease that is made at a moment and was never taken: greater than those of all leases made before.
pub(super) fn first_token(now: DateTime) -> i64 {
    token_of(at(now))
}

/// The same for what is made in a generation.
pub(super) fn token_of(generation: i64) -> i64 {
    version(generation, 0)
}

/// What a version or a token was made from.
pub(in super::super) const fn of(number: i64) -> i64 {
    number >> BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_anew_is_worth_more_than_documents() {
        let made = at(DateTime::from_millis((EPOCH + 7) * 1_000));
        assert_eq!(made, 7);
        assert!(version(made + 1, 0) > version(made, 900_000_000_000));
        assert!(version(made, 5) > version(made, 4));
        assert_eq!(of(version(made, i64::MAX)), made);
        assert!(version(i64::MAX, i64::MAX) > 0);
        assert_eq!(at(DateTime::from_millis(0)), 0);
    }

    #[test]
    fn a_lease_that_is_made_again_has_a_greater_token() {
        let (before, after) = (
            DateTime::from_millis(EPOCH * 1_000),
            DateTime::from_millis((EPOCH + 1) * 1_000),
        );
        assert!(first_token(after) > first_token(before) + 1_000_000);
        assert_eq!(of(first_token(after) + 5), 1);
    }
}
