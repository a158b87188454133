//! Queues that tasks are sent to.

use headcount_actors::ports::BrokerError;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, ErrorKind, ExchangeKind};

use super::connect::{broken, refused};
use super::short::short;

/// The broker's answer to a passive declaration of a queue that does not exist.
const NOT_FOUND: u16 = 404;

/// Sees that a queue exists. One that does is left as it is, whatever its arguments; one that does not is made as
/// Celery would: durable, bound to a durable direct exchange of its own name.
pub(super) async fn make_sure_of(connection: &Connection, queue: &str) -> Result<(), BrokerError> {
    let queue = short(queue)?;
    let looking = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    // On a channel of its own, which the broker closes where the queue is not there.
    let channel = connection.create_channel().await.map_err(broken)?;
    let looked = channel
        .queue_declare(queue.clone(), looking, FieldTable::default())
        .await;
    match looked {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => declare(connection, &queue).await,
        Err(error) => Err(refused(error)),
    }
}

async fn declare(connection: &Connection, queue: &ShortString) -> Result<(), BrokerError> {
    let channel = connection.create_channel().await.map_err(broken)?;
    let lasting = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(queue.clone(), ExchangeKind::Direct, lasting, FieldTable::default())
        .await
        .map_err(refused)?;
    let lasting = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.clone(), lasting, FieldTable::default())
        .await
        .map_err(refused)?;
    channel
        .queue_bind(
            queue.clone(),
            queue.clone(),
            queue.clone(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(refused)
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(amqp) if amqp.get_id() == NOT_FOUND)
}
