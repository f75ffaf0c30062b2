//! Writes a shard file: bytes are hashed and written in one job, and become a shard only when their root is right.

use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use blake3::hazmat::ChainingValue;

use super::Disk;
use super::commit::Commit;
use super::failure::of_file;
use super::folder::Temporary;
use super::meta::{self, HEADER_LEN};
use crate::id::ShardRoot;
use crate::rt::{BoxFuture, Timestamp};
use crate::store::intake::Intake;
use crate::store::space::{Reservation, superseded};
use crate::store::{ShardKey, ShardState, ShardWriter, StoreError, StoredShard};

/// A shard on its way into a file.
pub(super) struct FileWriter {
    disk: Arc<Disk>,
    commit: Commit,
    key: ShardKey,
    len: u64,
    /// `None` after a failure, and while a job has it.
    open: Option<Open>,
}

struct Open {
    intake: Intake,
    values: Vec<ChainingValue>,
    files: Temporary,
    room: Reservation,
}

impl FileWriter {
    /// Makes the files; blocks.
    pub(super) fn create(disk: Arc<Disk>, commit: Commit, key: ShardKey, len: Option<u64>) -> Result<Self, StoreError> {
        let room = disk.space.reserve_for_writer(&key, len.unwrap_or(0))?;
        let mut files = disk.folder.create(key.id, room.serial()).map_err(of_write)?;
        files.meta.seek(SeekFrom::Start(HEADER_LEN as u64)).map_err(of_write)?;
        let open = Open { intake: Intake::new(len), values: Vec::new(), files, room };
        Ok(Self { disk, commit, key, len: 0, open: Some(open) })
    }

    fn take(&mut self) -> Result<Open, StoreError> {
        let open = self.open.take().ok_or_else(|| StoreError::failed("an earlier append did not succeed"))?;
        if open.room.is_current() { Ok(open) } else { Err(superseded()) }
    }

    async fn append(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        let mut open = self.take()?;
        let more = bytes.len() as u64;
        open.intake.admit(more)?;
        let rt = self.disk.rt.clone();
        let written = rt.blocking(move || open.append(&bytes).map(|()| open)).await;
        self.open = Some(written?);
        self.len += more;
        Ok(())
    }

    async fn finish(mut self, root: ShardRoot, lease_until: Timestamp) -> Result<StoredShard, StoreError> {
        let mut open = self.take()?;
        let len = self.len;
        let shard = StoredShard { key: self.key, root, len, lease_until, state: ShardState::Live };
        let rt = self.disk.rt.clone();
        let open = rt.blocking(move || open.complete(&shard).map(|()| open)).await?;
        let Open { files, room, .. } = open;
        self.commit.run(move |batch| batch.publish(shard, &files, room)).await
    }
}

impl Open {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let len = bytes.len() as u64;
        if self.intake.announced().is_none() {
            self.room.grow(len)?;
        }
        self.intake.take(bytes, &mut self.values);
        self.files.data.write_all(bytes).map_err(of_write)?;
        self.room.wrote(len);
        self.write_values()
    }

    fn write_values(&mut self) -> Result<(), StoreError> {
        self.files.meta.write_all(self.values.as_flattened()).map_err(of_write)?;
        self.values.clear();
        Ok(())
    }

    fn complete(&mut self, shard: &StoredShard) -> Result<(), StoreError> {
        self.intake.finish(shard.root, &mut self.values)?;
        self.write_values()?;
        self.files.data.sync_data().map_err(of_write)?;
        self.files.meta.seek(SeekFrom::Start(0)).map_err(of_write)?;
        self.files.meta.write_all(&meta::encode(shard)).map_err(of_write)?;
        self.files.meta.sync_data().map_err(of_write)
    }
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

    fn finish(
        self: Box<Self>,
        root: ShardRoot,
        lease_until: Timestamp,
    ) -> BoxFuture<'static, Result<StoredShard, StoreError>> {
        Box::pin((*self).finish(root, lease_until))
    }
}
