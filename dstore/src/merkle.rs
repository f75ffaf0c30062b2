//! BLAKE3 trees over blocks of 16 KiB: a shard's root is its ordinary BLAKE3 hash, and a range of blocks
//! is proved by chaining values (docs/format.md section 6).
//!
//! Invariant: a proof is accepted only if it hashes to the root and every value in it was needed.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::id::ShardRoot;

/// Bytes of a block: one BLAKE3 subtree of 16 chunks.
pub const BLOCK_LEN: usize = 16 * 1024;

/// Blocks of a shard of `len` bytes. An empty byte string has one empty block.
#[must_use]
pub const fn block_count(len: u64) -> u64 {
    let blocks = len.div_ceil(BLOCK_LEN as u64);
    if blocks == 0 { 1 } else { blocks }
}

/// The hash of one block at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    value: ChainingValue,
    /// The root of a tree that has only this block; computed for block 0 alone.
    sole: Option<ShardRoot>,
}

impl Leaf {
    /// Hashes `block`, which stands at `index` of its shard. All but the last have [`BLOCK_LEN`] bytes,
    /// and only the only one may be empty.
    #[must_use]
    pub fn new(index: u64, block: &[u8]) -> Self {
        debug_assert!(block.len() <= BLOCK_LEN, "a block has at most BLOCK_LEN bytes");
        let sole = (index == 0).then(|| ShardRoot::new(*blake3::hash(block).as_bytes()));
        let value = if block.is_empty() {
            [0; 32]
        } else {
            Hasher::new().set_input_offset(index * BLOCK_LEN as u64).update(block).finalize_non_root()
        };
        Self { value, sole }
    }
}

impl ShardRoot {
    /// The root of a shard with these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::new(*blake3::hash(bytes).as_bytes())
    }
}

/// Computes the root of a shard from its leaves in order, in memory that grows with the logarithm of their count.
#[derive(Debug, Clone, Default)]
pub struct TreeBuilder {
    /// Complete subtrees from the left, each larger than the next.
    pending: Vec<ChainingValue>,
    /// The halves of the last complete subtree: were it the whole tree, they would merge in another mode.
    halves: Option<(ChainingValue, ChainingValue)>,
    count: u64,
    sole: Option<ShardRoot>,
}

impl TreeBuilder {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the next leaf, and hands every value that is final now to `emit`: the leaf, then the complete
    /// subtrees that it ends (post-order).
    pub fn push(&mut self, leaf: Leaf, mut emit: impl FnMut(&ChainingValue)) {
        if self.count == 0 {
            self.sole = leaf.sole;
        }
        self.pending.push(leaf.value);
        emit(&leaf.value);
        self.count += 1;
        for _ in 0..self.count.trailing_zeros() {
            if let (Some(right), Some(left)) = (self.pending.pop(), self.pending.pop()) {
                let parent = merge_subtrees_non_root(&left, &right, Mode::Hash);
                emit(&parent);
                self.pending.push(parent);
                self.halves = Some((left, right));
            }
        }
    }

    /// Leaves so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The root over all leaves so far; `None` before the first.
    #[must_use]
    pub fn root(&self) -> Option<ShardRoot> {
        if self.count <= 1 {
            return self.sole;
        }
        let (left, right) = match self.pending.as_slice() {
            [_] => self.halves?,
            [left, middle @ .., last] => (
                *left,
                middle.iter().rev().fold(*last, |right, left| merge_subtrees_non_root(left, &right, Mode::Hash)),
            ),
            [] => return None,
        };
        Some(merge_root(&left, &right))
    }
}

fn merge_root(left: &ChainingValue, right: &ChainingValue) -> ShardRoot {
    ShardRoot::new(*merge_subtrees_root(left, right, Mode::Hash).as_bytes())
}

/// Where a complete subtree's value stands among the values that [`TreeBuilder::push`] emits:
/// `2^level` leaves from leaf `first`, which is a multiple of that.
pub(crate) fn position(first: u64, level: u32) -> u64 {
    2 * first - u64::from(first.count_ones()) + (2 << level) - 2
}

/// The values of a shard's tree, in the order in which [`TreeBuilder::push`] emitted them.
pub trait TreeValues {
    /// What reading a value can fail with.
    type Error;

    /// The value at `position`.
    ///
    /// # Errors
    /// As the store of the values.
    fn value(&mut self, position: u64) -> Result<ChainingValue, Self::Error>;
}

/// Values in memory; one that is not there reads as zeros, which no proof survives.
impl TreeValues for &[ChainingValue] {
    type Error = std::convert::Infallible;

    fn value(&mut self, position: u64) -> Result<ChainingValue, Self::Error> {
        Ok(usize::try_from(position).ok().and_then(|at| self.get(at)).copied().unwrap_or_default())
    }
}

/// A run of blocks of a shard: never empty, and within the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRange {
    first: u64,
    end: u64,
    total: u64,
}

impl BlockRange {
    /// `count` blocks from block `first` of a shard of `shard_len` bytes; `None` unless they exist and are at least one.
    #[must_use]
    pub fn new(shard_len: u64, first: u64, count: u64) -> Option<Self> {
        let total = block_count(shard_len);
        let end = first.checked_add(count)?;
        (count > 0 && end <= total).then_some(Self { first, end, total })
    }

    /// The first block.
    #[must_use]
    pub fn first(self) -> u64 {
        self.first
    }

    /// Number of blocks, at least 1.
    #[must_use]
    pub fn count(self) -> u64 {
        self.end - self.first
    }

    /// The most chaining values that a proof of this range holds.
    #[must_use]
    pub fn max_proof(self) -> u64 {
        self.count() + 2 * u64::from(u64::BITS - self.total.leading_zeros())
    }

    fn misses(self, first: u64, end: u64) -> bool {
        end <= self.first || first >= self.end
    }
}

/// Leaves of the left subtree of a tree with `leaves` leaves, at least 2: the largest power of two below it.
fn left_leaves(leaves: u64) -> u64 {
    1 << (u64::BITS - 1 - (leaves - 1).leading_zeros())
}

/// The proof of `range`: leaf values in the range and subtree values beside it, from left to right.
/// Empty for a shard of one block, whose root is the hash of that block.
///
/// # Errors
/// Those of `values`.
pub fn prove<V: TreeValues>(values: &mut V, range: BlockRange) -> Result<Vec<ChainingValue>, V::Error> {
    let mut proof = Vec::new();
    if range.total > 1 {
        collect(values, range, 0, range.total, &mut proof)?;
    }
    Ok(proof)
}

fn collect<V: TreeValues>(
    values: &mut V,
    range: BlockRange,
    first: u64,
    end: u64,
    proof: &mut Vec<ChainingValue>,
) -> Result<(), V::Error> {
    if end - first == 1 || range.misses(first, end) {
        proof.push(subtree(values, first, end)?);
        return Ok(());
    }
    let middle = first + left_leaves(end - first);
    collect(values, range, first, middle, proof)?;
    collect(values, range, middle, end, proof)
}

fn subtree<V: TreeValues>(values: &mut V, first: u64, end: u64) -> Result<ChainingValue, V::Error> {
    let leaves = end - first;
    if leaves.is_power_of_two() {
        return values.value(position(first, leaves.trailing_zeros()));
    }
    let middle = first + left_leaves(leaves);
    let left = subtree(values, first, middle)?;
    let right = subtree(values, middle, end)?;
    Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

/// Leaves that were proved to belong to a shard: blocks are checked against them as they arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvedLeaves {
    range: BlockRange,
    leaves: Vec<ChainingValue>,
    root: ShardRoot,
}

impl ProvedLeaves {
    /// Checks `proof` of `range` against `root`. `None` if it is not exactly a proof of that.
    #[must_use]
    pub fn verify(root: ShardRoot, range: BlockRange, proof: &[ChainingValue]) -> Option<Self> {
        let mut leaves = Vec::new();
        if range.total == 1 {
            return proof.is_empty().then_some(Self { range, leaves, root });
        }
        let mut rest = proof.iter();
        let middle = left_leaves(range.total);
        let left = recompute(range, 0, middle, &mut rest, &mut leaves)?;
        let right = recompute(range, middle, range.total, &mut rest, &mut leaves)?;
        let matches = rest.next().is_none() && merge_root(&left, &right) == root;
        matches.then_some(Self { range, leaves, root })
    }

    /// Whether `block` is block `index` of the shard, which is in the range.
    #[must_use]
    pub fn matches(&self, index: u64, block: &[u8]) -> bool {
        if block.len() > BLOCK_LEN || self.range.misses(index, index + 1) {
            return false;
        }
        let leaf = Leaf::new(index, block);
        if self.range.total == 1 {
            return leaf.sole == Some(self.root);
        }
        let at = usize::try_from(index - self.range.first).ok();
        at.and_then(|at| self.leaves.get(at)).is_some_and(|expected| *expected == leaf.value)
    }
}

fn recompute(
    range: BlockRange,
    first: u64,
    end: u64,
    proof: &mut std::slice::Iter<'_, ChainingValue>,
    leaves: &mut Vec<ChainingValue>,
) -> Option<ChainingValue> {
    if range.misses(first, end) {
        return proof.next().copied();
    }
    if end - first == 1 {
        let leaf = *proof.next()?;
        leaves.push(leaf);
        return Some(leaf);
    }
    let middle = first + left_leaves(end - first);
    let left = recompute(range, first, middle, proof, leaves)?;
    let right = recompute(range, middle, end, proof, leaves)?;
    Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(data: &[u8]) -> (TreeBuilder, Vec<ChainingValue>) {
        let mut builder = TreeBuilder::new();
        let mut values = Vec::new();
        for i in 0..block_count(data.len() as u64) {
            builder.push(Leaf::new(i, block(data, i)), |value| values.push(*value));
        }
        (builder, values)
    }

    fn block(data: &[u8], index: u64) -> &[u8] {
        let start = usize::try_from(index).expect("small") * BLOCK_LEN;
        &data[start..data.len().min(start + BLOCK_LEN)]
    }

    fn bytes(len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        Hasher::new().finalize_xof().fill(&mut data);
        data
    }

    #[test]
    fn root_is_the_plain_blake3_hash_at_every_border() {
        for blocks in 0..=9 {
            for odd in [0, 1, 64, BLOCK_LEN - 1] {
                let data = bytes(blocks * BLOCK_LEN + odd);
                let root = tree(&data).0.root().expect("has leaves");
                assert_eq!(root.as_bytes(), blake3::hash(&data).as_bytes(), "{blocks} blocks and {odd}");
            }
        }
        assert_eq!(TreeBuilder::new().root(), None);
    }

    #[test]
    fn every_range_of_every_small_tree_is_proved() {
        for blocks in 1..=9_u64 {
            let data = bytes(usize::try_from(blocks).expect("small") * BLOCK_LEN - 7);
            let (builder, values) = tree(&data);
            let root = builder.root().expect("has leaves");
            for first in 0..blocks {
                for count in 1..=blocks - first {
                    let range = BlockRange::new(data.len() as u64, first, count).expect("exists");
                    let Ok(proof) = prove(&mut values.as_slice(), range);
                    assert!(proof.len() as u64 <= range.max_proof());
                    let proved = ProvedLeaves::verify(root, range, &proof).expect("proved");
                    for index in 0..blocks {
                        let inside = (first..first + count).contains(&index);
                        assert_eq!(proved.matches(index, block(&data, index)), inside);
                    }
                }
            }
        }
    }

    #[test]
    fn ranges_outside_a_shard_cannot_be_written() {
        assert_eq!(BlockRange::new(BLOCK_LEN as u64, 0, 2), None);
        assert_eq!(BlockRange::new(BLOCK_LEN as u64, 1, 1), None);
        assert_eq!(BlockRange::new(BLOCK_LEN as u64, 0, 0), None);
        assert_eq!(BlockRange::new(u64::MAX, u64::MAX, u64::MAX), None);
        assert!(BlockRange::new(0, 0, 1).is_some());
    }

    proptest! {
        #[test]
        fn a_changed_longer_or_shorter_proof_or_block_is_refused(
            blocks in 2..20_u64, first in 0..20_u64, count in 1..20_u64, at in any::<prop::sample::Index>(), bit in 0..8_u8,
        ) {
            let len = blocks * BLOCK_LEN as u64;
            let Some(range) = BlockRange::new(len, first, count) else { return Ok(()) };
            let data = bytes(usize::try_from(len).expect("small"));
            let (builder, values) = tree(&data);
            let root = builder.root().expect("has leaves");
            let Ok(proof) = prove(&mut values.as_slice(), range);

            let mut changed = proof.clone();
            changed[at.index(proof.len())][at.index(32)] ^= 1 << bit;
            prop_assert_eq!(ProvedLeaves::verify(root, range, &changed), None);
            let longer: Vec<_> = proof.iter().copied().chain([[0; 32]]).collect();
            prop_assert_eq!(ProvedLeaves::verify(root, range, &longer), None);
            prop_assert_eq!(ProvedLeaves::verify(root, range, &proof[1..]), None);

            let proved = ProvedLeaves::verify(root, range, &proof).expect("proved");
            let mut wrong = block(&data, first).to_vec();
            wrong[at.index(BLOCK_LEN)] ^= 1 << bit;
            prop_assert!(!proved.matches(first, &wrong));
        }
    }
}
