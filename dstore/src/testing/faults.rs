//! Faults as wrappers of a port.

use crate::id::{FileId, LedgerId, OwnerId, PathSalt};
use crate::ledger::{Entry, Finality, Ledger, LedgerError, Page, Written};
use crate::rt::BoxFuture;

/// A ledger that reads as usual and refuses every write, as one whose chain is down.
#[derive(Debug)]
pub struct BrokenLedger<L>(L);

impl<L: Ledger> BrokenLedger<L> {
    /// Breaks `ledger` for writes.
    #[must_use]
    pub fn new(ledger: L) -> Self {
        Self(ledger)
    }
}

fn refused() -> BoxFuture<'static, Result<Written, LedgerError>> {
    Box::pin(async { Err(LedgerError::Unavailable { what: "broken for a test".to_owned(), source: None }) })
}

impl<L: Ledger> Ledger for BrokenLedger<L> {
    fn id(&self) -> LedgerId {
        self.0.id()
    }

    fn put(&self, _: OwnerId, _: PathSalt, _: u32, _: Vec<u8>) -> BoxFuture<'_, Result<Written, LedgerError>> {
        refused()
    }

    fn rename(
        &self,
        _: OwnerId,
        _: PathSalt,
        _: u32,
        _: PathSalt,
        _: u32,
        _: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        refused()
    }

    fn remove(&self, _: OwnerId, _: PathSalt, _: u32) -> BoxFuture<'_, Result<Written, LedgerError>> {
        refused()
    }

    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        self.0.get(file_id)
    }

    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.0.history(file_id)
    }

    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        self.0.list(owner, cursor)
    }

    fn wait(&self, written: Written, finality: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.0.wait(written, finality)
    }

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async { Err(LedgerError::Unavailable { what: "broken for a test".to_owned(), source: None }) })
    }
}
