//! Which nodes are listed, and in which state (docs/wire.md section 8).
//!
//! Invariant: no I/O and no clock; at most one node per id and per transport key, never more than the limit.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::id::{NodeId, NoiseKey};
use crate::proto::{CLOCK_SKEW, Heartbeat, ListedNode, NodeRecord, NodeState, Refusal, Signed};
use crate::rt::Timestamp;

/// A record counts for at most so long.
pub(crate) const RECORD_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Heartbeats missed by a suspect node.
const SUSPECT_AFTER: u32 = 3;
/// Heartbeats missed by a node that is no longer listed.
const DEAD_AFTER: u32 = 6;

/// When a node that comes and goes is not offered for uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantine {
    /// Changes (registered, left, died, came back) that are still fine within the window (5).
    pub changes: usize,
    /// The window in which changes are counted (10 min).
    pub window: Duration,
    /// How long a quarantine lasts after the last change that was too many (10 min).
    pub duration: Duration,
}

impl Default for Quarantine {
    fn default() -> Self {
        let ten_minutes = Duration::from_secs(600);
        Self { changes: 5, window: ten_minutes, duration: ten_minutes }
    }
}

/// The settings of a membership.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) heartbeat: Duration,
    pub(super) max_nodes: usize,
    pub(super) quarantine: Quarantine,
}

/// A listed node.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) record: NodeRecord,
    pub(super) signed: Signed<NodeRecord>,
    pub(super) heartbeat: Heartbeat,
    pub(super) last_seen: Timestamp,
    /// Since when it could have been heard and was not.
    silent_since: Timestamp,
    /// Not heard since this registry began, or could again, listen.
    unheard: bool,
}

impl Member {
    fn new(signed: Signed<NodeRecord>, record: NodeRecord, last_seen: Timestamp) -> Self {
        let heartbeat = Heartbeat {
            free: record.free,
            used: record.capacity.saturating_sub(record.free),
            connections: 0,
            draining: record.draining,
        };
        Self { record, signed, heartbeat, last_seen, silent_since: last_seen, unheard: false }
    }

    pub(super) fn listed(&self, state: NodeState) -> ListedNode {
        ListedNode { record: self.signed.clone(), state, last_seen: self.last_seen, heartbeat: self.heartbeat }
    }
}

/// What a registration is, before anything was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// These very bytes are listed.
    Same,
    /// A newer record of a node that is alive, at the addresses and with the key that are listed.
    Renewal,
    /// Something that must be seen before it is listed.
    New,
}

#[derive(Debug, Default)]
struct History {
    /// Within the window, oldest first, no more than decide about a quarantine.
    changes: VecDeque<Timestamp>,
    quarantined_until: Timestamp,
}

/// The listed nodes.
#[derive(Debug)]
pub(super) struct Membership {
    rules: Rules,
    members: BTreeMap<NodeId, Member>,
    keys: BTreeMap<NoiseKey, NodeId>,
    /// Of listed nodes and of those that left not long ago.
    histories: BTreeMap<NodeId, History>,
    /// Nodes that died and are not reported by [`Membership::take_gone`] yet.
    gone: Vec<NodeId>,
    quarantines: u64,
    /// Quarantines that are not reported by [`Membership::take_quarantined`] yet.
    quarantined: BTreeMap<NodeId, Timestamp>,
    latest: Timestamp,
}

impl Membership {
    pub(super) fn new(rules: Rules, now: Timestamp) -> Self {
        Self {
            rules,
            members: BTreeMap::new(),
            keys: BTreeMap::new(),
            histories: BTreeMap::new(),
            gone: Vec::new(),
            quarantines: 0,
            quarantined: BTreeMap::new(),
            latest: now,
        }
    }

    /// Lists a node that was listed before a restart: suspect until it is heard. False: its record has no use any more.
    pub(super) fn restore(
        &mut self,
        signed: Signed<NodeRecord>,
        record: NodeRecord,
        last_seen: Timestamp,
        now: Timestamp,
    ) -> bool {
        let now = self.tick(now);
        if self.judge(&signed, &record, now) != Ok(Verdict::New) {
            return false;
        }
        let mut member = Member::new(signed, record, last_seen);
        (member.silent_since, member.unheard) = (now, true);
        self.insert(member);
        true
    }

    /// What the registration of `record` would be.
    pub(super) fn judge(
        &mut self,
        signed: &Signed<NodeRecord>,
        record: &NodeRecord,
        now: Timestamp,
    ) -> Result<Verdict, Refusal> {
        let now = self.tick(now);
        let dated = record.issued <= now.after(CLOCK_SKEW)
            && record.not_after > now
            && record.not_after <= record.issued.after(RECORD_LIFE + CLOCK_SKEW);
        if !dated {
            return Err(Refusal::Expired);
        }
        if self.keys.get(&record.noise_key).is_some_and(|id| *id != record.id) {
            return Err(Refusal::Denied);
        }
        let Some(known) = self.members.get(&record.id) else {
            return if self.members.len() < self.rules.max_nodes { Ok(Verdict::New) } else { Err(Refusal::Busy) };
        };
        if known.signed.is_same(signed) {
            return Ok(Verdict::Same);
        }
        if record.seq <= known.record.seq {
            return Err(Refusal::Expired);
        }
        let in_place = known.record.noise_key == record.noise_key && known.record.endpoints == record.endpoints;
        Ok(if in_place && self.is_heard(known, now) { Verdict::Renewal } else { Verdict::New })
    }

    /// Lists a node, or replaces its record. Whoever calls this has seen the node where its record says.
    pub(super) fn register(
        &mut self,
        signed: Signed<NodeRecord>,
        record: NodeRecord,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let now = self.tick(now);
        let id = record.id;
        let verdict = self.judge(&signed, &record, now)?;
        let known = self.members.contains_key(&id);
        if known {
            self.hear(id, now);
        } else {
            self.change(id, now);
        }
        if verdict != Verdict::Same {
            self.insert(Member::new(signed, record, now));
        }
        Ok(())
    }

    /// The node with this transport key is alive. False: it is not listed.
    pub(super) fn heartbeat(&mut self, key: NoiseKey, heartbeat: Heartbeat, now: Timestamp) -> bool {
        let now = self.tick(now);
        let Some(id) = self.id_of(key) else { return false };
        self.hear(id, now);
        if let Some(member) = self.members.get_mut(&id) {
            member.heartbeat = heartbeat;
        }
        true
    }

    /// The listed node with this transport key.
    pub(super) fn id_of(&self, key: NoiseKey) -> Option<NodeId> {
        self.keys.get(&key).copied()
    }

    /// The node with this transport key leaves.
    pub(super) fn deregister(&mut self, key: NoiseKey, now: Timestamp) {
        let now = self.tick(now);
        if let Some(id) = self.id_of(key) {
            self.remove(id, now);
        }
    }

    /// Nodes that died and were not listed again since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<NodeId> {
        let mut gone = std::mem::take(&mut self.gone);
        gone.retain(|id| !self.members.contains_key(id));
        gone
    }

    /// Quarantines that began or were made longer since the last call, and until when they last.
    pub(super) fn take_quarantined(&mut self) -> BTreeMap<NodeId, Timestamp> {
        std::mem::take(&mut self.quarantined)
    }

    /// Goes on with a quarantine from before a restart; none lasts longer from now than a new one.
    pub(super) fn quarantine(&mut self, id: NodeId, until: Timestamp, now: Timestamp) {
        let until = until.min(now.after(self.rules.quarantine.duration));
        if until > now {
            // All the changes that are still fine: the next one makes it longer.
            let changes = std::iter::repeat_n(now, self.rules.quarantine.changes).collect();
            self.histories.insert(id, History { changes, quarantined_until: until });
        }
    }

    /// Nodes that can take new shards.
    pub(super) fn active(&mut self, now: Timestamp) -> Vec<NodeId> {
        self.each(now).filter(|(_, state)| *state == NodeState::Active).map(|(member, _)| member.record.id).collect()
    }

    /// How often a quarantine began.
    pub(super) fn quarantines(&self) -> u64 {
        self.quarantines
    }

    /// Every listed node.
    pub(super) fn each(&mut self, now: Timestamp) -> impl Iterator<Item = (&Member, NodeState)> {
        let now = self.tick(now);
        let this = &*self;
        this.members.values().map(move |member| (member, this.state(member, now)))
    }

    /// A listed node.
    pub(super) fn find(&mut self, id: NodeId, now: Timestamp) -> Option<(&Member, NodeState)> {
        let now = self.tick(now);
        self.members.get(&id).map(|member| (member, self.state(member, now)))
    }

    /// Takes note of the time: who is silent for too long, or whose record ended, is no longer listed.
    /// Answers the time, which goes back only when the clock was set back.
    pub(super) fn tick(&mut self, now: Timestamp) -> Timestamp {
        let gap = self.rules.heartbeat * SUSPECT_AFTER;
        if now.since(self.latest) > gap || self.latest.since(now) > gap {
            // This process slept, or the clock was set: the silence is ours, and says nothing of the nodes.
            for member in self.members.values_mut() {
                (member.silent_since, member.unheard) = (now, true);
            }
            if now < self.latest {
                self.histories.clear();
            }
            self.latest = now;
        }
        self.latest = self.latest.max(now);
        let silence = self.rules.heartbeat * DEAD_AFTER;
        let end = |member: &Member| member.silent_since.after(silence).min(member.record.not_after);
        let ends = self.members.iter().map(|(id, member)| (*id, end(member)));
        let dead: Vec<_> = ends.filter(|(_, end)| *end <= self.latest).collect();
        for (id, end) in dead {
            self.remove(id, end);
            self.gone.push(id);
        }
        let (latest, window) = (self.latest, self.rules.quarantine.window);
        self.histories.retain(|_, history| {
            history.quarantined_until > latest || history.changes.back().is_some_and(|at| latest.since(*at) < window)
        });
        self.latest
    }

    fn state(&self, member: &Member, now: Timestamp) -> NodeState {
        if !self.is_heard(member, now) {
            NodeState::Suspect
        } else if self.histories.get(&member.record.id).is_some_and(|history| history.quarantined_until > now) {
            NodeState::Quarantined
        } else if member.heartbeat.draining {
            NodeState::Draining
        } else {
            NodeState::Active
        }
    }

    fn is_heard(&self, member: &Member, now: Timestamp) -> bool {
        !member.unheard && now.since(member.silent_since) < self.rules.heartbeat * SUSPECT_AFTER
    }

    fn hear(&mut self, id: NodeId, now: Timestamp) {
        let Some(member) = self.members.get(&id) else { return };
        // A node that this registry could not hear did not come back: the registry did.
        let returns = !member.unheard && !self.is_heard(member, now);
        if let Some(member) = self.members.get_mut(&id) {
            (member.silent_since, member.last_seen, member.unheard) = (now, now, false);
        }
        if returns {
            self.change(id, now);
        }
    }

    fn insert(&mut self, member: Member) {
        let (id, key) = (member.record.id, member.record.noise_key);
        if let Some(old) = self.members.insert(id, member) {
            self.keys.remove(&old.record.noise_key);
        }
        self.keys.insert(key, id);
    }

    fn remove(&mut self, id: NodeId, at: Timestamp) {
        if let Some(member) = self.members.remove(&id) {
            self.keys.remove(&member.record.noise_key);
            self.change(id, at);
        }
    }

    fn change(&mut self, id: NodeId, at: Timestamp) {
        let Quarantine { changes, window, duration } = self.rules.quarantine;
        let history = self.histories.entry(id).or_default();
        history.changes.push_back(at);
        history.changes.retain(|earlier| at.since(*earlier) < window);
        if history.changes.len() > changes {
            history.changes.pop_front();
            self.quarantines += u64::from(history.quarantined_until <= at);
            history.quarantined_until = at.after(duration);
            self.quarantined.insert(id, history.quarantined_until);
        }
        self.forget_oldest();
    }

    /// Keeps what is remembered of nodes that left within a bound.
    fn forget_oldest(&mut self) {
        if self.histories.len() <= self.rules.max_nodes.saturating_mul(4) {
            return;
        }
        let left = self.histories.iter().filter(|(id, _)| !self.members.contains_key(id));
        if let Some(oldest) = left.min_by_key(|(_, history)| history.changes.back()).map(|(id, _)| *id) {
            self.histories.remove(&oldest);
            self.quarantined.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
