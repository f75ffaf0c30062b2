//! Messages and signed statements: what decodes is the one encoding of its value, and holds what it promises.

use std::sync::LazyLock;

use dstore::id::NetworkId;
use dstore::proto::{
    self, Deletion, MAX_ENDPOINTS, MAX_ZONE_LEN, NodeRecord, NodeReply, NodeRequest, PutEnd, PutOffer, Receipt,
    RegistryReply, RegistryRequest, Signable, Signed, Token, is_endpoint,
};
use dstore::signature::SecretKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Accepted;
use super::input::Input;

const NETWORK: NetworkId = NetworkId::new([0x07; 32]);
const SESSION: [u8; 32] = [0x5e; 32];

/// Signs every statement of the target `statement`, so that what is behind the signature is reached.
static SIGNER: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::new(&[0x55; 32]).expect("a key"));

fn canonical<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<T> {
    let value: T = proto::decode("message", data).ok()?;
    assert_eq!(proto::encode(&value), data, "a message has one encoding");
    Some(value)
}

pub(super) fn node_request(data: &[u8]) -> Accepted {
    let request = canonical::<NodeRequest>(data)?;
    assert!(NodeRequest::is_served(data), "what decodes is served");
    match request {
        NodeRequest::PutBegin(offer) | NodeRequest::PutSmall(offer) => drop(offer.offer(NETWORK, &SESSION)),
        NodeRequest::Hashes(request) | NodeRequest::Read(request) => drop(request.token.token(NETWORK)),
        NodeRequest::Stat(token) | NodeRequest::Renew { token, .. } => drop(token.token(NETWORK)),
        NodeRequest::Delete(deletion) => drop(deletion.deletion(NETWORK, &SESSION)),
        NodeRequest::PutCopy { offer, .. } => drop(offer.copy_offer(NETWORK, &SESSION)),
        NodeRequest::GetCopy(query) => drop(query.copy_query(NETWORK, &SESSION)),
        NodeRequest::Accept(invite) => drop(invite.terms(NETWORK)),
        NodeRequest::Transfer(none) => match none {},
        NodeRequest::Info | NodeRequest::ListCopies { .. } => {}
    }
    Some(())
}

pub(super) fn node_reply(data: &[u8]) -> Accepted {
    if let NodeReply::Stored(receipt) = canonical(data)? {
        drop(receipt.receipt(NETWORK));
    }
    Some(())
}

pub(super) fn put_end(data: &[u8]) -> Accepted {
    let end = canonical::<PutEnd>(data);
    assert_eq!(end.is_some(), data.len() == 32, "32 bytes and no other number are a root");
    end.map(drop)
}

pub(super) fn registry_request(data: &[u8]) -> Accepted {
    if let RegistryRequest::Register(record) = canonical(data)? {
        drop(record.record(NETWORK));
    }
    Some(())
}

pub(super) fn registry_reply(data: &[u8]) -> Accepted {
    let RegistryReply::Nodes { nodes, .. } = canonical(data)? else { return Some(()) };
    for node in nodes {
        // Each of them costs a signature to check, and times come from peers.
        let _ = (node.state.as_str(), node.last_seen.to_string(), node.record.record(NETWORK));
    }
    Some(())
}

/// Statements with arbitrary bytes that are truly signed, by the key that they name.
pub(super) fn statement(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let kind = input.byte() % 5;
    let mut bytes = input.rest().to_vec();
    // Where a statement names its signer: the node first, or the capability after it.
    let (at, signer): (usize, &[u8]) = if kind < 2 { (0, &SIGNER.address()) } else { (20, &SIGNER.public_key()) };
    if let Some(named) = bytes.get_mut(at..at + signer.len()) {
        named.copy_from_slice(signer);
    }
    match kind {
        0 => {
            let record = signed::<NodeRecord>(&bytes, &[]).record(NETWORK)?;
            assert!((1..=MAX_ENDPOINTS).contains(&record.endpoints.len()) && record.zone.len() <= MAX_ZONE_LEN);
            assert!(record.endpoints.iter().all(|endpoint| is_endpoint(endpoint)));
            same(&record, &bytes)
        }
        1 => same(&signed::<Receipt>(&bytes, &[]).receipt(NETWORK)?, &bytes),
        2 => same(&signed::<Token>(&bytes, &[]).token(NETWORK)?, &bytes),
        3 => {
            let offer = signed::<PutOffer>(&bytes, &SESSION);
            assert_eq!(offer.offer(NETWORK, &[0; 32]), None, "an offer holds on its own connection only");
            same(&offer.offer(NETWORK, &SESSION)?, &bytes)
        }
        _ => {
            let deletion = signed::<Deletion>(&bytes, &SESSION);
            assert_eq!(deletion.deletion(NetworkId::new([8; 32]), &SESSION), None, "and in its own network");
            same(&deletion.deletion(NETWORK, &SESSION)?, &bytes)
        }
    }
}

fn same<T: Serialize>(value: &T, bytes: &[u8]) -> Accepted {
    assert_eq!(proto::encode(value), bytes, "what was read is what was signed");
    Some(())
}

/// A statement is made as a peer would make it: the library itself signs values only.
fn signed<T: Signable>(bytes: &[u8], session: &[u8]) -> Signed<T> {
    let signature = SIGNER.sign(T::STATEMENT, NETWORK, &[session, bytes]);
    let encoded = proto::encode(&(bytes.to_vec(), signature));
    proto::decode("signed statement", &encoded).expect("bytes and a signature")
}
