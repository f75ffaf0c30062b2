//! A ledger's failure, as the public interface tells it.

use super::{LedgerError, MAX_RECORD_LEN};
use crate::error::{ChainProblem, Error, PeerProblem};

impl LedgerError {
    /// The public error for a failure about the file at `path`; empty for one that is about no file, as `?` has it.
    #[must_use]
    pub fn about(self, path: &str) -> Error {
        let path = path.to_owned();
        match self {
            Self::NotFound => Error::NotFound { path },
            Self::VersionConflict { expected, actual } => Error::VersionConflict { path, expected, actual },
            Self::RecordLength(len) => {
                Error::TooLarge { what: "the record (bytes)", size: len as u64, limit: MAX_RECORD_LEN as u64 }
            }
            Self::SamePath => Error::InvalidPath { reason: "a file cannot be moved onto itself" },
            Self::Exhausted => {
                Error::TooLarge { what: "the version of this file", size: 1 << 32, limit: u64::from(u32::MAX) }
            }
            Self::Damaged { .. } => Error::Integrity { what: "the ledger" },
            Self::Chain { problem, what } => Error::Chain { problem, what },
            Self::RecordMissing { .. } | Self::Stale { .. } => {
                Error::Chain { problem: ChainProblem::Other, what: self.to_string() }
            }
            Self::Unknown { .. } | Self::Reorged => Error::UnknownOutcome { path, source: Some(Box::new(self)) },
            Self::Unavailable { ref what, .. } => Error::Peer {
                peer: format!("the ledger ({what})"),
                problem: PeerProblem::Unavailable,
                source: Some(Box::new(self)),
            },
        }
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        error.about("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_cannot_be_used_says_why() {
        let error = LedgerError::Unavailable { what: "the disk is full".to_owned(), source: None };
        let text = Error::from(error).to_string();
        assert!(text.starts_with("the ledger (the disk is full)"), "{text}");
    }

    #[test]
    fn a_write_that_was_not_answered_is_named_by_its_path_if_it_has_one() {
        let unknown = || LedgerError::Unknown { what: "no receipt".to_owned(), source: None };
        assert!(unknown().about("a/b").to_string().contains("whether \"a/b\" was written"));
        assert!(Error::from(unknown()).to_string().contains("whether the write took effect"));
    }

    #[test]
    fn a_ledger_that_shows_an_older_version_says_both_versions() {
        let error = Error::from(LedgerError::Stale { version: 2, seen: 5 });
        let text = error.to_string();
        assert!(text.contains("version 2") && text.contains("shown 5"), "{text}");
        assert_eq!(error.code(), "chain");
    }
}
