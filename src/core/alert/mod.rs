//! From verdicts to what people are told: incidents, and the notices that they owe.

pub mod book;
pub mod correlate;
mod cover;
pub mod debounce;
pub mod incident;
pub mod notice;
pub mod text;

pub use book::IncidentBook;
pub use correlate::{Change, Correlator};
pub use incident::{
    Cover, Evidence, Incident, IncidentId, Kind, Missing, Notification, Scene, Severity, Shared, Told, same_missing,
};
pub use notice::{Notice, Turn};
