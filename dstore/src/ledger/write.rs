//! What a write does to an owner's files: the rule set that every ledger of this crate shares.
//!
//! Pure: a ledger answers [`Slots`], stores the entries that come back, and nothing else decides what is allowed.

use super::{Entry, EventKind, Finality, LedgerError, MAX_RECORD_LEN, Written, file_id};
use crate::id::{FileId, OwnerId, PathSalt};
use crate::rt::Timestamp;

/// A write that passed every check that needs no ledger.
#[derive(Debug)]
pub(super) struct Write {
    owner: OwnerId,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Put { file: FileId, expected: u32, record: Vec<u8> },
    Rename { from: FileId, expected_from: u32, to: FileId, expected_to: u32, record: Vec<u8> },
    Remove { file: FileId, expected: u32 },
}

/// What a write must know about the ledger. The default is a file that never existed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) version: u32,
    pub(super) live: bool,
}

/// The state that writes are checked against. It must not change between the answers and the storing of the entries.
pub(super) trait Slots {
    fn slot(&self, file: FileId) -> Result<Slot, LedgerError>;
    /// The owner's highest `seq`; 0 before the first write.
    fn last_seq(&self, owner: OwnerId) -> Result<u64, LedgerError>;
}

impl Write {
    pub(super) fn put(owner: OwnerId, salt: PathSalt, expected: u32, record: Vec<u8>) -> Result<Self, LedgerError> {
        check_record(&record)?;
        Ok(Self { owner, action: Action::Put { file: file_id(owner, salt), expected, record } })
    }

    pub(super) fn rename(
        owner: OwnerId,
        from: PathSalt,
        expected_from: u32,
        to: PathSalt,
        expected_to: u32,
        record: Vec<u8>,
    ) -> Result<Self, LedgerError> {
        check_record(&record)?;
        if from == to {
            return Err(LedgerError::SamePath);
        }
        let (from, to) = (file_id(owner, from), file_id(owner, to));
        Ok(Self { owner, action: Action::Rename { from, expected_from, to, expected_to, record } })
    }

    pub(super) fn remove(owner: OwnerId, salt: PathSalt, expected: u32) -> Self {
        Self { owner, action: Action::Remove { file: file_id(owner, salt), expected } }
    }

    /// The entries that this write adds, in the order of their `seq`: all are stored or none.
    pub(super) fn entries(self, ledger: &impl Slots, now: Timestamp) -> Result<Vec<Entry>, LedgerError> {
        let events = match self.action {
            Action::Put { file, expected, record } => {
                vec![(file, ledger.slot(file)?.put(expected)?, EventKind::Put, record)]
            }
            Action::Rename { from, expected_from, to, expected_to, record } => {
                let left = ledger.slot(from)?.leave(expected_from)?;
                let arrived = ledger.slot(to)?.put(expected_to)?;
                vec![(from, left, EventKind::RenamedAway, Vec::new()), (to, arrived, EventKind::RenamedHere, record)]
            }
            Action::Remove { file, expected } => {
                vec![(file, ledger.slot(file)?.leave(expected)?, EventKind::Removed, Vec::new())]
            }
        };
        let first = ledger.last_seq(self.owner)? + 1;
        let entry = |(seq, (file_id, version, kind, record))| Entry {
            file_id,
            owner: self.owner,
            version,
            kind,
            seq,
            written: now,
            record,
        };
        Ok((first..).zip(events).map(entry).collect())
    }
}

/// The answer to a write that added `entries`: that of the file written last, which a rename leaves at its new path.
pub(super) fn answer(entries: &[Entry]) -> Written {
    let last = entries.last().expect("every write adds at least one entry");
    Written::new(last.file_id, last.version, &last.record)
}

impl Slot {
    /// How settled a write is where one that returned is final at once.
    pub(super) fn settled(self, written: Written) -> Option<Finality> {
        (self.version >= written.version).then_some(Finality::Final)
    }

    /// What `wait` answers there.
    pub(super) fn shows(self, written: Written) -> Result<(), LedgerError> {
        if self.version >= written.version {
            return Ok(());
        }
        let what = format!("it shows version {} of this file, not yet {}", self.version, written.version);
        Err(LedgerError::Unknown { what, source: None })
    }

    fn put(self, expected: u32) -> Result<u32, LedgerError> {
        if self.version != expected {
            return Err(LedgerError::VersionConflict { expected, actual: self.version });
        }
        expected.checked_add(1).ok_or(LedgerError::Exhausted)
    }

    fn leave(self, expected: u32) -> Result<u32, LedgerError> {
        let version = self.put(expected)?;
        if self.live { Ok(version) } else { Err(LedgerError::NotFound) }
    }
}

pub(super) fn check_record(record: &[u8]) -> Result<(), LedgerError> {
    if (1..=MAX_RECORD_LEN).contains(&record.len()) { Ok(()) } else { Err(LedgerError::RecordLength(record.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_version_number_is_used_and_none_after_it() {
        let nearly = Slot { version: u32::MAX - 1, live: true };
        assert_eq!(nearly.put(u32::MAX - 1).unwrap(), u32::MAX);
        let full = Slot { version: u32::MAX, live: true };
        assert!(matches!(full.put(u32::MAX), Err(LedgerError::Exhausted)));
        assert!(matches!(full.leave(u32::MAX), Err(LedgerError::Exhausted)));
    }

    #[test]
    fn a_stale_version_is_told_before_anything_else_about_the_file() {
        let gone = Slot { version: 2, live: false };
        assert!(matches!(gone.leave(1), Err(LedgerError::VersionConflict { expected: 1, actual: 2 })));
        assert!(matches!(gone.leave(2), Err(LedgerError::NotFound)));
    }
}
