//! What the registries say of nodes: the union of all that answer, each record checked against its node's signature.
//!
//! Invariant: a registry can hide nodes and add its own; it cannot forge, change or age one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::pool::Patience;
use super::{Network, NodeStatus, Settings};
use crate::address::RegistryAddr;
use crate::error::{Error, Result};
use crate::id::{NetworkId, NodeId};
use crate::keys::Owner;
use crate::manifest::NodePlace;
use crate::net::{Dialer, LinkError, RegistryLink};
use crate::placement::Candidate;
use crate::proto::{ListedNode, MAX_LISTED, NodeRecord, NodeState, RegistryReply, RegistryRequest, Signed};
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
    timeout: Duration,
    registries: Vec<Registry>,
    known: Mutex<HashMap<NodeId, (Signed<NodeRecord>, NodeRecord)>>,
    pins: HashSet<NodeId>,
    avoided: Mutex<HashMap<NodeId, Avoided>>,
}

/// A node that could not be reached lately.
#[derive(Debug, Clone, Copy)]
struct Avoided {
    failures: u32,
    until: Duration,
}

struct Registry {
    address: RegistryAddr,
    /// Not `async_lock`'s, which asks the system for the time.
    slot: futures_util::lock::Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    /// An idle link, and since when.
    link: Option<(RegistryLink, Duration)>,
    /// Why there was no answer the last time, and until when it is not asked again.
    failed: Option<(Arc<LinkError>, Duration)>,
    /// How often in a row there was none.
    failures: u32,
}

impl Slot {
    fn fail(&mut self, error: Arc<LinkError>, now: Duration) {
        let rest = RESTED.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST_REST);
        self.failures += 1;
        self.failed = Some((error, now + rest));
    }
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

#[cfg(test)]
impl UploadNode {
    pub(crate) fn new(place: NodePlace) -> Self {
        Self { place, free: u64::MAX, zone: String::new() }
    }
}

impl Candidate for UploadNode {
    fn zone(&self) -> Option<&str> {
        (!self.zone.is_empty()).then_some(&self.zone)
    }
}

/// A link that was silent for so long is not used again: a registry may have closed it.
const FRESH: Duration = Duration::from_secs(30);
/// A registry that failed to answer is not asked again for so long, and for twice as long each time it fails again: it
/// would cost every shard its time.
const RESTED: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// A node that could not be reached is the last choice for new shards for so long, twice as long each time.
const AVOIDED: Duration = Duration::from_secs(30);
const LONGEST_AVOIDED: Duration = Duration::from_secs(600);
/// Once the registries that have answered say enough, the others get so long.
const GRACE: Duration = Duration::from_secs(1);
/// A registry offers no more nodes to one upload, and so cannot ask for more.
const MAX_REQUIRED: u32 = 256;
const MAX_OFFERED: usize = 256;

impl Directory {
    pub(crate) fn new(rt: &Rt, settings: &Settings, owner: &Owner) -> Self {
        let registry =
            |address: &RegistryAddr| Registry { address: address.clone(), slot: futures_util::lock::Mutex::default() };
        Self {
            rt: rt.clone(),
            dialer: Dialer::new(rt.clone(), CONNECT.min(settings.timeout)),
            owner: owner.clone(),
            network: settings.network,
            timeout: settings.timeout,
            registries: settings.registries.iter().map(registry).collect(),
            known: Mutex::default(),
            pins: settings.pins.clone(),
            avoided: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<NodeId, (Signed<NodeRecord>, NodeRecord)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one registry; one that is busy again and again for a while.
    async fn ask(&self, registry: &Registry, request: &RegistryRequest) -> Result<RegistryReply, Arc<LinkError>> {
        let mut patience = Patience::new(&self.rt, self.timeout);
        loop {
            // The slot is free during the pauses, so that they do not add up for those who wait.
            let reply = self.ask_once(registry, request).await;
            match reply {
                Err(error) if error.is_busy() && patience.wait().await => {}
                reply => return reply,
            }
        }
    }

    async fn ask_once(&self, registry: &Registry, request: &RegistryRequest) -> Result<RegistryReply, Arc<LinkError>> {
        let mut slot = registry.slot.lock().await;
        // Those who waited for the slot while another one's attempt failed are told the same, and do not wait once more.
        if let Some((error, until)) = &slot.failed
            && self.rt.uptime() < *until
        {
            return Err(error.clone());
        }
        slot.failed = None;
        let reply = self.exchange(registry, &mut slot, request).await.map_err(Arc::new);
        match &reply {
            Err(error) if !matches!(**error, LinkError::Refused(_)) && !error.is_busy() => {
                slot.fail(error.clone(), self.rt.uptime());
            }
            _ => slot.failures = 0,
        }
        reply
    }

    async fn exchange(
        &self,
        registry: &Registry,
        slot: &mut Slot,
        request: &RegistryRequest,
    ) -> Result<RegistryReply, LinkError> {
        let now = self.rt.uptime();
        if let Some((mut link, since)) = slot.link.take()
            && now.saturating_sub(since) < FRESH
        {
            match link.ask(request).await {
                Ok(reply) => {
                    slot.link = Some((link, self.rt.uptime()));
                    return Ok(reply);
                }
                // It was silent for its whole time: a new link would cost the same again.
                Err(error @ LinkError::Stalled(_)) => return Err(error),
                // The registry may have closed it since, or was restarted.
                Err(_) => {}
            }
        }
        let local = self.owner.transport_key(registry.address.id);
        let mut link = RegistryLink::open(&self.dialer, &local, self.network, &registry.address).await?;
        let reply = link.ask(request).await?;
        slot.link = Some((link, self.rt.uptime()));
        Ok(reply)
    }

    /// Asks every registry at once. Once the answers are `enough`, those that are much slower count as failed, and until
    /// then all are waited for: an honest one may be the slowest. The errors name theirs.
    async fn ask_all(
        &self,
        request: &RegistryRequest,
        enough: impl Fn(&[Option<Reply>]) -> bool,
    ) -> Vec<Result<RegistryReply, Error>> {
        let ask = |(place, registry)| async move { (place, self.ask(registry, request).await) };
        let mut running: FuturesUnordered<_> = self.registries.iter().enumerate().map(ask).collect();
        let mut replies: Vec<Option<Reply>> = self.registries.iter().map(|_| None).collect();
        let mut until = None;
        loop {
            let next = match until {
                None => running.next().await,
                Some(until) => {
                    let left = self.rt.uptime().min(until);
                    self.rt.timeout(until - left, running.next()).await.unwrap_or(None)
                }
            };
            let Some((place, reply)) = next else { break };
            replies[place] = Some(reply);
            if until.is_none() && enough(&replies) {
                until = Some(self.rt.uptime() + GRACE);
            }
        }
        // Ends the attempts that are still under way, and frees their slots.
        drop(running);
        let late = |registry: &Registry| {
            let error = Arc::new(LinkError::Stalled(GRACE));
            if let Some(mut slot) = registry.slot.try_lock() {
                slot.fail(error.clone(), self.rt.uptime());
            }
            error
        };
        let told = |(registry, reply): (&Registry, Option<Reply>)| {
            reply.unwrap_or_else(|| Err(late(registry))).map_err(|error| Error::Peer {
                peer: format!("registry at {}", registry.address.endpoint),
                problem: error.problem(),
                source: Some(Box::new(error)),
            })
        };
        self.registries.iter().zip(replies).map(told).collect()
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
        // One that lists nothing does not say that there is nothing.
        let enough = |replies: &[Option<Reply>]| {
            answered(replies).any(|reply| matches!(reply, RegistryReply::Nodes { nodes, .. } if !nodes.is_empty()))
        };
        let replies = self.ask_all(&RegistryRequest::Lookup(vec![id]), enough).await;
        let listed = replies.into_iter().flatten().flat_map(|reply| listed_nodes(reply, 1));
        let records = listed.filter_map(|node| self.check(&node.record)).filter(|record| record.id == id);
        records.max_by_key(|record| record.seq).map(|record| node_place(&record))
    }

    /// Where every node is that the registries list, in whatever state.
    ///
    /// # Errors
    /// As [`Directory::network`].
    pub(crate) async fn places(&self) -> Result<Vec<NodePlace>> {
        let network = self.network().await?;
        let mut places = Vec::with_capacity(network.nodes.len());
        for NodeStatus { id, .. } in network.nodes {
            let known = self.known().get(&id).map(|(_, record)| node_place(record));
            // So many nodes that some were forgotten already.
            places.extend(if known.is_some() { known } else { self.look_up(id).await });
        }
        Ok(places)
    }

    /// A node could not be reached: for a while it is the last choice for new shards.
    pub(crate) fn avoid(&self, node: NodeId) {
        let now = self.rt.uptime();
        let mut avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        if avoided.len() >= MAX_KNOWN {
            avoided.retain(|_, avoided| avoided.until > now);
        }
        let known = avoided.entry(node).or_insert(Avoided { failures: 0, until: now });
        // Attempts that were made together count once.
        if known.until <= now {
            let long = AVOIDED.saturating_mul(1_u32.checked_shl(known.failures).unwrap_or(u32::MAX));
            (known.failures, known.until) = (known.failures + 1, now + long.min(LONGEST_AVOIDED));
        }
    }

    /// A node was reached.
    pub(crate) fn trust(&self, node: NodeId) {
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }

    fn is_avoided(&self, node: NodeId) -> bool {
        let avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        avoided.get(&node).is_some_and(|avoided| avoided.until > self.rt.uptime())
    }

    /// The nodes that can take new shards, at least `needed`: in random order, those of each registry in turn, and those
    /// that could not be reached lately last.
    ///
    /// # Errors
    /// [`Error::NotEnoughNodes`]; [`Error::Config`] without any registry; the last one's error when none answers.
    pub(crate) async fn upload_nodes(&self, needed: usize) -> Result<Vec<UploadNode>> {
        self.any_registry()?;
        // How many there are in all is not known before their records are checked: this is where waiting begins to end.
        let enough = |replies: &[Option<Reply>]| {
            let listed = |reply: &RegistryReply| match reply {
                RegistryReply::Nodes { nodes, .. } => nodes.len(),
                _ => 0,
            };
            answered(replies).map(listed).max().unwrap_or(0) >= needed
        };
        let (mut failed, mut has_answer, mut active) = (None, false, 0);
        let (mut named, mut lists) = (Vec::new(), Vec::new());
        for reply in self.ask_all(&RegistryRequest::ListForUpload, enough).await {
            match reply {
                Err(error) => failed = Some(error),
                Ok(RegistryReply::NotEnough { active: found, required: wanted }) => {
                    has_answer = true;
                    active = active.max(capped(found));
                    named.push(wanted);
                }
                Ok(reply) => {
                    has_answer = true;
                    if let RegistryReply::Nodes { required, .. } = &reply {
                        named.push(*required);
                    }
                    lists.push(self.offered(reply));
                }
            }
        }
        if let (false, Some(error)) = (has_answer, failed) {
            return Err(error);
        }
        let mut nodes = take_turns(lists);
        let required = required(needed, &named);
        if nodes.len() < required {
            let active = active.max(nodes.len());
            return Err(Error::NotEnoughNodes { active, needed: required, refused: Vec::new() });
        }
        nodes.sort_by_key(|node| self.is_avoided(node.place.id));
        Ok(nodes)
    }

    /// The nodes of one list that can take new shards, in random order.
    fn offered(&self, reply: RegistryReply) -> Vec<UploadNode> {
        let mut nodes = Vec::new();
        for listed in listed_nodes(reply, MAX_OFFERED).iter().filter(|listed| listed.state == NodeState::Active) {
            let Some(record) = self.check(&listed.record).filter(|record| !record.draining) else { continue };
            if self.pins.is_empty() || self.pins.contains(&record.id) {
                let place = node_place(&record);
                nodes.push(UploadNode { place, free: listed.heartbeat.free, zone: record.zone });
            }
        }
        for at in (1..nodes.len()).rev() {
            nodes.swap(at, self.rt.below(at + 1));
        }
        nodes
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
        let mut named = Vec::new();
        let (mut unreachable, mut odd) = (Vec::new(), Vec::new());
        let mut failed = None;
        let enough = |replies: &[Option<Reply>]| answered(replies).next().is_some();
        for (registry, reply) in self.registries.iter().zip(self.ask_all(&RegistryRequest::ListAll, enough).await) {
            match reply {
                Err(error) => {
                    unreachable.push((registry.address.to_string(), error.to_string()));
                    failed = Some(error);
                }
                Ok(reply) => {
                    if let RegistryReply::Nodes { required, .. } = &reply {
                        named.push(*required);
                    }
                    let mut bad = 0_usize;
                    for listed in listed_nodes(reply, MAX_LISTED) {
                        let Some(record) = self.check(&listed.record) else {
                            bad += 1;
                            continue;
                        };
                        let status = node_status(record, &listed);
                        match nodes.get_mut(&status.id) {
                            Some(known) => merge(known, status),
                            None => drop(nodes.insert(status.id, status)),
                        }
                    }
                    if bad > 0 {
                        let what = format!("{bad} of the nodes that it lists have no genuine and current record");
                        odd.push((registry.address.to_string(), what));
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
                Ok(Network { nodes, active, required: required(0, &named), unreachable, odd })
            }
        }
    }
}

/// How many nodes an upload waits for: the smallest number that a registry names, since one that lies must not stop all.
fn required(needed: usize, named: &[u32]) -> usize {
    named.iter().map(|&count| capped(count)).min().unwrap_or(0).max(needed)
}

fn capped(count: u32) -> usize {
    usize::try_from(count.min(MAX_REQUIRED)).unwrap_or(0)
}

/// What one registry said, or why it did not.
type Reply = Result<RegistryReply, Arc<LinkError>>;

fn answered(replies: &[Option<Reply>]) -> impl Iterator<Item = &RegistryReply> {
    replies.iter().flatten().filter_map(|reply| reply.as_ref().ok())
}

/// The first nodes of a list: one that is too long costs no more time than a good one.
fn listed_nodes(reply: RegistryReply, limit: usize) -> Vec<ListedNode> {
    match reply {
        RegistryReply::Nodes { mut nodes, .. } => {
            nodes.truncate(limit);
            nodes
        }
        _ => Vec::new(),
    }
}

/// One node of each list after another, so that a long list does not drown a short one.
fn take_turns(lists: Vec<Vec<UploadNode>>) -> Vec<UploadNode> {
    let (mut nodes, mut seen) = (Vec::new(), HashSet::new());
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    while !lists.is_empty() {
        lists.retain_mut(|list| match list.find(|node| !seen.contains(&node.place.id)) {
            Some(node) => {
                seen.insert(node.place.id);
                nodes.push(node);
                true
            }
            None => false,
        });
    }
    nodes
}

/// Adds what another registry says of a node: what was heard last counts, and who is active at one is active.
fn merge(known: &mut NodeStatus, other: NodeStatus) {
    let state = if [known.state, other.state].contains(&NodeState::Active) { NodeState::Active } else { other.state };
    if known.last_seen < other.last_seen {
        *known = NodeStatus { state, ..other };
    } else if state == NodeState::Active {
        known.state = state;
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

#[cfg(test)]
mod tests;
