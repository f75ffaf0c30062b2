//! What a client says of a file.

use crate::copy::RecordCopy;
use crate::error::PeerProblem;
use crate::id::{FileId, LedgerId, NodeId};
use crate::ledger::EventKind;
use crate::manifest::Manifest;
use crate::path::FilePath;
use crate::rt::Timestamp;
use crate::scheme::Scheme;

/// A file, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// Its path.
    pub path: FilePath,
    /// Its id on the ledger.
    pub file_id: FileId,
    /// Its version there.
    pub version: u32,
    /// Its length, bytes.
    pub size: u64,
    /// Its length with padding, bytes.
    pub padded: u64,
    /// When this content was stored.
    pub created: Timestamp,
    /// Data and parity shards.
    pub scheme: Scheme,
    /// BLAKE3 of the content.
    pub content_hash: [u8; 32],
    /// Where the shards are.
    pub shards: Vec<ShardHome>,
    /// How many nodes may vanish, whichever they are.
    pub tolerates_nodes: usize,
    /// Names and values of the user's own.
    pub attributes: Vec<(String, String)>,
}

/// Where one shard is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardHome {
    /// Its index: data shards first.
    pub index: u8,
    /// Its node.
    pub node: NodeId,
    /// The node's address, as last known.
    pub address: String,
    /// Its length, bytes.
    pub bytes: u64,
}

/// A shard and what its node says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardCheck {
    /// Where it is.
    pub home: ShardHome,
    /// How it is.
    pub state: ShardHealth,
}

/// How a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShardHealth {
    /// Its node has it, with the right hash and length.
    Ok,
    /// Its node answers, and does not have it.
    Missing,
    /// Its node has found it damaged, or has another one.
    Corrupt,
    /// Its node cannot be asked.
    Unreachable,
}

impl ShardHealth {
    /// The stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::Unreachable => "unreachable",
        }
    }
}

/// One version of a file, as the ledger remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileVersion {
    /// Its number; 1 is the first.
    pub version: u32,
    /// What made it.
    pub kind: EventKind,
    /// When the ledger took it; when its content was stored, if the ledger no longer tells.
    pub written: Timestamp,
    /// The file at this version; `None` when `kind` says that it was gone, and when the ledger no longer gives its record
    /// out. The shards of a version that was replaced are freed after a day.
    pub head: Option<Head>,
}

/// A write that is durable on its nodes and on the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The file as it is now.
    pub head: Head,
    /// Bytes that are stored, parity included.
    pub stored: u64,
    /// Bytes of them that nodes had already from an earlier attempt, and that did not travel again.
    pub resumed: u64,
}

/// What the nodes know of an owner's files: [`Client::recover`](crate::Client::recover) finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The ledgers that were found, the one with most files first.
    pub ledgers: Vec<RecoveredLedger>,
    /// Every node that was asked, in the order of their ids.
    pub nodes: Vec<RecoveryNode>,
    /// Why this client's own ledger did not tell all that it knows of its files; `None` when it did.
    pub ledger_problem: Option<String>,
}

/// What the nodes know of the files of one ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredLedger {
    /// Which ledger.
    pub id: LedgerId,
    /// The files that were there, in the order of their paths.
    pub files: Vec<RecoveredFile>,
    /// The newest version of each file, removed ones too: what [`LocalLedger::restore`](crate::LocalLedger::restore) takes.
    pub versions: Vec<RecordCopy>,
}

/// A file that was found again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredFile {
    /// The file, in the highest version that was found.
    pub head: Head,
    /// Its shards, as their nodes say.
    pub shards: Vec<ShardCheck>,
    /// Whether a later version may be known, or that it was removed: to a node that holds some of it and did not answer,
    /// or to this client's own ledger, which did not tell, or has the later version without its record.
    pub may_be_older: bool,
}

/// A node that was asked for copies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryNode {
    /// Who.
    pub id: NodeId,
    /// Its address, as last known.
    pub address: String,
    /// Copies that it gave and that open.
    pub copies: usize,
    /// Copies that it gave and that do not open: it is faulty, or a newer dstore made them.
    pub strange: usize,
    /// Why it did not give all that it has.
    pub problem: Option<PeerProblem>,
}

impl Head {
    pub(crate) fn new(file_id: FileId, version: u32, manifest: &Manifest) -> Self {
        let homes = manifest.shards.iter().zip(0_u8..).map(|(shard, index)| {
            let node = &manifest.nodes[usize::from(shard.node)];
            ShardHome { index, node: node.id, address: node.hint.clone(), bytes: manifest.shard_len }
        });
        Self {
            path: manifest.path.clone(),
            file_id,
            version,
            size: manifest.size,
            padded: manifest.padded,
            created: manifest.created,
            scheme: manifest.scheme,
            content_hash: manifest.content_hash,
            shards: homes.collect(),
            tolerates_nodes: manifest.tolerates(),
            attributes: manifest.attributes.clone(),
        }
    }
}
