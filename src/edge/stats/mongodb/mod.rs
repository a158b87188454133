//! A pipeline whose documents are in a MongoDB, and whose state is kept in one. docs/stats.md says why it counts every document
//! exactly once.

mod backlog;
mod commit;
mod cursor;
mod extract;
mod fold;
pub(super) mod generation;
mod home;
mod ids;
pub(crate) mod look;
mod notes;
mod odd;
mod parts;
mod plan;
mod publish;
mod reader;
mod rebuild;
pub(crate) mod sink;
mod standing;
mod states;
mod tail;
mod whole;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use headcount_actors::ports::stats::{PartKind, Published, Standing, StatsError, StatsPart, StatsPipeline};
use headcount_core::time::Wall;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::{Collection, IndexModel};
use tokio::sync::OnceCell;

use self::fold::Spec;
use self::home::{Fail, Home, connect, majority};
use self::notes::share_names;
use self::parts::{Buckets, Hands};
use super::rollup::Sink;
use super::sink_url;

/// What a pipeline is made of, checked.
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) source: sink_url::Collection,
    /// Where state is kept: the first sink that is a collection, or else the source.
    pub(crate) home: sink_url::Collection,
    /// Where it may have been kept with other sinks.
    pub(crate) elsewhere: Vec<sink_url::Collection>,
    pub(crate) sinks: Vec<Box<dyn Sink>>,
    pub(crate) spec: SpecParts,
    pub(crate) settle: Duration,
    pub(crate) lease: Duration,
    /// Documents of one step of the backlog, at most: about as many as are read in a second or two, so that what a crash
    /// costs, and how long the tail waits for its turn, stays small.
    pub(crate) step: u64,
}

/// What is counted, and how.
pub(crate) struct SpecParts {
    pub(crate) plan: headcount_core::stats::plan::Plan,
    pub(crate) window: headcount_core::stats::window::Window,
    pub(crate) has_late: bool,
    pub(crate) cursor: String,
    pub(crate) time: String,
}

/// One pipeline, as one processor works on it.
pub(crate) struct MongoPipeline {
    site: Arc<Site>,
    open: OnceCell<Desk>,
    hands: Hands,
    /// When the publisher has last seen that what is kept is whole.
    whole_at: Mutex<Option<Instant>>,
}

/// What never changes.
struct Site {
    name: String,
    /// This processor, among all Headcounts.
    owner: String,
    source: sink_url::Collection,
    home: sink_url::Collection,
    elsewhere: Vec<sink_url::Collection>,
    sinks: Vec<Box<dyn Sink>>,
    spec: Spec,
    settle: Duration,
    lease: Duration,
    step: u64,
}

/// What is there once it is connected.
#[derive(Clone)]
struct Desk {
    site: Arc<Site>,
    home: Home,
    source: Collection<Document>,
}

impl MongoPipeline {
    pub(crate) fn new(setup: Setup) -> Self {
        let SpecParts {
            plan,
            window,
            has_late,
            cursor,
            time,
        } = setup.spec;
        let site = Site {
            name: setup.name,
            owner: uuid::Uuid::new_v4().to_string(),
            source: setup.source,
            home: setup.home,
            elsewhere: setup.elsewhere,
            sinks: setup.sinks,
            spec: Spec::new(plan, window, has_late, &cursor, &time),
            settle: setup.settle,
            lease: setup.lease,
            step: setup.step,
        };
        Self {
            site: Arc::new(site),
            open: OnceCell::new(),
            hands: Hands::default(),
            whole_at: Mutex::new(None),
        }
    }

    /// Once a second: whether what is kept is whole. Leases that are gone are made again, since nothing else depends on them.
    async fn keep_whole(&self) -> Result<(), StatsError> {
        let last = || self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        if last().is_some_and(|at| at.elapsed() < CHECK_EVERY) {
            return Ok(());
        }
        let desk = self.desk().await?;
        if desk.check_whole().await? {
            desk.make_lost_leases().await?;
        }
        *last() = Some(Instant::now());
        Ok(())
    }

    /// Connects on the runtime of whoever uses it first: the driver's own tasks live there.
    async fn desk(&self) -> Result<&Desk, StatsError> {
        let open = async || {
            let site = Arc::clone(&self.site);
            let at_home = connect(&site.home).await?;
            let same = site.source.url() == site.home.url();
            let at_source = if same {
                at_home.clone()
            } else {
                connect(&site.source).await?
            };
            let source = at_source
                .database(&site.source.database)
                .collection(&site.source.collection);
            Ok(Desk {
                home: Home::new(at_home, &site.home.database),
                source,
                site,
            })
        };
        self.open.get_or_try_init(open).await
    }
}

/// The moment on this machine's clock.
fn now() -> Wall {
    Wall::from_micros(jiff::Timestamp::now().as_microsecond())
}

#[async_trait]
impl StatsPipeline for MongoPipeline {
    fn name(&self) -> &str {
        &self.site.name
    }

    fn route(&self) -> String {
        let sinks: Vec<String> = self.site.sinks.iter().map(|sink| sink.address()).collect();
        format!("{} -> {}", self.site.source, sinks.join(", "))
    }

    async fn prepare(&self) -> Result<(), StatsError> {
        let desk = self.desk().await?;
        desk.prepare().await
    }

    async fn take(&self, kind: PartKind) -> Result<Option<Box<dyn StatsPart>>, StatsError> {
        let desk = self.desk().await?;
        let lease = i64::try_from(self.site.lease.as_millis()).unwrap_or(i64::MAX);
        let owner = (self.site.owner.as_str(), &self.hands);
        let Some(part) = parts::take(&desk.home, &self.site.name, owner, kind, lease).await? else {
            return Ok(None);
        };
        let held = self.hands.hold(&desk.home, &part, self.site.lease);
        Ok(Some(match kind {
            PartKind::Backlog => Box::new(backlog::Backlog::new(desk.clone(), part, held)?),
            PartKind::Tail => Box::new(tail::Tail::open(desk.clone(), part, held).await?),
        }))
    }

    async fn publish(&self) -> Result<Published, StatsError> {
        self.keep_whole().await?;
        self.desk().await?.publish().await
    }

    async fn unpublished(&self, most: u64) -> Result<u64, StatsError> {
        Ok(self.desk().await?.unpublished(most).await?)
    }

    async fn standing(&self) -> Result<Standing, StatsError> {
        let desk = self.desk().await?;
        let standing = desk.standing().await?;
        // Where nobody has begun there need not be anything.
        if standing.is_begun() || desk.is_defined().await? {
            desk.check_whole().await?;
        }
        Ok(standing)
    }

    async fn rebuild(&self, from: Wall, to: Wall) -> Result<(Wall, Wall), StatsError> {
        let width = self.site.spec.window.width;
        let start = width.start(to);
        let buckets = Buckets {
            from: width.start(from),
            to: if start == to { to } else { width.end(start) },
        };
        if self.desk().await?.ask_rebuild(buckets).await? {
            return Ok((buckets.from, buckets.to));
        }
        Err(StatsError::Refused {
            why: "another backfill of this pipeline has been asked for and has not begun; `headcount stats run` brings it on".to_owned(),
        })
    }
}

impl Desk {
    async fn prepare(&self) -> Result<(), StatsError> {
        self.check_elsewhere().await?;
        self.make_collections().await?;
        self.check_cursor().await?;
        self.check_whole().await?;
        let kept = self.check_definition().await?;
        if !kept.contains_key("planned") {
            self.plan(kept.get_i64("generation").unwrap_or(0)).await?;
        }
        Ok(())
    }

    /// Another order of the sinks, or another one among them, must not have everything counted again beside what is kept.
    async fn check_elsewhere(&self) -> Result<(), StatsError> {
        let site = &self.site;
        let mine = doc! { "_id": &site.name, "definition.source": site.source.to_string() };
        if self.is_defined().await? {
            return Ok(());
        }
        for place in &site.elsewhere {
            let there = Home::new(connect(place).await?, &place.database);
            match there.pipelines().find_one(mine.clone()).await {
                Ok(None) => {}
                // Whoever may not read there has not kept anything there.
                Err(error) if home::code(&error) == Some(home::UNAUTHORIZED) => {}
                Err(error) => return Err(home::told(&error)),
                Ok(Some(_)) => {
                    let (name, home, database) = (&site.name, &site.home, &place.database);
                    return Err(StatsError::Refused {
                        why: format!(
                            "the state of the pipeline {name} is kept in the database {database} of {place}, and with these \
                             sinks it would be beside {home}: let the first MongoDB among `sinks` be the one that was; or, to have \
                             all of it counted anew, delete the documents of {name} in headcount_stats_* there"
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether there is a document of this pipeline.
    async fn is_defined(&self) -> Result<bool, Fail> {
        let found = self.home.pipelines().find_one(doc! { "_id": &self.site.name }).await?;
        Ok(found.is_some())
    }

    /// Whether the pipeline has been planned; an error where what is kept of it is not whole.
    async fn check_whole(&self) -> Result<bool, Fail> {
        let check = whole::Check {
            home: &self.home,
            pipeline: &self.site.name,
        };
        self.home.transact(&check).await
    }

    async fn make_lost_leases(&self) -> Result<(), Fail> {
        let shares = share_names(&self.site.name);
        let all = u64::try_from(shares.len()).unwrap_or(u64::MAX);
        let leases = self.home.leases();
        if leases.count_documents(doc! { "_id": { "$in": shares } }).await? < all {
            publish::make_leases(&self.home, &self.site.name, self.server_now().await?).await?;
        }
        Ok(())
    }

    /// Transactions that make collections stand in each other's way, so they are made before.
    async fn make_collections(&self) -> Result<(), Fail> {
        let index = |keys: Document| IndexModel::builder().keys(keys).build();
        self.home.states().create_index(index(doc! { "key": 1 })).await?;
        self.home
            .notes()
            .create_index(index(doc! { "share": 1, "_id": 1 }))
            .await?;
        self.home
            .parts()
            .create_index(index(doc! { "pipeline": 1, "_id": 1 }))
            .await?;
        self.home
            .seen()
            .create_index(index(doc! { "pipeline": 1, "number": 1 }))
            .await?;
        self.home
            .dead_letters()
            .create_index(index(doc! { "pipeline": 1, "at": 1 }))
            .await?;
        for collection in [self.home.leases(), self.home.pipelines()] {
            let name = collection.name().to_owned();
            match self
                .home
                .client
                .database(&collection.namespace().db)
                .create_collection(name)
                .await
            {
                Err(error) if home::code(&error) == Some(NAMESPACE_EXISTS) => {}
                made => made?,
            }
        }
        publish::make_leases(&self.home, &self.site.name, self.server_now().await?).await
    }

    /// Without an index, every step would read the whole collection.
    async fn check_cursor(&self) -> Result<(), StatsError> {
        let cursor = self.site.spec.cursor.as_str();
        if cursor == "_id" {
            return Ok(());
        }
        if look::has_index(&self.source, cursor)
            .await
            .map_err(|error| home::told(&error))?
            != Some(false)
        {
            return Ok(());
        }
        Err(look::no_index(&self.site.source, cursor))
    }

    /// States are only merged with states of the same making. Returns the pipeline's document.
    async fn check_definition(&self) -> Result<Document, StatsError> {
        let (name, spec) = (&self.site.name, &self.site.spec);
        let definition = doc! {
            "source": self.site.source.to_string(),
            "cursor": &spec.cursor,
            "time": &spec.time,
            "bucket": spec.window.width.to_string(),
            "plan": format!("{:016x}", spec.plan.fingerprint()),
        };
        let made = doc! { "definition": definition.clone(), "generation": generation::at(self.server_now().await?) };
        let pipeline = self
            .home
            .pipelines()
            .find_one_and_update(doc! { "_id": name }, doc! { "$setOnInsert": made })
            .upsert(true)
            .return_document(ReturnDocument::After)
            .write_concern(majority())
            .await
            .map_err(Fail::from)?
            .unwrap_or_default();
        let kept = pipeline.get_document("definition").cloned().unwrap_or_default();
        let differs: Vec<&str> = definition
            .iter()
            .filter(|(key, value)| kept.get(key.as_str()) != Some(*value))
            .map(|(key, _)| {
                if key == "plan" {
                    "group_by or measures"
                } else {
                    key.as_str()
                }
            })
            .collect();
        if differs.is_empty() {
            return Ok(pipeline);
        }
        Err(StatsError::Refused {
            why: format!(
                "what is kept of the pipeline {name} was made with another {}: give it another name and other sinks, or delete \
                 its documents in headcount_stats_* of {}",
                differs.join(", "),
                self.site.home.database
            ),
        })
    }

    async fn plan(&self, generation: i64) -> Result<(), Fail> {
        let now = self.server_now().await?;
        let plan = plan::cut(
            &self.source,
            &self.site.spec.cursor,
            self.site.step,
            self.site.settle,
            now,
            None,
        )
        .await?;
        let write = plan::Write {
            home: &self.home,
            pipeline: &self.site.name,
            plan: &plan,
            now,
            settle: self.site.settle,
            generation,
        };
        self.home.transact(&write).await
    }

    /// The moment by the clock of the server that keeps the state.
    async fn server_now(&self) -> Result<DateTime, Fail> {
        let hello = self
            .home
            .client
            .database("admin")
            .run_command(doc! { "hello": 1 })
            .await?;
        hello
            .get_datetime("localTime")
            .copied()
            .map_err(|_| Fail::Damaged("MongoDB does not tell its time".to_owned()))
    }
}

/// The publisher looks so often whether what is kept is whole; readers do with every step.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// MongoDB's code for a collection that is there already.
const NAMESPACE_EXISTS: i32 = 48;
