//! The page of a scrape: written apart from the thread that answers, and held only as long as somebody reads it.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::web::Bytes;
use futures_util::{Stream, stream};
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::accept::Format;
use super::text;

/// Pages that are written or read at once: two Prometheus servers and two people. At the bounds of `[metrics]` one has many
/// megabytes, so whoever comes while there are as many waits.
pub(in crate::http) const MAX_PAGES: usize = 4;
/// How long somebody waits for a place, less than the 10 s that Prometheus waits for an answer.
const PLACE_WITHIN: Duration = Duration::from_secs(5);
/// How much of a page is handed to a connection at once, in bytes.
const PIECE: usize = 64 * 1024;

/// What there is to show, and room for those who read it.
pub(in crate::http) struct Pages {
    registry: Arc<Registry>,
    places: Arc<Semaphore>,
}

/// There is no page.
pub(super) enum NoPage {
    /// Too many are being read.
    Busy,
    /// It could not be written.
    Failed(fmt::Error),
    /// Whoever wrote it panicked.
    Panicked,
}

impl Pages {
    pub(in crate::http) fn new(registry: Registry) -> Self {
        Self {
            registry: Arc::new(registry),
            places: Arc::new(Semaphore::new(MAX_PAGES)),
        }
    }

    /// The page of this moment.
    pub(super) async fn write(&self, format: Format) -> Result<Page, NoPage> {
        let place = tokio::time::timeout(PLACE_WITHIN, self.places.clone().acquire_owned());
        // A semaphore that nobody closes gives a place, or time runs out.
        let Ok(Ok(place)) = place.await else {
            return Err(NoPage::Busy);
        };
        let registry = self.registry.clone();
        let written = actix_web::web::block(move || render(&registry, format));
        match written.await {
            Ok(Ok(text)) => Ok(Page {
                text: text.into(),
                place,
            }),
            Ok(Err(error)) => Err(NoPage::Failed(error)),
            Err(_) => Err(NoPage::Panicked),
        }
    }
}

/// All of it in OpenMetrics, in which the library writes.
pub(super) fn open_metrics(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

fn render(registry: &Registry, format: Format) -> Result<String, fmt::Error> {
    let text = open_metrics(registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::PrometheusText => text::to_prometheus(&text),
    })
}

/// A page with the place that it takes until it is read, or its connection ends.
pub(super) struct Page {
    text: Bytes,
    place: OwnedSemaphorePermit,
}

impl Page {
    /// In pieces: as a whole it would be copied once more for a connection that may not be read.
    pub(super) fn body(self) -> SizedStream<impl Stream<Item = Result<Bytes, fmt::Error>>> {
        let Self { mut text, place } = self;
        let size = text.len() as u64;
        let pieces = stream::poll_fn(move |_| {
            // Named, so that it goes with the pieces and comes free with them.
            let _held = &place;
            let next = text.len().min(PIECE);
            Poll::Ready((next > 0).then(|| Ok(text.split_to(next))))
        });
        SizedStream::new(size, pieces)
    }
}
