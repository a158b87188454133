//! A worker's heartbeat as Celery 5.7 puts it on the wire (`tests/data/celery-wire`), for both brokers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Fleets that the workers belong to, by their names: as many as a company may have on one broker.
const FLEETS: usize = 10;

/// The channel of Redis.
const CHANNEL: &str = "/0.celeryev/worker.heartbeat";

/// The node name of the worker with this number.
fn hostname(worker: usize) -> String {
    format!("fleet{}@host{worker:05}", worker % FLEETS)
}

fn body(worker: usize, clock: usize) -> String {
    format!(
        "{{\"hostname\": \"{}\", \"utcoffset\": 0.0, \"pid\": {}, \"clock\": {clock}, \"freq\": 2.0, \"active\": 3, \
         \"processed\": {}, \"loadavg\": [2.86, 3.16, 1.94], \"sw_ident\": \"py-celery\", \"sw_ver\": \"5.7.0\", \
         \"sw_sys\": \"Linux\", \"timestamp\": 1795486743.{:06}, \"type\": \"worker-heartbeat\"}}",
        hostname(worker),
        1_000 + worker,
        clock / 2,
        clock % 1_000_000,
    )
}

/// `PUBLISH` with kombu's envelope.
pub(crate) fn redis(worker: usize, clock: usize) -> Vec<u8> {
    let payload = format!(
        "{{\"body\": \"{}\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \
         \"headers\": {{\"hostname\": \"{}\"}}, \"properties\": {{\"delivery_mode\": 1, \
         \"delivery_info\": {{\"exchange\": \"celeryev\", \"routing_key\": \"worker.heartbeat\"}}, \"priority\": 0, \
         \"body_encoding\": \"base64\", \"delivery_tag\": \"7d3f1c1e-3f7c-4a0e-8a54-{clock:012x}\"}}}}",
        STANDARD.encode(body(worker, clock)),
        hostname(worker),
    );
    format!(
        "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{CHANNEL}\r\n${}\r\n{payload}\r\n",
        CHANNEL.len(),
        payload.len()
    )
    .into_bytes()
}

/// `basic.publish` on channel 1: the frames of method, properties and body.
pub(crate) fn rabbitmq(worker: usize, clock: usize) -> Vec<u8> {
    use crate::amqp::{BODY, HEADER, METHOD, frame, long_string, short_string};
    let body = body(worker, clock);

    let mut method = [60_u16.to_be_bytes(), 40_u16.to_be_bytes(), [0, 0]].concat();
    short_string(&mut method, "celeryev");
    short_string(&mut method, "worker.heartbeat");
    method.push(0);

    let mut headers = Vec::new();
    short_string(&mut headers, "hostname");
    headers.push(b'S');
    long_string(&mut headers, hostname(worker).as_bytes());

    let mut header = [60_u16.to_be_bytes(), [0, 0]].concat();
    header.extend((body.len() as u64).to_be_bytes());
    // Content type, content encoding, headers, delivery mode, priority.
    header.extend(0xf800_u16.to_be_bytes());
    short_string(&mut header, "application/json");
    short_string(&mut header, "utf-8");
    long_string(&mut header, &headers);
    header.extend([1, 0]);

    [
        frame(METHOD, 1, &method),
        frame(HEADER, 1, &header),
        frame(BODY, 1, body.as_bytes()),
    ]
    .concat()
}
