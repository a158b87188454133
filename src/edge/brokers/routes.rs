//! `[[broker.routes]]`: where a task goes that is sent through the broker, as Celery's `task_routes`.

use headcount_core::celery::task::{MAX_PRIORITY, Pattern, Route, Routes};
use serde::Deserialize;

use super::MAX_WIRE_NAME;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The task's name, or a pattern for names.
    pub task: String,
    /// The queue.
    pub queue: Option<String>,
    /// The exchange.
    pub exchange: Option<String>,
    /// The routing key.
    pub routing_key: Option<String>,
    /// The priority.
    pub priority: Option<u8>,
}

impl RouteConfig {
    /// What is wrong with it, each with its key.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if let Err(why) = Pattern::parse(&self.task) {
            mistakes.push(("task", why.to_string()));
        }
        let names = [
            ("queue", &self.queue),
            ("exchange", &self.exchange),
            ("routing_key", &self.routing_key),
        ];
        for (key, name) in names {
            if let Some(name) = name.as_ref().filter(|name| !(1..=MAX_WIRE_NAME).contains(&name.len())) {
                mistakes.push((
                    key,
                    format!("expected 1 to {MAX_WIRE_NAME} bytes, found {}", name.len()),
                ));
            }
        }
        // Celery takes one without the other, and then sends to the queue as if it were not there.
        match (&self.exchange, &self.routing_key) {
            (Some(_), None) => mistakes.push(("exchange", "it means nothing without a routing_key".to_owned())),
            (None, Some(_)) => mistakes.push(("routing_key", "it means nothing without an exchange".to_owned())),
            (None, None) if self.queue.is_none() && self.priority.is_none() => {
                let why = "expected a queue, an exchange with its routing_key, or a priority";
                mistakes.push(("", why.to_owned()));
            }
            _ => {}
        }
        if self.priority.is_some_and(|priority| priority > MAX_PRIORITY) {
            mistakes.push(("priority", format!("expected 0 to {MAX_PRIORITY}")));
        }
        mistakes
    }
}

/// All of a broker, in their order; what [`RouteConfig::check`] finds fault with is left out.
pub(super) fn routes(tables: &[RouteConfig]) -> Routes {
    let read = |table: &RouteConfig| {
        let route = Route {
            queue: table.queue.clone(),
            exchange: table.exchange.clone(),
            routing_key: table.routing_key.clone(),
            priority: table.priority,
        };
        Some((Pattern::parse(&table.task).ok()?, route))
    };
    Routes::new(tables.iter().filter_map(read).collect())
}
