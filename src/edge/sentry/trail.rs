//! What went before an error: the last things that Headcount said of level `WARN` and `INFO`.

use std::collections::VecDeque;
use std::time::SystemTime;

use sentry::protocol::{Breadcrumb, Level};

use super::report::Told;

/// The most that are kept.
const MAX_TRAIL: usize = 50;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trail(VecDeque<Breadcrumb>);

impl Trail {
    pub(super) fn add(&mut self, level: Level, target: &str, told: Told) {
        let (message, data) = told.crumb();
        if self.0.len() >= MAX_TRAIL {
            self.0.pop_front();
        }
        self.0.push_back(Breadcrumb {
            timestamp: SystemTime::now(),
            ty: "default".to_owned(),
            category: Some(target.to_owned()),
            level,
            message: Some(message),
            data,
        });
    }

    /// What was said until something happened: it may have waited since.
    pub(super) fn until(&self, at: SystemTime) -> Vec<Breadcrumb> {
        self.0.iter().filter(|crumb| crumb.timestamp <= at).cloned().collect()
    }
}
