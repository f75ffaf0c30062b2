//! A node's disk: shards in memory that outlive the node, with a time of its own and a fill level at will.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::host::SimEnv;
use crate::id::{CopyId, NoiseKey, ShardId, ShardRoot};
use crate::merkle::BlockRange;
use crate::rt::{BoxFuture, Timestamp};
use crate::store::{
    CopyStore, MemoryStore, NewCopy, OpenShard, ProvedBlocks, Scrubbed, ShardKey, ShardStore, ShardWriter, StoreError,
    StoredCopy, StoredShard, Usage,
};

/// How long the disk may take for one thing, before it and after it.
const LONG: Duration = Duration::from_millis(4);

/// What a node keeps, whether it runs or not.
#[derive(Clone)]
pub(super) struct Platter {
    pub(super) store: MemoryStore,
    pub(super) full: Arc<AtomicBool>,
    /// Bytes of bodies that were taken, by shard: those that came twice count twice.
    arrived: Arc<Mutex<BTreeMap<ShardId, u64>>>,
}

impl Platter {
    pub(super) fn new(capacity: u64) -> Self {
        Self { store: MemoryStore::new(capacity), full: Arc::default(), arrived: Arc::default() }
    }

    pub(super) fn arrived(&self) -> BTreeMap<ShardId, u64> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, id: ShardId, bytes: usize) {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default() += bytes as u64;
    }

    fn check_room(&self) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) { Err(StoreError::NoSpace) } else { Ok(()) }
    }
}

/// A disk in one life of its node.
pub(super) struct Disk {
    pub(super) platter: Platter,
    pub(super) env: SimEnv,
}

impl Disk {
    /// What is done is done at some moment between the call and the answer: the node may be killed in either gap.
    async fn act<T>(&self, act: impl Future<Output = T>) -> T {
        self.env.dawdle(LONG).await;
        let done = act.await;
        self.env.dawdle(LONG).await;
        done
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({:?})", self.platter.store)
    }
}

impl ShardStore for Disk {
    fn put_small(
        &self,
        key: ShardKey,
        root: ShardRoot,
        lease_until: Timestamp,
        bytes: Vec<u8>,
    ) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        Box::pin(self.act(async move {
            self.platter.check_room()?;
            self.platter.count(key.id, bytes.len());
            self.platter.store.put_small(key, root, lease_until, bytes).await
        }))
    }

    fn begin(
        &self,
        key: ShardKey,
        len: Option<u64>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StoreError>> {
        Box::pin(self.act(async move {
            self.platter.check_room()?;
            let writer = self.platter.store.begin(key, len, now).await?;
            Ok(Box::new(DiskWriter { writer, id: key.id, platter: self.platter.clone(), env: self.env.clone() }) as _)
        }))
    }

    fn stat(&self, id: ShardId) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        self.platter.store.stat(id)
    }

    fn read(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        Box::pin(self.act(self.platter.store.read(id, range)))
    }

    fn prove(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        self.platter.store.prove(id, range)
    }

    fn renew(&self, id: ShardId, lease_until: Timestamp) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        Box::pin(self.act(self.platter.store.renew(id, lease_until)))
    }

    fn retire(&self, id: ShardId, free_at: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.act(self.platter.store.retire(id, free_at)))
    }

    fn open_shard(&self, id: ShardId) -> BoxFuture<'_, Result<Option<OpenShard>, StoreError>> {
        self.platter.store.open_shard(id)
    }

    fn sweep(
        &self,
        now: Timestamp,
        lease_floor: Timestamp,
        open_floor: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.platter.store.sweep(now, lease_floor, open_floor)
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.platter.store.usage()
    }

    fn accounts_usage(&self, accounts: RangeInclusive<NoiseKey>) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.platter.store.accounts_usage(accounts)
    }

    fn scrub(&self, after: Option<ShardId>, budget: u64) -> BoxFuture<'_, Result<Scrubbed, StoreError>> {
        self.platter.store.scrub(after, budget)
    }
}

impl CopyStore for Disk {
    fn put_copy(&self, new: NewCopy) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        Box::pin(self.act(async move {
            self.platter.check_room()?;
            self.platter.store.put_copy(new).await
        }))
    }

    fn copy(&self, id: CopyId) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        self.platter.store.copy(id)
    }

    fn copies(
        &self,
        holder: NoiseKey,
        after: Option<CopyId>,
        budget: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredCopy>, StoreError>> {
        self.platter.store.copies(holder, after, budget)
    }

    fn count_copies(&self, account: NoiseKey) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.platter.store.count_copies(account)
    }

    fn sweep_copies(&self, lease_floor: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.platter.store.sweep_copies(lease_floor)
    }
}

struct DiskWriter {
    writer: Box<dyn ShardWriter>,
    id: ShardId,
    platter: Platter,
    env: SimEnv,
}

impl ShardWriter for DiskWriter {
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.env.dawdle(LONG).await;
            self.platter.check_room()?;
            self.platter.count(self.id, bytes.len());
            self.writer.append(bytes).await
        })
    }

    fn len(&self) -> u64 {
        self.writer.len()
    }

    fn root(&self) -> ShardRoot {
        self.writer.root()
    }

    fn discard(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.writer.discard()
    }

    fn finish(
        self: Box<Self>,
        root: ShardRoot,
        lease_until: Timestamp,
    ) -> BoxFuture<'static, Result<StoredShard, StoreError>> {
        Box::pin(async move {
            self.env.dawdle(LONG).await;
            let stored = self.writer.finish(root, lease_until).await;
            self.env.dawdle(LONG).await;
            stored
        })
    }
}
