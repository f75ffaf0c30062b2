//! Blocks of one shard from one node: a task that keeps several requests under way on one link.
//!
//! Invariant: what comes out was proved to belong to the shard's root.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::Shared;
use super::pool::Lease;
use crate::error::{FaultKind, PeerProblem};
use crate::id::{NodeId, ShardRoot};
use crate::manifest::{Manifest, NodePlace};
use crate::merkle::{BLOCK_LEN, BlockRange, ProvedLeaves};
use crate::net::{Body, LinkError};
use crate::proto::{
    BlockRequest, CapabilityKey, MAX_CONTROL_LEN, NodeReply, NodeRequest, Refusal, Rights, ShardName, Signed, Token,
    decode, encode,
};
use crate::rt::{Task, Timestamp};

/// Requests under way on one link.
const DEPTH: usize = 4;
/// How long a shard that failed is left alone: twice as long after each failure.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(10);
/// A token's life, and after which part of it a new one is made.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
const TOKEN_FRESH: Duration = Duration::from_secs(1800);

/// One shard at its node.
#[derive(Clone)]
pub(super) struct ShardAccess {
    pub(super) node: NodePlace,
    pub(super) root: ShardRoot,
    pub(super) len: u64,
    pub(super) name: ShardName,
    capability: crate::signature::SecretKey,
}

impl ShardAccess {
    /// The authority over shard `index` of `manifest`, which whoever holds the manifest has.
    pub(super) fn new(manifest: &Manifest, index: usize) -> Self {
        let node = manifest.holder(index).clone();
        let capability = manifest.content_key.capability(node.id);
        let place = manifest.shards[index];
        let name = ShardName {
            capability: CapabilityKey::new(capability.public_key()),
            index: u8::try_from(index).unwrap_or(u8::MAX),
            generation: place.generation,
        };
        Self { node, root: place.root, len: manifest.shard_len, name, capability }
    }

    /// A token for this owner's own key toward the node.
    pub(super) fn token(&self, client: &Shared, rights: Rights) -> Signed<Token> {
        let now = client.rt.now();
        let token = Token {
            node: self.node.id,
            name: self.name,
            rights,
            holder: Some(client.owner.transport_key(self.node.id).public_key()),
            not_before: now,
            not_after: now.after(TOKEN_LIFE),
        };
        Signed::new(&token, &self.capability, client.settings.network, &[])
    }
}

/// What a shard could not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It belongs to the shard or its node.
    Fault(FaultKind),
    /// The reading task has ended.
    Ended,
}

/// Proved bytes of a shard, and how long its node will keep it.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) bytes: Vec<u8>,
    pub(super) lease_until: Timestamp,
}

type Answer = futures_channel::oneshot::Sender<Result<Fetched, Trouble>>;

struct Demand {
    range: BlockRange,
    answer: Answer,
    open: Arc<AtomicUsize>,
}

impl Demand {
    fn answer(self, result: Result<Fetched, Trouble>) {
        // Before the answer: whoever gets it may drop the fetcher at once.
        self.open.fetch_sub(1, Ordering::AcqRel);
        let _ = self.answer.send(result);
    }
}

/// The queue to a shard.
pub(super) struct Fetcher {
    demands: async_channel::Sender<Demand>,
    progress: Arc<AtomicU64>,
    /// Demands without an answer.
    open: Arc<AtomicUsize>,
    task: Option<Task>,
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // Between two demands the task ends by itself and gives its link back for the next get, which saves a handshake;
        // amid one it is ended, and its link with it.
        if self.open.load(Ordering::Acquire) == 0
            && let Some(task) = self.task.take()
        {
            task.detach();
        }
    }
}

impl Fetcher {
    /// Starts a task for one shard; it connects with the first demand.
    pub(super) fn start(client: &Arc<Shared>, shard: ShardAccess) -> Self {
        let (demands, queue) = async_channel::unbounded();
        let progress = Arc::new(AtomicU64::new(0));
        let waiting = VecDeque::new();
        let reading = Reading { client: client.clone(), shard, token: None, waiting, progress: progress.clone() };
        Self { demands, progress, open: Arc::default(), task: Some(client.rt.spawn(reading.run(queue))) }
    }

    /// Bytes that have arrived so far: a number that stands still means a node that does.
    pub(super) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// The blocks of `range`, proved.
    pub(super) async fn fetch(&self, range: BlockRange) -> Result<Fetched, Trouble> {
        let (answer, result) = futures_channel::oneshot::channel();
        // How many demands wait is bounded by whoever reads: it asks for a few windows at a time.
        self.open.fetch_add(1, Ordering::AcqRel);
        self.demands.try_send(Demand { range, answer, open: self.open.clone() }).map_err(|_| Trouble::Ended)?;
        result.await.unwrap_or(Err(Trouble::Ended))
    }
}

struct Reading {
    client: Arc<Shared>,
    shard: ShardAccess,
    token: Option<(Signed<Token>, Duration)>,
    /// Demands without an answer, oldest first.
    waiting: VecDeque<Demand>,
    progress: Arc<AtomicU64>,
}

/// What a shard's failures so far mean for the next demand.
struct Record {
    failures: u32,
    /// Until then every demand fails like the last one, at once.
    resting: Option<(Duration, Trouble)>,
}

impl Reading {
    async fn run(mut self, queue: async_channel::Receiver<Demand>) {
        let mut record = Record { failures: 0, resting: None };
        let mut patience = self.client.pool.patience();
        loop {
            if self.waiting.is_empty() {
                let Ok(demand) = queue.recv().await else { return };
                self.waiting.push_back(demand);
            }
            let now = self.client.rt.uptime();
            if let Some((_, trouble)) = record.resting.as_ref().filter(|(until, _)| now < *until) {
                self.fail(trouble);
                continue;
            }
            let lease = self.client.pool.open(&self.shard.node, record.failures == 0).await;
            let (error, cut) = match lease {
                Err(error) => (error, false),
                Ok(mut lease) => match self.serve(&mut lease, &queue).await {
                    Ok(()) => return self.client.pool.give_back(self.shard.node.id, lease),
                    Err((error, served)) => {
                        if served > 0 {
                            record.failures = 0;
                            patience = self.client.pool.patience();
                        }
                        // A node closes links that are idle or old, and a restarted one has closed all: that says nothing of it.
                        let cut = matches!(error, LinkError::Closed | LinkError::Broken(_));
                        (error, cut)
                    }
                },
            };
            if error.is_busy() && patience.wait().await {
                continue;
            }
            record.failures += 1;
            if cut && record.failures == 1 {
                continue;
            }
            let trouble = trouble(&error);
            self.fail(&trouble);
            let rest = LONGEST_REST.min(FIRST_REST * 2_u32.saturating_pow(record.failures - 1));
            record.resting = Some((self.client.rt.uptime() + rest, trouble));
        }
    }

    fn fail(&mut self, trouble: &Trouble) {
        self.waiting.drain(..).for_each(|demand| demand.answer(Err(trouble.clone())));
    }

    /// Serves demands until there are no more; those that wait already are asked for again. With an error comes how many were served.
    async fn serve(
        &mut self,
        lease: &mut Lease,
        queue: &async_channel::Receiver<Demand>,
    ) -> Result<(), (LinkError, usize)> {
        let mut served = 0;
        let again: Vec<BlockRange> = self.waiting.iter().map(|demand| demand.range).collect();
        for range in again {
            self.request(lease, range);
        }
        loop {
            while self.waiting.len() < DEPTH {
                let demand = if self.waiting.is_empty() {
                    match queue.recv().await {
                        Ok(demand) => demand,
                        Err(_) => return Ok(()),
                    }
                } else {
                    match queue.try_recv() {
                        Ok(demand) => demand,
                        Err(_) => break,
                    }
                };
                self.request(lease, demand.range);
                self.waiting.push_back(demand);
            }
            lease.link.writer.flush().await.map_err(|error| (error, served))?;
            let Some(range) = self.waiting.front().map(|demand| demand.range) else { continue };
            let fetched = self.receive(lease, range).await.map_err(|error| (error, served))?;
            if let Some(demand) = self.waiting.pop_front() {
                demand.answer(fetched.map_err(Trouble::Fault));
            }
            served += 1;
        }
    }

    fn request(&mut self, lease: &mut Lease, range: BlockRange) {
        let now = self.client.rt.uptime();
        let fresh = self.token.as_ref().filter(|(_, made)| now.saturating_sub(*made) < TOKEN_FRESH);
        let token = match fresh {
            Some((token, _)) => token.clone(),
            None => {
                let token = self.shard.token(&self.client, Rights::Read);
                self.token = Some((token.clone(), now));
                token
            }
        };
        let request = NodeRequest::Read(BlockRequest { token, first: range.first(), count: range.count() });
        lease.link.writer.control(&encode(&request));
    }

    /// The answer to the oldest request. The outer error ends the link; the inner one is the shard's, and the link goes on.
    async fn receive(&self, lease: &mut Lease, range: BlockRange) -> Result<Result<Fetched, FaultKind>, LinkError> {
        let reader = &mut lease.link.reader;
        let reply = match reader.control(MAX_CONTROL_LEN, self.client.settings.timeout).await {
            Ok(reply) => reply,
            Err(error) if error.is_refusal() => return Ok(Err(fault(&error))),
            Err(error) => return Err(error),
        };
        let NodeReply::Blocks { proof, lease_until } = decode("node reply", &reply)? else {
            return Err(LinkError::Protocol("another answer than blocks"));
        };
        let expected = byte_len(self.shard.len, range);
        let proved = ProvedLeaves::verify(self.shard.root, range, &proof);
        let mut bytes = Vec::with_capacity(expected + BLOCK_LEN);
        let mut checked = 0;
        let mut intact = proved.is_some();
        loop {
            let before = bytes.len();
            let body = reader.data(&mut bytes).await?;
            if body == Body::More && bytes.len() == before {
                return Err(LinkError::Protocol("a pad where a node has all the bytes"));
            }
            self.progress.fetch_add((bytes.len() - before) as u64, Ordering::Relaxed);
            if bytes.len() > expected {
                return Err(LinkError::Protocol("more bytes than were asked for"));
            }
            // Whole blocks are checked as they come; a bad answer is still read to its end, which is bounded.
            while let Some(proved) = proved.as_ref().filter(|_| intact) {
                let end = expected.min((checked + 1) * BLOCK_LEN);
                if checked * BLOCK_LEN >= expected || bytes.len() < end {
                    break;
                }
                intact = proved.matches(range.first() + checked as u64, &bytes[checked * BLOCK_LEN..end]);
                checked += 1;
            }
            if body == Body::End {
                break;
            }
        }
        let whole = intact && bytes.len() == expected;
        Ok(if whole { Ok(Fetched { bytes, lease_until }) } else { Err(FaultKind::Corrupt) })
    }
}

/// Bytes of the blocks in `range` of a shard of `len` bytes.
pub(super) fn byte_len(len: u64, range: BlockRange) -> usize {
    let start = range.first() * BLOCK_LEN as u64;
    let end = len.min((range.first() + range.count()) * BLOCK_LEN as u64);
    usize::try_from(end - start).expect("a window fits in memory")
}

/// What an answer says of a shard.
pub(super) fn fault(error: &LinkError) -> FaultKind {
    match error {
        LinkError::Refused(Refusal::NotFound) => FaultKind::Missing,
        LinkError::Refused(Refusal::Damaged) => FaultKind::Corrupt,
        error => FaultKind::Peer(error.problem()),
    }
}

fn trouble(error: &LinkError) -> Trouble {
    Trouble::Fault(fault(error))
}

/// Whether a fault may go away by itself, so that the shard may serve another time.
pub(super) fn may_heal(kind: &FaultKind) -> bool {
    match kind {
        FaultKind::Corrupt | FaultKind::Missing => false,
        FaultKind::Peer(problem) => !matches!(problem, PeerProblem::Missing),
    }
}

/// Who is meant in a report about `shard`.
pub(super) fn whom(shard: &ShardAccess) -> (NodeId, String, u8) {
    (shard.node.id, shard.node.hint.clone(), shard.name.index)
}
