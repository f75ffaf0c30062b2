//! Which node each shard of a put is at, and which nodes cannot be used.
//!
//! Invariant: what [`Places::fill`] gives out tolerates the losses that were asked for. Pure: a test can play any loss.

use std::collections::BTreeMap;

use super::directory::UploadNode;
use crate::error::{Error, Fault, FaultKind, PeerProblem};
use crate::id::ShardRoot;
use crate::manifest::NodePlace;
use crate::net::LinkError;
use crate::placement::{deal, nodes_needed, redeal};
use crate::scheme::Scheme;

/// How often a node may cut a shard short, without having taken anything of it in between, before another is chosen.
const STRIKES: u32 = 2;

/// How often it may do so at all, while there is a spare one: a node that takes a block each time ends no put.
const CUTS: u32 = 4;

/// Where the shards of one put are.
pub(super) struct Places {
    scheme: Scheme,
    tolerate: usize,
    /// Best first.
    nodes: Vec<UploadNode>,
    excluded: BTreeMap<usize, Fault>,
    strikes: BTreeMap<usize, u32>,
    cuts: BTreeMap<usize, u32>,
    /// The blocks that the node of a shard had when it was last asked, and which placement that was.
    taken: BTreeMap<usize, (u32, u64)>,
    shards: Vec<Place>,
}

/// Where one shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere.
    Free,
    /// Offered to a node, which may have a part of it.
    Offered {
        /// Which of the nodes.
        node: usize,
        /// Which placement of the shard this is.
        generation: u32,
    },
    /// Durable there, as its node has signed.
    Stored {
        /// Which of the nodes.
        node: usize,
        /// Which placement of the shard this is.
        generation: u32,
        /// Its hash.
        root: ShardRoot,
    },
}

impl Place {
    fn node(self) -> Option<usize> {
        match self {
            Self::Free => None,
            Self::Offered { node, .. } | Self::Stored { node, .. } => Some(node),
        }
    }
}

impl Places {
    pub(super) fn new(scheme: Scheme, tolerate: usize, nodes: Vec<UploadNode>) -> Self {
        let shards = vec![Place::Free; scheme.shards()];
        Self {
            scheme,
            tolerate,
            nodes,
            excluded: BTreeMap::new(),
            strikes: BTreeMap::new(),
            cuts: BTreeMap::new(),
            taken: BTreeMap::new(),
            shards,
        }
    }

    /// Takes over where an earlier attempt offered a shard, if that node still takes shards.
    pub(super) fn take_over(&mut self, shard: usize, at: &NodePlace, generation: u32) {
        let node = self.nodes.iter().position(|node| node.place.id == at.id);
        if let (Some(node), Some(place)) = (node, self.shards.get_mut(shard)) {
            *place = Place::Offered { node, generation };
        }
    }

    /// Gives every shard that is nowhere a node, with a generation that `draw` makes, and answers those shards.
    ///
    /// # Errors
    /// [`Error::NotEnoughNodes`], which names what every node failed with.
    pub(super) fn fill(&mut self, mut draw: impl FnMut() -> u32) -> Result<Vec<usize>, Error> {
        let dealt = self.dealt().ok_or_else(|| self.not_enough())?;
        let mut filled = Vec::new();
        for ((shard, place), node) in self.shards.iter_mut().enumerate().zip(dealt) {
            if *place == Place::Free {
                *place = Place::Offered { node, generation: draw() };
                filled.push(shard);
            }
        }
        Ok(filled)
    }

    fn dealt(&self) -> Option<Vec<usize>> {
        let usable: Vec<usize> = (0..self.nodes.len()).filter(|node| !self.excluded.contains_key(node)).collect();
        let held: Vec<Option<usize>> = self.shards.iter().map(|place| place.node()).collect();
        if held.iter().any(Option::is_some)
            && let Some(dealt) = redeal(self.scheme, self.tolerate, &held, &usable)
        {
            return Some(dealt);
        }
        if held.iter().flatten().next().is_some() {
            return None;
        }
        let candidates: Vec<&UploadNode> = usable.iter().map(|node| &self.nodes[*node]).collect();
        let dealt = deal(self.scheme, self.tolerate, &candidates)?;
        Some(dealt.into_iter().map(|at| usable[at]).collect())
    }

    /// Whether the shards that are nowhere can still find a node each.
    pub(super) fn is_possible(&self) -> bool {
        self.dealt().is_some()
    }

    /// Whether there would be enough nodes without that of `shard`.
    pub(super) fn has_spare_for(&self, shard: usize) -> bool {
        let Some(node) = self.shards[shard].node() else { return false };
        let (mut shards, mut excluded) = (self.shards.clone(), self.excluded.clone());
        shards.iter_mut().filter(|place| place.node() == Some(node)).for_each(|place| *place = Place::Free);
        excluded.insert(node, self.fault(node, None, PeerProblem::Unavailable));
        let without = Self { shards, excluded, ..Self::new(self.scheme, self.tolerate, self.nodes.clone()) };
        without.is_possible()
    }

    /// What to say when no node is left.
    pub(super) fn not_enough(&self) -> Error {
        Error::NotEnoughNodes {
            active: self.nodes.len() - self.excluded.len(),
            needed: nodes_needed(self.scheme, self.tolerate).unwrap_or(usize::MAX),
            refused: self.excluded.values().cloned().collect(),
        }
    }

    /// That the node of `shard` has this problem.
    pub(super) fn fault_of(&self, shard: usize, problem: PeerProblem) -> Option<Fault> {
        self.shards[shard].node().map(|node| self.fault(node, Some(shard), problem))
    }

    fn fault(&self, node: usize, shard: Option<usize>, problem: PeerProblem) -> Fault {
        let place = &self.nodes[node].place;
        let shard = shard.and_then(|shard| u8::try_from(shard).ok());
        Fault::new(place.id, &place.hint, shard, FaultKind::Peer(problem))
    }

    /// Where `shard` is offered to, with its generation.
    pub(super) fn offer(&self, shard: usize) -> Option<(&NodePlace, u32)> {
        match self.shards[shard] {
            Place::Free => None,
            Place::Offered { node, generation } | Place::Stored { node, generation, .. } => {
                Some((&self.nodes[node].place, generation))
            }
        }
    }

    /// Which of the nodes `shard` is at.
    pub(super) fn node_of(&self, shard: usize) -> Option<usize> {
        self.shards[shard].node()
    }

    /// The shards that are not durable yet.
    pub(super) fn missing(&self) -> Vec<usize> {
        let missing = |(_, place): &(usize, &Place)| !matches!(place, Place::Stored { .. });
        self.shards.iter().enumerate().filter(missing).map(|(shard, _)| shard).collect()
    }

    /// How many are.
    pub(super) fn stored(&self) -> usize {
        self.scheme.shards() - self.missing().len()
    }

    /// Node, root and generation of `shard`, once it is durable.
    pub(super) fn receipt(&self, shard: usize) -> Option<(&NodePlace, ShardRoot, u32)> {
        match self.shards[shard] {
            Place::Stored { node, generation, root } => Some((&self.nodes[node].place, root, generation)),
            _ => None,
        }
    }

    /// The node has signed for `shard`.
    pub(super) fn store(&mut self, shard: usize, root: ShardRoot) {
        if let Place::Offered { node, generation } = self.shards[shard] {
            self.shards[shard] = Place::Stored { node, generation, root };
            self.strikes.remove(&node);
        }
    }

    /// The node has `blocks` of `shard`: if those are more than before, what was before is forgiven.
    pub(super) fn advanced(&mut self, shard: usize, blocks: u64) {
        let Some((node, (_, generation))) = self.node_of(shard).zip(self.offer(shard)) else { return };
        let before = self.taken.insert(shard, (generation, blocks));
        if blocks > before.filter(|(of, _)| *of == generation).map_or(0, |(_, blocks)| blocks) {
            self.strikes.remove(&node);
        }
    }

    /// The node did not take `shard` when it was offered, or not to its end. Answers the fault when the node is given up.
    pub(super) fn fail(&mut self, shard: usize, error: &LinkError, midway: bool) -> Option<Fault> {
        let node = self.shards[shard].node()?;
        if midway && matches!(error, LinkError::Closed | LinkError::Broken(_)) {
            // Connections are cut for reasons that say nothing of a node: it has what arrived, and may go on.
            let strikes = self.strikes.entry(node).or_default();
            *strikes += 1;
            let is_forgiven = *strikes < STRIKES;
            let cuts = self.cuts.entry(node).or_default();
            *cuts += 1;
            let is_patient = *cuts < CUTS;
            if is_forgiven && (is_patient || !self.has_spare_for(shard)) {
                return None;
            }
        }
        self.exclude(shard, error.problem())
    }

    /// Gives up the node of `shard`; answers the fault, the first time.
    pub(super) fn exclude(&mut self, shard: usize, problem: PeerProblem) -> Option<Fault> {
        let node = self.shards[shard].node()?;
        // One that only has no room keeps what it has signed for; any other may be gone with it.
        let keeps = matches!(problem, PeerProblem::NoSpace | PeerProblem::Busy);
        for place in self.shards.iter_mut().filter(|place| place.node() == Some(node)) {
            if !(keeps && matches!(place, Place::Stored { .. })) {
                *place = Place::Free;
            }
        }
        let fault = self.fault(node, Some(shard), problem);
        let first = self.excluded.insert(node, fault.clone()).is_none();
        first.then_some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeId, NoiseKey};

    fn node(n: u8) -> UploadNode {
        let place =
            NodePlace { id: NodeId::new([n; 20]), noise_key: NoiseKey::new([n; 32]), seq: 1, hint: format!("h:{n}") };
        UploadNode::new(place)
    }

    fn places(nodes: u8) -> Places {
        let mut places = Places::new(Scheme::STANDARD, 1, (1..=nodes).map(node).collect());
        if nodes >= 3 {
            places.fill(|| 7).expect("enough");
        }
        places
    }

    fn cut() -> LinkError {
        LinkError::Closed
    }

    fn root() -> ShardRoot {
        ShardRoot::new([9; 32])
    }

    #[test]
    fn a_connection_that_is_cut_is_taken_up_at_the_same_node_once() {
        let mut places = places(4);
        let before = places.node_of(0);
        assert_eq!(places.fail(0, &cut(), true), None);
        assert_eq!(places.node_of(0), before);
        assert!(places.fail(0, &cut(), true).is_some(), "twice without progress");
        assert_eq!(places.node_of(0), None);
        assert_eq!(places.fill(|| 8).expect("a spare").len(), 2, "both shards of that node move");
        assert_ne!(places.node_of(0), before);
    }

    #[test]
    fn progress_forgives_what_was_before() {
        let mut places = places(3);
        for blocks in 1..10 {
            assert_eq!(places.fail(0, &cut(), true), None);
            places.advanced(0, blocks);
        }
    }

    #[test]
    fn a_node_that_is_cut_again_and_again_is_replaced_by_a_spare_whatever_it_takes_in_between() {
        let mut places = places(4);
        let cuts = (1..17).take_while(|blocks| {
            places.advanced(0, *blocks);
            places.fail(0, &cut(), true).is_none()
        });
        assert!(cuts.count() < 8, "a put has 16 passes");
    }

    #[test]
    fn a_node_that_takes_nothing_more_is_not_forgiven() {
        let mut places = places(3);
        places.advanced(0, 1);
        assert_eq!(places.fail(0, &cut(), true), None);
        places.advanced(0, 1);
        assert!(places.fail(0, &cut(), true).is_some());
    }

    #[test]
    fn a_node_that_cannot_be_reached_loses_what_it_signed_for_and_a_full_one_does_not() {
        let mut dead = places(4);
        dead.store(0, root());
        assert!(dead.fail(dead.missing()[0], &cut(), false).is_some());
        let mut places = places(4);
        let node = places.node_of(0).expect("dealt");
        let other = (1..6).find(|shard| places.node_of(*shard) == Some(node)).expect("two of six on four nodes");
        places.store(0, root());
        let full = LinkError::Refused(crate::proto::Refusal::NoSpace);
        assert!(places.fail(other, &full, false).is_some());
        assert!(places.receipt(0).is_some());
        assert_eq!(places.fill(|| 8).expect("a spare"), [other]);
        assert!(places.exclude(0, PeerProblem::Unavailable).is_none(), "named before");
        assert!(places.receipt(0).is_none());
    }

    #[test]
    fn without_a_spare_the_end_names_every_node_that_failed() {
        let mut places = places(3);
        assert!(!places.has_spare_for(0));
        places.fail(0, &cut(), false);
        assert!(!places.is_possible());
        let error = places.fill(|| 8).expect_err("two nodes are too few");
        let Error::NotEnoughNodes { active: 2, needed: 3, refused } = error else { panic!("{error}") };
        assert_eq!(refused.len(), 1);
    }

    #[test]
    fn four_nodes_have_a_spare_and_after_one_loss_they_have_not() {
        let mut places = places(4);
        assert!((0..6).all(|shard| places.has_spare_for(shard)));
        places.exclude(0, PeerProblem::Failed);
        places.fill(|| 8).expect("three are left");
        assert!((0..6).all(|shard| !places.has_spare_for(shard)));
    }

    #[test]
    fn an_earlier_attempt_is_taken_over_where_its_nodes_are_still_there() {
        let mut places = Places::new(Scheme::STANDARD, 1, (1..=4).map(node).collect());
        places.take_over(0, &node(3).place, 42);
        places.take_over(1, &node(9).place, 43);
        places.take_over(99, &node(3).place, 44);
        let filled = places.fill(|| 7).expect("enough");
        assert_eq!(filled, [1, 2, 3, 4, 5]);
        assert_eq!(places.offer(0).map(|(node, generation)| (node.id, generation)), Some((NodeId::new([3; 20]), 42)));
    }
}
