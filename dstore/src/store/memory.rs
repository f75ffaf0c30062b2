//! Shards in memory: the twin of the disk store for tests and for nodes that need not survive their process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::{Bound, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blake3::hazmat::ChainingValue;

use super::copies::{CopyStore, NewCopy, StoredCopy};
use super::intake::Intake;
use super::space::{Reservation, Space, superseded};
use super::{
    OpenShard, ProvedBlocks, Scrubbed, ShardKey, ShardState, ShardStore, ShardWriter, StoreError, StoredShard, Usage,
    block_bytes,
};
use crate::id::{CopyId, NoiseKey, ShardId, ShardRoot};
use crate::merkle::{self, BLOCK_LEN, BlockRange, position};
use crate::rt::{BoxFuture, Timestamp};

/// Keeps shards in memory. Clones share them: a node that is started again with a clone finds what it stored.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    space: Arc<Space>,
    shards: Mutex<BTreeMap<ShardId, Entry>>,
    /// Locked before `shards` by whoever needs both.
    open: Mutex<HashMap<ShardId, Open>>,
    copies: Mutex<BTreeMap<CopyId, StoredCopy>>,
}

/// What is there of an open shard.
struct Open {
    intake: Intake,
    bytes: Vec<u8>,
    values: Vec<ChainingValue>,
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
        let space = Space::new(capacity, None);
        let (shards, open, copies) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { space, shards, open, copies }) }
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

    fn open(&self) -> MutexGuard<'_, HashMap<ShardId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copies(&self) -> MutexGuard<'_, BTreeMap<CopyId, StoredCopy>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_absent(&self, id: ShardId) -> Result<(), StoreError> {
        self.shards().get(&id).map_or(Ok(()), |entry| entry.shard.check_replaceable())
    }

    /// Discards an open shard; `false` when there is none.
    fn discard(&self, id: ShardId) -> bool {
        let mut all = self.open();
        all.remove(&id);
        self.space.discard(id)
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
            let stored = self.shared.insert(Entry { shard, bytes, values }, room)?;
            self.shared.discard(key.id);
            Ok(stored)
        })
    }

    fn begin(
        &self,
        key: ShardKey,
        len: Option<u64>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StoreError>> {
        Box::pin(async move {
            self.shared.check_absent(key.id)?;
            let mut all = self.shared.open();
            let intake = match all.get(&key.id) {
                Some(before) => before.intake.clone().taken_up(len),
                None => Intake::new(len),
            };
            let room = self.shared.space.reserve_for_writer(&key, intake.len(), len, now)?;
            let (len, root) = (intake.len(), intake.root());
            let blocks = len / BLOCK_LEN as u64;
            let entry =
                all.entry(key.id).or_insert_with(|| Open { intake: Intake::new(None), bytes: vec![], values: vec![] });
            entry.bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            entry.values.truncate(usize::try_from(position(blocks, 0)).unwrap_or(usize::MAX));
            entry.intake = intake;
            Ok(Box::new(MemoryWriter { shared: Arc::clone(&self.shared), key, room: Some(room), len, root }) as _)
        })
    }

    fn open_shard(&self, id: ShardId) -> BoxFuture<'_, Result<Option<OpenShard>, StoreError>> {
        Box::pin(async move { Ok(self.shared.space.open_shard(id)) })
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
            let was_open = self.shared.discard(id);
            let retired = self.change(id, |entry| {
                entry.shard = entry.shard.retired(free_at);
                Ok(())
            });
            if was_open { Ok(()) } else { retired }
        })
    }

    fn sweep(
        &self,
        now: Timestamp,
        lease_floor: Timestamp,
        open_floor: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut freed = 0;
            let mut open = self.shared.open();
            for id in self.shared.space.idle(now, open_floor, usize::MAX) {
                if self.shared.space.discard_idle(id, open_floor) {
                    open.remove(&id);
                    freed += 1;
                }
            }
            drop(open);
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
        Box::pin(async move {
            let is_damaged = |entry: &&Entry| entry.shard.state == ShardState::Quarantined;
            let damaged = self.shared.shards().values().filter(is_damaged).count() as u64;
            Ok(Usage { damaged, ..self.shared.space.usage() })
        })
    }

    fn accounts_usage(&self, accounts: RangeInclusive<NoiseKey>) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(async move {
            let mut usage = self.shared.space.accounts(&accounts);
            for entry in self.shared.shards().values().filter(|entry| accounts.contains(&entry.shard.key.account)) {
                usage.used += entry.shard.len;
                usage.shards += 1;
            }
            let copies = self.shared.copies();
            usage.used +=
                copies.values().filter(|copy| accounts.contains(&copy.account)).map(StoredCopy::len).sum::<u64>();
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

impl CopyStore for MemoryStore {
    fn put_copy(&self, new: NewCopy) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        Box::pin(async move {
            let mut copies = self.shared.copies();
            let old = copies.get(&new.id).cloned();
            let before = old.as_ref().map_or(0, StoredCopy::len);
            let kept = StoredCopy::after(old, new);
            let room = self.shared.space.reserve_copy(kept.account, kept.len().saturating_sub(before))?;
            room.settle_copy(before, kept.len());
            copies.insert(kept.id, kept.clone());
            Ok(kept)
        })
    }

    fn copy(&self, id: CopyId) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        Box::pin(async move { self.shared.copies().get(&id).cloned().ok_or(StoreError::NotFound) })
    }

    fn copies(
        &self,
        holder: NoiseKey,
        after: Option<CopyId>,
        budget: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredCopy>, StoreError>> {
        Box::pin(async move {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let (mut found, mut bytes) = (Vec::new(), 0);
            for copy in self.shared.copies().range((from, Bound::Unbounded)).map(|(_, copy)| copy) {
                if copy.holder != holder {
                    continue;
                }
                bytes += copy.len();
                if bytes > budget && !found.is_empty() {
                    break;
                }
                found.push(copy.clone());
            }
            Ok(found)
        })
    }

    fn count_copies(&self, account: NoiseKey) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { Ok(self.shared.copies().values().filter(|copy| copy.account == account).count() as u64) })
    }

    fn sweep_copies(&self, lease_floor: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut freed = 0;
            self.shared.copies().retain(|_, copy| {
                let due = copy.lease_until < lease_floor;
                if due {
                    freed += 1;
                    self.shared.space.freed_copy(copy.len());
                }
                !due
            });
            Ok(freed)
        })
    }
}

struct MemoryWriter {
    shared: Arc<Shared>,
    key: ShardKey,
    room: Option<Reservation>,
    len: u64,
    root: ShardRoot,
}

impl MemoryWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let more = bytes.len() as u64;
        let mut all = self.shared.open();
        let room = self.room.as_ref().filter(|room| room.is_current()).ok_or_else(superseded)?;
        let open = all.get_mut(&self.key.id).ok_or_else(superseded)?;
        open.intake.admit(more)?;
        if open.intake.announced().is_none() {
            room.grow(more)?;
        }
        open.intake.take(bytes, &mut open.values);
        open.bytes.extend_from_slice(bytes);
        room.wrote(more);
        (self.len, self.root) = (open.intake.len(), open.intake.root());
        Ok(())
    }

    fn finish(mut self, root: ShardRoot, lease_until: Timestamp) -> Result<StoredShard, StoreError> {
        let mut all = self.shared.open();
        let room = self.room.take().ok_or_else(superseded)?;
        room.close()?;
        let Open { intake, bytes, mut values } = all.remove(&self.key.id).ok_or_else(superseded)?;
        intake.finish(root, &mut values)?;
        let shard = StoredShard { key: self.key, root, len: intake.len(), lease_until, state: ShardState::Live };
        self.shared.insert(Entry { shard, bytes, values }, room)
    }
}

/// The whole blocks stay: a new writer cuts off the rest.
impl Drop for MemoryWriter {
    fn drop(&mut self) {
        let mut all = self.shared.open();
        drop(self.room.take());
        if !self.shared.space.is_open(self.key.id) {
            all.remove(&self.key.id);
        }
    }
}

impl ShardWriter for MemoryWriter {
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.append(&bytes) })
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn root(&self) -> ShardRoot {
        self.root
    }

    fn discard(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(room) = &self.room {
                room.discard();
            }
        })
    }

    fn finish(
        self: Box<Self>,
        root: ShardRoot,
        lease_until: Timestamp,
    ) -> BoxFuture<'static, Result<StoredShard, StoreError>> {
        Box::pin(async move { (*self).finish(root, lease_until) })
    }
}
