//! Exchanges on Redis: sets of bindings, as kombu keeps them.

use headcount_actors::ports::BrokerError;
use headcount_core::celery::wire_names::WireSettings;

use super::commands::Commands;

/// The queues that an exchange leads to; at least one. kombu keeps no type of an exchange here: a binding that is the routing key
/// itself counts, and one that matches it as a topic does.
///
/// # Errors
/// `Refused` if no queue is bound where it goes; as any command else.
pub(super) async fn bound(
    commands: &Commands,
    wire: &WireSettings,
    exchange: &str,
    routing_key: &str,
) -> Result<Vec<String>, BrokerError> {
    let mut reading = redis::cmd("SMEMBERS");
    reading.arg(wire.binding_key(exchange));
    let members: Vec<String> = reading
        .query_async(&mut commands.handle())
        .await
        .map_err(|error| commands.what(&error))?;
    let leads = |member: &String| {
        let (binding, queue) = wire.read_binding(member)?;
        topic_matches(binding, routing_key).then(|| queue.to_owned())
    };
    let queues: Vec<String> = members.iter().filter_map(leads).collect();
    if queues.is_empty() {
        return Err(BrokerError::Refused(format!(
            "no queue is bound to {exchange} by {routing_key}"
        )));
    }
    Ok(queues)
}

/// Whether a topic's binding matches: `*` is one word, `#` any number of them.
fn topic_matches(binding: &str, routing_key: &str) -> bool {
    fn words(binding: &[&str], key: &[&str]) -> bool {
        match (binding.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => (0..=key.len()).any(|skip| words(rest, key.get(skip..).unwrap_or_default())),
            (Some((word, rest)), Some((first, after))) => (*word == "*" || word == first) && words(rest, after),
            _ => false,
        }
    }
    if binding == routing_key {
        return true;
    }
    // A binding with many `#` would take for ever; nobody has two.
    if binding.split('.').filter(|word| *word == "#").count() > 2 {
        return false;
    }
    let binding: Vec<&str> = binding.split('.').collect();
    let key: Vec<&str> = routing_key.split('.').collect();
    words(&binding, &key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_match_as_topics_do() {
        for (binding, key, expected) in [
            ("sms", "sms", true),
            ("sms", "mail", false),
            ("feed.*", "feed.read", true),
            ("feed.*", "feed.read.now", false),
            ("feed.#", "feed.read.now", true),
            ("feed.#", "feed", true),
            ("#", "anything.at.all", true),
            ("#.now", "feed.read.now", true),
            ("#.now", "feed.read", false),
            ("", "", true),
        ] {
            assert_eq!(topic_matches(binding, key), expected, "{binding} {key}");
        }
    }
}
