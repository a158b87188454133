//! Reads a range of the cursor field, in its order: the server goes on while what it has sent is folded, and while a step is
//! committed.

use std::sync::Arc;

use futures_util::StreamExt;
use mongodb::Collection;
use mongodb::bson::Document;
use mongodb::error::Error;
use mongodb::options::ReadConcern;
use mongodb::raw_batch_cursor::RawBatch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Documents in one answer of the server: some 400 KB of them where they are small. Its own bound is 16 MiB.
const BATCH: u32 = 4_000;
/// Answers that wait to be folded: they cover the time in which a step is committed.
const AHEAD: usize = 64;
/// What these answers may take together, in bytes. One that is larger alone than what is left waits for the others to go.
const MAX_AHEAD: u32 = 24 << 20;

/// An answer of the server, with its room among those that wait.
pub(super) struct Answer {
    pub(super) batch: RawBatch,
    _room: OwnedSemaphorePermit,
}

/// An open range.
pub(super) struct Reader {
    /// The last one says that it is the last: a reader that goes for any other reason has not read to the end.
    answers: mpsc::Receiver<Result<Option<Answer>, Error>>,
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
        let (send, answers) = mpsc::channel(AHEAD);
        let room = Arc::new(Semaphore::new(MAX_AHEAD as usize));
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
                let answer = match batch {
                    Ok(batch) => {
                        let size = u32::try_from(batch.as_raw_document().as_bytes().len()).unwrap_or(MAX_AHEAD);
                        // It is never closed; and whoever is not there to read any more does not want the answer.
                        let Ok(_room) = Arc::clone(&room).acquire_many_owned(size.min(MAX_AHEAD)).await else {
                            return;
                        };
                        Ok(Some(Answer { batch, _room }))
                    }
                    Err(error) => Err(error),
                };
                if send.send(answer).await.is_err() {
                    return;
                }
            }
            let _ = send.send(Ok(None)).await;
        };
        Self {
            answers,
            task: tokio::spawn(read),
        }
    }

    /// The next documents; none at the end of the range.
    pub(super) async fn next(&mut self) -> Result<Option<Answer>, Error> {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => Err(Error::custom("the reader has gone")),
        }
    }
}
