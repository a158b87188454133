//! The fleet's detector on a virtual clock.

mod flapping;
mod losses;
mod numbers;
mod own_health;
mod properties;
mod signals;
mod stalled;
mod work;
mod world;
