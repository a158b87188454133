//! What processes use, as Linux tells.

use std::collections::BTreeMap;
use std::time::Instant;

/// The kernel counts processor time in ticks of 10 ms for whoever reads `/proc`.
const TICKS_A_SECOND: f64 = 100.0;

/// Seconds on a core so far, all threads together. `who` is a pid or `self`.
pub(crate) fn processor_s(who: &str) -> f64 {
    of_stat(&std::fs::read_to_string(format!("/proc/{who}/stat")).expect("a running process"))
}

/// The same of each thread of a process, by its id.
pub(crate) fn of_threads(pid: u32) -> BTreeMap<String, f64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let threads = threads.filter_map(|thread| {
        let thread = thread.ok()?;
        // One that has just ended has no file.
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        Some((thread.file_name().into_string().ok()?, of_stat(&stat)))
    });
    threads.collect()
}

fn of_stat(stat: &str) -> f64 {
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("utime and stime"))
        .sum();
    ticks as f64 / TICKS_A_SECOND
}

/// The most memory that a process has had resident, in KiB.
pub(crate) fn peak_rss_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .expect("the kernel tells it")
}

/// How much of all cores nobody has used since `begin`.
pub(crate) struct Idle {
    began: Instant,
    idle_s: f64,
}

impl Idle {
    pub(crate) fn begin() -> Self {
        Idle {
            began: Instant::now(),
            idle_s: Self::idle_s(),
        }
    }

    /// From 0 (every core was busy) to 1.
    pub(crate) fn share(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        (Self::idle_s() - self.idle_s) / (self.began.elapsed().as_secs_f64() * cores)
    }

    fn idle_s() -> f64 {
        let stat = std::fs::read_to_string("/proc/stat").expect("Linux");
        let idle = stat
            .split_whitespace()
            .nth(4)
            .and_then(|ticks| ticks.parse::<f64>().ok());
        idle.expect("the first line, of all cores") / TICKS_A_SECOND
    }
}
