//! How many cases a property is tried with.

use proptest::prelude::ProptestConfig;

/// So many cases, or as many as the environment's `PROPTEST_CASES` asks for: a quick test run does with few, and a night can
/// look further. Seeds are not kept: what one has found becomes a test of its own.
pub(crate) fn cases(few: u32) -> ProptestConfig {
    let own = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").map(|_| own.cases);
    ProptestConfig {
        cases: asked.unwrap_or(few),
        failure_persistence: None,
        ..own
    }
}
