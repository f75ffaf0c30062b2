//! What is said about record copies (docs/wire.md sections 6 and 7): who may store and read them, and how they are listed.

use serde::{Deserialize, Serialize};

use super::signed::{CapabilityKey, Signable, Signed, Signer};
use crate::id::{CopyId, NetworkId, NodeId};
use crate::keys::copy_id;
use crate::signature::Statement;

/// The wish to store a copy of a record at a node, on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOffer {
    /// The node it is for.
    pub node: NodeId,
    /// Who has authority over the copy: its address follows from this.
    pub key: CapabilityKey,
    /// The version of the file.
    pub version: u32,
    /// For how long the copy should be kept, milliseconds.
    pub lease: u64,
    /// The BLAKE3 hash of its body.
    pub hash: [u8; 32],
}

impl CopyOffer {
    /// The address of the copy at the node.
    #[must_use]
    pub fn id(&self) -> CopyId {
        copy_id(self.key.as_bytes())
    }
}

impl Signable for CopyOffer {
    const STATEMENT: Statement = Statement::Copy;
}

impl Signed<CopyOffer> {
    /// The offer, if the key that it names signed it for this connection.
    #[must_use]
    pub fn copy_offer(&self, network: NetworkId, session: &[u8; 32]) -> Option<CopyOffer> {
        self.open(network, session, |offer| Signer::Capability(offer.key))
    }
}

/// The wish to read the copy of one file's record at a node, on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyQuery {
    /// The node it is for.
    pub node: NodeId,
    /// Who has authority over the copy.
    pub key: CapabilityKey,
}

impl CopyQuery {
    /// The address of the copy at the node.
    #[must_use]
    pub fn id(&self) -> CopyId {
        copy_id(self.key.as_bytes())
    }
}

impl Signable for CopyQuery {
    const STATEMENT: Statement = Statement::CopyQuery;
}

impl Signed<CopyQuery> {
    /// The query, if the key that it names signed it for this connection.
    #[must_use]
    pub fn copy_query(&self, network: NetworkId, session: &[u8; 32]) -> Option<CopyQuery> {
        self.open(network, session, |query| Signer::Capability(query.key))
    }
}

/// One version of a copy, as its node keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyItem {
    /// Its address.
    pub id: CopyId,
    /// The version of the file.
    pub version: u32,
    /// The sealed bytes.
    pub body: Vec<u8>,
}
