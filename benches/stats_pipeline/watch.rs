//! What a contestant, MongoDB and Elasticsearch's stand-in use while it runs.

use std::time::{Duration, Instant};

use headcount_testkit::Process;

use crate::usage::{Idle, processor_s};

/// A process is looked at so often: so much at its end is not seen.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// No contestant takes so long.
const END_WITHIN: Duration = Duration::from_secs(1_200);

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) seconds: f64,
    /// Seconds on a core: of the contestant, of `mongod`, and of this process, which is Elasticsearch's stand-in.
    pub(crate) own_s: f64,
    pub(crate) mongod_s: f64,
    pub(crate) elastic_s: f64,
    /// What the machine had to spare, 0 to 1.
    pub(crate) idle: f64,
    pub(crate) peak_kb: u64,
}

/// Of one run.
pub(crate) struct Watch {
    began: Instant,
    idle: Idle,
    mongod: String,
    mongod_s: f64,
    elastic_s: f64,
}

impl Watch {
    pub(crate) fn begin(mongod: &Process) -> Self {
        let mongod = mongod.pid().to_string();
        Watch {
            mongod_s: processor_s(&mongod),
            elastic_s: processor_s("self"),
            idle: Idle::begin(),
            began: Instant::now(),
            mongod,
        }
    }

    /// Without a process of its own: what this one does is the contestant.
    pub(crate) fn end_here(&self) -> Seen {
        let seen = self.end();
        Seen {
            own_s: seen.elastic_s,
            elastic_s: 0.0,
            ..seen
        }
    }

    pub(crate) fn end(&self) -> Seen {
        Seen {
            seconds: self.began.elapsed().as_secs_f64(),
            mongod_s: processor_s(&self.mongod) - self.mongod_s,
            elastic_s: processor_s("self") - self.elastic_s,
            idle: self.idle.share(),
            ..Seen::default()
        }
    }

    /// Looks at a process until it has ended.
    pub(crate) fn to_its_end(&self, process: &Process) -> Seen {
        let (mut own_s, mut peak_kb) = (0.0, 0);
        let pid = process.pid();
        let status = loop {
            if let Some(ended) = process.ended() {
                break ended;
            }
            // What has ended meanwhile has no memory any more.
            if let Some(peak) = peak_kb_of(pid) {
                (own_s, peak_kb) = (processor_s(&pid.to_string()), peak);
            }
            assert!(self.began.elapsed() < END_WITHIN, "too slow\n{}", process.last_lines());
            std::thread::sleep(LOOK_EVERY);
        };
        assert!(status.success(), "{status}\n{}", process.last_lines());
        Seen {
            own_s,
            peak_kb,
            ..self.end()
        }
    }
}

/// The most memory that a process has had resident; none where it has ended.
fn peak_kb_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Of a process and its children: seconds on a core so far, and the most memory that they have had resident, added up.
pub(crate) fn family(process: &Process) -> (f64, u64) {
    let pid = process.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .chain([pid]);
    all.fold((0.0, 0), |(seconds, peak), pid| {
        (
            seconds + processor_s(&pid.to_string()),
            peak + peak_kb_of(pid).unwrap_or(0),
        )
    })
}
