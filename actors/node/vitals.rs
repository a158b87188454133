//! What a node tells of the machine and of the process.

use headcount_core::node::Usage;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// The machine's load, as the beats tell it.
pub(super) fn load() -> Option<[f64; 3]> {
    /// The kernel's fixed point.
    const SCALE: f64 = 65_536.0;
    Some(rustix::system::sysinfo().loads.map(|load| {
        // To two places, as the kernel itself shows it.
        (load as f64 / SCALE * 100.0).round() / 100.0
    }))
}

/// What the process has used, as the command `stats` tells it.
pub(super) fn usage() -> Option<Usage> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    Some(Usage {
        utime: seconds(usage.user_time()),
        stime: seconds(usage.system_time()),
        maxrss: usage.max_rss(),
        ixrss: usage.shared_integral(),
        idrss: usage.unshared_data_integral(),
        isrss: usage.unshared_stack_integral(),
        minflt: usage.minor_page_faults(),
        majflt: usage.major_page_faults(),
        nswap: usage.full_swaps(),
        inblock: usage.block_reads(),
        oublock: usage.block_writes(),
        msgsnd: usage.ipc_sends(),
        msgrcv: usage.ipc_receives(),
        nsignals: usage.signals(),
        nvcsw: usage.voluntary_context_switches(),
        nivcsw: usage.involuntary_context_switches(),
    })
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}
