//! The same pipeline behind one global lock in Redis, as people write it: `SET NX PX`, and another try a while later. No part of
//! the product: a wrapper around the port, which holds the lock for each step and for each round of publishing.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_rt::Arbiter;
use async_trait::async_trait;
use headcount_actors::messages::Finish;
use headcount_actors::meters::Meters;
use headcount_actors::ports::stats::{PartKind, Published, Standing, StatsError, StatsPart, StatsPipeline, Step};
use headcount_actors::stats_pipeline::{Pipelining, StatsPublisher, StatsReader};
use headcount_core::time::Wall;
use headcount_edge::stats::{Config, open};
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, OnceCell, watch};

/// As redis-py's `Lock` does by default.
const RETRY: Duration = Duration::from_millis(100);
/// Longer than any step.
const HELD_FOR_MS: u32 = 60_000;
const KEY: &str = "stats-lock";
/// As `headcount stats run`: it is over once this many looks in a row have found nothing to do.
const QUIET_LOOKS: u32 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Clone)]
struct Lock {
    redis: redis::Client,
    connection: Arc<OnceCell<MultiplexedConnection>>,
    token: String,
}

impl Lock {
    fn new(url: &str) -> Self {
        Lock {
            redis: redis::Client::open(url).expect("a URL of Redis"),
            connection: Arc::default(),
            token: uuid::Uuid::new_v4().to_string(),
        }
    }

    async fn connection(&self) -> MultiplexedConnection {
        let open = || self.redis.get_multiplexed_async_connection();
        self.connection
            .get_or_try_init(open)
            .await
            .expect("Redis answers")
            .clone()
    }

    async fn hold<T>(&self, work: impl Future<Output = T>) -> T {
        let mut connection = self.connection().await;
        loop {
            let mut set = redis::cmd("SET");
            set.arg(KEY).arg(&self.token).arg("NX").arg("PX").arg(HELD_FOR_MS);
            let taken: Option<String> = set.query_async(&mut connection).await.expect("Redis answers");
            if taken.is_some() {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        let done = work.await;
        let release =
            "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";
        let mut eval = redis::cmd("EVAL");
        eval.arg(release).arg(1).arg(KEY).arg(&self.token);
        let _: i64 = eval.query_async(&mut connection).await.expect("Redis answers");
        done
    }
}

struct LockedPipeline {
    inner: Arc<dyn StatsPipeline>,
    lock: Lock,
}

struct LockedPart {
    inner: Box<dyn StatsPart>,
    lock: Lock,
}

#[async_trait]
impl StatsPipeline for LockedPipeline {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn route(&self) -> String {
        self.inner.route()
    }

    async fn prepare(&self) -> Result<(), StatsError> {
        self.inner.prepare().await
    }

    async fn take(&self, kind: PartKind) -> Result<Option<Box<dyn StatsPart>>, StatsError> {
        let inner = self.inner.take(kind).await?;
        let lock = self.lock.clone();
        Ok(inner.map(|inner| Box::new(LockedPart { inner, lock }) as Box<dyn StatsPart>))
    }

    async fn publish(&self) -> Result<Published, StatsError> {
        self.lock.hold(self.inner.publish()).await
    }

    async fn unpublished(&self, most: u64) -> Result<u64, StatsError> {
        self.inner.unpublished(most).await
    }

    async fn rebuild(&self, from: Wall, to: Wall) -> Result<(Wall, Wall), StatsError> {
        self.inner.rebuild(from, to).await
    }

    async fn standing(&self) -> Result<Standing, StatsError> {
        self.inner.standing().await
    }
}

#[async_trait]
impl StatsPart for LockedPart {
    async fn step(&mut self) -> Result<Step, StatsError> {
        self.lock.hold(self.inner.step()).await
    }

    async fn release(self: Box<Self>) {
        self.inner.release().await;
    }
}

#[derive(serde::Deserialize)]
struct File {
    stats: Vec<Config>,
}

/// Works until there is nothing to do: this process as a contestant.
pub(crate) fn work(config: &str, redis: &str) {
    let file: File = toml::from_str(&std::fs::read_to_string(config).expect("the configuration")).expect("it is right");
    let config = file.stats.into_iter().next().expect("one pipeline");
    actix_rt::System::new().block_on(async move {
        let locked = || -> Arc<dyn StatsPipeline> {
            let inner = open(&config).expect("it is right");
            let lock = Lock::new(redis);
            Arc::new(LockedPipeline { inner, lock })
        };
        let eye = open(&config).expect("it is right");
        eye.prepare().await.expect("MongoDB answers");
        let (stop, stopped) = watch::channel(false);
        let changed = Arc::new(Notify::new());
        let with = || Pipelining {
            pipeline: locked(),
            meters: Meters::default(),
            changed: changed.clone(),
            stop: stopped.clone(),
        };
        let mut readers: Vec<Addr<StatsReader>> = Vec::new();
        for _ in 0..config.processors {
            let with = with();
            readers.push(StatsReader::start_in_arbiter(&Arbiter::new().handle(), |_| {
                StatsReader::new(with)
            }));
        }
        let with = with();
        let publisher = StatsPublisher::start_in_arbiter(&Arbiter::new().handle(), |_| StatsPublisher::new(with));
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            tokio::time::sleep(LOOK_EVERY).await;
            let Ok(standing) = eye.standing().await else { continue };
            let done =
                standing.parts == standing.parts_done && standing.lag_documents == 0 && standing.unpublished == 0;
            quiet = if done { quiet + 1 } else { 0 };
        }
        stop.send_replace(true);
        for reader in readers {
            let _ = reader.send(Finish).await;
        }
        let _ = publisher.send(Finish).await;
    });
}
