//! Headcount without its actors, on a virtual clock.
//!
//! [`rig::Rig`] runs the daemon's own detector, incident book and debouncer; what surrounds it is a simulated world, or a
//! recorded trace.

pub mod baselines;
pub mod headcount;
pub mod replay;
pub mod report;
pub mod rig;
pub mod rng;
pub mod run;
pub mod scenarios;
pub mod score;
pub mod stage;
pub mod trace;
pub mod truth;
pub mod world;
