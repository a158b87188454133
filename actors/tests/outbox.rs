//! The notifier: the outbox is paid in order, once, and no channel holds up more than it must.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use headcount_core::alert::{Incident, Notice, Turn, debounce};
use headcount_core::time::Wall;

use super::support::house::Watch;
use super::support::notifier::{Answer, Channel};
use super::support::store::{FakeStore, Fate, turns};
use super::support::{World, age, live, pass, reports, secs, until};
use crate::messages::{Finish, OutboxGrew};
use crate::outbox::{Tidying, tidy};
use crate::ports::traces::NoTracer;
use crate::ports::{Act, Debt, DebtId, Owed, Store};
use crate::slack_notifier::{Notifying, SlackNotifier};

struct Scene {
    store: Arc<FakeStore>,
    channel: Arc<Channel>,
    watch: Watch,
    notifier: Addr<SlackNotifier>,
}

impl Scene {
    fn new(threads: bool) -> Self {
        let world = Arc::new(World::default());
        let store = FakeStore::new(&world);
        let channel = Channel::new(&world, "slack", threads);
        let watch = Watch::new();
        let notifying = Notifying {
            notifier: channel.clone(),
            store: store.clone(),
            meters: watch.meters.clone(),
            tracer: Arc::new(NoTracer),
        };
        let notifier = watch.start("SlackNotifier", move || SlackNotifier::new(notifying));
        Self {
            store,
            channel,
            watch,
            notifier,
        }
    }

    /// Puts what is owed into the outbox, as the debouncer does.
    async fn owe(&self, id: &str, acts: &[(Turn, Act)]) {
        let incident = reports::incident(id, 1);
        self.store.save_incidents(vec![incident.clone()]).await.unwrap();
        let told = debounce::told(&incident, Turn::Opened, Wall::from_micros(0));
        let owed = acts.iter().map(|(turn, act)| owes(&incident, *turn, *act)).collect();
        self.store.tell(incident.id, told, owed).await.unwrap();
        self.notifier.try_send(OutboxGrew).unwrap();
    }

    async fn paid(&self) {
        until("an empty outbox", || self.store.debts().is_empty()).await;
    }
}

fn owes(incident: &Incident, turn: Turn, act: Act) -> Owed {
    Owed {
        notifier: "slack".into(),
        act,
        notice: Notice {
            turn,
            at: Wall::from_micros(0),
            incident: incident.clone(),
            link: None,
        },
    }
}

const OPENED: (Turn, Act) = (Turn::Opened, Act::Post);
const WORSENED: (Turn, Act) = (Turn::Worsened, Act::Post);
const RECOVERED: (Turn, Act) = (Turn::Recovered, Act::Post);

fn put_off(until: Duration, after: Option<Duration>) -> impl FnMut(&Notice, Act) -> Answer + Send {
    move |_, _| {
        if age() < until {
            Answer::Later(after)
        } else {
            Answer::Accepts
        }
    }
}

#[test]
fn retry_after_is_obeyed_whatever_else_fails() {
    live(async {
        for fate in [Fate::Works, Fate::Fails, Fate::PanicsAfterwards] {
            let scene = Scene::new(false);
            let end = age() + secs(1);
            scene.channel.answer(put_off(end, Some(secs(30))));
            // As soon as the channel has asked for a rest the store fails, or the actor panics.
            let mut first = true;
            scene.store.fare(move |_, call| match call {
                "unpaid" if std::mem::take(&mut first) => fate,
                _ => Fate::Works,
            });
            scene.owe("f-1", &[OPENED]).await;
            scene.paid().await;
            let tried = scene.channel.tried();
            assert_eq!(tried.len(), 2, "{fate:?}: {tried:?}");
            assert!(tried[1] - tried[0] >= secs(30), "{fate:?}: {tried:?}");
            assert_eq!(scene.watch.notifications("slack", "delivered"), 1);
        }
    });
}

#[test]
fn without_a_time_the_waits_double_up_to_a_minute() {
    live(async {
        let scene = Scene::new(false);
        scene.channel.answer(put_off(age() + secs(600), None));
        scene.owe("f-1", &[OPENED]).await;
        pass(secs(700)).await;
        let tried = scene.channel.tried();
        let waits: Vec<_> = tried.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert!(waits.is_sorted(), "{waits:?}");
        assert!(waits[0] <= 2 && waits.iter().all(|wait| *wait <= 62), "{waits:?}");
        assert_eq!(scene.channel.turns(), [Turn::Opened]);
    });
}

#[test]
fn a_refused_incident_holds_up_no_other_however_much_it_owes() {
    live(async {
        let scene = Scene::new(false);
        scene.channel.answer(|notice, _| {
            if notice.incident.id.0.starts_with("bad") {
                Answer::Refuses
            } else {
                Answer::Accepts
            }
        });
        for n in 0..120 {
            scene.owe(&format!("bad-{n:03}"), &[OPENED]).await;
        }
        scene.owe("good", &[OPENED, (Turn::Worsened, Act::Post)]).await;
        until("the good one", || scene.channel.turns().len() == 2).await;
        assert_eq!(scene.channel.turns(), [Turn::Opened, Turn::Worsened]);
        assert_eq!(scene.store.debts().len(), 120);
        // Each refused one is tried again, once a minute.
        let before = scene.channel.tried().len();
        pass(secs(180)).await;
        let again = scene.channel.tried().len() - before;
        assert!((240..=480).contains(&again), "{again}");
        // And goes out, in order, once the channel takes it.
        scene.channel.answer(|_, _| Answer::Accepts);
        pass(secs(70)).await;
        assert_eq!(scene.store.debts(), []);
    });
}

#[test]
fn a_refused_opening_holds_back_what_follows_it() {
    live(async {
        let scene = Scene::new(true);
        scene.channel.answer(|notice, _| match notice.turn {
            Turn::Opened if age() < secs(100) => Answer::Refuses,
            _ => Answer::Accepts,
        });
        scene
            .owe(
                "f-1",
                &[OPENED, (Turn::Worsened, Act::Post), (Turn::Worsened, Act::Refresh)],
            )
            .await;
        pass(secs(200)).await;
        let heard: Vec<_> = scene
            .channel
            .heard()
            .iter()
            .map(|heard| (heard.turn, heard.act))
            .collect();
        assert_eq!(
            heard,
            [OPENED, (Turn::Worsened, Act::Post), (Turn::Worsened, Act::Refresh)]
        );
    });
}

#[test]
fn a_channel_that_hangs_is_tried_again() {
    live(async {
        let scene = Scene::new(false);
        let mut first = true;
        scene.channel.answer(move |_, _| {
            if std::mem::take(&mut first) {
                Answer::Hangs
            } else {
                Answer::Accepts
            }
        });
        scene.owe("f-1", &[OPENED]).await;
        pass(secs(70)).await;
        assert_eq!(scene.channel.turns(), [Turn::Opened]);
    });
}

/// The channel has it, and the store fails, or the actor panics: it is noted later, and never posted again.
#[test]
fn what_a_channel_has_accepted_is_not_posted_again() {
    live(async {
        for fate in [Fate::Fails, Fate::FailsAfterwards, Fate::PanicsAfterwards] {
            let scene = Scene::new(true);
            let end = age() + secs(20);
            scene.store.fare(move |_, call| {
                if call == "paid" && age() < end {
                    fate
                } else {
                    Fate::Works
                }
            });
            scene.owe("f-1", &[OPENED, WORSENED]).await;
            pass(secs(90)).await;
            assert_eq!(scene.store.debts(), [], "{fate:?}");
            assert_eq!(scene.channel.turns(), [Turn::Opened, Turn::Worsened], "{fate:?}");
        }
    });
}

/// A channel that is configured while an incident is open.
#[test]
fn a_channel_hears_no_end_of_what_it_was_never_told() {
    live(async {
        let scene = Scene::new(true);
        scene.owe("f-1", &[RECOVERED, (Turn::Recovered, Act::Refresh)]).await;
        scene.owe("f-2", &[(Turn::Eased, Act::Post)]).await;
        scene.paid().await;
        assert_eq!(scene.channel.turns(), []);
        assert_eq!(scene.watch.notifications("slack", "waived"), 2);
        // That it got worse is news, and to this channel the first.
        scene.owe("f-3", &[(Turn::Worsened, Act::Post)]).await;
        scene.paid().await;
        scene.owe("f-3", &[RECOVERED]).await;
        scene.paid().await;
        assert_eq!(scene.channel.turns(), [Turn::Opened, Turn::Recovered]);
    });
}

#[test]
fn the_first_message_is_refreshed_after_each_later_one() {
    live(async {
        let scene = Scene::new(true);
        scene.owe("f-1", &[OPENED]).await;
        scene.paid().await;
        scene
            .owe("f-1", &[(Turn::Worsened, Act::Post), (Turn::Worsened, Act::Refresh)])
            .await;
        scene.paid().await;
        scene.owe("f-1", &[RECOVERED, (Turn::Recovered, Act::Refresh)]).await;
        scene.paid().await;
        let heard = scene.channel.heard();
        let acts: Vec<_> = heard.iter().map(|heard| (heard.act, heard.in_thread)).collect();
        let (post, refresh) = (Act::Post, Act::Refresh);
        assert_eq!(
            acts,
            [
                (post, false),
                (post, true),
                (refresh, true),
                (post, true),
                (refresh, true)
            ]
        );
        assert!(heard[0].text.starts_with("DEGRADED sms") && heard[3].text.starts_with("RECOVERED sms"));
    });
}

/// While the channel is away an incident worsens, eases and worsens for hours.
#[test]
fn one_incident_owes_little_however_long_the_channel_is_away() {
    live(async {
        let scene = Scene::new(true);
        scene.owe("f-1", &[OPENED]).await;
        scene.paid().await;
        let end = age() + secs(7_200);
        scene.channel.answer(put_off(end, None));
        let mut most = 0;
        for n in 0..700 {
            let turn = if n % 3 == 0 { Turn::Worsened } else { Turn::Eased };
            scene.owe("f-1", &[(turn, Act::Post), (turn, Act::Refresh)]).await;
            pass(secs(10)).await;
            // A round comes at least once a minute: what was added since is all that is too much.
            most = most.max(scene.store.debts().len());
        }
        assert!(most <= 3 + 2 * 7, "{most}");
        scene.owe("f-1", &[RECOVERED, (Turn::Recovered, Act::Refresh)]).await;
        pass(secs(400)).await;
        assert_eq!(scene.channel.turns(), [Turn::Opened, Turn::Worsened, Turn::Recovered]);
        let refreshed = scene
            .channel
            .heard()
            .iter()
            .filter(|heard| heard.act == Act::Refresh)
            .count();
        assert_eq!(refreshed, 1);
    });
}

/// For hours an incident takes every turn there is, each second another, while the channel wants to be left alone.
#[test]
fn one_incident_owes_little_whatever_its_turns() {
    const TURNS: [Turn; 5] = [Turn::Eased, Turn::Relapsed, Turn::Worsened, Turn::Relapsed, Turn::Eased];
    live(async {
        for opened_before in [true, false] {
            let scene = Scene::new(true);
            let rest = secs(6_000);
            let end = age() + secs(4_500);
            if opened_before {
                scene.owe("f-1", &[OPENED]).await;
                scene.paid().await;
            }
            scene.channel.answer(put_off(end, Some(rest)));
            if !opened_before {
                scene.owe("f-1", &[OPENED]).await;
            }
            let mut most = 0;
            for turn in TURNS.iter().cycle().take(4_000) {
                scene.owe("f-1", &[(*turn, Act::Post), (*turn, Act::Refresh)]).await;
                pass(secs(1)).await;
                most = most.max(scene.store.debts().len());
            }
            // What cannot be overtaken, and two acts for each second since the outbox was last tidied.
            assert!(most <= 4 + 2 * 12, "{most}");
            assert!(scene.channel.tried().len() <= 2, "the channel is left alone");
            scene.owe("f-1", &[RECOVERED, (Turn::Recovered, Act::Refresh)]).await;
            pass(rest).await;
            assert_eq!(scene.store.debts(), []);
            let expected: &[Turn] = if opened_before {
                &[Turn::Opened, Turn::Worsened, Turn::Recovered]
            } else {
                &[Turn::OpenedAndRecovered]
            };
            assert_eq!(scene.channel.turns(), expected);
        }
    });
}

/// More is owed for one incident than is read at once, as an earlier version may have left it.
#[test]
fn an_end_is_found_however_much_is_owed_before_it() {
    live(async {
        let scene = Scene::new(true);
        let end = age() + secs(20);
        scene.store.fare(move |_, call| match call {
            "owed" if age() < end => Fate::Fails,
            _ => Fate::Works,
        });
        let mut acts = vec![OPENED];
        for _ in 0..3_000 {
            acts.extend([(Turn::Eased, Act::Post), (Turn::Relapsed, Act::Post), WORSENED]);
        }
        acts.push(RECOVERED);
        scene.owe("f-1", &acts).await;
        pass(secs(30)).await;
        assert_eq!(scene.channel.turns(), [Turn::OpenedAndRecovered]);
        assert_eq!(scene.store.debts(), []);
    });
}

#[test]
fn an_opening_that_its_end_overtakes_is_one_message_with_both() {
    live(async {
        let scene = Scene::new(true);
        scene.channel.answer(put_off(age() + secs(100), None));
        let worse = [(Turn::Worsened, Act::Post), (Turn::Worsened, Act::Refresh)];
        scene.owe("f-1", &[OPENED]).await;
        scene.owe("f-2", &[OPENED]).await;
        scene.owe("f-1", &worse).await;
        pass(secs(30)).await;
        scene.owe("f-1", &[RECOVERED, (Turn::Recovered, Act::Refresh)]).await;
        pass(secs(200)).await;
        assert_eq!(scene.store.debts(), []);
        let heard = scene.channel.heard();
        let of = |id: &str| -> Vec<_> {
            let of_it = heard.iter().filter(|heard| &*heard.incident.0 == id);
            of_it.map(|heard| (heard.turn, heard.act)).collect()
        };
        assert_eq!(of("f-1"), [(Turn::OpenedAndRecovered, Act::Post)]);
        assert_eq!(of("f-2"), [OPENED]);
    });
}

/// The program ends while a message is on its way: it is noted before the program is gone.
#[test]
fn finishing_waits_for_the_message_that_is_on_its_way() {
    live(async {
        let scene = Scene::new(false);
        scene.channel.answer(put_off(age() + secs(5), None));
        scene.owe("f-1", &[OPENED]).await;
        scene.owe("f-2", &[OPENED]).await;
        pass(secs(1)).await;
        let before = scene.channel.tried().len();
        scene.channel.answer(|_, _| Answer::Slowly(3_000));
        until("the first is on its way", || scene.channel.tried().len() > before).await;
        scene.notifier.send(Finish).await.unwrap();
        assert_eq!(scene.channel.turns(), [Turn::Opened]);
        let left = scene.store.debts();
        assert_eq!(left.len(), 1, "the first is noted, the second not begun");
        assert_eq!(&*left[0].owed.notice.incident.id.0, "f-2");
        scene.notifier.send(Finish).await.unwrap();
        pass(secs(30)).await;
        assert_eq!(scene.channel.tried().len(), before + 1, "nothing more is begun");
    });
}

fn debts(acts: &[(&str, Turn, Act)]) -> Vec<Debt> {
    let debt = |(n, (id, turn, act)): (usize, &(&str, Turn, Act))| Debt {
        id: DebtId(n as i64),
        owed: owes(&reports::incident(id, 1), *turn, *act),
    };
    acts.iter().enumerate().map(debt).collect()
}

#[test]
fn tidying_keeps_what_is_not_overtaken() {
    use Act::{Post, Refresh};
    use Turn::{Eased, Opened, Recovered, Relapsed, Worsened};
    const NONE: [i64; 0] = [];
    let waived = |acts: &[(&str, Turn, Act)]| -> Vec<i64> {
        let tidying = tidy(&debts(acts));
        let waive = |tidying: Tidying| match tidying {
            Tidying::Waive(ids) => ids,
            Tidying::Merge(..) => panic!("nothing to merge"),
        };
        tidying.into_iter().flat_map(waive).map(|id| id.0).collect()
    };
    assert_eq!(waived(&[]), NONE);
    assert_eq!(waived(&[("a", Opened, Post), ("a", Worsened, Post)]), NONE);
    assert_eq!(
        waived(&[("a", Worsened, Post), ("b", Worsened, Post)]),
        NONE,
        "of different incidents"
    );
    assert_eq!(
        waived(&[("a", Worsened, Post), ("a", Eased, Post), ("a", Worsened, Post)]),
        [0, 1]
    );
    assert_eq!(
        waived(&[("a", Worsened, Post), ("a", Eased, Post), ("a", Eased, Post)]),
        [1]
    );
    assert_eq!(
        waived(&[("a", Worsened, Post), ("a", Recovered, Post)]),
        NONE,
        "people were not told of it yet"
    );
    assert_eq!(waived(&[("a", Eased, Post), ("a", Recovered, Post)]), [0]);
    assert_eq!(
        waived(&[
            ("a", Relapsed, Post),
            ("a", Eased, Post),
            ("b", Relapsed, Post),
            ("a", Relapsed, Post)
        ]),
        [0, 1]
    );
    assert_eq!(
        waived(&[("a", Opened, Post), ("a", Worsened, Post), ("a", Relapsed, Post)]),
        NONE
    );
    assert_eq!(waived(&[("a", Opened, Post), ("a", Opened, Post)]), [1]);
    assert_eq!(
        waived(&[("a", Worsened, Refresh), ("a", Worsened, Post), ("a", Eased, Refresh)]),
        [0]
    );
}

#[test]
fn tidying_merges_an_opening_with_its_end() {
    let all = debts(&[
        ("a", Turn::Opened, Act::Post),
        ("b", Turn::Opened, Act::Post),
        ("a", Turn::Worsened, Act::Post),
        ("a", Turn::Worsened, Act::Refresh),
        ("a", Turn::Recovered, Act::Post),
        ("a", Turn::Recovered, Act::Refresh),
    ]);
    assert_eq!(turns(&all).len(), 6);
    let tidying = tidy(&all);
    let [Tidying::Merge(ids, into)] = tidying.as_slice() else {
        panic!("{tidying:?}");
    };
    assert_eq!(ids.iter().map(|id| id.0).collect::<Vec<_>>(), [0, 2, 3, 4, 5]);
    assert_eq!((into.notice.turn, into.act), (Turn::OpenedAndRecovered, Act::Post));
}
