//! Where a node keeps shards: the port under a storage node.
//!
//! Every implementation keeps one rule set, stated by its conformance suite: what was acknowledged reads back,
//! whatever happened since, or is reported as damaged; it is never wrong.

mod copies;
mod disk;
mod intake;
mod life;
mod memory;
mod space;

use std::fmt;
use std::ops::RangeInclusive;

use blake3::hazmat::ChainingValue;

use crate::error::BoxError;
use crate::id::{NoiseKey, ShardId, ShardRoot};
use crate::merkle::{BLOCK_LEN, BlockRange};
use crate::rt::{BoxFuture, Timestamp};

pub use copies::{CopyStore, NewCopy, StoredCopy};
pub use disk::{DiskStore, DiskStoreConfig};
pub use memory::MemoryStore;

/// What a shard is, from the first byte of its PUT on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardKey {
    /// Its address: derived from the three fields below (docs/format.md section 3).
    pub id: ShardId,
    /// The public key that its signatures and tokens are checked with, compressed SEC1.
    pub cap_pk: [u8; 33],
    /// Its index in the file.
    pub index: u8,
    /// Which placement of it this is.
    pub generation: u32,
    /// Whose quota it counts against: the Noise static key of the connection that stored it.
    pub account: NoiseKey,
}

/// A shard that is durable here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredShard {
    /// What it is.
    pub key: ShardKey,
    /// Its BLAKE3 hash.
    pub root: ShardRoot,
    /// Its length, bytes.
    pub len: u64,
    /// Until when the node promised to keep it.
    pub lease_until: Timestamp,
    /// Whether it serves.
    pub state: ShardState,
}

/// Whether a shard serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardState {
    /// It does.
    Live,
    /// Deleted: serves reads until this time, then it is freed.
    Retired(Timestamp),
    /// Some of its bytes were found damaged: it serves what it has, takes no new lease, and may be stored anew.
    Quarantined,
}

/// Blocks of a shard, and the proof that they are.
#[derive(Clone, PartialEq, Eq)]
pub struct ProvedBlocks {
    /// Chaining values as [`merkle::prove`](crate::merkle::prove) orders them.
    pub proof: Vec<ChainingValue>,
    /// The bytes of the blocks, one after another; empty when only the proof was asked for.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for ProvedBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProvedBlocks({} values, {} bytes)", self.proof.len(), self.bytes.len())
    }
}

/// How full a store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes of shards held, those open and those retired included, and of copies of records.
    pub used: u64,
    /// Bytes that more shards may take: what the capacity and the disk's free-space floor leave.
    pub free: u64,
    /// Shards held.
    pub shards: u64,
    /// Shards that are open: being written, or waiting to be written on.
    pub open: u64,
    /// The part of `used` that is set aside for those.
    pub reserved: u64,
    /// Shards held that were found damaged.
    pub damaged: u64,
}

/// A shard of which a part is there: it is being written, or waits for a writer that goes on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenShard {
    /// Whose quota it counts against.
    pub account: NoiseKey,
    /// Bytes of whole blocks that are there.
    pub held: u64,
    /// Bytes that are set aside for it, `held` included. Without a writer there are no others.
    pub reserved: u64,
}

/// What a store refuses or fails with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such shard.
    #[error("no such shard")]
    NotFound,
    /// A shard with this id is stored already.
    #[error("the shard exists already")]
    Exists(Box<StoredShard>),
    /// The capacity or the free-space floor is reached.
    #[error("no space left")]
    NoSpace,
    /// The bytes that arrived do not have the hash or length that was announced.
    #[error("the shard's bytes do not match its root or length")]
    Mismatch,
    /// The stored bytes are damaged.
    #[error("the stored shard is damaged")]
    Damaged,
    /// The disk or the database failed.
    #[error("{what}")]
    Failed {
        /// What was being done.
        what: String,
        /// The cause.
        source: Option<BoxError>,
    },
}

impl StoreError {
    fn failed(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), source: None }
    }
}

/// The bytes of the blocks in `range` of a whole shard; fewer if it is shorter than the range was made for.
fn block_bytes(shard: &[u8], range: BlockRange) -> &[u8] {
    let at = |block: u64| usize::try_from(block).map_or(usize::MAX, |block| block.saturating_mul(BLOCK_LEN));
    let end = at(range.first() + range.count()).min(shard.len());
    shard.get(at(range.first())..end).unwrap_or_default()
}

/// A shard that is being written. Dropped without `finish`, it keeps the whole blocks that were appended: the shard stays
/// open, and the next [`ShardStore::begin`] goes on with it.
pub trait ShardWriter: Send {
    /// Appends `bytes`: whole blocks, except that the last append may end inside one. At least 1 MiB at a time is best.
    ///
    /// # Errors
    /// `NoSpace`; `Mismatch` after an append that ended inside a block, or past the announced length; `Failed`.
    /// The writer is of no use after an error, or when the future was dropped before it was ready.
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Bytes so far; at first those that were there already, which are whole blocks.
    fn len(&self) -> u64;

    /// The hash of the bytes so far.
    fn root(&self) -> ShardRoot;

    /// Whether there are none yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives up: frees at once what is held of the shard, unless another writer took this one's place.
    fn discard(self: Box<Self>) -> BoxFuture<'static, ()>;

    /// Makes the shard durable and live. When this returns, a power loss keeps it.
    ///
    /// # Errors
    /// `Mismatch` when the bytes do not hash to `root`, or are fewer than announced: nothing is kept of them; `Exists`, `Failed`.
    fn finish(
        self: Box<Self>,
        root: ShardRoot,
        lease_until: Timestamp,
    ) -> BoxFuture<'static, Result<StoredShard, StoreError>>;
}

/// Where a node keeps shards.
pub trait ShardStore: fmt::Debug + Send + Sync + 'static {
    /// Stores a whole small shard. When this returns, a power loss keeps it. Fit for many at a time.
    /// It takes the place of an open shard of the same id, which is discarded.
    ///
    /// # Errors
    /// `Mismatch`, `Exists` (a live or retired shard has the id), `NoSpace`, `Failed`.
    fn put_small(
        &self,
        key: ShardKey,
        root: ShardRoot,
        lease_until: Timestamp,
        bytes: Vec<u8>,
    ) -> BoxFuture<'_, Result<StoredShard, StoreError>>;

    /// Starts a shard of `len` bytes, or of unknown length, at the time `now`; or goes on with an open one, unless a length
    /// that was announced before is another one, or `len` is less than what is held: then that is discarded.
    ///
    /// Space for a known length is set aside at once; appending more than it is `Mismatch`. A second writer of the same id
    /// takes its place: the first one's `append` and `finish` fail.
    ///
    /// # Errors
    /// `Exists`, `NoSpace`, `Failed`.
    fn begin(
        &self,
        key: ShardKey,
        len: Option<u64>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StoreError>>;

    /// Does what [`ShardStore::begin`] would do first for an open shard and what takes long, such as hashing what was
    /// left by an earlier process. Never needed; what fails in it, `begin` fails with.
    fn prepare(&self, _id: ShardId) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// What is held of an open shard; `None` when there is none of this id.
    ///
    /// # Errors
    /// `Failed`.
    fn open_shard(&self, id: ShardId) -> BoxFuture<'_, Result<Option<OpenShard>, StoreError>>;

    /// What is stored under `id`, quarantined shards included.
    ///
    /// # Errors
    /// `NotFound`, `Failed`.
    fn stat(&self, id: ShardId) -> BoxFuture<'_, Result<StoredShard, StoreError>>;

    /// The blocks in `range`, and their proof. Bytes are as stored: the reader checks them.
    ///
    /// # Errors
    /// `NotFound`, `Damaged` (its bytes are gone or cut short), `Mismatch` (the range was made for another length), `Failed`.
    fn read(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>>;

    /// The proof of `range` alone: `bytes` is empty.
    ///
    /// # Errors
    /// As [`ShardStore::read`].
    fn prove(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>>;

    /// Moves the end of a live shard's lease to `lease_until` if that is later. The answer is durable.
    ///
    /// # Errors
    /// `NotFound` (also when retired), `Damaged`, `Failed`.
    fn renew(&self, id: ShardId, lease_until: Timestamp) -> BoxFuture<'_, Result<StoredShard, StoreError>>;

    /// Retires a shard: it serves reads until `free_at`. Retiring again changes nothing. One that is quarantined
    /// serves nobody: it stays so, and the next sweep frees it. One that is open is discarded at once, and its writer fails.
    ///
    /// # Errors
    /// `NotFound`, `Failed`.
    fn retire(&self, id: ShardId, free_at: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Frees what was retired and is due at `now`, other shards whose lease ended before `lease_floor`, and open ones without
    /// a writer that were last appended to before `open_floor`. (One with a writer counts as appended to at `now`.)
    /// Answers how many shards were freed; call again while that is not 0.
    ///
    /// # Errors
    /// `Failed`.
    fn sweep(
        &self,
        now: Timestamp,
        lease_floor: Timestamp,
        open_floor: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Whether it can store something now: one with a disk writes to it. Without an implementation of its own, whether
    /// it can be measured.
    ///
    /// # Errors
    /// `NoSpace` when nothing more fits; `Failed` when it needs repair.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { if self.usage().await?.free == 0 { Err(StoreError::NoSpace) } else { Ok(()) } })
    }

    /// Writes to the disk that made changes durable so far: many changes share one. 0 where there is no such thing.
    fn commits(&self) -> u64 {
        0
    }

    /// How full the store is.
    ///
    /// # Errors
    /// `Failed`.
    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>>;

    /// Bytes and number of shards that count against `account`, the bytes set aside for open ones and those of the copies of
    /// records ([`CopyStore`]) included.
    /// `free` is that of the store.
    ///
    /// # Errors
    /// `Failed`.
    fn account_usage(&self, account: NoiseKey) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.accounts_usage(account..=account)
    }

    /// The same of all accounts in a range together.
    ///
    /// # Errors
    /// `Failed`.
    fn accounts_usage(&self, accounts: RangeInclusive<NoiseKey>) -> BoxFuture<'_, Result<Usage, StoreError>>;

    /// Re-hashes the next shards in order of id after `after`, at most `budget` bytes of them (at least one shard),
    /// and quarantines those that are damaged.
    ///
    /// # Errors
    /// `Failed`.
    fn scrub(&self, after: Option<ShardId>, budget: u64) -> BoxFuture<'_, Result<Scrubbed, StoreError>>;
}

/// What one call of [`ShardStore::scrub`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// Where to go on; `None` at the end.
    pub last: Option<ShardId>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Shards that were found damaged now.
    pub quarantined: Vec<ShardId>,
}
