//! Messages and signed statements: docs/wire.md sections 5 to 8.

use dstore::id::{CopyId, NetworkId, NodeId, NoiseKey, ShardRoot};
use dstore::manifest::Manifest;
use dstore::proto::{
    BlockRequest, CapabilityKey, CopyItem, CopyOffer, CopyQuery, Deletion, Heartbeat, InviteTerms, ListedNode,
    NodeInfo, NodeRecord, NodeReply, NodeRequest, NodeState, PutEnd, PutOffer, Receipt, RegistryReply, RegistryRequest,
    Rights, ShardHealth, ShardName, ShardStatus, Signable, Signed, Token, decode, encode,
};
use dstore::rt::Timestamp;
use dstore::signature::SecretKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Made, Outcome, array, bad, bytes, good, hexed, text, with};

/// A value as JSON, long lists of bytes as hex.
pub(crate) fn described<T: Serialize>(value: &T) -> Value {
    fn with_hex(value: Value) -> Value {
        match value {
            Value::Array(items) => {
                let bytes: Option<Vec<u8>> =
                    items.iter().map(|item| item.as_u64().and_then(|n| n.try_into().ok())).collect();
                match bytes.filter(|bytes| bytes.len() >= 20) {
                    Some(bytes) => json!(hex::encode(bytes)),
                    None => items.into_iter().map(with_hex).collect(),
                }
            }
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, with_hex(value))).collect(),
            other => other,
        }
    }
    with_hex(serde_json::to_value(value).expect("JSON"))
}

/// `encoded` with the number at `at` written one byte longer than it need be.
pub(crate) fn longer_varint(encoded: &[u8], at: usize) -> Vec<u8> {
    let end = at + encoded[at..].iter().position(|byte| byte & 0x80 == 0).expect("a number");
    let mut longer = encoded.to_vec();
    longer[end] |= 0x80;
    longer.insert(end + 1, 0);
    longer
}

fn read<T: Serialize + DeserializeOwned>(encoded: &[u8]) -> Outcome {
    let value: T = decode("message", encoded).map_err(|_| "malformed".to_owned())?;
    assert_eq!(encode(&value), encoded, "a message has one encoding");
    Ok(json!({ "value": described(&value) }))
}

/// Whether these are the one encoding of a value. Decoding more than that would be a defect of the library.
pub(crate) fn is_canonical(kind: &str, encoded: &[u8]) -> bool {
    fn read<T: Serialize + DeserializeOwned>(encoded: &[u8]) -> bool {
        let Ok(value) = decode::<T>("message", encoded) else { return false };
        assert_eq!(encode(&value), encoded, "a message has one encoding");
        true
    }
    match kind {
        "NodeRequest" => read::<NodeRequest>(encoded),
        "NodeReply" => read::<NodeReply>(encoded),
        "PutEnd" => read::<PutEnd>(encoded),
        "RegistryRequest" => read::<RegistryRequest>(encoded),
        "RegistryReply" => read::<RegistryReply>(encoded),
        "Manifest" => decode::<Manifest>("manifest", encoded).is_ok_and(|manifest| {
            assert_eq!(encode(&manifest), encoded, "a manifest has one encoding");
            // Whatever it says, checking it must not panic.
            drop(manifest.validate());
            true
        }),
        other => panic!("type {other}"),
    }
}

pub(crate) fn message(input: &Value) -> Outcome {
    let encoded = bytes(input, "encoded");
    match text(input, "type") {
        "NodeRequest" => read::<NodeRequest>(&encoded),
        "NodeReply" => read::<NodeReply>(&encoded),
        "PutEnd" => read::<PutEnd>(&encoded),
        "RegistryRequest" => read::<RegistryRequest>(&encoded),
        "RegistryReply" => read::<RegistryReply>(&encoded),
        other => panic!("type {other}"),
    }
}

const NETWORK: NetworkId = NetworkId::new([0x07; 32]);
const SESSION: [u8; 32] = [0x5e; 32];
const NODE: NodeId = NodeId::new([0x44; 20]);

fn capability() -> SecretKey {
    SecretKey::new(&[0x66; 32]).expect("a key")
}

fn node_key() -> SecretKey {
    SecretKey::new(&[0x55; 32]).expect("a key")
}

fn name() -> ShardName {
    ShardName { capability: CapabilityKey::new(capability().public_key()), index: 3, generation: 0xdead_beef }
}

fn offer() -> PutOffer {
    PutOffer { node: NODE, name: name(), len: Some(4096), lease: 7_776_000_000, root: Some(ShardRoot::new([0xc3; 32])) }
}

fn streamed_offer() -> PutOffer {
    PutOffer { len: None, root: None, ..offer() }
}

fn token() -> Token {
    Token {
        node: NODE,
        name: name(),
        rights: Rights::Read,
        holder: Some(NoiseKey::new([0xb1; 32])),
        not_before: Timestamp::from_millis(1_790_000_000_000),
        not_after: Timestamp::from_millis(1_790_003_600_000),
    }
}

fn receipt() -> Receipt {
    Receipt {
        node: NodeId::new(node_key().address()),
        name: name(),
        root: ShardRoot::new([0xc3; 32]),
        len: 4096,
        lease_until: Timestamp::from_millis(1_797_776_000_000),
        time: Timestamp::from_millis(1_790_000_000_000),
    }
}

fn node_record() -> NodeRecord {
    NodeRecord {
        id: NodeId::new(node_key().address()),
        noise_key: NoiseKey::new([0xb2; 32]),
        endpoints: vec!["192.0.2.1:4100".into(), "[2001:db8::1]:4100".into()],
        seq: 300,
        issued: Timestamp::from_millis(1_790_000_000_000),
        not_after: Timestamp::from_millis(1_790_086_400_000),
        capacity: 10 << 30,
        free: 9 << 30,
        zone: "rack-1".into(),
        draining: false,
    }
}

fn deletion() -> Deletion {
    Deletion { node: NODE, name: name() }
}

fn copy_offer() -> CopyOffer {
    let hash = *blake3::hash(&copy_body()).as_bytes();
    CopyOffer { node: NODE, key: name().capability, version: 300, lease: 7_776_000_000, hash }
}

fn copy_query() -> CopyQuery {
    CopyQuery { node: NODE, key: name().capability }
}

fn copy_body() -> Vec<u8> {
    vec![0xb0; 128]
}

fn invite() -> InviteTerms {
    InviteTerms {
        node: NodeId::new(node_key().address()),
        id: [0x1d; 16],
        not_after: Timestamp::from_millis(1_790_604_800_000),
    }
}

fn by_capability<T: Signable>(value: &T, session: &[u8]) -> Signed<T> {
    Signed::new(value, &capability(), NETWORK, session)
}

fn by_node<T: Signable>(value: &T) -> Signed<T> {
    Signed::new(value, &node_key(), NETWORK, &[])
}

fn node_info() -> NodeInfo {
    let info = json!({
        "capacity": 10_737_418_240_u64, "used": 4096, "free": 10_737_414_144_u64, "shards": 1,
        "time": 1_790_000_000_000_u64, "version": "0.1.0", "damaged": 2, "draining": true,
    });
    serde_json::from_value(info).expect("an info")
}

pub(crate) fn messages_made() -> Vec<Made> {
    let listed = ListedNode {
        record: by_node(&node_record()),
        state: NodeState::Suspect,
        last_seen: Timestamp::from_millis(1_790_000_010_000),
        heartbeat: Heartbeat { free: 9 << 30, used: 1 << 30, connections: 7, draining: false },
    };
    let blocks = BlockRequest { token: by_capability(&token(), &[]), first: 16_384, count: 1024 };
    let status = |health| {
        NodeReply::Status(ShardStatus {
            root: ShardRoot::new([0xc3; 32]),
            len: 4096,
            lease_until: Timestamp::from_millis(1_797_776_000_000),
            health,
        })
    };
    let node_requests = [
        ("info", NodeRequest::Info),
        ("put-begin", NodeRequest::PutBegin(by_capability(&streamed_offer(), &SESSION))),
        ("put-small", NodeRequest::PutSmall(by_capability(&offer(), &SESSION))),
        ("hashes", NodeRequest::Hashes(blocks.clone())),
        ("read", NodeRequest::Read(blocks)),
        ("stat", NodeRequest::Stat(by_capability(&token(), &[]))),
        (
            "renew",
            NodeRequest::Renew {
                token: by_capability(&Token { rights: Rights::Renew, holder: None, ..token() }, &[]),
                lease: 7_776_000_000,
            },
        ),
        ("delete", NodeRequest::Delete(by_capability(&deletion(), &SESSION))),
        ("put-copy", NodeRequest::PutCopy { offer: by_capability(&copy_offer(), &SESSION), body: copy_body() }),
        ("get-copy", NodeRequest::GetCopy(by_capability(&copy_query(), &SESSION))),
        ("list-copies", NodeRequest::ListCopies { cursor: None }),
        ("list-more-copies", NodeRequest::ListCopies { cursor: Some(CopyId::new([0xd1; 32])) }),
        ("accept", NodeRequest::Accept(by_node(&invite()))),
    ];
    let item = |version| CopyItem { id: CopyId::new([0xd1; 32]), version, body: copy_body() };
    let proof = vec![[0xe1; 32], [0xe2; 32]];
    let node_replies = [
        ("info", NodeReply::Info(node_info())),
        ("put-ready", NodeReply::PutReady { have: 128, root: ShardRoot::new([0xc4; 32]) }),
        ("stored", NodeReply::Stored(by_node(&receipt()))),
        ("blocks", NodeReply::Blocks { proof, lease_until: Timestamp::from_millis(1_797_776_000_000) }),
        ("blocks-of-one", NodeReply::Blocks { proof: vec![], lease_until: Timestamp::from_millis(0) }),
        ("status-live", status(ShardHealth::Live)),
        ("status-retired", status(ShardHealth::Retired)),
        ("status-damaged", status(ShardHealth::Damaged)),
        ("deleted", NodeReply::Deleted),
        ("copy-stored", NodeReply::CopyStored { version: 300, lease_until: Timestamp::from_millis(1_797_776_000_000) }),
        ("copies", NodeReply::Copies { items: vec![item(299), item(300)], next: Some(CopyId::new([0xd1; 32])) }),
        ("no-copies", NodeReply::Copies { items: vec![], next: None }),
    ];
    let registry_requests = [
        ("register", RegistryRequest::Register(by_node(&node_record()))),
        ("heartbeat", RegistryRequest::Heartbeat(listed.heartbeat)),
        ("deregister", RegistryRequest::Deregister),
        ("list-for-upload", RegistryRequest::ListForUpload),
        ("list-all", RegistryRequest::ListAll),
        ("lookup", RegistryRequest::Lookup(vec![NODE, NodeId::new([0x45; 20])])),
    ];
    let registry_replies = [
        ("registered", RegistryReply::Registered { heartbeat: 10_000 }),
        ("alive", RegistryReply::Alive { known: true }),
        ("deregistered", RegistryReply::Deregistered),
        ("nodes", RegistryReply::Nodes { nodes: vec![listed], required: 3 }),
        ("no-nodes", RegistryReply::Nodes { nodes: vec![], required: 3 }),
        ("not-enough", RegistryReply::NotEnough { active: 2, required: 3 }),
    ];
    fn each<T: Serialize>(
        kind: &'static str,
        prefix: &'static str,
        items: impl IntoIterator<Item = (&'static str, T)>,
    ) -> impl Iterator<Item = Made> {
        items.into_iter().map(move |(name, value)| {
            let input = json!({ "type": kind, "encoded": hexed(encode(&value)) });
            good(format!("{prefix}-{name}"), format!("A {kind}."), input)
        })
    }
    let mut made: Vec<Made> = each("NodeRequest", "node-request", node_requests)
        .chain(each("NodeReply", "node-reply", node_replies))
        .chain(each("PutEnd", "put", [("end", PutEnd { root: ShardRoot::new([0xc3; 32]) })]))
        .chain(each("RegistryRequest", "registry-request", registry_requests))
        .chain(each("RegistryReply", "registry-reply", registry_replies))
        .collect();
    made.extend(defective_messages());
    made
}

fn defective_messages() -> Vec<Made> {
    let raw = |kind: &str, encoded: &[u8]| json!({ "type": kind, "encoded": hexed(encoded) });
    let info = encode(&NodeReply::Info(node_info()));
    let put = encode(&NodeRequest::PutBegin(by_capability(&offer(), &SESSION)));
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    [
        ("empty", "No bytes.", raw("NodeRequest", &[])),
        ("reserved-request", "Number 11 is reserved.", raw("NodeRequest", &[11])),
        ("unknown-reply", "A reply that does not exist.", raw("NodeReply", &[8])),
        ("copy-cursor", "A cursor that is neither there nor not.", raw("NodeRequest", &[10, 2])),
        ("copies-lie", "A list longer than the message.", raw("NodeReply", &[&[7][..], &huge].concat())),
        ("unknown-registry-request", "A request that does not exist.", raw("RegistryRequest", &[6])),
        ("unknown-registry-reply", "A reply that does not exist.", raw("RegistryReply", &[5])),
        ("trailing", "A byte too many.", raw("NodeRequest", &[0, 0])),
        ("longer-number", "A message number in two bytes.", raw("NodeRequest", &[0x80, 0])),
        ("longer-length", "A length in one byte more than it needs.", raw("NodeRequest", &longer_varint(&put, 1))),
        (
            "number-too-large",
            "A number of 65 bits.",
            raw("NodeReply", &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        ),
        ("number-without-end", "A number of 11 bytes.", raw("NodeReply", &[&[1][..], &[0xff; 10], &[0]].concat())),
        ("cut-signature", "The last byte of a signature is missing.", raw("NodeRequest", &put[..put.len() - 1])),
        ("length-lies", "A list longer than memory.", raw("RegistryRequest", &[&[5][..], &huge].concat())),
        ("truth-value", "A truth value of 2.", raw("RegistryReply", &[1, 2])),
        ("not-utf-8", "A text that is not UTF-8.", raw("NodeReply", &[&info[..info.len() - 1], &[0xff]].concat())),
        ("short-root", "31 bytes.", raw("PutEnd", &[0xc3; 31])),
    ]
    .into_iter()
    .map(|(name, what, input)| bad(format!("bad-{name}"), what, "malformed", input))
    .collect()
}

pub(crate) fn statement(input: &Value) -> Outcome {
    fn signed<T>(encoded: &[u8]) -> Result<Signed<T>, String> {
        decode("statement", encoded).map_err(|_| "malformed".to_owned())
    }
    let (network, encoded) = (NetworkId::new(array(input, "network")), bytes(input, "signed"));
    let session = || array::<32>(input, "session");
    let value = match text(input, "type") {
        "NodeRecord" => signed::<NodeRecord>(&encoded)?.record(network).map(|value| described(&value)),
        "Receipt" => signed::<Receipt>(&encoded)?.receipt(network).map(|value| described(&value)),
        "Token" => signed::<Token>(&encoded)?.token(network).map(|value| described(&value)),
        "PutOffer" => signed::<PutOffer>(&encoded)?.offer(network, &session()).map(|value| described(&value)),
        "InviteTerms" => signed::<InviteTerms>(&encoded)?.terms(network).map(|value| described(&value)),
        "Deletion" => signed::<Deletion>(&encoded)?.deletion(network, &session()).map(|value| described(&value)),
        "CopyOffer" => signed::<CopyOffer>(&encoded)?.copy_offer(network, &session()).map(|value| described(&value)),
        "CopyQuery" => signed::<CopyQuery>(&encoded)?.copy_query(network, &session()).map(|value| described(&value)),
        other => panic!("type {other}"),
    };
    value.map(|value| json!({ "value": value })).ok_or_else(|| "statement".to_owned())
}

pub(crate) fn statements_made() -> Vec<Made> {
    let plain = |kind: &str, signed: Vec<u8>| json!({ "type": kind, "network": hexed(NETWORK.as_bytes()), "signed": hexed(signed) });
    let bound = |kind: &str, signed: Vec<u8>| with(&plain(kind, signed), "session", hexed(SESSION));
    let put = bound("PutOffer", encode(&by_capability(&offer(), &SESSION)));
    let copy = bound("CopyOffer", encode(&by_capability(&copy_offer(), &SESSION)));
    let query = bound("CopyQuery", encode(&by_capability(&copy_query(), &SESSION)));
    let record = |change: fn(&mut NodeRecord)| {
        let mut record = node_record();
        change(&mut record);
        plain("NodeRecord", encode(&by_node(&record)))
    };
    // A statement whose bytes are not the one encoding of its value, properly signed.
    let signed_bytes = |kind: &str, statement, bytes: &[u8], key: &SecretKey| {
        let mut signed = vec![u8::try_from(bytes.len()).expect("short") | 0x80, 1];
        if bytes.len() < 128 {
            signed = vec![u8::try_from(bytes.len()).expect("short")];
        }
        signed.extend_from_slice(bytes);
        signed.extend_from_slice(key.sign(statement, NETWORK, &[bytes]).as_bytes());
        plain(kind, signed)
    };
    use dstore::signature::Statement;
    let receipt_bytes = encode(&receipt());
    let receipts = |bytes: &[u8]| signed_bytes("Receipt", Statement::Receipt, bytes, &node_key());
    assert_eq!(
        receipts(&receipt_bytes),
        plain("Receipt", encode(&by_node(&receipt()))),
        "this is how statements are made"
    );
    // The receipt's length stands behind node, name and root.
    let len_at = 20 + 33 + 1 + 5 + 32;
    let made = vec![
        good("node-record", "What a node says of itself.", record(|_| ())),
        good(
            "node-record-4-endpoints",
            "As many endpoints as there can be, and no zone.",
            record(|record| {
                record.endpoints = vec!["h:1".into(), "h:2".into(), "h:3".into(), "h:65535".into()];
                (record.zone, record.draining) = (String::new(), true);
            }),
        ),
        good("invite", "A node invites.", plain("InviteTerms", encode(&by_node(&invite())))),
        good("receipt", "A shard is durable.", plain("Receipt", encode(&by_node(&receipt())))),
        good("token-read", "A token for one holder.", plain("Token", encode(&by_capability(&token(), &[])))),
        good("token-renew", "A token for whoever has it.", {
            plain("Token", encode(&by_capability(&Token { rights: Rights::Renew, holder: None, ..token() }, &[])))
        }),
        good("put-offer", "An offer of a small shard, on one connection.", put.clone()),
        good(
            "put-offer-streamed",
            "An offer of unknown length.",
            bound("PutOffer", encode(&by_capability(&streamed_offer(), &SESSION))),
        ),
        good(
            "deletion",
            "A deletion, on one connection.",
            bound("Deletion", encode(&by_capability(&deletion(), &SESSION))),
        ),
        good("copy-offer", "A copy of a record, on one connection.", copy.clone()),
        good("copy-query", "Asking for a copy, on one connection.", query.clone()),
    ];
    let copy_by_other = Signed::new(&copy_offer(), &node_key(), NETWORK, &SESSION);
    let query_by_other = Signed::new(&copy_query(), &node_key(), NETWORK, &SESSION);
    let by_other = Signed::new(&offer(), &node_key(), NETWORK, &SESSION);
    let by_stranger = Signed::new(&receipt(), &capability(), NETWORK, &[]);
    let defects = [
        ("put-other-session", "Made for another connection.", with(&put, "session", hexed([0x5f; 32]))),
        ("put-no-session", "Signed without a session.", bound("PutOffer", encode(&by_capability(&offer(), &[])))),
        ("put-other-signer", "Signed by another key.", bound("PutOffer", encode(&by_other))),
        ("put-other-network", "Made for another network.", with(&put, "network", hexed([8; 32]))),
        ("copy-other-session", "Made for another connection.", with(&copy, "session", hexed([0x5f; 32]))),
        ("copy-other-signer", "Signed by another key.", bound("CopyOffer", encode(&copy_by_other))),
        ("copy-query-other-session", "Made for another connection.", with(&query, "session", hexed([0x5f; 32]))),
        ("copy-query-other-signer", "Signed by another key.", bound("CopyQuery", encode(&query_by_other))),
        ("copy-query-as-offer", "A query where an offer is due.", with(&query, "type", "CopyOffer")),
        ("receipt-other-signer", "A receipt in another node's name.", plain("Receipt", encode(&by_stranger))),
        (
            "invite-other-signer",
            "An invite in another node's name.",
            plain("InviteTerms", encode(&Signed::new(&invite(), &capability(), NETWORK, &[]))),
        ),
        (
            "receipt-as-token-tag",
            "A receipt under the tag of tokens.",
            signed_bytes("Receipt", Statement::Token, &receipt_bytes, &node_key()),
        ),
        (
            "longer-number",
            "Signed bytes that are not the one encoding.",
            receipts(&longer_varint(&receipt_bytes, len_at)),
        ),
        ("trailing", "Signed bytes with one too many.", receipts(&[&receipt_bytes[..], &[0]].concat())),
        ("cut", "Signed bytes with one too few.", receipts(&receipt_bytes[..receipt_bytes.len() - 1])),
        ("record-no-endpoints", "No endpoints.", record(|record| record.endpoints.clear())),
        ("record-5-endpoints", "Five endpoints.", record(|record| record.endpoints = vec!["h:1".into(); 5])),
        (
            "record-endpoint-no-port",
            "An endpoint without a port.",
            record(|record| record.endpoints = vec!["h".into()]),
        ),
        (
            "record-endpoint-line-break",
            "An endpoint with a line break.",
            record(|record| record.endpoints = vec!["h\n:1".into()]),
        ),
        ("record-long-zone", "A zone of 65 bytes.", record(|record| record.zone = "z".repeat(65))),
    ];
    made.into_iter()
        .chain(defects.map(|(name, what, input)| bad(format!("bad-{name}"), what, "statement", input)))
        .collect()
}
