//! Faults as wrappers of a port.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::id::{FileId, LedgerId, OwnerId, PathSalt};
use crate::ledger::{Entry, Finality, Ledger, LedgerError, Page, Written};
use crate::rt::BoxFuture;

/// A ledger that reads as usual, and whose writes fail.
#[derive(Debug)]
pub struct BrokenLedger<L> {
    ledger: L,
    defect: Defect,
    /// Whether it reads no more either.
    gone: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    Refuses,
    Loses,
    IsMute,
}

impl<L: Ledger> BrokenLedger<L> {
    /// Every write is refused, as by a chain that is down.
    #[must_use]
    pub fn new(ledger: L) -> Self {
        Self { ledger, defect: Defect::Refuses, gone: AtomicBool::new(false) }
    }

    /// No write arrives, and none is answered.
    #[must_use]
    pub fn silent(ledger: L) -> Self {
        Self { ledger, defect: Defect::Loses, gone: AtomicBool::new(false) }
    }

    /// A write takes effect and is not answered, and from then on nothing is.
    #[must_use]
    pub fn mute(ledger: L) -> Self {
        Self { ledger, defect: Defect::IsMute, gone: AtomicBool::new(false) }
    }

    async fn fail(&self, write: BoxFuture<'_, Result<Written, LedgerError>>) -> Result<Written, LedgerError> {
        let unknown = || LedgerError::Unknown { what: "broken for a test".to_owned(), source: None };
        match self.defect {
            Defect::Refuses => Err(LedgerError::Unavailable { what: "broken for a test".to_owned(), source: None }),
            Defect::Loses => Err(unknown()),
            Defect::IsMute => {
                self.gone.store(true, Ordering::Relaxed);
                write.await.and_then(|_| Err(unknown()))
            }
        }
    }
}

impl<L: Ledger> Ledger for BrokenLedger<L> {
    fn id(&self) -> LedgerId {
        self.ledger.id()
    }

    fn put(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        Box::pin(self.fail(self.ledger.put(owner, salt, expected, record)))
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
        Box::pin(self.fail(self.ledger.rename(owner, from, expected_from, to, expected_to, record)))
    }

    fn remove(&self, owner: OwnerId, salt: PathSalt, expected: u32) -> BoxFuture<'_, Result<Written, LedgerError>> {
        Box::pin(self.fail(self.ledger.remove(owner, salt, expected)))
    }

    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        if self.gone.load(Ordering::Relaxed) {
            return Box::pin(async {
                Err(LedgerError::Unavailable { what: "broken for a test".to_owned(), source: None })
            });
        }
        self.ledger.get(file_id)
    }

    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.ledger.history(file_id)
    }

    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        self.ledger.list(owner, cursor)
    }

    fn wait(&self, written: Written, finality: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.wait(written, finality)
    }

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async { Err(LedgerError::Unavailable { what: "broken for a test".to_owned(), source: None }) })
    }
}
