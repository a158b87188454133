//! `Debouncer`: decides what people are told about an incident, and when, and puts it into the outbox.
//!
//! It compares each incident with what has been told of it, both from the store, so whatever happens in between — a
//! panic, a kill — it decides the same again: nothing is lost, and nothing is said twice.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, Supervised, WrapFuture};
use compact_str::CompactString;
use headcount_core::alert::debounce::{self, Decision};
use headcount_core::alert::{Incident, IncidentId, Notice, Told, Turn};
use headcount_core::detect::periods::JUDGE_EVERY;
use headcount_core::time::Mono;
use headcount_core::trace::incident as story;

use crate::clock::Clock;
use crate::messages::{IncidentChanged, OutboxGrew};
use crate::ports::traces::SharedTracer;
use crate::ports::{Act, Owed, SharedStore};

/// How long after a failure of the store it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the store is asked for incidents that did not arrive as a message.
const RECALL_EVERY: Duration = Duration::from_secs(60);

/// A notifier, as far as the debouncer needs to know it.
#[derive(Clone)]
pub struct Addressee {
    /// Its name in the outbox.
    pub name: CompactString,
    /// Whether it has threads.
    pub has_threads: bool,
    /// Whom to wake when something is owed.
    pub wake: Recipient<OutboxGrew>,
}

/// What the debouncer is connected to.
#[derive(Clone)]
pub struct Debouncing {
    /// Where incidents and the outbox are.
    pub store: SharedStore,
    /// The notifiers.
    pub notifiers: Vec<Addressee>,
    /// Headcount's own address, for links; without a slash at its end.
    pub public_url: Option<String>,
    /// Who is told what was decided, and when.
    pub tracer: SharedTracer,
}

/// An incident of which something may have to be told.
struct Pending {
    incident: Incident,
    unsettled: bool,
    since: Mono,
}

/// The actor.
pub struct Debouncer {
    with: Debouncing,
    pending: BTreeMap<IncidentId, Pending>,
    /// What has been told: of all incidents that are open or whose end is not told, and of those whose end was told
    /// since the store was last read.
    told: BTreeMap<IncidentId, Told>,
    /// Whether `told` can be trusted.
    ready: bool,
    /// Whether the store is being read or written. One thing at a time: what was read while something was being told
    /// would not say so, and it would be told again.
    busy: bool,
    recall_at: Mono,
}

impl Debouncer {
    /// A debouncer that has not read the store yet.
    pub fn new(with: Debouncing) -> Self {
        Self {
            with,
            pending: BTreeMap::new(),
            told: BTreeMap::new(),
            ready: false,
            busy: false,
            recall_at: Clock.mono(),
        }
    }

    /// Does what is due: one thing at a time.
    fn work(&mut self, context: &mut Context<Self>) {
        if self.busy {
            return;
        }
        if Clock.mono() >= self.recall_at {
            self.recall(context);
        } else if self.ready {
            self.tell_due(context);
        }
    }

    fn recall(&mut self, context: &mut Context<Self>) {
        self.busy = true;
        let store = self.with.store.clone();
        let reading = async move { store.load_incidents().await };
        context.spawn(reading.into_actor(self).map(|loaded, actor, context| {
            actor.busy = false;
            let again = match loaded {
                Ok(incidents) => {
                    actor.remember(incidents);
                    actor.ready = true;
                    RECALL_EVERY
                }
                Err(_) => RETRY,
            };
            actor.recall_at = Clock.mono() + again;
            actor.work(context);
        }));
    }

    fn remember(&mut self, incidents: Vec<Incident>) {
        let since = Clock.mono();
        // Nothing was being told meanwhile, so what was read is all that there is.
        self.told.clear();
        for incident in incidents {
            if let Some(told) = &incident.told {
                self.told.insert(incident.id.clone(), told.clone());
            }
            // It may have been found a moment ago, and more with it.
            let pending = Pending {
                incident,
                unsettled: true,
                since,
            };
            // What came as a message is not older than what was read.
            self.pending.entry(pending.incident.id.clone()).or_insert(pending);
        }
    }

    /// Tells the first incident that is due; the next follows when it is in the outbox.
    fn tell_due(&mut self, context: &mut Context<Self>) {
        let now = Clock.now();
        let mut due = None;
        let (told, tracer) = (&self.told, &self.with.tracer);
        self.pending.retain(|id, pending| {
            pending.incident.told = told.get(id).cloned();
            if pending.incident.told.as_ref().is_some_and(|told| told.recovered) {
                return false;
            }
            match debounce::decide(now.mono, &pending.incident, pending.unsettled, pending.since) {
                Decision::Nothing => {
                    if let (Some(over), None) = (pending.incident.resolved_at, &pending.incident.told) {
                        tracer.take(story::root(&pending.incident, over, false));
                    }
                    false
                }
                Decision::Hold => true,
                Decision::Tell(turn) => {
                    due.get_or_insert_with(|| (pending.incident.clone(), turn));
                    true
                }
            }
        });
        if let Some((incident, turn)) = due {
            self.tell(incident, turn, context);
        }
    }

    fn tell(&mut self, incident: Incident, turn: Turn, context: &mut Context<Self>) {
        self.busy = true;
        let at = Clock.now().wall;
        let told = debounce::told(&incident, turn, at);
        let link = self
            .with
            .public_url
            .as_ref()
            .map(|url| format!("{url}/api/v1/incidents/{}", incident.id));
        let notice = Notice {
            turn,
            at,
            incident,
            link,
        };
        let owed = self.owed(&notice);
        let store = self.with.store.clone();
        let telling = async move {
            let id = notice.incident.id.clone();
            let done = store.tell(id, told.clone(), owed).await;
            (done, notice, told)
        };
        context.spawn(
            telling
                .into_actor(self)
                .map(|(done, notice, told), actor, context| match done {
                    Ok(()) => {
                        actor.busy = false;
                        actor.trace(&notice);
                        actor.was_told(notice.incident.id, told);
                        actor.work(context);
                    }
                    Err(_) => {
                        actor.busy = false;
                        // Whether it is in the outbox after all, the store knows, as it knows everything that is pending.
                        actor.ready = false;
                        actor.pending.clear();
                        actor.recall_at = Clock.mono() + RETRY;
                    }
                }),
        );
    }

    /// Tells the tracer what is in the outbox. The first time, the root: all other spans of the incident hang on it.
    fn trace(&self, notice: &Notice) {
        if !self.with.tracer.is_open() {
            return;
        }
        let written = Clock.now().wall;
        if notice.incident.told.is_none() {
            self.with.tracer.take(story::root(&notice.incident, written, true));
        }
        for span in story::told(notice, written) {
            self.with.tracer.take(span);
        }
    }

    /// What each notifier owes for a notice: what is no news to whoever read the worst is told only
    /// where there are threads.
    fn owed(&self, notice: &Notice) -> Vec<Owed> {
        let acts = |has_threads: bool| -> &'static [Act] {
            match (notice.turn, has_threads) {
                (Turn::Opened, _) => &[Act::Post],
                (Turn::Eased | Turn::Relapsed | Turn::Shifted, false) => &[],
                (_, true) => &[Act::Post, Act::Refresh],
                (_, false) => &[Act::Post],
            }
        };
        self.with
            .notifiers
            .iter()
            .flat_map(|to| acts(to.has_threads).iter().map(|act| (to.name.clone(), *act)))
            .map(|(notifier, act)| Owed {
                notifier,
                act,
                notice: notice.clone(),
            })
            .collect()
    }

    fn was_told(&mut self, id: IncidentId, told: Told) {
        if let Some(pending) = self.pending.get_mut(&id) {
            // What may follow is held for a moment of its own.
            pending.since = Clock.mono();
        }
        self.told.insert(id, told);
        for notifier in &self.with.notifiers {
            // One whose mailbox is full is awake, and looks at the outbox again anyway.
            let _ = notifier.wake.try_send(OutboxGrew);
        }
    }
}

impl Actor for Debouncer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.work(context);
        context.run_interval(JUDGE_EVERY, Self::work);
    }
}

impl Supervised for Debouncer {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.with.clone());
    }
}

impl Handler<IncidentChanged> for Debouncer {
    type Result = ();

    fn handle(&mut self, message: IncidentChanged, context: &mut Context<Self>) {
        let IncidentChanged {
            mut incident,
            unsettled,
        } = message;
        let id = incident.id.clone();
        incident.told = self.told.get(&id).cloned();
        // What turns into something else on its way is held for a moment of its own.
        let since = match self.pending.get(&id) {
            Some(pending) if debounce::turn(&pending.incident) == debounce::turn(&incident) => pending.since,
            _ => Clock.mono(),
        };
        self.pending.insert(
            id,
            Pending {
                incident,
                unsettled,
                since,
            },
        );
        self.work(context);
    }
}
