//! A broker with made-up workers, which fails, blocks and hangs as a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_core::celery::RawMessage;

use super::{age, lock, ms, secs};
use crate::ports::{Broker, BrokerError, Connection, Inspect, Lane, Presence, Probe, Queue, Reply, SessionEnd};

/// What becomes of questions to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tests) enum Asking {
    Works,
    Fails,
    Hangs,
}

/// One worker, as it really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tests) enum Truth {
    Well,
    /// Its process is gone.
    Dead,
    /// It stands still.
    Frozen,
}

/// How things are.
pub(in crate::tests) struct State {
    pub(in crate::tests) workers: BTreeMap<CompactString, Truth>,
    /// Why a session cannot be opened.
    pub(in crate::tests) closed: Option<BrokerError>,
    /// The session that stands breaks.
    pub(in crate::tests) breaks: bool,
    /// Reading the next message panics.
    pub(in crate::tests) panics: bool,
    pub(in crate::tests) canary: bool,
    pub(in crate::tests) blocked: bool,
    pub(in crate::tests) asking: Asking,
    /// Messages to be put among the events.
    pub(in crate::tests) garbage: Vec<Vec<u8>>,
    pub(in crate::tests) sessions: Vec<Duration>,
    pub(in crate::tests) probes: usize,
    /// Who answers a question to all.
    pub(in crate::tests) answer: Vec<CompactString>,
    /// It shows no connections, and this is why; and the first target of each probe is left out, if it is well.
    pub(in crate::tests) hides: Option<&'static str>,
}

pub(in crate::tests) struct FakeBroker(Mutex<State>);

impl FakeBroker {
    pub(in crate::tests) fn new(workers: &[&str]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            workers: workers.iter().map(|name| ((*name).into(), Truth::Well)).collect(),
            closed: None,
            breaks: false,
            panics: false,
            canary: true,
            blocked: false,
            asking: Asking::Works,
            garbage: Vec::new(),
            sessions: Vec::new(),
            probes: 0,
            answer: Vec::new(),
            hides: None,
        })))
    }

    pub(in crate::tests) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    pub(in crate::tests) fn set(&self, worker: &str, truth: Truth) {
        self.state().workers.insert(worker.into(), truth);
    }

    async fn ask(&self) -> Result<(), BrokerError> {
        let asking = self.state().asking;
        match asking {
            Asking::Works => Ok(()),
            Asking::Fails => Err(lost()),
            Asking::Hangs => std::future::pending().await,
        }
    }
}

pub(in crate::tests) fn lost() -> BrokerError {
    BrokerError::Lost("as the test says".to_owned())
}

fn amqp(body: &[u8]) -> RawMessage<'_> {
    RawMessage::Amqp {
        content_type: "application/json",
        content_encoding: "utf-8",
        compression: "",
        body,
    }
}

fn beat(hostname: &str) -> String {
    // Sent now: a worker whose clock stands still has events that are ever older.
    let sent = 1_768_000_000.5 + age().as_secs_f64();
    format!(
        r#"{{"type":"worker-heartbeat","hostname":"{hostname}","pid":7,"clock":1,"utcoffset":0,"timestamp":{sent},
            "freq":2.0,"active":0,"processed":0,"loadavg":[0,0,0],"sw_ident":"py-celery","sw_ver":"5.7.0","sw_sys":"Linux"}}"#
    )
}

#[async_trait]
impl Broker for FakeBroker {
    fn name(&self) -> &str {
        "main"
    }

    fn address(&self) -> String {
        "amqp://127.0.0.1//".to_owned()
    }

    async fn listen(&self, lane: &mut (dyn Lane + Send)) -> SessionEnd {
        {
            let mut state = self.state();
            state.sessions.push(age());
            if let Some(error) = &state.closed {
                return SessionEnd::NotOpened(error.clone());
            }
        }
        lane.opened();
        let mut blocked = false;
        for step in 0_u64.. {
            {
                let mut state = self.state();
                assert!(!std::mem::take(&mut state.panics), "reading panics, as the test says");
                if std::mem::take(&mut state.breaks) {
                    return SessionEnd::Broke(lost());
                }
                if state.blocked != blocked {
                    blocked = state.blocked;
                    lane.blocked(blocked);
                }
                for body in state.garbage.drain(..) {
                    lane.message(amqp(&body));
                }
                let well = state.workers.iter().filter(|(_, truth)| **truth == Truth::Well);
                if step % 20 == 0 && !blocked {
                    well.for_each(|(name, _)| lane.message(amqp(beat(name).as_bytes())));
                }
                lane.batch_end();
                if step % 10 == 0 && state.canary {
                    lane.canary(ms(1));
                }
            }
            tokio::time::sleep(ms(100)).await;
        }
        unreachable!("a session ends as it is told")
    }

    async fn probe(&self, targets: &[CompactString], timeout: Duration) -> Result<Vec<Probe>, BrokerError> {
        self.state().probes += 1;
        self.ask().await?;
        let all_well = {
            let state = self.state();
            targets
                .iter()
                .all(|target| state.workers.get(target) == Some(&Truth::Well))
        };
        tokio::time::sleep(if all_well { ms(2) } else { timeout }).await;
        let state = self.state();
        let probe = |target: &CompactString| {
            let truth = state.workers.get(target).copied().unwrap_or(Truth::Dead);
            Probe {
                hostname: target.clone(),
                answer: (truth == Truth::Well).then_some(ms(2)),
                answers: u32::from(truth == Truth::Well),
                presence: match truth {
                    _ if state.hides.is_some() => Presence::Unknown,
                    Truth::Dead => Presence::Gone,
                    Truth::Well | Truth::Frozen => Presence::Here,
                },
            }
        };
        let mut probes: Vec<Probe> = targets.iter().map(probe).collect();
        if state.hides.is_some() && probes.first().is_some_and(|probe| probe.answers > 0) {
            probes.remove(0);
        }
        Ok(probes)
    }

    fn hides_presence(&self) -> Option<&'static str> {
        self.state().hides
    }

    async fn inspect(&self, ask: Inspect) -> Result<Vec<Reply>, BrokerError> {
        self.ask().await?;
        tokio::time::sleep(ask.timeout.min(secs(1))).await;
        let answer = self.state().answer.clone();
        let reply = |hostname| Reply {
            hostname,
            body: serde_json::json!({"ok": "pong"}),
            latency: ms(1),
        };
        Ok(answer.into_iter().map(reply).collect())
    }

    async fn queues(&self, _: &[CompactString]) -> Result<Vec<Queue>, BrokerError> {
        self.ask().await?;
        Ok(Vec::new())
    }

    async fn connections(&self) -> Result<Option<Vec<Connection>>, BrokerError> {
        Ok(None)
    }
}
