//! Copies of records: docs/format.md section 13.

use dstore::copy::{RecordCopy, open_copy, seal_copy};
use dstore::id::{CopyId, FileId, LedgerId, NodeId};
use dstore::ledger::EventKind;
use dstore::manifest::RecordPlace;
use dstore::{Error, Owner, seal};
use serde_json::{Value, json};

use super::{Made, Outcome, array, bad, bytes, good, hexed, number, shown, with};

const NODE: [u8; 20] = [0x44; 20];

pub(crate) fn copy(input: &Value) -> Outcome {
    let owner = Owner::from_secret(&array(input, "owner_key")).expect("a key");
    let (node, id) = (NodeId::new(array(input, "node")), CopyId::new(array(input, "id")));
    let body = bytes(input, "body");
    let copy = open_copy(&owner, node, id, number(input, "version"), &body).map_err(|error| match error {
        Error::Integrity { what } => what.to_owned(),
        other => other.code().to_owned(),
    })?;
    assert_eq!(seal_copy(&owner, node, id, &copy).expect("sealed"), body, "sealing is deterministic");
    assert_eq!(copy.authority(&owner, node).0, id, "a copy is at its own address");
    Ok(json!({
        "ledger": hexed(copy.place.ledger.as_bytes()),
        "file": hexed(copy.place.file.as_bytes()),
        "version": copy.place.version,
        "kind": copy.kind as u8,
        "record": shown(&copy.record),
    }))
}

fn owner() -> Owner {
    Owner::from_secret(&[0x11; 32]).expect("a key")
}

fn example(kind: EventKind, len: usize) -> RecordCopy {
    let place = RecordPlace { ledger: LedgerId::new([0x77; 32]), file: FileId::new([0x22; 32]), version: 4 };
    RecordCopy { place, kind, record: vec![0x99; len] }
}

fn sealed(copy: &RecordCopy) -> Value {
    let node = NodeId::new(NODE);
    let (id, _) = copy.authority(&owner(), node);
    json!({
        "owner_key": hexed([0x11; 32]),
        "node": hexed(NODE),
        "id": hexed(id.as_bytes()),
        "version": copy.place.version,
        "body": hexed(seal_copy(&owner(), node, id, copy).expect("sealed")),
    })
}

pub(crate) fn copies_made() -> Vec<Made> {
    let base = sealed(&example(EventKind::Put, 640));
    let body = bytes(&base, "body");
    let holding = |plaintext: &[u8]| {
        let mut context = [0; 52];
        context[..14].copy_from_slice(b"dstore/copy/v1");
        context[16..48].copy_from_slice(&bytes(&base, "id"));
        context[51] = 4;
        let key = owner().copy_key(NodeId::new(NODE));
        with(&base, "body", hexed([&[1], &seal::seal(&key, &context, plaintext)[..]].concat()))
    };
    let plaintext = |version: u8, kind: u8, len: u16, total: usize| {
        let mut plaintext = [&[0x77; 32][..], &[0x22; 32], &[0, 0, 0, version, kind], &len.to_be_bytes()].concat();
        plaintext.resize(plaintext.len() + usize::from(len).min(640), 0x99);
        plaintext.resize(total - 17, 0);
        plaintext
    };
    assert_eq!(holding(&plaintext(4, 0, 640, 768)), base, "this is how copies are made");
    let mut dirty = plaintext(4, 0, 640, 768);
    *dirty.last_mut().expect("padding") = 1;
    let (mut flipped, mut newer) = (body.clone(), body.clone());
    flipped[767] ^= 1;
    newer[0] = 2;
    let as_body = |body: &[u8]| with(&base, "body", hexed(body));
    vec![
        good("put", "A default record.", base.clone()),
        good("renamed-here", "The longest record.", sealed(&example(EventKind::RenamedHere, 4096))),
        good("removed", "A file that was removed.", sealed(&example(EventKind::Removed, 0))),
        good("renamed-away", "A file that was moved to another path.", sealed(&example(EventKind::RenamedAway, 0))),
        good("one-byte", "The shortest record.", sealed(&example(EventKind::Put, 1))),
        bad("bad-empty", "No bytes.", "copy: length", as_body(&[])),
        bad("bad-cut", "The last byte is missing.", "copy: length", as_body(&body[..767])),
        bad("bad-too-long", "More than 4,224 bytes.", "copy: length", as_body(&[&body[..], &[0; 3584]].concat())),
        bad(
            "bad-format",
            "A version of the future.",
            "copy: unknown version, made by a newer dstore;",
            as_body(&newer),
        ),
        bad("bad-flipped", "A changed bit.", "copy: seal", as_body(&flipped)),
        bad("bad-longer", "128 bytes more.", "copy: seal", as_body(&[&body[..], &[0; 128]].concat())),
        bad("bad-owner", "Another owner.", "copy: seal", with(&base, "owner_key", hexed([0x12; 32]))),
        bad("bad-node", "Another node.", "copy: seal", with(&base, "node", hexed([0x45; 20]))),
        bad("bad-id", "Another address.", "copy: seal", with(&base, "id", hexed([0xd1; 32]))),
        bad("bad-place-version", "Kept as another version.", "copy: seal", with(&base, "version", 5)),
        bad("bad-version", "Another version inside.", "copy: version", holding(&plaintext(5, 0, 640, 768))),
        bad("bad-kind", "An unknown kind.", "copy: kind", holding(&plaintext(4, 4, 640, 768))),
        bad("bad-no-record", "A put without a record.", "copy: record length", holding(&plaintext(4, 0, 0, 128))),
        bad("bad-removed", "A removal with a record.", "copy: record length", holding(&plaintext(4, 2, 640, 768))),
        bad("bad-record-length", "A record longer than the body.", "copy: record length", {
            holding(&plaintext(4, 0, 700, 768))
        }),
        bad("bad-padding-not-zero", "A byte of the padding is 1.", "copy: padding", holding(&dirty)),
        bad("bad-padding-too-long", "128 bytes of padding too many.", "copy: padding", {
            holding(&plaintext(4, 0, 640, 896))
        }),
    ]
}
