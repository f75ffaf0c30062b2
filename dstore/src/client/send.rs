//! One shard on its way to one node: a task that takes batches from a bounded queue.
//!
//! Invariant: the end of a shard is sent only after the batch that is marked as the last, and nothing is sent to a node
//! that holds other bytes before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::pool::Lease;
use crate::erasure::Stripes;
use crate::id::ShardRoot;
use crate::merkle::TreeBuilder;
use crate::net::{Body, Link, LinkError, LinkWriter};
use crate::proto::{MAX_CONTROL_LEN, NodeReply, PutEnd, decode, encode};
use crate::rt::{Rt, Task};

/// Batches that wait for a node; the slowest one holds back the rest when its queue is full.
const QUEUE: usize = 3;
/// A paused source is bridged with a sign of life this often: nodes give up after 10 s.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);
/// An answer may come only after the whole body, whenever that ends.
const WHOLE_BODY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes a second that a node's disk is given to make a shard durable, besides the time-out.
const SLOW_DISK: u64 = 10_000_000;

/// Stripes for every sender.
pub(super) struct Batch {
    pub(super) stripes: Stripes,
    pub(super) last: bool,
}

/// A shard that was sent and answered.
pub(super) struct Sent {
    pub(super) reply: NodeReply,
    pub(super) root: ShardRoot,
    pub(super) len: u64,
    pub(super) lease: Lease,
}

/// Why a shard was not sent.
pub(super) enum Unsent {
    /// The node, or the way to it.
    Node(LinkError),
    /// The node holds something else than what is sent now: the source is another one than before.
    Changed,
}

impl From<LinkError> for Unsent {
    fn from(error: LinkError) -> Self {
        Self::Node(error)
    }
}

/// What a node has of a shard already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Whole blocks.
    pub(super) blocks: u64,
    /// Their hash.
    pub(super) root: ShardRoot,
}

/// The queue to a node.
pub(super) struct Sender {
    queue: async_channel::Sender<Arc<Batch>>,
    result: futures_channel::oneshot::Receiver<Result<Sent, Unsent>>,
    pace: Arc<Pace>,
    _task: Task,
}

/// The task at the other end has ended.
pub(super) struct Ended;

/// Starts to send shard `shard`, from what its node has of it, over a link whose node is ready for it.
pub(super) fn send(rt: &Rt, lease: Lease, shard: usize, held: Held, timeout: Duration) -> Sender {
    let (queue, batches) = async_channel::bounded(QUEUE);
    let (done, result) = futures_channel::oneshot::channel();
    let pace = Arc::new(Pace::default());
    let sending = Sending { rt: rt.clone(), shard, held, timeout, pace: pace.clone() };
    let task = rt.spawn(async move {
        let _ = done.send(sending.run(lease, batches).await);
    });
    Sender { queue, result, pace, _task: task }
}

impl Sender {
    /// Queues the next batch; waits while the queue is full.
    pub(super) async fn give(&self, batch: Arc<Batch>) -> Result<(), Ended> {
        self.queue.send(batch).await.map_err(|_| Ended)
    }

    /// The node's answer.
    pub(super) async fn finish(self) -> Result<Sent, Unsent> {
        drop(self.queue);
        self.result.await.unwrap_or(Err(Unsent::Node(LinkError::Closed)))
    }

    /// How fast the node takes bytes, as far as is known.
    pub(super) fn pace(&self, now: Duration) -> Measured {
        self.pace.measured(now)
    }
}

/// How long the link to a node was busy with how many bytes. What waits for other nodes does not count.
#[derive(Default)]
struct Pace {
    bytes: AtomicU64,
    busy_micros: AtomicU64,
    /// Since when it is busy now, microseconds; 0 when it is not.
    since: AtomicU64,
}

/// Bytes, and the time in which a node took them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) bytes: u64,
    pub(super) busy: Duration,
}

impl Measured {
    /// Bytes a second.
    pub(super) fn speed(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let bytes = self.bytes as f64;
        bytes / self.busy.max(Duration::from_millis(1)).as_secs_f64()
    }
}

impl Pace {
    fn micros(time: Duration) -> u64 {
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
    }

    fn begin(&self, now: Duration) {
        self.since.store(Self::micros(now), Ordering::Relaxed);
    }

    fn end(&self, now: Duration, bytes: u64) {
        let since = self.since.swap(0, Ordering::Relaxed);
        self.busy_micros.fetch_add(Self::micros(now).saturating_sub(since), Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn measured(&self, now: Duration) -> Measured {
        let under_way = match self.since.load(Ordering::Relaxed) {
            0 => 0,
            since => Self::micros(now).saturating_sub(since),
        };
        let busy = Duration::from_micros(self.busy_micros.load(Ordering::Relaxed) + under_way);
        Measured { bytes: self.bytes.load(Ordering::Relaxed), busy }
    }
}

struct Sending {
    rt: Rt,
    shard: usize,
    held: Held,
    timeout: Duration,
    pace: Arc<Pace>,
}

impl Sending {
    async fn run(self, mut lease: Lease, batches: async_channel::Receiver<Arc<Batch>>) -> Result<Sent, Unsent> {
        let (reply, root, len) = self.exchange(&mut lease.link, batches).await?;
        let reply = decode("node reply", &reply).map_err(LinkError::from)?;
        Ok(Sent { reply, root, len, lease })
    }

    /// Sends the body and reads the answer, watching all the while for a refusal.
    async fn exchange(
        &self,
        link: &mut Link,
        batches: async_channel::Receiver<Arc<Batch>>,
    ) -> Result<(Vec<u8>, ShardRoot, u64), Unsent> {
        let Link { reader, writer, .. } = link;
        let answer = std::pin::pin!(reader.control(MAX_CONTROL_LEN, WHOLE_BODY));
        let body = std::pin::pin!(self.send_body(writer, batches));
        match select(body, answer).await {
            Either::Left((Ok((root, len)), answer)) => {
                let wait = self.timeout + Duration::from_secs(len / SLOW_DISK);
                let reply = self.rt.timeout(wait, answer).await.map_err(LinkError::from)??;
                Ok((reply, root, len))
            }
            Either::Left((Err(Unsent::Changed), _)) => Err(Unsent::Changed),
            // A node that refuses in the middle says why before it hangs up.
            Either::Left((Err(error), answer)) => match self.rt.timeout(Duration::from_secs(1), answer).await {
                Ok(Err(refused @ LinkError::Refused(_))) => Err(refused.into()),
                _ => Err(error),
            },
            Either::Right((Ok(_), _)) => Err(LinkError::Protocol("an answer before the end of a body").into()),
            Either::Right((Err(error), _)) => Err(error.into()),
        }
    }

    async fn send_body(
        &self,
        writer: &mut LinkWriter,
        batches: async_channel::Receiver<Arc<Batch>>,
    ) -> Result<(ShardRoot, u64), Unsent> {
        let mut body = ShardBody { tree: TreeBuilder::new(), held: self.held, len: 0 };
        let mut silent_since = self.rt.uptime();
        loop {
            let batch = match self.rt.timeout(SIGN_OF_LIFE, batches.recv()).await {
                Ok(Ok(batch)) => Some(batch),
                Ok(Err(_)) => return Err(LinkError::Closed.into()),
                Err(_) => None,
            };
            let now = self.rt.uptime();
            let mut sent = 0;
            if let Some(batch) = &batch {
                self.pace.begin(now);
                sent = body.write(&batch.stripes, self.shard, writer).await?;
                self.pace.end(self.rt.uptime(), sent);
            }
            if sent > 0 {
                silent_since = self.rt.uptime();
            } else if now.saturating_sub(silent_since) >= SIGN_OF_LIFE {
                writer.pad();
                writer.flush().await?;
                silent_since = now;
            }
            if batch.is_some_and(|batch| batch.last) {
                break;
            }
        }
        let root = body.end()?;
        writer.data(&[], Body::End);
        writer.control(&encode(&PutEnd { root }));
        writer.flush().await?;
        Ok((root, body.len))
    }
}

/// A shard as it goes out: all of it is hashed, and what the node has is left out.
struct ShardBody {
    tree: TreeBuilder,
    held: Held,
    len: u64,
}

impl ShardBody {
    /// Writes the blocks that the node does not have; answers their bytes.
    async fn write(&mut self, stripes: &Stripes, shard: usize, writer: &mut LinkWriter) -> Result<u64, Unsent> {
        self.len += stripes.shard_bytes() as u64;
        let mut sent = 0;
        let mut at = 0;
        while at < stripes.count() && self.tree.count() < self.held.blocks {
            self.tree.push(stripes.leaf(at, shard), |_| ());
            at += 1;
            if self.tree.count() == self.held.blocks && self.tree.root() != Some(self.held.root) {
                return Err(Unsent::Changed);
            }
        }
        let stripe_indices: Vec<usize> = (at..stripes.count()).collect();
        for group in stripe_indices.chunks(3) {
            let blocks: Vec<&[u8]> = group.iter().map(|at| stripes.block(*at, shard)).collect();
            group.iter().for_each(|at| self.tree.push(stripes.leaf(*at, shard), |_| ()));
            sent += blocks.iter().map(|block| block.len() as u64).sum::<u64>();
            writer.data(&blocks, Body::More);
            writer.flush_if_full().await?;
        }
        Ok(sent)
    }

    /// The root of the whole shard.
    fn end(&self) -> Result<ShardRoot, Unsent> {
        if self.tree.count() < self.held.blocks {
            return Err(Unsent::Changed);
        }
        self.tree.root().ok_or(Unsent::Node(LinkError::Protocol("a shard without blocks")))
    }
}
