//! Checks the bytes of a shard as they arrive: whole blocks, the announced length, and in the end the root.

use blake3::hazmat::ChainingValue;

use super::StoreError;
use crate::id::ShardRoot;
use crate::merkle::{BLOCK_LEN, Leaf, TreeBuilder};

/// What has arrived of a shard.
#[derive(Clone)]
pub(super) struct Intake {
    announced: Option<u64>,
    len: u64,
    /// Over the whole blocks.
    tree: TreeBuilder,
    /// The last block, if it is not whole: no other can follow it, but it can be cut off.
    tail: Option<Leaf>,
}

impl Intake {
    pub(super) fn new(announced: Option<u64>) -> Self {
        Self { announced, len: 0, tree: TreeBuilder::new(), tail: None }
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

    /// The hash of what has arrived.
    pub(super) fn root(&self) -> ShardRoot {
        self.close(&mut Vec::new())
    }

    /// What a writer that announces `len` goes on with: the whole blocks, unless that is another length than before.
    pub(super) fn taken_up(mut self, len: Option<u64>) -> Self {
        self.len = whole_blocks(self.len);
        self.tail = None;
        let is_other = len.is_some_and(|len| len < self.len || self.announced.is_some_and(|before| before != len));
        if is_other { Self::new(len) } else { Self { announced: len, ..self } }
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
            let leaf = Leaf::new(self.tree.count(), block);
            if block.len() == BLOCK_LEN {
                self.tree.push(leaf, |value| values.push(*value));
            } else {
                self.tail = Some(leaf);
            }
        }
        self.len += bytes.len() as u64;
    }

    /// The root if this was all, and the values of the tree that this adds. An empty shard has one empty block.
    pub(super) fn close(&self, values: &mut Vec<ChainingValue>) -> ShardRoot {
        let mut tree = self.tree.clone();
        let last = self.tail.or_else(|| (tree.count() == 0).then(|| Leaf::new(0, &[])));
        if let Some(leaf) = last {
            tree.push(leaf, |value| values.push(*value));
        }
        tree.root().expect("a tree with a leaf has a root")
    }

    /// Whether everything has arrived, and has this root; appends the last values of the tree.
    pub(super) fn finish(&self, root: ShardRoot, values: &mut Vec<ChainingValue>) -> Result<(), StoreError> {
        let complete = self.announced.is_none_or(|announced| announced == self.len);
        if complete && self.close(values) == root { Ok(()) } else { Err(StoreError::Mismatch) }
    }
}

/// So many of `len` bytes are whole blocks.
pub(super) fn whole_blocks(len: u64) -> u64 {
    len - len % BLOCK_LEN as u64
}
