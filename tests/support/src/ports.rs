//! Free ports on loopback.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Mutex;

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up), so that a port that is free now
/// is still free when the server that it was chosen for binds it, or binds it again after a restart.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port on 127.0.0.1 that nobody listens on; never the same twice in one process.
///
/// # Panics
/// When there is none left.
pub fn free_port() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let given = given.get_or_insert_with(HashSet::new);
    // Two processes that look at the same moment start at different places.
    let span = u32::from(RANGE.end - RANGE.start);
    let start = std::process::id().wrapping_mul(7919) % span;
    (0..span)
        .map(|step| RANGE.start + u16::try_from((start + step) % span).expect("the span fits"))
        .find(|port| !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port))
        .expect("a free port on loopback")
}
