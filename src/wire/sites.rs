//! Where the actors of a broker meet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use compact_str::CompactString;
use headcount_actors::clock::Clock;
use headcount_actors::ports::SharedBroker;
use headcount_actors::probe_watch::ProbeWatch;
use headcount_core::detect::ledger::ConnectionLedger;
use headcount_core::detect::{BrokerState, Sight};
use headcount_core::status::{BrokerStatus, Status};
use headcount_edge::brokers;
use tokio::sync::watch;

use super::error::RunError;
use crate::config::Settings;
use crate::resume;

/// Where a broker's actors meet.
#[derive(Clone)]
pub(super) struct BrokerSite {
    pub(super) broker: SharedBroker,
    pub(super) sight: Arc<watch::Sender<Sight>>,
    pub(super) ledger: Arc<Mutex<ConnectionLedger>>,
    pub(super) probes: Arc<ProbeWatch>,
}

/// Where each broker is.
pub(super) fn addresses(sites: &BTreeMap<CompactString, BrokerSite>) -> resume::Addresses {
    sites
        .iter()
        .map(|(name, site)| (name.clone(), site.broker.address()))
        .collect()
}

/// What is known before anything has been tried: the brokers, and that each is being reached.
pub(super) fn first_status(sites: &BTreeMap<CompactString, BrokerSite>) -> Status {
    let now = Clock.now().wall;
    let connecting = |site: &BrokerSite| BrokerStatus {
        name: site.broker.name().into(),
        address: site.broker.address(),
        state: BrokerState::Connecting,
        blocked: false,
        refused: false,
        since: now,
        error: Some("connecting".to_owned()),
        retry_at: None,
        unmatched: 0,
    };
    Status {
        at: now,
        brokers: sites.values().map(connecting).collect(),
        ..Status::default()
    }
}

pub(super) fn open_brokers(settings: &Settings) -> Result<BTreeMap<CompactString, BrokerSite>, RunError> {
    let open = |broker: &crate::config::Broker| {
        let name = broker.config.name.clone();
        let opened = brokers::open(broker.config.clone());
        let opened = opened.map_err(|why| RunError::Broker {
            name: name.clone(),
            why,
        })?;
        let site = BrokerSite {
            broker: opened,
            sight: Arc::new(watch::channel(Sight::Blind).0),
            ledger: Arc::new(Mutex::new(ConnectionLedger::default())),
            probes: ProbeWatch::new(name.clone()),
        };
        Ok((name.as_str().into(), site))
    };
    settings.brokers.iter().map(open).collect()
}
