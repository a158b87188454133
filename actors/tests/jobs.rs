//! The job scheduler: each slot once, whoever dies, whenever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use actix::Addr;
use headcount_core::celery::result::Failure;
use headcount_core::celery::task::Destination;
use headcount_core::node::{Outcome, TaskSpec};
use headcount_core::schedule::{Cron, Missed, News, Plan, Run, RunState, Timing, Word};
use headcount_core::span::Span;
use headcount_core::time::Wall;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::sync::watch;

use super::support::house::Watch;
use super::support::jobs::{Door, Fate, Lasting};
use super::support::{live, pass, secs, skip_to, until};
use crate::clock::Clock;
use crate::job_scheduler::{Job, JobScheduler, Scheduling, Way};
use crate::messages::{Finish, TasksHeard};
use crate::meters::{JobLabel, RunLabel};
use crate::node::tasks::Ping;
use crate::ports::jobs::JobsView;
use crate::ports::node::{Call, SharedTask, Task};
use crate::ports::traces::NoTracer;

/// Longer than a claim is held.
const PAST_A_LEASE: Duration = Duration::from_secs(45);

fn job(door: &Door) -> Job {
    Job {
        plan: Plan {
            job: "purge".to_owned(),
            timing: Timing::Every(Span::from_secs(10)),
            jitter: Span::from_secs(0),
            missed: Missed::All,
            within: Span::from_secs(86_400),
        },
        task: "sms.purge".to_owned(),
        args: vec![json!(30)],
        kwargs: json!({"dry": true}).as_object().unwrap().clone(),
        way: Way::Broker {
            sender: Arc::new(door.clone()),
            to: Destination::queue("sms"),
        },
        expires: None,
        priority: Some(3),
        overlap: None,
        lost_after: Span::from_secs(3_600),
    }
}

struct Life {
    watch: Watch,
    scheduler: Addr<JobScheduler>,
    view: JobsView,
}

fn begin(door: &Door, job: Job, owner: &str) -> Life {
    begin_all(door, vec![job], owner)
}

fn begin_all(door: &Door, jobs: Vec<Job>, owner: &str) -> Life {
    let watch = Watch::new();
    let (view_in, view) = watch::channel(Arc::default());
    let scheduling = Scheduling {
        jobs: jobs.into_iter().map(Arc::new).collect(),
        store: Arc::new(door.clone()),
        meters: watch.meters.clone(),
        view: Arc::new(view_in),
        owner: owner.to_owned(),
        origin: "gen1@here".to_owned(),
        tracer: Arc::new(NoTracer),
    };
    let scheduler = watch.start("JobScheduler", move || JobScheduler::new(scheduling));
    Life { watch, scheduler, view }
}

fn sent_slots(lasting: &Lasting) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, task) in lasting.sent() {
        *counts.entry(task.id).or_insert(0) += 1;
    }
    counts
}

fn states(lasting: &Lasting) -> Vec<RunState> {
    lasting.runs_of("purge").iter().map(|run| run.state).collect()
}

/// So many slots, one after the other, without a hole.
fn without_holes(runs: &[Run]) -> bool {
    runs.windows(2).all(|two| two[1].slot.since(two[0].slot) == secs(10))
}

async fn tell(life: &Life, run: &Run, word: Word) {
    let news = News {
        worker: Some("sms@h1".into()),
        ..News::new(run.id.clone(), word, Clock.now().wall)
    };
    life.scheduler.send(TasksHeard(vec![news])).await.unwrap();
}

#[test]
fn a_task_is_sent_when_it_is_due_and_followed_to_its_end() {
    live(async {
        let lasting = Arc::default();
        let door = Door::new(&lasting, "one");
        let life = begin(&door, job(&door), "one");
        until("two are sent", || lasting.sent().len() == 2).await;
        for (at, task) in lasting.sent() {
            let slot = Wall::from_micros(at.as_micros() / 10_000_000 * 10_000_000);
            assert!(at.since(slot) <= Duration::from_millis(300), "a tick late at most");
            assert_eq!(
                (task.name.as_str(), task.args, task.priority),
                ("sms.purge", vec![json!(30)], Some(3))
            );
            assert_eq!((task.origin.as_deref(), task.expires), (Some("gen1@here"), None));
        }
        let first = lasting.runs_of("purge").remove(0);
        for word in [Word::Received, Word::Started, Word::Succeeded, Word::Succeeded] {
            tell(&life, &first, word).await;
        }
        until("it is done", || states(&lasting)[0] == RunState::Succeeded).await;
        let count = |state| {
            let label = RunLabel {
                job: "purge".to_owned(),
                state,
            };
            life.watch.meters.jobs.runs.get_or_create(&label).get()
        };
        assert_eq!((count("succeeded"), count("started")), (1, 1), "each counted once");
        let status = life.view.borrow()[0].clone();
        assert!(status.next.unwrap().due > Clock.now().wall);
        assert_eq!(
            (status.timing.as_str(), status.queue.as_deref()),
            ("every 10s", Some("sms"))
        );
    });
}

#[test]
fn while_the_broker_is_away_the_newest_waits_and_what_expires_is_not_sent() {
    live(async {
        let lasting = Arc::default();
        let door = Door::new(&lasting, "one");
        let away = |name| if name == "send" { Fate::Fails } else { Fate::Works };
        door.fare(away);
        let mut once = job(&door);
        once.plan.missed = Missed::Once;
        let life = begin(&door, once, "one");
        pass(secs(35)).await;
        door.fare(|_| Fate::Works);
        until("one is sent", || !lasting.sent().is_empty()).await;
        let states = states(&lasting);
        assert_eq!(
            states.iter().filter(|state| **state == RunState::Superseded).count(),
            states.len() - 1
        );
        drop(life);
    });
    live(async {
        let lasting = Arc::default();
        let door = Door::new(&lasting, "one");
        door.fare(|name| if name == "send" { Fate::Fails } else { Fate::Works });
        let mut short = job(&door);
        short.expires = Some(Span::from_secs(4));
        let _life = begin(&door, short, "one");
        until("one has expired", || states(&lasting).contains(&RunState::Expired)).await;
        let run = lasting.runs_of("purge").remove(0);
        let took = run.ended_at.unwrap().since(run.slot);
        assert!(took >= secs(4) && took < secs(5), "{took:?}");
        assert!(run.why.unwrap().contains("on purpose"));
    });
}

/// The broker was away for long, and each run is wanted: they are sent in their order, and only the first one tried again.
#[test]
fn those_that_wait_for_the_broker_wait_in_line() {
    live(async {
        let lasting: Arc<Lasting> = Arc::default();
        let door = Door::new(&lasting, "one");
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        door.fare(move |name| {
            let sends = name == "send";
            counted.fetch_add(usize::from(sends), SeqCst);
            if sends { Fate::Fails } else { Fate::Works }
        });
        let _life = begin(&door, job(&door), "one");
        pass(secs(600)).await;
        let tried = tries.load(SeqCst);
        assert!(
            (100..200).contains(&tried),
            "once in five seconds or so, not once for each that waits: {tried}"
        );
        door.fare(|_| Fate::Works);
        until("all are sent", || lasting.sent().len() >= 60).await;
        let sent: Vec<String> = lasting.sent().into_iter().map(|(_, task)| task.id).collect();
        let runs: Vec<String> = lasting.runs_of("purge").iter().map(|run| run.id.to_string()).collect();
        assert_eq!(sent, runs, "in their order");
    });
}

#[test]
fn what_is_sent_and_cannot_be_noted_is_not_sent_again() {
    live(async {
        let lasting: Arc<Lasting> = Arc::default();
        let door = Door::new(&lasting, "one");
        door.fare(|name| if name == "hear" { Fate::Fails } else { Fate::Works });
        let _life = begin(&door, job(&door), "one");
        pass(secs(120)).await;
        assert!(states(&lasting).iter().all(|state| *state == RunState::Claimed));
        door.fare(|_| Fate::Works);
        until("it is noted", || states(&lasting).contains(&RunState::Sent)).await;
        let sent = sent_slots(&lasting);
        assert!(sent.len() >= 12 && sent.values().all(|count| *count == 1), "{sent:?}");
    });
}

/// The store tells of a run that is not sent, and while its answer is on the way it is sent and noted.
#[test]
fn an_answer_that_is_overtaken_makes_nothing_be_sent_again() {
    sends_each_once_where_adopting_takes(3);
}

/// The answer takes so long that the store is to be asked again before: what was noted since the first question stays noted.
#[test]
fn an_answer_that_is_overtaken_by_the_next_question_makes_nothing_be_sent_again() {
    sends_each_once_where_adopting_takes(12);
}

fn sends_each_once_where_adopting_takes(seconds: u64) {
    live(async move {
        let lasting: Arc<Lasting> = Arc::default();
        let door = Door::new(&lasting, "one");
        door.fare(move |name| match name {
            "send" => Fate::IsSlow(1),
            "adopt" => Fate::IsSlow(seconds),
            _ => Fate::Works,
        });
        let mut often = job(&door);
        often.plan.timing = Timing::Every(Span::from_secs(1));
        let _life = begin(&door, often, "one");
        pass(secs(120)).await;
        let sent = sent_slots(&lasting);
        assert!(sent.len() > 60 && sent.values().all(|count| *count == 1), "{sent:?}");
    });
}

/// While the broker is asked the run cannot give way; once it has said no, it does.
#[test]
fn what_the_broker_did_not_take_gives_way_to_what_was_due_meanwhile() {
    live(async {
        let lasting: Arc<Lasting> = Arc::default();
        let door = Door::new(&lasting, "one");
        door.fare(|name| {
            if name == "send" {
                Fate::FailsLate(25)
            } else {
                Fate::Works
            }
        });
        let mut once = job(&door);
        once.plan.missed = Missed::Once;
        let _life = begin(&door, once, "one");
        until("the first has given way", || {
            states(&lasting).first() == Some(&RunState::Superseded)
        })
        .await;
        assert!(states(&lasting).len() > 1);
    });
}

/// A broker that takes longer than the job's interval is slow, and no reason to give up what it may just be taking.
#[test]
fn what_the_broker_is_just_taking_is_not_superseded() {
    live(async {
        let lasting: Arc<Lasting> = Arc::default();
        let door = Door::new(&lasting, "one");
        door.fare(|name| if name == "send" { Fate::IsSlow(25) } else { Fate::Works });
        let mut once = job(&door);
        once.plan.missed = Missed::Once;
        let _life = begin(&door, once, "one");
        pass(secs(300)).await;
        let (sent, superseded) = (lasting.sent().len(), RunState::Superseded);
        let noted = states(&lasting)
            .iter()
            .filter(|state| **state == RunState::Sent)
            .count();
        assert!(sent >= 10 && noted >= sent - 1, "{sent} sent, {noted} noted");
        assert!(states(&lasting).contains(&superseded), "those that waited gave way");
    });
}

#[test]
fn as_many_runs_as_may_overlap() {
    live(async {
        let lasting = Arc::default();
        let door = Door::new(&lasting, "one");
        let mut limited = job(&door);
        limited.overlap = Some(1);
        let life = begin(&door, limited, "one");
        until("one is sent and two are skipped", || states(&lasting).len() == 3).await;
        assert_eq!(states(&lasting), [RunState::Sent, RunState::Skipped, RunState::Skipped]);
        tell(&life, &lasting.runs_of("purge")[0], Word::Failed).await;
        until("the next one runs", || states(&lasting).last() == Some(&RunState::Sent)).await;
    });
}

#[test]
fn what_nobody_speaks_of_is_lost_and_no_longer_in_the_way() {
    live(async {
        let lasting = Arc::default();
        let door = Door::new(&lasting, "one");
        let mut limited = job(&door);
        (limited.overlap, limited.lost_after) = (Some(1), Span::from_secs(30));
        let life = begin(&door, limited, "one");
        until("the first is lost", || {
            states(&lasting).first() == Some(&RunState::Lost)
        })
        .await;
        until("another one is sent", || lasting.sent().len() == 2).await;
        // It was not lost after all.
        tell(&life, &lasting.runs_of("purge")[0], Word::Succeeded).await;
        until("it is done", || states(&lasting)[0] == RunState::Succeeded).await;
    });
}

#[test]
fn a_task_of_its_own_is_run_and_its_panic_is_its_own() {
    struct Bad;
    #[async_trait::async_trait]
    impl Task for Bad {
        fn spec(&self) -> TaskSpec {
            TaskSpec::new("headcount.bad")
        }
        async fn run(&self, _: Call) -> Outcome {
            panic!("on purpose")
        }
    }

    /// Asks for another try, as often as it is let.
    struct Fickle;
    #[async_trait::async_trait]
    impl Task for Fickle {
        fn spec(&self) -> TaskSpec {
            TaskSpec::new("headcount.fickle")
        }
        async fn run(&self, call: Call) -> Outcome {
            match call.info.retries {
                2 => Outcome::Success(json!(2)),
                _ => Outcome::Retry {
                    failure: Failure::builtin("ConnectionError", "not now"),
                    after: None,
                },
            }
        }
    }

    /// Takes longer than it may.
    struct Slow;
    #[async_trait::async_trait]
    impl Task for Slow {
        fn spec(&self) -> TaskSpec {
            TaskSpec {
                time_limit: Some(secs(2)),
                ..TaskSpec::new("headcount.slow")
            }
        }
        async fn run(&self, _: Call) -> Outcome {
            pass(secs(1_000)).await;
            Outcome::Success(json!(null))
        }
    }

    live(async {
        let tasks = [
            (Arc::new(Ping) as SharedTask, false, RunState::Succeeded, None),
            (
                Arc::new(Ping),
                true,
                RunState::Failed,
                Some("TypeError: headcount.ping() takes 0"),
            ),
            (
                Arc::new(Bad),
                false,
                RunState::Failed,
                Some("RuntimeError: the task panicked: on purpose"),
            ),
            (Arc::new(Fickle), false, RunState::Succeeded, None),
            (Arc::new(Slow), false, RunState::Failed, Some("TimeLimitExceeded: 2")),
        ];
        for (task, with_args, state, why) in tasks {
            let lasting: Arc<Lasting> = Arc::default();
            let door = Door::new(&lasting, "one");
            let mut own = job(&door);
            own.way = Way::Own(task);
            if !with_args {
                own.args.clear();
                own.kwargs.clear();
            }
            let life = begin(&door, own, "one");
            until("it has run", || {
                states(&lasting).first().is_some_and(|state| !state.is_open())
            })
            .await;
            let run = lasting.runs_of("purge").remove(0);
            assert_eq!(run.state, state, "{run:?}");
            let said = run.why.as_deref().unwrap_or_default();
            assert!(why.is_none_or(|why| said.starts_with(why)), "{said}");
            assert!(run.started_at.is_some() && run.runtime.is_some());
            assert_eq!(life.watch.restarts("JobScheduler"), 0);
        }
    });
}

#[test]
fn a_night_without_it_by_each_policy() {
    for (missed, more) in [(Missed::Skip, 0), (Missed::Once, 1), (Missed::All, 2_880)] {
        let lasting: Arc<Lasting> = Arc::default();
        let door = Door::new(&lasting, "one");
        let nightly = || {
            let mut nightly = job(&door);
            (nightly.plan.missed, nightly.plan.timing) = (missed, Timing::Every(Span::from_secs(1_000)));
            nightly
        };
        let until_now = live(async {
            let _life = begin(&door, nightly(), "one");
            pass(secs(2_500)).await;
            door.world.stop();
            lasting.sent().len()
        });
        live(async {
            pass(secs(8 * 3_600)).await;
            door.world.go_on();
            // Never just on time, whenever the test began.
            while Clock.now().wall.as_micros() / 1_000_000 % 1_000 < 100 {
                pass(secs(50)).await;
            }
            let _life = begin(&door, nightly(), "one");
            pass(secs(40)).await;
            let sent = lasting.sent().len() - until_now;
            match missed {
                Missed::Skip | Missed::Once => assert_eq!(sent, more, "{missed:?}"),
                Missed::All => assert!((28..=30).contains(&sent), "{sent}"),
            }
            let last = lasting.runs_of("purge").pop().unwrap();
            let expected = if missed == Missed::Skip {
                RunState::Skipped
            } else {
                RunState::Sent
            };
            assert_eq!(last.state, expected);
        });
    }
}

fn missed(life: &Life) -> u64 {
    let label = JobLabel {
        job: "purge".to_owned(),
    };
    life.watch.meters.jobs.slots_missed.get_or_create(&label).get()
}

#[test]
fn slots_are_missed_once_however_often_the_store_fails() {
    for policy in [Missed::Skip, Missed::Once] {
        let lasting: Arc<Lasting> = Arc::default();
        let door = Door::new(&lasting, "one");
        let patient = || {
            let mut patient = job(&door);
            patient.plan.missed = policy;
            patient
        };
        live(async {
            let _life = begin(&door, patient(), "one");
            until("one is sent", || !lasting.sent().is_empty()).await;
            door.world.stop();
        });
        live(async {
            pass(secs(3_600)).await;
            door.world.go_on();
            let before = lasting.runs_of("purge").pop().unwrap().slot;
            let since = || lasting.runs_of("purge").into_iter().find(|run| run.slot > before);
            door.fare(|name| if name == "claim" { Fate::Fails } else { Fate::Works });
            let life = begin(&door, patient(), "one");
            pass(secs(120)).await;
            assert_eq!(missed(&life), 0, "nothing is decided before the store has it");
            door.fare(|_| Fate::Works);
            until("they are counted", || missed(&life) > 0).await;
            let first = since().unwrap();
            let between = first.slot.since(before).as_secs() / 10;
            // One that is just on time is run, whatever is wanted of those before it.
            let run = u64::from(first.state != RunState::Skipped);
            assert_eq!(missed(&life), between - run, "{policy:?}");
        });
    }
}

/// Each of two finds the same slots missed; they are passed over by the one whose claim counts.
#[test]
fn slots_are_missed_for_one_of_two() {
    let lasting: Arc<Lasting> = Arc::default();
    let doors = [Door::new(&lasting, "one"), Door::new(&lasting, "two")];
    let patient = |door: &Door| {
        let mut patient = job(door);
        patient.plan.missed = Missed::Once;
        patient
    };
    live(async {
        let _life = begin(&doors[0], patient(&doors[0]), "one");
        until("one is sent", || !lasting.sent().is_empty()).await;
        doors[0].world.stop();
    });
    live(async {
        pass(secs(3_600)).await;
        doors[0].world.go_on();
        let before = lasting.runs_of("purge").pop().unwrap().slot;
        // Both have looked before one of them claims.
        let lives = [(&doors[0], "one"), (&doors[1], "two")].map(|(door, owner)| {
            door.fare(|name| if name == "claim" { Fate::IsSlow(1) } else { Fate::Works });
            begin(door, patient(door), owner)
        });
        pass(secs(5)).await;
        let first = lasting
            .runs_of("purge")
            .into_iter()
            .find(|run| run.slot > before)
            .unwrap();
        let between = first.slot.since(before).as_secs() / 10;
        assert_eq!(lives.iter().map(missed).sum::<u64>(), between - 1);
    });
}

#[test]
fn a_stop_waits_for_what_is_just_being_sent_and_leaves_the_rest_claimed() {
    live(async {
        let lasting: Arc<Lasting> = Arc::default();
        let door = Door::new(&lasting, "one");
        let life = begin(&door, job(&door), "one");
        until("one is sent", || lasting.sent().len() == 1).await;
        life.scheduler.send(Finish).await.unwrap();
        assert_eq!(states(&lasting), [RunState::Sent]);
        pass(secs(60)).await;
        assert_eq!(lasting.sent().len(), 1, "nothing is begun any more");
    });
    live(async {
        let lasting: Arc<Lasting> = Arc::default();
        let door = Door::new(&lasting, "one");
        door.fare(|name| if name == "send" { Fate::Fails } else { Fate::Works });
        let life = begin(&door, job(&door), "one");
        until("one is claimed", || states(&lasting) == [RunState::Claimed]).await;
        life.scheduler.send(Finish).await.unwrap();
        assert_eq!(states(&lasting), [RunState::Claimed]);
        door.fare(|_| Fate::Works);
        let _next = begin(&door, job(&door), "one");
        until("the next life sends it", || {
            states(&lasting).first() == Some(&RunState::Sent)
        })
        .await;
    });
}

/// A generator of chance that is the same each time (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Two schedulers share a store. Calls of either fail, are done and not heard of, panic, or are the last thing that it
/// ever does; another one takes the place of who died, sooner or later. In the end each slot has one run, and each run is
/// sent, by who holds it and as long as it is not known to be sent: so twice only where its sender broke off between the
/// broker's yes and its being noted.
#[test]
fn each_slot_once_whoever_dies_whenever() {
    let (mut deaths, mut repeats, mut slots) = (0, 0, 0);
    for seed in 0..16 {
        live(async {
            let lasting: Arc<Lasting> = Arc::default();
            let mut chance = Chance(seed);
            let broken_off = Arc::new(AtomicUsize::new(0));
            let mut names = 0..;
            let mut spawn = |chance: &mut Chance, harm: bool| {
                let owner = format!("{seed}-{:?}", names.next());
                let door = Door::new(&lasting, &owner);
                if harm {
                    door.fare(harm_of(chance.below(u64::MAX), broken_off.clone()));
                }
                let life = begin(&door, job(&door), &owner);
                (door, life)
            };
            let mut two = [spawn(&mut chance, true), spawn(&mut chance, true)];
            for _ in 0..60 {
                pass(secs(1 + chance.below(20))).await;
                for one in &mut two {
                    if one.0.world.is_stopped() && chance.below(2) == 0 {
                        deaths += 1;
                        *one = spawn(&mut chance, true);
                    }
                }
            }
            for one in &mut two {
                one.0.world.stop();
                *one = spawn(&mut chance, false);
            }
            pass(PAST_A_LEASE + PAST_A_LEASE).await;
            let runs = lasting.runs_of("purge");
            assert!(without_holes(&runs), "seed {seed}: a hole");
            assert_eq!(lasting.wrong(), Vec::<String>::new(), "seed {seed}");
            let sent = sent_slots(&lasting);
            assert!(
                runs.iter().all(|run| run.state == RunState::Sent),
                "seed {seed}: {:?}",
                states(&lasting)
            );
            assert!(runs.iter().all(|run| sent.contains_key(run.id.as_str())), "seed {seed}");
            assert_eq!(sent.len(), runs.len(), "seed {seed}: something else was sent");
            let twice: usize = sent.values().map(|count| count - 1).sum();
            // The two that were stopped in the end may have been in the middle of something too.
            let excuses = broken_off.load(SeqCst) + 2;
            assert!(twice <= excuses, "seed {seed}: {twice} repeats, {excuses} excuses");
            (repeats, slots) = (repeats + twice, slots + runs.len());
        });
    }
    println!("{slots} slots, {deaths} deaths, {repeats} messages sent again, each under the id of its run");
    assert!(
        deaths > 80 && slots > 1_000 && repeats > 0,
        "{deaths} deaths, {slots} slots, {repeats} repeats"
    );
}

/// What befalls one scheduler, until it dies. Whatever may break off a sending between the broker's yes and its being noted
/// is counted.
fn harm_of(seed: u64, broken_off: Arc<AtomicUsize>) -> impl FnMut(&'static str) -> Fate + Send + 'static {
    let mut chance = Chance(seed);
    move |name| {
        let fate = match chance.below(100) {
            0 => Fate::KillsBefore,
            1 => Fate::KillsAfter,
            2 | 3 => Fate::Fails,
            4 | 5 => Fate::FailsAfterwards,
            6 if name != "send" => Fate::PanicsAfterwards,
            _ => Fate::Works,
        };
        let breaks_off = match fate {
            Fate::KillsBefore | Fate::KillsAfter | Fate::PanicsAfterwards => true,
            Fate::FailsAfterwards => name == "send",
            Fate::Fails | Fate::FailsLate(_) | Fate::Works | Fate::IsSlow(_) => false,
        };
        broken_off.fetch_add(usize::from(breaks_off), SeqCst);
        fate
    }
}

/// Without deaths and failures nothing is ever sent twice.
#[test]
fn two_in_good_health_send_each_once() {
    live(async {
        let lasting: Arc<Lasting> = Arc::default();
        let _two = ["one", "two"].map(|owner| {
            let door = Door::new(&lasting, owner);
            let life = begin(&door, job(&door), owner);
            (door, life)
        });
        pass(secs(3_000)).await;
        let sent = sent_slots(&lasting);
        assert_eq!(lasting.wrong(), Vec::<String>::new());
        assert!(sent.len() >= 299 && sent.values().all(|count| *count == 1));
        assert!(without_holes(&lasting.runs_of("purge")));
    });
}

/// Both switches of a year in three zones. Two schedulers on one store die some time before, and others come some time
/// after: each slot of each pattern has been sent once, those in between as well.
#[test]
fn each_slot_once_over_every_switch_of_the_clocks() {
    const PATTERNS: [&str; 4] = ["30 2 * * *", "*/15 1-3 * * *", "30 * * * *", "@hourly"];
    let switches = [
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25T01:00:00Z"),
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ];
    for (zone, switch) in switches {
        let minutes = |minutes: i64| {
            let switch: Timestamp = switch.parse().unwrap();
            Wall::from_micros(switch.as_microsecond() + minutes * 60_000_000)
        };
        let timing = |pattern: &str| Timing::Cron {
            cron: Cron::parse(pattern).unwrap(),
            zone: TimeZone::get(zone).unwrap(),
        };
        let lasting: Arc<Lasting> = Arc::default();
        // From, until, and by whom; no slot lies at any of these minutes.
        for (from, until, owners) in [(-97, -57, ["one", "two"]), (23, 93, ["three", "four"])] {
            skip_to(minutes(from));
            live(async {
                let lives = owners.map(|owner| {
                    let door = Door::new(&lasting, owner);
                    let jobs = PATTERNS.map(|pattern| {
                        let mut job = job(&door);
                        (job.plan.job, job.plan.timing) = (pattern.to_owned(), timing(pattern));
                        job
                    });
                    let life = begin_all(&door, jobs.to_vec(), owner);
                    (door, life)
                });
                pass(minutes(until).since(minutes(from))).await;
                lives.iter().for_each(|(door, _)| door.world.stop());
            });
        }
        assert_eq!(lasting.wrong(), Vec::<String>::new(), "{zone} {switch}");
        for pattern in PATTERNS {
            let next = |slot: &Wall| timing(pattern).next(*slot);
            let expected = std::iter::successors(next(&minutes(-97)), next).take_while(|slot| *slot <= minutes(93));
            let mut slots: Vec<Wall> = lasting.runs_of(pattern).iter().map(|run| run.slot).collect();
            slots.sort();
            assert_eq!(slots, expected.collect::<Vec<_>>(), "{pattern} in {zone} at {switch}");
        }
        let sent = sent_slots(&lasting);
        let runs: usize = PATTERNS.iter().map(|pattern| lasting.runs_of(pattern).len()).sum();
        assert!(
            runs > 10 && sent.len() == runs && sent.values().all(|count| *count == 1),
            "{zone} {switch}: {sent:?}"
        );
    }
}
