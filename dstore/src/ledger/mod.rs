//! Where records live: the port behind which a blockchain stands.
//!
//! Every implementation keeps one rule set, stated by [`conformance`](crate::testing) and docs/format.md section 8:
//! only the owner changes a file, a write names the version it replaces, versions go up by one and never repeat.

#[cfg(feature = "ethereum")]
mod ethereum;
mod failure;
mod local;
mod memory;
mod write;

use std::fmt;
use std::time::Duration;

use crate::error::{BoxError, ChainProblem};
use crate::id::{FileId, LedgerId, OwnerId, PathSalt};
use crate::rt::{BoxFuture, Timestamp};

#[cfg(feature = "ethereum")]
pub use self::ethereum::{Chain, ContractInfo, Deployment, EthereumAccount, EthereumConfig, EthereumLedger, RpcUrl};
pub use crate::manifest::{EventKind, MAX_RECORD_LEN};
pub use local::{LocalLedger, Restored};
pub use memory::MemoryLedger;

/// The most versions that [`Ledger::history`] returns: the newest ones.
pub const MAX_HISTORY_LEN: usize = 4096;

/// A write to a ledger of this machine has been taken, or never is, after so long: no process waits that long for its turn.
const DECIDED: Duration = Duration::from_secs(600);

/// The most files in one page of [`Ledger::list`].
pub const MAX_PAGE_LEN: usize = 256;

/// One version of one file, as the ledger keeps it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The file.
    pub file_id: FileId,
    /// Its owner.
    pub owner: OwnerId,
    /// 1 for the first version.
    pub version: u32,
    /// What made this version.
    pub kind: EventKind,
    /// Position among all writes of this owner, from 1.
    pub seq: u64,
    /// When the ledger took it.
    pub written: Timestamp,
    /// The sealed record; empty when `kind` says that the file is gone, and in a history when the ledger no longer gives it out.
    pub record: Vec<u8>,
}

impl Entry {
    /// The version of a file that is there, of which nothing else is known.
    pub(crate) fn without_record(file_id: FileId, owner: OwnerId, version: u32, kind: EventKind) -> Self {
        Self { file_id, owner, version, kind, seq: 0, written: Timestamp::default(), record: Vec::new() }
    }

    /// Whether it should have a record and does not: then its ledger no longer gives it out.
    pub(crate) fn lacks_record(&self) -> bool {
        self.is_live() && self.record.is_empty()
    }

    /// Whether the file exists at this version.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.kind.is_live()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("file_id", &self.file_id)
            .field("version", &self.version)
            .field("kind", &self.kind)
            .field("seq", &self.seq)
            .field("record_len", &self.record.len())
            .finish_non_exhaustive()
    }
}

/// One page of [`Ledger::list`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Live files, in the order of their ids.
    pub entries: Vec<Entry>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<FileId>,
}

/// A write that the ledger took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The file.
    pub file_id: FileId,
    /// Its new version: the expected one plus 1.
    pub version: u32,
    /// BLAKE3 of the record, which is empty after a removal: on a chain, another write may take this one's place.
    pub record_hash: [u8; 32],
}

impl Written {
    /// The write that made `version` of a file with this record.
    #[must_use]
    pub fn new(file_id: FileId, version: u32, record: &[u8]) -> Self {
        Self { file_id, version, record_hash: *blake3::hash(record).as_bytes() }
    }
}

/// What a write would cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Units of gas.
    pub gas: u64,
    /// Its price at the fees of now, wei.
    pub wei: u128,
    /// The most that this ledger's configuration would pay, wei.
    pub max_wei: u128,
}

impl Cost {
    /// So much gas, for so much, and at most for so much.
    #[must_use]
    pub const fn new(gas: u64, wei: u128, max_wei: u128) -> Self {
        Self { gas, wei, max_wei }
    }
}

/// Says that a put is on its way while it is held: a ledger that takes many writes at once need not wait for others
/// when all that are on their way have arrived.
#[derive(Debug, Clone, Default)]
pub struct Coming {
    /// Counted, never looked at.
    _all: Option<std::sync::Arc<()>>,
}

impl Coming {
    /// One more of those that share `all`.
    #[must_use]
    pub fn new(all: &std::sync::Arc<()>) -> Self {
        Self { _all: Some(all.clone()) }
    }
}

/// How settled a write must be for [`Ledger::wait`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finality {
    /// The ledger shows it.
    Included,
    /// As settled as this ledger's configuration asks before a put succeeds.
    #[default]
    Confirmed,
    /// Nothing can undo it.
    Final,
}

/// What a ledger refuses or fails with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The file does not exist, or was removed.
    #[error("the ledger has no such file")]
    NotFound,
    /// The slot is not at the version that the write expected.
    #[error("the ledger is at version {actual} of this file, the write expected {expected}")]
    VersionConflict {
        /// What the write named.
        expected: u32,
        /// What the ledger has.
        actual: u32,
    },
    /// The record is empty or longer than [`MAX_RECORD_LEN`].
    #[error("a record of {0} bytes: 1 to {MAX_RECORD_LEN} are allowed")]
    RecordLength(usize),
    /// A rename whose two salts are the same.
    #[error("a rename needs two different paths")]
    SamePath,
    /// The file has had 2^32 - 1 versions.
    #[error("this file has no version numbers left")]
    Exhausted,
    /// The ledger could not be used; the write did not take effect.
    #[error("the ledger cannot be used: {what}")]
    Unavailable {
        /// What failed.
        what: String,
        /// The cause.
        source: Option<BoxError>,
    },
    /// The ledger did not say whether the write took effect.
    #[error("the ledger did not say whether the write took effect: {what}")]
    Unknown {
        /// What failed.
        what: String,
        /// The cause.
        source: Option<BoxError>,
    },
    /// The ledger has this version of the file, and does not give its record out: nodes may have a copy.
    #[error("the ledger has version {version} of this file, and does not give its record out")]
    RecordMissing {
        /// The newest version.
        version: u32,
        /// What made it.
        kind: EventKind,
    },
    /// The ledger shows an older version than it has shown before.
    #[error("the ledger shows version {version} of this file, and has shown {seen} before")]
    Stale {
        /// What it shows now.
        version: u32,
        /// What it has shown.
        seen: u32,
    },
    /// The chain took the write and then went on without it: it can be written again as it was.
    #[error("the chain went on without this write")]
    Reorged,
    /// What only a ledger on a chain refuses; a write did not take effect.
    #[error("{what}")]
    Chain {
        /// What kind of problem.
        problem: ChainProblem,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The ledger's own data is damaged or of another format.
    #[error("the ledger's data cannot be used: {what}")]
    Damaged {
        /// What is wrong.
        what: String,
    },
}

/// A ledger. Every write names `owner`, the caller's own address; an implementation that signs refuses another one.
///
/// `expected` is the version that the write replaces, whether that is live or removed; 0 if the file never existed.
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Which ledger this is: records are sealed for it.
    fn id(&self) -> LedgerId;

    /// Writes version `expected + 1` of the file at `salt`.
    ///
    /// Writing the record that is already at version `expected + 1` again is `VersionConflict`, like any stale write.
    ///
    /// # Errors
    /// `VersionConflict`, `RecordLength`, `Exhausted`, `Unavailable` (did not happen), `Unknown` (may have happened).
    fn put(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>>;

    /// Moves a live file: removes it at `from` and writes `record` at `to`, or neither.
    /// What is live at `to` is replaced, as by a put that names its version. Both versions go up by one.
    /// The answer is that of the file at `to`.
    ///
    /// # Errors
    /// As [`Ledger::put`], for either path; `NotFound` when nothing is live at `from`, and `SamePath`.
    fn rename(
        &self,
        owner: OwnerId,
        from: PathSalt,
        expected_from: u32,
        to: PathSalt,
        expected_to: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>>;

    /// Removes a live file; its version goes up by one. The version is compared before the file is looked for.
    ///
    /// # Errors
    /// `VersionConflict`, `NotFound` when it is not live, `Unavailable`, `Unknown`.
    fn remove(&self, owner: OwnerId, salt: PathSalt, expected: u32) -> BoxFuture<'_, Result<Written, LedgerError>>;

    /// The newest version of a file, live or removed; `None` if it never existed.
    ///
    /// # Errors
    /// `Unavailable`, `Damaged`; on a chain also `RecordMissing`, `Stale` and `Chain`.
    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>>;

    /// Every version of a file, newest first; empty if it never existed. A version whose record the ledger no longer gives
    /// out has an empty one. Of a file with more than [`MAX_HISTORY_LEN`] versions, the newest of that number.
    ///
    /// # Errors
    /// `Unavailable`, `Damaged`.
    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;

    /// Live files of `owner`, from the id `cursor` on, itself included; at most [`MAX_PAGE_LEN`] a page.
    ///
    /// Pages are read one by one: a write between two of them shows only in those read later.
    ///
    /// # Errors
    /// `Unavailable`, `Damaged`.
    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>>;

    /// How settled `written` is now, also when a later version has replaced it; `None` when it is not there.
    ///
    /// # Errors
    /// `Unavailable`, `Damaged`; `VersionConflict` when another write has taken its place.
    fn settled(&self, written: Written) -> BoxFuture<'_, Result<Option<Finality>, LedgerError>>;

    /// Ready when `written` is as settled as `finality` asks.
    ///
    /// # Errors
    /// `Unknown` when that could not be found out; on a chain `Reorged` when it is no longer there, and
    /// `VersionConflict` when another write has taken its place.
    fn wait(&self, written: Written, finality: Finality) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// How long after a write was begun it may still take effect, though nobody was told: after that what is not there never
    /// comes. `None`: nobody can say; what such a write names is then left to its leases.
    fn decides_within(&self) -> Option<Duration> {
        None
    }

    /// Whether a write that returned is [`Finality::Final`]: then nobody asks how settled it is. `false` is never wrong.
    fn is_final_at_once(&self) -> bool {
        false
    }

    /// To be held by a put until its record is written.
    fn coming(&self) -> Coming {
        Coming::default()
    }

    /// What a put of a record of `len` bytes would cost; `None` where writing costs nothing.
    ///
    /// # Errors
    /// What a write would fail with.
    fn cost(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        len: usize,
    ) -> BoxFuture<'_, Result<Option<Cost>, LedgerError>> {
        let _ = (owner, salt, expected, len);
        Box::pin(async { Ok(None) })
    }

    /// Ready when the ledger can be used.
    ///
    /// # Errors
    /// What a write would fail with.
    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>>;
}

/// The id of the file that `owner` files under `salt`: `keccak256(abi.encode(owner, salt))`.
#[must_use]
pub fn file_id(owner: OwnerId, salt: PathSalt) -> FileId {
    use sha3::{Digest, Keccak256};
    let mut hasher = Keccak256::new();
    hasher.update([0; 12]);
    hasher.update(owner.as_bytes());
    hasher.update(salt.as_bytes());
    FileId::new(hasher.finalize().into())
}
