//! How a registry is reached from here, for whoever looks for what is wrong.

use std::time::Duration;

use super::Client;
use crate::address::RegistryAddr;
use crate::error::Result;
use crate::net::{Dialer, RegistryLink};
use crate::rt::Timestamp;

/// Time to reach a registry.
const CONNECT: Duration = Duration::from_secs(8);

/// What a handshake showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// How long it took, from name look-up to the end of the handshake.
    pub took: Duration,
    /// The other side's clock.
    pub clock: Timestamp,
    /// Our clock at about the same time.
    pub here: Timestamp,
}

impl Client {
    /// Connects to a registry, whether this client uses it or not, and proves its key and network label.
    ///
    /// # Errors
    /// [`Error::Peer`](crate::Error::Peer) when it cannot be reached, or is another one.
    pub async fn probe_registry(&self, address: &RegistryAddr) -> Result<Probe> {
        let client = &self.0;
        let dialer = Dialer::new(client.rt.clone(), CONNECT.min(client.settings.timeout));
        let local = client.owner.transport_key(address.id);
        let started = client.rt.uptime();
        let link = RegistryLink::open(&dialer, &local, client.settings.network, address).await;
        let link = link.map_err(|error| error.at(format!("registry at {}", address.endpoint)))?;
        let (ahead, here) = (link.clock_ahead(), client.rt.now());
        let difference = Duration::from_secs_f64(ahead.abs());
        let clock = if ahead < 0.0 { here.before(difference) } else { here.after(difference) };
        Ok(Probe { took: client.rt.uptime().saturating_sub(started), clock, here })
    }
}
