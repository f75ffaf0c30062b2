//! Manifests and records: docs/format.md sections 5 and 7.

use dstore::id::{FileId, LedgerId, NodeId, NoiseKey, ShardRoot};
use dstore::keys::ContentKey;
use dstore::manifest::{Manifest, NodePlace, RecordPlace, ShardPlace, open_record, seal_record};
use dstore::proto::{decode, encode};
use dstore::rt::Timestamp;
use dstore::scheme::Shape;
use dstore::{Error, FilePath, Owner, Padding, Scheme, seal};
use serde_json::{Value, json};

use super::messages::{described, longer_varint};
use super::{Made, Outcome, array, bad, bytes, good, hexed, number, with};

fn word(error: &Error) -> String {
    match error {
        Error::Integrity { what } => (*what).to_owned(),
        other => other.code().to_owned(),
    }
}

pub(crate) fn manifest(input: &Value) -> Outcome {
    let manifest: Manifest = decode("manifest", &bytes(input, "encoded")).map_err(|_| "malformed".to_owned())?;
    manifest.validate().map_err(|error| word(&error))?;
    Ok(json!({ "manifest": described(&manifest), "tolerates": manifest.tolerates() }))
}

pub(crate) fn record(input: &Value) -> Outcome {
    let owner = Owner::from_secret(&array(input, "owner_key")).expect("a key");
    let record = bytes(input, "record");
    let manifest = open_record(&owner, place(input), &record).map_err(|error| word(&error))?;
    assert_eq!(seal_record(&owner, place(input), &manifest).expect("sealed"), record, "sealing is deterministic");
    Ok(json!({ "manifest": hexed(encode(&manifest)) }))
}

fn place(input: &Value) -> RecordPlace {
    RecordPlace {
        ledger: LedgerId::new(array(input, "ledger")),
        file: FileId::new(array(input, "file")),
        version: number(input, "version"),
    }
}

fn example() -> Manifest {
    let node = |i: u8| NodePlace {
        id: NodeId::new([0xa0 + i; 20]),
        noise_key: NoiseKey::new([0xb0 + i; 32]),
        seq: 1 + u64::from(i),
        hint: format!("192.0.2.{}:4100", i + 1),
    };
    let shard =
        |i: u8| ShardPlace { root: ShardRoot::new([0xc0 + i; 32]), node: i % 3, generation: 0x0101 * u32::from(i) };
    Manifest {
        content_key: ContentKey::new([0x33; 32]),
        size: 100_000,
        padded: Padding::Padme.padded(100_000),
        suite: 1,
        codec: 1,
        scheme: Scheme::STANDARD,
        padding: Padding::Padme,
        shard_len: Shape::new(Scheme::STANDARD, Padding::Padme.padded(100_000)).expect("small").shard_len(),
        shards: (0..6).map(shard).collect(),
        nodes: (0..3).map(node).collect(),
        content_hash: [0xdd; 32],
        created: Timestamp::from_millis(1_790_000_000_000),
        path: FilePath::new("notes/a.txt").expect("valid"),
        attributes: vec![],
    }
}

/// The example with another scheme, on as many nodes as it has shards.
fn spread(scheme: &str) -> Manifest {
    let scheme: Scheme = scheme.parse().expect("a scheme");
    let mut manifest = example();
    let shards = u8::try_from(scheme.shards()).expect("at most 32");
    manifest.scheme = scheme;
    manifest.shard_len = Shape::new(scheme, manifest.padded).expect("small").shard_len();
    manifest.shards = (0..shards).map(|i| ShardPlace { node: i, ..manifest.shards[0] }).collect();
    manifest.nodes = (0..shards).map(|i| NodePlace { id: NodeId::new([i; 20]), ..manifest.nodes[0].clone() }).collect();
    manifest
}

fn changed(change: impl FnOnce(&mut Manifest)) -> Value {
    let mut manifest = example();
    change(&mut manifest);
    json!({ "encoded": hexed(encode(&manifest)) })
}

/// Where the fields of the encoded example stand that the defects below change.
const SIZE_AT: usize = 32;
const SCHEME_AT: usize = 40;
const PADDING_AT: usize = 42;

pub(crate) fn manifests_made() -> Vec<Made> {
    let encoded = encode(&example());
    assert_eq!(encoded[SCHEME_AT..PADDING_AT], [4, 2], "the fields stand where the defects are put");
    let at = |at: usize, byte: u8| {
        let mut changed = encoded.clone();
        changed[at] = byte;
        json!({ "encoded": hexed(changed) })
    };
    let replaced = |from: &[u8], to: &[u8]| {
        let at = encoded.windows(from.len()).position(|window| window == from).expect("there");
        json!({ "encoded": hexed([&encoded[..at], to, &encoded[at + from.len()..]].concat()) })
    };
    let long = |name: usize, count: usize| changed(|m| m.attributes = vec![("n".repeat(name), String::new()); count]);
    let mut made = vec![
        good("default", "4+2 on three nodes, padded.", changed(|_| ())),
        good("empty-file", "A content of no bytes.", changed(|m| (m.size, m.padded, m.shard_len) = (0, 0, 64))),
        good(
            "unpadded",
            "No padding.",
            changed(|m| {
                (m.padding, m.padded) = (Padding::None, 100_000);
                m.shard_len = Shape::new(m.scheme, m.padded).expect("small").shard_len();
            }),
        ),
        good(
            "attributes",
            "Two attributes, one of them empty.",
            changed(|m| {
                m.attributes = vec![("a".into(), "ü".into()), (String::new(), String::new())];
            }),
        ),
        good("most-attributes", "64 attributes of 32 bytes each.", long(32, 64)),
        good("six-nodes", "One shard on each node.", json!({ "encoded": hexed(encode(&spread("4+2"))) })),
        good(
            "32-nodes",
            "As many shards and nodes as there can be.",
            json!({ "encoded": hexed(encode(&spread("16+16"))) }),
        ),
        good(
            "large",
            "A content of 10 TB.",
            changed(|m| {
                m.size = 10_000_000_000_000;
                m.padded = Padding::Padme.padded(m.size);
                m.shard_len = Shape::new(m.scheme, m.padded).expect("within limits").shard_len();
            }),
        ),
    ];
    let rules: Vec<(&str, &'static str, &str, Value)> = vec![
        ("suite", "manifest: suite", "An unknown cipher suite.", changed(|m| m.suite = 2)),
        ("codec", "manifest: codec", "An unknown code.", changed(|m| m.codec = 0)),
        (
            "padded-length",
            "manifest: padded length",
            "A padded length that is not that of the size.",
            changed(|m| m.padded += 64),
        ),
        (
            "size-above-padded",
            "manifest: padded length",
            "A size above the padded length.",
            changed(|m| m.size = m.padded + 1),
        ),
        (
            "shard-length",
            "manifest: shard length",
            "A shard length that is not that of the padded length.",
            changed(|m| m.shard_len += 64),
        ),
        (
            "too-many-segments",
            "manifest: shard length",
            "More than 2^40 segments.",
            changed(|m| (m.size, m.padded) = (1 << 63, 1 << 63)),
        ),
        ("shard-missing", "manifest: number of shards", "A shard too few.", changed(|m| m.shards.truncate(5))),
        ("shard-too-many", "manifest: number of shards", "A shard too many.", changed(|m| m.shards.push(m.shards[0]))),
        ("no-nodes", "manifest: number of nodes", "No nodes.", changed(|m| m.nodes.clear())),
        (
            "node-index",
            "manifest: node index",
            "A shard at a node that is not listed.",
            changed(|m| m.shards[0].node = 3),
        ),
        (
            "unused-node",
            "manifest: a node twice, or unused",
            "A node without a shard.",
            changed(|m| {
                m.nodes.push(NodePlace { id: NodeId::new([9; 20]), ..m.nodes[0].clone() });
            }),
        ),
        (
            "node-twice",
            "manifest: a node twice, or unused",
            "One node under two indices.",
            changed(|m| m.nodes[1].id = m.nodes[0].id),
        ),
        (
            "node-address",
            "manifest: address of a node",
            "An address without a port.",
            changed(|m| m.nodes[0].hint = "nowhere".into()),
        ),
        (
            "long-node-address",
            "manifest: address of a node",
            "An address of 65 bytes.",
            changed(|m| m.nodes[0].hint = format!("{}:1", "h".repeat(63))),
        ),
        (
            "tolerance",
            "manifest: tolerance",
            "The loss of one node would lose the file.",
            changed(|m| m.shards[0].node = 1),
        ),
        ("too-many-attributes", "manifest: attributes", "65 attributes.", long(1, 65)),
        ("long-attributes", "manifest: attributes", "2,049 bytes of attributes.", long(2049, 1)),
    ];
    made.extend(rules.into_iter().map(|(name, word, what, input)| bad(format!("bad-{name}"), what, word, input)));
    let malformed: Vec<(&str, &str, Value)> = vec![
        ("empty", "No bytes.", json!({ "encoded": "" })),
        ("cut", "The last byte is missing.", json!({ "encoded": hexed(&encoded[..encoded.len() - 1]) })),
        ("trailing", "A byte too many.", json!({ "encoded": hexed([&encoded[..], &[0]].concat()) })),
        (
            "longer-number",
            "A number with one byte more than it needs.",
            json!({ "encoded": hexed(longer_varint(&encoded, SIZE_AT)) }),
        ),
        ("scheme-no-data", "A scheme without data shards.", at(SCHEME_AT, 0)),
        ("scheme-too-large", "A scheme of 33 shards.", at(SCHEME_AT, 31)),
        ("unknown-padding", "A padding that does not exist.", at(PADDING_AT, 2)),
        ("path-outward", "A path with a `..` part.", replaced(b"notes/a.txt", b"notes/../xt")),
        ("path-not-utf-8", "A path that is not UTF-8.", replaced(b"notes/a.txt", b"notes/\xff.txt")),
        ("path-length-lies", "A path longer than the message.", replaced(b"\x0bnotes/a.txt", b"\xff\x7fnotes/a.txt")),
        (
            "generation-too-large",
            "A generation of 33 bits.",
            replaced(&[0x81, 2, 0xc2], &[0x81, 0x80, 0x80, 0x80, 0x10, 0xc2]),
        ),
    ];
    made.extend(malformed.into_iter().map(|(name, what, input)| bad(format!("bad-{name}"), what, "malformed", input)));
    made
}

pub(crate) fn records_made() -> Vec<Made> {
    let base = json!({
        "owner_key": hexed([0x11; 32]), "ledger": hexed([0x77; 32]), "file": hexed([0x22; 32]), "version": 4,
    });
    let owner = Owner::from_secret(&[0x11; 32]).expect("a key");
    let sealed = |manifest: &Manifest| hexed(seal_record(&owner, place(&base), manifest).expect("sealed"));
    let good_record = with(&base, "record", sealed(&example()));
    let bytes = bytes(&good_record, "record");
    let record = |bytes: &[u8]| with(&base, "record", hexed(bytes));
    // A record with this plaintext, properly sealed.
    let holding = |plaintext: &[u8]| {
        let mut context = b"dstore/record/v1".to_vec();
        context.extend_from_slice(&[0x77; 32]);
        context.extend_from_slice(&[0x22; 32]);
        context.extend_from_slice(&4_u32.to_be_bytes());
        context.extend_from_slice(owner.id().as_bytes());
        let key = owner.record_key(FileId::new([0x22; 32]));
        record(&[&[1], &seal::seal(&key, &context, plaintext)[..]].concat())
    };
    let encoded = encode(&example());
    let padded = |encoded: &[u8], len: usize| {
        let mut plaintext = u16::try_from(encoded.len()).expect("short").to_be_bytes().to_vec();
        plaintext.extend_from_slice(encoded);
        plaintext.resize(len - 17, 0);
        plaintext
    };
    assert_eq!(record(&bytes), holding(&padded(&encoded, 640)), "this is how records are made");
    let mut dirty = padded(&encoded, 640);
    *dirty.last_mut().expect("padding") = 1;
    let mut lying = padded(&encoded, 640);
    lying[..2].copy_from_slice(&700_u16.to_be_bytes());
    let mut flipped = bytes.clone();
    flipped[639] ^= 1;
    let mut newer = bytes.clone();
    newer[0] = 2;
    let mut intolerant = example();
    intolerant.shards[0].node = 1;
    let mut full = spread("16+16");
    full.path = FilePath::new("p".repeat(240)).expect("valid");
    full.attributes = vec![("n".into(), "v".repeat(3))];
    vec![
        good("default", "The record of a default manifest: 640 bytes.", good_record.clone()),
        good("six-nodes", "A record of another length.", with(&base, "record", sealed(&spread("4+2")))),
        good("large", "32 shards on 32 nodes and a long path.", with(&base, "record", sealed(&full))),
        bad("bad-empty", "No bytes.", "record: empty", record(&[])),
        bad(
            "bad-version",
            "A version of the future.",
            "record: unknown version, made by a newer dstore;",
            record(&newer),
        ),
        bad("bad-cut", "The last byte is missing.", "record: length", record(&bytes[..639])),
        bad("bad-too-long", "More than 4,096 bytes.", "record: length", record(&[&bytes[..], &[0; 3584]].concat())),
        bad("bad-longer", "128 bytes more.", "record: seal", record(&[&bytes[..], &[0; 128]].concat())),
        bad("bad-flipped", "A changed bit.", "record: seal", record(&flipped)),
        bad("bad-owner", "Another owner.", "record: seal", with(&good_record, "owner_key", hexed([0x12; 32]))),
        bad("bad-ledger", "Another ledger.", "record: seal", with(&good_record, "ledger", hexed([0x78; 32]))),
        bad("bad-file", "Another file.", "record: seal", with(&good_record, "file", hexed([0x23; 32]))),
        bad("bad-place-version", "Another version of the file.", "record: seal", with(&good_record, "version", 5)),
        bad("bad-manifest-length", "A manifest longer than the record.", "record: manifest length", holding(&lying)),
        bad("bad-padding-not-zero", "A byte of the padding is 1.", "record: padding", holding(&dirty)),
        bad(
            "bad-padding-too-long",
            "128 bytes of padding too many.",
            "record: padding",
            holding(&padded(&encoded, 768)),
        ),
        bad("bad-trailing", "A byte after the manifest, counted as part of it.", "record: manifest", {
            holding(&padded(&[&encoded[..], &[0]].concat(), 640))
        }),
        bad("bad-longer-number", "A number with one byte more than it needs.", "record: manifest", {
            holding(&padded(&longer_varint(&encoded, SIZE_AT), 640))
        }),
        bad(
            "bad-tolerance",
            "A manifest that breaks a rule.",
            "manifest: tolerance",
            holding(&padded(&encode(&intolerant), 640)),
        ),
    ]
}
