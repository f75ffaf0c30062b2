//! One question to a registry and its answer.

use std::time::Duration;

use super::{Dialer, Link, LinkError};
use crate::address::RegistryAddr;
use crate::id::NetworkId;
use crate::keys::TransportKey;
use crate::noise::{Expected, Role};
use crate::proto::{self, MAX_NODE_LIST_LEN, RegistryReply, RegistryRequest};

/// Time for a registry to answer; it dials back to a node before it lists it.
const ANSWER: Duration = Duration::from_secs(15);

/// A link to a registry.
pub(crate) struct RegistryLink(Link);

impl RegistryLink {
    /// Connects to the registry at `address`, and to no other.
    pub(crate) async fn open(
        dialer: &Dialer,
        local: &TransportKey,
        network: NetworkId,
        address: &RegistryAddr,
    ) -> Result<Self, LinkError> {
        dialer.connect(&address.endpoint, local, &expected(network, address)).await.map(Self)
    }

    /// Whether it is too old to be used for another question.
    pub(crate) fn is_retired(&self) -> bool {
        self.0.is_retired()
    }

    /// How far its clock was ahead of ours when the link opened, seconds.
    pub(crate) fn clock_ahead(&self) -> f64 {
        self.0.clock_ahead
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&mut self, request: &RegistryRequest) -> Result<RegistryReply, LinkError> {
        let reply = self.0.call(&proto::encode(request), MAX_NODE_LIST_LEN, ANSWER).await?;
        Ok(proto::decode("registry reply", &reply)?)
    }
}

fn expected(network: NetworkId, address: &RegistryAddr) -> Expected {
    Expected { id: address.id, noise_key: address.noise_key, role: Role::Registry, network }
}
