//! One session of looking at Flower's counts, and whether Flower hears at all.

use std::time::Duration;

use headcount_actors::ports::{BrokerError, Lane, SessionEnd};
use headcount_core::celery::RawMessage;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Flower;
use super::ask;
use super::beats::{self, Beats};
use super::rows::{self, Rows};

/// How often the counts are looked at: half of Celery's interval between beats, so that each is seen within a second and
/// no two are taken for one. Lowering it makes work for Flower, whose list it is each time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a look may take. A late one stops the clock that silences run on; this one ends the session.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// After so long without any event of any worker, it is asked whether Flower hears: with beats every 2 s, two were due of
/// everybody. Raising it delays the news that Flower is deaf, and must not reach the 15 s after which a silence is
/// believed.
const QUIET_AFTER: Duration = Duration::from_secs(5);

/// How long an open session looks for a sign before it ends: a round takes 1.0 s (measured), and the claim to hear lapses
/// after 2.5 s by itself, for a reason that would be told in less fitting words. A session that is not open has more time.
const SIGN_WITHIN: Duration = Duration::from_secs(2);

/// How long a sign that Flower hears is good for, before another is looked for.
const SIGN_LASTS: Duration = Duration::from_secs(5);

/// See [`headcount_actors::ports::Broker::listen`]. What takes the place of the canary is a look that shows that Flower
/// hears: without one nothing is claimed to be heard.
pub(super) async fn listen(flower: &Flower, lane: &mut (dyn Lane + Send)) -> SessionEnd {
    *flower.beats() = Beats::default();
    let mut open = false;
    let ended = watch(flower, lane, &mut open).await;
    // Nobody is taken for lively whom nobody listens to any more.
    *flower.beats() = Beats::default();
    match ended {
        BrokerError::Connect(why) if open => SessionEnd::Broke(BrokerError::Lost(why)),
        error if open => SessionEnd::Broke(error),
        error => SessionEnd::NotOpened(error),
    }
}

async fn watch(flower: &Flower, lane: &mut (dyn Lane + Send), open: &mut bool) -> BrokerError {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hearing = Hearing::new(Instant::now());
    let mut failed = false;
    let mut malformed = 0;
    loop {
        tick.tick().await;
        let asked = Instant::now();
        let Rows {
            rows,
            malformed: left_out,
        } = match look(flower).await {
            Ok(read) => read,
            // A connection that Flower had just closed is no outage; the next look will show.
            Err(BrokerError::Connect(_) | BrokerError::Lost(_)) if *open && !failed => {
                failed = true;
                continue;
            }
            Err(error) => return error,
        };
        failed = false;
        let now = Instant::now();
        let (events, heard, awaits) = {
            let mut beats = flower.beats();
            let mut events = Vec::new();
            beats.look(now, &rows, |row, news| events.extend(beats::event(row, news)));
            (events, beats.heard(), beats.awaits_anybody())
        };
        match hearing.judge(now, heard, awaits) {
            Judgement::Hears => {}
            Judgement::WaitAndSee => continue,
            Judgement::Doubtful { quiet } => {
                let within = if *open { SIGN_WITHIN } else { LOOK_WITHIN };
                match timeout(within, sign(flower, now)).await {
                    Ok(Some(sign)) => hearing.sign(Instant::now(), sign, flower),
                    Ok(None) | Err(_) => return deaf(quiet),
                }
            }
        }
        if !*open {
            *open = true;
            if let Err(error) = flower.asking.know_before(&flower.http).await {
                tracing::warn!(broker = flower.name, %error, "workers cannot be asked through Flower, only listened to: give it --auth or FLOWER_UNAUTHENTICATED_API, and the user here");
            }
            lane.opened();
        }
        // A row that is no worker stays in the list, and is counted when it comes; to the lane it is no event.
        for _ in std::mem::replace(&mut malformed, left_out)..left_out {
            lane.message(event(b"null"));
        }
        for body in &events {
            lane.message(event(body));
        }
        lane.canary(now.duration_since(asked));
        lane.batch_end();
    }
}

fn event(body: &[u8]) -> RawMessage<'_> {
    RawMessage::Amqp {
        content_type: "application/json",
        content_encoding: "utf-8",
        compression: "",
        body,
    }
}

async fn look(flower: &Flower) -> Result<Rows, BrokerError> {
    let body = flower.http.get("workers", &[("json", "1")], LOOK_WITHIN).await?;
    rows::read(&body)
}

/// What shows that Flower reaches its broker although no event comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// A worker has answered it.
    Answer,
    /// It has just asked a Redis for the lengths of queues.
    Broker,
}

/// What is quick comes first: while workers that may be dead are being asked, a round has to wait for Flower's threads.
async fn sign(flower: &Flower, now: Instant) -> Option<Sign> {
    let answer = flower.asking.last_answer();
    if answer.is_some_and(|answer| now.duration_since(answer) < QUIET_AFTER) {
        return Some(Sign::Answer);
    }
    if ask::queue_lengths(&flower.http)
        .await
        .is_ok_and(|lengths| lengths.show_the_broker())
    {
        return Some(Sign::Broker);
    }
    let round = ask::round(flower, now).await;
    round.is_ok_and(|round| round.anybody()).then_some(Sign::Answer)
}

fn deaf(quiet: Duration) -> BrokerError {
    BrokerError::Lost(format!(
        "Flower answers, and has heard no event of any worker for {} s, nor does it reach one: either its own connection to \
         the broker is lost, or all workers are gone",
        quiet.as_secs()
    ))
}

/// Whether Flower hears, as far as it can be told.
#[derive(Debug)]
struct Hearing {
    began: Instant,
    /// Until then the last sign is believed.
    believed: Option<Instant>,
    told_of_answers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Hears,
    /// Nothing has been heard yet, and not for long enough to doubt.
    WaitAndSee,
    /// It may be deaf: nothing has been heard for so long.
    Doubtful {
        quiet: Duration,
    },
}

impl Hearing {
    fn new(began: Instant) -> Self {
        Self {
            began,
            believed: None,
            told_of_answers: false,
        }
    }

    fn judge(&self, now: Instant, heard: Option<Instant>, awaits: bool) -> Judgement {
        let quiet = now.duration_since(heard.unwrap_or(self.began));
        let believed = self.believed.is_some_and(|until| now < until);
        match heard {
            // Silence is as it should be where everybody has left.
            _ if believed || !awaits => Judgement::Hears,
            Some(_) if quiet < QUIET_AFTER => Judgement::Hears,
            None if quiet < QUIET_AFTER => Judgement::WaitAndSee,
            _ => Judgement::Doubtful { quiet },
        }
    }

    fn sign(&mut self, now: Instant, sign: Sign, flower: &Flower) {
        self.believed = Some(now + SIGN_LASTS);
        if sign == Sign::Answer && !std::mem::replace(&mut self.told_of_answers, true) {
            tracing::warn!(
                broker = flower.name,
                "Flower hears no events, while workers answer it: they are judged by their answers alone; it may have to be \
                 restarted, or the workers send no heartbeats"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_doubted_when_nobody_is_heard_whose_silence_means_something() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut hearing = Hearing::new(start);
        let doubtful = |secs| Judgement::Doubtful {
            quiet: Duration::from_secs(secs),
        };
        assert_eq!(hearing.judge(at(4), None, true), Judgement::WaitAndSee);
        assert_eq!(hearing.judge(at(5), None, true), doubtful(5));
        assert_eq!(hearing.judge(at(0), None, false), Judgement::Hears);
        assert_eq!(hearing.judge(at(9), Some(at(5)), true), Judgement::Hears);
        assert_eq!(hearing.judge(at(10), Some(at(5)), true), doubtful(5));
        assert_eq!(hearing.judge(at(90), Some(at(5)), false), Judgement::Hears);
        hearing.believed = Some(at(15));
        assert_eq!(hearing.judge(at(14), Some(at(5)), true), Judgement::Hears);
        assert_eq!(hearing.judge(at(15), Some(at(5)), true), doubtful(10));
    }
}
