//! Names as AMQP carries them.

use headcount_actors::ports::BrokerError;
use lapin::types::ShortString;

use crate::brokers::MAX_WIRE_NAME;

/// A name of a queue or an exchange. Only literals go without it: the client's own conversion panics where a name is
/// too long, and names come from workers and people.
///
/// # Errors
/// If it is longer than [`MAX_WIRE_NAME`].
pub(super) fn short(name: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(name).map_err(|_| {
        BrokerError::Refused(format!(
            "a name has {} bytes, and AMQP has room for {MAX_WIRE_NAME}",
            name.len()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_an_error_and_no_panic() {
        for fits in ["", "sms@h1.celery.pidbox", &"x".repeat(MAX_WIRE_NAME), &"é".repeat(127)] {
            assert_eq!(short(fits).unwrap().as_str(), fits);
        }
        for too_long in [&"x".repeat(MAX_WIRE_NAME + 1), &"é".repeat(128), &"x".repeat(70_000)] {
            let error = short(too_long).unwrap_err().to_string();
            assert!(error.contains(&format!("{} bytes", too_long.len())), "{error}");
        }
    }
}
