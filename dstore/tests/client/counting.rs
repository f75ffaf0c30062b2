//! A store that counts what arrives, so that what travels twice is seen.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use dstore::id::{CopyId, NoiseKey, ShardId, ShardRoot};
use dstore::merkle::BlockRange;
use dstore::rt::{BoxFuture, Timestamp};
use dstore::store::{
    CopyStore, MemoryStore, NewCopy, OpenShard, ProvedBlocks, Scrubbed, ShardKey, ShardStore, ShardWriter, StoreError,
    StoredCopy, StoredShard, Usage,
};

/// Bytes that arrived, by shard.
pub(crate) type Arrived = Arc<Mutex<BTreeMap<ShardId, u64>>>;

/// A store that counts what arrives.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    pub(crate) store: MemoryStore,
    pub(crate) arrived: Arrived,
}

struct CountingWriter {
    writer: Box<dyn ShardWriter>,
    id: ShardId,
    arrived: Arrived,
}

fn count(arrived: &Arrived, id: ShardId, bytes: usize) {
    *arrived.lock().expect("fine").entry(id).or_default() += bytes as u64;
}

impl ShardWriter for CountingWriter {
    /// What was on its way on a connection that died, when another one took the shard up, is refused by the store, and
    /// did not arrive.
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        let len = bytes.len();
        Box::pin(async move {
            self.writer.append(bytes).await?;
            count(&self.arrived, self.id, len);
            Ok(())
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
        until: Timestamp,
    ) -> BoxFuture<'static, Result<StoredShard, StoreError>> {
        self.writer.finish(root, until)
    }
}

impl ShardStore for Counting {
    fn put_small(
        &self,
        key: ShardKey,
        root: ShardRoot,
        until: Timestamp,
        bytes: Vec<u8>,
    ) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        count(&self.arrived, key.id, bytes.len());
        self.store.put_small(key, root, until, bytes)
    }

    fn begin(
        &self,
        key: ShardKey,
        len: Option<u64>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StoreError>> {
        Box::pin(async move {
            let writer = self.store.begin(key, len, now).await?;
            let arrived = self.arrived.clone();
            Ok(Box::new(CountingWriter { writer, id: key.id, arrived }) as Box<dyn ShardWriter>)
        })
    }

    fn open_shard(&self, id: ShardId) -> BoxFuture<'_, Result<Option<OpenShard>, StoreError>> {
        self.store.open_shard(id)
    }

    fn stat(&self, id: ShardId) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        self.store.stat(id)
    }

    fn read(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        self.store.read(id, range)
    }

    fn prove(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        self.store.prove(id, range)
    }

    fn renew(&self, id: ShardId, until: Timestamp) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        self.store.renew(id, until)
    }

    fn retire(&self, id: ShardId, free_at: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.retire(id, free_at)
    }

    fn sweep(&self, now: Timestamp, lease: Timestamp, open: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.sweep(now, lease, open)
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.store.usage()
    }

    fn accounts_usage(&self, accounts: RangeInclusive<NoiseKey>) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.store.accounts_usage(accounts)
    }

    fn scrub(&self, after: Option<ShardId>, budget: u64) -> BoxFuture<'_, Result<Scrubbed, StoreError>> {
        self.store.scrub(after, budget)
    }
}

impl CopyStore for Counting {
    fn put_copy(&self, new: NewCopy) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        self.store.put_copy(new)
    }

    fn copy(&self, id: CopyId) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        self.store.copy(id)
    }

    fn copies(
        &self,
        holder: NoiseKey,
        after: Option<CopyId>,
        budget: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredCopy>, StoreError>> {
        self.store.copies(holder, after, budget)
    }

    fn count_copies(&self, account: NoiseKey) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.count_copies(account)
    }

    fn sweep_copies(&self, lease_floor: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.sweep_copies(lease_floor)
    }
}
