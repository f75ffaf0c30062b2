//! Checks the bytes of a shard as they arrive: whole blocks, the announced length, and in the end the root.

use blake3::hazmat::ChainingValue;

use super::StoreError;
use crate::id::ShardRoot;
use crate::merkle::{BLOCK_LEN, Leaf, TreeBuilder};

/// What has arrived of a shard.
pub(super) struct Intake {
    announced: Option<u64>,
    len: u64,
    tree: TreeBuilder,
}

impl Intake {
    pub(super) fn new(announced: Option<u64>) -> Self {
        Self { announced, len: 0, tree: TreeBuilder::new() }
    }

    /// The tree of a whole shard, if it has this root.
    pub(super) fn whole(root: ShardRoot, bytes: &[u8]) -> Result<Vec<ChainingValue>, StoreError> {
        let mut intake = Self::new(None);
        let mut values = Vec::new();
        intake.take(bytes, &mut values);
        intake.finish(root, &mut values)?;
        Ok(values)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Whether `more` bytes may follow.
    pub(super) fn admit(&self, more: u64) -> Result<(), StoreError> {
        let len = self.len.checked_add(more).ok_or(StoreError::Mismatch)?;
        let after_the_last = more > 0 && !self.len.is_multiple_of(BLOCK_LEN as u64);
        let too_many = self.announced.is_some_and(|announced| len > announced);
        if after_the_last || too_many { Err(StoreError::Mismatch) } else { Ok(()) }
    }

    /// Hashes bytes that were admitted, and appends the values of the tree that they complete.
    pub(super) fn take(&mut self, bytes: &[u8], values: &mut Vec<ChainingValue>) {
        for block in bytes.chunks(BLOCK_LEN) {
            self.tree.push(Leaf::new(self.tree.count(), block), |value| values.push(*value));
        }
        self.len += bytes.len() as u64;
    }

    /// Whether everything has arrived, and has this root. An empty shard gets its one empty block here.
    pub(super) fn finish(&mut self, root: ShardRoot, values: &mut Vec<ChainingValue>) -> Result<(), StoreError> {
        if self.tree.count() == 0 {
            self.tree.push(Leaf::new(0, &[]), |value| values.push(*value));
        }
        let complete = self.announced.is_none_or(|announced| announced == self.len);
        if complete && self.tree.root() == Some(root) { Ok(()) } else { Err(StoreError::Mismatch) }
    }
}
