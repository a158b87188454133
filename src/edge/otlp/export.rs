//! The thread that sends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headcount_actors::meters::otlp::{OtlpMeters, Signal};
use headcount_core::doubling::doubled;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::config::{Config, Temporality};
use super::layer::this_thread_exports;
use super::meters::Drops;
use super::points::{Part, Points, Reached};
use super::post::{Posted, Poster, client, pack};
use super::queue::{Limits, Queue, Weighs};
use super::scrub::Scrub;
use super::wire::{self, Sender};
use super::{Kept, Otlp, Waiting};
use crate::secrets::Secrets;

/// How often spans and log lines are sent, if a batch is not full before. Raising it lets more be lost with a crash.
const SEND_EVERY: Duration = Duration::from_secs(1);

/// How much of each signal waits: some minutes of a busy Headcount. Raising it takes as much memory while a collector is away.
const SPANS: Limits = Limits {
    items: 8_192,
    bytes: 8 << 20,
    batch: 512,
    batch_bytes: 512 << 10,
};
const LOGS: Limits = Limits {
    items: 8_192,
    bytes: 8 << 20,
    batch: 512,
    batch_bytes: 512 << 10,
};

/// The first wait after a failure; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that nobody has asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long one batch of spans or log lines is tried; then it gives way to what came later.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5 * 60);

/// How long the rest may take when Headcount stops: all of it has ten seconds.
const FLUSH_WITHIN: Duration = Duration::from_millis(900);

/// What becomes of what a collector has refused.
const DROPPED: &str = "this is dropped, and counted in headcount_otlp_dropped_total";

/// The metrics that are sent.
pub struct Metrics {
    /// Gives them, as OpenMetrics text.
    pub scrape: Box<dyn Fn() -> Result<String, fmt::Error> + Send>,
    /// The most combinations of worker, task and queue that there may be, as `[metrics] max_series` says.
    pub combinations: usize,
    /// Names of counters that go on when the configuration is read again, and all others begin anew.
    pub lasting: &'static [&'static str],
}

/// An exporter that runs. Dropped, it ends as well, and nobody waits for it.
pub struct Exporting {
    otlp: Otlp,
    stop: watch::Sender<bool>,
    done: Option<oneshot::Receiver<()>>,
}

impl Otlp {
    /// Begins to send. `instance` tells this run of the program from others. `secrets` are in nothing that
    /// is sent but metrics, which show what `/metrics` does.
    ///
    /// # Errors
    /// Why not: no TLS, or no thread.
    pub fn open(
        &self,
        config: &Config,
        (version, instance): (&'static str, String),
        meters: &OtlpMeters,
        metrics: Metrics,
        secrets: Secrets,
    ) -> Result<Exporting, String> {
        let drops = |signal| Drops::of(meters, signal);
        let waiting = Arc::new(Waiting {
            spans: Queue::new(SPANS, drops(Signal::Traces)),
            logs: Queue::new(LOGS, drops(Signal::Logs)),
            rate: config.traces_sample_rate,
        });
        let client = client(config)?;
        let line = |signal| Line {
            poster: Poster::new(client.clone(), config, signal),
            drops: drops(signal),
            sent: OtlpMeters::of(&meters.sent, signal),
            signal,
            host: config.host(),
            unsent: 0,
            failing: None,
        };
        let lines = Signal::ALL.map(line);
        let (stop, stopped) = watch::channel(false);
        let (over, done) = oneshot::channel();
        let job = Job {
            sender: Sender::new(config, version, instance),
            waiting: waiting.clone(),
            metrics_every: config.metrics_every,
            measures: Measures {
                metrics,
                temporality: config.metrics_temporality,
                begun: wire::now(),
                kept: self.0.points.clone(),
            },
            secrets,
            stopped,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        std::thread::Builder::new()
            .name("otlp".to_owned())
            .spawn(move || {
                this_thread_exports();
                runtime.block_on(job.run(lines));
                // A name server that does not answer holds up nobody.
                runtime.shutdown_background();
                let _ = over.send(());
            })
            .map_err(|error| error.to_string())?;
        self.set(Some((waiting, config.logs)));
        Ok(Exporting {
            otlp: self.clone(),
            stop,
            done: Some(done),
        })
    }
}

impl Exporting {
    /// Takes nothing more, sends what waits, and ends: within a second, whatever a collector does.
    pub async fn close(mut self) {
        self.otlp.set(None);
        self.stop.send_replace(true);
        if let Some(done) = self.done.take() {
            // Its own limit is shorter; this one is for a thread that the machine does not run.
            let _ = timeout(FLUSH_WITHIN + Duration::from_millis(100), done).await;
        }
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        self.otlp.set(None);
    }
}

struct Job {
    sender: Sender,
    waiting: Arc<Waiting>,
    metrics_every: Option<Duration>,
    measures: Measures,
    secrets: Secrets,
    stopped: watch::Receiver<bool>,
}

/// What the metrics are sent from.
struct Measures {
    metrics: Metrics,
    temporality: Temporality,
    /// When the counters began, in nanoseconds since the Unix epoch.
    begun: u64,
    kept: Kept,
}

/// The way of one signal to the collector.
struct Line {
    poster: Poster,
    drops: Drops,
    sent: prometheus_client::metrics::counter::Counter<u64, std::sync::atomic::AtomicU64>,
    signal: Signal,
    host: String,
    /// What has been taken to be sent, and has not come to anything: the batch under way, and at the end those that were in vain.
    unsent: usize,
    /// What it last failed with; said once, and once more when it works again.
    failing: Option<String>,
}

/// What came of sending.
#[derive(Clone, Copy)]
enum Sent {
    /// It need not be sent again.
    Settled,
    /// It was not taken, and may be later.
    Later(Option<Duration>),
    /// Nothing is taken, and will not be soon.
    Denied,
}

impl Job {
    async fn run(self, [mut traces, mut metrics, mut logs]: [Line; 3]) {
        let Self {
            sender,
            waiting,
            metrics_every,
            measures,
            secrets,
            stopped,
        } = self;
        let flushed = async {
            let spans = batches(
                &mut traces,
                &waiting.spans,
                |spans| sender.traces(scrubbed(spans, &secrets)),
                stopped.clone(),
            );
            let lines = batches(
                &mut logs,
                &waiting.logs,
                |lines| sender.logs(scrubbed(lines, &secrets)),
                stopped.clone(),
            );
            let numbers = async {
                if let Some(every) = metrics_every {
                    measures.send(&mut metrics, every, &sender, stopped.clone()).await;
                }
            };
            tokio::join!(spans, lines, numbers);
        };
        let late = async {
            until_stopped(&mut stopped.clone()).await;
            sleep(FLUSH_WITHIN).await;
        };
        tokio::select! {
            () = flushed => {}
            () = late => {}
        }
        let unsent = traces.unsent + logs.unsent + waiting.spans.clear() + waiting.logs.clear();
        if unsent > 0 {
            tracing::warn!(
                host = traces.host,
                unsent,
                "what was left for the OTLP collector could not be sent, and is lost"
            );
        }
        // If another exporter has it already, that has done the same.
        if let Ok(mut kept) = measures.kept.try_lock() {
            kept.iter_mut().for_each(Points::forget_passing);
        }
    }
}

fn scrubbed<T: Scrub>(mut batch: Vec<T>, secrets: &Secrets) -> Vec<T> {
    batch.iter_mut().for_each(|item| item.scrub(secrets));
    batch
}

/// Comes when it is told to stop, or when nobody is left who could.
async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Waits, or until it is told to stop; true if so.
async fn rest(time: Duration, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = sleep(time) => false,
        () = until_stopped(stopped) => true,
    }
}

/// Sends what waits in a queue, batch after batch.
async fn batches<T: Weighs>(
    line: &mut Line,
    queue: &Queue<T>,
    encode: impl Fn(Vec<T>) -> Vec<u8>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut stopping = false;
    while !stopping {
        stopping = tokio::select! {
            stopping = rest(SEND_EVERY, &mut stopped) => stopping,
            () = queue.full.notified() => false,
        };
        loop {
            let batch = queue.take();
            if batch.is_empty() {
                break;
            }
            let count = batch.len();
            let packed = pack(&encode(batch));
            stopping |= line.insist(packed, count, &mut stopped).await;
        }
    }
}

impl Measures {
    /// Sends the metrics, each time as much as was added since the last time.
    async fn send(&self, line: &mut Line, every: Duration, sender: &Sender, mut stopped: watch::Receiver<bool>) {
        // Of an exporter that has not quite ended, this one waits for what it has come to.
        let mut kept = self.kept.lock().await;
        let points = self.points(&mut kept);
        let mut rhythm = Rhythm::new(every);
        let mut wait = every;
        let (mut stopping, mut full) = (false, false);
        while !stopping {
            stopping = rest(wait, &mut stopped).await;
            let (parts, left_out) = pack_all(points, &self.metrics, sender).await;
            line.drops.add(left_out);
            if left_out > 0 && !full {
                let combinations = self.metrics.combinations;
                tracing::warn!(
                    left_out,
                    max_series = combinations,
                    "there are more counters and histograms than are sent to the OTLP collector: what is beyond is left out each time, and \
                     counted in headcount_otlp_dropped_total; raise [metrics] max_series"
                );
            }
            full = left_out > 0;
            let sent = send_parts(parts, points, async |body, count| line.send(body, count).await).await;
            wait = rhythm.after(sent);
        }
    }

    /// What is known of the counters: nothing but what lasts.
    fn points<'a>(&self, kept: &'a mut Option<Points>) -> &'a mut Points {
        let Metrics {
            combinations, lasting, ..
        } = self.metrics;
        match kept {
            Some(points) => {
                points.begin_anew(self.temporality, combinations, self.begun);
                points
            }
            none => none.insert(Points::new(self.temporality, combinations, lasting, self.begun)),
        }
    }
}

/// Sends what was packed of one look, part after part, until one is not taken: what is not sent now is in the next difference.
async fn send_parts(
    parts: Vec<(Bytes, Reached)>,
    points: &mut Points,
    mut send: impl AsyncFnMut(Bytes, usize) -> Sent,
) -> Sent {
    for (body, reached) in parts {
        match send(body, reached.points).await {
            Sent::Settled => points.settle(reached),
            not => return not,
        }
    }
    Sent::Settled
}

/// When it is looked at the metrics the next time.
struct Rhythm {
    every: Duration,
    pause: Pause,
}

impl Rhythm {
    fn new(every: Duration) -> Self {
        let pause = Pause::default();
        Self { every, pause }
    }

    /// The time to wait after a round that came to this: with its last part, because a look costs the same if the first is taken.
    fn after(&mut self, round: Sent) -> Duration {
        match round {
            Sent::Settled => {
                self.pause = Pause::default();
                self.every
            }
            Sent::Later(after) => self.pause.next(after).min(self.every).max(after.unwrap_or_default()),
            Sent::Denied => self.every,
        }
    }
}

/// All requests of one look at the metrics, and how many points there was no room for. They are packed one by one, so that never
/// more than one of them is in memory as it is, beside the text.
async fn pack_all(points: &mut Points, metrics: &Metrics, sender: &Sender) -> (Vec<(Bytes, Reached)>, usize) {
    // Nothing of ours fails to be written into a text.
    let text = (metrics.scrape)().unwrap_or_default();
    let mut parts = Vec::new();
    let mut round = points.round(&text, wire::now());
    for Part { metrics, reached } in round.by_ref() {
        parts.push((pack(&sender.metrics(metrics)), reached));
        // Spans and log lines wait on the same thread.
        tokio::task::yield_now().await;
    }
    (parts, round.end())
}

/// How long to wait between two attempts.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    fn next(&mut self, asked: Option<Duration>) -> Duration {
        let own = doubled(FIRST_WAIT, self.0, LONGEST_WAIT);
        self.0 = self.0.saturating_add(1);
        asked.unwrap_or(own)
    }
}

impl Line {
    /// Sends a batch until it is taken, refused or given up. True if Headcount stops meanwhile: then it is tried once more.
    async fn insist(&mut self, body: Bytes, count: usize, stopped: &mut watch::Receiver<bool>) -> bool {
        let (mut pause, mut spent) = (Pause::default(), Duration::ZERO);
        let mut stopping = *stopped.borrow();
        self.unsent += count;
        let given_up = loop {
            let asked = match self.send(body.clone(), count).await {
                Sent::Settled => break false,
                Sent::Denied => break true,
                Sent::Later(asked) => asked,
            };
            let wait = pause.next(asked);
            spent += wait;
            if stopping {
                // In vain for good: it is told of as not sent.
                self.drops.add(count);
                return stopping;
            }
            if spent > GIVE_UP_AFTER {
                break true;
            }
            stopping = rest(wait, stopped).await;
        };
        if given_up {
            self.drops.add(count);
        }
        self.unsent -= count;
        stopping
    }

    /// Sends something once.
    async fn send(&mut self, body: Bytes, count: usize) -> Sent {
        let (signal, host) = (self.signal.as_str(), &self.host);
        match self.poster.post(body).await {
            Posted::Taken { rejected, why } => {
                let rejected = rejected.min(count);
                self.sent.inc_by((count - rejected) as u64);
                self.drops.add(rejected);
                if rejected > 0 {
                    self.fails(
                        &format!("it took all but {rejected} of {count}: {why}"),
                        "those are dropped, and counted in headcount_otlp_dropped_total",
                    );
                } else if self.failing.take().is_some() {
                    tracing::info!(
                        signal,
                        host,
                        "the OTLP collector takes what Headcount tells of itself again"
                    );
                }
                Sent::Settled
            }
            Posted::Later { after, why } => {
                self.fails(
                    &why,
                    "trying again; what there is no room for is dropped, and counted in headcount_otlp_dropped_total",
                );
                Sent::Later(after)
            }
            Posted::Refused(why) => {
                self.drops.add(count);
                self.fails(&why, DROPPED);
                Sent::Settled
            }
            Posted::Denied(why) => {
                let then = match self.signal {
                    Signal::Metrics => "what was added to counters is sent once it does",
                    Signal::Traces | Signal::Logs => DROPPED,
                };
                self.fails(&why, then);
                Sent::Denied
            }
        }
    }

    /// Says what is wrong: once, until it is something else.
    fn fails(&mut self, why: &str, then: &'static str) {
        let (signal, host) = (self.signal.as_str(), &self.host);
        if self.failing.as_deref() != Some(why) {
            tracing::warn!(
                signal,
                host,
                why,
                "the OTLP collector does not take what Headcount tells of itself: {then}"
            );
            self.failing = Some(why.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 3 * super::super::points::MAX_POINTS;

    /// Counters for three parts, each with so much in it.
    fn text(value: u64) -> String {
        let lines: String = (0..MANY).map(|n| format!("a_total{{n=\"{n}\"}} {value}\n")).collect();
        format!("# TYPE a counter\n{lines}")
    }

    fn sender() -> Sender {
        Sender::new(
            &Config {
                endpoint: "http://127.0.0.1:9".parse().unwrap(),
                headers: Default::default(),
                traces_sample_rate: 0.0,
                metrics_every: None,
                metrics_temporality: Temporality::Delta,
                logs: tracing::level_filters::LevelFilter::OFF,
                service_name: String::new(),
                resource: Default::default(),
            },
            "1",
            String::new(),
        )
    }

    /// A look at all, of which the first parts are taken, and what the next gets; how many points went, and how long is waited.
    async fn round(
        points: &mut Points,
        rhythm: &mut Rhythm,
        value: u64,
        taken: usize,
        then: Sent,
    ) -> (usize, Duration) {
        let metrics = Metrics {
            scrape: Box::new(move || Ok(text(value))),
            combinations: MANY,
            lasting: &[],
        };
        let (parts, _) = pack_all(points, &metrics, &sender()).await;
        let (mut left, mut sent) = (taken, 0);
        let answer = async |_, count| {
            if left == 0 {
                return then;
            }
            left -= 1;
            sent += count;
            Sent::Settled
        };
        let came = send_parts(parts, points, answer).await;
        (sent, rhythm.after(came))
    }

    #[tokio::test]
    async fn a_collector_that_takes_the_first_part_alone_is_asked_less_and_less() {
        let mut points = Points::new(Temporality::Delta, MANY, &[], 0);
        let mut rhythm = Rhythm::new(Duration::from_secs(60));
        let mut waits = Vec::new();
        for value in 1..=5 {
            waits.push(
                round(&mut points, &mut rhythm, value, 1, Sent::Later(None))
                    .await
                    .1
                    .as_secs(),
            );
        }
        assert_eq!(waits, [1, 2, 4, 8, 16]);
        let all = round(&mut points, &mut rhythm, 6, 3, Sent::Denied).await;
        assert_eq!(all, (MANY, Duration::from_secs(60)));
        let again = round(&mut points, &mut rhythm, 7, 1, Sent::Later(None)).await;
        assert_eq!(again.1.as_secs(), 1, "it has taken all since");
    }

    #[tokio::test]
    async fn what_nobody_takes_is_sent_when_somebody_does() {
        for not in [Sent::Denied, Sent::Later(None)] {
            let mut points = Points::new(Temporality::Delta, MANY, &[], 0);
            let mut rhythm = Rhythm::new(Duration::from_secs(60));
            assert_eq!(round(&mut points, &mut rhythm, 1, 3, not).await.0, MANY);
            for _ in 0..3 {
                assert_eq!(round(&mut points, &mut rhythm, 2, 0, not).await.0, 0);
            }
            assert_eq!(round(&mut points, &mut rhythm, 2, 3, not).await.0, MANY);
            assert_eq!(
                round(&mut points, &mut rhythm, 2, 3, not).await.0,
                0,
                "nothing was added"
            );
        }
    }
}
