//! One shard on its way to one node: a task that takes batches from a bounded queue.
//!
//! Invariant: the end of a shard is sent only after the batch that is marked as the last.

use std::sync::Arc;
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

/// The queue to a node.
pub(super) struct Sender {
    queue: async_channel::Sender<Arc<Batch>>,
    result: futures_channel::oneshot::Receiver<Result<Sent, LinkError>>,
    _task: Task,
}

/// The task at the other end has ended.
pub(super) struct Ended;

/// Starts to send shard `shard` over a link whose node is ready for it.
pub(super) fn send(rt: &Rt, lease: Lease, shard: usize, timeout: Duration) -> Sender {
    let (queue, batches) = async_channel::bounded(QUEUE);
    let (done, result) = futures_channel::oneshot::channel();
    let env = rt.clone();
    let task = rt.spawn(async move {
        let _ = done.send(run(&env, lease, shard, batches, timeout).await);
    });
    Sender { queue, result, _task: task }
}

impl Sender {
    /// Queues the next batch; waits while the queue is full.
    pub(super) async fn give(&self, batch: Arc<Batch>) -> Result<(), Ended> {
        self.queue.send(batch).await.map_err(|_| Ended)
    }

    /// The node's answer.
    pub(super) async fn finish(self) -> Result<Sent, LinkError> {
        drop(self.queue);
        self.result.await.unwrap_or(Err(LinkError::Closed))
    }
}

async fn run(
    rt: &Rt,
    mut lease: Lease,
    shard: usize,
    batches: async_channel::Receiver<Arc<Batch>>,
    timeout: Duration,
) -> Result<Sent, LinkError> {
    let (reply, root, len) = exchange(rt, &mut lease.link, shard, batches, timeout).await?;
    Ok(Sent { reply: decode("node reply", &reply)?, root, len, lease })
}

/// Sends the body and reads the answer, watching all the while for a refusal.
async fn exchange(
    rt: &Rt,
    link: &mut Link,
    shard: usize,
    batches: async_channel::Receiver<Arc<Batch>>,
    timeout: Duration,
) -> Result<(Vec<u8>, ShardRoot, u64), LinkError> {
    let Link { reader, writer, .. } = link;
    let answer = std::pin::pin!(reader.control(MAX_CONTROL_LEN, WHOLE_BODY));
    let body = std::pin::pin!(send_body(rt, writer, shard, batches));
    match select(body, answer).await {
        Either::Left((Ok((root, len)), answer)) => {
            let wait = timeout + Duration::from_secs(len / SLOW_DISK);
            Ok((rt.timeout(wait, answer).await??, root, len))
        }
        // A node that refuses in the middle says why before it hangs up.
        Either::Left((Err(error), answer)) => match rt.timeout(Duration::from_secs(1), answer).await {
            Ok(Err(refused @ LinkError::Refused(_))) => Err(refused),
            _ => Err(error),
        },
        Either::Right((Ok(_), _)) => Err(LinkError::Protocol("an answer before the end of a body")),
        Either::Right((Err(error), _)) => Err(error),
    }
}

async fn send_body(
    rt: &Rt,
    writer: &mut LinkWriter,
    shard: usize,
    batches: async_channel::Receiver<Arc<Batch>>,
) -> Result<(ShardRoot, u64), LinkError> {
    let mut tree = TreeBuilder::new();
    let mut len = 0;
    loop {
        let batch = match rt.timeout(SIGN_OF_LIFE, batches.recv()).await {
            Ok(Ok(batch)) => batch,
            Ok(Err(_)) => return Err(LinkError::Closed),
            Err(_) => {
                writer.pad();
                writer.flush().await?;
                continue;
            }
        };
        let stripes = &batch.stripes;
        len += stripes.shard_bytes() as u64;
        let stripe_indices: Vec<usize> = (0..stripes.count()).collect();
        for group in stripe_indices.chunks(3) {
            let blocks: Vec<&[u8]> = group.iter().map(|at| stripes.block(*at, shard)).collect();
            group.iter().for_each(|at| tree.push(stripes.leaf(*at, shard), |_| ()));
            writer.data(&blocks, Body::More);
            writer.flush_if_full().await?;
        }
        if batch.last {
            break;
        }
    }
    let root = tree.root().ok_or(LinkError::Protocol("a shard without blocks"))?;
    writer.data(&[], Body::End);
    writer.control(&encode(&PutEnd { root }));
    writer.flush().await?;
    Ok((root, len))
}
