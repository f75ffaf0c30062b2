//! A ledger in one SQLite file, shared by any number of processes: a write that returned survives power loss.

mod batch;
mod failure;
mod file;
mod restore;
mod table;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use self::batch::{Answered, Queue};
use self::failure::Failure;
use self::file::LedgerFile;
pub use self::restore::Restored;
use self::table::Tables;
use super::write::{Slots, Write};
use super::{DECIDED, Entry, Finality, Ledger, LedgerError, Page, Written};
use crate::error::Error;
use crate::id::{FileId, LedgerId, OwnerId, PathSalt};
use crate::rt::{BoxFuture, Rt};

/// The embedded ledger: one file, no account and no network.
///
/// Several instances and processes of one machine may use the file at the same time; on a network file system they
/// may not, for SQLite's write-ahead log needs shared memory. Beside the file live its `-wal` and `-shm`: a copy is
/// complete only with the `-wal`, or when no process has the ledger open.
///
/// Whoever can write the file can roll it back, or change what it says: ownership is enforced by this type alone.
///
/// Clones share one pair of connections.
#[derive(Clone)]
pub struct LocalLedger {
    id: LedgerId,
    rt: Rt,
    file: LedgerFile,
    queue: Arc<Queue>,
    writer: Arc<async_lock::Mutex<Connection>>,
    // Of its own, so that reads wait for no commit.
    reader: Arc<async_lock::Mutex<Connection>>,
}

impl LocalLedger {
    /// Opens the ledger file at `path`, and makes it, for this user only, if there is none. Its folder must exist.
    ///
    /// Reads a few pages of the disk on the calling thread, and syncs it when the file is new.
    ///
    /// # Errors
    /// [`Error::Config`] when the file is not a ledger, is damaged, or of a format that this version does not read;
    /// [`Error::Locked`] when another process did not let go of it for 10 s; [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Rt::default())
    }

    /// [`LocalLedger::open`] in an environment of your own.
    ///
    /// # Errors
    /// As [`LocalLedger::open`].
    pub fn open_with(path: impl AsRef<Path>, rt: Rt) -> Result<Self, Error> {
        let opened = file::open(path.as_ref(), &rt)?;
        Ok(Self {
            id: opened.id,
            rt,
            file: opened.file,
            queue: Arc::default(),
            writer: Arc::new(async_lock::Mutex::new(opened.writer)),
            reader: Arc::new(async_lock::Mutex::new(opened.reader)),
        })
    }

    async fn write(&self, write: Result<Write, LedgerError>) -> Result<Written, LedgerError> {
        let mut answer = self.queue.push(write?);
        loop {
            // The lock moves into the job: a caller that goes away does not free it before the commit has ended.
            let mut writer = self.writer.lock_arc().await;
            // Whoever had the lock before may have written this too.
            if let Some(settled) = self.settled(&mut answer) {
                return settled;
            }
            let (queue, file, rt) = (Arc::clone(&self.queue), self.file.clone(), self.rt.clone());
            self.rt.blocking(move || queue.commit(&mut writer, &file, rt.now())).await;
            if let Some(settled) = self.settled(&mut answer) {
                return settled;
            }
        }
    }

    fn settled(&self, answer: &mut Answered) -> Option<Result<Written, LedgerError>> {
        answer.try_recv().unwrap_or_else(|_| {
            let what = format!("the job that wrote to {} ended early", self.file.path.display());
            Some(Err(LedgerError::Unknown { what, source: None }))
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Tables<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let reader = self.reader.lock_arc().await;
        let file = self.file.clone();
        self.rt.blocking(move || query(&Tables { connection: &reader, path: &file.path })).await
    }
}

impl fmt::Debug for LocalLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLedger").field("id", &self.id).field("path", &self.file.path).finish_non_exhaustive()
    }
}

impl Ledger for LocalLedger {
    fn id(&self) -> LedgerId {
        self.id
    }

    fn put(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        Box::pin(self.write(Write::put(owner, salt, expected, record)))
    }

    fn rename(
        &self,
        owner: OwnerId,
        from: PathSalt,
        expected_from: u32,
        to: PathSalt,
        expected_to: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        Box::pin(self.write(Write::rename(owner, from, expected_from, to, expected_to, record)))
    }

    fn remove(&self, owner: OwnerId, salt: PathSalt, expected: u32) -> BoxFuture<'_, Result<Written, LedgerError>> {
        Box::pin(self.write(Ok(Write::remove(owner, salt, expected))))
    }

    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(self.read(move |tables| Ok(tables.newest(file_id)?)))
    }

    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(self.read(move |tables| Ok(tables.history(file_id)?)))
    }

    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        Box::pin(self.read(move |tables| Ok(tables.page(owner, cursor)?)))
    }

    fn settled(&self, written: Written) -> BoxFuture<'_, Result<Option<Finality>, LedgerError>> {
        Box::pin(self.read(move |tables| Ok(tables.slot(written.file_id)?.settled(written))))
    }

    fn wait(&self, written: Written, _: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.read(move |tables| tables.slot(written.file_id)?.shows(written)))
    }

    fn is_final_at_once(&self) -> bool {
        true
    }

    fn decides_within(&self) -> Option<Duration> {
        Some(DECIDED)
    }

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async {
            let mut writer = self.writer.lock_arc().await;
            let file = self.file.clone();
            let probed: Result<(), Failure> = self.rt.blocking(move || batch::probe(&mut writer, &file)).await;
            Ok(probed?)
        })
    }
}
