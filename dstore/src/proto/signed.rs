//! Statements that carry their signature (docs/wire.md section 6).
//!
//! Invariant: the bytes that were signed are the bytes that travel; a value comes out only after its signature held.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codec::{decode, encode};
use crate::id::{NetworkId, NodeId, NoiseKey, ShardId, ShardRoot};
use crate::keys::shard_id;
use crate::rt::Timestamp;
use crate::signature::{SecretKey, Signature, Statement};

/// A kind of statement, its name in errors, and the key that signs it.
pub trait Signable: Serialize + DeserializeOwned {
    /// Its tag.
    const STATEMENT: Statement;
}

/// A statement and its signature. What it says can be read only by checking who said it.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Signed<T> {
    bytes: Vec<u8>,
    signature: Signature,
    #[serde(skip)]
    says: PhantomData<fn() -> T>,
}

impl<T: Signable> Signed<T> {
    /// Signs `value`; `session` is the handshake hash for statements that hold on one connection only, else empty.
    #[must_use]
    pub fn new(value: &T, key: &SecretKey, network: NetworkId, session: &[u8]) -> Self {
        let bytes = encode(value);
        let signature = key.sign(T::STATEMENT, network, &[session, &bytes]);
        Self { bytes, signature, says: PhantomData }
    }

    /// What is said, if the key that `by` finds in it signed it.
    pub(super) fn open(&self, network: NetworkId, session: &[u8], by: impl FnOnce(&T) -> Signer) -> Option<T> {
        let value: T = decode("signed statement", &self.bytes).ok()?;
        let parts = [session, &self.bytes];
        let holds = match by(&value) {
            Signer::Node(id) => self.signature.is_by(id, T::STATEMENT, network, &parts),
            Signer::Capability(key) => self.signature.is_by_key(key.as_bytes(), T::STATEMENT, network, &parts),
        };
        holds.then_some(value)
    }
}

impl<T> Signed<T> {
    /// Whether both are the same bytes under the same signature.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.signature == other.signature
    }
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), signature: self.signature, says: PhantomData }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes, {:?})", self.bytes.len(), self.signature)
    }
}

pub(super) enum Signer {
    Node(NodeId),
    Capability(CapabilityKey),
}

/// The public key of a capability, compressed SEC1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CapabilityKey(#[serde(with = "serde_big_array::BigArray")] [u8; 33]);

impl CapabilityKey {
    /// The key with these bytes, not checked.
    #[must_use]
    pub const fn new(bytes: [u8; 33]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }
}

/// What a shard's address is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ShardName {
    /// Who has authority over it.
    pub capability: CapabilityKey,
    /// Its index in the file.
    pub index: u8,
    /// Which placement of it this is: random, so that no address is used twice.
    pub generation: u32,
}

impl ShardName {
    /// Its address at the node.
    #[must_use]
    pub fn id(&self) -> ShardId {
        shard_id(self.capability.as_bytes(), self.index, self.generation)
    }
}

/// What a node says of itself, for registries to pass on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Who.
    pub id: NodeId,
    /// Its transport key.
    pub noise_key: NoiseKey,
    /// `host:port`, 1 to 4 of them.
    pub endpoints: Vec<String>,
    /// Goes up with every record: the highest one counts.
    pub seq: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it ends to count.
    pub not_after: Timestamp,
    /// Bytes the node offers in all.
    pub capacity: u64,
    /// Bytes that are free.
    pub free: u64,
    /// The operator's label for what fails together; may be empty.
    pub zone: String,
    /// Whether it takes no new shards.
    pub draining: bool,
}

/// The most endpoints of a node.
pub const MAX_ENDPOINTS: usize = 4;
/// The longest `host:port`, bytes.
pub const MAX_ENDPOINT_LEN: usize = 64;
/// The longest zone label, bytes.
pub const MAX_ZONE_LEN: usize = 64;

impl Signable for NodeRecord {
    const STATEMENT: Statement = Statement::NodeRecord;
}

impl Signed<NodeRecord> {
    /// The record, if its node signed it and its lists and texts are within their limits. Times are the caller's to judge.
    #[must_use]
    pub fn record(&self, network: NetworkId) -> Option<NodeRecord> {
        let record = self.open(network, &[], |record| Signer::Node(record.id))?;
        let sane = (1..=MAX_ENDPOINTS).contains(&record.endpoints.len())
            && record.endpoints.iter().all(|e| is_endpoint(e))
            && record.zone.len() <= MAX_ZONE_LEN;
        sane.then_some(record)
    }
}

/// Whether `text` has the form `host:port`, within [`MAX_ENDPOINT_LEN`].
#[must_use]
pub fn is_endpoint(text: &str) -> bool {
    let printable = text.len() <= MAX_ENDPOINT_LEN && text.bytes().all(|b| b.is_ascii_graphic());
    let parts = text.rsplit_once(':');
    // The standard parser takes a plus sign and leading zeros: one address has one form.
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port);
    printable && parts.is_some_and(|(host, port)| !host.is_empty() && is_port(port))
}

/// A node's statement that a shard is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The node that says so.
    pub node: NodeId,
    /// Which shard.
    pub name: ShardName,
    /// Its BLAKE3 hash.
    pub root: ShardRoot,
    /// Its length, bytes.
    pub len: u64,
    /// Until when the node keeps it.
    pub lease_until: Timestamp,
    /// When it said so.
    pub time: Timestamp,
}

impl Signable for Receipt {
    const STATEMENT: Statement = Statement::Receipt;
}

impl Signed<Receipt> {
    /// The receipt, if the node that it names signed it.
    #[must_use]
    pub fn receipt(&self, network: NetworkId) -> Option<Receipt> {
        self.open(network, &[], |receipt| Signer::Node(receipt.node))
    }
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rights {
    /// `Read`, `Hashes` and `Stat`.
    Read,
    /// `Renew` and `Stat`.
    Renew,
}

/// A signed, expiring permission over one shard at one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The node it is for.
    pub node: NodeId,
    /// The shard it is for.
    pub name: ShardName,
    /// What it allows.
    pub rights: Rights,
    /// The only transport key that may use it; `None`: whoever has it.
    pub holder: Option<NoiseKey>,
    /// From when it counts.
    pub not_before: Timestamp,
    /// Until when it counts.
    pub not_after: Timestamp,
}

impl Signable for Token {
    const STATEMENT: Statement = Statement::Token;
}

impl Signed<Token> {
    /// The token, if the capability that it names signed it. Node, holder and times are the caller's to judge.
    #[must_use]
    pub fn token(&self, network: NetworkId) -> Option<Token> {
        self.open(network, &[], |token| Signer::Capability(token.name.capability))
    }
}

/// What a client offers to store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutOffer {
    /// The node it is for.
    pub node: NodeId,
    /// The shard.
    pub name: ShardName,
    /// Its length, bytes; `None` when the source's length is not known.
    pub len: Option<u64>,
    /// For how long the node is asked to keep it, milliseconds.
    pub lease: u64,
    /// Its hash; known beforehand for a small shard only.
    pub root: Option<ShardRoot>,
}

impl Signable for PutOffer {
    const STATEMENT: Statement = Statement::Put;
}

impl Signed<PutOffer> {
    /// The offer, if the capability that it names signed it on the connection with this handshake hash.
    #[must_use]
    pub fn offer(&self, network: NetworkId, session: &[u8; 32]) -> Option<PutOffer> {
        self.open(network, session, |offer| Signer::Capability(offer.name.capability))
    }
}

/// What a client wants to be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// The node it is for.
    pub node: NodeId,
    /// The shard.
    pub name: ShardName,
}

impl Signable for Deletion {
    const STATEMENT: Statement = Statement::Delete;
}

impl Signed<Deletion> {
    /// The deletion, if the capability that it names signed it on the connection with this handshake hash.
    #[must_use]
    pub fn deletion(&self, network: NetworkId, session: &[u8; 32]) -> Option<Deletion> {
        self.open(network, session, |deletion| Signer::Capability(deletion.name.capability))
    }
}

/// What an invite says: whoever presents it first may store shards at a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteTerms {
    /// The node that invites.
    pub node: NodeId,
    /// Random: no two invites are the same.
    pub id: [u8; 16],
    /// Until when it can be presented.
    pub not_after: Timestamp,
}

impl Signable for InviteTerms {
    const STATEMENT: Statement = Statement::Invite;
}

impl Signed<InviteTerms> {
    /// What it says, if the node that it names signed it. Its time is the caller's to judge.
    #[must_use]
    pub fn terms(&self, network: NetworkId) -> Option<InviteTerms> {
        self.open(network, &[], |terms| Signer::Node(terms.node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId::new([7; 32]);

    fn key(byte: u8) -> SecretKey {
        SecretKey::new(&[byte; 32]).expect("valid")
    }

    fn name(key: &SecretKey) -> ShardName {
        ShardName { capability: CapabilityKey::new(key.public_key()), index: 3, generation: 9 }
    }

    fn offer(key: &SecretKey) -> PutOffer {
        PutOffer { node: NodeId::new([4; 20]), name: name(key), len: Some(64), lease: 1000, root: None }
    }

    #[test]
    fn an_offer_holds_on_its_own_connection_only() {
        let key = key(1);
        let signed = Signed::new(&offer(&key), &key, NETWORK, &[1; 32]);
        assert_eq!(signed.offer(NETWORK, &[1; 32]), Some(offer(&key)));
        assert_eq!(signed.offer(NETWORK, &[2; 32]), None);
        assert_eq!(signed.offer(NetworkId::new([8; 32]), &[1; 32]), None);
    }

    #[test]
    fn nobody_else_can_offer_delete_or_read_a_shard() {
        let (owner, thief) = (key(1), key(2));
        assert_eq!(Signed::new(&offer(&owner), &thief, NETWORK, &[1; 32]).offer(NETWORK, &[1; 32]), None);
        let deletion = Deletion { node: NodeId::new([4; 20]), name: name(&owner) };
        assert_eq!(Signed::new(&deletion, &thief, NETWORK, &[1; 32]).deletion(NETWORK, &[1; 32]), None);
        assert!(Signed::new(&deletion, &owner, NETWORK, &[1; 32]).deletion(NETWORK, &[1; 32]).is_some());
    }

    #[test]
    fn records_with_odd_endpoints_are_refused() {
        let key = key(1);
        let record = |endpoints: &[&str]| NodeRecord {
            id: NodeId::new(key.address()),
            noise_key: NoiseKey::new([1; 32]),
            endpoints: endpoints.iter().map(|&e| e.to_owned()).collect(),
            seq: 1,
            issued: Timestamp::default(),
            not_after: Timestamp::default(),
            capacity: 1,
            free: 1,
            zone: String::new(),
            draining: false,
        };
        let read = |endpoints: &[&str]| Signed::new(&record(endpoints), &key, NETWORK, &[]).record(NETWORK);
        assert!(read(&["127.0.0.1:1", "[::1]:65535", "a.example:80"]).is_some());
        let long = format!("{}:1", "x".repeat(MAX_ENDPOINT_LEN));
        for bad in [
            &[][..],
            &["x:1"; 5],
            &["x:0"],
            &["x:+1"],
            &["x:01"],
            &["noport"],
            &[":1"],
            &["a:70000"],
            &["a b:1"],
            &["a\n:1"],
            &[&*long],
        ] {
            assert!(read(bad).is_none(), "{bad:?}");
        }
    }
}
