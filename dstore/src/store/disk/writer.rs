//! Writes a shard file: bytes are hashed and written in one job, and become a shard only when their root is right.

use std::sync::Arc;

use super::Disk;
use super::commit::Commit;
use super::failure::of_file;
use super::folder::Pair;
use super::meta::{self, OpenHeader};
use super::open::{Hold, Locked};
use crate::id::ShardRoot;
use crate::merkle::{BLOCK_LEN, position};
use crate::rt::{BoxFuture, Timestamp};
use crate::store::intake::Intake;
use crate::store::space::superseded;
use crate::store::{ShardKey, ShardState, ShardWriter, StoreError, StoredShard};

/// A shard on its way into a file.
pub(super) struct FileWriter {
    disk: Arc<Disk>,
    commit: Commit,
    key: ShardKey,
    len: u64,
    root: ShardRoot,
    /// `None` while a job has it.
    open: Option<Open>,
}

struct Open {
    hold: Hold,
    files: Pair,
}

/// A shard whose bytes are all on the disk, and that has no name there yet.
pub(super) struct Written {
    // The order in which they are dropped: a hold without the lock needs it.
    pub(super) lock: Locked,
    pub(super) hold: Hold,
}

impl Written {
    pub(super) fn discard(mut self) {
        self.hold.discard(&mut self.lock);
    }
}

impl FileWriter {
    /// Makes the files, or takes them up; blocks.
    pub(super) fn begin(
        disk: &Arc<Disk>,
        commit: Commit,
        mut lock: Locked,
        (key, len, now): (ShardKey, Option<u64>, Timestamp),
    ) -> Result<Self, StoreError> {
        disk.check_replaceable(key.id)?;
        let found = lock.take_up().map(|(intake, files)| (intake.taken_up(len), files));
        let (intake, files) = found
            .filter(|(intake, _)| intake.len() > 0)
            .map_or_else(|| (Intake::new(len), None), |(intake, files)| (intake, Some(files)));
        let room = disk.space.reserve_for_writer(&key, intake.len(), len, now)?;
        let hold = Hold::new(Arc::clone(disk), key.id, room);
        let files = match files {
            Some(files) => files,
            None => disk.folder.create(key.id).map_err(of_write)?,
        };
        let values = position(intake.len() / BLOCK_LEN as u64, 0);
        files.data.set_len(intake.len()).map_err(of_write)?;
        files.meta.set_len(meta::value_offset(values)).map_err(of_write)?;
        files.meta.write_at(&OpenHeader { key, announced: len }.encode(), 0).map_err(of_write)?;
        let (len, root) = (intake.len(), intake.root());
        *lock.known = Some(intake);
        Ok(Self { disk: Arc::clone(disk), commit, key, len, root, open: Some(Open { hold, files }) })
    }

    /// The lock, and what this writer has, unless another one took its place.
    async fn take(&mut self) -> Result<(Locked, Open), StoreError> {
        let lock = self.disk.lock_open(self.key.id).await;
        let open = self.open.take().ok_or_else(unusable)?;
        if open.hold.room().is_some() { Ok((lock, open)) } else { Err(superseded()) }
    }

    async fn append(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        let (mut lock, open) = self.take().await?;
        let rt = self.disk.rt.clone();
        let written = rt.blocking(move || {
            let after = open.append(&mut lock, &bytes);
            // Nobody may wait for the answer: then the hold is dropped here, and needs the lock.
            drop(lock);
            (open, after)
        });
        let (open, after) = written.await;
        self.open = Some(open);
        (self.len, self.root) = after?;
        Ok(())
    }

    async fn discard(mut self) {
        if let Ok((mut lock, open)) = self.take().await {
            self.disk.rt.blocking(move || open.hold.discard(&mut lock)).await;
        }
    }

    async fn finish(mut self, root: ShardRoot, lease_until: Timestamp) -> Result<StoredShard, StoreError> {
        let (lock, open) = self.take().await?;
        let shard = StoredShard { key: self.key, root, len: self.len, lease_until, state: ShardState::Live };
        let written = self.disk.rt.blocking(move || open.complete(lock, &shard)).await?;
        self.commit.run(move |batch| batch.publish(shard, written)).await
    }
}

impl Open {
    fn append(&self, lock: &mut Locked, bytes: &[u8]) -> Result<(u64, ShardRoot), StoreError> {
        let more = bytes.len() as u64;
        let room = self.hold.room().ok_or_else(superseded)?;
        // Put back when the files agree with it; else they are hashed again.
        let mut intake = lock.known.take().ok_or_else(unusable)?;
        let admitted = intake.admit(more).and_then(|()| match intake.announced() {
            None => room.grow(more),
            Some(_) => Ok(()),
        });
        if let Err(refused) = admitted {
            *lock.known = Some(intake);
            return Err(refused);
        }
        let (at, mut values) = (intake.len(), Vec::new());
        let values_at = meta::value_offset(position(at / BLOCK_LEN as u64, 0));
        intake.take(bytes, &mut values);
        self.files.data.write_at(bytes, at).map_err(of_write)?;
        self.files.meta.write_at(values.as_flattened(), values_at).map_err(of_write)?;
        room.wrote(more);
        let after = (intake.len(), intake.root());
        *lock.known = Some(intake);
        Ok(after)
    }

    /// Makes the bytes durable, if they are those that `shard` names; discards them if not.
    fn complete(self, mut lock: Locked, shard: &StoredShard) -> Result<Written, StoreError> {
        let Self { hold, files } = self;
        let mut values = Vec::new();
        let finished = match lock.known.as_ref() {
            Some(intake) => intake.finish(shard.root, &mut values),
            None => return Err(unusable()),
        };
        if let Err(mismatch) = finished {
            hold.discard(&mut lock);
            return Err(mismatch);
        }
        let values_at = meta::value_offset(position(shard.len / BLOCK_LEN as u64, 0));
        files.meta.write_at(values.as_flattened(), values_at).map_err(of_write)?;
        files.data.sync().map_err(of_write)?;
        files.meta.write_at(&meta::encode(shard), 0).map_err(of_write)?;
        files.meta.sync().map_err(of_write)?;
        Ok(Written { lock, hold })
    }
}

fn unusable() -> StoreError {
    StoreError::failed("an earlier append did not succeed")
}

fn of_write(error: std::io::Error) -> StoreError {
    of_file("writing a shard", error)
}

impl ShardWriter for FileWriter {
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.append(bytes))
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn root(&self) -> ShardRoot {
        self.root
    }

    fn discard(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin((*self).discard())
    }

    fn finish(
        self: Box<Self>,
        root: ShardRoot,
        lease_until: Timestamp,
    ) -> BoxFuture<'static, Result<StoredShard, StoreError>> {
        Box::pin((*self).finish(root, lease_until))
    }
}
