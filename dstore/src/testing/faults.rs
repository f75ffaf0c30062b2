//! Faults as wrappers of a port.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::id::{CopyId, FileId, LedgerId, NoiseKey, OwnerId, PathSalt, ShardId, ShardRoot};
use crate::ledger::{Entry, Finality, Ledger, LedgerError, Page, Written};
use crate::merkle::BlockRange;
use crate::rt::{BoxFuture, Timestamp};
use crate::store::{
    CopyStore, NewCopy, OpenShard, ProvedBlocks, Scrubbed, ShardKey, ShardStore, ShardWriter, StoreError, StoredCopy,
    StoredShard, Usage,
};

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

    fn settled(&self, written: Written) -> BoxFuture<'_, Result<Option<Finality>, LedgerError>> {
        self.ledger.settled(written)
    }

    fn wait(&self, written: Written, finality: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.wait(written, finality)
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

    fn begin(&self, key: ShardKey, len: Option<u64>, now: Timestamp) -> Outcome<'_, Box<dyn ShardWriter>> {
        self.unless_broken(self.store.begin(key, len, now))
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

    fn open_shard(&self, id: ShardId) -> Outcome<'_, Option<OpenShard>> {
        self.unless_broken(self.store.open_shard(id))
    }

    fn sweep(&self, now: Timestamp, lease_floor: Timestamp, open_floor: Timestamp) -> Outcome<'_, u64> {
        self.unless_broken(self.store.sweep(now, lease_floor, open_floor))
    }

    fn check(&self) -> Outcome<'_, ()> {
        self.unless_broken(self.store.check())
    }

    fn usage(&self) -> Outcome<'_, Usage> {
        self.unless_broken(self.store.usage())
    }

    fn accounts_usage(&self, accounts: RangeInclusive<NoiseKey>) -> Outcome<'_, Usage> {
        self.unless_broken(self.store.accounts_usage(accounts))
    }

    fn scrub(&self, after: Option<ShardId>, budget: u64) -> Outcome<'_, Scrubbed> {
        self.unless_broken(self.store.scrub(after, budget))
    }
}

impl<S: CopyStore> CopyStore for BrokenStore<S> {
    fn put_copy(&self, new: NewCopy) -> Outcome<'_, StoredCopy> {
        self.unless_broken(self.store.put_copy(new))
    }

    fn copy(&self, id: CopyId) -> Outcome<'_, StoredCopy> {
        self.unless_broken(self.store.copy(id))
    }

    fn copies(&self, holder: NoiseKey, after: Option<CopyId>, budget: u64) -> Outcome<'_, Vec<StoredCopy>> {
        self.unless_broken(self.store.copies(holder, after, budget))
    }

    fn count_copies(&self, account: NoiseKey) -> Outcome<'_, u64> {
        self.unless_broken(self.store.count_copies(account))
    }

    fn sweep_copies(&self, lease_floor: Timestamp) -> Outcome<'_, u64> {
        self.unless_broken(self.store.sweep_copies(lease_floor))
    }
}
