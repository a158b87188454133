//! Envelopes that have to be sent once more.

use std::collections::VecDeque;

use bytes::Bytes;

/// How often one is sent that Sentry had trouble with, or that it may have got: it may itself be the cause.
pub(super) const MAX_TRIES: u32 = 5;
/// While so many wait, no other is begun: what is left in the books is counted on there, and is one event. Raising it lets more
/// events be the cause of trouble before those behind them wait for their last try.
pub(super) const MAX_AGAIN: usize = 8;

/// An envelope on its way.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) body: Bytes,
    pub(super) is_trace: bool,
    /// How often it met with trouble that it may be the cause of.
    tries: u32,
    /// All others go first.
    yields: bool,
}

impl Parcel {
    pub(super) fn new(body: Bytes, is_trace: bool) -> Self {
        Self {
            body,
            is_trace,
            tries: 0,
            yields: false,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Again(VecDeque<Parcel>);

impl Again {
    /// It has not been looked at, so nothing is wrong with it: it is the next.
    pub(super) fn at_once(&mut self, mut parcel: Parcel) {
        parcel.yields = false;
        self.0.push_front(parcel);
    }

    /// It was not taken, and another may be: those go first, so that no event keeps others from being told.
    pub(super) fn behind(&mut self, mut parcel: Parcel) {
        parcel.yields = true;
        self.0.push_back(parcel);
    }

    /// The same, if it has not been tried too often; false where it has.
    #[must_use]
    pub(super) fn try_behind(&mut self, mut parcel: Parcel) -> bool {
        parcel.tries += 1;
        let goes_on = parcel.tries < MAX_TRIES;
        if goes_on {
            self.behind(parcel);
        }
        goes_on
    }

    /// The next that goes before any that was never sent.
    pub(super) fn before_others(&mut self) -> Option<Parcel> {
        let is_full = self.0.len() >= MAX_AGAIN;
        let goes_first = self.0.front().is_some_and(|parcel| is_full || !parcel.yields);
        if goes_first { self.0.pop_front() } else { None }
    }

    /// The next, where there is no other.
    pub(super) fn after_others(&mut self) -> Option<Parcel> {
        self.0.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(name: &'static str) -> Parcel {
        Parcel::new(Bytes::from_static(name.as_bytes()), false)
    }

    fn name(parcel: Option<Parcel>) -> Option<Bytes> {
        parcel.map(|parcel| parcel.body)
    }

    #[test]
    fn what_may_be_the_cause_lets_others_go_first_until_there_is_no_more_room() {
        let mut again = Again::default();
        assert!(again.try_behind(parcel("one")));
        assert_eq!(name(again.before_others()), None);
        again.behind(parcel("two"));
        again.at_once(parcel("unsent"));
        assert_eq!(name(again.before_others()), Some("unsent".into()));
        assert_eq!(name(again.before_others()), None);
        for _ in again.len()..MAX_AGAIN {
            again.behind(parcel("more"));
        }
        assert_eq!(name(again.before_others()), Some("one".into()));
        assert_eq!(name(again.before_others()), None, "there is room again");
        assert_eq!(name(again.after_others()), Some("two".into()));
    }

    #[test]
    fn tries_are_counted_and_being_away_is_none() {
        let (mut again, mut tries) = (Again::default(), 0);
        let mut next = Some(parcel("one"));
        while let Some(parcel) = next.take() {
            tries += 1;
            if again.try_behind(parcel) {
                for _ in 0..100 {
                    let parcel = again.after_others().unwrap();
                    again.behind(parcel);
                }
                next = again.after_others();
            }
        }
        assert_eq!((tries, again.len()), (MAX_TRIES, 0));
    }
}
