//! Every key of a client, derived from the owner's one secret or from a content's random key (docs/format.md section 3).
//!
//! Invariant: keys wipe themselves on drop, print as `***`, and no two purposes or inputs share a derivation.

use std::fmt;
use std::sync::Arc;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::id::{CopyId, FileId, LedgerId, NetworkId, NodeId, NoiseKey, OwnerId, PathSalt, ShardId};
use crate::path::FilePath;
use crate::signature::SecretKey;

/// Derives `N` bytes for `purpose` from the concatenation of `parts`, whose layout is fixed for each purpose.
fn derive<const N: usize>(purpose: &str, parts: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("dstore 2026-11 v1 {purpose}"));
    for part in parts {
        hasher.update(part);
    }
    let mut key = Zeroizing::new([0; N]);
    hasher.finalize_xof().fill(&mut *key);
    hasher.zeroize();
    key
}

/// The first valid secp256k1 scalar of a derivation that ends in a counter.
fn derive_scalar(purpose: &str, parts: &[&[u8]]) -> SecretKey {
    (0_u32..)
        .find_map(|counter| {
            let counter = counter.to_be_bytes();
            let parts: Vec<&[u8]> = parts.iter().copied().chain([&counter[..]]).collect();
            SecretKey::new(&derive::<32>(purpose, &parts))
        })
        .expect("all but one in 2^127 candidates are valid")
}

/// The id of the network with this label.
#[must_use]
pub fn network_id(label: &str) -> NetworkId {
    NetworkId::new(*derive("network", &[label.as_bytes()]))
}

/// The address of a shard at its node. The node computes it too, so nobody without the capability can occupy it.
#[must_use]
pub fn shard_id(cap_pk: &[u8; 33], index: u8, generation: u32) -> ShardId {
    ShardId::new(*derive("shard id", &[cap_pk, &[index], &generation.to_be_bytes()]))
}

/// The address of a record copy at its node. The node computes it too, so nobody without the key can occupy it.
#[must_use]
pub fn copy_id(copy_pk: &[u8; 33]) -> CopyId {
    CopyId::new(*derive("copy id", &[copy_pk]))
}

/// A 64-byte key for AES-256-SIV.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SivKey([u8; 64]);

impl SivKey {
    /// The key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}

/// An X25519 private key of the Noise transport, clamped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TransportKey([u8; 32]);

impl TransportKey {
    /// The key made of 32 random bytes.
    #[must_use]
    pub fn new(mut bytes: [u8; 32]) -> Self {
        bytes[0] &= 248;
        bytes[31] &= 127;
        bytes[31] |= 64;
        Self(bytes)
    }

    /// The private bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key that others know.
    #[must_use]
    pub fn public_key(&self) -> NoiseKey {
        let secret = x25519_dalek::StaticSecret::from(self.0);
        NoiseKey::new(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
}

/// The owner of files: the one secret from which everything is found and read again. Cheap to clone.
#[derive(Clone)]
pub struct Owner(Arc<OwnerKeys>);

struct OwnerKeys {
    key: SecretKey,
    root: Zeroizing<[u8; 32]>,
    id: OwnerId,
}

impl Owner {
    /// The owner whose secp256k1 private key this is; `None` if it is no valid key.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Option<Self> {
        let key = SecretKey::new(secret)?;
        let root = derive("owner root", &[secret]);
        let id = OwnerId::new(key.address());
        Some(Self(Arc::new(OwnerKeys { key, root, id })))
    }

    /// The owner with the private key written as 64 hex digits, with or without `0x`, white space around it allowed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, &mut *secret).ok()?;
        Self::from_secret(&secret)
    }

    /// The owner's address.
    #[must_use]
    pub fn id(&self) -> OwnerId {
        self.0.id
    }

    /// The private key as 64 hex digits: whoever has it has all files.
    #[must_use]
    pub fn secret_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.0.key.to_bytes()))
    }

    /// The key that signs transactions of the owner's account.
    #[cfg(feature = "ethereum")]
    pub(crate) fn account_key(&self) -> SecretKey {
        self.0.key.clone()
    }

    /// What a path is filed under on the ledger.
    #[must_use]
    pub fn path_salt(&self, path: &FilePath) -> PathSalt {
        PathSalt::new(*derive("path", &[&*self.0.root, path.as_str().as_bytes()]))
    }

    /// The key that seals the records of a file.
    #[must_use]
    pub fn record_key(&self, file_id: FileId) -> SivKey {
        SivKey(*derive("record key", &[&*self.0.root, file_id.as_bytes()]))
    }

    /// The key that seals what a client notes of its unfinished work.
    #[must_use]
    pub fn journal_key(&self) -> SivKey {
        SivKey(*derive("journal", &[&*self.0.root]))
    }

    /// What the names of such notes about one path have in common, and nobody else can tell.
    #[must_use]
    pub fn journal_tag(&self, path: &FilePath) -> [u8; 16] {
        *derive("journal tag", &[&*self.0.root, path.as_str().as_bytes()])
    }

    /// The authority over the copy of a file's record at `node`.
    #[must_use]
    pub fn copy_authority(&self, ledger: LedgerId, file: FileId, node: NodeId) -> SecretKey {
        derive_scalar("copy", &[&*self.0.root, ledger.as_bytes(), file.as_bytes(), node.as_bytes()])
    }

    /// The key that seals the copies of records at `node`.
    #[must_use]
    pub fn copy_key(&self, node: NodeId) -> SivKey {
        SivKey(*derive("copy key", &[&*self.0.root, node.as_bytes()]))
    }

    /// This owner's transport key toward one node or registry: stable there, matching nothing elsewhere.
    #[must_use]
    pub fn transport_key(&self, toward: NodeId) -> TransportKey {
        TransportKey::new(*derive("transport", &[&*self.0.root, toward.as_bytes()]))
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({}, ***)", self.0.id)
    }
}

/// The random key of one content: root of its encryption and of the authority over its shards.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, serde::Serialize, serde::Deserialize)]
pub struct ContentKey([u8; 32]);

impl ContentKey {
    /// The key with these random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What names the content inside its segments; no node ever sees it.
    #[must_use]
    pub fn content_id(&self) -> [u8; 32] {
        *derive("content id", &[&self.0])
    }

    /// The root of the segment keys.
    #[must_use]
    pub fn file_secret(&self) -> FileSecret {
        FileSecret(*derive("file secret", &[&self.0]))
    }

    /// The authority over this content's shards at `node`.
    #[must_use]
    pub fn capability(&self, node: NodeId) -> SecretKey {
        derive_scalar("capability", &[&self.0, node.as_bytes()])
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(***)")
    }
}

/// The root of a content's segment keys.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FileSecret([u8; 32]);

impl FileSecret {
    /// The key of the segments `epoch << 20` up to the next epoch.
    #[must_use]
    pub fn segment_key(&self, epoch: u32) -> SivKey {
        SivKey(*derive("segment key", &[&self.0, &epoch.to_be_bytes()]))
    }
}

impl fmt::Debug for FileSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileSecret(***)")
    }
}

impl fmt::Debug for SivKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SivKey(***)")
    }
}

impl fmt::Debug for TransportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner::parse(&"11".repeat(32)).expect("valid")
    }

    #[test]
    fn an_owner_reads_back_from_its_own_text() {
        let again = Owner::parse(&format!(" 0x{}\n", *owner().secret_hex())).expect("valid");
        assert_eq!(again.id(), owner().id());
        for bad in ["", "0x", "11", &"00".repeat(32), &"ff".repeat(32), &"zz".repeat(32)] {
            assert!(Owner::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn peers_cannot_match_an_owner_by_its_transport_keys() {
        let keys = [1, 2].map(|n| owner().transport_key(NodeId::new([n; 20])).public_key());
        assert_ne!(keys[0], keys[1]);
        assert_eq!(keys[0], owner().transport_key(NodeId::new([1; 20])).public_key());
    }

    #[test]
    fn copies_of_one_record_match_nothing_at_another_node_or_for_another_file_or_ledger() {
        let id = |ledger, file, node| {
            let (ledger, file) = (LedgerId::new([ledger; 32]), FileId::new([file; 32]));
            copy_id(&owner().copy_authority(ledger, file, NodeId::new([node; 20])).public_key())
        };
        let ids = [id(1, 2, 3), id(9, 2, 3), id(1, 9, 3), id(1, 2, 9)];
        for (i, left) in ids.iter().enumerate() {
            assert!(ids[i + 1..].iter().all(|right| left != right));
        }
        let [a, b] = [1, 2].map(|n| *owner().copy_key(NodeId::new([n; 20])).as_bytes());
        assert_ne!(a, b);
    }

    #[test]
    fn capabilities_and_shard_ids_differ_between_nodes_indices_and_generations() {
        let content = ContentKey::new([3; 32]);
        let [a, b] = [1, 2].map(|n| content.capability(NodeId::new([n; 20])).public_key());
        assert_ne!(a, b);
        let ids = [shard_id(&a, 0, 0), shard_id(&b, 0, 0), shard_id(&a, 1, 0), shard_id(&a, 0, 1)];
        for (i, left) in ids.iter().enumerate() {
            assert!(ids[i + 1..].iter().all(|right| left != right));
        }
    }

    #[test]
    fn nothing_secret_prints() {
        let content = ContentKey::new([3; 32]);
        let shown = format!(
            "{:?}{content:?}{:?}{:?}{:?}",
            owner(),
            content.file_secret(),
            content.file_secret().segment_key(0),
            owner().transport_key(NodeId::new([0; 20])),
        );
        for secret in ["11".repeat(32), "03".repeat(8), "3, 3, 3".to_owned()] {
            assert!(!shown.contains(&secret), "{shown}");
        }
    }
}
