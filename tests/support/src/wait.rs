//! Waiting for an event, with a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at. Short against everything that is measured with it, long against its cost.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `condition` gives something, at most `within`.
///
/// # Panics
/// When it did not happen in time, naming `what`.
pub fn wait_until<T>(what: &str, within: Duration, condition: impl FnMut() -> Option<T>) -> T {
    poll_until(within, condition).unwrap_or_else(|| panic!("waited {within:?} in vain for {what}"))
}

/// Waits until `condition` gives something; none when `within` has passed without.
pub fn poll_until<T>(within: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
