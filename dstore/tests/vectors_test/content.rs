//! Segments, stripes and trees: docs/format.md sections 4 and 6.

use dstore::Scheme;
use dstore::erasure::{Stripes, rebuild};
use dstore::id::ShardRoot;
use dstore::keys::ContentKey;
use dstore::merkle::{BLOCK_LEN, BlockRange, Leaf, ProvedLeaves, TreeBuilder, block_count, prove};
use dstore::seal::{Plaintext, Sealed, Sealer};
use serde_json::{Value, json};

use super::names::scheme;
use super::{Made, Outcome, array, bad, bytes, data, good, hexed, list, number, shown, text, with};

/// Seals or opens consecutive segments.
pub(crate) fn segments(input: &Value) -> Outcome {
    let (scheme, first) = (scheme(input)?, number(input, "first"));
    let last = input["last"].as_bool().expect("true or false");
    let sealer = Sealer::new(&ContentKey::new(array(input, "content_key")));
    match text(input, "do") {
        "seal" => {
            let sealed = seal(scheme, first, &bytes(input, "plaintext"), last, &sealer);
            let segments: Vec<Value> =
                (0..sealed.count()).map(|at| shown(&sealed.slot(at)[..16 + sealed.segment_len(at)])).collect();
            let opened = sealed.open(&sealer).expect("what was sealed opens");
            assert_eq!(opened.segments().flatten().copied().collect::<Vec<_>>(), bytes(input, "plaintext"));
            Ok(json!({ "segments": segments }))
        }
        "open" => {
            let mut slot = bytes(input, "segment");
            let len = slot.len().checked_sub(16).ok_or("tampered")?;
            slot.resize(scheme.stripe_len(), 0);
            let sealed = Sealed::from_slots(scheme, first, slot, len, last);
            let opened = sealed.open(&sealer).map_err(|_| "tampered".to_owned())?;
            let plaintext: Vec<u8> = opened.segments().flatten().copied().collect();
            Ok(json!({ "plaintext": shown(&plaintext) }))
        }
        other => panic!("do {other}"),
    }
}

fn seal(scheme: Scheme, first: u64, text: &[u8], last: bool, sealer: &Sealer) -> Sealed {
    let mut plain = Plaintext::with_capacity(scheme, first, text.len().div_ceil(scheme.segment_len()).max(1));
    let mut rest = text;
    while !rest.is_empty() {
        let space = plain.space().expect("room");
        let (now, later) = rest.split_at(space.len().min(rest.len()));
        space[..now.len()].copy_from_slice(now);
        plain.advance(now.len());
        rest = later;
    }
    plain.seal(sealer, last)
}

pub(crate) fn segments_made() -> Vec<Made> {
    let base = json!({
        "do": "seal",
        "content_key": hexed([0x33; 32]),
        "scheme": "4+2",
        "first": 0,
        "last": true,
        "plaintext": hexed(b"twenty bytes of text"),
    });
    let xof = |len: usize| json!({ "xof": "plaintext", "len": len });
    let sealed = segments(&base).expect("sealed");
    let segment = sealed["segments"][0].as_str().expect("hex").to_owned();
    let mut open = with(&with(&base, "do", "open"), "segment", segment.clone());
    open.as_object_mut().expect("an object").remove("plaintext");
    let flipped = |at: usize| {
        let mut changed = hex::decode(&segment).expect("hex");
        changed[at] ^= 1;
        with(&open, "segment", hexed(changed))
    };
    vec![
        good("empty", "An empty content: one segment without bytes.", with(&base, "plaintext", "")),
        good("one-byte", "One byte.", with(&base, "plaintext", "00")),
        good("short", "A short last segment.", base.clone()),
        good("not-last", "The same bytes when the content goes on.", with(&base, "last", false)),
        good("full", "One full segment.", with(&base, "plaintext", xof(65_520))),
        good("full-and-one", "A full segment, and one more byte in the next.", with(&base, "plaintext", xof(65_521))),
        good("third", "A segment at another place.", with(&base, "first", 2)),
        good("last-of-epoch-0", "The last segment of the first key.", with(&base, "first", (1 << 20) - 1)),
        good("first-of-epoch-1", "The first segment of the second key.", with(&base, "first", 1 << 20)),
        good("scheme-2-and-4", "Full segments of another scheme are shorter.", {
            with(&with(&base, "scheme", "2+4"), "plaintext", xof(32_752 + 10))
        }),
        good("open", "The short segment, opened.", open.clone()),
        bad("bad-moved", "It stands at another place.", "tampered", with(&open, "first", 1)),
        bad("bad-not-the-end", "The content goes on after it.", "tampered", with(&open, "last", false)),
        bad("bad-other-content", "Another content.", "tampered", with(&open, "content_key", hexed([0x34; 32]))),
        bad("bad-flipped-siv", "A bit of the SIV.", "tampered", flipped(0)),
        bad("bad-flipped-text", "A bit of the ciphertext.", "tampered", flipped(35)),
        bad("bad-cut", "The last byte is missing.", "tampered", with(&open, "segment", &segment[..70])),
        bad("bad-longer", "A byte more.", "tampered", with(&open, "segment", format!("{segment}00"))),
        bad("bad-shorter-than-its-siv", "15 bytes.", "tampered", with(&open, "segment", &segment[..30])),
    ]
}

/// Codes the blocks of one stripe, or rebuilds data blocks.
pub(crate) fn stripes(input: &Value) -> Outcome {
    let scheme = scheme(input)?;
    match text(input, "do") {
        "encode" => {
            let mut slot = bytes(input, "sealed_segment");
            let len = slot.len() - 16;
            slot.resize(scheme.stripe_len(), 0);
            let stripes = Stripes::encode(Sealed::from_slots(scheme, 0, slot, len, true));
            let block = |shard| shown(stripes.block(0, shard));
            let (data, parity): (Vec<_>, Vec<_>) =
                ((0..scheme.data()).map(block).collect(), (scheme.data()..scheme.shards()).map(block).collect());
            Ok(json!({ "block_len": stripes.shard_bytes(), "data": data, "parity": parity }))
        }
        "rebuild" => {
            let held: Vec<Option<Vec<u8>>> =
                list(input, "shards").iter().map(|shard| (!shard.is_null()).then(|| data(shard))).collect();
            let held: Vec<Option<&[u8]>> = held.iter().map(Option::as_deref).collect();
            let rebuilt = rebuild(scheme, &held).into_iter();
            Ok(rebuilt.map(|(index, bytes)| (format!("shard_{index}"), shown(&bytes))).collect())
        }
        other => panic!("do {other}"),
    }
}

pub(crate) fn stripes_made() -> Vec<Made> {
    let encode = |scheme: &str, len: usize| json!({ "do": "encode", "scheme": scheme, "sealed_segment": { "xof": "stripe", "len": len } });
    let mut made = Vec::new();
    for (scheme, rate) in [
        ("4+2", "high rate"),
        ("2+4", "low rate"),
        ("1+1", "high rate; parity is a copy"),
        ("1+4", "low rate; all parity is a copy"),
        ("4+1", "high rate; parity is the sum"),
        ("3+3", "high rate, as many data as parity shards"),
        ("3+4", "high rate, the same power of two"),
        ("4+3", "low rate, the same power of two"),
        ("5+3", "high rate, a last group that is not full"),
        ("10+4", "high rate, three groups"),
        ("3+10", "low rate, three groups"),
    ] {
        let k: usize = scheme.split('+').next().expect("a part").parse().expect("a number");
        let name = scheme.replace('+', "-and-");
        made.push(good(
            format!("small-{name}"),
            format!("One unit of 64 bytes a block: {rate}."),
            encode(scheme, k * 64),
        ));
    }
    for scheme in ["16+16", "20+12", "12+20", "31+1", "1+31", "17+15", "15+17"] {
        let k: usize = scheme.split('+').next().expect("a part").parse().expect("a number");
        let name = scheme.replace('+', "-and-");
        made.push(good(format!("small-{name}"), "32 shards, one unit a block.", encode(scheme, k * 64)));
    }
    made.push(good("zero-filled", "A sealed segment that does not fill its blocks.", encode("4+2", 300)));
    made.push(good("siv-only", "The segment of an empty content.", encode("4+2", 16)));
    made.push(good("full-4-and-2", "A full stripe: 256 units a block.", encode("4+2", 65_536)));
    made.push(good("full-2-and-4", "A full stripe of the other preset.", encode("2+4", 32_768)));

    for (scheme, lost) in [
        ("4+2", &[0_usize, 1][..]),
        ("4+2", &[2, 3]),
        ("4+2", &[1, 4]),
        ("2+4", &[0, 1, 2, 3]),
        ("2+4", &[0, 1, 4, 5]),
        ("1+1", &[0]),
        ("5+3", &[0, 2, 4]),
    ] {
        let parsed: Scheme = scheme.parse().expect("a scheme");
        let blocks = stripes(&encode(scheme, parsed.data() * 64)).expect("coded");
        let mut shards = [list(&blocks, "data"), list(&blocks, "parity")].concat();
        lost.iter().for_each(|at| shards[*at] = Value::Null);
        let names: Vec<String> = lost.iter().map(ToString::to_string).collect();
        let name = format!("rebuild-{}-without-{}", scheme.replace('+', "-and-"), names.join("-"));
        let input = json!({ "do": "rebuild", "scheme": scheme, "shards": shards });
        made.push(good(name, "Data shards made again from the others.", input));
    }
    made
}

/// Hashes a shard, proves blocks of it, or checks a proof and blocks.
pub(crate) fn trees(input: &Value) -> Outcome {
    if text(input, "do") == "verify" {
        return verify(input);
    }
    let shard = bytes(input, "shard");
    let (builder, values) = tree(&shard);
    let root = builder.root().expect("at least one block");
    assert_eq!(root.as_bytes(), blake3::hash(&shard).as_bytes(), "a root is the ordinary hash");
    match text(input, "do") {
        "hash" => Ok(json!({ "root": hexed(root.as_bytes()), "values": values.iter().map(hexed).collect::<Vec<_>>() })),
        "prove" => {
            let range =
                BlockRange::new(shard.len() as u64, number(input, "first"), number(input, "count")).ok_or("range")?;
            let Ok(proof) = prove(&mut values.as_slice(), range);
            let proof: Vec<String> = proof.iter().map(hexed).collect();
            Ok(json!({ "root": hexed(root.as_bytes()), "proof": proof }))
        }
        other => panic!("do {other}"),
    }
}

fn tree(shard: &[u8]) -> (TreeBuilder, Vec<[u8; 32]>) {
    let (mut builder, mut values) = (TreeBuilder::new(), Vec::new());
    for index in 0..block_count(shard.len() as u64) {
        let start = usize::try_from(index).expect("small") * BLOCK_LEN;
        let block = &shard[start..shard.len().min(start + BLOCK_LEN)];
        builder.push(Leaf::new(index, block), |value| values.push(*value));
    }
    (builder, values)
}

fn verify(input: &Value) -> Outcome {
    let range =
        BlockRange::new(number(input, "shard_len"), number(input, "first"), number(input, "count")).ok_or("range")?;
    let proof: Vec<[u8; 32]> =
        list(input, "proof").iter().map(|value| data(value).try_into().expect("32 bytes")).collect();
    let proved = ProvedLeaves::verify(ShardRoot::new(array(input, "root")), range, &proof).ok_or("proof")?;
    for block in list(input, "blocks") {
        if !proved.matches(number(block, "index"), &bytes(block, "bytes")) {
            return Err("block".to_owned());
        }
    }
    Ok(json!({ "proved": true }))
}

pub(crate) fn trees_made() -> Vec<Made> {
    let shard = |len: usize| json!({ "xof": "shard", "len": len });
    let hash = |len: usize| json!({ "do": "hash", "shard": shard(len) });
    let ask = |len: usize, first: u64, count: u64| json!({ "do": "prove", "shard": shard(len), "first": first, "count": count });
    let mut made = vec![
        good("hash-empty", "No bytes: one empty block.", hash(0)),
        good("hash-one-unit", "64 bytes, the shortest shard of a file.", hash(64)),
        good("hash-1-block", "One full block.", hash(16_384)),
        good("hash-2-blocks", "Two blocks.", hash(32_768)),
        good("hash-3-blocks", "Three blocks, the last one short.", hash(2 * 16_384 + 64)),
        good("hash-5-blocks", "Five blocks.", hash(5 * 16_384)),
        good("hash-9-blocks", "Nine blocks, the last one short.", hash(8 * 16_384 + 1024)),
        good("prove-1-of-1", "The only block needs no values.", ask(1000, 0, 1)),
        good("prove-1-of-2", "The second of two blocks.", ask(32_768, 1, 1)),
        good("prove-middle-of-7", "Blocks 2 to 4 of seven.", ask(7 * 16_384 - 320, 2, 3)),
        good("prove-last-of-7", "The last of seven blocks.", ask(7 * 16_384 - 320, 6, 1)),
        good("prove-all-of-5", "All blocks: every leaf and nothing else.", ask(5 * 16_384, 0, 5)),
        bad("bad-prove-none", "No blocks.", "range", ask(5 * 16_384, 0, 0)),
        bad("bad-prove-past-the-end", "A block that the shard does not have.", "range", ask(5 * 16_384, 3, 3)),
    ];
    let len = 7 * 16_384 - 320;
    let proved = trees(&ask(len, 2, 3)).expect("proved");
    let block = |index: usize| {
        let end = len.min((index + 1) * 16_384);
        json!({ "index": index, "bytes": { "xof": "shard", "from": index * 16_384, "len": end - index * 16_384 } })
    };
    let good_proof = json!({
        "do": "verify", "root": proved["root"], "proof": proved["proof"], "shard_len": len, "first": 2, "count": 3,
        "blocks": [block(2), block(3), block(4)],
    });
    made.push(good("verify-middle-of-7", "A proof of blocks 2 to 4 of seven, and the blocks.", good_proof.clone()));
    let single = json!({
        "do": "verify", "root": trees(&hash(1000)).expect("hashed")["root"], "proof": [], "shard_len": 1000,
        "first": 0, "count": 1, "blocks": [{ "index": 0, "bytes": { "xof": "shard", "len": 1000 } }],
    });
    made.push(good("verify-1-of-1", "The only block of a shard.", single.clone()));

    let values = list(&good_proof, "proof").to_vec();
    let mut swapped = values.clone();
    swapped.swap(1, 2);
    let mut changed = data(&values[0]);
    changed[31] ^= 0x80;
    let proof = |proof: Vec<Value>| with(&good_proof, "proof", proof);
    let defects = [
        ("short-proof", "proof", "The last value is missing.", proof(values[..values.len() - 1].to_vec())),
        ("long-proof", "proof", "A value too many.", proof([&values[..], &[json!(hexed([0; 32]))]].concat())),
        ("empty-proof", "proof", "No values.", proof(vec![])),
        ("swapped-values", "proof", "Two values swapped.", proof(swapped)),
        (
            "changed-value",
            "proof",
            "A bit of the first value.",
            proof([&[json!(hexed(changed))], &values[1..]].concat()),
        ),
        ("other-root", "proof", "Another root.", with(&good_proof, "root", hexed([0; 32]))),
        ("other-range", "proof", "A proof of other blocks.", with(&good_proof, "first", 1)),
        ("other-length", "proof", "A shard of more blocks.", with(&good_proof, "shard_len", 9 * 16_384)),
        (
            "swapped-blocks",
            "block",
            "Two blocks swapped.",
            with(&good_proof, "blocks", vec![json!({ "index": 2, "bytes": block(3)["bytes"] })]),
        ),
        ("block-outside", "block", "A block that was not proved.", with(&good_proof, "blocks", vec![block(5)])),
        (
            "cut-block",
            "block",
            "A block without its last byte.",
            with(
                &good_proof,
                "blocks",
                vec![json!({ "index": 2, "bytes": { "xof": "shard", "from": 32_768, "len": 16_383 } })],
            ),
        ),
        (
            "only-block-changed",
            "block",
            "The only block of a shard, changed.",
            with(&single, "blocks", vec![json!({ "index": 0, "bytes": { "xof": "another", "len": 1000 } })]),
        ),
        (
            "only-block-with-proof",
            "proof",
            "A value where none is needed.",
            with(&single, "proof", vec![hexed([0; 32])]),
        ),
    ];
    made.extend(defects.map(|(name, word, what, input)| bad(format!("bad-{name}"), what, word, input)));
    made
}
