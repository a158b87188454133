//! A message of the event exchange as Celery 5.7 puts it on the wire (`tests/data/celery-wire`), for both brokers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Such as `worker.heartbeat`.
    pub(crate) routing_key: &'static str,
    /// Who sends it.
    pub(crate) hostname: String,
    /// JSON: an event, or a list of them.
    pub(crate) body: String,
    /// How many events these are.
    pub(crate) events: u64,
}

/// `PUBLISH` with kombu's envelope.
pub(crate) fn redis(message: &Message, number: usize) -> Vec<u8> {
    let channel = format!("/0.celeryev/{}", message.routing_key);
    let payload = format!(
        "{{\"body\": \"{}\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \
         \"headers\": {{\"hostname\": \"{}\"}}, \"properties\": {{\"delivery_mode\": 1, \
         \"delivery_info\": {{\"exchange\": \"celeryev\", \"routing_key\": \"{}\"}}, \"priority\": 0, \
         \"body_encoding\": \"base64\", \"delivery_tag\": \"7d3f1c1e-3f7c-4a0e-8a54-{number:012x}\"}}}}",
        STANDARD.encode(&message.body),
        message.hostname,
        message.routing_key,
    );
    format!(
        "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n",
        channel.len(),
        payload.len()
    )
    .into_bytes()
}

/// `basic.publish` on channel 1: the frames of method, properties and body.
pub(crate) fn rabbitmq(message: &Message, _: usize) -> Vec<u8> {
    use crate::amqp::{BODY, HEADER, METHOD, frame, long_string, short_string};

    let mut method = [60_u16.to_be_bytes(), 40_u16.to_be_bytes(), [0, 0]].concat();
    short_string(&mut method, "celeryev");
    short_string(&mut method, message.routing_key);
    method.push(0);

    let mut headers = Vec::new();
    short_string(&mut headers, "hostname");
    headers.push(b'S');
    long_string(&mut headers, message.hostname.as_bytes());

    let mut header = [60_u16.to_be_bytes(), [0, 0]].concat();
    header.extend((message.body.len() as u64).to_be_bytes());
    // Content type, content encoding, headers, delivery mode, priority.
    header.extend(0xf800_u16.to_be_bytes());
    short_string(&mut header, "application/json");
    short_string(&mut header, "utf-8");
    long_string(&mut header, &headers);
    header.extend([1, 0]);

    [
        frame(METHOD, 1, &method),
        frame(HEADER, 1, &header),
        frame(BODY, 1, message.body.as_bytes()),
    ]
    .concat()
}
