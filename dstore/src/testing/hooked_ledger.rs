//! A ledger in front of another one, and the few places where it may differ from that.

use std::fmt;
use std::time::Duration;

use crate::id::{FileId, LedgerId, OwnerId, PathSalt};
use crate::ledger::{Coming, Cost, Entry, Finality, Ledger, LedgerError, Page, Written};
use crate::rt::BoxFuture;

/// What a [`HookedLedger`] does in its own way. Each method's default is to do as the ledger behind it does.
pub trait LedgerHooks: fmt::Debug + Send + Sync + 'static {
    /// Instead of a write to `ledger`, the one behind.
    ///
    /// # Errors
    /// Those of a ledger's writes.
    fn write<'a>(&'a self, ledger: &'a dyn Ledger, write: LedgerWrite) -> BoxFuture<'a, Result<Written, LedgerError>> {
        write.make(ledger)
    }

    /// Before each of [`Ledger::get`], [`Ledger::history`], [`Ledger::list`] and [`Ledger::settled`].
    ///
    /// # Errors
    /// What the read fails with.
    fn read(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Before the ledger is asked whether it can be used.
    ///
    /// # Errors
    /// Why it cannot.
    fn health(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Says that a put is on its way; `None` to leave that to the ledger behind.
    fn coming(&self) -> Option<Coming> {
        None
    }

    /// The cost of a put of a record of `len` bytes over version `expected`; `None` to leave that to the ledger behind.
    fn cost(&self, expected: u32, len: usize) -> Option<Cost> {
        let _ = (expected, len);
        None
    }
}

/// A write, with the arguments of the method of [`Ledger`] that has its name.
#[derive(Clone, PartialEq, Eq)]
pub enum LedgerWrite {
    /// [`Ledger::put`].
    Put(OwnerId, PathSalt, u32, Vec<u8>),
    /// [`Ledger::rename`].
    Rename(OwnerId, (PathSalt, u32), (PathSalt, u32), Vec<u8>),
    /// [`Ledger::remove`].
    Remove(OwnerId, PathSalt, u32),
}

impl LedgerWrite {
    /// Makes it.
    ///
    /// # Errors
    /// Those of the method.
    pub fn make(self, ledger: &dyn Ledger) -> BoxFuture<'_, Result<Written, LedgerError>> {
        match self {
            Self::Put(owner, salt, expected, record) => ledger.put(owner, salt, expected, record),
            Self::Rename(owner, (from, expected_from), (to, expected_to), record) => {
                ledger.rename(owner, from, expected_from, to, expected_to, record)
            }
            Self::Remove(owner, salt, expected) => ledger.remove(owner, salt, expected),
        }
    }
}

impl fmt::Debug for LedgerWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, expected) = match self {
            Self::Put(_, _, expected, _) => ("Put", expected),
            Self::Rename(_, (_, expected), ..) => ("Rename", expected),
            Self::Remove(_, _, expected) => ("Remove", expected),
        };
        f.debug_struct(name).field("expected", expected).finish_non_exhaustive()
    }
}

/// A ledger that is another one, but for its hooks.
#[derive(Debug, Clone)]
pub struct HookedLedger<L, H> {
    ledger: L,
    hooks: H,
}

impl<L: Ledger, H: LedgerHooks> HookedLedger<L, H> {
    /// Puts `hooks` in front of `ledger`.
    #[must_use]
    pub fn around(ledger: L, hooks: H) -> Self {
        Self { ledger, hooks }
    }

    /// The hooks.
    #[must_use]
    pub fn hooks(&self) -> &H {
        &self.hooks
    }

    fn read<'a, T>(
        &'a self,
        read: impl FnOnce(&'a L) -> BoxFuture<'a, Result<T, LedgerError>>,
    ) -> BoxFuture<'a, Result<T, LedgerError>>
    where
        T: Send + 'a,
    {
        match self.hooks.read() {
            Ok(()) => read(&self.ledger),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}

impl<L: Ledger, H: LedgerHooks> Ledger for HookedLedger<L, H> {
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
        self.hooks.write(&self.ledger, LedgerWrite::Put(owner, salt, expected, record))
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
        let write = LedgerWrite::Rename(owner, (from, expected_from), (to, expected_to), record);
        self.hooks.write(&self.ledger, write)
    }

    fn remove(&self, owner: OwnerId, salt: PathSalt, expected: u32) -> BoxFuture<'_, Result<Written, LedgerError>> {
        self.hooks.write(&self.ledger, LedgerWrite::Remove(owner, salt, expected))
    }

    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        self.read(|ledger| ledger.get(file_id))
    }

    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.read(|ledger| ledger.history(file_id))
    }

    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        self.read(|ledger| ledger.list(owner, cursor))
    }

    fn settled(&self, written: Written) -> BoxFuture<'_, Result<Option<Finality>, LedgerError>> {
        self.read(|ledger| ledger.settled(written))
    }

    fn wait(&self, written: Written, finality: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.wait(written, finality)
    }

    fn decides_within(&self) -> Option<Duration> {
        self.ledger.decides_within()
    }

    fn is_final_at_once(&self) -> bool {
        self.ledger.is_final_at_once()
    }

    fn coming(&self) -> Coming {
        self.hooks.coming().unwrap_or_else(|| self.ledger.coming())
    }

    fn cost(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        len: usize,
    ) -> BoxFuture<'_, Result<Option<Cost>, LedgerError>> {
        match self.hooks.cost(expected, len) {
            None => self.ledger.cost(owner, salt, expected, len),
            cost => Box::pin(async move { Ok(cost) }),
        }
    }

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        match self.hooks.health() {
            Ok(()) => self.ledger.health(),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_lite::future::block_on;

    use super::*;
    use crate::ledger::MemoryLedger;
    use crate::testing::conformance;

    #[derive(Debug)]
    struct Nothing;

    impl LedgerHooks for Nothing {}

    #[test]
    fn without_hooks_it_is_the_ledger_behind_it() {
        let (behind, owners) = (MemoryLedger::default(), [OwnerId::new([1; 20]), OwnerId::new([2; 20])]);
        let ledger = HookedLedger::around(behind.clone(), Nothing);
        assert_eq!((ledger.id(), ledger.is_final_at_once()), (behind.id(), behind.is_final_at_once()));
        assert_eq!(ledger.decides_within(), behind.decides_within());
        block_on(conformance::ledger::run(Arc::new(ledger), owners[0], owners[1]));
    }
}
