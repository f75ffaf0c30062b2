//! A node among strangers, liars and the slow: what they get, byte by byte.

mod copies;
mod kill;
mod open_put;
use std::time::Duration;

use futures_lite::future::block_on;
use futures_util::io::{AsyncReadExt, AsyncWriteExt};

use super::{NodeHandle, StorageNode, StorageNodeBuilder};
use crate::id::{NetworkId, NodeId, NoiseKey, ShardRoot};
use crate::identity::ServerIdentity;
use crate::keys::{TransportKey, network_id};
use crate::net::{Body, Dialer, Limits, Link, LinkError};
use crate::noise::{Expected, HandshakeError, Initiator, Role, SECOND_LEN};
use crate::proto::{
    BlockRequest, CapabilityKey, Deletion, MAX_CONTROL_LEN, NodeReply, NodeRequest, PutEnd, PutOffer, Refusal, Rights,
    ShardName, Signed, Token, decode, encode,
};
use crate::rt::{Rt, Socket};
use crate::signature::SecretKey;
use crate::store::MemoryStore;
use crate::testing::MemoryNet;

pub(super) const WAIT: Duration = Duration::from_secs(20);

/// The answer to a put of which nothing is there yet.
pub(super) fn ready() -> NodeReply {
    NodeReply::PutReady { have: 0, root: ShardRoot::of(&[]) }
}

/// One node and those who want something of it.
pub(super) struct Scene {
    pub(super) net: MemoryNet,
    pub(super) node: NodeHandle,
    pub(super) identity: ServerIdentity,
    pub(super) network: NetworkId,
}

impl Scene {
    async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    async fn with_limits(limits: Limits) -> Self {
        Self::with(|builder| builder.store(MemoryStore::new(1 << 20)).limits(limits)).await
    }

    pub(super) async fn with(setup: impl FnOnce(StorageNodeBuilder) -> StorageNodeBuilder) -> Self {
        let net = MemoryNet::new();
        let rt = Rt::new(net.host());
        let identity = ServerIdentity::generate(&rt);
        let node = setup(StorageNode::builder().rt(rt).identity(identity.clone())).start().await;
        Self { net, node: node.expect("a node starts"), identity, network: network_id("dstore") }
    }

    pub(super) fn expected(&self) -> Expected {
        let Self { identity, network, .. } = self;
        Expected { id: identity.id(), noise_key: identity.noise_key(), role: Role::Node, network: *network }
    }

    async fn socket(&self) -> Socket {
        let rt = Rt::new(self.net.host());
        rt.dial(&self.node.address().to_string()).await.expect("it listens")
    }

    pub(super) async fn connect(&self, key: u8) -> Result<Link, LinkError> {
        let dialer = Dialer::new(Rt::new(self.net.host()), WAIT);
        dialer.connect(&self.node.address().to_string(), &TransportKey::new([key; 32]), &self.expected()).await
    }

    pub(super) async fn link(&self) -> Link {
        self.connect(1).await.expect("a link")
    }

    fn offer(&self, owner: &SecretKey, len: Option<u64>, root: Option<ShardRoot>) -> PutOffer {
        PutOffer { node: self.identity.id(), name: name(owner), len, lease: 1_000_000, root }
    }

    /// Stores `bytes` as `owner`; answers what the node said.
    pub(super) async fn store_small(
        &self,
        link: &mut Link,
        owner: &SecretKey,
        bytes: &[u8],
    ) -> Result<NodeReply, LinkError> {
        let root = ShardRoot::new(*blake3::hash(bytes).as_bytes());
        let offer = self.offer(owner, Some(bytes.len() as u64), Some(root));
        let request = NodeRequest::PutSmall(Signed::new(&offer, owner, self.network, &link.session));
        link.writer.control(&encode(&request));
        link.writer.body(bytes).await?;
        link.writer.flush().await?;
        reply(link).await
    }

    fn token(&self, signer: &SecretKey, names: &SecretKey, holder: Option<NoiseKey>) -> Signed<Token> {
        let now = Rt::new(self.net.host()).now();
        let not_after = now.after(Duration::from_secs(60));
        let token = Token {
            node: self.identity.id(),
            name: name(names),
            rights: Rights::Read,
            holder,
            not_before: now,
            not_after,
        };
        Signed::new(&token, signer, self.network, &[])
    }
}

pub(super) fn key(byte: u8) -> SecretKey {
    SecretKey::new(&[byte; 32]).expect("valid")
}

pub(super) fn name(owner: &SecretKey) -> ShardName {
    ShardName { capability: CapabilityKey::new(owner.public_key()), index: 0, generation: 7 }
}

async fn reply(link: &mut Link) -> Result<NodeReply, LinkError> {
    let reply = link.reader.control(MAX_CONTROL_LEN, WAIT).await?;
    Ok(decode("node reply", &reply)?)
}

pub(super) async fn ask(link: &mut Link, request: &NodeRequest) -> Result<NodeReply, LinkError> {
    let reply = link.call(&encode(request), MAX_CONTROL_LEN, WAIT).await?;
    Ok(decode("node reply", &reply)?)
}

pub(super) fn refusal(result: Result<NodeReply, LinkError>) -> Refusal {
    match result {
        Err(LinkError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn read(token: Signed<Token>) -> NodeRequest {
    NodeRequest::Read(BlockRequest { token, first: 0, count: 1 })
}

#[test]
fn knowing_a_shard_s_name_without_its_key_one_can_do_nothing_to_it() {
    block_on(async {
        let scene = Scene::new().await;
        let (owner, thief) = (key(1), key(2));
        let mut ours = scene.link().await;
        scene.store_small(&mut ours, &owner, b"text").await.expect("stored");

        let mut theirs = scene.connect(9).await.expect("a link");
        assert_eq!(refusal(ask(&mut theirs, &read(scene.token(&thief, &owner, None))).await), Refusal::Denied, "read");
        let stat = NodeRequest::Stat(scene.token(&thief, &owner, None));
        assert_eq!(refusal(ask(&mut theirs, &stat).await), Refusal::Denied, "look");
        let deletion = Deletion { node: scene.identity.id(), name: name(&owner) };
        let delete = NodeRequest::Delete(Signed::new(&deletion, &thief, scene.network, &theirs.session));
        assert_eq!(refusal(ask(&mut theirs, &delete).await), Refusal::Denied, "delete");
        let offer = scene.offer(&owner, Some(4), None);
        let occupy = NodeRequest::PutBegin(Signed::new(&offer, &thief, scene.network, &theirs.session));
        assert_eq!(refusal(ask(&mut theirs, &occupy).await), Refusal::Denied, "occupy or extend");

        let holder = Some(TransportKey::new([1; 32]).public_key());
        let good = scene.token(&owner, &owner, holder);
        assert_eq!(refusal(ask(&mut theirs, &read(good.clone())).await), Refusal::Denied, "use another's token");
        assert!(matches!(ask(&mut ours, &read(good)).await, Ok(NodeReply::Blocks { .. })));
    });
}

#[test]
fn what_was_signed_for_one_connection_is_worth_nothing_on_another() {
    block_on(async {
        let scene = Scene::new().await;
        let owner = key(1);
        let mut first = scene.link().await;
        scene.store_small(&mut first, &owner, b"text").await.expect("stored");
        let deletion = Deletion { node: scene.identity.id(), name: name(&owner) };
        let recorded = NodeRequest::Delete(Signed::new(&deletion, &owner, scene.network, &first.session));
        let mut second = scene.link().await;
        assert_eq!(refusal(ask(&mut second, &recorded).await), Refusal::Denied);
        assert_eq!(ask(&mut first, &recorded).await.expect("its own connection"), NodeReply::Deleted);
    });
}

#[test]
fn without_authority_a_shard_that_is_there_looks_like_one_that_is_not() {
    block_on(async {
        let scene = Scene::new().await;
        let (owner, thief) = (key(1), key(2));
        let mut link = scene.link().await;
        scene.store_small(&mut link, &owner, b"text").await.expect("stored");
        let there = refusal(ask(&mut link, &read(scene.token(&thief, &owner, None))).await);
        let not_there = refusal(ask(&mut link, &read(scene.token(&thief, &key(3), None))).await);
        assert_eq!(there, not_there);
        let with_authority = refusal(ask(&mut link, &read(scene.token(&key(3), &key(3), None))).await);
        assert_eq!(with_authority, Refusal::NotFound);
    });
}

#[test]
fn a_body_that_is_not_what_was_announced_is_refused_and_leaves_nothing() {
    block_on(async {
        let scene = Scene::new().await;
        let owner = key(1);
        let mut link = scene.link().await;
        let wrong_root = scene.offer(&owner, Some(4), Some(ShardRoot::new([0; 32])));
        let wrong_len = scene.offer(&owner, Some(5), Some(ShardRoot::new(*blake3::hash(b"text").as_bytes())));
        for offer in [wrong_root, wrong_len] {
            let request = NodeRequest::PutSmall(Signed::new(&offer, &owner, scene.network, &link.session));
            link.writer.control(&encode(&request));
            link.writer.body(b"text").await.expect("sent");
            assert_eq!(refusal(ask_flushed(&mut link).await), Refusal::Mismatch);
        }
        let streamed = scene.offer(&owner, None, None);
        let request = NodeRequest::PutBegin(Signed::new(&streamed, &owner, scene.network, &link.session));
        assert_eq!(ask(&mut link, &request).await.expect("ready"), ready());
        link.writer.body(b"text").await.expect("sent");
        link.writer.control(&encode(&PutEnd { root: ShardRoot::new([0; 32]) }));
        assert_eq!(refusal(ask_flushed(&mut link).await), Refusal::Mismatch);
        assert_eq!(refusal(ask(&mut link, &read(scene.token(&owner, &owner, None))).await), Refusal::NotFound);
    });
}

async fn ask_flushed(link: &mut Link) -> Result<NodeReply, LinkError> {
    link.writer.flush().await?;
    reply(link).await
}

#[test]
fn a_stream_that_outgrows_the_node_is_refused_in_the_middle_and_the_node_goes_on() {
    block_on(async {
        let scene = Scene::new().await;
        let owner = key(1);
        let mut link = scene.link().await;
        let offer = scene.offer(&owner, None, None);
        let request = NodeRequest::PutBegin(Signed::new(&offer, &owner, scene.network, &link.session));
        assert_eq!(ask(&mut link, &request).await.expect("ready"), ready());
        let block = vec![0; crate::merkle::BLOCK_LEN];
        for _ in 0..128 {
            link.writer.data(&[&block], Body::More);
            if link.writer.flush().await.is_err() {
                break;
            }
        }
        assert_eq!(refusal(reply(&mut link).await), Refusal::NoSpace);
        let mut fresh = scene.link().await;
        scene.store_small(&mut fresh, &owner, b"text").await.expect("the space is free again");
    });
}

#[test]
fn messages_that_mean_nothing_are_refused_by_number() {
    block_on(async {
        let scene = Scene::new().await;
        let malformed = [&[0, 0][..], &[3], &[1, 255, 255, 255, 255, 15]].map(|bytes| (bytes, Refusal::Malformed));
        let unsupported = [&[][..], &[11], &[99], &[255, 255]].map(|bytes| (bytes, Refusal::Unsupported));
        for (garbage, expected) in malformed.into_iter().chain(unsupported) {
            let mut link = scene.link().await;
            link.writer.control(garbage);
            assert_eq!(refusal(ask_flushed(&mut link).await), expected, "{garbage:?}");
        }
        let mut link = scene.link().await;
        let token = scene.token(&key(1), &key(1), None);
        for (first, count) in [(0, 0), (0, 2), (1, 1), (u64::MAX, u64::MAX), (0, 1025)] {
            let owner = key(1);
            let _ = scene.store_small(&mut link, &owner, b"text").await;
            let request = NodeRequest::Read(BlockRequest { token: token.clone(), first, count });
            assert_eq!(refusal(ask(&mut link, &request).await), Refusal::Malformed, "{first} {count}");
        }
    });
}

#[test]
fn a_control_message_without_end_closes_the_connection() {
    block_on(async {
        let scene = Scene::new().await;
        let mut link = scene.link().await;
        link.writer.control(&vec![0; MAX_CONTROL_LEN + 1]);
        assert!(matches!(ask_flushed(&mut link).await, Err(LinkError::Closed | LinkError::Broken(_))));
        let mut link = scene.link().await;
        link.writer.data(&[b"data where a request is due"], Body::End);
        assert!(matches!(ask_flushed(&mut link).await, Err(LinkError::Closed | LinkError::Broken(_))));
    });
}

#[test]
fn bytes_that_are_no_handshake_are_answered_with_one_refusal_and_the_end() {
    block_on(async {
        let scene = Scene::new().await;
        let mut socket = scene.socket().await;
        socket.writer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        let mut answer = vec![];
        socket.reader.read_to_end(&mut answer).await.expect("closed");
        assert_eq!(answer, HandshakeError::NotOurs.refusal());

        let mut socket = scene.socket().await;
        let (_, mut bytes) = Initiator::start(&TransportKey::new([1; 32]), &[2; 32], &scene.expected());
        bytes[4..6].copy_from_slice(&[7, 9]);
        socket.writer.write_all(&bytes).await.expect("sent");
        let mut answer = vec![];
        socket.reader.read_to_end(&mut answer).await.expect("closed");
        assert_eq!(answer, HandshakeError::Version { min: 1, max: 1 }.refusal());
    });
}

#[test]
fn a_replayed_handshake_goes_nowhere() {
    block_on(async {
        let scene = Scene::new().await;
        let mut socket = scene.socket().await;
        let (initiator, first) = Initiator::start(&TransportKey::new([1; 32]), &[2; 32], &scene.expected());
        socket.writer.write_all(&first).await.expect("sent");
        let mut second = [0; 2 + SECOND_LEN];
        socket.reader.read_exact(&mut second).await.expect("answered");
        let (third, _, _) = initiator.finish(second[2..].try_into().expect("whole")).expect("genuine");

        let mut replay = scene.socket().await;
        replay.writer.write_all(&[first, third].concat()).await.expect("sent");
        let mut answer = vec![];
        replay.reader.read_to_end(&mut answer).await.expect("closed");
        assert_eq!(answer.len(), 2 + SECOND_LEN + HandshakeError::KeyOrNetwork.refusal().len());
        assert!(answer.ends_with(&HandshakeError::KeyOrNetwork.refusal()));
    });
}

#[test]
fn who_opens_a_connection_and_says_nothing_loses_it() {
    let limits = Limits { handshake_timeout: Duration::from_millis(10), ..Limits::default() };
    block_on(async {
        let scene = Scene::with_limits(limits).await;
        let mut socket = scene.socket().await;
        socket.writer.write_all(b"DSTR").await.expect("sent");
        let mut answer = vec![];
        socket.reader.read_to_end(&mut answer).await.expect("closed");
        assert!(answer.is_empty());
    });
}

#[test]
fn who_drips_a_body_loses_the_connection_and_nothing_is_kept() {
    let limits = Limits { progress_window: Duration::from_millis(10), ..Limits::default() };
    block_on(async {
        let scene = Scene::with_limits(limits).await;
        let owner = key(1);
        let mut link = scene.link().await;
        let offer = scene.offer(&owner, None, None);
        let request = NodeRequest::PutBegin(Signed::new(&offer, &owner, scene.network, &link.session));
        assert_eq!(ask(&mut link, &request).await.expect("ready"), ready());
        link.writer.data(&[b"a drop"], Body::More);
        assert!(matches!(ask_flushed(&mut link).await, Err(LinkError::Closed | LinkError::Broken(_))));
        let mut fresh = scene.link().await;
        scene.store_small(&mut fresh, &owner, b"text").await.expect("the name is free");
    });
}

#[test]
fn a_key_that_has_all_its_connections_loses_the_oldest_idle_one_to_a_new_one() {
    let limits = Limits { per_key: 2, ..Limits::default() };
    block_on(async {
        let scene = Scene::with_limits(limits).await;
        let (mut first, mut second) = (scene.link().await, scene.link().await);
        for link in [&mut first, &mut second] {
            assert!(matches!(ask(link, &NodeRequest::Info).await, Ok(NodeReply::Info(_))));
        }
        while scene.node.server.gate().idle() < 2 {
            futures_lite::future::yield_now().await;
        }
        let mut third = scene.link().await;
        for link in [&mut third, &mut second] {
            assert!(matches!(ask(link, &NodeRequest::Info).await, Ok(NodeReply::Info(_))));
        }
        let lost = ask(&mut first, &NodeRequest::Info).await;
        assert!(matches!(lost, Err(LinkError::Closed | LinkError::Broken(_))), "{lost:?}");
    });
}

#[test]
fn a_key_whose_connections_are_all_busy_is_told_that_the_node_is_busy() {
    let limits = Limits { per_key: 1, ..Limits::default() };
    block_on(async {
        let scene = Scene::with_limits(limits).await;
        let owner = key(1);
        let mut first = scene.link().await;
        let offer = scene.offer(&owner, None, None);
        let request = NodeRequest::PutBegin(Signed::new(&offer, &owner, scene.network, &first.session));
        assert_eq!(ask(&mut first, &request).await.expect("ready"), ready());
        let mut next = scene.link().await;
        assert_eq!(refusal(ask(&mut next, &NodeRequest::Info).await), Refusal::Busy);
        let mut other = scene.connect(2).await.expect("a link");
        assert!(matches!(ask(&mut other, &NodeRequest::Info).await, Ok(NodeReply::Info(_))));
    });
}

#[test]
fn a_stream_of_less_than_the_quota_is_taken_and_one_of_more_is_refused() {
    const QUOTA: usize = 4 << 20;
    block_on(async {
        let scene = Scene::with(|builder| builder.store(MemoryStore::new(1 << 24)).quota(QUOTA as u64, 100)).await;
        let owner = key(1);
        for (percent, is_taken) in [(110, false), (90, true)] {
            let bytes = vec![7; QUOTA / 100 * percent];
            let mut link = scene.link().await;
            let offer = scene.offer(&owner, None, None);
            let request = NodeRequest::PutBegin(Signed::new(&offer, &owner, scene.network, &link.session));
            assert_eq!(ask(&mut link, &request).await.expect("ready"), ready());
            let sent = link.writer.body(&bytes).await;
            link.writer.control(&encode(&PutEnd { root: ShardRoot::new(*blake3::hash(&bytes).as_bytes()) }));
            if sent.is_ok() {
                let _ = link.writer.flush().await;
            }
            let said = reply(&mut link).await;
            match said {
                Ok(NodeReply::Stored(_)) => assert!(is_taken, "{percent} %"),
                other => assert_eq!((refusal(other), is_taken), (Refusal::Quota, false), "{percent} %"),
            }
        }
    });
}

#[test]
fn too_many_handshakes_at_once_are_told_that_the_node_is_busy() {
    let limits = Limits { half_open_per_private_source: 0, ..Limits::default() };
    block_on(async {
        let scene = Scene::with_limits(limits).await;
        let refused = scene.connect(1).await.err();
        assert!(matches!(refused, Some(LinkError::Handshake(HandshakeError::Busy))), "{refused:?}");
    });
}

#[test]
fn a_wrong_key_and_a_wrong_network_get_the_one_error_that_names_both() {
    block_on(async {
        let scene = Scene::new().await;
        let dialer = Dialer::new(Rt::new(scene.net.host()), WAIT);
        let address = scene.node.address().to_string();
        let wrong = [
            Expected { noise_key: NoiseKey::new([9; 32]), ..scene.expected() },
            Expected { network: network_id("other"), ..scene.expected() },
            Expected { id: NodeId::new([9; 20]), ..scene.expected() },
        ];
        for expected in wrong {
            let error = dialer.connect(&address, &TransportKey::new([1; 32]), &expected).await.err().expect("refused");
            let text = error.at("node").to_string();
            assert!(text.contains("key") && text.contains("network"), "{text}");
        }
    });
}

#[test]
fn a_shutdown_waits_for_nobody_who_says_nothing() {
    block_on(async {
        let scene = Scene::new().await;
        let mut link = scene.link().await;
        assert!(matches!(ask(&mut link, &NodeRequest::Info).await, Ok(NodeReply::Info(_))));
        scene.node.shutdown().await;
        assert!(matches!(ask(&mut link, &NodeRequest::Info).await, Err(LinkError::Closed | LinkError::Broken(_))));
    });
}
