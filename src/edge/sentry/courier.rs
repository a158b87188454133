//! The courier: a thread that makes events of what is in the books, cleans them and sends them, one after the other over one
//! connection. Whoever tells it something does not wait.
//!
//! An error stays in the books until it is fetched, so none is lost to a Sentry that is away or asks to be left alone: it is
//! counted there, and told when it can be. Traces wait in a queue of their own, and come last.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, SystemTime};

use compact_str::CompactString;
use headcount_actors::meters::sentry::{NotSent, SentryMeters};
use headcount_actors::ports::TaskFailures;
use headcount_core::time::Mono;
use sentry::Envelope;
use sentry::protocol::EnvelopeItem;
use sentry::transports::{RateLimiter, RateLimitingCategory};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::again::{Again, Parcel};
use super::clean::{clean_trace, shorten_report, shorten_trail};
use super::config::Config;
use super::event::{Maker, release};
use super::lock;
use super::post::{Post, Posted};
use super::repeats::{Books, Due, Order};
use super::report::Report;
use super::rest::{Pace, Rest};
use super::trail::Trail;
use super::way::Way;
use crate::notifiers::OpenError;
use crate::secrets::Secrets;

/// How much longer than it was given the thread may take to end before nobody waits for it any more.
const END_WITHIN: Duration = Duration::from_secs(1);
/// Traces that wait to be sent, of some kilobytes each; what ends while so many wait is dropped.
pub(super) const TRACES: usize = 100;
/// What the lanes have told of failed tasks and is not in the books yet: each tells once a second, and it takes milliseconds.
pub(super) const BATCHES: usize = 64;
/// Requests at once while there is little time left; one at any other time, so that Sentry's word is heard before the next.
const AT_ONCE_AT_THE_END: usize = 8;
/// How often a panic's thread asks for the books before it gives up: others have them for microseconds.
const ASKS: u32 = 10_000;

/// What the courier and those who tell it something share.
struct Shared {
    books: Mutex<Books>,
    wake: Notify,
    began: Instant,
}

impl Shared {
    fn now(&self) -> Mono {
        let micros = self.began.elapsed().as_micros();
        Mono::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn note(&self, mut books: MutexGuard<'_, Books>, report: Report, times: u64) {
        let due = Due {
            report,
            times,
            at: SystemTime::now(),
        };
        let ready = books.note(self.now(), due);
        drop(books);
        if ready {
            self.wake.notify_one();
        }
    }

    /// The books, for who must not wait for them: this very thread may have them.
    fn books_soon(&self) -> Option<MutexGuard<'_, Books>> {
        (0..ASKS).find_map(|_| match self.books.try_lock() {
            Ok(books) => Some(books),
            Err(TryLockError::Poisoned(books)) => Some(books.into_inner()),
            Err(TryLockError::WouldBlock) => {
                std::thread::yield_now();
                None
            }
        })
    }
}

enum Word {
    /// These are the secrets from now on.
    Secrets(Secrets),
    /// Send what is left until then, say so, and end.
    Close { by: Instant, done: oneshot::Sender<()> },
}

/// Those of one broker.
type Batch = (CompactString, Vec<TaskFailures>);

/// Whoever has this can tell the courier something. It ends when this is dropped.
pub(super) struct Courier {
    shared: Arc<Shared>,
    words: mpsc::UnboundedSender<Word>,
    failures: mpsc::Sender<Batch>,
    traces: mpsc::Sender<Envelope>,
    meters: SentryMeters,
}

impl Courier {
    /// Starts the thread. Connects to nothing yet.
    ///
    /// # Errors
    /// Where TLS cannot be set up, the address cannot be spoken to, or there is no thread to be had.
    pub(super) fn start(
        config: &Config,
        secrets: Secrets,
        trail: Arc<Mutex<Trail>>,
        meters: SentryMeters,
        pace: Pace,
    ) -> Result<Self, OpenError> {
        let failed = |error: std::io::Error| OpenError {
            key: None,
            why: format!("cannot start the thread that sends to Sentry: {error}"),
        };
        let post = Post::new(config)?;
        let shared = Arc::new(Shared {
            books: Mutex::new(Books::new(config.error_window.duration())),
            wake: Notify::new(),
            began: Instant::now(),
        });
        let (words, heard) = mpsc::unbounded_channel();
        let (failures, batches) = mpsc::channel(BATCHES);
        let (traces, ended) = mpsc::channel(TRACES);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let work = Work {
            shared: shared.clone(),
            words: heard,
            failures: batches,
            traces: ended,
            config: config.clone(),
            secrets,
            trail,
            maker: Maker::new(),
            way: Way::new(post.host()),
            post,
            limiter: RateLimiter::new(),
            sending: JoinSet::new(),
            again: Again::default(),
            pace,
            rest: Rest::new(pace),
            closing: None,
            meters: meters.clone(),
        };
        std::thread::Builder::new()
            .name("sentry".to_owned())
            .spawn(move || {
                runtime.block_on(work.run());
                // Not waited for: a name server that does not answer would hold it up.
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Self {
            shared,
            words,
            failures,
            traces,
            meters,
        })
    }

    /// An error has happened so many times.
    pub(super) fn tell(&self, report: Report, times: u64) {
        self.shared.note(lock(&self.shared.books), report, times);
    }

    /// There was a panic on this thread; `report` makes the report, with the stack where it is asked for.
    pub(super) fn tell_panic(&self, report: impl Fn(bool) -> Report) {
        let soon = |report: Report| match self.shared.books_soon() {
            Some(books) => self.shared.note(books, report, 1),
            None => self.meters.dropped(NotSent::Queue, 1),
        };
        let short = report(false);
        let now = self.shared.now();
        let is_news = self
            .shared
            .books_soon()
            .is_some_and(|mut books| books.is_news(now, &short));
        // The stack takes long to read, so it is read for those that are sent alone.
        soon(if is_news { report(true) } else { short });
    }

    /// Tasks have failed; called by the event lane.
    pub(super) fn tell_failures(&self, broker: &str, failures: Vec<TaskFailures>) {
        let kinds = failures.len() as u64;
        match self.failures.try_send((broker.into(), failures)) {
            Ok(()) => self.shared.wake.notify_one(),
            Err(_) => self.meters.dropped(NotSent::Queue, kinds),
        }
    }

    /// Something that was traced has ended.
    pub(super) fn tell_trace(&self, trace: Envelope) {
        match self.traces.try_send(trace) {
            Ok(()) => self.shared.wake.notify_one(),
            Err(_) => self.meters.dropped(NotSent::Queue, 1),
        }
    }

    /// From now on these are the secrets.
    pub(super) fn set_secrets(&self, secrets: Secrets) {
        // It fails where the thread has ended, and then nothing is sent.
        let _ = self.words.send(Word::Secrets(secrets));
    }

    /// Has it send what is left, the most frequent first, for so long at most, and end.
    pub(super) async fn close(&self, within: Duration) {
        let (done, ended) = oneshot::channel();
        let by = Instant::now() + within;
        if self.words.send(Word::Close { by, done }).is_ok() {
            // It ends by itself in time; where its thread is gone nobody answers, and nothing is left to wait for.
            let _ = tokio::time::timeout(within + END_WITHIN, ended).await;
        }
    }
}

/// What the thread has.
struct Work {
    shared: Arc<Shared>,
    words: mpsc::UnboundedReceiver<Word>,
    failures: mpsc::Receiver<Batch>,
    traces: mpsc::Receiver<Envelope>,
    config: Config,
    secrets: Secrets,
    trail: Arc<Mutex<Trail>>,
    maker: Maker,
    post: Post,
    way: Way,
    limiter: RateLimiter,
    sending: JoinSet<(Parcel, Posted)>,
    again: Again,
    pace: Pace,
    rest: Rest,
    closing: Option<Closing>,
    meters: SentryMeters,
}

struct Closing {
    by: Instant,
    done: oneshot::Sender<()>,
    /// Sentry has failed meanwhile, and is not tried again.
    failed: bool,
}

impl Work {
    async fn run(mut self) {
        let mut look = tokio::time::interval(self.pace.look_every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.hear_failures();
            self.start();
            if self.closing.is_some() && self.sending.is_empty() {
                break;
            }
            let by = self.closing.as_ref().map(|closing| closing.by);
            tokio::select! {
                biased;
                word = self.words.recv(), if by.is_none() => match word {
                    Some(Word::Secrets(secrets)) => self.secrets = secrets,
                    Some(Word::Close { by, done }) => self.close(by, done),
                    None => break,
                },
                () = reached(by) => break,
                Some(ended) = self.sending.join_next() => self.ended(ended),
                () = self.shared.wake.notified() => {}
                _ = look.tick() => {
                    let now = self.shared.now();
                    lock(&self.shared.books).turn(now);
                }
            }
        }
        self.finish();
    }

    fn hear_failures(&mut self) {
        while let Ok((broker, failures)) = self.failures.try_recv() {
            for failure in failures {
                let report = Report::watched(&broker, &failure);
                let books = lock(&self.shared.books);
                self.shared.note(books, report, failure.count);
            }
        }
    }

    /// Sends what can be sent now.
    fn start(&mut self) {
        let at_once = match &self.closing {
            Some(_) if self.way.works() => AT_ONCE_AT_THE_END,
            _ => 1,
        };
        while self.sending.len() < at_once {
            let Some(parcel) = self.next() else { return };
            let post = self.post.clone();
            self.sending.spawn(async move {
                let posted = post.send(parcel.body.clone()).await;
                (parcel, posted)
            });
        }
    }

    fn next(&mut self) -> Option<Parcel> {
        let waits = match &self.closing {
            None => !self.rest.is_over(),
            Some(closing) => closing.failed,
        };
        if waits {
            return None;
        }
        if self.limiter.is_enabled(RateLimitingCategory::Error) {
            if let Some(parcel) = self.again.before_others() {
                return Some(parcel);
            }
            let order = if self.closing.is_some() {
                Order::MostFrequent
            } else {
                Order::Oldest
            };
            // In a statement of its own, so that the books are free while the event is made.
            while let Some(due) = { lock(&self.shared.books).fetch(order) } {
                match self.pack(due) {
                    Some(parcel) => return Some(parcel),
                    None => self.meters.dropped(NotSent::Secret, 1),
                }
            }
            if let Some(parcel) = self.again.after_others() {
                return Some(parcel);
            }
        }
        while let Ok(trace) = self.traces.try_recv() {
            if !self.limiter.is_enabled(RateLimitingCategory::Transaction) {
                self.meters.dropped(NotSent::Limited, 1);
                continue;
            }
            match self.pack_trace(trace) {
                Some(parcel) => return Some(parcel),
                None => self.meters.dropped(NotSent::Secret, 1),
            }
        }
        None
    }

    /// None where a secret would be in it.
    fn pack(&self, mut due: Due) -> Option<Parcel> {
        let mut trail = lock(&self.trail).until(due.at);
        shorten_report(&self.secrets, &mut due.report);
        shorten_trail(&self.secrets, &mut trail);
        let event = self.maker.event(&self.config, due, trail)?;
        parcel(self.secrets.clean(&event)?, false)
    }

    fn pack_trace(&self, trace: Envelope) -> Option<Parcel> {
        trace.into_items().find_map(|item| match item {
            EnvelopeItem::Transaction(mut trace) => {
                release(&mut trace, &self.config);
                parcel(clean_trace(&self.secrets, &*trace)?, true)
            }
            _ => None,
        })
    }

    fn ended(&mut self, ended: Result<(Parcel, Posted), JoinError>) {
        let Ok((parcel, posted)) = ended else {
            // It panicked, which has been told.
            return self.meters.dropped(NotSent::Failed, 1);
        };
        match posted {
            Posted::Taken(limits) => {
                limits.apply(&mut self.limiter);
                self.rest.end();
                self.meters.sent();
                self.way.taken();
                if !self.limiter.is_enabled(RateLimitingCategory::Error) {
                    self.way.limited();
                }
            }
            Posted::Limited(limits) => {
                limits.apply(&mut self.limiter);
                self.way.limited();
                self.limited(parcel);
            }
            Posted::Refused { status, limits } => {
                limits.apply(&mut self.limiter);
                self.meters.dropped(NotSent::Refused, 1);
                self.way.refused(status);
                if matches!(status.as_u16(), 401 | 403 | 404) {
                    self.failed();
                }
            }
            Posted::Failed(status) => {
                self.way.failed(status);
                self.blamed(parcel);
            }
            Posted::Lost(why) => {
                self.way.away(&why);
                self.blamed(parcel);
            }
            Posted::Unavailable(status) => {
                self.way.failed(status);
                self.again.behind(parcel);
                self.failed();
            }
            Posted::Away(why) => {
                self.way.away(&why);
                self.again.at_once(parcel);
                self.failed();
            }
        }
    }

    /// Sentry asks to be left alone. Where it does not say for how long, or not with what, it has a rest as after a failure: the
    /// same would be sent at once, again and again.
    fn limited(&mut self, parcel: Parcel) {
        let category = if parcel.is_trace {
            RateLimitingCategory::Transaction
        } else {
            RateLimitingCategory::Error
        };
        let says = !self.limiter.is_enabled(category);
        match (parcel.is_trace, says) {
            (true, _) => self.meters.dropped(NotSent::Limited, 1),
            (false, true) => self.again.at_once(parcel),
            (false, false) => self.again.behind(parcel),
        }
        if !says {
            self.failed();
        }
    }

    /// It was not taken, and may be the cause.
    fn blamed(&mut self, parcel: Parcel) {
        if !self.again.try_behind(parcel) {
            self.meters.dropped(NotSent::Failed, 1);
        }
        self.failed();
    }

    fn failed(&mut self) {
        self.rest.failed();
        if let Some(closing) = &mut self.closing {
            closing.failed = true;
        }
    }

    fn close(&mut self, by: Instant, done: oneshot::Sender<()>) {
        self.hear_failures();
        lock(&self.shared.books).close();
        self.closing = Some(Closing {
            by,
            done,
            failed: false,
        });
    }

    /// Counts what is left, and says so.
    fn finish(mut self) {
        let mut books = lock(&self.shared.books);
        books.close();
        let errors = books.waiting();
        drop(books);
        let mut unsent = errors + (self.sending.len() + self.again.len()) as u64;
        while self.traces.try_recv().is_ok() {
            unsent += 1;
        }
        self.meters.dropped(NotSent::Stopped, unsent);
        self.way.closed(unsent);
        if let Some(closing) = self.closing {
            // Nobody listens any more only where that took too long.
            let _ = closing.done.send(());
        }
    }
}

fn parcel(what: impl Into<EnvelopeItem>, is_trace: bool) -> Option<Parcel> {
    let mut envelope = Envelope::new();
    envelope.add_item(what);
    let mut body = Vec::new();
    // To memory, which does not fail.
    envelope.to_writer(&mut body).ok()?;
    Some(Parcel::new(body.into(), is_trace))
}

/// Never comes where there is no such moment.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
