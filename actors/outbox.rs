//! What is owed, made less: a debt that a newer one has overtaken need not be paid any more. So however long a channel
//! is away, and whatever an incident's turns are, it owes the channel at most an opening, a worsening, the newest of all
//! other turns, and a refresh.

use std::collections::BTreeMap;

use headcount_core::alert::{IncidentId, Turn};

use crate::ports::{Act, Debt, DebtId, Owed};

/// One thing to do in the outbox before anything is paid.
#[derive(Debug, PartialEq)]
pub(crate) enum Tidying {
    /// An opening that still waits although the incident is over becomes one message that says both.
    Merge(Vec<DebtId>, Box<Owed>),
    /// A newer debt of the same incident says better how it stands.
    Waive(Vec<DebtId>),
}

/// What one notifier owes, oldest first, is looked through for what is overtaken.
pub(crate) fn tidy(debts: &[Debt]) -> Vec<Tidying> {
    let mut incidents: BTreeMap<&IncidentId, Vec<&Debt>> = BTreeMap::new();
    for debt in debts {
        incidents.entry(&debt.owed.notice.incident.id).or_default().push(debt);
    }
    incidents.values().filter_map(|debts| tidy_one(debts)).collect()
}

fn tidy_one(debts: &[&Debt]) -> Option<Tidying> {
    let posts = |turn| move |debt: &&&Debt| debt.owed.act == Act::Post && debt.owed.notice.turn == turn;
    let over = debts.iter().rfind(posts(Turn::Recovered));
    if let Some(over) = over
        && debts.iter().any(|debt| posts(Turn::Opened)(&debt))
    {
        let mut notice = over.owed.notice.clone();
        notice.turn = Turn::OpenedAndRecovered;
        let into = Owed {
            notifier: over.owed.notifier.clone(),
            act: Act::Post,
            notice,
        };
        // The refreshes have nothing to refresh: the one message is right from the start.
        let all = debts.iter().map(|debt| debt.id).collect();
        return Some(Tidying::Merge(all, Box::new(into)));
    }
    let opened = debts.iter().find(posts(Turn::Opened)).map(|debt| debt.id);
    let worsened = debts.iter().rfind(posts(Turn::Worsened)).map(|debt| debt.id);
    let newest = debts
        .iter()
        .rfind(|debt| debt.owed.act == Act::Post)
        .map(|debt| debt.id);
    let refreshed = debts
        .iter()
        .rfind(|debt| debt.owed.act == Act::Refresh)
        .map(|debt| debt.id);
    let overtaken = |debt: &&&Debt| match (debt.owed.act, debt.owed.notice.turn) {
        (Act::Refresh, _) => Some(debt.id) < refreshed,
        // An incident opens once: a second opening says nothing new.
        (Act::Post, Turn::Opened) => Some(debt.id) > opened,
        (Act::Post, Turn::Worsened) => Some(debt.id) < worsened,
        (
            Act::Post,
            Turn::Eased | Turn::Relapsed | Turn::Shifted | Turn::Recovered | Turn::OpenedAndRecovered | Turn::Test,
        ) => Some(debt.id) < newest,
    };
    let waived: Vec<_> = debts.iter().filter(overtaken).map(|debt| debt.id).collect();
    (!waived.is_empty()).then_some(Tidying::Waive(waived))
}
