//! What travels between client, node and registry, as values (docs/wire.md sections 5 to 8).
//!
//! The order of variants and fields is the format: append, never reorder.

mod codec;
mod copies;
mod invite;
mod signed;

use serde::{Deserialize, Serialize};

use crate::id::{CopyId, NodeId, ShardRoot};
use crate::rt::Timestamp;

pub use codec::{Malformed, decode, encode};
pub use copies::{CopyItem, CopyOffer, CopyQuery};
pub use invite::Invite;
pub use signed::{
    CapabilityKey, Deletion, InviteTerms, MAX_ENDPOINT_LEN, MAX_ENDPOINTS, MAX_ZONE_LEN, NodeRecord, PutOffer, Receipt,
    Rights, ShardName, Signable, Signed, Token, is_endpoint,
};

/// The longest control message, bytes; node lists may be longer.
pub const MAX_CONTROL_LEN: usize = 64 * 1024;
/// The longest node list, bytes.
pub const MAX_NODE_LIST_LEN: usize = 1024 * 1024;
/// The most nodes in one list.
pub const MAX_LISTED: usize = 2048;
/// The most blocks in one `Read` or `Hashes`.
pub const MAX_READ_BLOCKS: u64 = 1024;
/// The longest shard that `PutSmall` takes, bytes.
pub const MAX_SMALL_LEN: usize = 48 * 1024;
/// How far two clocks may differ.
pub const CLOCK_SKEW: std::time::Duration = std::time::Duration::from_secs(120);
/// The longest lease, and the default one.
pub const MAX_LEASE: std::time::Duration = std::time::Duration::from_secs(90 * 24 * 3600);

/// What a client asks of a storage node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NodeRequest {
    /// 0: how is the node? Answer: `Info`.
    Info,
    /// 1: store a shard. Answer: `PutReady`, then the body and [`PutEnd`] go out, then `Stored`; or at once `Stored`
    /// when the shard is durable there already.
    PutBegin(Signed<PutOffer>),
    /// 2: store the small shard whose body follows at once. Answer: `Stored`.
    PutSmall(Signed<PutOffer>),
    /// 3: prove blocks. Answer: `Blocks`, without a body.
    Hashes(BlockRequest),
    /// 4: read blocks. Answer: `Blocks`, then a body with the bytes.
    Read(BlockRequest),
    /// 5: how is a shard? Answer: `Status`.
    Stat(Signed<Token>),
    /// 6: keep a shard longer. Answer: `Stored`, with the new lease.
    Renew {
        /// A token with the right `Renew`.
        token: Signed<Token>,
        /// For how long from now, milliseconds.
        lease: u64,
    },
    /// 7: retire a shard. Answer: `Deleted`, also when it was gone already.
    Delete(Signed<Deletion>),
    /// 8: keep a copy of a record. Answer: `CopyStored`.
    PutCopy {
        /// Whose copy, and which.
        offer: Signed<CopyOffer>,
        /// Its bytes, as [`seal_copy`](crate::copy::seal_copy) makes them.
        body: Vec<u8>,
    },
    /// 9: read the copy of one file's record. Answer: `Copies`, with one or two versions of it.
    GetCopy(Signed<CopyQuery>),
    /// 10: list the copies that the transport key of this connection has stored. Answer: `Copies`.
    ListCopies {
        /// Where the last page ended; `None` for the first one.
        cursor: Option<CopyId>,
    },
    /// 11: reserved.
    Transfer(Reserved),
    /// 12: let the key of this connection store shards from now on. Answer: `Info`.
    Accept(Invite),
}

/// What a request holds that does not exist yet: nothing decodes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reserved {}

impl NodeRequest {
    /// Whether a message begins with the number of a request of this version.
    #[must_use]
    pub fn is_served(message: &[u8]) -> bool {
        message.first().is_some_and(|number| matches!(number, 0..=10 | 12))
    }
}

/// Blocks of a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockRequest {
    /// A token with the right `Read`.
    pub token: Signed<Token>,
    /// The first block.
    pub first: u64,
    /// How many blocks, 1 to [`MAX_READ_BLOCKS`].
    pub count: u64,
}

/// Follows the body of a `PutBegin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutEnd {
    /// The hash of the whole shard.
    pub root: ShardRoot,
}

/// What a storage node answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NodeReply {
    /// 0: the node's state.
    Info(NodeInfo),
    /// 1: the body may come.
    PutReady {
        /// Blocks of an earlier attempt that the node still holds: the body starts after them.
        have: u64,
        /// The BLAKE3 hash of those blocks; that of no bytes when there are none.
        root: ShardRoot,
    },
    /// 2: the shard is durable.
    Stored(Signed<Receipt>),
    /// 3: what was asked of a shard.
    Blocks {
        /// Chaining values that prove the blocks (docs/format.md section 6).
        proof: Vec<[u8; 32]>,
        /// Until when the node keeps the shard.
        lease_until: Timestamp,
    },
    /// 4: the state of a shard.
    Status(ShardStatus),
    /// 5: it is retired, or was never here.
    Deleted,
    /// 6: the copy is durable, or two higher versions of it are.
    CopyStored {
        /// The highest version that the node keeps.
        version: u32,
        /// Until when it keeps them.
        lease_until: Timestamp,
    },
    /// 7: copies, in the order of their ids and versions; the versions of one id stand in one page.
    Copies {
        /// The copies.
        items: Vec<CopyItem>,
        /// Where the next page starts; `None` after the last one.
        next: Option<CopyId>,
    },
}

/// The state of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Bytes the node offers in all.
    pub capacity: u64,
    /// Bytes of shards held.
    pub used: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Shards held.
    pub shards: u64,
    /// The node's clock.
    pub time: Timestamp,
    /// The version of dstore it runs.
    pub version: String,
    /// Shards of those held that were found damaged.
    pub damaged: u64,
    /// Whether it takes no new shards.
    pub draining: bool,
}

/// The state of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// Its hash.
    pub root: ShardRoot,
    /// Its length, bytes.
    pub len: u64,
    /// Until when the node keeps it.
    pub lease_until: Timestamp,
    /// Whether it serves.
    pub health: ShardHealth,
}

/// Whether a shard serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardHealth {
    /// It does.
    Live,
    /// Deleted; reads are still served for a while.
    Retired,
    /// Its bytes were found damaged.
    Damaged,
}

/// What a node or a client asks of a registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RegistryRequest {
    /// 0: list this node. Answer: `Registered`.
    Register(Signed<NodeRecord>),
    /// 1: the node of this connection is alive. Answer: `Alive`.
    Heartbeat(Heartbeat),
    /// 2: the node of this connection leaves. Answer: `Deregistered`.
    Deregister,
    /// 3: nodes that can take new shards. Answer: `Nodes` or `NotEnough`.
    ListForUpload,
    /// 4: every node that is known, with its state. Answer: `Nodes`.
    ListAll,
    /// 5: these nodes. Answer: `Nodes`, without those that are unknown.
    Lookup(Vec<NodeId>),
}

/// How a node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes of shards held.
    pub used: u64,
    /// Connections that are open.
    pub connections: u32,
    /// Whether it takes no new shards.
    pub draining: bool,
}

/// What a registry answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RegistryReply {
    /// 0: the node is listed.
    Registered {
        /// How often the registry expects a heartbeat, milliseconds.
        heartbeat: u64,
    },
    /// 1: the heartbeat counts. `known` is false when the node must register again.
    Alive {
        /// Whether the registry lists the node.
        known: bool,
    },
    /// 2: the node is no longer listed.
    Deregistered,
    /// 3: nodes.
    Nodes {
        /// At most [`MAX_LISTED`].
        nodes: Vec<ListedNode>,
        /// How many active nodes an upload needs.
        required: u32,
    },
    /// 4: fewer active nodes than an upload needs.
    NotEnough {
        /// Active nodes.
        active: u32,
        /// How many an upload needs.
        required: u32,
    },
}

/// A node, as a registry sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedNode {
    /// What the node says of itself.
    pub record: Signed<NodeRecord>,
    /// What the registry says of it.
    pub state: NodeState,
    /// When the registry last heard of it.
    pub last_seen: Timestamp,
    /// Its last heartbeat.
    pub heartbeat: Heartbeat,
}

/// Whether a registry counts on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeState {
    /// Heartbeats arrive.
    Active,
    /// Some are missing; or the registry has just been restarted.
    Suspect,
    /// It came and went too often.
    Quarantined,
    /// It takes no new shards.
    Draining,
}

impl NodeState {
    /// The word for it in lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspect => "suspect",
            Self::Quarantined => "quarantined",
            Self::Draining => "draining",
        }
    }
}

/// Why a peer refuses, as a number on the wire. No text of a peer ever travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 1: the message has no meaning.
    #[error("the message was malformed")]
    Malformed,
    /// 2: the message is of a kind that is not served here.
    #[error("the request is not supported")]
    Unsupported,
    /// 3: no authority for this, or nothing there: without authority both look the same.
    #[error("permission denied")]
    Denied,
    /// 4: with authority, but nothing there.
    #[error("no such shard")]
    NotFound,
    /// 5: at a limit; later it may work.
    #[error("busy")]
    Busy,
    /// 6: no room.
    #[error("no space left")]
    NoSpace,
    /// 7: the caller's quota is used up.
    #[error("the quota is used up")]
    Quota,
    /// 8: the stored bytes are damaged.
    #[error("the shard is damaged")]
    Damaged,
    /// 9: the body does not have the announced length or hash.
    #[error("the body does not match its announcement")]
    Mismatch,
    /// 10: expired, not yet valid, or the clocks differ too much.
    #[error("expired, or the clocks differ by more than 120 s")]
    Expired,
    /// 11: the registry could not reach the node at its own endpoint.
    #[error("the registry could not reach the node at the address it announces")]
    Unreachable,
    /// 12: it failed inside.
    #[error("internal failure")]
    Failed,
    /// Another number.
    #[error("refused with code {0}")]
    Other(u16),
}

impl Refusal {
    /// Its name in docs/wire.md section 10, as logs and counters spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Busy => "busy",
            Self::NoSpace => "no_space",
            Self::Quota => "quota",
            Self::Damaged => "damaged",
            Self::Mismatch => "mismatch",
            Self::Expired => "expired",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
            Self::Other(_) => "other",
        }
    }
}

impl From<u16> for Refusal {
    fn from(code: u16) -> Self {
        match code {
            1 => Self::Malformed,
            2 => Self::Unsupported,
            3 => Self::Denied,
            4 => Self::NotFound,
            5 => Self::Busy,
            6 => Self::NoSpace,
            7 => Self::Quota,
            8 => Self::Damaged,
            9 => Self::Mismatch,
            10 => Self::Expired,
            11 => Self::Unreachable,
            12 => Self::Failed,
            other => Self::Other(other),
        }
    }
}

impl From<Refusal> for u16 {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed => 1,
            Refusal::Unsupported => 2,
            Refusal::Denied => 3,
            Refusal::NotFound => 4,
            Refusal::Busy => 5,
            Refusal::NoSpace => 6,
            Refusal::Quota => 7,
            Refusal::Damaged => 8,
            Refusal::Mismatch => 9,
            Refusal::Expired => 10,
            Refusal::Unreachable => 11,
            Refusal::Failed => 12,
            Refusal::Other(code) => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_reads_back_from_its_number() {
        for code in 0..200 {
            assert_eq!(u16::from(Refusal::from(code)), code);
        }
    }

    #[test]
    fn the_numbers_of_requests_and_replies_are_those_of_the_document() {
        assert_eq!(encode(&NodeRequest::Info), [0]);
        let terms = InviteTerms { node: NodeId::new([0; 20]), id: [0; 16], not_after: Timestamp::default() };
        let key = crate::signature::SecretKey::new(&[1; 32]).expect("valid");
        let accept = NodeRequest::Accept(Signed::new(&terms, &key, crate::id::NetworkId::new([0; 32]), &[]));
        assert_eq!(encode(&accept)[0], 12);
        assert!(decode::<NodeRequest>("request", &[11]).is_err());
        assert_eq!(encode(&NodeReply::Deleted), [5]);
        assert_eq!(encode(&NodeRequest::ListCopies { cursor: None }), [10, 0]);
        assert_eq!(encode(&NodeReply::Copies { items: vec![], next: None }), [7, 0, 0]);
        let ready = NodeReply::PutReady { have: 0, root: ShardRoot::new([7; 32]) };
        assert_eq!(encode(&ready), [&[1, 0][..], &[7; 32]].concat());
        assert_eq!(encode(&RegistryRequest::Lookup(vec![])), [5, 0]);
        assert_eq!(encode(&RegistryReply::NotEnough { active: 2, required: 3 }), [4, 2, 3]);
    }
}
