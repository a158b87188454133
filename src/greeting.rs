//! The first screen: what Headcount found, in words, for whoever has just started it.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use headcount_actors::ports::StatusView;
use headcount_core::detect::{BrokerState, FleetState};
use headcount_core::names;
use headcount_core::status::{BrokerStatus, FleetStatus, Status};
use tokio::task::JoinHandle;

/// How long it waits for everything to be known before it says what is.
const WAIT_AT_MOST: Duration = Duration::from_secs(13);

/// Says once what has been found, as soon as that is known, on standard error. Dropped before, it says nothing: what watched has
/// been stopped.
#[must_use]
pub(crate) fn spawn(view: StatusView, listen: SocketAddr) -> Greeting {
    Greeting(actix_rt::spawn(async move {
        let status = settled(view).await;
        let lines = lines(&status, listen);
        if std::io::stderr().is_terminal() {
            let text: String = lines.iter().map(|line| line.text.as_str()).collect();
            // Whoever has closed standard error does not want to read it.
            let _ = std::io::stderr().lock().write_all(format!("\n{text}\n").as_bytes());
        } else {
            // Elsewhere the log is JSON, and every line of it has to be.
            lines.iter().for_each(Line::log);
        }
    }))
}

/// What is being waited for to be said.
pub(crate) struct Greeting(JoinHandle<()>);

impl Drop for Greeting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The status once every broker is heard and every fleet has been judged, or when the wait is over.
async fn settled(mut view: StatusView) -> Status {
    let known = |status: &Status| {
        !status.fleets.is_empty()
            && status.brokers.iter().all(|broker| broker.state == BrokerState::Heard)
            && status.fleets.iter().all(|fleet| fleet.state != FleetState::Unknown)
    };
    let waiting = async {
        // A first moment for the workers' beats, which come every two seconds: one fleet heard is not all of them.
        tokio::time::sleep(FIRST_BEATS).await;
        // An error means that the aggregator is gone, and with it the program.
        let _ = view.wait_for(|status| known(status)).await.map(drop);
    };
    let _ = tokio::time::timeout(WAIT_AT_MOST, waiting).await;
    let status = view.borrow();
    Status::clone(&status)
}

/// Longer than one of Celery's heartbeat intervals.
const FIRST_BEATS: Duration = Duration::from_millis(2_500);

/// One line of the greeting, with its indentation and its end, and whom it is about.
#[derive(Debug, Default)]
pub(crate) struct Line {
    broker: Option<String>,
    fleet: Option<String>,
    text: String,
}

impl Line {
    fn of_broker(broker: &BrokerStatus, text: String) -> Self {
        Self {
            broker: Some(broker.name.to_string()),
            fleet: None,
            text,
        }
    }

    /// Each says whom it is about, so that the limit on storms takes many fleets for what they are; and what frames them comes
    /// from a place of its own, which they cannot use up.
    pub(crate) fn log(&self) {
        let text = self.text.trim();
        match (&self.broker, &self.fleet) {
            (None, _) => tracing::info!("{text}"),
            (Some(broker), None) => tracing::info!(broker, "{text}"),
            (Some(broker), Some(fleet)) => tracing::info!(broker, fleet, "{text}"),
        }
    }
}

pub(crate) fn lines(status: &Status, listen: SocketAddr) -> Vec<Line> {
    let frame = |text: String| Line {
        text,
        ..Line::default()
    };
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = vec![frame(format!("headcount {version} is watching; http://{listen}\n"))];
    for broker in &status.brokers {
        lines.push(Line::of_broker(broker, broker_line(broker)));
        let own: Vec<_> = status
            .fleets
            .iter()
            .filter(|fleet| fleet.broker == broker.name)
            .collect();
        for fleet in &own {
            lines.push(Line {
                fleet: Some(fleet.name.to_string()),
                ..Line::of_broker(broker, fleet_line(fleet, status))
            });
        }
        if own.is_empty() && broker.state == BrokerState::Heard {
            let text = "    no worker heard yet; a worker's heartbeats make it known (they are on by default)\n";
            lines.push(Line::of_broker(broker, text.to_owned()));
        }
    }
    lines.push(frame(
        "  alerts follow here or where the configuration says; `headcount status` shows this at any time\n".to_owned(),
    ));
    lines
}

fn broker_line(broker: &BrokerStatus) -> String {
    match (&broker.error, broker.state) {
        (None, BrokerState::Heard) => format!("  broker {} ({}): heard\n", broker.name, broker.address),
        (error, _) => format!(
            "  broker {} ({}): NOT heard, trying again: {}\n",
            broker.name,
            broker.address,
            error.as_deref().unwrap_or("connecting")
        ),
    }
}

fn fleet_line(fleet: &FleetStatus, status: &Status) -> String {
    let names: Vec<&str> = status
        .workers
        .iter()
        .filter(|worker| worker.fleet == fleet.name)
        .map(|worker| worker.hostname.as_str())
        .collect();
    let who = if names.is_empty() {
        String::new()
    } else {
        format!(" ({})", names::first(&names, SHOWN))
    };
    let unseen = if fleet.seen {
        ""
    } else {
        "; none of its workers has been seen yet"
    };
    format!(
        "    fleet {}: {}, {} of {} up{who}{unseen}\n",
        fleet.name, fleet.state, fleet.up, fleet.expected
    )
}

/// So many workers of a fleet are named.
const SHOWN: usize = 4;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use headcount_core::time::Wall;

    fn text(status: &Status) -> String {
        let lines = lines(status, ([127, 0, 0, 1], 8787).into());
        lines.into_iter().map(|line| line.text).collect()
    }

    pub(crate) fn broker(name: &str, state: BrokerState, error: Option<&str>) -> BrokerStatus {
        BrokerStatus {
            name: name.into(),
            address: "redis://127.0.0.1:6379/0".to_owned(),
            state,
            blocked: false,
            refused: false,
            since: Wall::default(),
            error: error.map(str::to_owned),
            retry_at: None,
            unmatched: 0,
        }
    }

    /// A fleet of one, who is not there.
    pub(crate) fn fleet(name: &str, broker: &str, state: FleetState) -> FleetStatus {
        FleetStatus {
            name: name.into(),
            broker: broker.into(),
            state,
            seen: true,
            expected: 1,
            minimum: 1,
            up: 0,
            suspect: 0,
            down: 0,
            stalled: 0,
            since: Wall::default(),
            queues: Vec::new(),
        }
    }

    #[test]
    fn a_broker_that_is_not_heard_is_said_with_its_reason() {
        let status = Status {
            brokers: vec![broker("main", BrokerState::Connecting, Some("refused: wrong password"))],
            ..Status::default()
        };
        let text = text(&status);
        assert!(
            text.contains("broker main (redis://127.0.0.1:6379/0): NOT heard, trying again: refused: wrong password"),
            "{text}"
        );
    }

    #[test]
    fn a_broker_without_workers_is_said() {
        let status = Status {
            brokers: vec![broker("main", BrokerState::Heard, None)],
            ..Status::default()
        };
        assert!(text(&status).contains("no worker heard yet"));
    }

    #[test]
    fn a_fleet_without_workers_names_none() {
        let status = Status {
            brokers: vec![broker("main", BrokerState::Heard, None)],
            fleets: vec![fleet("sms", "main", FleetState::Down)],
            ..Status::default()
        };
        assert!(
            text(&status).contains("fleet sms: down, 0 of 1 up\n"),
            "{}",
            text(&status)
        );
        let mut typo = fleet("smss", "main", FleetState::Healthy);
        (typo.seen, typo.expected) = (false, 0);
        let status = Status {
            fleets: vec![typo],
            ..status
        };
        assert!(
            text(&status).contains("fleet smss: healthy, 0 of 0 up; none of its workers has been seen yet\n"),
            "{}",
            text(&status)
        );
    }
}
