//! Keys, ids and signatures: docs/format.md sections 2 and 3.

use dstore::id::{FileId, LedgerId, NetworkId, NodeId};
use dstore::keys::{ContentKey, copy_id, network_id, shard_id};
use dstore::ledger::file_id;
use dstore::signature::{SecretKey, Signature, Statement};
use dstore::{FilePath, Owner, ServerIdentity};
use serde_json::{Value, json};

use super::{Made, Outcome, array, bad, bytes, good, hexed, number, text, with};

fn owner(input: &Value) -> Result<Owner, String> {
    Owner::from_secret(&array(input, "owner_key")).ok_or_else(|| "not_a_key".to_owned())
}

pub(crate) fn keys(input: &Value) -> Outcome {
    let content = || ContentKey::new(array(input, "content_key"));
    Ok(match text(input, "derive") {
        "owner" => json!({ "owner_id": hexed(owner(input)?.id().as_bytes()) }),
        "owner of text" => {
            let owner = Owner::parse(text(input, "text")).ok_or("not_a_key")?;
            json!({ "owner_key": owner.secret_hex().as_str() })
        }
        "identity" => {
            let identity = ServerIdentity::from_secrets(&array(input, "signing_key"), array(input, "transport_key"));
            let identity = identity.ok_or("not_a_key")?;
            json!({ "id": hexed(identity.id().as_bytes()), "noise_key": hexed(identity.noise_key().as_bytes()) })
        }
        "network" => json!({ "network_id": hexed(network_id(text(input, "label")).as_bytes()) }),
        "path" => {
            let owner = owner(input)?;
            let salt = owner.path_salt(&FilePath::new(text(input, "path")).expect("valid"));
            json!({ "salt": hexed(salt.as_bytes()), "file_id": hexed(file_id(owner.id(), salt).as_bytes()) })
        }
        "record key" => {
            let key = owner(input)?.record_key(FileId::new(array(input, "file_id")));
            json!({ "record_key": hexed(key.as_bytes()) })
        }
        "transport key" => {
            let key = owner(input)?.transport_key(NodeId::new(array(input, "toward")));
            json!({ "transport_key": hexed(key.as_bytes()), "noise_key": hexed(key.public_key().as_bytes()) })
        }
        "copy" => {
            let (ledger, file) = (LedgerId::new(array(input, "ledger")), FileId::new(array(input, "file_id")));
            let key = owner(input)?.copy_authority(ledger, file, NodeId::new(array(input, "node")));
            let id = copy_id(&key.public_key());
            json!({
                "copy_authority": hexed(*key.to_bytes()),
                "key": hexed(key.public_key()),
                "copy_id": hexed(id.as_bytes()),
            })
        }
        "copy key" => {
            let key = owner(input)?.copy_key(NodeId::new(array(input, "node")));
            json!({ "copy_key": hexed(key.as_bytes()) })
        }
        "content id" => json!({ "content_id": hexed(content().content_id()) }),
        "segment key" => {
            let key = content().file_secret().segment_key(number(input, "epoch"));
            json!({ "segment_key": hexed(key.as_bytes()) })
        }
        "capability" => {
            let key = content().capability(NodeId::new(array(input, "node")));
            json!({ "capability_key": hexed(*key.to_bytes()), "capability": hexed(key.public_key()) })
        }
        "shard id" => {
            let id = shard_id(&array(input, "capability"), number(input, "index"), number(input, "generation"));
            json!({ "shard_id": hexed(id.as_bytes()) })
        }
        other => panic!("derive {other}"),
    })
}

const OWNER: [u8; 32] = [0x11; 32];
const CONTENT: [u8; 32] = [0x33; 32];

pub(crate) fn keys_made() -> Vec<Made> {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let owner = |key: &str| json!({ "derive": "owner", "owner_key": key });
    let of_text = |text: &str| json!({ "derive": "owner of text", "text": text });
    let path = |path: &str| json!({ "derive": "path", "owner_key": hexed(OWNER), "path": path });
    let segment = |epoch: u32| json!({ "derive": "segment key", "content_key": hexed(CONTENT), "epoch": epoch });
    let capability =
        |node: u8| json!({ "derive": "capability", "content_key": hexed(CONTENT), "node": hexed([node; 20]) });
    let shard = |index: u8, generation: u32| {
        let key = ContentKey::new(CONTENT).capability(NodeId::new([0x44; 20])).public_key();
        json!({ "derive": "shard id", "capability": hexed(key), "index": index, "generation": generation })
    };
    let transport =
        |toward: u8| json!({ "derive": "transport key", "owner_key": hexed(OWNER), "toward": hexed([toward; 20]) });
    let record = json!({ "derive": "record key", "owner_key": hexed(OWNER), "file_id": hexed([0x22; 32]) });
    let copy = |ledger: u8, file: u8, node: u8| {
        let (ledger, file, node) = (hexed([ledger; 32]), hexed([file; 32]), hexed([node; 20]));
        json!({ "derive": "copy", "owner_key": hexed(OWNER), "ledger": ledger, "file_id": file, "node": node })
    };
    let copy_key = |node: u8| json!({ "derive": "copy key", "owner_key": hexed(OWNER), "node": hexed([node; 20]) });
    let one = format!("{:064x}", 1);
    let identity =
        json!({ "derive": "identity", "signing_key": hexed([0x55; 32]), "transport_key": hexed([0x66; 32]) });
    let digits = hexed(OWNER);
    vec![
        good("owner", "The owner id of an owner key.", owner(&digits)),
        good("owner-of-key-1", "The smallest key and its well-known address.", owner(&one)),
        bad("bad-owner-zero", "Zero is no key.", "not_a_key", owner(&hexed([0; 32]))),
        bad("bad-owner-group-order", "The group order is no key.", "not_a_key", owner(order)),
        good("owner-of-text", "64 hex digits.", of_text(&digits)),
        good("owner-of-text-0x", "With 0x and white space.", of_text(&format!(" 0x{digits}\n"))),
        bad("bad-owner-of-text-short", "A digit too few.", "not_a_key", of_text(&digits[1..])),
        bad("bad-owner-of-text-no-hex", "Not hex.", "not_a_key", of_text(&"zz".repeat(32))),
        good(
            "network-default",
            "The network that is used when none is named.",
            json!({ "derive": "network", "label": "dstore" }),
        ),
        good("network-empty-label", "A label without characters.", json!({ "derive": "network", "label": "" })),
        good("network-other", "Another label.", json!({ "derive": "network", "label": "ünï" })),
        good("path", "What a path is filed under.", path("notes/a.txt")),
        good("path-chinese", "The same for a path outside ASCII.", path("我的 文件.txt")),
        good("record-key", "The key of a file's records.", record),
        good("transport-key", "The owner's key toward one node.", transport(0x44)),
        good("transport-key-toward-another", "Toward another node: no relation to be seen.", transport(0x45)),
        good(
            "content-id",
            "What names a content inside its segments.",
            json!({ "derive": "content id", "content_key": hexed(CONTENT) }),
        ),
        good("segment-key-0", "The key of segments 0 to 2^20 - 1.", segment(0)),
        good("segment-key-1", "The key of the next 2^20 segments.", segment(1)),
        good("segment-key-last", "The key of the last segments that there can be.", segment((1 << 20) - 1)),
        good("capability", "The authority over a content's shards at one node.", capability(0x44)),
        good("capability-elsewhere", "At another node.", capability(0x45)),
        good("shard-id", "The address of a shard.", shard(0, 0)),
        good("shard-id-5", "Another index and generation.", shard(5, 0x0102_0304)),
        good("copy", "The authority over the copy of a record at one node, and its address.", copy(0x77, 0x22, 0x44)),
        good("copy-elsewhere", "At another node.", copy(0x77, 0x22, 0x45)),
        good("copy-of-another-ledger", "Of the same file on another ledger.", copy(0x78, 0x22, 0x44)),
        good("copy-key", "The key of the copies at one node.", copy_key(0x44)),
        good("copy-key-elsewhere", "At another node.", copy_key(0x45)),
        good("identity", "The public halves of a node's two keys.", identity.clone()),
        bad("bad-identity", "A signing key of zero.", "not_a_key", with(&identity, "signing_key", hexed([0; 32]))),
    ]
}

fn statement(input: &Value) -> Statement {
    match text(input, "statement") {
        "node-record" => Statement::NodeRecord,
        "receipt" => Statement::Receipt,
        "token" => Statement::Token,
        "put" => Statement::Put,
        "delete" => Statement::Delete,
        "copy" => Statement::Copy,
        "copy-query" => Statement::CopyQuery,
        other => panic!("statement {other}"),
    }
}

pub(crate) fn signature(input: &Value) -> Outcome {
    let (statement, network) = (statement(input), NetworkId::new(array(input, "network")));
    let text = bytes(input, "text");
    let signature = Signature::new(array(input, "signature"));
    let by_id = signature.is_by(NodeId::new(array(input, "address")), statement, network, &[&text]);
    let by_key = signature.is_by_key(&array(input, "public_key"), statement, network, &[&text]);
    assert_eq!(by_id, by_key, "both ways to name the signer agree");
    if let Some(secret) = input.get("secret") {
        let key = SecretKey::new(&array(&json!({ "secret": secret }), "secret")).expect("a key");
        assert_eq!(key.sign(statement, network, &[&text]), signature, "signing is deterministic");
    }
    if by_id { Ok(json!({ "valid": true })) } else { Err("signature".to_owned()) }
}

pub(crate) fn signatures_made() -> Vec<Made> {
    let key = SecretKey::new(&[0x55; 32]).expect("a key");
    let other = SecretKey::new(&[0x56; 32]).expect("a key");
    let network = network_id("dstore");
    let input = |name: &str, statement: Statement, text: &[u8]| {
        json!({
            "statement": name,
            "network": hexed(network.as_bytes()),
            "text": hexed(text),
            "address": hexed(key.address()),
            "public_key": hexed(key.public_key()),
            "signature": hexed(key.sign(statement, network, &[text]).as_bytes()),
        })
    };
    let kinds = [
        ("node-record", Statement::NodeRecord),
        ("receipt", Statement::Receipt),
        ("token", Statement::Token),
        ("put", Statement::Put),
        ("delete", Statement::Delete),
        ("copy", Statement::Copy),
        ("copy-query", Statement::CopyQuery),
    ];
    let mut made: Vec<Made> = kinds
        .into_iter()
        .map(|(name, statement)| {
            let input = with(&input(name, statement, b"abc"), "secret", hexed(*key.to_bytes()));
            good(name, "A signature, and the private key that makes it (RFC 6979).", input)
        })
        .collect();
    let base = input("receipt", Statement::Receipt, b"abc");
    made.push(good("empty-text", "A signature over no bytes.", input("receipt", Statement::Receipt, b"")));
    let signature = bytes(&base, "signature");
    let changed = |at: usize, to: u8| {
        let mut signature = signature.clone();
        signature[at] = to;
        with(&base, "signature", hexed(signature))
    };
    let mut twin = signature.clone();
    twin[32..64].copy_from_slice(&negated(&signature[32..64]));
    twin[64] ^= 1;
    let mut zero_r = signature.clone();
    zero_r[..32].fill(0);
    let defects = [
        (
            "high-s",
            "The same signature with s in the upper half of the group order.",
            with(&base, "signature", hexed(twin)),
        ),
        ("v-27", "A recovery byte as Ethereum writes it.", changed(64, signature[64] + 27)),
        ("v-2", "A recovery byte for an x above the group order.", changed(64, signature[64] + 2)),
        ("other-v", "The other recovery byte: another key.", changed(64, signature[64] ^ 1)),
        ("zero-r", "r is zero.", with(&base, "signature", hexed(zero_r))),
        ("other-text", "Another text.", with(&base, "text", hexed(b"abd"))),
        ("other-statement", "Another kind of statement.", with(&base, "statement", "token")),
        ("other-network", "Another network.", with(&base, "network", hexed(network_id("other").as_bytes()))),
        (
            "other-signer",
            "Another signer.",
            with(&with(&base, "address", hexed(other.address())), "public_key", hexed(other.public_key())),
        ),
    ];
    made.extend(defects.map(|(name, what, input)| bad(format!("bad-{name}"), what, "signature", input)));
    made
}

/// The group order less `scalar`.
fn negated(scalar: &[u8]) -> Vec<u8> {
    let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").expect("hex");
    let mut borrow = 0_u16;
    let mut result = vec![0; 32];
    for at in (0..32).rev() {
        let difference = 256 + u16::from(order[at]) - u16::from(scalar[at]) - borrow;
        result[at] = difference.to_le_bytes()[0];
        borrow = u16::from(difference < 256);
    }
    result
}
