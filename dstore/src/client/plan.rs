//! Which shards of a window are asked for, and when one more is: decided from measured numbers alone.
//!
//! Invariant: pure. The same numbers give the same plan.

use std::time::Duration;

use super::fetch::DEPTH;
use super::pace::Estimate;

/// What parity has to save before it is asked instead of data, since it costs decoding.
const DECODE: Duration = Duration::from_millis(10);
/// A demand is late at so many times what others took.
const LATE: u32 = 2;
/// And never before this: schedulers and disks have hiccups that go away by themselves.
const SOONEST: Duration = Duration::from_millis(50);

/// A shard that may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its index.
    pub(super) shard: usize,
    /// Its node, as an index into what is known of nodes.
    pub(super) node: usize,
    pub(super) is_data: bool,
    /// It failed before.
    pub(super) is_suspect: bool,
}

/// A shard to ask for, and how long that should take; `None` when nothing at all was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) shard: usize,
    pub(super) finish: Option<Duration>,
}

/// The `count` best of `candidates` for `len` bytes of each: those that should be there first, one after another,
/// since two shards at one node share what it gives. Data is preferred to parity when it is about as fast.
pub(super) fn choose(count: usize, candidates: &[Candidate], nodes: &[Estimate], len: u64) -> Vec<Choice> {
    let mut nodes = hopeful(nodes);
    let mut left = candidates.to_vec();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count {
        let score = |candidate: &Candidate| {
            let finish = finish(&nodes[candidate.node], len);
            let cost = if candidate.is_data { finish } else { finish * 5 / 4 + DECODE };
            (candidate.is_suspect, cost, !candidate.is_data, candidate.shard)
        };
        let Some(best) = (0..left.len()).min_by_key(|at| score(&left[*at])) else { break };
        let Candidate { shard, node, .. } = left.swap_remove(best);
        let known = nodes[node].latency.is_some();
        chosen.push(Choice { shard, finish: known.then(|| finish(&nodes[node], len)) });
        nodes[node].queued += len;
    }
    chosen
}

/// Of a node that was not measured the best is hoped: so it is tried, and measured.
fn hopeful(nodes: &[Estimate]) -> Vec<Estimate> {
    let latency = nodes.iter().filter_map(|node| node.latency).min();
    let rate = nodes.iter().filter_map(|node| node.rate).max();
    let hope =
        |node: &Estimate| Estimate { latency: node.latency.or(latency), rate: node.rate.or(rate), queued: node.queued };
    nodes.iter().map(hope).collect()
}

/// When the last of `len` more bytes should be there.
fn finish(node: &Estimate, len: u64) -> Duration {
    let latency = node.latency.unwrap_or_default();
    // Over a long way it is the number of requests under way that limits what flows.
    let each = node.transfer(len).max(latency / u32::try_from(DEPTH).unwrap_or(1));
    let before = u32::try_from(node.queued / len.max(1)).unwrap_or(u32::MAX);
    latency.max(each.saturating_mul(before)).saturating_add(node.transfer(len))
}

/// How a window stands when one asks whether a demand of it is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Shards that are needed.
    pub(super) needed: usize,
    /// Shards that came.
    pub(super) found: usize,
    /// The longest time that one of those took.
    pub(super) slowest: Duration,
}

impl Standing {
    /// After how long a demand that should have taken `expected` is late: only beside others that were faster,
    /// so that nothing is asked twice when everything is slow alike. `other` is what the next best shard should take.
    pub(super) fn late_after(self, expected: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
        let peers = if self.needed == 1 { other } else { (self.found * 2 >= self.needed).then_some(self.slowest) };
        peers.map(|peers| SOONEST.max(peers.max(expected.unwrap_or_default()) * LATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 512 << 10;
    const LINE: u64 = 12_500_000;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Six shards on `nodes` nodes, dealt round.
    fn shards(nodes: usize) -> Vec<Candidate> {
        let shard = |shard| Candidate { shard, node: shard % nodes, is_data: shard < 4, is_suspect: false };
        (0..6).map(shard).collect()
    }

    fn node(latency: u64) -> Estimate {
        Estimate { latency: Some(ms(latency)), rate: Some(LINE), queued: 0 }
    }

    fn chosen(count: usize, candidates: &[Candidate], nodes: &[Estimate]) -> Vec<usize> {
        let mut shards: Vec<_> = choose(count, candidates, nodes, LEN).iter().map(|choice| choice.shard).collect();
        shards.sort_unstable();
        shards
    }

    #[test]
    fn data_is_asked_when_nothing_is_known_and_when_all_are_alike() {
        assert_eq!(chosen(4, &shards(4), &[Estimate::default(); 4]), [0, 1, 2, 3]);
        assert_eq!(chosen(4, &shards(4), &[node(40), node(45), node(38), node(44)]), [0, 1, 2, 3]);
        assert_eq!(chosen(4, &shards(6), &[node(20), node(30), node(20), node(29), node(20), node(20)]), [0, 1, 2, 3]);
    }

    #[test]
    fn a_far_node_is_passed_over_while_others_are_idle_and_used_when_they_have_enough_to_do() {
        let mut nodes = [node(40), node(40), node(40), node(300)];
        assert_eq!(chosen(4, &shards(4), &nodes), [0, 1, 2, 4], "300 ms for nothing");
        nodes[0].queued = 12 * LEN;
        nodes[1].queued = 12 * LEN;
        assert_eq!(chosen(4, &shards(4), &nodes), [0, 1, 2, 3], "by then the far one has sent it");
    }

    #[test]
    fn of_a_node_with_a_thin_line_only_what_fits_is_asked() {
        let thin = Estimate { rate: Some(LINE / 20), ..node(40) };
        assert_eq!(chosen(4, &shards(6), &[thin, node(40), node(40), node(40), node(40), node(40)]), [1, 2, 3, 4]);
    }

    #[test]
    fn a_node_that_nobody_measured_is_tried_in_place_of_a_slow_one() {
        let mut nodes = [node(40), node(400), node(40), node(40), Estimate::default(), Estimate::default()];
        assert_eq!(chosen(4, &shards(6), &nodes), [0, 2, 3, 4]);
        nodes[1] = Estimate { latency: Some(ms(55)), ..nodes[1] };
        assert_eq!(chosen(4, &shards(6), &nodes), [0, 1, 2, 3], "not for a little");
    }

    #[test]
    fn one_that_failed_is_asked_last_and_still_asked_when_there_is_no_other() {
        let mut candidates = shards(6);
        candidates[1].is_suspect = true;
        let nodes = [node(400); 6];
        assert_eq!(chosen(4, &candidates, &nodes), [0, 2, 3, 4]);
        assert_eq!(chosen(6, &candidates, &nodes).len(), 6);
        assert_eq!(choose(9, &candidates, &nodes, LEN).len(), 6, "there are no more");
    }

    #[test]
    fn a_machine_that_is_slower_than_its_nodes_asks_for_no_parity() {
        let near = Estimate { latency: Some(ms(1)), rate: Some(400 << 20), queued: 20 * LEN };
        assert_eq!(
            chosen(4, &shards(3), &[near, Estimate { queued: 0, ..near }, Estimate { queued: 0, ..near }]),
            [0, 1, 2, 3]
        );
    }

    #[test]
    fn a_demand_is_late_beside_faster_ones_only() {
        let standing = |found, slowest| Standing { needed: 4, found, slowest: ms(slowest) };
        assert_eq!(standing(0, 0).late_after(Some(ms(40)), Some(ms(40))), None, "all are slow alike");
        assert_eq!(standing(1, 40).late_after(Some(ms(40)), Some(ms(40))), None, "one was lucky");
        assert_eq!(standing(2, 80).late_after(Some(ms(40)), None), Some(ms(160)));
        assert_eq!(standing(3, 4000).late_after(Some(ms(40)), None), Some(ms(8000)));
        assert_eq!(standing(3, 80).late_after(Some(ms(400)), None), Some(ms(800)), "it was known to be far");
        assert_eq!(standing(3, 1).late_after(None, None), Some(SOONEST));
    }

    #[test]
    fn a_lone_shard_is_late_beside_what_another_would_take() {
        let alone = Standing { needed: 1, found: 0, slowest: Duration::ZERO };
        assert_eq!(alone.late_after(Some(ms(30)), Some(ms(40))), Some(ms(80)));
        assert_eq!(alone.late_after(Some(ms(30)), None), None);
    }

    /// Windows asked one after another, as a get of a long file does: all lines are used, the far one too.
    #[test]
    fn over_a_long_file_every_line_is_used_to_its_worth() {
        let mut nodes = [node(40), node(40), node(40), node(300)];
        let mut asked = [0_u64; 4];
        for _ in 0..14 {
            for choice in choose(4, &shards(4), &nodes, LEN) {
                nodes[choice.shard % 4].queued += LEN;
                asked[choice.shard % 4] += 1;
            }
        }
        assert_eq!(asked.iter().sum::<u64>(), 56);
        assert!((6..=12).contains(&asked[3]), "{asked:?}");
        assert!(asked.iter().all(|count| *count <= 20), "{asked:?}");
    }
}
