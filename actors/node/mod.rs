//! Headcount as a Celery node of its own.
//!
//! | file | subject |
//! |---|---|
//! | `run.rs` | the loop: session, clock, commands, tasks |
//! | `session.rs` | one session after the other |
//! | `mingle.rs` | what it asks the others at the start of a session |
//! | `runs.rs` | tasks while they run |
//! | `conclude.rs` | what is done at the end of a call, in order |
//! | `hooks.rs` | whoever looks on: the log, the metrics |
//! | `vitals.rs` | what it tells of the machine and of the process |
//! | `tasks/` | Headcount's own tasks |

mod conclude;
pub mod hooks;
mod mingle;
mod run;
pub(crate) mod runs;
mod session;
pub mod tasks;
mod vitals;

pub(crate) use run::run;

use headcount_core::node::{NodeSpec, Signal};

use crate::ports::SharedBroker;
use crate::ports::node::{SharedHook, SharedNodeBroker, SharedResultStore, SharedTask};

/// Where results go.
#[derive(Clone)]
pub enum Results {
    /// Nowhere.
    Nowhere,
    /// To the queue that the message names (`rpc`).
    Rpc,
    /// To a store (`redis`).
    Store(SharedResultStore),
}

/// What a node is connected to.
#[derive(Clone)]
pub struct Joined {
    /// The broker.
    pub broker: SharedNodeBroker,
    /// The same broker, to ask the others there; none asks nobody.
    pub neighbours: Option<SharedBroker>,
    /// The node. Its tasks are taken from [`Joined::tasks`].
    pub spec: NodeSpec,
    /// Where results go.
    pub results: Results,
    /// Its tasks.
    pub tasks: Vec<SharedTask>,
    /// Whoever looks on.
    pub hooks: Vec<SharedHook>,
}

impl Joined {
    fn signal(&self, signal: &Signal) {
        for hook in &self.hooks {
            hook.on(&self.spec.hostname, signal);
        }
    }
}
