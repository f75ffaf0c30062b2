//! Faults as wrappers of a port.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::id::{FileId, LedgerId, NoiseKey, OwnerId, PathSalt, ShardId, ShardRoot};
use crate::ledger::{Entry, Finality, Ledger, LedgerError, Page, Written};
use crate::merkle::BlockRange;
use crate::rt::{BoxFuture, Timestamp};
use crate::store::{ProvedBlocks, Scrubbed, ShardKey, ShardStore, ShardWriter, StoreError, StoredShard, Usage};

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

/// A store whose disk fails while it is told to: every call then fails. Clones share the switch.
#[derive(Debug, Clone)]
pub struct BrokenStore<S> {
    store: S,
    broken: Arc<AtomicBool>,
}

type Outcome<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

impl<S> BrokenStore<S> {
    /// Wraps `store`, which works for now.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store, broken: Arc::default() }
    }

    /// From now on everything fails, or nothing does.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    fn unless_broken<'a, T: 'a>(&self, call: Outcome<'a, T>) -> Outcome<'a, T> {
        if !self.broken.load(Ordering::Relaxed) {
            return call;
        }
        Box::pin(async { Err(StoreError::Failed { what: "broken for a test".to_owned(), source: None }) })
    }
}

impl<S: ShardStore> ShardStore for BrokenStore<S> {
    fn put_small(
        &self,
        key: ShardKey,
        root: ShardRoot,
        lease_until: Timestamp,
        bytes: Vec<u8>,
    ) -> Outcome<'_, StoredShard> {
        self.unless_broken(self.store.put_small(key, root, lease_until, bytes))
    }

    fn begin(&self, key: ShardKey, len: Option<u64>) -> Outcome<'_, Box<dyn ShardWriter>> {
        self.unless_broken(self.store.begin(key, len))
    }

    fn stat(&self, id: ShardId) -> Outcome<'_, StoredShard> {
        self.unless_broken(self.store.stat(id))
    }

    fn read(&self, id: ShardId, range: BlockRange) -> Outcome<'_, ProvedBlocks> {
        self.unless_broken(self.store.read(id, range))
    }

    fn prove(&self, id: ShardId, range: BlockRange) -> Outcome<'_, ProvedBlocks> {
        self.unless_broken(self.store.prove(id, range))
    }

    fn renew(&self, id: ShardId, lease_until: Timestamp) -> Outcome<'_, StoredShard> {
        self.unless_broken(self.store.renew(id, lease_until))
    }

    fn retire(&self, id: ShardId, free_at: Timestamp) -> Outcome<'_, ()> {
        self.unless_broken(self.store.retire(id, free_at))
    }

    fn sweep(&self, now: Timestamp, lease_floor: Timestamp) -> Outcome<'_, u64> {
        self.unless_broken(self.store.sweep(now, lease_floor))
    }

    fn check(&self) -> Outcome<'_, ()> {
        self.unless_broken(self.store.check())
    }

    fn usage(&self) -> Outcome<'_, Usage> {
        self.unless_broken(self.store.usage())
    }

    fn account_usage(&self, account: NoiseKey) -> Outcome<'_, Usage> {
        self.unless_broken(self.store.account_usage(account))
    }

    fn scrub(&self, after: Option<ShardId>, budget: u64) -> Outcome<'_, Scrubbed> {
        self.unless_broken(self.store.scrub(after, budget))
    }
}
