//! Faults as wrappers of a port.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hooked_ledger::{HookedLedger, LedgerHooks, LedgerWrite};
use crate::id::{CopyId, NoiseKey, ShardId, ShardRoot};
use crate::ledger::{Ledger, LedgerError, Written};
use crate::merkle::BlockRange;
use crate::rt::{BoxFuture, Timestamp};
use crate::store::{
    CopyStore, NewCopy, OpenShard, ProvedBlocks, Scrubbed, ShardKey, ShardStore, ShardWriter, StoreError, StoredCopy,
    StoredShard, Usage,
};

/// What a ledger can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Every write is refused, as by a chain that is down. Reads are answered.
    Refuses,
    /// No write arrives, and none is answered. Reads are.
    Loses,
    /// A write takes effect and is not answered, and from then on nothing is.
    IsMute,
}

/// A ledger with a [`Defect`], while it is told to have one. Clones share it.
pub type BrokenLedger<L> = HookedLedger<L, LedgerFault>;

/// The defect that clones of a [`BrokenLedger`] share.
#[derive(Debug, Clone, Default)]
pub struct LedgerFault(Arc<Mutex<Fault>>);

#[derive(Debug, Clone, Copy, Default)]
struct Fault {
    defect: Option<Defect>,
    /// Whether it answers no reads either.
    gone: bool,
}

impl<L: Ledger> BrokenLedger<L> {
    /// With [`Defect::Refuses`].
    #[must_use]
    pub fn new(ledger: L) -> Self {
        Self::with(ledger, Some(Defect::Refuses))
    }

    /// With [`Defect::Loses`].
    #[must_use]
    pub fn silent(ledger: L) -> Self {
        Self::with(ledger, Some(Defect::Loses))
    }

    /// With [`Defect::IsMute`].
    #[must_use]
    pub fn mute(ledger: L) -> Self {
        Self::with(ledger, Some(Defect::IsMute))
    }

    /// With this defect, or with none for now.
    #[must_use]
    pub fn with(ledger: L, defect: Option<Defect>) -> Self {
        let broken = Self::around(ledger, LedgerFault::default());
        broken.set_defect(defect);
        broken
    }

    /// From now on it has this defect; with none it works again.
    pub fn set_defect(&self, defect: Option<Defect>) {
        *self.hooks().lock() = Fault { defect, gone: false };
    }
}

impl LedgerFault {
    fn lock(&self) -> MutexGuard<'_, Fault> {
        // It is set as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken() -> LedgerError {
    LedgerError::Unavailable { what: "broken for a test".to_owned(), source: None }
}

fn unknown() -> LedgerError {
    LedgerError::Unknown { what: "broken for a test".to_owned(), source: None }
}

impl LedgerHooks for LedgerFault {
    fn write<'a>(&'a self, ledger: &'a dyn Ledger, write: LedgerWrite) -> BoxFuture<'a, Result<Written, LedgerError>> {
        Box::pin(async move {
            let defect = self.lock().defect;
            match defect {
                None => write.make(ledger).await,
                Some(Defect::Refuses) => Err(broken()),
                Some(Defect::Loses) => Err(unknown()),
                Some(Defect::IsMute) => {
                    self.lock().gone = true;
                    write.make(ledger).await.and_then(|_| Err(unknown()))
                }
            }
        })
    }

    fn read(&self) -> Result<(), LedgerError> {
        if self.lock().gone { Err(broken()) } else { Ok(()) }
    }

    fn health(&self) -> Result<(), LedgerError> {
        if self.lock().defect.is_some() { Err(broken()) } else { Ok(()) }
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
