//! A ledger in memory: the rules of every ledger, and nothing survives the process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::write::{self, Slot, Slots, Write};
use super::{DECIDED, Entry, Finality, Ledger, LedgerError, MAX_HISTORY_LEN, MAX_PAGE_LEN, Page, Written};
use crate::id::{FileId, LedgerId, OwnerId, PathSalt};
use crate::rt::{BoxFuture, Rt};

/// A ledger in memory, for tests and for programs that need no file to outlive them. Clones share one ledger.
#[derive(Clone)]
pub struct MemoryLedger {
    id: LedgerId,
    rt: Rt,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Every version of every file, oldest first.
    files: BTreeMap<FileId, Vec<Entry>>,
    last_seq: HashMap<OwnerId, u64>,
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new(Rt::default())
    }
}

impl MemoryLedger {
    /// An empty ledger with a random id, on the clock of `rt`.
    #[must_use]
    pub fn new(rt: Rt) -> Self {
        Self { id: LedgerId::new(rt.random()), rt, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back every write after `moment`, as a chain does that goes on without them.
    #[cfg(feature = "testing")]
    pub(crate) fn undo(&self, moment: crate::rt::Timestamp) {
        let mut state = self.state();
        let State { files, last_seq } = &mut *state;
        for versions in files.values_mut() {
            while let Some(entry) = versions.pop_if(|entry| entry.written > moment) {
                let seq = last_seq.entry(entry.owner).or_default();
                *seq = entry.seq.saturating_sub(1).min(*seq);
            }
        }
        files.retain(|_, versions| !versions.is_empty());
    }

    fn write(&self, write: Write) -> Result<Written, LedgerError> {
        let mut state = self.state();
        let entries = write.entries(&*state, self.rt.now())?;
        let written = write::answer(&entries);
        for entry in entries {
            state.last_seq.insert(entry.owner, entry.seq);
            state.files.entry(entry.file_id).or_default().push(entry);
        }
        Ok(written)
    }

    fn page(&self, owner: OwnerId, cursor: Option<FileId>) -> Page {
        let start = cursor.unwrap_or(FileId::new([0; 32]));
        let state = self.state();
        let newest = state.files.range(start..).filter_map(|(_, versions)| versions.last());
        let mut entries: Vec<Entry> =
            newest.filter(|entry| entry.owner == owner && entry.is_live()).take(MAX_PAGE_LEN + 1).cloned().collect();
        let next = entries.get(MAX_PAGE_LEN).map(|entry| entry.file_id);
        entries.truncate(MAX_PAGE_LEN);
        Page { entries, next }
    }
}

impl Slots for State {
    fn slot(&self, file: FileId) -> Result<Slot, LedgerError> {
        let newest = self.files.get(&file).and_then(|versions| versions.last());
        Ok(newest.map_or_else(Slot::default, |entry| Slot { version: entry.version, live: entry.is_live() }))
    }

    fn last_seq(&self, owner: OwnerId) -> Result<u64, LedgerError> {
        Ok(self.last_seq.get(&owner).copied().unwrap_or(0))
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Ledger for MemoryLedger {
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
        Box::pin(async move { self.write(Write::put(owner, salt, expected, record)?) })
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
        Box::pin(async move { self.write(Write::rename(owner, from, expected_from, to, expected_to, record)?) })
    }

    fn remove(&self, owner: OwnerId, salt: PathSalt, expected: u32) -> BoxFuture<'_, Result<Written, LedgerError>> {
        Box::pin(async move { self.write(Write::remove(owner, salt, expected)) })
    }

    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(async move { Ok(self.state().files.get(&file_id).and_then(|versions| versions.last()).cloned()) })
    }

    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async move {
            let state = self.state();
            let versions = state.files.get(&file_id).map_or(&[][..], Vec::as_slice);
            Ok(versions.iter().rev().take(MAX_HISTORY_LEN).cloned().collect())
        })
    }

    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        Box::pin(async move { Ok(self.page(owner, cursor)) })
    }

    fn settled(&self, written: Written) -> BoxFuture<'_, Result<Option<Finality>, LedgerError>> {
        Box::pin(async move { Ok(self.state().slot(written.file_id)?.settled(written)) })
    }

    fn wait(&self, written: Written, _: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move { self.state().slot(written.file_id)?.shows(written) })
    }

    fn is_final_at_once(&self) -> bool {
        true
    }

    fn decides_within(&self) -> Option<Duration> {
        Some(DECIDED)
    }

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async { Ok(()) })
    }
}
