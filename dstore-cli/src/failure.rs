//! How a command ends when it does not end well: code word, exit code, text and hints.

use std::error::Error as _;
use std::io;

use dstore::Error;
use dstore::error::{ChainProblem, Fault, FaultKind, PeerProblem};

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The stable word of the cause.
    pub(crate) code: &'static str,
    /// What the process exits with.
    pub(crate) exit: u8,
    /// One line, for people.
    pub(crate) message: String,
    /// What the user can do.
    pub(crate) hints: Vec<String>,
    /// The causes behind the message, shown with -v.
    pub(crate) causes: Vec<String>,
    /// Whether the same command can succeed later.
    pub(crate) retryable: bool,
    /// Whether people have been told already.
    pub(crate) printed: bool,
}

/// What commands return.
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Standard output was closed by its reader: no failure, but the end.
pub(crate) const BROKEN_PIPE: &str = "broken_pipe";
/// Ended by a signal.
pub(crate) const INTERRUPTED: &str = "interrupted";

impl Failure {
    /// A failure with a code word and a text.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            exit: exit_code(code),
            message: message.into(),
            hints: Vec::new(),
            causes: Vec::new(),
            retryable: false,
            printed: false,
        }
    }

    /// A command line that cannot be obeyed.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", message)
    }

    /// Adds what the user can do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// This machine's file failed.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Error::Io { what: what.into(), source }.into()
    }

    /// Ended by this signal.
    pub(crate) fn interrupted(signal: u8) -> Self {
        Self { exit: 128 + signal, ..Self::new(INTERRUPTED, "interrupted") }
    }

    /// Standard output failed; when its reader has gone away that is no error.
    pub(crate) fn stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { exit: 0, ..Self::new(BROKEN_PIPE, "standard output was closed") },
            // Whatever it is, trying again later does not help: "no space left" would say so.
            _ => Self::new("internal", format!("cannot write to standard output: {}", error.kind())),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self {
            code: error.code(),
            exit: exit_code(error.code()),
            message: message(&error),
            hints: hint(&error).map(ToOwned::to_owned).into_iter().chain(key_hint(&error)).collect(),
            causes,
            retryable: error.is_retryable(),
            printed: false,
        }
    }
}

fn message(error: &Error) -> String {
    match error {
        Error::Io { what, source } if source.kind() == io::ErrorKind::NotFound => {
            format!("{what}: no such file or folder")
        }
        error => error.to_string(),
    }
}

/// The code words of each exit code: our own, and those of the library in the order of [`Error::CODES`].
const EXITS: [(u8, &[&str]); 12] = [
    (1, &["internal"]),
    (2, &["usage", "invalid_path", "too_large"]),
    (3, &["partial"]),
    (4, &["not_found"]),
    (
        5,
        &[
            "unavailable",
            "timeout",
            "busy",
            "not_enough_nodes",
            "not_enough_shards",
            "no_space",
            "superseded",
            "unknown_outcome",
        ],
    ),
    (6, &["integrity", "unrecoverable"]),
    (7, &["permission_denied"]),
    (8, &["config"]),
    (9, &["already_exists", "version_conflict"]),
    (10, &["insufficient_funds", "wrong_chain", "wrong_contract", "fee_too_high", "chain"]),
    (11, &["degraded"]),
    (12, &["locked"]),
];

/// The exit code of a code word.
fn exit_code(code: &str) -> u8 {
    EXITS.iter().find(|(_, words)| words.contains(&code)).map_or(1, |(exit, _)| *exit)
}

/// What the user can do about an error.
fn hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::NotFound { .. } => Some("`dstore-cli ls` lists the files that are there"),
        Error::AlreadyExists { .. } => Some("choose another path, or replace it with --mode overwrite"),
        Error::VersionConflict { .. } => Some("nothing was changed; see what is there now with `dstore-cli stat`"),
        Error::NotEnoughNodes { .. } => {
            Some("nothing was stored; `dstore-cli doctor` says which nodes can be used, `dstore-cli node run` adds one")
        }
        Error::NotEnoughShards { missing, .. } if !missing.is_empty() && missing.iter().all(is_handshake) => {
            Some("check the label given with --network")
        }
        Error::NotEnoughShards { .. } => Some("the file can be read again once enough of these nodes are back"),
        Error::Superseded { .. } => Some("try again to read the new version"),
        Error::UnknownOutcome { .. } => Some("see what is there with `dstore-cli stat` before you try again"),
        Error::Peer { problem: PeerProblem::WrongKeyOrNetwork, .. } => {
            Some("check the address after dsr1: and the label given with --network")
        }
        Error::Peer { problem: PeerProblem::Unavailable | PeerProblem::Timeout(_), .. } => {
            Some("`dstore-cli doctor` looks at the ledger, registries and nodes, and says what to do")
        }
        Error::Chain { problem, .. } => chain_hint(*problem),
        Error::Io { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            Some("another program listens there: stop it, or choose another port with --listen")
        }
        _ => None,
    }
}

/// What the user can do where only a chain refuses.
fn chain_hint(problem: ChainProblem) -> Option<&'static str> {
    match problem {
        ChainProblem::InsufficientFunds => Some(
            "send ETH of that chain to the address that `dstore-cli wallet address` prints (of a test network, a faucet \
             gives some); `put --dry-run` and `contract deploy --dry-run` say how much is needed",
        ),
        ChainProblem::FeeTooHigh => Some("wait until the chain is less busy, or allow more with --max-fee GWEI"),
        ChainProblem::WrongChain => {
            Some("name the chain of the provider with --chain, or set ETH_RPC_URL to a provider of the chain you mean")
        }
        ChainProblem::WrongContract => {
            Some("check --contract and --chain; `dstore-cli contract deploy` puts a contract of your own on the chain")
        }
        ChainProblem::UnsupportedChain => {
            Some("use another chain: Ethereum itself, or one that numbers its blocks as it does")
        }
        ChainProblem::RpcDisagree => {
            Some("one of the providers in ETH_RPC_URL is behind or lies: try later, or leave it out")
        }
        _ => None,
    }
}

/// What a node that does not know this client has to be told.
fn key_hint(error: &Error) -> Option<String> {
    let Error::NotEnoughNodes { refused, .. } = error else { return None };
    let denied = refused.iter().find(|fault| fault.kind == FaultKind::Peer(PeerProblem::Denied))?;
    let (node, short) = (denied.node, denied.node.short());
    Some(format!(
        "node {short} does not take shards from you: ask its operator for an invite that nobody has used yet \
         (--invite), or to allow the key that this prints: dstore-cli wallet transport-key {node}"
    ))
}

fn is_handshake(fault: &Fault) -> bool {
    fault.kind == FaultKind::Peer(PeerProblem::WrongKeyOrNetwork)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_library_has_its_exit_code_and_the_others_are_ours() {
        let ours = ["usage", "partial", "degraded"];
        let words: Vec<_> = EXITS.iter().flat_map(|(_, words)| *words).copied().collect();
        let theirs: Vec<_> = words.iter().copied().filter(|word| !ours.contains(word)).collect();
        assert_eq!(theirs, Error::CODES);
        assert_eq!(words.len(), theirs.len() + ours.len());
    }

    #[test]
    fn every_cause_has_the_exit_code_of_the_table() {
        for (code, exit) in [
            ("internal", 1),
            ("invalid_path", 2),
            ("partial", 3),
            ("not_found", 4),
            ("not_enough_shards", 5),
            ("no_space", 5),
            ("unrecoverable", 6),
            ("permission_denied", 7),
            ("config", 8),
            ("version_conflict", 9),
            ("insufficient_funds", 10),
            ("fee_too_high", 10),
            ("wrong_chain", 10),
            ("wrong_contract", 10),
            ("chain", 10),
            ("locked", 12),
        ] {
            assert_eq!(Failure::new(code, "").exit, exit, "{code}");
        }
        assert_eq!(Failure::interrupted(2).exit, 130);
        assert_eq!(Failure::interrupted(15).exit, 143);
        assert_eq!(Failure::stdout(io::ErrorKind::BrokenPipe.into()).exit, 0);
        assert_eq!(Failure::stdout(io::ErrorKind::StorageFull.into()).exit, 1);
    }
}
