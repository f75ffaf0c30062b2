//! The code words of errors: each error's stands here, and the compiler warns of one that no error has.

use std::io;

macro_rules! codes {
    ($($code:ident = $word:literal),* $(,)?) => {
        /// A cause, as programs tell causes apart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Code {
            $($code),*
        }

        impl Code {
            /// All of the words.
            pub(super) const WORDS: &'static [&'static str] = &[$($word),*];

            /// The stable word for it.
            pub(super) const fn word(self) -> &'static str {
                match self {
                    $(Self::$code => $word),*
                }
            }
        }
    };
}

// In the order of the exit codes of the command line.
codes! {
    Internal = "internal",
    InvalidPath = "invalid_path",
    TooLarge = "too_large",
    NotFound = "not_found",
    Unavailable = "unavailable",
    Timeout = "timeout",
    Busy = "busy",
    NotEnoughNodes = "not_enough_nodes",
    NotEnoughShards = "not_enough_shards",
    NoSpace = "no_space",
    Superseded = "superseded",
    UnknownOutcome = "unknown_outcome",
    Integrity = "integrity",
    Unrecoverable = "unrecoverable",
    PermissionDenied = "permission_denied",
    Config = "config",
    AlreadyExists = "already_exists",
    VersionConflict = "version_conflict",
    InsufficientFunds = "insufficient_funds",
    WrongChain = "wrong_chain",
    WrongContract = "wrong_contract",
    FeeTooHigh = "fee_too_high",
    Chain = "chain",
    Locked = "locked",
}

impl Code {
    /// Whether the same call can succeed later without a change by the caller.
    pub(super) const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unavailable
                | Self::Timeout
                | Self::Busy
                | Self::NotEnoughNodes
                | Self::NotEnoughShards
                | Self::NoSpace
                | Self::Superseded
                | Self::UnknownOutcome
                | Self::Locked
        )
    }

    /// What the standard library says for it.
    pub(super) const fn kind(self) -> io::ErrorKind {
        match self {
            Self::NotFound => io::ErrorKind::NotFound,
            Self::PermissionDenied => io::ErrorKind::PermissionDenied,
            Self::AlreadyExists | Self::VersionConflict => io::ErrorKind::AlreadyExists,
            Self::Timeout => io::ErrorKind::TimedOut,
            Self::InvalidPath | Self::TooLarge | Self::Config => io::ErrorKind::InvalidInput,
            Self::Integrity | Self::Unrecoverable => io::ErrorKind::InvalidData,
            Self::NoSpace => io::ErrorKind::StorageFull,
            Self::Busy | Self::Locked => io::ErrorKind::ResourceBusy,
            _ => io::ErrorKind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_once() {
        let mut words = Code::WORDS.to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::WORDS.len());
    }
}
