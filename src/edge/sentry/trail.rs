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

    pub(super) fn list(&self) -> Vec<Breadcrumb> {
        self.0.iter().cloned().collect()
    }
}
