//! Reads a range of the cursor field, in its order: the next batch is on its way while one is folded.

use futures_util::StreamExt;
use mongodb::Collection;
use mongodb::bson::Document;
use mongodb::error::Error;
use mongodb::options::ReadConcern;
use mongodb::raw_batch_cursor::RawBatch;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Documents in one answer of the server.
const BATCH: u32 = 4_000;
/// Answers that wait to be folded: one is enough to hide the way of the next.
const AHEAD: usize = 2;

/// An open range.
pub(super) struct Reader {
    /// The last one says that it is the last: a reader that goes for any other reason has not read to the end.
    batches: mpsc::Receiver<Result<Option<RawBatch>, Error>>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The server's cursor goes with it.
        self.task.abort();
    }
}

impl Reader {
    /// Opens a range. What an election could take back is not read.
    pub(super) fn open(source: &Collection<Document>, filter: Document, sort: Document, projection: Document) -> Self {
        let (send, batches) = mpsc::channel(AHEAD);
        let source = source.clone();
        let read = async move {
            let found = source
                .find(filter)
                .sort(sort)
                .projection(projection)
                .batch_size(BATCH)
                .read_concern(ReadConcern::majority())
                .batch()
                .await;
            let mut cursor = match found {
                Ok(cursor) => cursor,
                Err(error) => {
                    // Whoever does not listen any more does not want to know.
                    let _ = send.send(Err(error)).await;
                    return;
                }
            };
            while let Some(batch) = cursor.next().await {
                if send.send(batch.map(Some)).await.is_err() {
                    return;
                }
            }
            let _ = send.send(Ok(None)).await;
        };
        Self {
            batches,
            task: tokio::spawn(read),
        }
    }

    /// The next documents; none at the end of the range.
    pub(super) async fn next(&mut self) -> Result<Option<RawBatch>, Error> {
        match self.batches.recv().await {
            Some(batch) => batch,
            None => Err(Error::custom("the reader has gone")),
        }
    }
}
