//! Decodes one table of the tree into a plain struct, and finds all of its mistakes in one go: serde stops at the
//! first, so the faulty entry is noted, taken out, and the rest decoded again.

use super::fault::{Fault, Step, What};
use super::problem::Found;
use super::tree::{At, Node, Table, Value};
use super::walk::TableDeserializer;

/// One mistake: where, under which keys, what.
pub(super) type Mistake = (At, Vec<String>, Found);

/// Decodes a table that stands under `path`. Without a result there is at least one mistake (here, or already
/// reported when the tree was built); with mistakes there may still be a result, good enough to check the rest of it.
pub(super) fn table<T>(
    mut table: Table,
    at: &At,
    path: &[String],
    decode: impl Fn(TableDeserializer<'_>) -> Result<T, Fault>,
) -> (Option<T>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let mut removed = take_broken(&mut table);
    loop {
        let fault = match decode(TableDeserializer(&table)) {
            Ok(value) => return (Some(value), mistakes),
            Err(fault) => fault,
        };
        let mut under: Vec<String> = path.to_vec();
        under.extend(fault.path.iter().rev().map(Step::to_string));
        match fault.what {
            What::Missing(field) if removed.iter().any(|key| key == field) => return (None, mistakes),
            What::Missing(field) => {
                under.push(field.to_owned());
                mistakes.push((
                    fault.at.unwrap_or_else(|| at.clone()),
                    under,
                    Found::Said("this key is required".into()),
                ));
                return (None, mistakes);
            }
            What::Found(found) => {
                mistakes.push((fault.at.unwrap_or_else(|| at.clone()), under, found));
                let steps: Vec<Step> = fault.path.into_iter().rev().collect();
                let Some(key) = take_out(&mut table, &steps) else {
                    return (None, mistakes);
                };
                removed.push(key);
            }
        }
    }
}

/// Takes out what the tree could not read, and tells the keys that it stood under.
fn take_broken(table: &mut Table) -> Vec<String> {
    let mut taken = Vec::new();
    table.0.retain_mut(|entry| {
        let keep = !is_broken(&mut entry.node);
        if !keep {
            taken.push(entry.key.clone());
        }
        keep
    });
    taken
}

fn is_broken(node: &mut Node) -> bool {
    match &mut node.value {
        Value::Broken => true,
        Value::Array(items) => {
            items.retain_mut(|(_, item)| !is_broken(item));
            false
        }
        Value::Table(table) => {
            take_broken(table);
            false
        }
        _ => false,
    }
}

/// Takes out the entry or item that the steps lead to, and tells its key.
fn take_out(table: &mut Table, steps: &[Step]) -> Option<String> {
    let (Step::Key(key), rest) = steps.split_first()? else {
        return None;
    };
    if rest.is_empty() {
        return table.take(key).map(|entry| entry.key);
    }
    let entry = table.0.iter_mut().find(|entry| entry.key == *key)?;
    take_inside(&mut entry.node, rest)
}

fn take_inside(node: &mut Node, steps: &[Step]) -> Option<String> {
    match (&mut node.value, steps.split_first()?) {
        (Value::Table(table), _) => take_out(table, steps),
        (Value::Array(items), (Step::Item(place), rest)) => {
            let at = items.iter().position(|(index, _)| index == place)?;
            if rest.is_empty() {
                return Some(format!("[{}]", items.remove(at).0));
            }
            take_inside(&mut items.get_mut(at)?.1, rest)
        }
        _ => None,
    }
}
