//! Shards on a disk: large ones as files, small ones in the index database, all of them durable when acknowledged.
//!
//! ```text
//! DIR/lock                   one process at a time
//! DIR/index.db               SQLite: one row for every shard, and the bytes of small ones
//! DIR/shards/aa/<hex>        the bytes of a shard, as they are
//! DIR/shards/aa/<hex>.meta   what it is, and its hash tree
//! DIR/tmp/                   shards that are being written; emptied when the store is opened
//! ```

mod change;
mod commit;
mod config;
mod failure;
mod folder;
mod heal;
mod index;
mod meta;
mod reader;
mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use commit::{Commit, Committer};
use folder::{Folder, prefix};
use index::Index;
use reader::Wanted;
use writer::FileWriter;

use super::intake::Intake;
use super::space::{Floor, Space};
use super::{ProvedBlocks, Scrubbed, ShardKey, ShardState, ShardStore, ShardWriter, StoreError, StoredShard, Usage};
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
    readers: Mutex<Vec<Index>>,
    rt: Rt,
}

impl DiskStore {
    /// Opens the store in `dir`, which is made if need be, and heals what a crash left. This takes time in proportion
    /// to the number of shards. Dropping the store waits for the changes under way.
    ///
    /// An index that is lost or damaged is made again from the shard files, with leases of at least 90 days;
    /// the small shards that it held are lost. The damaged one is kept beside it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open; `Io`; `Config` when a later version made it.
    pub async fn open(dir: impl Into<PathBuf>, config: DiskStoreConfig, rt: Rt) -> Result<Self, Error> {
        let (dir, env) = (dir.into(), rt.clone());
        rt.blocking(move || Self::open_blocking(dir, &config, env)).await
    }

    fn open_blocking(dir: PathBuf, config: &DiskStoreConfig, rt: Rt) -> Result<Self, Error> {
        let folder = Arc::new(Folder::open(&dir)?);
        let index = heal::open(&folder, rt.now())?;
        let failed = |error| Error::io(format!("opening the store {}", dir.display()), error);
        let (bytes, shards) = index.total().map_err(|error| failed(std::io::Error::other(error)))?;
        let floor = Floor { dir: dir.clone(), free: config.free_floor, rt: rt.clone() };
        let space = Space::new(config.capacity, Some(floor));
        space.load(bytes, shards);
        let committer = Committer::start(index, Arc::clone(&folder), Arc::clone(&space)).map_err(failed)?;
        let disk = Arc::new(Disk { folder, space, readers: Mutex::default(), rt });
        Ok(Self { disk, committer, inline_max: config.inline_max, sweeping: Arc::default() })
    }

    /// Commits of the index since the store was opened: many changes share one. For tests and measurements.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commit().count()
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
        let len = bytes.len() as u64;
        if bytes.len() > self.inline_max {
            let mut writer = self.begin(key, Some(len)).await?;
            writer.append(bytes).await?;
            return writer.finish(root, lease_until).await;
        }
        // Hashing so little takes less time than handing it to another thread.
        Intake::whole(root, &bytes)?;
        let shard = StoredShard { key, root, len, lease_until, state: ShardState::Live };
        self.commit().run(move |batch| batch.put_small(shard, &bytes)).await
    }

    async fn sweep_once(&self, now: Timestamp, lease_floor: Timestamp) -> Result<u64, StoreError> {
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

    fn begin(&self, key: ShardKey, len: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StoreError>> {
        let commit = self.commit();
        Box::pin(self.job(move |disk| {
            disk.check_replaceable(key.id)?;
            let writer = FileWriter::create(Arc::clone(disk), commit, key, len)?;
            Ok(Box::new(writer) as Box<dyn ShardWriter>)
        }))
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
        Box::pin(async move { self.commit().run(move |batch| batch.retire(id, free_at)).await })
    }

    fn sweep(&self, now: Timestamp, lease_floor: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.sweep_once(now, lease_floor))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(self.job(|disk| Ok(disk.space.usage())))
    }

    fn accounts_usage(&self, accounts: RangeInclusive<NoiseKey>) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(self.job(move |disk| {
            let (bytes, shards) = disk.index(|index| index.accounts(&accounts).map_err(failure::of_index))?;
            let (on_their_way, free) = disk.space.accounts(&accounts);
            Ok(Usage { used: bytes + on_their_way, free, shards })
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
