//! Makes a lost ledger file again from the versions that storage nodes kept: whole or not at all, and never over another.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::super::write::Slots;
use super::super::{Entry, LedgerError, MAX_RECORD_LEN};
use super::LocalLedger;
use super::file;
use super::table::Tables;
use crate::copy::RecordCopy;
use crate::error::Error;
use crate::id::{LedgerId, OwnerId};
use crate::rt::{Rt, Timestamp};

/// What [`LocalLedger::restore`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Versions that the ledger did not have.
    pub added: usize,
    /// Versions that it had already, or of files of which it has a higher one.
    pub known: usize,
}

impl LocalLedger {
    /// Takes over `versions` of the files of `owner`, as [`Client::recover`](crate::Client::recover) finds them, into the
    /// ledger file at `path`. A new file gets the id `ledger`, for which the records were sealed. One that is there must
    /// have it, and takes only what is higher than its own version of a file. A file's history begins, or goes on, with
    /// what is taken over, and its next version is higher than that. All of it happens, or nothing.
    ///
    /// Blocks, like [`LocalLedger::open`].
    ///
    /// # Errors
    /// As [`LocalLedger::open`]; [`Error::Config`] when another ledger is there; [`Error::Integrity`] for versions that
    /// no ledger has, or of another ledger.
    pub fn restore(
        path: impl AsRef<Path>,
        ledger: LedgerId,
        owner: OwnerId,
        versions: &[RecordCopy],
    ) -> Result<Restored, Error> {
        let fits = |copy: &RecordCopy| {
            let len = copy.record.len();
            let has_record = copy.kind.is_live() != copy.record.is_empty();
            copy.place.ledger == ledger && copy.place.version > 0 && len <= MAX_RECORD_LEN && has_record
        };
        if !versions.iter().all(fits) {
            return Err(Error::Integrity { what: "a version to be restored" });
        }
        let (path, rt) = (path.as_ref(), Rt::default());
        let (now, mut restored) = (rt.now(), Restored::default());
        let fill = |connection: &mut Connection, path: &Path| {
            restored = insert(connection, path, owner, versions, now)?;
            Ok(())
        };
        if file::create_unless_there(path, ledger, fill)? {
            return Ok(restored);
        }
        let opened = file::open(path, &rt)?;
        if opened.id != ledger {
            return Err(Error::config(format!(
                "{} is another ledger than the one to be restored: move it away, or restore to another file",
                path.display()
            )));
        }
        let mut writer = opened.writer;
        insert(&mut writer, path, owner, versions, now).map_err(|error| failed(path, error))
    }
}

/// Adds what is higher than what is there.
fn insert(
    connection: &mut Connection,
    path: &Path,
    owner: OwnerId,
    versions: &[RecordCopy],
    now: Timestamp,
) -> Result<Restored, LedgerError> {
    let sql = |error| LedgerError::from(super::failure::Failure::new(path, error));
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate).map_err(sql)?;
    let tables = Tables { connection: &transaction, path };
    let mut restored = Restored::default();
    let mut seq = tables.last_seq(owner)?;
    for RecordCopy { place, kind, record } in versions {
        if tables.slot(place.file)?.version >= place.version {
            restored.known += 1;
            continue;
        }
        seq += 1;
        let (file_id, version) = (place.file, place.version);
        tables.insert(&Entry { file_id, owner, version, kind: *kind, seq, written: now, record: record.clone() })?;
        restored.added += 1;
    }
    transaction.commit().map_err(sql)?;
    Ok(restored)
}

pub(super) fn failed(path: &Path, error: LedgerError) -> Error {
    match error {
        LedgerError::Damaged { .. } => Error::Integrity { what: "the ledger" },
        error => Error::io(format!("restoring ledger {}", path.display()), std::io::Error::other(error)),
    }
}
