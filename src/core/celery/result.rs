//! What a task came to, as Celery's result backends keep it.

use serde::Serialize;
use serde_json::{Value, json};

use super::publication::{Keep, Publication, To};
use super::task::{TaskMessage, iso8601, repr};
use crate::time::Wall;

/// The largest reply, in bytes: what RabbitMQ takes as a message, since its version 4. A larger one would cost the node its session.
const MAX_REPLY: usize = 16 << 20;

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// It is done.
    Success,
    /// It has failed, and will not be tried again.
    Failure,
    /// It has failed, and will be tried again.
    Retry,
    /// It was revoked, terminated, or came too late.
    Revoked,
}

impl State {
    /// Celery's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Success => "SUCCESS",
            State::Failure => "FAILURE",
            State::Retry => "RETRY",
            State::Revoked => "REVOKED",
        }
    }
}

/// How the words of a panic begin.
const PANICKED: &str = "the task panicked: ";

/// An exception, as Python is told of it: where the class is known there, it is raised again.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The name of the class, such as `ValueError`.
    pub exc_type: &'static str,
    /// The module of the class, such as `builtins`.
    pub exc_module: &'static str,
    /// The arguments of the exception.
    pub exc_message: Vec<Value>,
}

impl Failure {
    /// One of Python's own exceptions, such as `ValueError`.
    pub fn builtin(exc_type: &'static str, message: impl Into<String>) -> Self {
        Self {
            exc_type,
            exc_module: "builtins",
            exc_message: vec![Value::String(message.into())],
        }
    }

    /// The arguments are not what the task takes.
    pub fn arguments(message: impl Into<String>) -> Self {
        Self::builtin("TypeError", message)
    }

    /// A task of Headcount's own panicked. Python knows no such thing.
    pub fn panicked(message: &str) -> Self {
        Self::builtin("RuntimeError", format!("{PANICKED}{message}"))
    }

    /// Whether it is one.
    pub fn is_panic(&self) -> bool {
        let message = self.exc_message.first().and_then(Value::as_str);
        message.is_some_and(|message| message.starts_with(PANICKED))
    }

    /// `celery.exceptions.NotRegistered`.
    pub fn not_registered(name: &str) -> Self {
        Self::celery("NotRegistered", name)
    }

    /// `celery.exceptions.InvalidTaskError`: the message is not what a call of a task should be.
    pub fn invalid(why: &str) -> Self {
        Self::celery("InvalidTaskError", why)
    }

    /// `celery.exceptions.TaskRevokedError`.
    pub fn revoked(reason: &str) -> Self {
        Self::celery("TaskRevokedError", reason)
    }

    /// `billiard.exceptions.TimeLimitExceeded`, after so many seconds.
    pub fn time_limit(seconds: f64) -> Self {
        Self::billiard("TimeLimitExceeded", seconds)
    }

    /// `billiard.exceptions.SoftTimeLimitExceeded`, which Celery makes without a number.
    pub fn soft_time_limit() -> Self {
        Self {
            exc_message: Vec::new(),
            ..Self::billiard("SoftTimeLimitExceeded", 0.0)
        }
    }

    fn celery(exc_type: &'static str, message: &str) -> Self {
        Self {
            exc_type,
            exc_module: "celery.exceptions",
            exc_message: vec![Value::String(message.to_owned())],
        }
    }

    fn billiard(exc_type: &'static str, seconds: f64) -> Self {
        Self {
            exc_type,
            exc_module: "billiard.exceptions",
            exc_message: vec![json!(seconds)],
        }
    }

    /// As Python shows it: `ValueError('no such broker')`.
    pub fn repr(&self) -> String {
        let arguments: Vec<String> = self.exc_message.iter().map(repr).collect();
        format!("{}({})", self.exc_type, arguments.join(", "))
    }

    /// In words: the arguments alone.
    pub fn words(&self) -> String {
        let words: Vec<String> = self
            .exc_message
            .iter()
            .map(|value| value.as_str().map_or_else(|| repr(value), str::to_owned))
            .collect();
        words.join(", ")
    }

    /// What stands in for Python's traceback: Headcount has none, and Flower shows this.
    pub fn traceback(&self) -> String {
        format!("{}.{}: {}\n", self.exc_module, self.exc_type, self.words())
    }

    fn encode(&self) -> Value {
        json!({"exc_type": self.exc_type, "exc_message": self.exc_message, "exc_module": self.exc_module})
    }
}

/// What a task came to.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskResult {
    /// The task's id.
    pub id: String,
    /// The name of the task, for people: backends do not keep it.
    pub task: String,
    /// How it stands.
    pub state: State,
    /// What it returned.
    pub value: Result<Value, Failure>,
    /// When it came to its end.
    pub at: Wall,
    /// The id of the task that sent it.
    pub parent_id: Option<String>,
    /// The id of its group.
    pub group_id: Option<String>,
    /// The queue that waits for it, where the backend is `rpc`.
    pub reply_to: Option<String>,
    /// What it is known by there.
    pub correlation_id: String,
}

impl TaskResult {
    /// What a task came to now.
    pub fn of(task: &TaskMessage, state: State, value: Result<Value, Failure>, at: Wall) -> Self {
        Self {
            id: task.id.clone(),
            task: task.name.clone(),
            state,
            value,
            at,
            parent_id: task.parent_id.clone(),
            group_id: task.group.clone(),
            reply_to: task.reply_to.clone(),
            correlation_id: task.correlation_id().to_owned(),
        }
    }

    /// The document that the backends keep.
    pub fn meta(&self) -> Value {
        let (result, traceback) = match &self.value {
            Ok(value) => (value.clone(), Value::Null),
            // A revoked task has none in Celery either.
            Err(failure) if self.state == State::Revoked => (failure.encode(), Value::Null),
            Err(failure) => (failure.encode(), failure.traceback().into()),
        };
        let date_done = (self.state != State::Retry).then(|| iso8601(self.at));
        let mut meta = json!({
            "status": self.state.as_str(),
            "result": result,
            "traceback": traceback,
            "children": [],
            "date_done": date_done,
            "task_id": self.id,
        });
        if let Some(meta) = meta.as_object_mut() {
            let also = [("parent_id", &self.parent_id), ("group_id", &self.group_id)];
            let given = also.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
            meta.extend(given.map(|(key, value)| (key.to_owned(), json!(value))));
        }
        meta
    }

    /// The key in Redis, where the backend is `redis`; also the channel on which it is told.
    pub fn redis_key(&self) -> String {
        format!("celery-task-meta-{}", self.id)
    }

    /// The message to whoever waits, where the backend is `rpc`; none if nobody does.
    pub fn reply(&self) -> Option<Publication> {
        let reply_to = self.reply_to.as_ref().filter(|queue| !queue.is_empty())?;
        let mut body = self.meta().to_string().into_bytes();
        if body.len() > MAX_REPLY {
            let why = format!(
                "the result takes {} bytes, and a broker need not take more than {MAX_REPLY}",
                body.len()
            );
            let told = Self {
                state: State::Failure,
                value: Err(Failure::builtin("ValueError", why)),
                ..self.clone()
            };
            body = told.meta().to_string().into_bytes();
        }
        Some(Publication {
            to: To::Queue(reply_to.clone()),
            headers: serde_json::Map::new(),
            correlation_id: Some(self.correlation_id.clone()),
            reply_to: None,
            keep: Keep::Transient,
            priority: 0,
            body,
        })
    }
}
