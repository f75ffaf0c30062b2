//! Handshakes and frames: docs/wire.md sections 2 to 4.

use dstore::id::{NetworkId, NodeId, NoiseKey};
use dstore::keys::TransportKey;
use dstore::noise::{Expected, HandshakeError, Initiator, PREAMBLE_LEN, Responder, Role, Session};
use dstore::rt::Timestamp;
use serde_json::{Value, json};

use super::{Made, Outcome, array, bad, bytes, data, good, hexed, list, number, text, with};

fn role(input: &Value, field: &str) -> Role {
    match text(input, field) {
        "node" => Role::Node,
        "registry" => Role::Registry,
        other => panic!("role {other}"),
    }
}

fn word(error: HandshakeError) -> String {
    let word = match error {
        HandshakeError::KeyOrNetwork => "key_or_network",
        HandshakeError::Version { .. } => "version",
        HandshakeError::Suite => "suite",
        HandshakeError::Role => "role",
        HandshakeError::Busy => "busy",
        HandshakeError::NotOurs => "not_ours",
    };
    word.to_owned()
}

struct Shaken {
    sent: [Vec<u8>; 3],
    ours: Session,
    theirs: Session,
    clock: Timestamp,
    initiator: NoiseKey,
}

/// What arrives: what was sent, unless the input says otherwise. A length is part of every message.
fn arrived(input: &Value, field: &str, sent: &[u8]) -> Vec<u8> {
    if input[field].is_null() { sent.to_vec() } else { bytes(input, field) }
}

/// A handshake message without its length, which must be right.
fn unframed<const N: usize>(message: &[u8]) -> Result<[u8; N], String> {
    let (len, rest) = message.split_at_checked(2).ok_or("not_ours")?;
    let right = usize::from(u16::from_be_bytes([len[0], len[1]])) == N;
    rest.try_into().ok().filter(|_| right).ok_or_else(|| "not_ours".to_owned())
}

fn shake(input: &Value) -> Result<Shaken, String> {
    let ours = TransportKey::new(array(input, "initiator_key"));
    let theirs = TransportKey::new(array(input, "responder_key"));
    let expected = Expected {
        id: NodeId::new(array(input, "expected_id")),
        noise_key: NoiseKey::new(array(input, "expected_noise_key")),
        role: role(input, "expected_role"),
        network: NetworkId::new(array(input, "initiator_network")),
    };
    let (initiator, first) = Initiator::start(&ours, &array(input, "initiator_ephemeral"), &expected);
    let received = arrived(input, "first_arrives_as", &first);
    let me = (
        NodeId::new(array(input, "responder_id")),
        role(input, "responder_role"),
        NetworkId::new(array(input, "responder_network")),
    );
    let (preamble, message) = received.split_first_chunk::<PREAMBLE_LEN>().ok_or("not_ours")?;
    Responder::check(preamble, me.1).map_err(word)?;
    let now = Timestamp::from_millis(number(input, "responder_clock"));
    let ephemeral = array(input, "responder_ephemeral");
    let (responder, second) =
        Responder::start(&theirs, &ephemeral, me, preamble, &unframed(message)?, now).map_err(word)?;
    let received = arrived(input, "second_arrives_as", &second);
    let (third, ours, clock) = initiator.finish(&unframed(&received)?).map_err(word)?;
    let received = arrived(input, "third_arrives_as", &third);
    let (theirs, initiator) = responder.finish(&unframed(&received)?).map_err(word)?;
    Ok(Shaken { sent: [first, second, third], ours, theirs, clock, initiator })
}

pub(crate) fn handshake(input: &Value) -> Outcome {
    let shaken = shake(input)?;
    assert_eq!(shaken.ours.hash(), shaken.theirs.hash(), "both sides have one session");
    let [first, second, third] = shaken.sent;
    Ok(json!({
        "preamble_and_first": hexed(first),
        "second": hexed(second),
        "third": hexed(third),
        "handshake_hash": hexed(shaken.ours.hash()),
        "clock": shaken.clock.as_millis(),
        "initiator_noise_key": hexed(shaken.initiator.as_bytes()),
    }))
}

fn base() -> Value {
    let responder = TransportKey::new([0x62; 32]);
    let network = hexed(dstore::keys::network_id("dstore").as_bytes());
    json!({
        "initiator_key": hexed([0x61; 32]),
        "responder_key": hexed([0x62; 32]),
        "initiator_ephemeral": hexed([0x63; 32]),
        "responder_ephemeral": hexed([0x64; 32]),
        "expected_noise_key": hexed(responder.public_key().as_bytes()),
        "expected_id": hexed([0x44; 20]),
        "expected_role": "node",
        "initiator_network": network,
        "responder_id": hexed([0x44; 20]),
        "responder_role": "node",
        "responder_network": network,
        "responder_clock": 1_790_000_000_000_u64,
    })
}

pub(crate) fn handshakes_made() -> Vec<Made> {
    let base = base();
    let registry = with(&with(&base, "expected_role", "registry"), "responder_role", "registry");
    let sent = handshake(&base).expect("a handshake");
    let first = |at: usize, byte: u8| {
        let mut first = bytes(&sent, "preamble_and_first");
        first[at] = byte;
        with(&base, "first_arrives_as", hexed(first))
    };
    let flipped = |message: &str, field: &str, at: usize| {
        let mut bytes = bytes(&sent, message);
        bytes[at] ^= 1;
        with(&base, field, hexed(bytes))
    };
    let other_network = hexed(dstore::keys::network_id("other").as_bytes());
    let cut = &text(&sent, "preamble_and_first")[..32 + 98];
    let mut later = bytes(&sent, "preamble_and_first");
    later[4..6].copy_from_slice(&[2, 3]);
    let mut ranged = bytes(&sent, "preamble_and_first");
    ranged[5] = 2;
    let defects = [
        ("magic", "not_ours", "Another magic.", first(0, b'X')),
        ("version", "version", "Only versions of the future.", with(&base, "first_arrives_as", hexed(later))),
        ("suite", "suite", "An unknown cipher suite.", first(6, 2)),
        ("role", "role", "The responder serves another role.", with(&base, "responder_role", "registry")),
        (
            "version-range-changed",
            "key_or_network",
            "A preamble that was changed on the way.",
            with(&base, "first_arrives_as", hexed(ranged)),
        ),
        ("reserved-byte", "key_or_network", "A reserved byte that was changed on the way.", first(15, 1)),
        ("network", "key_or_network", "Another network.", with(&base, "responder_network", other_network)),
        (
            "id",
            "key_or_network",
            "Another identity with the same transport key.",
            with(&base, "responder_id", hexed([0x45; 20])),
        ),
        ("noise-key", "key_or_network", "Another transport key.", with(&base, "responder_key", hexed([0x65; 32]))),
        ("first-length", "not_ours", "A length other than 48.", first(17, 49)),
        ("first-cut", "not_ours", "The first message is cut.", with(&base, "first_arrives_as", cut)),
        (
            "first-changed",
            "key_or_network",
            "A changed bit in the first message.",
            flipped("preamble_and_first", "first_arrives_as", 20),
        ),
        (
            "second-changed",
            "key_or_network",
            "A changed bit in the second message.",
            flipped("second", "second_arrives_as", 40),
        ),
        (
            "third-changed",
            "key_or_network",
            "A changed bit in the third message.",
            flipped("third", "third_arrives_as", 90),
        ),
        ("third-repeats-first", "not_ours", "The first message again instead of the third.", {
            with(&base, "third_arrives_as", &text(&sent, "preamble_and_first")[32..])
        }),
    ];
    [
        good("node", "A client and a node, with fixed keys.", base.clone()),
        good("registry", "A client and a registry.", registry),
    ]
    .into_iter()
    .chain(defects.map(|(name, word, what, input)| bad(format!("bad-{name}"), what, word, input)))
    .collect()
}

/// Seals plaintexts in a session, or opens frames: `do` says which; `from` says who sealed them.
pub(crate) fn frames(input: &Value) -> Outcome {
    let Shaken { ours, theirs, .. } = shake(&input["handshake"])?;
    let (from, to) = match text(input, "from") {
        "initiator" => (ours, theirs),
        "responder" => (theirs, ours),
        other => panic!("from {other}"),
    };
    let ((mut sealer, _), (_, mut opener)) = (from.split(), to.split());
    match text(input, "do") {
        "seal" => {
            let frames = list(input, "plaintexts").iter().map(|plaintext| {
                let mut frame = Vec::new();
                sealer.seal(&data(plaintext), &mut frame);
                super::shown(&frame)
            });
            Ok(json!({ "frames": frames.collect::<Vec<_>>() }))
        }
        "open" => {
            let mut opened = Vec::new();
            for frame in list(input, "frames") {
                let frame = data(frame);
                let (len, rest) = frame.split_at_checked(2).ok_or("frame")?;
                assert_eq!(usize::from(u16::from_be_bytes([len[0], len[1]])), rest.len(), "a whole frame");
                let mut plaintext = Vec::new();
                opener.open(rest, &mut plaintext).map_err(|_| "frame".to_owned())?;
                opened.push(hexed(plaintext));
            }
            Ok(json!({ "plaintexts": opened }))
        }
        other => panic!("do {other}"),
    }
}

pub(crate) fn frames_made() -> Vec<Made> {
    let plaintexts = json!([
        hexed([0, 1]),
        hexed([7; 3]),
        hexed([4, 5]),
        { "xof": "frame", "len": 49_153 },
    ]);
    let seal = json!({ "do": "seal", "handshake": base(), "from": "initiator", "plaintexts": plaintexts });
    let sealed = frames(&seal).expect("sealed");
    let frame = |at: usize| sealed["frames"][at].clone();
    let mut open = json!({ "do": "open", "handshake": base(), "from": "initiator" });
    open["frames"] = json!([frame(0), frame(1), frame(2)]);
    let mut changed = data(&frame(0));
    changed[5] ^= 1;
    let mut cut = data(&frame(0));
    cut.pop();
    cut[1] -= 1;
    let mut tagless = vec![0, 15];
    tagless.extend_from_slice(&[0; 15]);
    let of = |frames: Value| with(&open, "frames", frames);
    vec![
        good("from-initiator", "What the initiator sends: counters 0, 1, 2, 3.", seal.clone()),
        good("from-responder", "The same plaintexts from the responder.", with(&seal, "from", "responder")),
        good("open", "Frames in their order.", open.clone()),
        bad("bad-left-out", "A frame is missing.", "frame", of(json!([frame(0), frame(2)]))),
        bad("bad-repeated", "A frame comes twice.", "frame", of(json!([frame(0), frame(0)]))),
        bad("bad-swapped", "Two frames swapped.", "frame", of(json!([frame(1), frame(0)]))),
        bad("bad-changed", "A changed bit.", "frame", of(json!([hexed(changed)]))),
        bad("bad-cut", "A byte too few, and a length that says so.", "frame", of(json!([hexed(cut)]))),
        bad("bad-no-tag", "Shorter than a tag.", "frame", of(json!([hexed(tagless)]))),
        bad("bad-other-direction", "A frame sent back to whoever made it.", "frame", with(&open, "from", "responder")),
    ]
}
