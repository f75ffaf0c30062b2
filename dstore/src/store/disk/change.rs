//! The changes of a disk store, each inside a transaction of the index.

use std::sync::Arc;

use super::commit::Batch;
use super::failure::{of_file, of_index};
use super::index::{Indexed, Place};
use super::writer::Written;
use crate::id::ShardId;
use crate::rt::Timestamp;
use crate::store::space::superseded;
use crate::store::{ShardState, StoreError, StoredShard};

impl Batch<'_> {
    /// Writes to the index without changing anything.
    pub(super) fn touch(&mut self) -> Result<(), StoreError> {
        self.index.touch().map_err(of_index)
    }

    /// Stores a shard in the index itself.
    pub(super) fn put_small(&mut self, shard: StoredShard, bytes: &[u8]) -> Result<StoredShard, StoreError> {
        let old = self.replaceable(shard.key.id)?;
        let room = self.space.reserve(&shard.key, shard.len)?;
        if let Some(old) = old {
            self.replace(&old)?;
            if old.place == Place::File {
                // The next sweep removes them.
                self.index.note_freed(shard.key.id).map_err(of_index)?;
            }
        }
        self.index.insert(&shard, Some(bytes)).map_err(of_index)?;
        self.once_durable(move || room.settle(shard.len));
        Ok(shard)
    }

    /// Gives a written shard its name, and its place in the index.
    pub(super) fn publish(&mut self, shard: StoredShard, written: Written) -> Result<StoredShard, StoreError> {
        let id = shard.key.id;
        if written.hold.room().is_none() {
            return Err(superseded());
        }
        let old = match self.replaceable(id) {
            Err(StoreError::Exists(old)) => {
                written.discard();
                return Err(StoreError::Exists(old));
            }
            old => old?,
        };
        if self.index.is_freed(id).map_err(of_index)? {
            // A sweep may be removing files of this name just now.
            return Err(StoreError::failed("the files of the last shard of this name are being removed"));
        }
        if let Some(old) = old {
            self.replace(&old)?;
        }
        let Written { mut lock, hold } = written;
        let room = hold.close().ok_or_else(superseded)?;
        self.renaming(id);
        if let Err(error) = self.folder.publish(id) {
            lock.remove_files();
            return Err(of_file("renaming a shard", error));
        }
        self.index.insert(&shard, None).map_err(of_index)?;
        self.once_durable(move || {
            room.settle(shard.len);
            // Whoever waits to go on with it finds it stored.
            drop(lock);
        });
        Ok(shard)
    }

    fn replaceable(&self, id: ShardId) -> Result<Option<Indexed>, StoreError> {
        let old = self.index.find(id).map_err(of_index)?;
        if let Some(old) = &old {
            old.shard.check_replaceable()?;
        }
        Ok(old)
    }

    fn replace(&mut self, old: &Indexed) -> Result<(), StoreError> {
        self.index.delete(old).map_err(of_index)?;
        let (space, len) = (Arc::clone(self.space), old.shard.len);
        self.once_durable(move || space.freed(len));
        Ok(())
    }

    pub(super) fn renew(&mut self, id: ShardId, lease_until: Timestamp) -> Result<StoredShard, StoreError> {
        let shard = self.stored(id)?.renewed(lease_until)?;
        self.index.update(&shard).map_err(of_index)?;
        Ok(shard)
    }

    pub(super) fn retire(&mut self, id: ShardId, free_at: Timestamp) -> Result<(), StoreError> {
        let shard = self.stored(id)?.retired(free_at);
        self.index.update(&shard).map_err(of_index)
    }

    fn stored(&self, id: ShardId) -> Result<StoredShard, StoreError> {
        self.index.find(id).map_err(of_index)?.map(|found| found.shard).ok_or(StoreError::NotFound)
    }

    /// Quarantines those of `damaged` that are still as they were found; answers which.
    pub(super) fn quarantine(&mut self, damaged: &[StoredShard]) -> Result<Vec<ShardId>, StoreError> {
        let mut quarantined = Vec::new();
        for found in damaged {
            let id = found.key.id;
            let now = self.index.find(id).map_err(of_index)?.map(|now| now.shard);
            let Some(now) = now.filter(|now| now.root == found.root && now.state != ShardState::Quarantined) else {
                continue;
            };
            self.index.update(&now.quarantined()).map_err(of_index)?;
            quarantined.push(id);
        }
        Ok(quarantined)
    }

    /// Takes what is due out of the index, at most `limit` shards, and answers how many.
    pub(super) fn free(&mut self, now: Timestamp, floor: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let due = self.index.due(now, floor, limit).map_err(of_index)?;
        for old in &due {
            self.replace(old)?;
            if old.place == Place::File {
                self.index.note_freed(old.shard.key.id).map_err(of_index)?;
            }
        }
        Ok(due.len() as u64)
    }

    /// The shards whose files are nobody's.
    pub(super) fn freed(&mut self, limit: u32) -> Result<Vec<ShardId>, StoreError> {
        self.index.freed(limit).map_err(of_index)
    }

    /// The files of `ids` are gone.
    pub(super) fn forget(&mut self, ids: &[ShardId]) -> Result<(), StoreError> {
        ids.iter().try_for_each(|id| self.index.forget_freed(*id)).map_err(of_index)
    }
}
