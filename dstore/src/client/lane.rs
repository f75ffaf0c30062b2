//! The ways to the nodes of one pass over a content, and the pass itself.
//!
//! Invariant: a lane that ends takes nothing of the others with it, unless no node is left for its shard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};

use super::batches::Batches;
use super::send::{Batch, Held, Sender, Sent, Unsent};
use super::source::Content;
use super::upload::{Failed, Upload};
use super::{Warning, WarningCode};
use crate::error::PeerProblem;
use crate::merkle::{BLOCK_LEN, TreeBuilder};
use crate::seal::Plaintext;

/// How often somebody looks whether one node holds back the rest.
const LOOK: Duration = Duration::from_secs(1);
/// A node is judged after so much time in which it was busy with this content.
const TRIAL: Duration = Duration::from_secs(5);
/// A node that is so many times slower than the others is replaced, if there is a spare one.
const TOO_SLOW: f64 = 4.0;

/// The way of one shard.
pub(super) struct Lane {
    pub(super) generation: u32,
    way: Way,
    /// Blocks that the node had at the start.
    pub(super) held: u64,
}

enum Way {
    /// To its node.
    Send(Sender),
    /// The node has it whole: it is only compared.
    Check { tree: TreeBuilder, held: Held, len: u64 },
}

impl Lane {
    pub(super) fn sending(generation: u32, sender: Sender, held: u64) -> Self {
        Self { generation, way: Way::Send(sender), held }
    }

    pub(super) fn checking(generation: u32, held: Held, len: u64) -> Self {
        Self { generation, held: held.blocks, way: Way::Check { tree: TreeBuilder::new(), held, len } }
    }
}

/// All lanes of a pass.
pub(super) struct Lanes<'u, 'a> {
    upload: &'u mut Upload<'a>,
    lanes: BTreeMap<usize, Lane>,
}

impl<'u, 'a> Lanes<'u, 'a> {
    pub(super) fn new(upload: &'u mut Upload<'a>, lanes: BTreeMap<usize, Lane>) -> Self {
        Self { upload, lanes }
    }

    /// Reads, seals and codes batch after batch, hands each to every lane, and waits for what the nodes say.
    /// Answers what the content was, if all of it was gone through.
    pub(super) async fn feed(
        mut self,
        first: (Plaintext, bool),
        batches: &mut Batches<'_>,
        total: Option<u64>,
    ) -> Result<Option<Content>, Failed> {
        let depth = self.upload.client.rt.cpu_threads() + 1;
        let mut jobs = FuturesOrdered::new();
        let mut next = Some(first);
        loop {
            while let Some((plain, last)) = next.take() {
                jobs.push_back(self.upload.batch(plain, last));
                if jobs.len() >= depth {
                    break;
                }
                next = batches.next().await?;
            }
            let Some(batch) = jobs.next().await else { break };
            self.give(&Arc::new(batch)).await?;
            if self.lanes.is_empty() {
                return Ok(None);
            }
            let (size, shards) = (batches.size(), self.upload.order.scheme.shards() as u64);
            let durable = self.upload.places.stored() as u64;
            self.upload.report(size, total.unwrap_or(size).saturating_mul(durable) / shards, total);
            next = batches.next().await?;
        }
        self.finish(batches.size()).await?;
        Ok(batches.content())
    }

    async fn give(&mut self, batch: &Arc<Batch>) -> Result<(), Failed> {
        let shards: Vec<usize> = self.lanes.keys().copied().collect();
        for shard in shards {
            let ended = loop {
                // Its node may have been given up because of another shard.
                let Some(lane) = self.lanes.get_mut(&shard) else { break false };
                let sender = match &mut lane.way {
                    Way::Check { tree, .. } => {
                        (0..batch.stripes.count()).for_each(|at| tree.push(batch.stripes.leaf(at, shard), |_| ()));
                        break false;
                    }
                    Way::Send(sender) => sender,
                };
                match self.upload.client.rt.timeout(LOOK, sender.give(batch.clone())).await {
                    Ok(given) => break given.is_err(),
                    Err(_) => self.look_at(shard),
                }
            };
            if ended {
                self.end(shard).await?;
            }
        }
        Ok(())
    }

    /// Replaces the node of `shard` if it holds back all others.
    fn look_at(&mut self, shard: usize) {
        let now = self.upload.client.rt.uptime();
        let own = self.upload.places.node_of(shard);
        let mut others = Vec::new();
        let mut mine = None;
        for (other, lane) in &self.lanes {
            let Way::Send(sender) = &lane.way else { continue };
            let measured = sender.pace(now);
            if *other == shard {
                mine = Some(measured);
            } else if self.upload.places.node_of(*other) != own && measured.bytes > 0 {
                others.push(measured.speed());
            }
        }
        others.sort_by(f64::total_cmp);
        let (Some(mine), Some(usual)) = (mine, others.get(others.len() / 2)) else { return };
        if mine.busy < TRIAL || mine.speed() * TOO_SLOW >= *usual || !self.upload.places.has_spare_for(shard) {
            return;
        }
        if let Some((node, _)) = self.upload.places.offer(shard) {
            let (node, address) = (node.id, node.hint.clone());
            let code = WarningCode::NodeSlow;
            self.upload.order.reporter.warn(Warning { code, node, address, shard: u8::try_from(shard).ok() });
        }
        let fault = self.upload.places.exclude(shard, PeerProblem::Timeout(mine.busy));
        self.upload.warn(fault);
        self.drop_lost();
    }

    /// Takes away the lanes whose node was given up.
    fn drop_lost(&mut self) {
        let places = &self.upload.places;
        self.lanes
            .retain(|shard, lane| places.offer(*shard).is_some_and(|(_, generation)| generation == lane.generation));
    }

    /// A sender has ended before the content did.
    async fn end(&mut self, shard: usize) -> Result<(), Failed> {
        let Some(Lane { way: Way::Send(sender), .. }) = self.lanes.remove(&shard) else { return Ok(()) };
        match sender.finish().await {
            Ok(_) => Ok(()),
            Err(error) => self.unsent(shard, error),
        }
    }

    fn unsent(&mut self, shard: usize, error: Unsent) -> Result<(), Failed> {
        match error {
            Unsent::Changed => self.upload.changed(shard)?,
            Unsent::Node(error) => self.upload.failed(shard, &error, true),
        }
        self.drop_lost();
        // With no node left nothing is gained by sending the rest.
        if self.upload.places.is_possible() { Ok(()) } else { Err(self.upload.places.not_enough().into()) }
    }

    async fn finish(mut self, size: u64) -> Result<(), Failed> {
        while let Some((shard, lane)) = self.lanes.pop_first() {
            match lane.way {
                Way::Check { tree, held, len } => {
                    let blocks = len.div_ceil(BLOCK_LEN as u64);
                    if tree.root() != Some(held.root) || tree.count() != blocks {
                        self.upload.changed(shard)?;
                    } else {
                        self.upload.places.store(shard, held.root);
                    }
                }
                Way::Send(sender) => match sender.finish().await {
                    Err(error) => self.unsent(shard, error)?,
                    Ok(sent) => self.accept(shard, sent)?,
                },
            }
            let durable = self.upload.places.stored() as u64;
            let shards = self.upload.order.scheme.shards() as u64;
            self.upload.report(size, size.saturating_mul(durable) / shards, Some(size));
        }
        Ok(())
    }

    fn accept(&mut self, shard: usize, sent: Sent) -> Result<(), Failed> {
        match self.upload.accept(shard, &sent) {
            Ok(()) => {
                if let Some((node, _)) = self.upload.places.offer(shard) {
                    self.upload.client.pool.give_back(node.id, sent.lease);
                }
                Ok(())
            }
            // What it said is false: it gets no second chance.
            Err(error) => self.unsent(shard, Unsent::Node(error)),
        }
    }
}
