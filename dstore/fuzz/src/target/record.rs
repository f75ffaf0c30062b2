//! Manifests, and records and their copies that hold arbitrary bytes under a true seal.

use std::sync::LazyLock;

use dstore::copy::{open_copy, seal_copy};
use dstore::id::{CopyId, FileId, LedgerId, NodeId};
use dstore::manifest::{MAX_RECORD_LEN, Manifest, RecordPlace, check_record_len, open_record, seal_record};
use dstore::{Error, Owner, proto, seal};

use super::Accepted;
use super::input::Input;

static OWNER: LazyLock<Owner> = LazyLock::new(|| Owner::from_secret(&[1; 32]).expect("a key"));
const PLACE: RecordPlace =
    RecordPlace { ledger: LedgerId::new([2; 32]), file: FileId::new([3; 32]), version: 0x0405_0607 };

const NODE: NodeId = NodeId::new([4; 20]);
const COPY: CopyId = CopyId::new([5; 32]);

pub(super) fn manifest(data: &[u8]) -> Accepted {
    let manifest: Manifest = proto::decode("manifest", data).ok()?;
    assert_eq!(proto::encode(&manifest), data, "a manifest has one encoding");
    let sealed = seal_record(&OWNER, PLACE, &manifest);
    if manifest.validate().is_err() {
        assert!(matches!(sealed, Err(Error::Integrity { .. })), "only valid manifests are sealed");
        return None;
    }
    usable(&manifest);
    assert_eq!(check_record_len(&manifest).is_ok(), sealed.is_ok());
    if let Ok(record) = sealed {
        assert!(record.len() <= MAX_RECORD_LEN);
        assert_eq!(open_record(&OWNER, PLACE, &record).expect("just sealed"), manifest);
    }
    Some(())
}

/// What a reader does with a valid manifest does not panic.
fn usable(manifest: &Manifest) {
    let shape = manifest.shape();
    assert_eq!(shape.shard_len(), manifest.shard_len);
    assert!(manifest.size <= manifest.padded);
    assert!(manifest.tolerates() >= 1 && manifest.tolerates() <= manifest.nodes.len());
    (0..manifest.shards.len()).for_each(|index| drop(manifest.holder(index).hint.clone()));
}

/// The first byte decides: bytes as they are, or a record whose sealed text they are.
pub(super) fn record(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let (is_sealed, text) = (input.byte() & 1 == 1, input.rest());
    let record = if is_sealed { sealed(text) } else { text.to_vec() };
    let manifest = open_record(&OWNER, PLACE, &record).ok()?;
    usable(&manifest);
    let again = seal_record(&OWNER, PLACE, &manifest).expect("it was valid");
    assert_eq!(again, record, "a manifest has one record at a place");
    Some(())
}

/// The first byte decides: bytes as they are, or a copy whose sealed text they are.
pub(super) fn copy(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let (is_sealed, text) = (input.byte() & 1 == 1, input.rest());
    let body = if is_sealed { sealed_copy(text) } else { text.to_vec() };
    let copy = open_copy(&OWNER, NODE, COPY, PLACE.version, &body).ok()?;
    assert_eq!(copy.place.version, PLACE.version);
    assert_eq!(copy.kind.is_live(), !copy.record.is_empty());
    let again = seal_copy(&OWNER, NODE, COPY, &copy).expect("it was valid");
    assert_eq!(again, body, "a copy has one body at its address");
    Some(())
}

/// docs/format.md section 13, written once more: version, then the sealed text and padding.
fn sealed_copy(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    text.resize((1 + 16 + text.len()).next_multiple_of(128) - 17, 0);
    let context = [&b"dstore/copy/v1\0\0"[..], COPY.as_bytes(), &PLACE.version.to_be_bytes()].concat();
    [&[1][..], &seal::seal(&OWNER.copy_key(NODE), &context, &text)].concat()
}

/// docs/format.md section 5, written once more: version, then the sealed length, manifest and padding.
fn sealed(manifest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(manifest.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut text = [&len[..], manifest].concat();
    text.resize((1 + 16 + text.len()).next_multiple_of(128) - 17, 0);
    let owner = OWNER.id();
    let context = [
        &b"dstore/record/v1"[..],
        PLACE.ledger.as_bytes(),
        PLACE.file.as_bytes(),
        &PLACE.version.to_be_bytes(),
        owner.as_bytes(),
    ];
    let sealed = seal::seal(&OWNER.record_key(PLACE.file), &context.concat(), &text);
    [&[1][..], &sealed].concat()
}
