//! The one error of the public interface: each variant is one cause, with its own code word.
//!
//! Texts never print their source: `std::error::Error::source` carries the chain.

mod code;

use std::fmt;
use std::io;
use std::time::Duration;

use self::code::Code;
use crate::id::NodeId;

/// A boxed cause, as `std::error::Error::source` returns it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What every fallible public function of dstore returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, by cause. [`Error::code`] is stable, the texts are not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path breaks a rule of docs/format.md section 1.
    #[error("invalid path: {reason}")]
    InvalidPath {
        /// Which rule.
        reason: &'static str,
    },
    /// Something is larger than its limit.
    #[error("{what} is {size}, more than the limit of {limit}")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The largest size allowed.
        limit: u64,
    },
    /// No file has this path.
    #[error("no file at {path:?}")]
    NotFound {
        /// The path asked for.
        path: String,
    },
    /// [`PutMode::Create`](crate::PutMode::Create) or a rename met a file that exists.
    #[error("{path:?} exists already, at version {version}")]
    AlreadyExists {
        /// The path.
        path: String,
        /// The version found.
        version: u32,
    },
    /// Another writer was faster, or the version asked for is not the current one.
    #[error("{path:?} is at version {actual}, not at {expected}: another writer was faster")]
    VersionConflict {
        /// The path.
        path: String,
        /// The version this write was based on.
        expected: u32,
        /// The version found.
        actual: u32,
    },
    /// Too few storage nodes for the scheme and the tolerance asked for.
    #[error("{active} of the {needed} storage nodes that are needed can take this file{}", Excluded(refused))]
    NotEnoughNodes {
        /// Nodes that can be used.
        active: usize,
        /// Nodes that are needed.
        needed: usize,
        /// Nodes that were asked and could not take their part, with the reason.
        refused: Vec<Fault>,
    },
    /// Holders of shards could not be reached: the file may read again when they are back.
    #[error("found {found} shards of the {needed} needed{}", Excluded(missing))]
    NotEnoughShards {
        /// Shards that answered correctly.
        found: usize,
        /// Shards that are needed.
        needed: usize,
        /// Every shard that did not answer correctly, and its node.
        missing: Vec<Fault>,
    },
    /// Every holder answered, and too many shards are lost or wrong.
    #[error("every node answered, but only {found} intact shards of the {needed} needed are left{}", Excluded(faults))]
    Unrecoverable {
        /// Intact shards.
        found: usize,
        /// Shards that are needed.
        needed: usize,
        /// Every shard that is lost or wrong, and its node.
        faults: Vec<Fault>,
    },
    /// Bytes are not what their seal, hash or signature says.
    #[error("{what} failed its integrity check")]
    Integrity {
        /// What was checked.
        what: &'static str,
    },
    /// A node, a registry or the ledger could not be used.
    #[error("{peer}: {problem}")]
    Peer {
        /// Who, with its address where known.
        peer: String,
        /// What went wrong, and whether trying again can help.
        problem: PeerProblem,
        /// The cause.
        source: Option<BoxError>,
    },
    /// The version that was read has been replaced, and its shards are gone: read again.
    #[error("{path:?} was replaced while it was read")]
    Superseded {
        /// The path.
        path: String,
    },
    /// The ledger did not say whether the write took effect.
    #[error("the ledger did not answer: whether {} is not known yet", took_effect(path))]
    UnknownOutcome {
        /// The path; empty when the write was not one of a file.
        path: String,
        /// The cause.
        source: Option<BoxError>,
    },
    /// The chain behind the ledger cannot be written, or not believed.
    #[error("the ledger: {what}")]
    Chain {
        /// What kind of problem.
        problem: ChainProblem,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The configuration cannot be used. The text names the setting and where to put it.
    #[error("{what}")]
    Config {
        /// What is wrong, and what to do.
        what: String,
    },
    /// This machine's file or stream failed. One that cannot be what it was named for, such as a folder in place of a file
    /// or a name that is too long, has the code of a wrong setting: `config`.
    #[error("{what}: {}", source.kind())]
    Io {
        /// What was being done, with the file's name.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// Another process holds the state that is needed.
    #[error("{what} is in use by another process")]
    Locked {
        /// What is locked.
        what: String,
    },
    /// A defect of dstore.
    #[error("internal error: {what}; please report this")]
    Internal {
        /// What was violated.
        what: &'static str,
    },
}

/// What is wrong with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerProblem {
    /// No connection, or it broke.
    #[error("cannot be reached")]
    Unavailable,
    /// It answers, but cannot connect to the address that we announced to it.
    #[error("cannot connect back to the address announced to it")]
    NoWayBack,
    /// Connected, but no progress for the time stated.
    #[error("made no progress for {0:?}")]
    Timeout(Duration),
    /// It is at one of its limits: try again later.
    #[error("is busy")]
    Busy,
    /// It has no room for what was offered.
    #[error("has no space left for this")]
    NoSpace,
    /// It does not allow this caller to do this.
    #[error("denied permission")]
    Denied,
    /// Not found there.
    #[error("does not have it")]
    Missing,
    /// Its network label differs from ours, or its key is not the expected one: the handshake cannot tell which.
    #[error("failed the handshake: either its key is not the one expected, or its network label differs from ours")]
    WrongKeyOrNetwork,
    /// It speaks no version of the protocol that we speak.
    #[error("speaks protocol versions {0} to {1}, and we do not")]
    Version(u8, u8),
    /// It broke the protocol.
    #[error("broke the protocol")]
    Protocol,
    /// It failed inside.
    #[error("had an internal failure")]
    Failed,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainProblem {
    /// The owner's account cannot pay for the write.
    InsufficientFunds,
    /// A write costs more than the configuration allows.
    FeeTooHigh,
    /// The provider serves another chain than the one configured.
    WrongChain,
    /// No contract is at the address, or another one.
    WrongContract,
    /// Its blocks are not numbered as the contract numbers them.
    UnsupportedChain,
    /// Providers contradict each other.
    RpcDisagree,
    /// Anything else.
    Other,
}

/// A shard or node that could not be used, as listed in errors and warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The node.
    pub node: NodeId,
    /// Its address, as last known.
    pub address: String,
    /// The shard's index, when one shard is meant.
    pub shard: Option<u8>,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a shard or its node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// Bytes that do not belong to the shard's hash.
    #[error("corrupt")]
    Corrupt,
    /// The node answers and does not have the shard.
    #[error("missing")]
    Missing,
    /// The node cannot be used.
    #[error("{0}")]
    Peer(PeerProblem),
}

impl Fault {
    pub(crate) fn new(node: NodeId, address: &str, shard: Option<u8>, kind: FaultKind) -> Self {
        Self { node, address: address.to_owned(), shard, kind }
    }

    fn place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(shard) = self.shard {
            write!(f, "shard {shard} on ")?;
        }
        write!(f, "node {} at {}", self.node.short(), self.address)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place(f)?;
        write!(f, ": {}", self.kind)
    }
}

/// Each cause once, after all those it struck.
struct Excluded<'a>(&'a [Fault]);

impl fmt::Display for Excluded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<&FaultKind> = Vec::new();
        for fault in self.0 {
            if !kinds.contains(&&fault.kind) {
                kinds.push(&fault.kind);
            }
        }
        for (i, kind) in kinds.into_iter().enumerate() {
            f.write_str(if i == 0 { " (" } else { "; " })?;
            for (j, fault) in self.0.iter().filter(|fault| fault.kind == *kind).enumerate() {
                f.write_str(if j == 0 { "" } else { ", " })?;
                fault.place(f)?;
            }
            write!(f, ": {kind}")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

fn took_effect(path: &str) -> String {
    if path.is_empty() { "the write took effect".to_owned() } else { format!("{path:?} was written") }
}

impl Error {
    /// Every word that [`Error::code`] gives, each once.
    pub const CODES: &'static [&'static str] = Code::WORDS;

    /// The stable code word of the cause, as in the CLI's `code` field: one of [`Error::CODES`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.cause().word()
    }

    fn cause(&self) -> Code {
        match self {
            Self::InvalidPath { .. } => Code::InvalidPath,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::VersionConflict { .. } => Code::VersionConflict,
            Self::NotEnoughNodes { .. } => Code::NotEnoughNodes,
            Self::NotEnoughShards { .. } => Code::NotEnoughShards,
            Self::Unrecoverable { .. } => Code::Unrecoverable,
            Self::Integrity { .. } => Code::Integrity,
            Self::Superseded { .. } => Code::Superseded,
            Self::UnknownOutcome { .. } => Code::UnknownOutcome,
            Self::Config { .. } => Code::Config,
            Self::Locked { .. } => Code::Locked,
            Self::Internal { .. } => Code::Internal,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Code::NotFound,
                io::ErrorKind::PermissionDenied => Code::PermissionDenied,
                io::ErrorKind::StorageFull => Code::NoSpace,
                io::ErrorKind::AlreadyExists => Code::AlreadyExists,
                io::ErrorKind::AddrInUse
                | io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::InvalidFilename => Code::Config,
                _ => Code::Internal,
            },
            Self::Chain { problem, .. } => match problem {
                ChainProblem::InsufficientFunds => Code::InsufficientFunds,
                ChainProblem::FeeTooHigh => Code::FeeTooHigh,
                ChainProblem::WrongChain => Code::WrongChain,
                ChainProblem::WrongContract => Code::WrongContract,
                ChainProblem::UnsupportedChain | ChainProblem::RpcDisagree | ChainProblem::Other => Code::Chain,
            },
            Self::Peer { problem, .. } => match problem {
                PeerProblem::Timeout(_) => Code::Timeout,
                PeerProblem::Busy => Code::Busy,
                PeerProblem::NoSpace => Code::NoSpace,
                PeerProblem::Denied => Code::PermissionDenied,
                PeerProblem::Missing => Code::NotFound,
                PeerProblem::Unavailable
                | PeerProblem::NoWayBack
                | PeerProblem::WrongKeyOrNetwork
                | PeerProblem::Version(..)
                | PeerProblem::Protocol
                | PeerProblem::Failed => Code::Unavailable,
            },
        }
    }

    /// Whether the same call can succeed later without a change by the caller.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.cause().is_retryable()
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    pub(crate) fn config(what: impl Into<String>) -> Self {
        Self::Config { what: what.into() }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.cause().kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_this_machine_that_cannot_be_what_it_was_named_for_is_a_matter_of_configuration() {
        for (kind, code) in [
            (io::ErrorKind::IsADirectory, "config"),
            (io::ErrorKind::NotADirectory, "config"),
            (io::ErrorKind::InvalidInput, "config"),
            (io::ErrorKind::InvalidFilename, "config"),
            (io::ErrorKind::AddrInUse, "config"),
            (io::ErrorKind::NotFound, "not_found"),
            (io::ErrorKind::StorageFull, "no_space"),
            (io::ErrorKind::AlreadyExists, "already_exists"),
            (io::ErrorKind::BrokenPipe, "internal"),
        ] {
            assert_eq!(Error::io("cannot read x", kind.into()).code(), code, "{kind}");
        }
    }

    #[test]
    fn a_cause_is_named_once_after_all_that_it_struck() {
        let fault = |node, shard, kind| Fault::new(NodeId::new([node; 20]), "host:1", Some(shard), kind);
        let missing = vec![
            fault(1, 0, FaultKind::Peer(PeerProblem::Unavailable)),
            fault(2, 1, FaultKind::Missing),
            fault(1, 4, FaultKind::Peer(PeerProblem::Unavailable)),
        ];
        let text = Error::NotEnoughShards { found: 3, needed: 4, missing }.to_string();
        assert_eq!(
            text,
            "found 3 shards of the 4 needed (shard 0 on node 01010101 at host:1, shard 4 on node 01010101 at host:1: \
             cannot be reached; shard 1 on node 02020202 at host:1: missing)"
        );
    }

    #[test]
    fn a_key_file_that_is_there_already_is_no_internal_failure() {
        let error = Error::io("cannot write me.key", io::ErrorKind::AlreadyExists.into());
        assert_eq!((error.code(), error.is_retryable()), ("already_exists", false));
    }
}
