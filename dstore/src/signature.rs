//! Recoverable secp256k1 signatures, one tag for each kind of statement (docs/format.md section 2).
//!
//! Invariant: what is signed is `tag || network id || bytes`, so a signature of one kind or network is never one of another.

use std::fmt;

use k256::ecdsa::{RecoveryId, Signature as EcdsaSignature, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

use crate::id::{NetworkId, NodeId};

/// What a signature says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// A node record is what its node says of itself.
    NodeRecord,
    /// A shard is durable at a node.
    Receipt,
    /// Its holder may read or renew a shard.
    Token,
    /// A shard may be stored under a capability, on this connection.
    Put,
    /// A shard may be retired, on this connection.
    Delete,
    /// A record copy may be stored, on this connection.
    Copy,
    /// A record copy may be read, on this connection.
    CopyQuery,
    /// The first key that presents it may store shards at a node.
    Invite,
}

impl Statement {
    /// The 32 bytes that stand before what is signed.
    fn tag(self) -> [u8; 32] {
        let name: &[u8] = match self {
            Self::NodeRecord => b"dstore/sig/node-record/v1",
            Self::Receipt => b"dstore/sig/receipt/v1",
            Self::Token => b"dstore/sig/token/v1",
            Self::Put => b"dstore/sig/put/v1",
            Self::Delete => b"dstore/sig/delete/v1",
            Self::Copy => b"dstore/sig/copy/v1",
            Self::CopyQuery => b"dstore/sig/copy-query/v1",
            Self::Invite => b"dstore/sig/invite/v1",
        };
        let mut tag = [0; 32];
        tag[..name.len()].copy_from_slice(name);
        tag
    }

    fn digest(self, network: NetworkId, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = Keccak256::new();
        hasher.update(self.tag());
        hasher.update(network.as_bytes());
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

/// `r || s || v`, with s in the lower half of the group order and v 0 or 1.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "serde_big_array::BigArray")] [u8; 65]);

impl Signature {
    /// The signature with these bytes, not checked.
    #[must_use]
    pub const fn new(bytes: [u8; 65]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    fn recover(&self, digest: &[u8; 32]) -> Option<VerifyingKey> {
        let signature = EcdsaSignature::from_slice(&self.0[..64]).ok()?;
        if self.0[64] > 1 || signature.normalize_s().is_some() {
            return None;
        }
        let recovery = RecoveryId::from_byte(self.0[64])?;
        VerifyingKey::recover_from_prehash(digest, &signature, recovery).ok()
    }

    /// Whether the node `id` signed these parts, one after another.
    #[must_use]
    pub fn is_by(&self, id: NodeId, statement: Statement, network: NetworkId, parts: &[&[u8]]) -> bool {
        self.recover(&statement.digest(network, parts)).is_some_and(|key| address(&key) == *id.as_bytes())
    }

    /// Whether the holder of the public key `cap_pk` signed these parts, one after another.
    #[must_use]
    pub fn is_by_key(&self, cap_pk: &[u8; 33], statement: Statement, network: NetworkId, parts: &[&[u8]]) -> bool {
        let recovered = self.recover(&statement.digest(network, parts));
        recovered.is_some_and(|key| key.to_encoded_point(true).as_bytes() == cap_pk)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", hex::encode(&self.0[..4]))
    }
}

/// A secp256k1 private key. k256 wipes it on drop.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key with this scalar; `None` if it is zero or not below the group order.
    #[must_use]
    pub fn new(scalar: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(scalar).ok().map(Self)
    }

    /// The scalar. Whoever calls this wipes it.
    #[must_use]
    pub fn to_bytes(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes().into())
    }

    /// The Ethereum address of the public key.
    #[must_use]
    pub fn address(&self) -> [u8; 20] {
        address(self.0.verifying_key())
    }

    /// The public key, compressed SEC1.
    #[must_use]
    pub fn public_key(&self) -> [u8; 33] {
        let mut bytes = [0; 33];
        bytes.copy_from_slice(self.0.verifying_key().to_encoded_point(true).as_bytes());
        bytes
    }

    /// Signs these parts, one after another. Deterministic (RFC 6979).
    #[must_use]
    pub fn sign(&self, statement: Statement, network: NetworkId, parts: &[&[u8]]) -> Signature {
        self.sign_digest(&statement.digest(network, parts))
    }

    /// Signs a digest that a format of its own has made, such as that of a transaction.
    #[must_use]
    pub(crate) fn sign_digest(&self, digest: &[u8; 32]) -> Signature {
        let (signature, recovery) = self
            .0
            .sign_prehash_recoverable(digest)
            .expect("a 32-byte digest can be signed: RFC 6979 tries until it has a nonce");
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = recovery.to_byte();
        Signature(bytes)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

fn address(key: &VerifyingKey) -> [u8; 20] {
    let point = key.to_encoded_point(false);
    let hash = Keccak256::digest(&point.as_bytes()[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId::new([7; 32]);

    fn key() -> SecretKey {
        SecretKey::new(&[1; 32]).expect("valid")
    }

    #[test]
    fn the_address_is_the_ethereum_one() {
        // Key 1 and its address: the best known pair of all.
        let mut one = [0; 32];
        one[31] = 1;
        let address = SecretKey::new(&one).expect("valid").address();
        assert_eq!(hex::encode(address), "7e5f4552091a69125d5dfcb7b8c2659029395bdf");
    }

    #[test]
    fn zero_and_the_group_order_are_no_keys() {
        assert!(SecretKey::new(&[0; 32]).is_none());
        assert!(SecretKey::new(&[0xff; 32]).is_none());
    }

    #[test]
    fn a_signature_holds_for_one_statement_network_signer_and_text() {
        let (key, other) = (key(), SecretKey::new(&[2; 32]).expect("valid"));
        let id = NodeId::new(key.address());
        let signature = key.sign(Statement::Receipt, NETWORK, &[b"ab", b"c"]);
        assert!(signature.is_by(id, Statement::Receipt, NETWORK, &[b"abc"]));
        assert!(signature.is_by_key(&key.public_key(), Statement::Receipt, NETWORK, &[b"abc"]));
        assert!(!signature.is_by(id, Statement::Token, NETWORK, &[b"abc"]));
        assert!(!signature.is_by(id, Statement::Receipt, NetworkId::new([8; 32]), &[b"abc"]));
        assert!(!signature.is_by(id, Statement::Receipt, NETWORK, &[b"abd"]));
        assert!(!signature.is_by(NodeId::new(other.address()), Statement::Receipt, NETWORK, &[b"abc"]));
        assert!(!signature.is_by_key(&other.public_key(), Statement::Receipt, NETWORK, &[b"abc"]));
    }

    #[test]
    fn the_high_s_twin_and_odd_recovery_bytes_are_refused() {
        use k256::elliptic_curve::PrimeField;
        let id = NodeId::new(key().address());
        let signature = key().sign(Statement::Receipt, NETWORK, &[b"abc"]);
        let mut twin = *signature.as_bytes();
        let s = k256::Scalar::from_repr(k256::FieldBytes::clone_from_slice(&twin[32..64])).expect("a scalar");
        twin[32..64].copy_from_slice(&(-s).to_repr());
        twin[64] ^= 1;
        assert!(!Signature::new(twin).is_by(id, Statement::Receipt, NETWORK, &[b"abc"]));
        for v in 2..=255 {
            let mut bytes = *signature.as_bytes();
            bytes[64] = v;
            assert!(!Signature::new(bytes).is_by(id, Statement::Receipt, NETWORK, &[b"abc"]));
        }
    }

    #[test]
    fn secret_keys_do_not_print() {
        assert_eq!(format!("{:?}", key()), "SecretKey(***)");
    }
}
