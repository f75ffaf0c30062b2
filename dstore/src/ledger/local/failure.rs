//! What an SQLite failure says about a write: it did not happen, it may have happened, or the file is damaged.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;

use super::super::LedgerError;
use super::file::BUSY_LIMIT;
use crate::error::BoxError;

/// A [`LedgerError`] that every writer of one batch can be given.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    Unavailable(String, Option<Arc<rusqlite::Error>>),
    Unknown(String, Arc<rusqlite::Error>),
    Damaged(String),
}

impl Failure {
    /// Of anything before COMMIT: nothing was written.
    pub(super) fn new(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.display();
        let what = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!("{path} is busy: others wrote to it for {} s, try again", BUSY_LIMIT.as_secs())
            }
            Some(ErrorCode::DiskFull) => format!("no space is left for {path}"),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => format!("{path} may not be written"),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted
                | ErrorCode::OperationAborted
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport,
            ) => format!("{path} could not be read or written"),
            // The rest is about the content: pages, tables, rows and values that are not what this module writes.
            _ => return Self::Damaged(format!("{path}: {error}")),
        };
        Self::Unavailable(what, Some(Arc::new(error)))
    }

    /// Of COMMIT itself: unless it was refused, the log may hold it, and a restart may show it.
    pub(super) fn commit(path: &Path, error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => Self::new(path, error),
            _ => Self::Unknown(format!("the commit to {} failed", path.display()), Arc::new(error)),
        }
    }
}

impl From<Failure> for LedgerError {
    fn from(failure: Failure) -> Self {
        let boxed = |error| Box::new(error) as BoxError;
        match failure {
            Failure::Unavailable(what, error) => Self::Unavailable { what, source: error.map(boxed) },
            Failure::Unknown(what, error) => Self::Unknown { what, source: Some(boxed(error)) },
            Failure::Damaged(what) => Self::Damaged { what },
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn error(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    fn of_write(code: i32) -> LedgerError {
        Failure::new(Path::new("/ledger.db"), error(code)).into()
    }

    fn of_commit(code: i32) -> LedgerError {
        Failure::commit(Path::new("/ledger.db"), error(code)).into()
    }

    #[test]
    fn a_write_that_could_not_begin_did_not_happen() {
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_FULL, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_READONLY] {
            let LedgerError::Unavailable { what, source } = of_write(code) else { panic!("{code}") };
            assert!(what.contains("/ledger.db") && source.is_some(), "{what}");
        }
    }

    #[test]
    fn a_commit_that_failed_may_have_happened_unless_it_was_refused() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_CORRUPT] {
            assert!(matches!(of_commit(code), LedgerError::Unknown { .. }), "{code}");
        }
        assert!(matches!(of_commit(ffi::SQLITE_BUSY), LedgerError::Unavailable { .. }));
    }

    #[test]
    fn wrong_content_is_damage() {
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_ERROR, ffi::SQLITE_CONSTRAINT_UNIQUE] {
            assert!(matches!(of_write(code), LedgerError::Damaged { .. }), "{code}");
        }
    }
}
