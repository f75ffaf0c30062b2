//! What the states of a file's shards mean for the file.

use std::collections::BTreeMap;

use dstore::{Head, ShardCheck, ShardHealth};

/// How a file is; the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Every shard answers.
    Ok,
    /// It can be read, with less in reserve than it should have.
    Degraded,
    /// Too few shards answer now: it may read again when their nodes are back.
    Unreadable,
    /// Too few shards are left, whoever comes back.
    Unrecoverable,
}

impl Verdict {
    /// The stable word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unreadable => "unreadable",
            Self::Unrecoverable => "unrecoverable",
        }
    }
}

/// How a file is, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    /// In a word.
    pub(crate) verdict: Verdict,
    /// Shards that answer.
    pub(crate) answering: usize,
    /// How many more nodes may fail, whichever they are.
    pub(crate) spare: usize,
}

impl Health {
    /// The health of the file whose shards are so.
    pub(crate) fn new(head: &Head, shards: &[ShardCheck]) -> Self {
        let (needed, mut unreachable) = (head.scheme.data(), 0);
        let mut nodes = BTreeMap::new();
        for shard in shards {
            match shard.state {
                ShardHealth::Ok => *nodes.entry(shard.home.node).or_insert(0_usize) += 1,
                ShardHealth::Unreachable => unreachable += 1,
                ShardHealth::Missing | ShardHealth::Corrupt => {}
            }
        }
        let held: Vec<usize> = nodes.into_values().collect();
        let answering = held.iter().sum();
        let verdict = match answering {
            all if all == shards.len() => Verdict::Ok,
            enough if enough >= needed => Verdict::Degraded,
            some if some + unreachable >= needed => Verdict::Unreadable,
            _ => Verdict::Unrecoverable,
        };
        Self { verdict, answering, spare: spare(held, needed) }
    }
}

/// How many nodes, the fullest first, may fail until fewer than `needed` shards are left.
fn spare(mut held: Vec<usize>, needed: usize) -> usize {
    let mut left: usize = held.iter().sum();
    held.sort_unstable_by(|a, b| b.cmp(a));
    let fails = |shards: &usize| {
        left = left.saturating_sub(*shards);
        left >= needed
    };
    held.iter().copied().take_while(fails).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_nodes_fail_first() {
        assert_eq!(spare(vec![2, 2, 2], 4), 1);
        assert_eq!(spare(vec![1; 6], 4), 2);
        assert_eq!(spare(vec![3, 1, 1, 1], 4), 0);
        assert_eq!(spare(vec![1, 1], 4), 0);
    }
}
