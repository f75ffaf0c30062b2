//! Shards of which a part is there: who may touch their files, and what is known of them.
//!
//! Invariant: whoever changes the files of an open shard has its lock, and files of a shard that `Space` does not call
//! open are nothing. They are never synced: after a power loss they hold what they hold, and are hashed again.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_lock::{Mutex as AsyncMutex, MutexGuardArc};

use super::Disk;
use super::folder::{Folder, Pair};
use super::index::Index;
use super::meta::{self, OpenHeader};
use crate::id::ShardId;
use crate::merkle::BLOCK_LEN;
use crate::rt::Timestamp;
use crate::store::intake::{Intake, whole_blocks};
use crate::store::space::{Reservation, Space};

/// What was hashed of an open shard; `None`: its files tell.
type Known = AsyncMutex<Option<Intake>>;

/// The locks of the open shards.
#[derive(Default)]
pub(super) struct Locks(Mutex<HashMap<ShardId, Arc<Known>>>);

impl Locks {
    fn table(&self) -> MutexGuard<'_, HashMap<ShardId, Arc<Known>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock of an open shard, held.
pub(super) struct Locked {
    disk: Arc<Disk>,
    pub(super) id: ShardId,
    pub(super) known: MutexGuardArc<Option<Intake>>,
}

impl Disk {
    /// Waits for the lock of a shard, open or not.
    pub(super) async fn lock_open(self: &Arc<Self>, id: ShardId) -> Locked {
        loop {
            let lock = Arc::clone(self.open.table().entry(id).or_default());
            let known = lock.lock_arc().await;
            if self.is_lock_of(id, &lock) {
                return Locked { disk: Arc::clone(self), id, known };
            }
        }
    }

    fn try_lock_open(self: &Arc<Self>, id: ShardId) -> Option<Locked> {
        let lock = self.open.table().get(&id).cloned()?;
        let known = lock.try_lock_arc()?;
        self.is_lock_of(id, &lock).then(|| Locked { disk: Arc::clone(self), id, known })
    }

    /// It may have been forgotten, and made anew, while it was waited for.
    fn is_lock_of(&self, id: ShardId, lock: &Arc<Known>) -> bool {
        self.open.table().get(&id).is_some_and(|now| Arc::ptr_eq(now, lock))
    }

    /// Forgets the locks that nobody needs any more. Nearly all go by themselves; one is left when who waited for it gave up.
    pub(super) fn forget_locks(&self) {
        self.open.table().retain(|id, lock| Arc::strong_count(lock) > 1 || self.space.is_open(*id));
    }
}

impl Locked {
    /// Removes the files of a shard that is open no longer.
    pub(super) fn remove_files(&mut self) {
        *self.known = None;
        if let Err(error) = self.disk.folder.discard(self.id) {
            tracing::warn!(id = %self.id, %error, "cannot remove the files of an unfinished shard");
        }
    }

    /// What is held of the shard, and its files: `None` when nothing is, or when they cannot be read.
    pub(super) fn take_up(&mut self) -> Option<(Intake, Pair)> {
        let held = self.disk.space.open_shard(self.id)?.held;
        let files = self.disk.folder.take_up(self.id).inspect_err(|error| self.cannot_read(error)).ok()?;
        let known = self.known.take().filter(|known| whole_blocks(known.len()) == held);
        let intake = match known {
            Some(known) => known,
            None => rehash(&files, held).inspect_err(|error| self.cannot_read(error)).ok()?,
        };
        *self.known = Some(intake.clone());
        Some((intake, files))
    }

    fn cannot_read(&self, error: &io::Error) {
        tracing::warn!(id = %self.id, %error, "what was held of an unfinished shard cannot be read: it starts anew");
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut table = self.disk.open.table();
        let is_ours = |lock: &Arc<Known>| Arc::ptr_eq(lock, MutexGuardArc::source(&self.known));
        // The table and this one: nobody waits, and nobody can begin to, since the table is locked.
        let is_last = table.get(&self.id).is_some_and(|lock| is_ours(lock) && Arc::strong_count(lock) == 2);
        if is_last && !self.disk.space.is_open(self.id) {
            table.remove(&self.id);
        }
    }
}

/// A writer's hold on an open shard. Dropped, it lets go of it: the whole blocks stay.
pub(super) struct Hold {
    disk: Arc<Disk>,
    id: ShardId,
    room: Option<Reservation>,
}

impl Hold {
    pub(super) fn new(disk: Arc<Disk>, id: ShardId, room: Reservation) -> Self {
        Self { disk, id, room: Some(room) }
    }

    /// The room, as long as no other writer took this one's place.
    pub(super) fn room(&self) -> Option<&Reservation> {
        self.room.as_ref().filter(|room| room.is_current())
    }

    /// Ends the open shard: it becomes a stored one now, or nothing.
    pub(super) fn close(mut self) -> Option<Reservation> {
        self.room.take().filter(|room| room.close().is_ok())
    }

    /// Discards the shard, unless another writer took this one's place.
    pub(super) fn discard(mut self, lock: &mut Locked) {
        if self.room.take().is_some_and(|room| room.discard()) {
            lock.remove_files();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(room) = self.room.take() else { return };
        // Before the room is let go of: nobody may take it up between that and the removal.
        let lock = self.disk.try_lock_open(self.id);
        drop(room);
        if let Some(mut lock) = lock
            && !self.disk.space.is_open(self.id)
        {
            lock.remove_files();
        }
    }
}

/// Hashes the first `held` bytes of an open shard, and writes their tree again.
fn rehash(files: &Pair, held: u64) -> io::Result<Intake> {
    let header = OpenHeader::read(&*files.meta)?;
    let mut intake = Intake::new(header.announced);
    let mut piece = vec![0; PIECE_LEN];
    let (mut values, mut at) = (Vec::new(), meta::value_offset(0));
    while intake.len() < held {
        let len = usize::try_from(held - intake.len()).map_or(PIECE_LEN, |left| left.min(PIECE_LEN));
        files.data.read_at(&mut piece[..len], intake.len())?;
        intake.take(&piece[..len], &mut values);
        files.meta.write_at(values.as_flattened(), at)?;
        at += size_of_val(values.as_slice()) as u64;
        values.clear();
    }
    Ok(intake)
}

/// Finds the shards that were open when the last process ended. Its cost grows with their number alone.
pub(super) fn load(folder: &Folder, index: &Index, space: &Space) -> io::Result<()> {
    for id in folder.open_ids()? {
        let is_stored =
            index.find(id).map_err(io::Error::other)?.is_some_and(|row| row.shard.check_replaceable().is_err());
        match found(folder, id) {
            Some((header, held, appended)) if !is_stored => space.load_open(&header.key, held, appended),
            _ => folder.discard(id)?,
        }
    }
    Ok(())
}

fn found(folder: &Folder, id: ShardId) -> Option<(OpenHeader, u64, Timestamp)> {
    let data = folder.open_data(id);
    let meta = folder.files().open(&folder.open_meta(id), false).ok()?;
    let header = OpenHeader::read(&*meta).ok().filter(|header| header.key.id == id)?;
    let held = whole_blocks(folder.files().len(&data).ok()?);
    let fits = held > 0 && header.announced.is_none_or(|announced| held <= announced);
    let appended = folder.files().modified(&data).ok()?;
    fits.then_some((header, held, appended))
}

const PIECE_LEN: usize = 64 * BLOCK_LEN;
