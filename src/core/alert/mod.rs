//! From verdicts to what people are told: incidents, and the notices that they owe.

pub mod incident;
pub mod notice;
pub mod text;

pub use incident::{Evidence, Incident, IncidentId, Kind, Missing, Notification, Scene, Severity, Told};
pub use notice::{Notice, Turn};
