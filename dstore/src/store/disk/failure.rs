//! What the disk and the database fail with, in the words of the store: a full disk is `NoSpace`.

use std::io::{self, ErrorKind};

use rusqlite::ErrorCode;

use crate::store::StoreError;

pub(super) fn of_file(what: &str, error: io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::NoSpace,
        _ => StoreError::Failed { what: what.to_owned(), source: Some(error.into()) },
    }
}

/// As [`of_file`], for a file of a stored shard: what cannot be read again at another time is damage.
pub(super) fn of_shard(what: &str, error: io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::IsADirectory => StoreError::Damaged,
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => StoreError::Damaged,
        _ => of_file(what, error),
    }
}

pub(super) fn of_index(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::NoSpace,
        _ => StoreError::Failed { what: "using the index of the store".to_owned(), source: Some(error.into()) },
    }
}

/// Whether the database itself is damaged, rather than out of reach.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown),
        None => true,
    }
}
