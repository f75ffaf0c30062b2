//! Blocks of one shard from one node: a task that keeps several requests under way on one link.
//!
//! Invariant: what nobody waits for any more is not asked for, and ends a link on which it would take long.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::{Stream, StreamExt};

use super::Shared;
use super::intake::{Intake, Received, Requests};
use super::pace::{Budget, Load, Track};
use crate::error::{FaultKind, PeerProblem};
use crate::id::{NodeId, ShardRoot};
use crate::manifest::{Manifest, NodePlace};
use crate::merkle::{BLOCK_LEN, BlockRange};
use crate::net::{Link, LinkError, LinkWriter};
use crate::proto::{CapabilityKey, Refusal, Rights, ShardName, Signed, Token};
use crate::rt::{BoxFuture, Task, Timestamp};

/// Requests under way on one link, as many as docs/wire.md section 4 allows: over a long way they decide how much flows.
pub(super) const DEPTH: usize = 8;
/// How long a shard that failed is left alone: twice as long after each failure.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(10);
/// A token's life.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

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
    /// When it was last sent.
    sent: Duration,
    load: Load,
    open: Arc<AtomicUsize>,
}

impl Demand {
    fn answer(self, result: Result<Fetched, Trouble>) {
        // Whoever gets the answer may drop the fetcher at once: all else of the demand ends before.
        let Self { answer, load, open, .. } = self;
        drop(load);
        open.fetch_sub(1, Ordering::AcqRel);
        let _ = answer.send(result);
    }

    /// Whether nobody waits for it any more.
    fn is_unwanted(&self) -> bool {
        self.answer.is_canceled()
    }

    /// Lets go of what nobody waits for.
    fn wanted(self) -> Option<Self> {
        if !self.is_unwanted() {
            return Some(self);
        }
        self.answer(Err(Trouble::Ended));
        None
    }
}

/// The queue to a shard.
pub(super) struct Fetcher {
    demands: async_channel::Sender<Demand>,
    track: Arc<Track>,
    budget: Arc<Budget>,
    signs: Arc<Signs>,
    /// Demands without an answer.
    open: Arc<AtomicUsize>,
    task: Option<Task>,
}

/// What can be seen of a task from outside.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Bytes that came.
    pub(super) progress: AtomicU64,
    /// Whether it has a link.
    is_linked: AtomicBool,
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // A task with a link ends by itself and gives the link back for the next get, which saves a handshake, unless
        // what is still to come on it takes longer than that. One that is idle ends too; one that connects is ended.
        let ends = self.signs.is_linked.load(Ordering::Acquire) || self.open.load(Ordering::Acquire) == 0;
        if ends && let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl Fetcher {
    /// Starts a task for one shard; it connects with the first demand.
    pub(super) fn start(client: &Arc<Shared>, shard: ShardAccess, track: &Arc<Track>, budget: &Arc<Budget>) -> Self {
        let (demands, queue) = async_channel::unbounded();
        let signs = Arc::<Signs>::default();
        let intake = Intake {
            client: client.clone(),
            root: shard.root,
            len: shard.len,
            track: track.clone(),
            signs: signs.clone(),
        };
        let reading = Reading { requests: Requests::new(client, shard), intake, waiting: VecDeque::new() };
        let task = Some(client.rt.spawn(reading.run(Box::pin(queue))));
        Self { demands, track: track.clone(), budget: budget.clone(), signs, open: Arc::default(), task }
    }

    /// Bytes that have arrived so far: a number that stands still means a node that does.
    pub(super) fn progress(&self) -> u64 {
        self.signs.progress.load(Ordering::Relaxed)
    }

    /// The blocks of `range`, proved. Dropping the future gives them up.
    pub(super) async fn fetch(&self, range: BlockRange, len: usize) -> Result<Fetched, Trouble> {
        let (answer, result) = futures_channel::oneshot::channel();
        // How many demands wait is bounded by whoever reads: it asks for a few windows at a time.
        self.open.fetch_add(1, Ordering::AcqRel);
        let load = Load::new(&self.track, &self.budget, len as u64);
        let demand = Demand { range, answer, sent: Duration::ZERO, load, open: self.open.clone() };
        self.demands.try_send(demand).map_err(|_| Trouble::Ended)?;
        result.await.unwrap_or(Err(Trouble::Ended))
    }
}

type Queue = Pin<Box<async_channel::Receiver<Demand>>>;

struct Reading {
    requests: Requests,
    intake: Intake,
    /// Demands without an answer, oldest first.
    waiting: VecDeque<Demand>,
}

/// What a shard's failures so far mean for the next demand.
struct Record {
    failures: u32,
    /// Until then every demand fails like the last one, at once.
    resting: Option<(Duration, Trouble)>,
}

/// Why a link is of no further use.
enum Cut {
    Failed(LinkError),
    /// Nobody wants what is to come on it, and a new one is there sooner.
    Unwanted,
}

impl From<LinkError> for Cut {
    fn from(error: LinkError) -> Self {
        Self::Failed(error)
    }
}

impl Reading {
    async fn run(mut self, mut queue: Queue) {
        let mut record = Record { failures: 0, resting: None };
        let client = self.intake.client.clone();
        let node = self.requests.shard().node.clone();
        let mut patience = client.pool.patience();
        loop {
            self.waiting = self.waiting.drain(..).filter_map(Demand::wanted).collect();
            if self.waiting.is_empty() {
                let Some(demand) = queue.next().await else { return };
                self.waiting.extend(demand.wanted());
                continue;
            }
            let now = client.rt.uptime();
            if let Some((_, trouble)) = record.resting.as_ref().filter(|(until, _)| now < *until) {
                self.fail(trouble);
                continue;
            }
            let (error, cut) = match client.pool.open(&node, record.failures == 0).await {
                Err(error) => (error, false),
                Ok(mut lease) => {
                    let mut served = 0;
                    let is_linked = &self.intake.signs.clone().is_linked;
                    is_linked.store(true, Ordering::Release);
                    let ended = self.serve(&mut lease.link, &mut queue, &mut served).await;
                    is_linked.store(false, Ordering::Release);
                    if served > 0 {
                        record.failures = 0;
                        patience = client.pool.patience();
                    }
                    match ended {
                        Ok(()) => return client.pool.give_back(node.id, lease),
                        Err(Cut::Unwanted) => continue,
                        // A node closes links that are idle or old, and a restarted one has closed all: that says nothing of it.
                        Err(Cut::Failed(error @ (LinkError::Closed | LinkError::Broken(_)))) => (error, true),
                        Err(Cut::Failed(error)) => (error, false),
                    }
                }
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
            record.resting = Some((client.rt.uptime() + rest, trouble));
        }
    }

    fn fail(&mut self, trouble: &Trouble) {
        self.waiting.drain(..).for_each(|demand| demand.answer(Err(trouble.clone())));
    }

    /// Serves demands until there are no more, and counts them; those that wait already are asked for again.
    async fn serve(&mut self, link: &mut Link, queue: &mut Queue, served: &mut usize) -> Result<(), Cut> {
        let Self { requests, intake, waiting } = self;
        let Link { reader, writer, .. } = link;
        waiting.iter_mut().for_each(|demand| demand.sent = requests.add(writer, demand.range));
        // When what is to come and nobody wants must have come.
        let mut deadline: Option<BoxFuture<'static, ()>> = None;
        loop {
            if waiting.is_empty() {
                let Some(demand) = queue.next().await else { return Ok(()) };
                take(requests, writer, waiting, demand);
            }
            while waiting.len() < DEPTH
                && let Ok(demand) = queue.try_recv()
            {
                take(requests, writer, waiting, demand);
            }
            writer.flush().await?;
            let Some(front) = waiting.front() else { continue };
            let progress = AtomicU64::new(0);
            let mut receive = std::pin::pin!(intake.receive(reader, front.range, front.sent, &progress));
            let fetched = loop {
                let event = next_event(receive.as_mut(), waiting, queue, &mut deadline).await;
                match event {
                    Event::Received(fetched) => break fetched?,
                    Event::Asked(demand) => {
                        take(requests, writer, waiting, demand);
                        writer.flush().await?;
                    }
                    Event::Unwanted => {
                        let left: u64 = waiting.iter().map(|demand| demand.load.left()).sum();
                        let left = left.saturating_sub(progress.load(Ordering::Relaxed));
                        if !intake.track.known().is_worth_draining(left) {
                            return Err(Cut::Unwanted);
                        }
                        deadline = Some(intake.client.rt.sleep(intake.client.settings.hedge_after));
                    }
                    Event::Late => return Err(Cut::Unwanted),
                }
            };
            if let Some(mut demand) = waiting.pop_front() {
                demand.load.arrived(progress.load(Ordering::Relaxed));
                demand.answer(fetched.map_err(Trouble::Fault));
            }
            *served += 1;
        }
    }
}

/// Asks for what somebody still wants.
fn take(requests: &mut Requests, writer: &mut LinkWriter, waiting: &mut VecDeque<Demand>, demand: Demand) {
    if let Some(mut demand) = demand.wanted() {
        demand.sent = requests.add(writer, demand.range);
        waiting.push_back(demand);
    }
}

/// What happens on a link.
enum Event {
    Received(Received),
    Asked(Demand),
    /// Nobody waits for anything that is to come.
    Unwanted,
    /// Nor did it come soon.
    Late,
}

async fn next_event(
    mut receive: Pin<&mut impl Future<Output = Received>>,
    waiting: &mut VecDeque<Demand>,
    queue: &mut Queue,
    deadline: &mut Option<BoxFuture<'static, ()>>,
) -> Event {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(received) = receive.as_mut().poll(cx) {
            return Poll::Ready(Event::Received(received));
        }
        // Before the answers of earlier ones: over a long way what counts is how much is under way.
        if waiting.len() < DEPTH
            && let Poll::Ready(Some(demand)) = queue.as_mut().poll_next(cx)
        {
            return Poll::Ready(Event::Asked(demand));
        }
        if !waiting.iter_mut().all(|demand| demand.answer.poll_canceled(cx).is_ready()) {
            *deadline = None;
            return Poll::Pending;
        }
        match deadline {
            None => Poll::Ready(Event::Unwanted),
            Some(deadline) => Pin::new(deadline).poll(cx).map(|()| Event::Late),
        }
    })
    .await
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

#[cfg(test)]
mod tests;
