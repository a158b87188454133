//! The commands that a node answers, each as a Celery worker does.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::endings::{postrun, settle};
use super::events;
use super::machine::Node;
use super::rate::Rate;
use super::schedule::Due;
use super::spec::MAX_SHOWN;
use super::step::{Output, RunId, Settle};
use crate::celery::result::State;
use crate::celery::task::{iso8601, repr};
use crate::celery::{Command, answer};
use crate::time::Now;

/// What a node says its pool is; no worker of Celery's says that.
pub const POOL: &str = "headcount:tasks";

/// The longest time limit that a command may set: 100 years.
const MAX_LIMIT: Duration = Duration::from_secs(100 * 366 * 86_400);

/// What a command answers: a value, or a Python exception that it would have raised, as Python shows it.
type Answer = Result<Value, String>;

impl Node {
    pub(super) fn command(&mut self, now: Now, command: Command, out: &mut Vec<Output>) {
        // A Lamport clock: later than what was heard, and than all before.
        self.clock = self.clock.max(command.clock).saturating_add(1);
        if command.method == "shutdown" && self.spec.obeys_shutdown {
            // As a worker, which leaves at once and does not answer.
            out.push(Output::Shutdown);
            return;
        }
        let answered = match self.obey(now, &command.method, &command.arguments, out) {
            Ok(answered) => answered,
            Err(raised) => json!({"error": raised}),
        };
        if let Some(to) = command.answer_to {
            let clock = self.tick_clock();
            out.push(Output::Publish(answer(to, &self.spec.hostname, clock, &answered)));
        }
    }

    fn obey(&mut self, now: Now, method: &str, arguments: &Map<String, Value>, out: &mut Vec<Output>) -> Answer {
        match method {
            "ping" => Ok(ok("pong")),
            "stats" => Ok(self.stats(now)),
            "active" | "dump_active" => Ok(self.active(arguments.get("safe") == Some(&Value::Bool(true)))),
            "reserved" | "dump_reserved" => Ok(self.shown_reserved()),
            "scheduled" | "dump_schedule" => Ok(self.shown_scheduled()),
            "registered" | "dump_tasks" => Ok(self.registered(arguments)),
            "revoked" | "dump_revoked" => Ok(json!(self.revoked.ids(now.mono))),
            "active_queues" => Ok(self.active_queues()),
            "conf" | "dump_conf" => Ok(Value::Object(self.spec.about.settings.clone())),
            "report" => Ok(ok(&self.report())),
            "clock" => Ok(json!({"clock": self.clock})),
            "query_task" => Ok(self.query(arguments)),
            "hello" => Ok(self.hello(now, arguments)),
            "heartbeat" => self.beat_on_demand(now, arguments, out),
            "revoke" => self.obey_revoke(
                now,
                arguments,
                arguments.get("terminate") == Some(&Value::Bool(true)),
                out,
            ),
            "terminate" => self.obey_revoke(now, arguments, true, out),
            "rate_limit" => self.set_rate_limit(arguments),
            "time_limit" => self.set_time_limit(arguments),
            "enable_events" => Ok(ok(self.switch_events(true))),
            "disable_events" => Ok(ok(self.switch_events(false))),
            "pool_grow" => self.resize(arguments, true),
            "pool_shrink" => self.resize(arguments, false),
            // Sent to all workers, as it often is, it must not take the one who watches them.
            "shutdown" => Ok(no(
                "Headcount does not obey shutdown: set obey_shutdown = true in its [[node]]",
            )),
            // Elections are held by gossip, in which Headcount does not take part; a worker without it keeps silent too.
            "election" => Ok(Value::Null),
            "autoscale" => Err("ValueError('Autoscale not enabled')".into()),
            "pool_restart" => Err("ValueError('Pool restarts not enabled')".into()),
            "add_consumer" | "cancel_consumer" => Ok(no(
                "Headcount consumes the queue of its [[node]], and no other: change its configuration",
            )),
            unknown => Err(format!("KeyError({})", repr(&json!(unknown)))),
        }
    }

    fn stats(&self, now: Now) -> Value {
        json!({
            "total": self.totals,
            "pid": self.spec.about.pid,
            "clock": self.clock.to_string(),
            "uptime": now.mono.since(self.started.mono).as_secs(),
            "pool": {
                "implementation": POOL,
                "max-concurrency": self.concurrency,
                "processes": [self.spec.about.pid],
                "max-tasks-per-child": "N/A",
                "put-guarded-by-semaphore": false,
                "timeouts": [0, 0],
                // No pipes lead to processes that would have to be written to.
                "writes": "N/A",
            },
            "broker": self.spec.about.broker,
            "prefetch_count": self.prefetch(),
            "rusage": self.usage.map_or_else(|| json!("N/A"), |usage| json!(usage)),
        })
    }

    /// `safe`: the arguments as people read them, and shortened.
    fn active(&self, safe: bool) -> Value {
        let pid = self.spec.about.pid;
        let shown = |run: &super::call::Run| {
            let mut shown = run.call.shown(&self.spec.hostname, Some((run.since.wall, pid)));
            if safe {
                shown["args"] = json!(run.call.message.argsrepr());
                shown["kwargs"] = json!(run.call.message.kwargsrepr());
            }
            shown
        };
        self.running.values().map(shown).collect()
    }

    fn shown_reserved(&self) -> Value {
        let waiting = self.reserved.iter();
        within(waiting.map(|call| call.shown(&self.spec.hostname, None)))
    }

    fn shown_scheduled(&self) -> Value {
        let shown = |(eta, call): (crate::time::Wall, &super::call::Call)| {
            // The priority of Celery's timer, which is the same for all of them.
            json!({"eta": iso8601(eta), "priority": 6, "request": call.shown(&self.spec.hostname, None)})
        };
        within(self.scheduled.calls().map(shown))
    }

    fn registered(&self, arguments: &Map<String, Value>) -> Value {
        let asked = arguments.get("taskinfoitems").and_then(Value::as_array);
        let wants_rate = asked.is_none_or(|items| items.is_empty() || items.contains(&json!("rate_limit")));
        let shown = |task: &super::TaskSpec| match &task.rate_limit {
            Some(rate) if wants_rate => format!("{} [rate_limit={rate}]", task.name),
            _ => task.name.to_owned(),
        };
        self.tasks.values().map(shown).collect()
    }

    fn active_queues(&self) -> Value {
        let queue = &self.spec.queue;
        json!([{
            "name": queue,
            "exchange": {
                "name": queue, "type": "direct", "arguments": null, "durable": true, "passive": false,
                "auto_delete": false, "delivery_mode": null, "no_declare": false,
            },
            "routing_key": queue, "queue_arguments": null, "binding_arguments": null, "consumer_arguments": null,
            "durable": true, "exclusive": false, "auto_delete": false, "no_ack": false, "alias": null, "bindings": [],
            "no_declare": null, "expires": null, "message_ttl": null, "max_length": null, "max_length_bytes": null,
            "max_priority": self.spec.max_priority,
        }])
    }

    fn report(&self) -> String {
        let about = &self.spec.about;
        let named = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut text = format!(
            "\nsoftware -> headcount:{}\n\
             platform -> system:{} arch:{}\n            kernel version:{} imp:Rust\n\
             loader   -> headcount\n\
             settings -> transport:{} results:{}\n\n",
            about.version,
            about.system,
            about.arch,
            about.kernel,
            named(about.broker.get("transport")),
            named(about.settings.get("result_backend")),
        );
        for (key, value) in &about.settings {
            text.push_str(&format!("{key}: {}\n", repr(value)));
        }
        text
    }

    fn query(&self, arguments: &Map<String, Value>) -> Value {
        let ids: BTreeSet<String> = texts(arguments.get("ids")).into_iter().collect();
        let (hostname, pid) = (self.spec.hostname.as_str(), self.spec.about.pid);
        let mut found = Map::new();
        let asked = |call: &&super::call::Call| ids.contains(&call.message.id);
        let mut note = |call: &super::call::Call, state: &str, running| {
            let shown = call.shown(hostname, running);
            found.insert(call.message.id.clone(), json!([state, shown]));
        };
        for call in self.scheduled.calls().map(|(_, call)| call).filter(asked) {
            note(call, "scheduled", None);
        }
        for call in self.reserved.iter().filter(asked) {
            note(call, "reserved", None);
        }
        for run in self.running.values().filter(|run| asked(&&run.call)) {
            note(&run.call, "active", Some((run.since.wall, pid)));
        }
        Value::Object(found)
    }

    /// What a worker asks the others when it starts (mingle): both tell what they have revoked.
    fn hello(&mut self, now: Now, arguments: &Map<String, Value>) -> Value {
        if arguments.get("from_node").and_then(Value::as_str) == Some(self.spec.hostname.as_str()) {
            return Value::Null;
        }
        // A list of ids, or (before Celery 5.7) an object with their times.
        let theirs = match arguments.get("revoked") {
            Some(Value::Object(ids)) => ids.keys().cloned().collect(),
            other => texts(other),
        };
        for id in theirs {
            self.revoked.add(&id, now.mono);
        }
        let clock = self.tick_clock();
        json!({"revoked": self.revoked.ids(now.mono), "clock": clock})
    }

    fn beat_on_demand(&mut self, now: Now, arguments: &Map<String, Value>, out: &mut Vec<Output>) -> Answer {
        if let Some(argument) = arguments.keys().next() {
            let text = format!("heartbeat() got an unexpected keyword argument '{argument}'");
            return Err(format!("TypeError({})", repr(&json!(text))));
        }
        let mut fields = events::software(&self.spec);
        // Celery's constant, which is not the true interval.
        fields.insert("freq".into(), json!(5));
        self.event("worker-heartbeat", now, Value::Object(fields), out);
        Ok(Value::Null)
    }

    fn obey_revoke(
        &mut self,
        now: Now,
        arguments: &Map<String, Value>,
        terminate: bool,
        out: &mut Vec<Output>,
    ) -> Answer {
        let Some(given) = arguments.get("task_id") else {
            return missing("revoke", "task_id");
        };
        let signum = signum(arguments.get("signal"))?;
        let ids = texts(Some(given));
        for id in &ids {
            self.revoked.add(id, now.mono);
        }
        if !terminate {
            // Those that wait are dropped when their turn comes, which is now: `advance` follows each step.
            let listed: Vec<String> = ids.iter().map(|id| repr(&json!(id))).collect();
            let shown = if listed.is_empty() {
                "set()".to_owned()
            } else {
                format!("{{{}}}", listed.join(", "))
            };
            self.drop_scheduled(now, out);
            return Ok(ok(&format!("tasks {shown} flagged as revoked")));
        }
        // As a worker does, it names whom it has: also those that wait, which are not run.
        let ids: BTreeSet<String> = ids.into_iter().collect();
        let waiting = self.reserved.iter().map(|call| &call.message.id);
        let waiting = waiting.chain(self.scheduled.ids()).filter(|id| ids.contains(*id));
        let mut terminated: Vec<String> = waiting.cloned().collect();
        self.drop_scheduled(now, out);
        let known = |(run, it): (&RunId, &super::call::Run)| ids.contains(&it.call.message.id).then_some(*run);
        let running: Vec<RunId> = self.running.iter().filter_map(known).collect();
        for id in running {
            let Some(run) = self.running.remove(&id) else { continue };
            out.push(Output::Stop(id));
            terminated.push(run.call.message.id.clone());
            let postrun = postrun(now, &run, State::Revoked);
            self.revoke(now, run.call, Some(signum), out);
            out.push(postrun);
        }
        Ok(ok(&if terminated.is_empty() {
            "terminate: tasks unknown".to_owned()
        } else {
            format!("terminate: {}", terminated.join(", "))
        }))
    }

    /// Those that wait for their time and are revoked need not wait.
    fn drop_scheduled(&mut self, now: Now, out: &mut Vec<Output>) {
        let revoked = self.scheduled.take(|id| self.revoked.contains(id, now.mono));
        for due in revoked {
            match due {
                Due::Call(call) => self.revoke(now, *call, None, out),
                // It comes again, with all that is needed to tell who waits for it.
                Due::Left(tag) => settle(tag, Settle::Requeue, out),
            }
        }
    }

    fn set_rate_limit(&mut self, arguments: &Map<String, Value>) -> Answer {
        let Some(name) = arguments.get("task_name").and_then(Value::as_str) else {
            return missing("rate_limit", "task_name");
        };
        let Some(given) = arguments.get("rate_limit") else {
            return missing("rate_limit", "rate_limit");
        };
        let text = match given {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let rate = match Rate::parse(&text) {
            Ok(rate) => rate,
            Err(error) => return Ok(no(&format!("Invalid rate limit string: {error}"))),
        };
        let Some(task) = self.tasks.get_mut(name) else {
            return Ok(no("unknown task"));
        };
        let said = if rate.is_some() {
            "new rate limit set successfully"
        } else {
            "rate limit disabled successfully"
        };
        task.rate_limit = rate;
        self.buckets.remove(task.name);
        Ok(ok(said))
    }

    fn set_time_limit(&mut self, arguments: &Map<String, Value>) -> Answer {
        let Some(name) = arguments.get("task_name").and_then(Value::as_str) else {
            return missing("time_limit", "task_name");
        };
        let limit = |key: &str| match arguments.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .filter(|seconds| *seconds >= 0.0)
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .map(|limit| Some(limit.min(MAX_LIMIT)).filter(|limit| !limit.is_zero()))
                .ok_or_else(|| format!("ValueError('{key} is no number of seconds')")),
        };
        let (soft, hard) = (limit("soft")?, limit("hard")?);
        let Some(task) = self.tasks.get_mut(name) else {
            return Ok(no("unknown task"));
        };
        (task.soft_time_limit, task.time_limit) = (soft, hard);
        Ok(ok("time limits set successfully"))
    }

    fn switch_events(&mut self, on: bool) -> &'static str {
        let was = std::mem::replace(&mut self.task_events, on);
        match (was, on) {
            (false, true) => "task events enabled",
            (true, true) => "task events already enabled",
            (true, false) => "task events disabled",
            (false, false) => "task events already disabled",
        }
    }

    fn resize(&mut self, arguments: &Map<String, Value>, grow: bool) -> Answer {
        let by = arguments.get("n").map_or(Some(1), Value::as_u64);
        let Some(by) = by.and_then(|by| u16::try_from(by).ok()) else {
            return Err("ValueError('n is no number of tasks')".into());
        };
        if grow {
            self.concurrency = self.concurrency.saturating_add(by).min(super::spec::MAX_CONCURRENCY);
            Ok(ok("pool will grow"))
        } else {
            self.concurrency = self.concurrency.saturating_sub(by).max(1);
            Ok(ok("pool will shrink"))
        }
    }
}

/// The first of these that are within [`MAX_SHOWN`].
fn within(shown: impl Iterator<Item = Value>) -> Value {
    let mut left = MAX_SHOWN;
    let fits = |one: &Value| match left.checked_sub(one.to_string().len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    shown.take_while(fits).collect()
}

fn ok(text: &str) -> Value {
    json!({"ok": text})
}

fn no(text: &str) -> Value {
    json!({"error": text})
}

fn missing(command: &str, argument: &str) -> Answer {
    let text = format!("{command}() missing 1 required positional argument: '{argument}'");
    Err(format!("TypeError({})", repr(&json!(text))))
}

/// The number of a signal that a worker may be told to send to a task's process, `SIGTERM` where none is named. A task here is no
/// process: it is ended whichever it is, and its event tells the number.
fn signum(signal: Option<&Value>) -> Result<u8, String> {
    /// Those that end a process, by their numbers on Linux.
    const SIGNALS: [(&str, u8); 9] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("ALRM", 14),
        ("TERM", 15),
    ];
    let known =
        |fits: &dyn Fn(&(&str, u8)) -> bool| SIGNALS.iter().find(|signal| fits(signal)).map(|(_, number)| *number);
    let found = match signal {
        None | Some(Value::Null) => Some(15),
        Some(Value::String(name)) => {
            let name = name.to_ascii_uppercase();
            let short = name.strip_prefix("SIG").unwrap_or(&name);
            known(&|(known, _)| *known == short)
        }
        Some(number) => known(&|(_, known)| number.as_u64() == Some(u64::from(*known))),
    };
    found.ok_or_else(|| format!("ValueError({})", repr(&json!("signal is none that ends a task"))))
}

/// One text, or a list of texts.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}
