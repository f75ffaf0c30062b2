//! What a registry answers (docs/wire.md section 8, limits in section 9).
//!
//! Invariant: a node is listed only after its own session brought its own signed record, and it was seen where that
//! record says; registrations and departures are durable before they are answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dial_back::DialBack;
use super::membership::{Membership, Verdict};
use super::state::{Saved, State};
use super::watch::RegistryMetrics;
use crate::id::{NetworkId, NodeId};
use crate::net::{Link, ServerCounts, Service, Serving};
use crate::proto::{
    self, ListedNode, MAX_LISTED, MAX_NODE_LIST_LEN, NodeRecord, NodeState, Refusal, RegistryReply, RegistryRequest,
    Signed,
};
use crate::rt::{BoxFuture, Rt, Timestamp};

/// The most nodes offered to one upload.
const MAX_OFFERED: usize = 256;
/// The last request number that is served.
const LAST_REQUEST: u8 = 5;
/// What a list's reply holds besides its nodes, at most.
const LIST_OVERHEAD: usize = 16;

pub(super) struct RegistryService {
    pub(super) rt: Rt,
    pub(super) network: NetworkId,
    pub(super) heartbeat: Duration,
    pub(super) min_nodes: usize,
    pub(super) dial_back: DialBack,
    pub(super) members: Mutex<Membership>,
    /// Held from the last look at the members until they and the file are changed alike.
    pub(super) state: futures_util::lock::Mutex<State>,
    pub(super) metrics: RegistryMetrics,
}

impl Service for RegistryService {
    fn counts(&self) -> ServerCounts {
        self.metrics.server.clone()
    }

    fn serve(self: Arc<Self>, mut link: Link, serving: Serving) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some(request) = serving.next(&mut link).await {
                match self.counted(&link, &request).await {
                    Ok(reply) => link.writer.control(&proto::encode(&reply)),
                    Err(refusal) => link.writer.abort(refusal),
                }
                if link.writer.flush().await.is_err() {
                    return;
                }
            }
        })
    }
}

impl RegistryService {
    pub(super) fn members(&self) -> MutexGuard<'_, Membership> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.rt.now()
    }

    /// Answers a request, and notes what it was and how it ended.
    async fn counted(&self, link: &Link, request: &[u8]) -> Result<RegistryReply, Refusal> {
        let kind = self.metrics.requests.kind(request);
        let started = self.rt.uptime();
        let answer = self.answer(link, request).await;
        let outcome = answer.as_ref().map_or_else(|refusal| refusal.name(), |_| "ok");
        let took = self.rt.uptime().saturating_sub(started);
        self.metrics.requests.ended(kind, outcome, took);
        tracing::debug!(kind, outcome, ms = took.as_secs_f64() * 1000.0, "answered");
        answer
    }

    async fn answer(&self, link: &Link, request: &[u8]) -> Result<RegistryReply, Refusal> {
        if request.first().is_some_and(|number| *number > LAST_REQUEST) {
            return Err(Refusal::Unsupported);
        }
        match proto::decode("registry request", request).map_err(|_| Refusal::Malformed)? {
            RegistryRequest::Register(record) => self.register(link, record).await,
            RegistryRequest::Heartbeat(heartbeat) => {
                let known = self.members().heartbeat(link.peer, heartbeat, self.now());
                self.remember_quarantines().await;
                Ok(RegistryReply::Alive { known })
            }
            RegistryRequest::Deregister => self.deregister(link).await,
            RegistryRequest::ListForUpload => Ok(self.list_for_upload()),
            RegistryRequest::ListAll => Ok(self.list_all()),
            RegistryRequest::Lookup(ids) if ids.len() > MAX_LISTED => Err(Refusal::Malformed),
            RegistryRequest::Lookup(ids) => Ok(self.nodes(self.look_up(&ids))),
        }
    }

    async fn register(&self, link: &Link, signed: Signed<NodeRecord>) -> Result<RegistryReply, Refusal> {
        let record = signed.record(self.network).ok_or(Refusal::Denied)?;
        if record.noise_key != link.peer {
            return Err(Refusal::Denied);
        }
        let verdict = self.members().judge(&signed, &record, self.now())?;
        if verdict == Verdict::New {
            let seen = self.dial_back.see(&record, link.remote.ip()).await;
            self.metrics.dialled_back(seen);
            seen?;
        }
        let state = self.state.lock().await;
        // Others may have come while this one was dialled.
        let again = self.members().judge(&signed, &record, self.now())?;
        if again == Verdict::New && verdict != Verdict::New {
            return Err(Refusal::Busy);
        }
        if again != Verdict::Same {
            let saved = Saved { record: signed.clone(), last_seen: self.now() };
            state.save(&self.rt, record.id, saved).await.map_err(internal)?;
        }
        let (id, seq) = (record.id, record.seq);
        self.members().register(signed, record, self.now())?;
        drop(state);
        self.remember_quarantines().await;
        match again {
            Verdict::New => tracing::info!(node = %id, seq, "a node registered"),
            Verdict::Same | Verdict::Renewal => tracing::debug!(node = %id, seq, ?again, "a node registered again"),
        }
        Ok(RegistryReply::Registered { heartbeat: u64::try_from(self.heartbeat.as_millis()).unwrap_or(u64::MAX) })
    }

    async fn deregister(&self, link: &Link) -> Result<RegistryReply, Refusal> {
        let state = self.state.lock().await;
        let id = self.members().id_of(link.peer);
        if let Some(id) = id {
            state.remove(&self.rt, vec![id]).await.map_err(internal)?;
            self.members().deregister(link.peer, self.now());
            drop(state);
            self.remember_quarantines().await;
            self.metrics.departures.inc();
            tracing::info!(node = %id, "a node left");
        }
        Ok(RegistryReply::Deregistered)
    }

    /// So that nobody gets out of a quarantine when the registry restarts.
    async fn remember_quarantines(&self) {
        let (quarantined, now) = (self.members().take_quarantined(), self.now());
        if quarantined.is_empty() {
            return;
        }
        if let Err(error) = self.state.lock().await.quarantine(&self.rt, quarantined, now).await {
            tracing::warn!(%error, "cannot write the registry's state");
        }
    }

    /// Forgets nodes that died. To be called once per heartbeat interval.
    pub(super) async fn tick(&self) {
        self.forget_dead().await;
        self.remember_quarantines().await;
    }

    async fn forget_dead(&self) {
        let state = self.state.lock().await;
        let gone = {
            let mut members = self.members();
            members.tick(self.now());
            members.take_gone()
        };
        if gone.is_empty() {
            return;
        }
        self.metrics.deaths.inc_by(gone.len() as u64);
        for node in &gone {
            tracing::info!(%node, "a node is silent for too long, or its record ended: no longer listed");
        }
        if let Err(error) = state.remove(&self.rt, gone).await {
            // Should this registry restart, they come back as suspect and end again.
            tracing::warn!(%error, "cannot write the registry's state");
        }
    }

    fn list_for_upload(&self) -> RegistryReply {
        let mut active = self.members().active(self.now());
        if active.len() < self.min_nodes {
            return RegistryReply::NotEnough { active: count(active.len()), required: count(self.min_nodes) };
        }
        // Random, so that no node is favoured by its id, and no client sees only what a crowd of new ids leaves over.
        let offered = active.len().min(MAX_OFFERED);
        for place in 0..offered {
            let from = place + self.rt.below(active.len() - place);
            active.swap(place, from);
        }
        self.nodes(self.look_up(&active[..offered]))
    }

    fn list_all(&self) -> RegistryReply {
        let mut nodes: Vec<_> = self.members().each(self.now()).map(|(member, state)| member.listed(state)).collect();
        // Should not all fit, those that can be used come first.
        nodes.sort_by_key(|node| node.state != NodeState::Active);
        self.nodes(nodes)
    }

    fn look_up(&self, ids: &[NodeId]) -> Vec<ListedNode> {
        let (mut members, now) = (self.members(), self.now());
        ids.iter().filter_map(|id| members.find(*id, now).map(|(member, state)| member.listed(state))).collect()
    }

    fn nodes(&self, mut nodes: Vec<ListedNode>) -> RegistryReply {
        nodes.truncate(fitting(&nodes));
        RegistryReply::Nodes { nodes, required: count(self.min_nodes) }
    }
}

/// How many of the first nodes fit into one reply.
pub(super) fn fitting(nodes: &[ListedNode]) -> usize {
    let mut left = MAX_NODE_LIST_LEN - LIST_OVERHEAD;
    let fits = |node: &&ListedNode| {
        let rest = left.checked_sub(proto::encode(*node).len());
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    nodes.iter().take(MAX_LISTED).take_while(fits).count()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn internal(error: crate::error::Error) -> Refusal {
    tracing::error!(%error, "cannot write the registry's state");
    Refusal::Failed
}
