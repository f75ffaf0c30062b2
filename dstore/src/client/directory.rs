//! What the registries say of nodes: the union of all that answer, each record checked against its node's signature.
//!
//! Invariant: a registry can hide nodes and add its own; it cannot forge, change or age one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::{Network, NodeStatus, Settings};
use crate::address::RegistryAddr;
use crate::error::{Error, Result};
use crate::id::{NetworkId, NodeId};
use crate::keys::Owner;
use crate::manifest::NodePlace;
use crate::net::{Dialer, LinkError, RegistryLink};
use crate::placement::Candidate;
use crate::proto::{ListedNode, NodeRecord, NodeState, RegistryReply, RegistryRequest, Signed};
use crate::rt::Rt;

/// Time to reach a registry.
const CONNECT: Duration = Duration::from_secs(8);
/// Records that are remembered; a registry that lists more makes the client check some again.
const MAX_KNOWN: usize = 4096;

/// The registries of one client, and what they said.
#[derive(Debug)]
pub(crate) struct Directory {
    rt: Rt,
    dialer: Dialer,
    owner: Owner,
    network: NetworkId,
    registries: Vec<Registry>,
    known: Mutex<HashMap<NodeId, (Signed<NodeRecord>, NodeRecord)>>,
}

struct Registry {
    address: RegistryAddr,
    link: async_lock::Mutex<Option<(RegistryLink, Duration)>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.address)
    }
}

/// A node that can take new shards.
#[derive(Debug, Clone)]
pub(crate) struct UploadNode {
    pub(crate) place: NodePlace,
    pub(crate) free: u64,
    zone: String,
}

impl Candidate for UploadNode {
    fn zone(&self) -> Option<&str> {
        (!self.zone.is_empty()).then_some(&self.zone)
    }
}

/// A link that was silent for so long is not used again: a registry may have closed it.
const FRESH: Duration = Duration::from_secs(30);

impl Directory {
    pub(crate) fn new(rt: &Rt, settings: &Settings, owner: &Owner) -> Self {
        let registry =
            |address: &RegistryAddr| Registry { address: address.clone(), link: async_lock::Mutex::new(None) };
        Self {
            rt: rt.clone(),
            dialer: Dialer::new(rt.clone(), CONNECT.min(settings.timeout)),
            owner: owner.clone(),
            network: settings.network,
            registries: settings.registries.iter().map(registry).collect(),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<NodeId, (Signed<NodeRecord>, NodeRecord)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, registry: &Registry, request: &RegistryRequest) -> Result<RegistryReply, LinkError> {
        let mut slot = registry.link.lock().await;
        let now = self.rt.uptime();
        if let Some((mut link, since)) = slot.take()
            && now.saturating_sub(since) < FRESH
            && let Ok(reply) = link.ask(request).await
        {
            *slot = Some((link, now));
            return Ok(reply);
        }
        let local = self.owner.transport_key(registry.address.id);
        let mut link = RegistryLink::open(&self.dialer, &local, self.network, &registry.address).await?;
        let reply = link.ask(request).await?;
        *slot = Some((link, self.rt.uptime()));
        Ok(reply)
    }

    /// Asks every registry at once. The errors name theirs.
    async fn ask_all(&self, request: &RegistryRequest) -> Vec<Result<RegistryReply, Error>> {
        let ask = |registry| async move {
            let reply = self.ask(registry, request).await;
            reply.map_err(|error| error.at(format!("registry at {}", registry.address.endpoint)))
        };
        join_all(self.registries.iter().map(ask)).await
    }

    /// The record in a list, if it is genuine, unexpired and the newest known of its node.
    fn check(&self, signed: &Signed<NodeRecord>) -> Option<NodeRecord> {
        let now = self.rt.now();
        let known = self.known().values().find(|(known, _)| known.is_same(signed)).map(|(_, record)| record.clone());
        let record = match known {
            Some(record) => record,
            None => signed.record(self.network)?,
        };
        if record.not_after < now {
            return None;
        }
        let mut known = self.known();
        if known.len() >= MAX_KNOWN && !known.contains_key(&record.id) {
            known.clear();
        }
        match known.get(&record.id) {
            Some((_, newer)) if newer.seq > record.seq => Some(newer.clone()),
            _ => {
                known.insert(record.id, (signed.clone(), record.clone()));
                Some(record)
            }
        }
    }

    /// Where a node is, as far as is known without asking.
    pub(crate) fn newest(&self, place: &NodePlace) -> NodePlace {
        match self.known().get(&place.id) {
            Some((_, record)) if record.seq > place.seq => node_place(record),
            _ => place.clone(),
        }
    }

    /// Where a node is, as the registries say now.
    pub(crate) async fn look_up(&self, id: NodeId) -> Option<NodePlace> {
        let replies = self.ask_all(&RegistryRequest::Lookup(vec![id])).await;
        let listed = replies.into_iter().flatten().flat_map(listed_nodes);
        let records = listed.filter_map(|node| self.check(&node.record)).filter(|record| record.id == id);
        records.max_by_key(|record| record.seq).map(|record| node_place(&record))
    }

    /// The nodes that can take new shards, in random order; at least `needed`.
    ///
    /// # Errors
    /// [`Error::NotEnoughNodes`]; [`Error::Config`] without any registry; the last one's error when none answers.
    pub(crate) async fn upload_nodes(&self, needed: usize) -> Result<Vec<UploadNode>> {
        self.any_registry()?;
        let mut nodes: HashMap<NodeId, UploadNode> = HashMap::new();
        let (mut failed, mut answered, mut active, mut required) = (None, false, 0, needed);
        for reply in self.ask_all(&RegistryRequest::ListForUpload).await {
            match reply {
                Err(error) => failed = Some(error),
                Ok(RegistryReply::NotEnough { active: found, required: wanted }) => {
                    answered = true;
                    active = active.max(usize::try_from(found).unwrap_or(usize::MAX));
                    required = required.max(usize::try_from(wanted).unwrap_or(usize::MAX));
                }
                Ok(reply) => {
                    answered = true;
                    for listed in listed_nodes(reply) {
                        if let Some(record) = self.check(&listed.record).filter(|record| !record.draining) {
                            let node = UploadNode {
                                place: node_place(&record),
                                free: listed.heartbeat.free,
                                zone: record.zone,
                            };
                            nodes.insert(node.place.id, node);
                        }
                    }
                }
            }
        }
        if let (false, Some(error)) = (answered, failed) {
            return Err(error);
        }
        if nodes.len() < required {
            let active = active.max(nodes.len());
            return Err(Error::NotEnoughNodes { active, needed: required, refused: Vec::new() });
        }
        let mut nodes: Vec<UploadNode> = nodes.into_values().collect();
        nodes.sort_unstable_by_key(|node| node.place.id);
        for at in (1..nodes.len()).rev() {
            nodes.swap(at, self.rt.below(at + 1));
        }
        Ok(nodes)
    }

    fn any_registry(&self) -> Result<()> {
        if self.registries.is_empty() {
            return Err(Error::config(
                "no registry is configured: set DSTORE_REGISTRY, or run: dstore-cli init --registry ADDRESS",
            ));
        }
        Ok(())
    }

    /// What the registries say of the network.
    ///
    /// # Errors
    /// [`Error::Config`] without any registry; the last one's error when none answers.
    pub(crate) async fn network(&self) -> Result<Network> {
        self.any_registry()?;
        let mut nodes: HashMap<NodeId, NodeStatus> = HashMap::new();
        let mut required = 0;
        let mut unreachable = Vec::new();
        let mut failed = None;
        for (registry, reply) in self.registries.iter().zip(self.ask_all(&RegistryRequest::ListAll).await) {
            match reply {
                Err(error) => {
                    unreachable.push((registry.address.to_string(), error.to_string()));
                    failed = Some(error);
                }
                Ok(reply) => {
                    if let RegistryReply::Nodes { required: wanted, .. } = &reply {
                        required = required.max(usize::try_from(*wanted).unwrap_or(usize::MAX));
                    }
                    for listed in listed_nodes(reply) {
                        let Some(record) = self.check(&listed.record) else { continue };
                        let status = node_status(record, &listed);
                        let newer = nodes.get(&status.id).is_none_or(|known| known.last_seen < status.last_seen);
                        if newer {
                            nodes.insert(status.id, status);
                        }
                    }
                }
            }
        }
        match failed {
            Some(error) if unreachable.len() == self.registries.len() => Err(error),
            _ => {
                let mut nodes: Vec<NodeStatus> = nodes.into_values().collect();
                nodes.sort_unstable_by_key(|node| node.id);
                let active = nodes.iter().filter(|node| node.state == NodeState::Active).count();
                Ok(Network { nodes, active, required, unreachable })
            }
        }
    }
}

fn listed_nodes(reply: RegistryReply) -> Vec<ListedNode> {
    match reply {
        RegistryReply::Nodes { nodes, .. } => nodes,
        _ => Vec::new(),
    }
}

fn node_place(record: &NodeRecord) -> NodePlace {
    // A genuine record has at least one endpoint.
    let hint = record.endpoints.first().cloned().unwrap_or_default();
    NodePlace { id: record.id, noise_key: record.noise_key, seq: record.seq, hint }
}

fn node_status(record: NodeRecord, listed: &ListedNode) -> NodeStatus {
    NodeStatus {
        id: record.id,
        address: node_place(&record).hint,
        state: listed.state,
        capacity: record.capacity,
        free: listed.heartbeat.free,
        zone: record.zone,
        last_seen: listed.last_seen,
    }
}
