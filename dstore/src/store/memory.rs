//! Shards in memory: the twin of the disk store for tests and for nodes that need not survive their process.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blake3::hazmat::ChainingValue;

use super::intake::Intake;
use super::space::{Reservation, Space, superseded};
use super::{
    ProvedBlocks, Scrubbed, ShardKey, ShardState, ShardStore, ShardWriter, StoreError, StoredShard, Usage, block_bytes,
};
use crate::id::{NoiseKey, ShardId, ShardRoot};
use crate::merkle::{self, BlockRange};
use crate::rt::{BoxFuture, Timestamp};

/// Keeps shards in memory. Clones share them: a node that is started again with a clone finds what it stored.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    space: Arc<Space>,
    shards: Mutex<BTreeMap<ShardId, Entry>>,
}

struct Entry {
    shard: StoredShard,
    bytes: Vec<u8>,
    values: Vec<ChainingValue>,
}

impl MemoryStore {
    /// An empty store for `capacity` bytes of shards.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self { shared: Arc::new(Shared { space: Space::new(capacity, None), shards: Mutex::default() }) }
    }

    /// Inverts the byte at `offset` of a shard, as a failing disk might; `false` if there is no such byte. For tests.
    pub fn flip(&self, id: ShardId, offset: u64) -> bool {
        let mut shards = self.shared.shards();
        let at = usize::try_from(offset).ok();
        let byte = shards.get_mut(&id).zip(at).and_then(|(entry, at)| entry.bytes.get_mut(at));
        byte.map(|byte| *byte = !*byte).is_some()
    }

    /// The bytes of all shards, in the order of their ids. For tests.
    #[must_use]
    pub fn contents(&self) -> Vec<Vec<u8>> {
        self.shared.shards().values().map(|entry| entry.bytes.clone()).collect()
    }

    /// The ids of all shards, in order. For tests.
    #[must_use]
    pub fn ids(&self) -> Vec<ShardId> {
        self.shared.shards().keys().copied().collect()
    }

    fn change<T>(
        &self,
        id: ShardId,
        change: impl FnOnce(&mut Entry) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        change(self.shared.shards().get_mut(&id).ok_or(StoreError::NotFound)?)
    }

    fn proved(&self, id: ShardId, range: BlockRange, with_bytes: bool) -> Result<ProvedBlocks, StoreError> {
        self.change(id, |entry| {
            entry.shard.check_readable(range)?;
            let Ok(proof) = merkle::prove(&mut entry.values.as_slice(), range);
            let bytes = if with_bytes { block_bytes(&entry.bytes, range) } else { &[] };
            Ok(ProvedBlocks { proof, bytes: bytes.to_vec() })
        })
    }
}

impl Shared {
    fn shards(&self) -> MutexGuard<'_, BTreeMap<ShardId, Entry>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_absent(&self, id: ShardId) -> Result<(), StoreError> {
        self.shards().get(&id).map_or(Ok(()), |entry| entry.shard.check_replaceable())
    }

    fn insert(&self, entry: Entry, room: Reservation) -> Result<StoredShard, StoreError> {
        let shard = entry.shard;
        let mut shards = self.shards();
        if !room.is_current() {
            return Err(superseded());
        }
        if let Some(old) = shards.get(&shard.key.id) {
            old.shard.check_replaceable()?;
            self.space.freed(old.shard.len);
        }
        room.settle(shard.len);
        shards.insert(shard.key.id, entry);
        Ok(shard)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({:?})", self.shared.space.usage())
    }
}

impl ShardStore for MemoryStore {
    fn put_small(
        &self,
        key: ShardKey,
        root: ShardRoot,
        lease_until: Timestamp,
        bytes: Vec<u8>,
    ) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        Box::pin(async move {
            self.shared.check_absent(key.id)?;
            let len = bytes.len() as u64;
            let room = self.shared.space.reserve(&key, len)?;
            let values = Intake::whole(root, &bytes)?;
            let shard = StoredShard { key, root, len, lease_until, state: ShardState::Live };
            self.shared.insert(Entry { shard, bytes, values }, room)
        })
    }

    fn begin(&self, key: ShardKey, len: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StoreError>> {
        Box::pin(async move {
            self.shared.check_absent(key.id)?;
            let room = self.shared.space.reserve_for_writer(&key, len.unwrap_or(0))?;
            let shared = Arc::clone(&self.shared);
            let intake = Intake::new(len);
            Ok(Box::new(MemoryWriter { shared, key, room, intake, bytes: Vec::new(), values: Vec::new() }) as _)
        })
    }

    fn stat(&self, id: ShardId) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        Box::pin(async move { self.change(id, |entry| Ok(entry.shard)) })
    }

    fn read(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        Box::pin(async move { self.proved(id, range, true) })
    }

    fn prove(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        Box::pin(async move { self.proved(id, range, false) })
    }

    fn renew(&self, id: ShardId, lease_until: Timestamp) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        Box::pin(async move {
            self.change(id, |entry| {
                entry.shard = entry.shard.renewed(lease_until)?;
                Ok(entry.shard)
            })
        })
    }

    fn retire(&self, id: ShardId, free_at: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.change(id, |entry| {
                entry.shard = entry.shard.retired(free_at);
                Ok(())
            })
        })
    }

    fn sweep(&self, now: Timestamp, lease_floor: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut freed = 0;
            self.shared.shards().retain(|_, entry| {
                let due = entry.shard.is_due(now, lease_floor);
                if due {
                    freed += 1;
                    self.shared.space.freed(entry.shard.len);
                }
                !due
            });
            Ok(freed)
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(async move { Ok(self.shared.space.usage()) })
    }

    fn accounts_usage(&self, accounts: RangeInclusive<NoiseKey>) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(async move {
            let (used, free) = self.shared.space.accounts(&accounts);
            let mut usage = Usage { used, free, shards: 0 };
            for entry in self.shared.shards().values().filter(|entry| accounts.contains(&entry.shard.key.account)) {
                usage.used += entry.shard.len;
                usage.shards += 1;
            }
            Ok(usage)
        })
    }

    fn scrub(&self, after: Option<ShardId>, budget: u64) -> BoxFuture<'_, Result<Scrubbed, StoreError>> {
        Box::pin(async move {
            let mut scrubbed = Scrubbed::default();
            let mut shards = self.shared.shards();
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            for (id, entry) in shards.range_mut((from, Bound::Unbounded)) {
                if entry.shard.state == ShardState::Quarantined {
                    continue;
                }
                if scrubbed.bytes + entry.shard.len > budget && scrubbed.last.is_some() {
                    return Ok(scrubbed);
                }
                scrubbed.last = Some(*id);
                scrubbed.bytes += entry.shard.len;
                if Intake::whole(entry.shard.root, &entry.bytes).is_err() {
                    entry.shard = entry.shard.quarantined();
                    scrubbed.quarantined.push(*id);
                }
            }
            scrubbed.last = None;
            Ok(scrubbed)
        })
    }
}

struct MemoryWriter {
    shared: Arc<Shared>,
    key: ShardKey,
    room: Reservation,
    intake: Intake,
    bytes: Vec<u8>,
    values: Vec<ChainingValue>,
}

impl ShardWriter for MemoryWriter {
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let more = bytes.len() as u64;
            self.intake.admit(more)?;
            if self.intake.announced().is_none() {
                self.room.grow(more)?;
            }
            self.intake.take(&bytes, &mut self.values);
            self.bytes.extend_from_slice(&bytes);
            Ok(())
        })
    }

    fn len(&self) -> u64 {
        self.intake.len()
    }

    fn finish(
        mut self: Box<Self>,
        root: ShardRoot,
        lease_until: Timestamp,
    ) -> BoxFuture<'static, Result<StoredShard, StoreError>> {
        Box::pin(async move {
            self.intake.finish(root, &mut self.values)?;
            let len = self.intake.len();
            let shard = StoredShard { key: self.key, root, len, lease_until, state: ShardState::Live };
            let entry = Entry { shard, bytes: self.bytes, values: self.values };
            self.shared.insert(entry, self.room)
        })
    }
}
