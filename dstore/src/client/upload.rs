//! Bringing a content's shards to their nodes (ARCHITECTURE.md, the life of a put).
//!
//! Invariant: what comes back has a checked receipt for every shard, and the places tolerate what was asked.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;

use super::directory::UploadNode;
use super::edit::Abandoned;
use super::send::{Batch, Sender, Sent, send};
use super::source::{Content, ContentReader, OpenSource};
use super::{Progress, Reporter, Shared, Warning, WarningCode};
use crate::erasure::{CODEC_REED_SOLOMON, Stripes};
use crate::error::{Error, Fault, FaultKind, Result};
use crate::id::{NodeId, ShardRoot};
use crate::keys::ContentKey;
use crate::manifest::{Manifest, NodePlace, ShardPlace, check_record_len};
use crate::merkle::TreeBuilder;
use crate::net::{Link, LinkError};
use crate::path::FilePath;
use crate::placement::{deal, nodes_needed, redeal};
use crate::proto::{
    CapabilityKey, MAX_LEASE, MAX_SMALL_LEN, NodeReply, NodeRequest, PutOffer, Receipt, ShardName, Signed,
};
use crate::scheme::{Padding, Scheme, Shape};
use crate::seal::{Plaintext, SUITE_CMAC_SIV, Sealer};
use crate::signature::SecretKey;

/// Plaintext bytes that are sealed and coded in one job.
const BATCH_LEN: usize = 1 << 20;

/// What is to be stored.
pub(super) struct Order {
    pub(super) path: FilePath,
    pub(super) scheme: Scheme,
    pub(super) padding: Padding,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) reporter: Reporter,
}

/// How an attempt failed.
pub(super) enum Failed {
    /// A node failed when bytes were on their way: without it another attempt may succeed.
    Node(Fault, LinkError),
    /// Another attempt would fail in the same way.
    For(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::For(error)
    }
}

/// One attempt to bring a content to its nodes.
pub(super) struct Upload<'a> {
    pub(super) client: &'a Arc<Shared>,
    pub(super) order: &'a Order,
    /// Nodes that failed in an earlier attempt.
    pub(super) failed: &'a [Fault],
    key: ContentKey,
    started: std::time::Duration,
    /// Every shard that was offered to a node: what may have to be cleared away.
    offered: Mutex<Vec<(NodePlace, ShardName)>>,
}

/// A shard that is durable.
struct Stored {
    node: NodePlace,
    root: ShardRoot,
    generation: u32,
}

impl<'a> Upload<'a> {
    pub(super) fn new(client: &'a Arc<Shared>, order: &'a Order, failed: &'a [Fault]) -> Self {
        let (key, started) = (ContentKey::new(client.rt.random()), client.rt.uptime());
        Self { client, order, failed, key, started, offered: Mutex::default() }
    }

    /// Stores the content of `source`, from its start. What an attempt that fails, or is dropped, has stored, is retired.
    pub(super) async fn run(&self, source: &mut OpenSource) -> Result<Manifest, Failed> {
        let manifest = self.store(source).await?;
        self.offered().clear();
        Ok(manifest)
    }

    fn offered(&self) -> MutexGuard<'_, Vec<(NodePlace, ShardName)>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn store(&self, source: &mut OpenSource) -> Result<Manifest, Failed> {
        let Order { scheme, padding, .. } = *self.order;
        let total = source.len();
        let shard_len = total.map(|len| self.shape(padding.padded(len)).map(Shape::shard_len)).transpose()?;
        let nodes = self.candidates(shard_len).await?;
        let batch_segments = BATCH_LEN.div_ceil(scheme.segment_len());
        let mut reader = ContentReader::new(&self.client.rt, source, scheme, padding, batch_segments);
        let first = reader.next().await?.ok_or(Error::Internal { what: "a content has a first batch" })?;
        let (plain, last) = first;
        let is_small = last && self.shape(plain.len() as u64)?.shard_len() <= MAX_SMALL_LEN as u64;
        let stored = if is_small {
            self.store_small(plain, &nodes).await?
        } else {
            self.store_stream((plain, last), &mut reader, shard_len, &nodes, total).await?
        };
        let content = reader.content().ok_or(Error::Internal { what: "a stored content has ended" })?;
        Ok(self.manifest(content, &stored)?)
    }

    fn shape(&self, padded: u64) -> Result<Shape> {
        let limit = crate::scheme::MAX_SEGMENTS.saturating_mul(self.order.scheme.segment_len() as u64);
        Shape::new(self.order.scheme, padded).ok_or(Error::TooLarge { what: "the file (bytes)", size: padded, limit })
    }

    /// The nodes to use, best first: those that are full by their own account come last.
    async fn candidates(&self, shard_len: Option<u64>) -> Result<Vec<UploadNode>> {
        let needed = self.needed();
        let mut nodes = self.client.pool.upload_nodes(needed, self.order.scheme.shards()).await?;
        nodes.retain(|node| self.failed.iter().all(|fault| fault.node != node.place.id));
        let share = self.order.scheme.shards().div_ceil(nodes.len().max(1)) as u64;
        let wanted = shard_len.unwrap_or(0).saturating_mul(share);
        nodes.sort_by_key(|node| node.free < wanted);
        let draft: Vec<Stored> = (0..self.order.scheme.shards())
            .filter_map(|shard| nodes.get(shard % nodes.len().max(1)))
            .map(|node| Stored { node: node.place.clone(), root: ShardRoot::new([0; 32]), generation: u32::MAX })
            .collect();
        if draft.len() == self.order.scheme.shards() {
            let content = Content { size: u64::MAX >> 8, padded: u64::MAX >> 8, hash: [0; 32] };
            check_record_len(&self.draft(content, 0, &draft))?;
        }
        Ok(nodes)
    }

    fn needed(&self) -> usize {
        // The builder and `Put::run` refuse what no number of nodes can tolerate.
        nodes_needed(self.order.scheme, self.client.settings.tolerate).unwrap_or(usize::MAX)
    }

    fn offer(&self, node: NodeId, name: ShardName, len: Option<u64>, root: Option<ShardRoot>) -> PutOffer {
        let lease = u64::try_from(MAX_LEASE.as_millis()).unwrap_or(u64::MAX);
        PutOffer { node, name, len, lease, root }
    }

    fn name(&self, node: &NodePlace, shard: usize) -> (SecretKey, ShardName) {
        let capability = self.key.capability(node.id);
        let name = ShardName {
            capability: CapabilityKey::new(capability.public_key()),
            index: u8::try_from(shard).unwrap_or(u8::MAX),
            generation: u32::from_be_bytes(self.client.rt.random()),
        };
        self.offered().push((node.clone(), name));
        (capability, name)
    }

    async fn store_small(&self, plain: Plaintext, nodes: &[UploadNode]) -> Result<Vec<Stored>> {
        let sealer = Sealer::new(&self.key);
        let stripes = Arc::new(self.client.rt.cpu(move || Stripes::encode(plain.seal(&sealer, true))).await);
        self.place(nodes, |shard, node| {
            let stripes = stripes.clone();
            async move {
                let mut tree = TreeBuilder::new();
                (0..stripes.count()).for_each(|at| tree.push(stripes.leaf(at, shard), |_| ()));
                let root = tree.root().ok_or(LinkError::Protocol("a shard without blocks"))?;
                let bytes: Vec<u8> = (0..stripes.count()).flat_map(|at| stripes.block(at, shard)).copied().collect();
                let (capability, name) = self.name(&node, shard);
                let offer = self.offer(node.id, name, Some(bytes.len() as u64), Some(root));
                let make = |link: &Link| {
                    NodeRequest::PutSmall(Signed::new(&offer, &capability, self.client.settings.network, &link.session))
                };
                let reply = self.client.pool.ask(&node, make, Some(&bytes)).await?;
                self.check_receipt(&reply, node.id, name, root, bytes.len() as u64)?;
                Ok(Stored { node, root, generation: name.generation })
            }
        })
        .await
    }

    /// Gives every shard to a node by `attempt`; shards that a node does not take go to a spare one.
    async fn place<T, F>(&self, nodes: &[UploadNode], attempt: impl Fn(usize, NodePlace) -> F) -> Result<Vec<T>>
    where
        F: Future<Output = Result<T, LinkError>>,
    {
        let (scheme, tolerate) = (self.order.scheme, self.client.settings.tolerate);
        let mut refused: Vec<Fault> = self.failed.to_vec();
        let not_enough =
            |active: usize, refused: Vec<Fault>| Error::NotEnoughNodes { active, needed: self.needed(), refused };
        let Some(dealt) = deal(scheme, tolerate, nodes) else { return Err(not_enough(nodes.len(), refused)) };
        let mut dealt: Vec<Option<usize>> = dealt.into_iter().map(Some).collect();
        let mut done: Vec<Option<T>> = (0..scheme.shards()).map(|_| None).collect();
        let mut excluded = HashSet::new();
        loop {
            let due: Vec<(usize, usize)> = dealt
                .iter()
                .enumerate()
                .filter_map(|(shard, node)| node.filter(|_| done[shard].is_none()).map(|node| (shard, node)))
                .collect();
            let attempts = due.iter().map(|(shard, node)| attempt(*shard, nodes[*node].place.clone()));
            for ((shard, node), result) in due.iter().zip(join_all(attempts).await) {
                match result {
                    Ok(value) => done[*shard] = Some(value),
                    Err(error) => {
                        dealt[*shard] = None;
                        if excluded.insert(*node) {
                            let place = &nodes[*node].place;
                            refused.push(Fault::new(place.id, &place.hint, None, FaultKind::Peer(error.problem())));
                        }
                    }
                }
            }
            if dealt.iter().all(Option::is_some) {
                return Ok(done.into_iter().flatten().collect());
            }
            let usable: Vec<usize> = (0..nodes.len()).filter(|node| !excluded.contains(node)).collect();
            match redeal(scheme, tolerate, &dealt, &usable) {
                Some(again) => dealt = again.into_iter().map(Some).collect(),
                None => return Err(not_enough(usable.len(), refused)),
            }
            for fault in refused.iter().skip(self.failed.len()) {
                self.order.reporter.warn(Warning {
                    code: WarningCode::NodeReplaced,
                    node: fault.node,
                    address: fault.address.clone(),
                    shard: None,
                });
            }
        }
    }

    /// Opens a PUT for one shard: no body travels before the node has said that it will take it.
    async fn begin(&self, shard: usize, node: NodePlace, len: Option<u64>) -> Result<Open, LinkError> {
        let (capability, name) = self.name(&node, shard);
        let offer = self.offer(node.id, name, len, None);
        let make = |link: &Link| {
            NodeRequest::PutBegin(Signed::new(&offer, &capability, self.client.settings.network, &link.session))
        };
        match self.client.pool.call(&node, make, None).await? {
            // The sender starts at once: its signs of life bridge the time that other nodes take to get ready.
            (NodeReply::PutReady { have: 0, .. }, lease) => {
                let sender = send(&self.client.rt, lease, shard, self.client.settings.timeout);
                Ok(Open { sender, node, name })
            }
            _ => Err(LinkError::Protocol("no readiness for a new shard")),
        }
    }

    async fn store_stream(
        &self,
        first: (Plaintext, bool),
        reader: &mut ContentReader<'_>,
        shard_len: Option<u64>,
        nodes: &[UploadNode],
        total: Option<u64>,
    ) -> Result<Vec<Stored>, Failed> {
        let open = self.place(nodes, |shard, node| self.begin(shard, node, shard_len)).await?;
        let mut senders = Vec::with_capacity(open.len());
        let mut places = Vec::with_capacity(open.len());
        for Open { sender, node, name } in open {
            places.push((node, name));
            senders.push(sender);
        }
        let failed = |(node, name): &(NodePlace, ShardName), error: LinkError| {
            let kind = FaultKind::Peer(error.problem());
            Failed::Node(Fault::new(node.id, &node.hint, Some(name.index), kind), error)
        };
        match self.feed(first, reader, &senders, total).await {
            Ok(()) => {}
            Err(Stopped::Source(error)) => return Err(Failed::For(error)),
            Err(Stopped::Sender(shard)) => {
                let error = senders.swap_remove(shard).finish().await.err().unwrap_or(LinkError::Closed);
                return Err(failed(&places[shard], error));
            }
        }
        let mut stored = Vec::with_capacity(senders.len());
        for ((sender, place), done) in senders.into_iter().zip(places).zip(1_u64..) {
            let Sent { reply, root, len, lease } = sender.finish().await.map_err(|error| failed(&place, error))?;
            self.check_receipt(&reply, place.0.id, place.1, root, len).map_err(|error| failed(&place, error))?;
            let (node, name) = place;
            self.client.pool.give_back(node.id, lease);
            let size = reader.size();
            self.report(size, size.saturating_mul(done) / self.order.scheme.shards() as u64, Some(size));
            stored.push(Stored { node, root, generation: name.generation });
        }
        Ok(stored)
    }

    /// Reads, seals and codes batch after batch and hands each to every sender.
    async fn feed(
        &self,
        first: (Plaintext, bool),
        reader: &mut ContentReader<'_>,
        senders: &[Sender],
        total: Option<u64>,
    ) -> Result<(), Stopped> {
        use futures_util::stream::{FuturesOrdered, StreamExt};
        let rt = &self.client.rt;
        let depth = rt.cpu_threads() + 1;
        let mut jobs = FuturesOrdered::new();
        let mut next = Some(first);
        loop {
            while let Some((plain, last)) = next.take() {
                let sealer = Sealer::new(&self.key);
                jobs.push_back(rt.cpu(move || Batch { stripes: Stripes::encode(plain.seal(&sealer, last)), last }));
                if jobs.len() >= depth {
                    break;
                }
                next = reader.next().await?;
            }
            let Some(batch) = jobs.next().await else { return Ok(()) };
            let batch = Arc::new(batch);
            for (shard, sender) in senders.iter().enumerate() {
                sender.give(batch.clone()).await.map_err(|_| Stopped::Sender(shard))?;
            }
            self.report(reader.size(), 0, total);
            next = reader.next().await?;
        }
    }

    fn report(&self, done: u64, durable: u64, total: Option<u64>) {
        let elapsed = self.client.rt.uptime().saturating_sub(self.started);
        self.order.reporter.progress(Progress {
            bytes_done: done,
            bytes_durable: durable,
            bytes_total: total,
            elapsed,
        });
    }

    fn check_receipt(
        &self,
        reply: &NodeReply,
        node: NodeId,
        name: ShardName,
        root: ShardRoot,
        len: u64,
    ) -> Result<(), LinkError> {
        let NodeReply::Stored(signed) = reply else { return Err(LinkError::Protocol("no receipt for a shard")) };
        let receipt = signed.receipt(self.client.settings.network).ok_or(LinkError::Protocol("a forged receipt"))?;
        let Receipt { node: by, name: of, root: stored, len: held, lease_until, .. } = receipt;
        if (by, of, stored, held) != (node, name, root, len) || lease_until <= self.client.rt.now() {
            return Err(LinkError::Protocol("a receipt for something else"));
        }
        Ok(())
    }

    fn manifest(&self, content: Content, stored: &[Stored]) -> Result<Manifest> {
        let shard_len = self.shape(content.padded)?.shard_len();
        let manifest = self.draft(content, shard_len, stored);
        manifest.validate()?;
        if manifest.tolerates() < self.client.settings.tolerate {
            return Err(Error::Internal { what: "the shards were placed with less tolerance than asked for" });
        }
        Ok(manifest)
    }

    fn draft(&self, content: Content, shard_len: u64, stored: &[Stored]) -> Manifest {
        let mut nodes: Vec<NodePlace> = Vec::new();
        let mut shards = Vec::with_capacity(stored.len());
        for shard in stored {
            let at = nodes.iter().position(|node| node.id == shard.node.id).unwrap_or_else(|| {
                nodes.push(shard.node.clone());
                nodes.len() - 1
            });
            let node = u8::try_from(at).unwrap_or(u8::MAX);
            shards.push(ShardPlace { root: shard.root, node, generation: shard.generation });
        }
        Manifest {
            content_key: self.key.clone(),
            size: content.size,
            padded: content.padded,
            suite: SUITE_CMAC_SIV,
            codec: CODEC_REED_SOLOMON,
            scheme: self.order.scheme,
            padding: self.order.padding,
            shard_len,
            shards,
            nodes,
            content_hash: content.hash,
            created: self.client.rt.now(),
            path: self.order.path.clone(),
            attributes: self.order.attributes.clone(),
        }
    }
}

/// An attempt that failed, or was dropped by whoever waited for it, leaves nothing behind.
impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let offered = std::mem::take(&mut *self.offered());
        let shards = offered.into_iter().map(|(node, name)| Abandoned::new(&self.key, node, name)).collect();
        self.client.retire(shards, Reporter::default());
    }
}

/// Why no more batches could be handed on.
enum Stopped {
    /// The source failed.
    Source(Error),
    /// The sender of this shard has ended, and knows why.
    Sender(usize),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

/// A PUT that its node is ready for.
struct Open {
    sender: Sender,
    node: NodePlace,
    name: ShardName,
}
