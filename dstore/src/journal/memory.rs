//! Logs in memory: the twin of the journal on disk, for tests and for simulated clients that crash.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Journal, Log, LogId, MAX_CLAIMED, Tag, check_len};
use crate::rt::BoxFuture;

/// Keeps logs in memory. Clones share them: a client that is started again with a clone finds what it noted.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    serial: u64,
    logs: BTreeMap<u64, Kept>,
}

#[derive(Debug)]
struct Kept {
    tag: Tag,
    held: bool,
    notes: Vec<Vec<u8>>,
}

impl MemoryJournal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs that are there, held or not. For tests.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().logs.len()
    }
}

impl Journal for MemoryJournal {
    fn begin(&self, tag: Tag) -> BoxFuture<'_, io::Result<Box<dyn Log>>> {
        Box::pin(async move {
            let mut state = self.state();
            state.serial += 1;
            let serial = state.serial;
            state.logs.insert(serial, Kept { tag, held: true, notes: Vec::new() });
            Ok(Box::new(MemoryLog { journal: self.clone(), tag, serial }) as Box<dyn Log>)
        })
    }

    fn claim(&self, tag: Option<Tag>) -> BoxFuture<'_, io::Result<Vec<Box<dyn Log>>>> {
        Box::pin(async move {
            let mut state = self.state();
            let free = state.logs.iter_mut().filter(|(_, kept)| !kept.held && tag.is_none_or(|tag| tag == kept.tag));
            let claim = |(serial, kept): (&u64, &mut Kept)| {
                kept.held = true;
                Box::new(MemoryLog { journal: self.clone(), tag: kept.tag, serial: *serial }) as Box<dyn Log>
            };
            Ok(free.take(MAX_CLAIMED).map(claim).collect())
        })
    }
}

struct MemoryLog {
    journal: MemoryJournal,
    tag: Tag,
    serial: u64,
}

impl Log for MemoryLog {
    fn id(&self) -> LogId {
        LogId { tag: self.tag, serial: self.serial.to_be_bytes() }
    }

    fn notes(&self) -> BoxFuture<'_, io::Result<Vec<Vec<u8>>>> {
        let notes = self.journal.state().logs.get(&self.serial).map(|kept| kept.notes.clone());
        Box::pin(async move { Ok(notes.unwrap_or_default()) })
    }

    fn append(&mut self, note: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            check_len(&note)?;
            if let Some(kept) = self.journal.state().logs.get_mut(&self.serial) {
                kept.notes.push(note);
            }
            Ok(())
        })
    }

    fn remove(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            self.journal.state().logs.remove(&self.serial);
            Ok(())
        })
    }
}

impl Drop for MemoryLog {
    fn drop(&mut self) {
        if let Some(kept) = self.journal.state().logs.get_mut(&self.serial) {
            kept.held = false;
        }
    }
}
