//! The secrets of a configuration, so that whoever sends something elsewhere can see to it that none of them is in there.

use headcount_edge::secrets::{is_secret_name, sign_in};
use secrecy::SecretString;

use super::problem::PLAIN_KEYS;
use super::tree::{Node, Table, Value};

/// The key of a table whose values are all secret, whatever their names: what a request carries is how somebody signs in.
const HEADERS: &str = "headers";

/// All that are in a table, however deep.
pub(super) fn of(table: &Table) -> Vec<SecretString> {
    let mut secrets = Vec::new();
    for entry in &table.0 {
        gather(&entry.key, &entry.node, false, &mut secrets);
    }
    secrets.into_iter().map(SecretString::from).collect()
}

/// Those of an address on the command line.
pub(super) fn of_address(address: &str) -> impl Iterator<Item = SecretString> {
    sign_in(address).map(|secret| secret.to_owned().into())
}

/// `header` is whether it is the value of one.
fn gather(key: &str, node: &Node, header: bool, secrets: &mut Vec<String>) {
    match &node.value {
        Value::Text(text) | Value::Loose(text) => {
            let elsewhere = node.secret && !PLAIN_KEYS.contains(&key);
            if header || is_secret_name(key) || elsewhere {
                secrets.push(text.clone());
            }
            secrets.extend(sign_in(text).map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|(_, item)| gather(key, item, header, secrets)),
        Value::Table(table) => {
            let headers = header || key == HEADERS;
            table
                .0
                .iter()
                .for_each(|entry| gather(&entry.key, &entry.node, headers, secrets));
        }
        _ => {}
    }
}
