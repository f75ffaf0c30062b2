//! What a file is made of, and the sealed record of it that a ledger keeps (docs/format.md sections 5 and 7).
//!
//! Invariant: a manifest that exists is consistent and tolerates the loss of at least one node.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::id::{FileId, LedgerId, NodeId, NoiseKey, ShardRoot};
use crate::keys::{ContentKey, Owner};
use crate::path::FilePath;
use crate::placement::tolerated;
use crate::proto::{self, is_endpoint};
use crate::rt::Timestamp;
use crate::scheme::{MAX_SHARDS, Padding, SIV_LEN, Scheme, Shape};
use crate::seal::{self, SUITE_CMAC_SIV};

/// The longest record, bytes.
pub const MAX_RECORD_LEN: usize = 4096;
/// Records are padded to a multiple of this.
const RECORD_UNIT: usize = 128;
const RECORD_VERSION: u8 = 1;
/// The most attributes of a file.
pub const MAX_ATTRIBUTES: usize = 64;
/// The most bytes of all attributes together.
pub const MAX_ATTRIBUTES_LEN: usize = 2048;

/// Where one shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlace {
    /// Its BLAKE3 hash.
    pub root: ShardRoot,
    /// Its node: an index into [`Manifest::nodes`].
    pub node: u8,
    /// Which placement of it this is.
    pub generation: u32,
}

/// How to reach a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlace {
    /// Who.
    pub id: NodeId,
    /// Its transport key.
    pub noise_key: NoiseKey,
    /// Which of its records said so.
    pub seq: u64,
    /// `host:port`, as last known.
    pub hint: String,
}

/// What a file is made of. Whoever has this has the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The key of the content.
    pub content_key: ContentKey,
    /// Its length, bytes.
    pub size: u64,
    /// Its length with padding.
    pub padded: u64,
    /// How it is sealed.
    pub suite: u8,
    /// How it is coded.
    pub codec: u8,
    /// Data and parity shards.
    pub scheme: Scheme,
    /// How its length is hidden.
    pub padding: Padding,
    /// Bytes of each shard.
    pub shard_len: u64,
    /// The shards, data first.
    pub shards: Vec<ShardPlace>,
    /// The nodes that hold them.
    pub nodes: Vec<NodePlace>,
    /// BLAKE3 of the content without padding.
    pub content_hash: [u8; 32],
    /// When this content was stored.
    pub created: Timestamp,
    /// Its path when the record was sealed.
    pub path: FilePath,
    /// Names and values of the user's own.
    pub attributes: Vec<(String, String)>,
}

impl Manifest {
    /// How the content is cut.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape::new(self.scheme, self.padded).expect("a manifest was validated")
    }

    /// The node that holds shard `index`.
    #[must_use]
    pub fn holder(&self, index: usize) -> &NodePlace {
        &self.nodes[usize::from(self.shards[index].node)]
    }

    /// How many nodes may vanish, whichever they are.
    #[must_use]
    pub fn tolerates(&self) -> usize {
        tolerated(self.scheme, self.shards.iter().map(|shard| shard.node))
    }

    /// Checks every rule of docs/format.md section 7.
    ///
    /// # Errors
    /// [`Error::Integrity`], naming the rule.
    pub fn validate(&self) -> Result<(), Error> {
        match self.broken_rule() {
            Some(what) => Err(Error::Integrity { what }),
            None => Ok(()),
        }
    }

    fn broken_rule(&self) -> Option<&'static str> {
        let shape = Shape::new(self.scheme, self.padded);
        let used = |node: usize| self.shards.iter().any(|shard| usize::from(shard.node) == node);
        let twice = |at: usize| self.nodes[..at].iter().any(|node| node.id == self.nodes[at].id);
        let attributes_len: usize = self.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        let rules = [
            (self.suite == SUITE_CMAC_SIV, "manifest: suite"),
            (self.codec == crate::erasure::CODEC_REED_SOLOMON, "manifest: codec"),
            (self.padded == self.padding.padded(self.size), "manifest: padded length"),
            (shape.is_some_and(|shape| shape.shard_len() == self.shard_len), "manifest: shard length"),
            (self.shards.len() == self.scheme.shards(), "manifest: number of shards"),
            ((1..=MAX_SHARDS).contains(&self.nodes.len()), "manifest: number of nodes"),
            (self.shards.iter().all(|shard| usize::from(shard.node) < self.nodes.len()), "manifest: node index"),
            ((0..self.nodes.len()).all(|at| used(at) && !twice(at)), "manifest: a node twice, or unused"),
            (self.nodes.iter().all(|node| is_endpoint(&node.hint)), "manifest: address of a node"),
            (self.tolerates() >= 1, "manifest: tolerance"),
            (self.attributes.len() <= MAX_ATTRIBUTES && attributes_len <= MAX_ATTRIBUTES_LEN, "manifest: attributes"),
        ];
        rules.iter().find(|(holds, _)| !holds).map(|(_, what)| *what)
    }
}

/// What a write did. The numbers are those in ledger files and in record copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A new version of the file.
    Put = 0,
    /// The file arrived here from another path.
    RenamedHere = 1,
    /// The file was removed.
    Removed = 2,
    /// The file left for another path.
    RenamedAway = 3,
}

impl EventKind {
    /// Whether the file exists after it.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Put | Self::RenamedHere)
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let kinds = [Self::Put, Self::RenamedHere, Self::Removed, Self::RenamedAway];
        kinds.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Which version of which file a record is: it opens nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    /// The ledger.
    pub ledger: LedgerId,
    /// The file.
    pub file: FileId,
    /// The version.
    pub version: u32,
}

impl RecordPlace {
    /// The associated data of a record, 104 bytes.
    fn context(&self, owner: &Owner) -> Vec<u8> {
        let mut context = Vec::with_capacity(104);
        context.extend_from_slice(b"dstore/record/v1");
        context.extend_from_slice(self.ledger.as_bytes());
        context.extend_from_slice(self.file.as_bytes());
        context.extend_from_slice(&self.version.to_be_bytes());
        context.extend_from_slice(owner.id().as_bytes());
        context
    }
}

/// Bytes of the record of a manifest that encodes to `len` bytes.
fn padded_len(len: usize) -> usize {
    (1 + SIV_LEN + 2 + len).next_multiple_of(RECORD_UNIT)
}

/// Bytes of the record of this manifest.
#[must_use]
pub fn record_len(manifest: &Manifest) -> usize {
    padded_len(proto::encode(manifest).len())
}

/// Whether the record of this manifest fits, to be asked before anything is uploaded.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn check_record_len(manifest: &Manifest) -> Result<(), Error> {
    let total = record_len(manifest);
    if total <= MAX_RECORD_LEN {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "the record (bytes of path, attributes, shards and node addresses)",
        size: total as u64,
        limit: MAX_RECORD_LEN as u64,
    })
}

/// Seals a manifest for one place on a ledger. The same input gives the same bytes.
///
/// # Errors
/// [`Error::TooLarge`] when the record would be longer than [`MAX_RECORD_LEN`]; [`Error::Integrity`] if the manifest is not valid.
pub fn seal_record(owner: &Owner, place: RecordPlace, manifest: &Manifest) -> Result<Vec<u8>, Error> {
    manifest.validate()?;
    let encoded = zeroize::Zeroizing::new(proto::encode(manifest));
    let total = padded_len(encoded.len());
    check_record_len(manifest)?;
    let len = u16::try_from(encoded.len()).expect("a record is at most 4 KiB");
    let mut plaintext = zeroize::Zeroizing::new(vec![0; total - 1 - SIV_LEN]);
    plaintext[..2].copy_from_slice(&len.to_be_bytes());
    plaintext[2..2 + encoded.len()].copy_from_slice(&encoded);
    let mut record = vec![RECORD_VERSION];
    record.extend_from_slice(&seal::seal(&owner.record_key(place.file), &place.context(owner), &plaintext));
    Ok(record)
}

/// Opens a record at its place.
///
/// # Errors
/// [`Error::Integrity`] unless it is a valid manifest that this owner sealed for this very place.
pub fn open_record(owner: &Owner, place: RecordPlace, record: &[u8]) -> Result<Manifest, Error> {
    let integrity = |what| Error::Integrity { what };
    let Some((&version, sealed)) = record.split_first() else { return Err(integrity("record: empty")) };
    if version != RECORD_VERSION {
        return Err(integrity("record: unknown version, made by a newer dstore;"));
    }
    if record.len() > MAX_RECORD_LEN || !record.len().is_multiple_of(RECORD_UNIT) {
        return Err(integrity("record: length"));
    }
    let plaintext = seal::open(&owner.record_key(place.file), &place.context(owner), sealed.to_vec())
        .map_err(|_| integrity("record: seal"))?;
    let plaintext = zeroize::Zeroizing::new(plaintext);
    let (len, rest) = plaintext.split_first_chunk::<2>().ok_or(integrity("record: length"))?;
    let len = usize::from(u16::from_be_bytes(*len));
    let (encoded, padding) = rest.split_at_checked(len).ok_or(integrity("record: manifest length"))?;
    if padded_len(len) != record.len() || padding.iter().any(|byte| *byte != 0) {
        return Err(integrity("record: padding"));
    }
    let manifest: Manifest = proto::decode("manifest", encoded).map_err(|_| integrity("record: manifest"))?;
    manifest.validate()?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn manifest() -> Manifest {
        let shape = Shape::new(Scheme::STANDARD, 100_000).expect("small");
        let place = |i: u8| ShardPlace { root: ShardRoot::new([i; 32]), node: i % 3, generation: u32::from(i) };
        let node = |i: u8| NodePlace {
            id: NodeId::new([i; 20]),
            noise_key: NoiseKey::new([i; 32]),
            seq: 1,
            hint: format!("192.168.100.10{i}:41000"),
        };
        Manifest {
            content_key: ContentKey::new([7; 32]),
            size: 100_000,
            padded: 100_000,
            suite: 1,
            codec: 1,
            scheme: Scheme::STANDARD,
            padding: Padding::None,
            shard_len: shape.shard_len(),
            shards: (0..6).map(place).collect(),
            nodes: (0..3).map(node).collect(),
            content_hash: [9; 32],
            created: Timestamp::from_millis(1_790_000_000_000),
            path: FilePath::new("notes/a.txt").expect("valid"),
            attributes: vec![],
        }
    }

    fn owner() -> Owner {
        Owner::from_secret(&[1; 32]).expect("valid")
    }

    fn place() -> RecordPlace {
        RecordPlace { ledger: LedgerId::new([2; 32]), file: FileId::new([3; 32]), version: 4 }
    }

    #[test]
    fn a_default_record_has_640_bytes_and_opens_to_its_manifest() {
        let record = seal_record(&owner(), place(), &manifest()).expect("sealed");
        assert_eq!(record.len(), 640);
        assert_eq!(open_record(&owner(), place(), &record).expect("opens"), manifest());
        assert_eq!(record, seal_record(&owner(), place(), &manifest()).expect("sealed"), "a retry is the same bytes");
    }

    #[test]
    fn a_record_opens_only_for_its_owner_ledger_file_and_version() {
        let record = seal_record(&owner(), place(), &manifest()).expect("sealed");
        let fails = |owner: &Owner, place| open_record(owner, place, &record).is_err();
        assert!(fails(&Owner::from_secret(&[2; 32]).expect("valid"), place()));
        assert!(fails(&owner(), RecordPlace { ledger: LedgerId::new([9; 32]), ..place() }));
        assert!(fails(&owner(), RecordPlace { file: FileId::new([9; 32]), ..place() }));
        assert!(fails(&owner(), RecordPlace { version: 5, ..place() }));
    }

    #[test]
    fn changed_cut_or_longer_records_are_refused() {
        let record = seal_record(&owner(), place(), &manifest()).expect("sealed");
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert!(open_record(&owner(), place(), &changed).is_err(), "byte {at}");
            assert!(open_record(&owner(), place(), &record[..at]).is_err(), "cut at {at}");
        }
        assert!(open_record(&owner(), place(), &[&record[..], &[0; 128]].concat()).is_err());
    }

    #[test]
    fn inconsistent_manifests_are_neither_sealed_nor_opened() {
        type Change = fn(&mut Manifest);
        let changes: [(&str, Change); 13] = [
            ("suite", |m| m.suite = 2),
            ("codec", |m| m.codec = 2),
            ("padded", |m| m.padded += 1),
            ("size", |m| m.size = u64::MAX),
            ("shard length", |m| m.shard_len += 64),
            ("a shard missing", |m| m.shards.truncate(5)),
            ("a shard too many", |m| m.shards.push(m.shards[0])),
            ("node index", |m| m.shards[0].node = 3),
            ("unused node", |m| m.nodes.push(NodePlace { id: NodeId::new([9; 20]), ..m.nodes[0].clone() })),
            ("a node twice", |m| m.nodes[1].id = m.nodes[0].id),
            ("address", |m| m.nodes[0].hint = "nowhere".into()),
            ("tolerance", |m| (m.shards[0].node, m.shards[1].node) = (2, 2)),
            ("attributes", |m| m.attributes = vec![("x".repeat(2049), String::new())]),
        ];
        for (what, change) in changes {
            let mut bad = manifest();
            change(&mut bad);
            assert!(bad.validate().is_err(), "{what}");
            assert!(seal_record(&owner(), place(), &bad).is_err(), "{what}");
        }
    }

    #[test]
    fn a_record_that_would_be_too_long_says_so() {
        let mut long = manifest();
        long.path = FilePath::new("p".repeat(1024)).expect("valid");
        long.attributes = vec![("a".into(), "b".repeat(2000))];
        let scheme = Scheme::new(16, 16).expect("valid");
        let shape = Shape::new(scheme, 100_000).expect("small");
        (long.scheme, long.shard_len) = (scheme, shape.shard_len());
        long.shards = (0..32).map(|i| ShardPlace { node: i % 3, ..long.shards[0] }).collect();
        assert!(matches!(seal_record(&owner(), place(), &long), Err(Error::TooLarge { limit: 4096, .. })));
    }
}
