//! What stands over the file: `HEADCOUNT__TABLE__KEY` in the environment, and `--broker`.

use headcount_core::celery::BrokerUrl;
use headcount_edge::brokers;

use super::decode::Mistake;
use super::fault::unknown_key;
use super::problem::Found;
use super::read::plain_tables;
use super::tree::{At, Builder, Entry, Node, Surroundings, Table, Value};

/// How the names of the variables begin that override a key of a plain table.
const PREFIX: &str = "HEADCOUNT__";

/// Lays `HEADCOUNT__TABLE__KEY` over the tables.
pub(super) fn from_environment(root: &mut Table, builder: &mut Builder<'_>, mistakes: &mut Vec<Mistake>) {
    let tables = plain_tables();
    for (rest, text) in builder.surroundings.starting_with(PREFIX) {
        let at = At::Env(format!("{PREFIX}{rest}").into());
        let lower = rest.to_ascii_lowercase();
        let (table, key) = lower.split_once("__").unwrap_or((&lower, ""));
        let path = vec![table.to_owned(), key.to_owned()];
        let Some((_, keys)) = tables.iter().find(|(known, _)| *known == table) else {
            let known: Vec<&str> = tables.iter().map(|(known, _)| *known).collect();
            let why = format!("the environment can only set keys of the tables {}", known.join(", "));
            mistakes.push((at, vec![], Found::Said(why)));
            continue;
        };
        if !keys.contains(&key) {
            mistakes.push((at, path, Found::Said(unknown_key(key, keys))));
            continue;
        }
        let node = builder.override_with(text, &at, path);
        set(root, table, key, node);
    }
}

/// Sets a key of a table, which is made where it is not there. Where something else stands in the table's place, that
/// is reported when it is read.
fn set(root: &mut Table, table: &str, key: &str, node: Node) {
    let at = node.at.clone();
    if root.get(table).is_none() {
        let empty = Node {
            at: at.clone(),
            value: Value::Table(Table::default()),
            secret: false,
        };
        root.set(table, &at, empty);
    }
    let entry = root.0.iter_mut().find(|entry| entry.key == table);
    if let Some(Entry {
        node: Node {
            value: Value::Table(table),
            ..
        },
        ..
    }) = entry
    {
        table.set(key, &at, node);
    }
}

/// `--broker`, each as a URL with the word that its name is made from.
pub(super) fn from_command_line(
    urls: &[String],
    surroundings: &Surroundings,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(&'static str, String)> {
    let mut brokers = Vec::new();
    for given in urls {
        let url = surroundings.look_up(given).unwrap_or_else(|| Ok(given.clone()));
        let kind = url.and_then(|url| {
            let config = brokers::Config::new("", url.as_str());
            match (config.check_url(), config.kind, BrokerUrl::parse(&url)) {
                (Some(why), ..) => Err(why),
                (None, brokers::Kind::Flower, _) => Ok(("flower", url)),
                (None, _, Ok(BrokerUrl::Amqp(_))) => Ok(("rabbitmq", url)),
                (None, ..) => Ok(("redis", url)),
            }
        });
        match kind {
            Ok(broker) => brokers.push(broker),
            Err(why) => mistakes.push((At::Argument("--broker"), vec![], Found::Said(why))),
        }
    }
    brokers
}

/// `redis`, or `redis-2` where that is taken, and so on.
pub(super) fn unused_name(kind: &str, is_used: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|n| format!("{kind}-{n}"));
    std::iter::once(kind.to_owned())
        .chain(numbered)
        .find(|name| !is_used(name))
        .unwrap_or_default()
}
