//! Events of tasks that many workers run: the ways that a task goes, in the shares that a company may see, and in messages as
//! workers send them (`tests/data/celery-wire`).

use crate::heartbeat::{FLEETS, hostname};
use crate::wire::Message;

/// Names of tasks of each fleet: [`FLEETS`] times as many in all.
const NAMES: usize = 10;
/// How often each worker runs each of its tasks before the messages come again.
const TURNS: usize = 4;
/// Tasks that are under way at the same time.
const UNDER_WAY: usize = 500;
/// One task in so many fails, and one in so many is tried again; each shows an exception and its traceback.
const ONE_FAILS_OF: usize = 20;
const EXCEPTIONS: [&str; 5] = [
    "ValueError('no number: \\'+49 30 1234x\\'')",
    "TimeoutError('the gateway has not answered within 30 s')",
    "KeyError('customer')",
    "ConnectionResetError(104, 'Connection reset by peer')",
    "OperationalError('server closed the connection unexpectedly')",
];
/// What each frame of a traceback looks like, and how many one has.
const FRAME: &str = "  File \\\"/srv/app/venv/lib/python3.13/site-packages/celery/app/trace.py\\\", line 585, in trace_task\\n    R = retval = \
                     fun(*args, **kwargs)\\n                 ^^^^^^^^^^^^^^^^^^^^\\n";
const FRAMES: usize = 6;

/// All messages of all tasks, once. Each id is used once in them, so that they may be sent again and again.
pub(crate) fn tasks(workers: usize) -> Vec<Message> {
    let runs: Vec<Run> = (0..workers * NAMES * TURNS)
        .map(|number| Run {
            number,
            worker: number % workers,
            turn: number / workers,
        })
        .collect();
    let mut messages = Vec::new();
    for together in runs.chunks(UNDER_WAY) {
        messages.extend(together.iter().map(Run::sent));
        messages.extend(together.iter().map(|run| run.received(0)));
        for run in together {
            messages.push(run.attempt());
            if run.is_retried() {
                messages.push(run.received(1));
                messages.push(run.last_attempt());
            }
        }
    }
    messages
}

/// One task, from when it is sent to its end.
struct Run {
    number: usize,
    worker: usize,
    /// How manieth task of the worker it is.
    turn: usize,
}

impl Run {
    fn fails(&self) -> bool {
        (self.number + self.turn) % ONE_FAILS_OF == 7
    }

    fn is_retried(&self) -> bool {
        (self.number + self.turn) % ONE_FAILS_OF == 13
    }

    fn name(&self) -> String {
        format!("fleet{}.tasks.work_{}", self.worker % FLEETS, self.turn % NAMES)
    }

    fn uuid(&self) -> String {
        // Spread as a UUID's digits are.
        let spread = (self.number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            "{:08x}-{:04x}-4{:03x}-8a54-{:012x}",
            spread >> 32,
            spread & 0xffff,
            spread >> 16 & 0xfff,
            self.number
        )
    }

    fn beginning(&self, hostname: &str) -> String {
        format!(
            "{{\"hostname\": \"{hostname}\", \"utcoffset\": 0.0, \"pid\": {}, \"clock\": {}, \"uuid\": \"{}\", ",
            1_000 + self.worker,
            1_000_000 + self.number,
            self.uuid(),
        )
    }

    /// `seconds` after it was sent.
    fn end(&self, seconds: f64, kind: &str) -> String {
        format!(
            "\"timestamp\": {:.6}, \"type\": \"{kind}\"}}",
            1_795_486_743.0 + seconds
        )
    }

    /// What only those two events say that bear a name.
    fn about(&self, retries: u8) -> String {
        format!(
            "\"name\": \"{}\", \"args\": \"({}, '+49 30 1234567')\", \"kwargs\": \"{{'campaign': 'spring'}}\", \
             \"root_id\": \"{}\", \"parent_id\": null, \"retries\": {retries}, \"eta\": null, \"expires\": null, ",
            self.name(),
            self.number,
            self.uuid(),
        )
    }

    fn sent(&self) -> Message {
        let hostname = format!("gen{}@web{}", 100 + self.number % 7, self.number % 3);
        let fleet = self.worker % FLEETS;
        let body = self.beginning(&hostname)
            + &self.about(0)
            + &format!("\"queue\": \"fleet{fleet}\", \"exchange\": \"\", \"routing_key\": \"fleet{fleet}\", ")
            + &self.end(0.0, "task-sent");
        Message {
            routing_key: "task.sent",
            hostname,
            body,
            events: 1,
        }
    }

    fn received(&self, retries: u8) -> Message {
        let hostname = hostname(self.worker);
        let event = self.beginning(&hostname) + &self.about(retries) + &self.end(0.2, "task-received");
        multi(hostname, &[event])
    }

    /// Begun, and ended in some way.
    fn attempt(&self) -> Message {
        let hostname = hostname(self.worker);
        let end = if self.fails() {
            self.exception("", "task-failed")
        } else if self.is_retried() {
            self.exception("Retry in 30s: ", "task-retried")
        } else {
            self.succeeded()
        };
        multi(hostname, &[self.started(), end])
    }

    fn last_attempt(&self) -> Message {
        multi(hostname(self.worker), &[self.started(), self.succeeded()])
    }

    fn started(&self) -> String {
        self.beginning(&hostname(self.worker)) + &self.end(0.25 + self.number as f64 % 10.0, "task-started")
    }

    fn succeeded(&self) -> String {
        let runtime = 0.004 * (1 + self.number % 500) as f64;
        self.beginning(&hostname(self.worker))
            + &format!("\"result\": \"{}\", \"runtime\": {runtime:.17}, ", self.number)
            + &self.end(11.0 + runtime, "task-succeeded")
    }

    fn exception(&self, before: &str, kind: &str) -> String {
        let exception = EXCEPTIONS[self.number / ONE_FAILS_OF % EXCEPTIONS.len()];
        let frames = FRAME.repeat(FRAMES);
        self.beginning(&hostname(self.worker))
            + &format!(
                "\"exception\": \"{before}{}\", \"traceback\": \"Traceback (most recent call last):\\n{frames}{}\\n\", ",
                exception.replace('\\', "\\\\"),
                exception.replace('\\', "\\\\"),
            )
            + &self.end(12.0, kind)
    }
}

/// As workers send events of tasks: those that there are when the loop comes round.
fn multi(hostname: String, events: &[String]) -> Message {
    Message {
        routing_key: "task.multi",
        hostname,
        body: format!("[{}]", events.join(", ")),
        events: events.len() as u64,
    }
}
