//! Headcount without its actors, on a virtual clock.
//!
//! [`rig::Rig`] runs the daemon's own detector, incident book and debouncer; what surrounds it is a simulated world, or a
//! recorded trace.

pub mod replay;
pub mod rig;
pub mod trace;
