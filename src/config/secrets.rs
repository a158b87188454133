//! The secrets of a configuration, so that whoever sends something elsewhere can see to it that none of them is in there.

use secrecy::SecretString;

use super::problem::PLAIN_KEYS;
use super::tree::{Node, Table, Value};

/// Parts of the names of keys whose values are secret.
const SECRET: &[&str] = &[
    "password",
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "authorization",
    "webhook",
    "dsn",
];

/// All that are in a table, however deep.
pub(super) fn of(table: &Table) -> Vec<SecretString> {
    let mut secrets = Vec::new();
    for entry in &table.0 {
        gather(&entry.key, &entry.node, &mut secrets);
    }
    secrets.into_iter().map(SecretString::from).collect()
}

fn gather(key: &str, node: &Node, secrets: &mut Vec<String>) {
    match &node.value {
        Value::Text(text) | Value::Loose(text) => {
            let lower = key.to_ascii_lowercase();
            let named = SECRET.iter().any(|secret| lower.contains(secret));
            let elsewhere = node.secret && !PLAIN_KEYS.contains(&key);
            if named || elsewhere {
                secrets.push(text.clone());
            }
            secrets.extend(sign_in(text).map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|(_, item)| gather(key, item, secrets)),
        Value::Table(table) => table
            .0
            .iter()
            .for_each(|entry| gather(&entry.key, &entry.node, secrets)),
        _ => {}
    }
}

/// The password of an address; the name of who signs in where there is no password, as in a DSN.
pub(super) fn sign_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    let secret = user.split_once(':').map_or(user, |(_, password)| password);
    (!secret.is_empty()).then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::sign_in;

    #[test]
    fn of_an_address_it_is_the_password() {
        for (text, secret) in [
            ("amqp://bob:hunter2@h:5672//", Some("hunter2")),
            ("redis://:p%40ss@h/0", Some("p%40ss")),
            (
                "https://0123456789abcdef@o1.ingest.sentry.io/7",
                Some("0123456789abcdef"),
            ),
            ("https://h/a@b", None),
            ("redis://h", None),
            ("words", None),
        ] {
            assert_eq!(sign_in(text), secret, "{text}");
        }
    }
}
