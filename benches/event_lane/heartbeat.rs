//! Heartbeats of many workers.

use crate::wire::Message;

/// Fleets that the workers belong to, by their names: as many as a company may have on one broker.
pub(crate) const FLEETS: usize = 10;

/// The node name of the worker with this number.
pub(crate) fn hostname(worker: usize) -> String {
    format!("fleet{}@host{worker:05}", worker % FLEETS)
}

/// One heartbeat.
pub(crate) fn heartbeat(worker: usize, clock: usize) -> Message {
    let hostname = hostname(worker);
    let body = format!(
        "{{\"hostname\": \"{hostname}\", \"utcoffset\": 0.0, \"pid\": {}, \"clock\": {clock}, \"freq\": 2.0, \"active\": 3, \
         \"processed\": {}, \"loadavg\": [2.86, 3.16, 1.94], \"sw_ident\": \"py-celery\", \"sw_ver\": \"5.7.0\", \
         \"sw_sys\": \"Linux\", \"timestamp\": 1795486743.{:06}, \"type\": \"worker-heartbeat\"}}",
        1_000 + worker,
        clock / 2,
        clock % 1_000_000,
    );
    Message {
        routing_key: "worker.heartbeat",
        hostname,
        body,
        events: 1,
    }
}
