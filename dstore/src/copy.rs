//! Copies of records, sealed once more for the nodes that keep them (docs/format.md section 13).
//!
//! Invariant: a copy opens only for its owner, at its own address of its own node, as the version that it is kept as.

use crate::error::Error;
use crate::id::{CopyId, FileId, LedgerId, NodeId};
use crate::keys::{Owner, copy_id};
use crate::manifest::{EventKind, MAX_RECORD_LEN, RecordPlace};
use crate::scheme::SIV_LEN;
use crate::seal;

/// The longest body of a copy, bytes: that of the longest record.
pub const MAX_COPY_LEN: usize = body_len(MAX_RECORD_LEN);
/// Bodies are padded to a multiple of this.
pub const COPY_UNIT: usize = 128;
const COPY_VERSION: u8 = 1;
/// What stands before the record: ledger id, file id, version, kind, length.
const HEADER_LEN: usize = 32 + 32 + 4 + 1 + 2;

/// One version of one file, as a ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordCopy {
    /// Which version of which file.
    pub place: RecordPlace,
    /// What made this version.
    pub kind: EventKind,
    /// The sealed record; empty when `kind` says that the file is gone.
    pub record: Vec<u8>,
}

impl RecordCopy {
    /// The address of this file's copies at `node`, and the authority over them.
    #[must_use]
    pub fn authority(&self, owner: &Owner, node: NodeId) -> (CopyId, crate::signature::SecretKey) {
        let key = owner.copy_authority(self.place.ledger, self.place.file, node);
        (copy_id(&key.public_key()), key)
    }
}

/// Bytes of the body around a record of `record` bytes.
const fn body_len(record: usize) -> usize {
    (1 + SIV_LEN + HEADER_LEN + record).next_multiple_of(COPY_UNIT)
}

/// Whether a body can have this length.
#[must_use]
pub fn is_body_len(len: usize) -> bool {
    (COPY_UNIT..=MAX_COPY_LEN).contains(&len) && len.is_multiple_of(COPY_UNIT)
}

/// The associated data of a copy, 52 bytes.
fn context(id: CopyId, version: u32) -> [u8; 52] {
    let mut context = [0; 52];
    context[..14].copy_from_slice(b"dstore/copy/v1");
    context[16..48].copy_from_slice(id.as_bytes());
    context[48..].copy_from_slice(&version.to_be_bytes());
    context
}

/// Seals `copy` as it is kept at `node` under `id`. The same input gives the same bytes.
///
/// # Errors
/// [`Error::TooLarge`] when the record is longer than [`MAX_RECORD_LEN`].
pub fn seal_copy(owner: &Owner, node: NodeId, id: CopyId, copy: &RecordCopy) -> Result<Vec<u8>, Error> {
    let RecordCopy { place, kind, record } = copy;
    let len = u16::try_from(record.len()).ok().filter(|len| usize::from(*len) <= MAX_RECORD_LEN);
    let Some(len) = len else {
        let (size, limit) = (record.len() as u64, MAX_RECORD_LEN as u64);
        return Err(Error::TooLarge { what: "the record (bytes)", size, limit });
    };
    let mut plaintext = Vec::with_capacity(body_len(record.len()));
    plaintext.extend_from_slice(place.ledger.as_bytes());
    plaintext.extend_from_slice(place.file.as_bytes());
    plaintext.extend_from_slice(&place.version.to_be_bytes());
    plaintext.push(*kind as u8);
    plaintext.extend_from_slice(&len.to_be_bytes());
    plaintext.extend_from_slice(record);
    plaintext.resize(body_len(record.len()) - 1 - SIV_LEN, 0);
    let mut body = vec![COPY_VERSION];
    body.extend_from_slice(&seal::seal(&owner.copy_key(node), &context(id, place.version), &plaintext));
    Ok(body)
}

/// Opens what `node` keeps under `id` as `version`. The record inside is not opened.
///
/// # Errors
/// [`Error::Integrity`] unless this owner sealed it for this very place.
pub fn open_copy(owner: &Owner, node: NodeId, id: CopyId, version: u32, body: &[u8]) -> Result<RecordCopy, Error> {
    let integrity = |what| Error::Integrity { what };
    if !is_body_len(body.len()) {
        return Err(integrity("copy: length"));
    }
    if body[0] != COPY_VERSION {
        return Err(integrity("copy: unknown version, made by a newer dstore;"));
    }
    let plaintext = seal::open(&owner.copy_key(node), &context(id, version), body[1..].to_vec())
        .map_err(|_| integrity("copy: seal"))?;
    let (header, rest) = plaintext.split_first_chunk::<HEADER_LEN>().ok_or(integrity("copy: length"))?;
    let field = |at: usize| -> [u8; 32] { std::array::from_fn(|i| header[at + i]) };
    let number = u32::from_be_bytes(std::array::from_fn(|i| header[64 + i]));
    if number != version {
        return Err(integrity("copy: version"));
    }
    let kind = EventKind::from_number(header[68]).ok_or(integrity("copy: kind"))?;
    let len = usize::from(u16::from_be_bytes([header[69], header[70]]));
    let (record, padding) = rest.split_at_checked(len).ok_or(integrity("copy: record length"))?;
    if kind.is_live() == record.is_empty() || len > MAX_RECORD_LEN {
        return Err(integrity("copy: record length"));
    }
    if body_len(len) != body.len() || padding.iter().any(|byte| *byte != 0) {
        return Err(integrity("copy: padding"));
    }
    let place = RecordPlace { ledger: LedgerId::new(field(0)), file: FileId::new(field(32)), version };
    Ok(RecordCopy { place, kind, record: record.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::new([4; 20]);

    fn owner() -> Owner {
        Owner::from_secret(&[1; 32]).expect("valid")
    }

    fn copy(kind: EventKind, len: usize) -> RecordCopy {
        let place = RecordPlace { ledger: LedgerId::new([2; 32]), file: FileId::new([3; 32]), version: 4 };
        RecordCopy { place, kind, record: vec![9; len] }
    }

    fn sealed(copy: &RecordCopy) -> (CopyId, Vec<u8>) {
        let (id, _) = copy.authority(&owner(), NODE);
        (id, seal_copy(&owner(), NODE, id, copy).expect("sealed"))
    }

    #[test]
    fn copies_open_to_what_was_sealed_at_every_length() {
        for (kind, len, body_len) in [
            (EventKind::Put, 640, 768),
            (EventKind::RenamedHere, 4096, MAX_COPY_LEN),
            (EventKind::Removed, 0, 128),
            (EventKind::RenamedAway, 0, 128),
        ] {
            let copy = copy(kind, len);
            let (id, body) = sealed(&copy);
            assert_eq!(body.len(), body_len);
            assert_eq!(open_copy(&owner(), NODE, id, 4, &body).expect("opens"), copy);
            assert_eq!(sealed(&copy), (id, body), "a retry is the same bytes");
        }
        assert_eq!(MAX_COPY_LEN, 4224);
        let (id, _) = sealed(&copy(EventKind::Put, 1));
        assert!(seal_copy(&owner(), NODE, id, &copy(EventKind::Put, 4097)).is_err());
    }

    #[test]
    fn a_copy_opens_only_for_its_owner_at_its_own_place() {
        let (id, body) = sealed(&copy(EventKind::Put, 640));
        let fails = |owner: &Owner, node, id, version| open_copy(owner, node, id, version, &body).is_err();
        assert!(fails(&Owner::from_secret(&[2; 32]).expect("valid"), NODE, id, 4));
        assert!(fails(&owner(), NodeId::new([5; 20]), id, 4));
        assert!(fails(&owner(), NODE, CopyId::new([5; 32]), 4));
        assert!(fails(&owner(), NODE, id, 5));
        assert!(!fails(&owner(), NODE, id, 4));
    }

    #[test]
    fn changed_cut_or_longer_copies_are_refused() {
        let (id, body) = sealed(&copy(EventKind::Put, 300));
        let opens = |body: &[u8]| open_copy(&owner(), NODE, id, 4, body).is_ok();
        for at in 0..body.len() {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert!(!opens(&changed) && !opens(&body[..at]), "byte {at}");
        }
        assert!(!opens(&[&body[..], &[0; 128]].concat()));
    }

    #[test]
    fn copies_at_two_nodes_have_nothing_in_common() {
        let copy = copy(EventKind::Put, 640);
        let at = |node| {
            let (id, _) = copy.authority(&owner(), node);
            (id, seal_copy(&owner(), node, id, &copy).expect("sealed"))
        };
        let ((first_id, first), (second_id, second)) = (at(NODE), at(NodeId::new([5; 20])));
        assert_ne!(first_id, second_id);
        let same = first[1..].iter().zip(&second[1..]).filter(|(a, b)| a == b).count();
        assert!(same < 30, "{same} of {} bytes are the same", first.len());
    }
}
