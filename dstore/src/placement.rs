//! Which shard goes to which node (docs/format.md section 8).
//!
//! Invariant: whichever `tolerate` nodes are taken away, at least `scheme.data()` shards remain.

use std::collections::HashMap;
use std::hash::Hash;

use crate::scheme::Scheme;

/// How many nodes may vanish, whichever they are, when shard i is at the node that `holders` yields i-th.
#[must_use]
pub fn tolerated<N: Eq + Hash>(scheme: Scheme, holders: impl IntoIterator<Item = N>) -> usize {
    let mut counts: HashMap<N, usize> = HashMap::new();
    for node in holders {
        *counts.entry(node).or_default() += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let mut lost = 0;
    counts
        .iter()
        .take_while(|count| {
            lost += **count;
            lost <= scheme.parity()
        })
        .count()
}

/// The fewest nodes with which `tolerate` of them may vanish.
#[must_use]
pub fn nodes_needed(scheme: Scheme, tolerate: usize) -> Option<usize> {
    (1..=scheme.shards()).find(|nodes| tolerated(scheme, (0..scheme.shards()).map(|shard| shard % nodes)) >= tolerate)
}

/// Something that may fail together with others of its zone.
pub trait Candidate {
    /// What fails together with it; `None` when nothing is known to.
    fn zone(&self) -> Option<&str>;
}

impl<C: Candidate> Candidate for &C {
    fn zone(&self) -> Option<&str> {
        (*self).zone()
    }
}

/// Deals the shards of `scheme` to `candidates`, best first: an index into them for each shard.
/// Different zones are preferred, then the order given. `None` when too few can tolerate `tolerate` losses.
#[must_use]
pub fn deal<C: Candidate>(scheme: Scheme, tolerate: usize, candidates: &[C]) -> Option<Vec<usize>> {
    let chosen = spread(candidates, scheme.shards());
    let dealt: Vec<usize> =
        (0..scheme.shards()).map(|shard| chosen.get(shard % chosen.len().max(1)).copied()).collect::<Option<_>>()?;
    (tolerated(scheme, dealt.iter()) >= tolerate).then_some(dealt)
}

/// Up to `count` candidates in their order, each zone once before any zone twice.
fn spread<C: Candidate>(candidates: &[C], count: usize) -> Vec<usize> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut ranked: Vec<(usize, usize)> = candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| {
            let round = candidate.zone().map_or(0, |zone| {
                let uses = seen.entry(zone).or_default();
                *uses += 1;
                *uses - 1
            });
            (round, index)
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(count).map(|(_, index)| index).collect()
}

/// Finds a new place for the shards in `dealt` that are `None`, at the least loaded of `candidates`,
/// such that the whole still tolerates `tolerate` losses. `None` when that cannot be.
#[must_use]
pub fn redeal(scheme: Scheme, tolerate: usize, dealt: &[Option<usize>], candidates: &[usize]) -> Option<Vec<usize>> {
    let mut counts: HashMap<usize, usize> = candidates.iter().map(|c| (*c, 0)).collect();
    for node in dealt.iter().flatten() {
        if let Some(count) = counts.get_mut(node) {
            *count += 1;
        }
    }
    let mut redealt = Vec::with_capacity(dealt.len());
    for place in dealt {
        redealt.push(match place {
            Some(node) => *node,
            None => {
                let node = *candidates.iter().min_by_key(|c| counts[*c])?;
                *counts.get_mut(&node)? += 1;
                node
            }
        });
    }
    (tolerated(scheme, redealt.iter()) >= tolerate).then_some(redealt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Node(Option<&'static str>);

    impl Candidate for Node {
        fn zone(&self) -> Option<&str> {
            self.0
        }
    }

    fn anywhere(count: usize) -> Vec<Node> {
        (0..count).map(|_| Node(None)).collect()
    }

    #[test]
    fn three_nodes_take_two_shards_each_and_six_take_one() {
        assert_eq!(deal(Scheme::STANDARD, 1, &anywhere(3)), Some(vec![0, 1, 2, 0, 1, 2]));
        assert_eq!(deal(Scheme::STANDARD, 2, &anywhere(8)), Some(vec![0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn too_few_nodes_are_refused_and_the_number_needed_is_told() {
        assert_eq!(deal(Scheme::STANDARD, 1, &anywhere(2)), None);
        assert_eq!(deal(Scheme::STANDARD, 1, &anywhere(0)), None);
        assert_eq!(nodes_needed(Scheme::STANDARD, 1), Some(3));
        assert_eq!(nodes_needed(Scheme::STANDARD, 2), Some(6));
        assert_eq!(nodes_needed(Scheme::STANDARD, 3), None);
        assert_eq!(nodes_needed(Scheme::HIGH, 2), Some(3));
    }

    #[test]
    fn different_zones_come_first() {
        let nodes = [Node(Some("a")), Node(Some("a")), Node(Some("a")), Node(Some("b")), Node(Some("c"))];
        let mut used = deal(Scheme::STANDARD, 1, &nodes[..]).expect("enough");
        used.truncate(3);
        assert_eq!(used, [0, 3, 4]);
    }

    #[test]
    fn shards_of_a_node_that_refused_go_to_a_spare_one_or_nowhere() {
        let dealt = [Some(0), None, Some(2), Some(0), None, Some(2)];
        assert_eq!(redeal(Scheme::STANDARD, 1, &dealt, &[0, 2, 3]), Some(vec![0, 3, 2, 0, 3, 2]));
        assert_eq!(redeal(Scheme::STANDARD, 1, &dealt, &[0, 2]), None);
    }

    proptest! {
        #[test]
        fn what_is_dealt_survives_every_loss_that_it_promises(
            k in 1..=8_u8, m in 1..=8_u8, nodes in 1..12_usize, tolerate in 1..4_usize, lost in any::<u16>(),
        ) {
            let scheme = Scheme::new(k, m).expect("within limits");
            let Some(dealt) = deal(scheme, tolerate, &anywhere(nodes)) else { return Ok(()) };
            let lost: Vec<usize> = (0..nodes).filter(|n| lost >> n & 1 == 1).take(tolerate).collect();
            let left = dealt.iter().filter(|node| !lost.contains(node)).count();
            prop_assert!(left >= scheme.data());
        }
    }
}
