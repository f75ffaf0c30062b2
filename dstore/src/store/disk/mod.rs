//! Shards on a disk: large ones as files, small ones in the index database, all of them durable when acknowledged.
//!
//! ```text
//! DIR/lock                   one process at a time
//! DIR/index.db               SQLite: one row for every shard, and the bytes of small ones; the copies of records
//! DIR/shards/aa/<hex>        the bytes of a shard, as they are
//! DIR/shards/aa/<hex>.meta   what it is, and its hash tree
//! DIR/open/<hex>             the same of a shard of which a part is there: its first bytes,
//! DIR/open/<hex>.meta        what it is, and the hash tree of its whole blocks. Last written: when it was last appended to
//! ```

mod change;
mod commit;
mod config;
mod copies;
mod failure;
mod files;
mod folder;
mod heal;
mod index;
mod meta;
mod open;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use commit::{Commit, Committer};
use files::{Files, RealFiles};
use folder::{Folder, prefix};
use index::Index;
use open::Locks;
use reader::Wanted;
use writer::FileWriter;

use super::intake::Intake;
use super::space::{Floor, Space};
use super::{
    OpenShard, ProvedBlocks, Scrubbed, ShardKey, ShardState, ShardStore, ShardWriter, StoreError, StoredShard, Usage,
};
use crate::error::Error;
use crate::id::{NoiseKey, ShardId, ShardRoot};
use crate::merkle::BlockRange;
use crate::rt::{BoxFuture, Rt, Timestamp};

pub use config::DiskStoreConfig;

/// Keeps shards in a folder of a local disk, which one process at a time may open.
pub struct DiskStore {
    disk: Arc<Disk>,
    committer: Committer,
    inline_max: usize,
    sweeping: Arc<async_lock::Mutex<()>>,
}

/// What jobs share.
struct Disk {
    folder: Arc<Folder>,
    space: Arc<Space>,
    open: Locks,
    readers: Mutex<Vec<Index>>,
    rt: Rt,
}

impl DiskStore {
    /// Opens the store in `dir`, which is made if need be, and heals what a crash left. Open shards are open again.
    /// This takes time in proportion to the number of shards. Dropping the store waits for the changes under way.
    ///
    /// An index that is lost or damaged is made again from the shard files, with leases of at least 90 days;
    /// the small shards and the copies of records that it held are lost. The damaged one is kept beside it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open; `Io`; `Config` when a later version made it.
    pub async fn open(dir: impl Into<PathBuf>, config: DiskStoreConfig, rt: Rt) -> Result<Self, Error> {
        let (dir, env) = (dir.into(), rt.clone());
        rt.blocking(move || Self::open_on(Arc::new(RealFiles), dir, &config, env)).await
    }

    fn open_on(files: Arc<dyn Files>, dir: PathBuf, config: &DiskStoreConfig, rt: Rt) -> Result<Self, Error> {
        let folder = Arc::new(Folder::open(&dir, files)?);
        let index = heal::open(&folder, rt.now())?;
        let failed = |error| Error::io(format!("opening the store {}", dir.display()), error);
        let (bytes, shards) = index.total().map_err(|error| failed(std::io::Error::other(error)))?;
        let floor = Floor { dir: dir.clone(), free: config.free_floor, rt: rt.clone() };
        let space = Space::new(config.capacity, Some(floor));
        let copies = index.copy_bytes().map_err(|error| failed(std::io::Error::other(error)))?;
        space.load(bytes + copies, shards);
        open::load(&folder, &index, &space).map_err(failed)?;
        let committer = Committer::start(index, Arc::clone(&folder), Arc::clone(&space)).map_err(failed)?;
        let disk = Arc::new(Disk { folder, space, open: Locks::default(), readers: Mutex::default(), rt });
        Ok(Self { disk, committer, inline_max: config.inline_max, sweeping: Arc::default() })
    }

    /// Commits of the index since the store was opened: many changes share one. For tests and measurements.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commit().count()
    }

    /// Closes when nobody has the folder any more: work on other threads may outlive the store.
    pub(crate) fn released(&self) -> async_channel::Receiver<()> {
        self.disk.folder.released.clone()
    }

    fn commit(&self) -> Commit {
        self.committer.handle()
    }

    async fn job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Arc<Disk>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let disk = Arc::clone(&self.disk);
        self.disk.rt.blocking(move || job(&disk)).await
    }

    async fn put_in_one_piece(
        &self,
        key: ShardKey,
        root: ShardRoot,
        lease_until: Timestamp,
        bytes: Vec<u8>,
    ) -> Result<StoredShard, StoreError> {
        // Hashing so little takes less time than handing it to another thread.
        Intake::whole(root, &bytes)?;
        let len = bytes.len() as u64;
        if bytes.len() > self.inline_max {
            self.discard_open(key.id, move |space| space.discard(key.id)).await?;
            let mut writer = self.begin(key, Some(len), self.disk.rt.now()).await?;
            if let Err(refused) = writer.append(bytes).await {
                writer.discard().await;
                return Err(refused);
            }
            return writer.finish(root, lease_until).await;
        }
        let shard = StoredShard { key, root, len, lease_until, state: ShardState::Live };
        let stored = self.commit().run(move |batch| batch.put_small(shard, &bytes)).await?;
        self.discard_open(key.id, move |space| space.discard(key.id)).await?;
        Ok(stored)
    }

    /// Frees an open shard if `discard` takes it off the list; `false` if not.
    async fn discard_open(
        &self,
        id: ShardId,
        discard: impl FnOnce(&Space) -> bool + Send + 'static,
    ) -> Result<bool, StoreError> {
        if !self.disk.space.is_open(id) {
            return Ok(false);
        }
        // A shard that is being finished is stored, or open again, when this is ready.
        let mut lock = self.disk.lock_open(id).await;
        let discarded = self.job(move |disk| {
            let discarded = discard(&disk.space);
            if discarded {
                lock.remove_files();
            }
            Ok(discarded)
        });
        discarded.await
    }

    async fn retire_or_discard(&self, id: ShardId, free_at: Timestamp) -> Result<(), StoreError> {
        let was_open = self.discard_open(id, move |space| space.discard(id)).await?;
        match self.commit().run(move |batch| batch.retire(id, free_at)).await {
            Err(StoreError::NotFound) if was_open => Ok(()),
            retired => retired,
        }
    }

    async fn sweep_open(&self, now: Timestamp, floor: Timestamp) -> Result<u64, StoreError> {
        let mut freed = 0;
        for id in self.disk.space.idle(now, floor, SWEEP_MAX as usize) {
            freed += u64::from(self.discard_open(id, move |space| space.discard_idle(id, floor)).await?);
        }
        self.disk.forget_locks();
        Ok(freed)
    }

    async fn sweep_shards(&self, now: Timestamp, lease_floor: Timestamp) -> Result<u64, StoreError> {
        // Held by the job itself: it goes on when this future is dropped.
        let turn = self.sweeping.lock_arc().await;
        let commit = self.commit();
        let freed = commit.run(move |batch| batch.free(now, lease_floor, SWEEP_MAX)).await?;
        let ids = commit.run(|batch| batch.freed(SWEEP_MAX)).await?;
        if ids.is_empty() {
            return Ok(freed);
        }
        let removed = self.job(move |disk| disk.remove(ids).map(|ids| (ids, turn))).await?;
        let (ids, turn) = removed;
        let forgotten = commit.run(move |batch| {
            let _turn = turn;
            batch.forget(&ids)
        });
        forgotten.await.map(|()| freed)
    }
}

impl Disk {
    /// Runs `read` on a connection to the index that nobody else uses.
    fn index<T>(&self, read: impl FnOnce(&Index) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let index = match idle {
            Some(index) => index,
            None => Index::connect(&self.folder.index()).map_err(failure::of_index)?,
        };
        let result = read(&index);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(index);
        }
        result
    }

    fn find(index: &Index, id: ShardId) -> Result<index::Indexed, StoreError> {
        index.find(id).map_err(failure::of_index)?.ok_or(StoreError::NotFound)
    }

    fn read(&self, id: ShardId, range: BlockRange, wanted: Wanted) -> Result<ProvedBlocks, StoreError> {
        self.index(|index| {
            let found = Self::find(index, id)?;
            let read = reader::read(&self.folder, index, &found, range, wanted);
            if matches!(read, Err(StoreError::Damaged)) {
                // Freed in the meantime is not damaged.
                Self::find(index, id)?;
            }
            read
        })
    }

    fn check_replaceable(&self, id: ShardId) -> Result<(), StoreError> {
        let found = self.index(|index| index.find(id).map_err(failure::of_index))?;
        found.map_or(Ok(()), |found| found.shard.check_replaceable())
    }

    /// Removes the files of freed shards, durably.
    fn remove(&self, ids: Vec<ShardId>) -> Result<Vec<ShardId>, StoreError> {
        let failed = |error| failure::of_file("removing a freed shard", error);
        ids.iter().try_for_each(|id| self.folder.remove(*id)).map_err(failed)?;
        let prefixes: BTreeSet<u8> = ids.iter().map(|id| prefix(*id)).collect();
        self.folder.sync(&prefixes).map_err(failed)?;
        Ok(ids)
    }

    /// As [`ShardStore::scrub`], but damaged shards are only named.
    fn scan(&self, after: Option<ShardId>, budget: u64) -> Result<(Scrubbed, Vec<StoredShard>), StoreError> {
        self.index(|index| {
            let (mut scrubbed, mut damaged) = (Scrubbed { last: after, ..Scrubbed::default() }, Vec::new());
            let mut any = false;
            loop {
                let next = index.after(scrubbed.last, SCAN_MAX).map_err(failure::of_index)?;
                if next.is_empty() {
                    return Ok((Scrubbed { last: None, ..scrubbed }, damaged));
                }
                for found in next {
                    let shard = found.shard;
                    if shard.state != ShardState::Quarantined {
                        if any && scrubbed.bytes.saturating_add(shard.len) > budget {
                            return Ok((scrubbed, damaged));
                        }
                        any = true;
                        scrubbed.bytes += shard.len;
                        match reader::check(&self.folder, index, &found) {
                            Err(StoreError::Damaged) => damaged.push(shard),
                            result => result?,
                        }
                    }
                    scrubbed.last = Some(shard.key.id);
                }
            }
        })
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskStore({})", self.disk.folder.root().display())
    }
}

impl ShardStore for DiskStore {
    fn put_small(
        &self,
        key: ShardKey,
        root: ShardRoot,
        lease_until: Timestamp,
        bytes: Vec<u8>,
    ) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        Box::pin(self.put_in_one_piece(key, root, lease_until, bytes))
    }

    fn begin(
        &self,
        key: ShardKey,
        len: Option<u64>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StoreError>> {
        Box::pin(async move {
            let (lock, commit) = (self.disk.lock_open(key.id).await, self.commit());
            let begun = self.job(move |disk| FileWriter::begin(disk, commit, lock, (key, len, now)));
            Ok(Box::new(begun.await?) as _)
        })
    }

    fn prepare(&self, id: ShardId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !self.disk.space.is_open(id) {
                return;
            }
            let mut lock = self.disk.lock_open(id).await;
            if lock.known.is_none() {
                self.disk.rt.blocking(move || drop(lock.take_up())).await;
            }
        })
    }

    fn open_shard(&self, id: ShardId) -> BoxFuture<'_, Result<Option<OpenShard>, StoreError>> {
        Box::pin(async move { Ok(self.disk.space.open_shard(id)) })
    }

    fn stat(&self, id: ShardId) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        Box::pin(self.job(move |disk| disk.index(|index| Disk::find(index, id)).map(|found| found.shard)))
    }

    fn read(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        Box::pin(self.job(move |disk| disk.read(id, range, Wanted::Blocks)))
    }

    fn prove(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        Box::pin(self.job(move |disk| disk.read(id, range, Wanted::Proof)))
    }

    fn renew(&self, id: ShardId, lease_until: Timestamp) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        Box::pin(async move { self.commit().run(move |batch| batch.renew(id, lease_until)).await })
    }

    fn retire(&self, id: ShardId, free_at: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.retire_or_discard(id, free_at))
    }

    fn sweep(
        &self,
        now: Timestamp,
        lease_floor: Timestamp,
        open_floor: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(
            async move { Ok(self.sweep_open(now, open_floor).await? + self.sweep_shards(now, lease_floor).await?) },
        )
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let space = self.job(|disk| {
                disk.folder.try_write().map_err(|error| failure::of_file("writing to the disk", error))?;
                Ok(disk.space.usage())
            });
            let free = space.await?.free;
            self.commit().run(|batch| batch.touch()).await?;
            if free == 0 { Err(StoreError::NoSpace) } else { Ok(()) }
        })
    }

    fn commits(&self) -> u64 {
        self.commit().count()
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(self.job(|disk| {
            let damaged = disk.index(|index| index.damaged().map_err(failure::of_index))?;
            Ok(Usage { damaged, ..disk.space.usage() })
        }))
    }

    fn accounts_usage(&self, accounts: RangeInclusive<NoiseKey>) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(self.job(move |disk| {
            let ((bytes, shards), copies) = disk.index(|index| {
                let sums = index.accounts(&accounts).and_then(|shards| Ok((shards, index.copy_accounts(&accounts)?.0)));
                sums.map_err(failure::of_index)
            })?;
            let on_its_way = disk.space.accounts(&accounts);
            Ok(Usage { used: bytes + copies + on_its_way.used, shards, ..on_its_way })
        }))
    }

    fn scrub(&self, after: Option<ShardId>, budget: u64) -> BoxFuture<'_, Result<Scrubbed, StoreError>> {
        Box::pin(async move {
            let (mut scrubbed, damaged) = self.job(move |disk| disk.scan(after, budget)).await?;
            if !damaged.is_empty() {
                scrubbed.quarantined = self.commit().run(move |batch| batch.quarantine(&damaged)).await?;
            }
            Ok(scrubbed)
        })
    }
}

/// Shards freed by one sweep.
const SWEEP_MAX: u32 = 1_000;

/// Rows of the index read at once by a scrub.
const SCAN_MAX: u32 = 256;

/// Connections to the index kept for reads.
const READERS_MAX: usize = 8;
