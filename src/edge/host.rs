//! This machine, as whatever is sent away names it.

/// What the system calls it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
