//! `[[node]]`: Headcount as a Celery node of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Recipient;
use actix_rt::Arbiter;
use compact_str::CompactString;
use headcount_actors::celery_node::CeleryNode;
use headcount_actors::messages::LeaveBroker;
use headcount_actors::node::hooks::{Count, Log};
use headcount_actors::node::tasks::Pipelines;
use headcount_actors::node::{Joined, Results, tasks};
use headcount_actors::ports::node::SharedTask;
use headcount_actors::ports::{SharedBroker, StatusView};
use headcount_actors::supervise::Post;
use headcount_core::celery::broker_url::BrokerUrl;
use headcount_core::node::{About, NodeSpec};
use headcount_edge::host::host_name;
use headcount_edge::{brokers, results, stats as pipelines};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::system::uname;
use serde_json::{Map, Value, json};

use super::error::RunError;
use super::plan::{MAILBOX, Plan};
use crate::config::{self, ResultBackend, Settings};

/// A node that runs: its thread, and how it is told to leave.
pub(super) struct RunningNode {
    /// Its broker, and its name there.
    pub(super) broker: String,
    pub(super) node: String,
    pub(super) thread: Arbiter,
    pub(super) leave: Recipient<LeaveBroker>,
}

impl Plan<'_> {
    /// Everything of a node that can be refused, before anything runs.
    pub(super) fn prepare_nodes(
        &self,
        brokers: &BTreeMap<CompactString, SharedBroker>,
        view: &StatusView,
    ) -> Result<Vec<Joined>, RunError> {
        self.settings
            .nodes
            .iter()
            .map(|node| self.prepare_node(node, brokers, view))
            .collect()
    }

    fn prepare_node(
        &self,
        node: &config::Node,
        brokers: &BTreeMap<CompactString, SharedBroker>,
        view: &StatusView,
    ) -> Result<Joined, RunError> {
        let refused = |why| RunError::Node {
            name: node.name.clone(),
            why,
        };
        // The configuration was checked: a node's broker is one of those that are configured.
        let own = self
            .settings
            .brokers
            .iter()
            .find(|broker| broker.config.name == node.broker.as_str());
        let own = own.unwrap_or_else(|| unreachable!("a node on a broker that is not configured"));
        let broker = brokers::open_node(&own.config, node.visibility_timeout).map_err(refused)?;
        let (results, backend) = results_of(node, &own.config.url).map_err(refused)?;
        let about = About {
            pid: std::process::id(),
            utc_offset: -f64::from(TimeZone::system().to_offset(Timestamp::now()).seconds()) / 3600.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            system: uname().sysname().to_string_lossy().into_owned(),
            arch: format!("{}bit, ELF", usize::BITS),
            kernel: uname().release().to_string_lossy().into_owned(),
            broker: broker.shown(),
            settings: shown(node, &own.config, backend),
        };
        let tasks = self.own_tasks(brokers, node.broker.clone(), view)?;
        Ok(Joined {
            spec: NodeSpec {
                hostname: hostname(node),
                queue: node.queue.clone(),
                concurrency: node.concurrency,
                prefetch_multiplier: node.prefetch_multiplier,
                max_priority: node.max_priority,
                task_events: node.task_events,
                obeys_shutdown: node.obey_shutdown,
                tasks: Vec::new(),
                routes: own.config.routes(),
                about,
            },
            hooks: vec![
                Arc::new(Log::new(broker.name())),
                Arc::new(Count::new(self.meters.clone(), broker.name())),
            ],
            neighbours: brokers.get(&node.broker).cloned(),
            broker,
            results,
            tasks,
        })
    }

    /// Headcount's own tasks, for its nodes and its jobs. `own` is the broker that is meant where a call names none.
    pub(super) fn own_tasks(
        &self,
        brokers: &BTreeMap<CompactString, SharedBroker>,
        own: CompactString,
        view: &StatusView,
    ) -> Result<Vec<SharedTask>, RunError> {
        Ok(all_tasks(brokers, own, view, self.pipelines()?))
    }

    /// The pipelines, opened once more to be looked at; none where there are none.
    fn pipelines(&self) -> Result<Option<Pipelines>, RunError> {
        let open = |config: &pipelines::Config| {
            let name = config.name.clone();
            pipelines::open(config).map_err(|why| RunError::Stats { name, why })
        };
        let all: Vec<_> = self.settings.stats.iter().map(open).collect::<Result<_, _>>()?;
        let meters = self.meters.clone();
        Ok((!all.is_empty()).then_some(Pipelines { all, meters }))
    }

    /// Starts a node in a thread of its own, so that its tasks keep nobody from judging.
    pub(super) fn node(&self, joined: Joined) -> RunningNode {
        let (broker, node) = (joined.broker.name().to_owned(), joined.spec.hostname.clone());
        let thread = Arbiter::new();
        let post = Post {
            kind: "CeleryNode",
            of: Some(joined.spec.hostname.as_str().into()),
            mailbox: MAILBOX,
        };
        let addr = self
            .supervision
            .start(&thread.handle(), post, move || CeleryNode::new(joined));
        RunningNode {
            broker,
            node,
            thread,
            leave: addr.recipient(),
        }
    }
}

/// The whole name of a node: what it is called, on this host.
pub(super) fn hostname(node: &config::Node) -> String {
    if node.name.contains('@') {
        node.name.clone()
    } else {
        format!("{}@{}", node.name, host_name())
    }
}

/// The names of the nodes that this Headcount runs on a broker: it does not count itself.
pub(super) fn own_names(settings: &Settings, broker: &str) -> Vec<CompactString> {
    let nodes = settings.nodes.iter().filter(|node| node.broker == broker);
    nodes.map(|node| hostname(node).into()).collect()
}

/// Where results go, and what Celery calls that.
fn results_of(node: &config::Node, broker_url: &str) -> Result<(Results, &'static str), brokers::OpenError> {
    let redis = |url: &str| results::open(url, node.result_expires).map(|store| (Results::Store(store), "redis"));
    match &node.results {
        ResultBackend::None => Ok((Results::Nowhere, "disabled")),
        ResultBackend::Rpc => Ok((Results::Rpc, "rpc")),
        ResultBackend::Redis(url) => redis(url),
        ResultBackend::Auto => match BrokerUrl::parse(broker_url)? {
            BrokerUrl::Amqp(_) => Ok((Results::Rpc, "rpc")),
            BrokerUrl::Redis(_) | BrokerUrl::Sentinel(_) => redis(broker_url),
        },
    }
}

/// The settings as the command `conf` shows them, by Celery's names: without secrets.
fn shown(node: &config::Node, broker: &brokers::Config, backend: &str) -> Map<String, Value> {
    let url = BrokerUrl::parse(&broker.url)
        .map(|url| url.redacted())
        .unwrap_or_default();
    let settings = json!({
        "broker_url": url,
        "result_backend": backend,
        "result_expires": node.result_expires.as_secs(),
        "task_queues": [node.queue],
        // Where what Headcount sends goes that names no queue, and that no route leads elsewhere.
        "task_default_queue": "celery",
        "broker_transport_options": {"visibility_timeout": node.visibility_timeout.as_secs()},
        "task_routes": broker.routes.iter().map(route).collect::<Vec<_>>(),
        "task_queue_max_priority": node.max_priority,
        "worker_concurrency": node.concurrency,
        "worker_prefetch_multiplier": node.prefetch_multiplier,
        "worker_send_task_events": node.task_events,
        "accept_content": ["json", "msgpack", "yaml"],
        "result_serializer": "json",
        "timezone": "UTC",
        "enable_utc": true,
    });
    settings.as_object().cloned().unwrap_or_default()
}

/// A route, as a pair of Celery's list of them.
fn route(route: &brokers::RouteConfig) -> Value {
    let options = [
        ("queue", route.queue.as_deref().map(Value::from)),
        ("exchange", route.exchange.as_deref().map(Value::from)),
        ("routing_key", route.routing_key.as_deref().map(Value::from)),
        ("priority", route.priority.map(Value::from)),
    ];
    let given = options
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    json!([route.task, given.collect::<Map<_, _>>()])
}

fn all_tasks(
    brokers: &BTreeMap<CompactString, SharedBroker>,
    own: CompactString,
    view: &StatusView,
    pipelines: Option<Pipelines>,
) -> Vec<SharedTask> {
    let mut all: Vec<SharedTask> = vec![
        Arc::new(tasks::Ping),
        Arc::new(tasks::Echo),
        Arc::new(tasks::Sleep),
        Arc::new(tasks::StatusOf(view.clone())),
        Arc::new(tasks::Probe {
            brokers: brokers.clone(),
            own,
        }),
    ];
    if let Some(pipelines) = pipelines {
        all.push(Arc::new(tasks::StatsRun(pipelines.clone())));
        all.push(Arc::new(tasks::StatsStatus(pipelines)));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use headcount_actors::meters::Meters;

    use super::*;

    #[test]
    fn the_tasks_have_the_names_that_a_configuration_may_use() {
        let (_, view) = tokio::sync::watch::channel(Arc::default());
        let names = |pipelines| -> BTreeSet<&str> {
            let all = all_tasks(&BTreeMap::new(), "main".into(), &view, pipelines);
            all.iter().map(|task| task.spec().name).collect()
        };
        assert_eq!(names(None), tasks::NAMES.into_iter().collect());
        let pipelines = Pipelines {
            all: Vec::new(),
            meters: Meters::default(),
        };
        let with_stats = tasks::NAMES.into_iter().chain(tasks::STATS_NAMES).collect();
        assert_eq!(names(Some(pipelines)), with_stats);
    }
}
