//! What holds for every call: hostile text, many callers.

use super::*;

pub(in crate::store) async fn hostile_text_comes_back(open: Open) {
    let store = open();
    for (n, text) in [
        "'; DROP TABLE incidents; --",
        "nul\0inside",
        "\u{202E}ü\u{10FFFF}",
        "",
        "%_?",
    ]
    .iter()
    .enumerate()
    {
        let mut bad = incident(&format!("i{n}"), 0);
        bad.subject = (*text).into();
        bad.evidence[0].says = (*text).repeat(100);
        store.save_incidents(vec![bad.clone()]).await.unwrap();
        store
            .tell(
                bad.id.clone(),
                told(false),
                vec![owes(&bad, text, Turn::Opened, Act::Post)],
            )
            .await
            .unwrap();
        store.save_workers(text, vec![worker(text)]).await.unwrap();
        bad.told = Some(told(false));
        let query = IncidentQuery {
            subject: Some((*text).into()),
            limit: 10,
            ..Default::default()
        };
        let found = store.incidents(query).await.unwrap();
        assert_eq!(found.len(), 1, "{text:?}");
        assert_eq!(found[0].0, bad);
        let debts = store.owed(text, 10).await.unwrap();
        assert_eq!(debts.len(), 1, "{text:?}");
        store.paid(debts[0].id, at(5), receipt(text)).await.unwrap();
        assert_eq!(store.receipt(&bad.id, text).await.unwrap(), receipt(text));
        assert!(
            store
                .load()
                .await
                .unwrap()
                .workers
                .contains(&((*text).into(), vec![worker(text)]))
        );
    }
}

pub(in crate::store) async fn calls_at_once_do_not_mix(open: Open) {
    const WRITERS: usize = 200;
    let store = open();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let one = incident(&format!("i{n:03}"), 0);
                store.save_incidents(vec![one.clone()]).await.unwrap();
                let owed = [Turn::Opened, Turn::Worsened].map(|turn| owes(&one, "slack", turn, Act::Post));
                store.tell(one.id.clone(), told(false), owed.to_vec()).await.unwrap();
                if n % 2 == 0 {
                    // A caller that ceases to wait breaks nothing.
                    let _ = tokio::time::timeout(Duration::ZERO, store.owed("slack", 1)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let debts = store.owed("slack", 10 * WRITERS).await.unwrap();
    assert_eq!(debts.len(), 2 * WRITERS);
    for n in 0..WRITERS {
        let id = format!("i{n:03}");
        let mine: Vec<_> = debts.iter().filter(|d| *d.owed.notice.incident.id.0 == id).collect();
        assert_eq!(
            mine.iter().map(|d| d.owed.notice.turn).collect::<Vec<_>>(),
            [Turn::Opened, Turn::Worsened]
        );
        assert_eq!(mine[0].id.0 + 1, mine[1].id.0, "what is told at once stays together");
    }
}
