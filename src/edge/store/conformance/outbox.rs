//! The outbox: what is owed, paid, merged, and remembered of it.

use super::*;

pub(in crate::store) async fn telling_is_all_or_nothing(open: Open) {
    let store = open();
    let a = incident("a", 10);
    let owed = vec![owes(&a, "slack", Turn::Opened, Act::Post)];
    assert!(
        store.tell(a.id.clone(), told(false), owed.clone()).await.is_err(),
        "no such incident"
    );
    assert_eq!(turns(&*store, "slack").await, []);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    store.tell(a.id.clone(), told(false), owed.clone()).await.unwrap();
    drop(store);
    let store = open();
    let debts = store.owed("slack", 10).await.unwrap();
    assert_eq!(debts.iter().map(|d| d.owed.clone()).collect::<Vec<_>>(), owed);
    assert_eq!(store.load().await.unwrap().incidents[0].told, Some(told(false)));
}

pub(in crate::store) async fn debts_keep_their_order(open: Open) {
    let store = open();
    let (a, b) = (incident("a", 10), incident("b", 20));
    store.save_incidents(vec![a.clone(), b.clone()]).await.unwrap();
    let post = |i: &Incident, turn| owes(i, "slack", turn, Act::Post);
    store
        .tell(b.id.clone(), told(false), vec![post(&b, Turn::Opened)])
        .await
        .unwrap();
    store
        .tell(
            a.id.clone(),
            told(false),
            vec![
                post(&a, Turn::Opened),
                owes(&a, "stdout", Turn::Opened, Act::Post),
                post(&a, Turn::Worsened),
            ],
        )
        .await
        .unwrap();
    let refresh = owes(&b, "slack", Turn::Recovered, Act::Refresh);
    store
        .tell(b.id.clone(), told(true), vec![post(&b, Turn::Recovered), refresh])
        .await
        .unwrap();
    drop(store);
    let store = open();
    let debts = store.owed("slack", 100).await.unwrap();
    let order: Vec<_> = debts
        .iter()
        .map(|d| (&*d.owed.notice.incident.id.0, d.owed.notice.turn, d.owed.act))
        .collect();
    assert_eq!(
        order,
        [
            ("b", Turn::Opened, Act::Post),
            ("a", Turn::Opened, Act::Post),
            ("a", Turn::Worsened, Act::Post),
            ("b", Turn::Recovered, Act::Post),
            ("b", Turn::Recovered, Act::Refresh)
        ]
    );
    assert!(debts.is_sorted_by(|x, y| x.id < y.id));
    assert_eq!(store.owed("slack", 2).await.unwrap(), debts[..2]);
    assert_eq!(store.owed("slack", 0).await.unwrap(), []);
    assert_eq!(turns(&*store, "stdout").await.len(), 1);
    // Paid in the middle: the others stay as they were.
    store.paid(debts[1].id, at(2), None).await.unwrap();
    let left: Vec<_> = store.owed("slack", 100).await.unwrap();
    assert_eq!(left, [&debts[..1], &debts[2..]].concat());
}

pub(in crate::store) async fn paying_twice_is_paying_once(open: Open) {
    let store = open();
    let a = incident("a", 10);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    store
        .tell(
            a.id.clone(),
            told(false),
            vec![owes(&a, "slack", Turn::Opened, Act::Post)],
        )
        .await
        .unwrap();
    let debt = store.owed("slack", 1).await.unwrap()[0].id;
    store.paid(debt, at(5), receipt("first")).await.unwrap();
    store.paid(debt, at(9), receipt("second")).await.unwrap();
    store.unpaid(debt, "too late".into()).await.unwrap();
    let (_, history) = store.incident(&a.id).await.unwrap().unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].queued_at, history[0].delivered_at), (at(1), Some(at(5))));
    assert_eq!(history[0].error, None);
    assert!(history[0].text.starts_with("DEGRADED sms: 2 of 3 workers up"));
    assert_eq!(store.receipt(&a.id, "slack").await.unwrap(), receipt("first"));
    assert_eq!(turns(&*store, "slack").await, []);
    // A number that was never given is nobody's debt.
    store
        .paid(DebtId(debt.0 + 1_000), at(9), receipt("third"))
        .await
        .unwrap();
}

pub(in crate::store) async fn the_first_receipt_is_kept(open: Open) {
    let store = open();
    let a = incident("a", 10);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    let owed = vec![
        owes(&a, "slack", Turn::Opened, Act::Post),
        owes(&a, "slack", Turn::Worsened, Act::Refresh),
        owes(&a, "slack", Turn::Worsened, Act::Post),
        owes(&a, "other", Turn::Opened, Act::Post),
    ];
    store.tell(a.id.clone(), told(false), owed).await.unwrap();
    let debts = turns(&*store, "slack").await;
    store.paid(debts[0].0, at(5), receipt("first")).await.unwrap();
    store.paid(debts[1].0, at(6), None).await.unwrap();
    store.paid(debts[2].0, at(7), receipt("second")).await.unwrap();
    drop(store);
    let store = open();
    assert_eq!(store.receipt(&a.id, "slack").await.unwrap(), receipt("first"));
    assert_eq!(store.receipt(&a.id, "other").await.unwrap(), None);
    let (_, history) = store.incident(&a.id).await.unwrap().unwrap();
    let messages: Vec<_> = history.iter().map(|n| (&*n.notifier, n.delivered_at)).collect();
    assert_eq!(
        messages,
        [("slack", Some(at(5))), ("slack", Some(at(7))), ("other", None)],
        "a refreshed message is no further message"
    );
}

pub(in crate::store) async fn a_failure_leaves_the_debt(open: Open) {
    let store = open();
    let a = incident("a", 10);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    store
        .tell(
            a.id.clone(),
            told(false),
            vec![owes(&a, "slack", Turn::Opened, Act::Post)],
        )
        .await
        .unwrap();
    let before = store.owed("slack", 10).await.unwrap();
    store.unpaid(before[0].id, "HTTP 503".into()).await.unwrap();
    store.unpaid(before[0].id, "HTTP 502 ".repeat(10_000)).await.unwrap();
    drop(store);
    let store = open();
    assert_eq!(store.owed("slack", 10).await.unwrap(), before);
    let error = store.incident(&a.id).await.unwrap().unwrap().1.remove(0).error.unwrap();
    assert!(error.starts_with("HTTP 502") && error.len() < 2_000);
    store.paid(before[0].id, at(5), None).await.unwrap();
    assert_eq!(store.incident(&a.id).await.unwrap().unwrap().1.remove(0).error, None);
}

pub(in crate::store) async fn merging_is_all_or_nothing(open: Open) {
    let store = open();
    let (a, b) = (incident("a", 10), incident("b", 11));
    store.save_incidents(vec![a.clone(), b.clone()]).await.unwrap();
    let post = |turn| owes(&a, "slack", turn, Act::Post);
    store
        .tell(
            a.id.clone(),
            told(false),
            vec![post(Turn::Opened), post(Turn::Worsened), post(Turn::Recovered)],
        )
        .await
        .unwrap();
    store
        .tell(
            b.id.clone(),
            told(false),
            vec![owes(&b, "slack", Turn::Opened, Act::Post)],
        )
        .await
        .unwrap();
    let debts: Vec<DebtId> = turns(&*store, "slack").await.into_iter().map(|(id, _)| id).collect();
    let before = store.owed("slack", 10).await.unwrap();
    let both = post(Turn::OpenedAndRecovered);

    assert!(
        store.merge(debts.clone(), both.clone()).await.is_err(),
        "one belongs to another incident"
    );
    assert!(store.merge(vec![], both.clone()).await.is_err(), "nothing to merge");
    assert!(
        store
            .merge(vec![debts[0]], owes(&a, "other", Turn::Opened, Act::Post))
            .await
            .is_err()
    );
    assert_eq!(
        store.owed("slack", 10).await.unwrap(),
        before,
        "a refused merge changes nothing"
    );

    store.merge(debts[..3].to_vec(), both.clone()).await.unwrap();
    drop(store);
    let store = open();
    let left = store.owed("slack", 10).await.unwrap();
    assert_eq!(left[0], before[3]);
    assert_eq!(left[1].owed, both);
    assert!(left[1].id > debts[3], "a number is never used again");
    assert_eq!(left.len(), 2);
    assert_eq!(store.incident(&a.id).await.unwrap().unwrap().1.len(), 1);

    // A late answer for a debt that was merged away pays nothing.
    store.paid(debts[0], at(9), receipt("late")).await.unwrap();
    assert_eq!(store.owed("slack", 10).await.unwrap(), left);
    // What has been delivered cannot be taken back.
    store.paid(left[1].id, at(9), receipt("r")).await.unwrap();
    assert!(store.merge(vec![left[1].id], both).await.is_err());
    assert_eq!(store.receipt(&a.id, "slack").await.unwrap(), receipt("r"));
}

pub(in crate::store) async fn what_is_waived_is_owed_no_more(open: Open) {
    let store = open();
    let a = incident("a", 10);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    let owed = [Turn::Opened, Turn::Worsened, Turn::Recovered].map(|turn| owes(&a, "slack", turn, Act::Post));
    store.tell(a.id.clone(), told(false), owed.to_vec()).await.unwrap();
    let debts = turns(&*store, "slack").await;
    store.paid(debts[0].0, at(5), receipt("r")).await.unwrap();
    // What is paid stays in the history, and a number that was never given is nobody's debt.
    let ids = vec![debts[0].0, debts[1].0, DebtId(debts[2].0.0 + 1_000)];
    store.waive(ids).await.unwrap();
    store.waive(vec![]).await.unwrap();
    drop(store);
    let store = open();
    assert_eq!(turns(&*store, "slack").await, [debts[2]]);
    assert_eq!(store.incident(&a.id).await.unwrap().unwrap().1.len(), 2);
    assert_eq!(store.receipt(&a.id, "slack").await.unwrap(), receipt("r"));
}

pub(in crate::store) async fn who_comes_new_inherits_what_was_owed_to_who_is_gone(open: Open) {
    let store = open();
    let a = incident("a", 10);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    let owed = [
        owes(&a, "old", Turn::Opened, Act::Post),
        owes(&a, "older", Turn::Opened, Act::Post),
        owes(&a, "stays", Turn::Opened, Act::Post),
        owes(&a, "old", Turn::Worsened, Act::Post),
    ];
    store.tell(a.id.clone(), told(false), owed.to_vec()).await.unwrap();
    assert_eq!(store.disown(vec!["new".into(), "stays".into()]).await.unwrap(), 3);
    let of = |debts: Vec<(DebtId, Turn)>| debts.into_iter().map(|(_, turn)| turn).collect::<Vec<_>>();
    assert_eq!(of(turns(&*store, "new").await), [Turn::Opened, Turn::Worsened]);
    assert_eq!(of(turns(&*store, "stays").await), [Turn::Opened], "it has its own");
    assert_eq!(store.disown(vec!["new".into(), "stays".into()]).await.unwrap(), 0);
    assert_eq!(turns(&*store, "new").await.len(), 2, "and not once more");
}

pub(in crate::store) async fn nothing_is_owed_to_strangers(open: Open) {
    let store = open();
    let a = resolved(incident("a", 10), 20);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    let owed = ["slack", "it's \"gone\"", "gone"].map(|name| owes(&a, name, Turn::Opened, Act::Post));
    store.tell(a.id.clone(), told(true), owed.to_vec()).await.unwrap();
    let slack = turns(&*store, "slack").await;
    store
        .paid(turns(&*store, "gone").await[0].0, at(5), receipt("r"))
        .await
        .unwrap();
    assert_eq!(
        store
            .disown(vec!["slack".into(), "it's \"gone\"".into()])
            .await
            .unwrap(),
        0
    );
    assert_eq!(store.disown(vec!["slack".into()]).await.unwrap(), 1);
    drop(store);
    let store = open();
    assert_eq!(turns(&*store, "slack").await, slack);
    assert_eq!(turns(&*store, "it's \"gone\"").await, []);
    // What was delivered to one that is gone stays in the history.
    assert_eq!(store.incident(&a.id).await.unwrap().unwrap().1.len(), 2);
    assert_eq!(store.disown(vec![]).await.unwrap(), 1);
    store.forget_before(at(1_000)).await.unwrap();
    assert!(
        store.incident(&a.id).await.unwrap().is_none(),
        "nothing keeps it any more"
    );
}
