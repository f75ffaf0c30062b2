//! Bringing a content's shards to their nodes (ARCHITECTURE.md, the life of a put).
//!
//! Invariant: what comes back has a checked receipt for every shard, the places tolerate what was asked, and every
//! shard was made of the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;

use super::batches::Batches;
use super::directory::UploadNode;
use super::lane::{Lane, Lanes};
use super::note::{Notes, Offered};
use super::offer::{Answer, Offer, Offers};
use super::places::Places;
use super::send::{Batch, Held, send};
use super::source::{Content, ContentReader, OpenSource};
use super::{Progress, Reporter, Shared, Warning, WarningCode};
use crate::erasure::{CODEC_REED_SOLOMON, Stripes};
use crate::error::{Error, Fault, FaultKind, Result};
use crate::id::ShardRoot;
use crate::keys::ContentKey;
use crate::manifest::{Manifest, NodePlace, ShardPlace, check_record_len};
use crate::merkle::{BLOCK_LEN, TreeBuilder};
use crate::net::LinkError;
use crate::path::FilePath;
use crate::placement::nodes_needed;
use crate::proto::MAX_SMALL_LEN;
use crate::scheme::{Padding, Scheme, Shape};
use crate::seal::{Plaintext, SUITE_CMAC_SIV, Sealer};

/// Plaintext bytes that are sealed and coded in one job.
const BATCH_LEN: usize = 1 << 20;
/// How often the content is gone through for shards that are not at a node yet.
const MAX_PASSES: usize = 16;

/// What is to be stored.
pub(super) struct Order {
    pub(super) path: FilePath,
    pub(super) scheme: Scheme,
    pub(super) padding: Padding,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) reporter: Reporter,
}

impl Order {
    fn shape(&self, padded: u64) -> Result<Shape> {
        let limit = crate::scheme::MAX_SEGMENTS.saturating_mul(self.scheme.segment_len() as u64);
        Shape::new(self.scheme, padded).ok_or(Error::TooLarge { what: "the file (bytes)", size: padded, limit })
    }

    fn shard_len(&self, len: u64) -> Result<u64> {
        self.shape(self.padding.padded(len)).map(Shape::shard_len)
    }
}

/// How an upload failed.
pub(super) enum Failed {
    /// What nodes hold of an earlier attempt was made of other bytes: it must start over, with another key.
    Changed,
    /// For good, as far as this call is concerned.
    For(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::For(error)
    }
}

/// A content on its way to its nodes.
pub(super) struct Upload<'a> {
    pub(super) client: &'a Arc<Shared>,
    pub(super) order: &'a Order,
    pub(super) offers: Offers,
    pub(super) places: Places,
    /// Where each shard is offered now.
    current: BTreeMap<usize, Offer>,
    started: Duration,
    /// Whether an earlier process began it.
    resumed: bool,
    /// Bytes of shards that nodes had before this process began.
    pub(super) held: u64,
    /// Bytes of the content that every node had at some time.
    done: u64,
    /// What failed last.
    fault: Option<Fault>,
}

impl<'a> Upload<'a> {
    /// A content for some of `nodes`, none of whose shards were offered yet.
    pub(super) fn new(client: &'a Arc<Shared>, order: &'a Order, nodes: Vec<UploadNode>, offers: Offers) -> Self {
        let places = Places::new(order.scheme, client.settings.tolerate, nodes);
        let started = client.rt.uptime();
        let current = BTreeMap::new();
        Self { client, order, offers, places, current, started, resumed: false, held: 0, done: 0, fault: None }
    }

    /// Goes on with what an earlier process offered.
    pub(super) fn take_over(&mut self, offered: Vec<Offered>) {
        self.resumed = true;
        for offered in offered {
            let shard = usize::from(offered.index);
            self.places.take_over(shard, &offered.node, offered.generation);
            let offer = self.offers.again(offered);
            self.current.insert(shard, offer);
        }
    }

    /// Stores the content of `source`, from its start.
    pub(super) async fn run(&mut self, source: &mut OpenSource) -> Result<Manifest, Failed> {
        let shard_len = source.len().map(|len| self.order.shard_len(len)).transpose()?;
        let total = source.len();
        let mut content = None;
        for pass in 0..MAX_PASSES {
            let mut batches = self.batches(source, pass, content)?;
            let first = batches.next().await?.ok_or(Error::Internal { what: "a content has a first batch" })?;
            if pass == 0 && !self.resumed && self.is_small(&first)? {
                self.store_small(first.0).await?;
                content = batches.content();
                if let Some(Content { size, .. }) = content {
                    self.report(size, size, Some(size));
                }
                break;
            }
            let lanes = self.open(shard_len).await?;
            self.note_held(&lanes, pass);
            let ended = Lanes::new(self, lanes).feed(first, &mut batches, total).await?;
            if let Some(now) = ended {
                if content.is_some_and(|before| before != now) {
                    let error = std::io::Error::other("its bytes are not those of a moment ago");
                    return Err(Error::io("the source changed while it was stored", error).into());
                }
                content = Some(now);
            }
            if content.is_some() && self.places.missing().is_empty() {
                break;
            }
        }
        match content {
            Some(content) if self.places.missing().is_empty() => Ok(self.manifest(content)?),
            _ => Err(self.given_up().into()),
        }
    }

    /// Nodes there are, but the content cannot be brought to them once more.
    fn given_up(&self) -> Error {
        match &self.fault {
            Some(Fault { node, address, kind: FaultKind::Peer(problem), .. }) if self.places.is_possible() => {
                Error::Peer { peer: format!("node {} at {address}", node.short()), problem: *problem, source: None }
            }
            _ => self.places.not_enough(),
        }
    }

    /// The content once more: from its source, or, where that cannot be read again, from the shards that are durable.
    fn batches<'s>(
        &self,
        source: &'s mut OpenSource,
        pass: usize,
        content: Option<Content>,
    ) -> Result<Batches<'s>, Failed>
    where
        'a: 's,
    {
        let client: &'a Arc<Shared> = self.client;
        let Order { scheme, padding, .. } = *self.order;
        if pass > 0 && !source.rewind() {
            let content = content.filter(|_| self.places.stored() >= scheme.data());
            let content = content.ok_or_else(|| self.given_up())?;
            return Ok(Batches::stored(
                self.client,
                &self.draft(content, self.order.shape(content.padded)?.shard_len()),
                content,
            ));
        }
        let batch_segments = BATCH_LEN.div_ceil(scheme.segment_len());
        Ok(Batches::Source(ContentReader::new(&client.rt, source, scheme, padding, batch_segments)))
    }

    fn is_small(&self, first: &(Plaintext, bool)) -> Result<bool> {
        let (plain, last) = first;
        Ok(*last && self.order.shape(plain.len() as u64)?.shard_len() <= MAX_SMALL_LEN as u64)
    }

    async fn store_small(&mut self, plain: Plaintext) -> Result<()> {
        let sealer = Sealer::new(self.offers.key());
        let stripes = self.client.rt.cpu(move || Stripes::encode(plain.seal(&sealer, true))).await;
        loop {
            self.deal().await?;
            let due = self.places.missing();
            if due.is_empty() {
                return Ok(());
            }
            let (stripes, offers, current) = (&stripes, &self.offers, &self.current);
            let attempts = due.iter().map(|&shard| async move {
                let (root, bytes) = whole(stripes, shard)?;
                let offer = current.get(&shard).ok_or(LinkError::Protocol("a shard that is nowhere"))?;
                offers.store(offer, root, &bytes).await.map(|()| root)
            });
            for (shard, result) in due.iter().zip(join_all(attempts).await) {
                match result {
                    Ok(root) => self.places.store(*shard, root),
                    Err(error) => self.failed(*shard, &error, false),
                }
            }
        }
    }

    /// Gives every shard that is nowhere a node.
    async fn deal(&mut self) -> Result<()> {
        let rt = &self.client.rt;
        let filled = self.places.fill(|| u32::from_be_bytes(rt.random()))?;
        let offered = filled.iter().filter_map(|&shard| {
            let (node, generation) = self.places.offer(shard)?;
            Some(Offered { index: u8::try_from(shard).ok()?, node: node.clone(), generation })
        });
        let offers = self.offers.announce(offered.collect()).await?;
        self.current.extend(filled.into_iter().zip(offers));
        Ok(())
    }

    /// A content is as far as the shard that is least far.
    fn note_held(&mut self, lanes: &BTreeMap<usize, Lane>, pass: usize) {
        if pass == 0 {
            self.held = lanes.values().map(|lane| lane.held * BLOCK_LEN as u64).sum();
            let least = lanes.values().map(|lane| lane.held).min().unwrap_or(0);
            self.done = least.saturating_mul(self.order.scheme.segment_len() as u64);
        }
    }

    /// Opens a PUT for every shard that is not durable: no body travels before all nodes have said that they will take it.
    async fn open(&mut self, len: Option<u64>) -> Result<BTreeMap<usize, Lane>> {
        let mut lanes: BTreeMap<usize, Lane> = BTreeMap::new();
        loop {
            self.deal().await?;
            // A node that was given up meanwhile has lost all its shards.
            lanes.retain(|shard, lane| {
                self.places.offer(*shard).is_some_and(|(_, generation)| generation == lane.generation)
            });
            let due: Vec<usize> =
                self.places.missing().into_iter().filter(|shard| !lanes.contains_key(shard)).collect();
            if due.is_empty() {
                return Ok(lanes);
            }
            let begun = due.iter().map(|shard| self.begin(*shard, len));
            for (shard, result) in due.iter().zip(join_all(begun).await) {
                match result {
                    Ok((lane, blocks)) => {
                        self.places.advanced(*shard, blocks);
                        if let Some(offer) = self.current.get_mut(shard) {
                            offer.made();
                        }
                        lanes.insert(*shard, lane);
                    }
                    Err(error) => self.failed(*shard, &error, false),
                }
            }
        }
    }

    /// The way to one node, and how many blocks that node has.
    async fn begin(&self, shard: usize, len: Option<u64>) -> Result<(Lane, u64), LinkError> {
        let offer = self.current.get(&shard).ok_or(LinkError::Protocol("a shard that is nowhere"))?;
        let generation = offer.name.generation;
        Ok(match self.offers.begin(offer, len).await? {
            // The sender starts at once: its signs of life bridge the time that other nodes take to get ready.
            Answer::Ready(lease, held) => {
                let sender = send(&self.client.rt, lease, shard, held, self.client.settings.timeout);
                (Lane::sending(generation, sender, held.blocks), held.blocks)
            }
            Answer::Stored(root, len) => {
                let blocks = len.div_ceil(BLOCK_LEN as u64);
                (Lane::checking(generation, Held { blocks, root }, len), blocks)
            }
        })
    }

    /// A node did not take a shard. Warns when it is given up.
    pub(super) fn failed(&mut self, shard: usize, error: &LinkError, midway: bool) {
        tracing::debug!(shard, midway, %error, "a node did not take a shard");
        self.fault = self.places.fault_of(shard, error.problem());
        let fault = self.places.fail(shard, error, midway);
        self.warn(fault);
    }

    /// Warns that a node is given up for others.
    pub(super) fn warn(&self, fault: Option<Fault>) {
        if let Some(Fault { node, address, shard, .. }) = fault.filter(|_| self.places.is_possible()) {
            self.order.reporter.warn(Warning { code: WarningCode::NodeReplaced, node, address, shard });
        }
    }

    /// What to make of a node that holds other bytes than are sent.
    pub(super) fn changed(&mut self, shard: usize) -> Result<(), Failed> {
        if self.resumed {
            return Err(Failed::Changed);
        }
        self.failed(shard, &LinkError::Protocol("a node holds other bytes than it was sent"), false);
        Ok(())
    }

    /// Checks a node's answer to a whole shard.
    pub(super) fn accept(&mut self, shard: usize, sent: &super::send::Sent) -> Result<(), LinkError> {
        let offer = self.current.get(&shard).ok_or(LinkError::Protocol("a shard that is nowhere"))?;
        if self.offers.receipt(&sent.reply, offer)? != (sent.root, sent.len) {
            return Err(LinkError::Protocol("a receipt for something else"));
        }
        self.places.store(shard, sent.root);
        Ok(())
    }

    pub(super) fn report(&mut self, done: u64, durable: u64, total: Option<u64>) {
        self.client.steps.fetch_add(1, Ordering::Relaxed);
        self.done = self.done.max(done).min(total.unwrap_or(u64::MAX));
        self.order.reporter.progress(Progress {
            bytes_done: self.done,
            bytes_durable: durable,
            bytes_total: total,
            elapsed: self.client.rt.uptime().saturating_sub(self.started),
        });
    }

    /// Seals and codes a batch.
    pub(super) fn batch(&self, plain: Plaintext, last: bool) -> impl Future<Output = Batch> + Send + use<> {
        let sealer = Sealer::new(self.offers.key());
        self.client.rt.cpu(move || Batch { stripes: Stripes::encode(plain.seal(&sealer, last)), last })
    }

    fn manifest(&self, content: Content) -> Result<Manifest> {
        let manifest = self.draft(content, self.order.shape(content.padded)?.shard_len());
        manifest.validate()?;
        if manifest.tolerates() < self.client.settings.tolerate {
            return Err(Error::Internal { what: "the shards were placed with less tolerance than asked for" });
        }
        Ok(manifest)
    }

    /// The manifest as far as it is known: a shard that is not durable has a root that nothing matches.
    fn draft(&self, content: Content, shard_len: u64) -> Manifest {
        let nowhere = (ShardRoot::new([0; 32]), 0);
        let shards = (0..self.order.scheme.shards()).map(|shard| match self.places.receipt(shard) {
            Some((node, root, generation)) => (Some(node.clone()), root, generation),
            None => (None, nowhere.0, nowhere.1),
        });
        manifest(self.order, self.offers.key(), content, shard_len, shards.collect(), self.client.rt.now())
    }

    /// Ends with success: the log of the operation, for what follows.
    pub(super) fn succeed(self, manifest: &Manifest) -> Option<Notes> {
        self.offers.succeed(manifest)
    }
}

/// Root and bytes of one shard.
fn whole(stripes: &Stripes, shard: usize) -> Result<(ShardRoot, Vec<u8>), LinkError> {
    let mut tree = TreeBuilder::new();
    (0..stripes.count()).for_each(|at| tree.push(stripes.leaf(at, shard), |_| ()));
    let root = tree.root().ok_or(LinkError::Protocol("a shard without blocks"))?;
    Ok((root, (0..stripes.count()).flat_map(|at| stripes.block(at, shard)).copied().collect()))
}

/// The nodes to use for a source of `len` bytes, if that is known, best first: those that are full by their own account come last.
pub(super) async fn candidates(client: &Arc<Shared>, order: &Order, len: Option<u64>) -> Result<Vec<UploadNode>> {
    let shard_len = len.map(|len| order.shard_len(len)).transpose()?;
    // The builder and `Put` refuse what no number of nodes can tolerate.
    let needed = nodes_needed(order.scheme, client.settings.tolerate).unwrap_or(usize::MAX);
    let mut nodes = client.pool.upload_nodes(needed, order.scheme.shards()).await?;
    let share = order.scheme.shards().div_ceil(nodes.len().max(1)) as u64;
    let wanted = shard_len.unwrap_or(0).saturating_mul(share);
    nodes.sort_by_key(|node| node.free < wanted);
    // What would not fit in a record is refused before anything travels.
    if !nodes.is_empty() {
        let place = |shard: usize| nodes.get(shard % nodes.len()).map(|node| node.place.clone());
        check_record_len(&longest_manifest(client, order, None, place)?)?;
    }
    Ok(nodes)
}

/// The manifest of a content of `size` bytes, as long as it can get with the shards where `place` says: with an unknown
/// size, the longest of all.
pub(super) fn longest_manifest(
    client: &Shared,
    order: &Order,
    size: Option<u64>,
    place: impl Fn(usize) -> Option<NodePlace>,
) -> Result<Manifest> {
    const UNKNOWN: u64 = u64::MAX >> 8;
    let padded = size.map_or(UNKNOWN, |size| order.padding.padded(size));
    let shard_len = size.map_or(Ok(0), |size| order.shard_len(size))?;
    let content = Content { size: size.unwrap_or(UNKNOWN), padded, hash: [0; 32] };
    let shards = (0..order.scheme.shards()).map(|shard| (place(shard), ShardRoot::new([0; 32]), u32::MAX));
    let key = ContentKey::new([0; 32]);
    Ok(manifest(order, &key, content, shard_len, shards.collect(), client.rt.now()))
}

fn manifest(
    order: &Order,
    key: &ContentKey,
    content: Content,
    shard_len: u64,
    stored: Vec<(Option<NodePlace>, ShardRoot, u32)>,
    created: crate::rt::Timestamp,
) -> Manifest {
    let mut nodes: Vec<NodePlace> = Vec::new();
    for node in stored.iter().filter_map(|(node, ..)| node.as_ref()) {
        if nodes.iter().all(|known| known.id != node.id) {
            nodes.push(node.clone());
        }
    }
    let shards = stored.iter().map(|(node, root, generation)| {
        let at = nodes.iter().position(|known| node.as_ref().is_some_and(|node| node.id == known.id)).unwrap_or(0);
        ShardPlace { root: *root, node: u8::try_from(at).unwrap_or(u8::MAX), generation: *generation }
    });
    Manifest {
        content_key: key.clone(),
        size: content.size,
        padded: content.padded,
        suite: SUITE_CMAC_SIV,
        codec: CODEC_REED_SOLOMON,
        scheme: order.scheme,
        padding: order.padding,
        shard_len,
        shards: shards.collect(),
        nodes,
        content_hash: content.hash,
        created,
        path: order.path.clone(),
        attributes: order.attributes.clone(),
    }
}
