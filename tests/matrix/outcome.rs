//! What one run brought, and what it should have.

use std::time::{Duration, Instant};

use headcount_testkit::Message;

use crate::stage::{Watch, about};

/// Longer than any goal, so that a late message shows how late it is.
const FOUND_WITHIN: Duration = Duration::from_secs(100);
const OVER_WITHIN: Duration = Duration::from_secs(120);

/// The words that messages about trouble begin with: the contract's list, as far as these scenarios go.
const WORDS: [&str; 6] = ["BROKER DOWN", "DEGRADED", "DOWN", "STALLED", "FLAPPING", "RECOVERED"];

/// What is right.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Truth {
    /// Nobody is to be told anything.
    Quiet,
    /// One message that begins with this word, with one of these diagnoses, and one that it is over.
    Found {
        word: &'static str,
        diagnoses: &'static [&'static str],
    },
}

/// What one run brought.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) found: Option<Duration>,
    pub(crate) over: Option<Duration>,
    pub(crate) diagnosis: Option<String>,
    /// What people were told about it.
    pub(crate) told: Vec<String>,
    /// How often they were told what they should not have been.
    pub(crate) wrong: usize,
    /// Why it could not be played to its end.
    pub(crate) broke: Option<String>,
}

impl Outcome {
    /// Plays a fault to its end: waits until it is told, until it has lasted for `lasts`, mends it, and waits until that
    /// is told. `fault` and `mend` return the moment at which they took effect.
    pub(crate) fn of_fault(
        watch: &Watch,
        truth: Truth,
        subject: &str,
        lasts: Duration,
        fault: impl FnOnce() -> Instant,
        mend: impl FnOnce() -> Instant,
    ) -> Self {
        let Truth::Found { word, .. } = truth else {
            panic!("nothing is to be found")
        };
        let at = fault();
        let found = watch.wait_told(&[word], subject, at, FOUND_WITHIN);
        let diagnosis = found.as_ref().and_then(|_| watch.diagnosis(subject));
        std::thread::sleep(lasts.saturating_sub(at.elapsed()));
        let mended = mend();
        let over = found
            .as_ref()
            .and_then(|found| watch.wait_told(&["RECOVERED"], subject, found.at, OVER_WITHIN));
        let since = |from: Instant| move |message: Message| message.at.saturating_duration_since(from);
        Outcome {
            found: found.map(since(at)),
            over: over.map(since(mended)),
            diagnosis,
            ..Outcome::default()
        }
    }

    /// One that could not be played to its end.
    pub(crate) fn broken(panic: &(dyn std::any::Any + Send)) -> Self {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Outcome {
            broke: Some(words.unwrap_or("it panicked").to_owned()),
            ..Outcome::default()
        }
    }

    /// Takes what people were told about it, in order.
    pub(crate) fn hear(&mut self, truth: Truth, told: Vec<String>) {
        let right: &[&str] = match truth {
            Truth::Quiet => &[],
            Truth::Found { word, .. } => &[word, "RECOVERED"],
        };
        let expected = told
            .iter()
            .zip(right)
            .take_while(|(text, word)| about(text, word).is_some());
        self.wrong = told.len() - expected.count();
        self.told = told;
    }

    /// Whether it is as it should be.
    pub(crate) fn is_right(&self, truth: Truth) -> bool {
        let as_it_should = match truth {
            Truth::Quiet => true,
            Truth::Found { diagnoses, .. } => {
                let diagnosis = self.diagnosis.as_deref();
                self.found.is_some() && self.over.is_some() && diagnoses.iter().any(|right| diagnosis == Some(right))
            }
        };
        as_it_should && self.wrong == 0 && self.broke.is_none()
    }
}

/// Whose a message is: the fleet's or the broker's name after its first word.
pub(crate) fn subject(text: &str) -> Option<&str> {
    WORDS.iter().find_map(|word| about(text, word))
}
