//! The first screen: what Headcount found, in words, for whoever has just started it.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use headcount_actors::ports::StatusView;
use headcount_core::detect::{BrokerState, FleetState};
use headcount_core::status::{BrokerStatus, FleetStatus, Status};

/// How long it waits for everything to be known before it says what is.
const WAIT_AT_MOST: Duration = Duration::from_secs(13);

/// Says once what has been found, as soon as that is known, on standard error.
pub(crate) fn spawn(view: StatusView, listen: SocketAddr) {
    actix_rt::spawn(async move {
        let status = settled(view).await;
        let text = text(&status, listen);
        if std::io::stderr().is_terminal() {
            // Whoever has closed standard error does not want to read it.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        } else {
            // Elsewhere the log is JSON, and every line of it has to be.
            text.lines()
                .filter(|line| !line.is_empty())
                .for_each(|line| tracing::info!("{}", line.trim()));
        }
    });
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

fn text(status: &Status, listen: SocketAddr) -> String {
    let mut text = format!(
        "\nheadcount {} is watching; http://{listen}\n",
        env!("CARGO_PKG_VERSION")
    );
    for broker in &status.brokers {
        text.push_str(&broker_line(broker));
        let own: Vec<_> = status
            .fleets
            .iter()
            .filter(|fleet| fleet.broker == broker.name)
            .collect();
        for fleet in &own {
            text.push_str(&fleet_line(fleet, status));
        }
        if own.is_empty() && broker.state == BrokerState::Heard {
            text.push_str("    no worker heard yet; a worker's heartbeats make it known (they are on by default)\n");
        }
    }
    text.push_str(
        "  alerts follow here or where the configuration says; `headcount status` shows this at any time\n\n",
    );
    text
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
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "    fleet {}: {}, {} of {} up ({shown}{more})\n",
        fleet.name, fleet.state, fleet.up, fleet.expected
    )
}

/// So many workers of a fleet are named.
const SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use headcount_core::time::Wall;

    fn broker(state: BrokerState, error: Option<&str>) -> BrokerStatus {
        BrokerStatus {
            name: "main".into(),
            address: "redis://127.0.0.1:6379/0".to_owned(),
            state,
            blocked: false,
            since: Wall::default(),
            error: error.map(str::to_owned),
            retry_at: None,
        }
    }

    #[test]
    fn a_broker_that_is_not_heard_is_said_with_its_reason() {
        let status = Status {
            brokers: vec![broker(BrokerState::Connecting, Some("refused: wrong password"))],
            ..Status::default()
        };
        let text = text(&status, ([127, 0, 0, 1], 8787).into());
        assert!(
            text.contains("broker main (redis://127.0.0.1:6379/0): NOT heard, trying again: refused: wrong password"),
            "{text}"
        );
    }

    #[test]
    fn a_broker_without_workers_is_said() {
        let status = Status {
            brokers: vec![broker(BrokerState::Heard, None)],
            ..Status::default()
        };
        assert!(text(&status, ([127, 0, 0, 1], 8787).into()).contains("no worker heard yet"));
    }
}
