//! What is done to a world, and when.

use compact_str::CompactString;

use super::calendar::Moment;
use super::worker::{Consuming, Slot};

/// One thing that is done to the world.
#[derive(Clone, Debug)]
pub enum Action {
    /// A new process starts in a slot, where a name is given under that name.
    Start(Slot, Option<CompactString>),
    /// SIGKILL: the process is gone, and the broker sees its socket close.
    Kill(Slot),
    /// The machine loses its power: the broker takes the connection for standing until then.
    PowerLoss(Slot, Moment),
    /// SIGSTOP, or a pause: the process does nothing until then.
    Freeze(Slot, Moment),
    /// A solo pool runs a task until then.
    Busy(Slot, Moment),
    /// The connection is reset; the worker is back at that moment.
    Reset(Slot, Moment),
    /// The network holds the worker's packets until then; the broker may close the connection meanwhile, at the second
    /// moment.
    Hold(Slot, Moment, Moment),
    /// SIGTERM: a goodbye, and the process ends at that moment, its tasks done.
    Shutdown(Slot, Moment),
    /// The worker ceases to consume, or consumes again.
    Consume(Slot, Consuming),
    /// A fleet's queue holds so many messages.
    Backlog(u16, u64),
    /// A worker's wall clock is set by so many seconds.
    StepClock(Slot, f64),
    /// So many of the worker's beats are lost.
    LoseBeats(Slot, u32),
    /// The broker is out until then, for these workers and for the monitor.
    BrokerOut(Moment, Vec<Slot>),
    /// The broker blocks publishers until then.
    Block(Moment),
    /// The monitor's machine is paused until then.
    PauseMonitor(Moment),
}
