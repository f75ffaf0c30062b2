//! Keys that a node does not know, and those that an invite lets in.

use futures_lite::future::block_on;

use super::*;
use crate::id::NodeId;
use crate::keys::{TransportKey, network_id};
use crate::net::{Body, Dialer, Link};
use crate::node::tests::{Scene, WAIT, ask, key, name, ready, refusal};
use crate::proto::{Invite, InviteTerms, NodeReply, NodeRequest, PutOffer, ShardName, Signed};
use crate::rt::{Rt, Timestamp};
use crate::signature::SecretKey;
use crate::store::MemoryStore;

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

async fn open_node(capacity: u64, strangers: Strangers) -> Scene {
    Scene::with(|builder| {
        let builder = builder.store(MemoryStore::new(capacity)).capacity(capacity);
        builder.admission(Admission::Open).strangers(strangers)
    })
    .await
}

/// A link from a public address with a key of its own.
async fn stranger(scene: &Scene, transport: u8) -> Link {
    let dialer = Dialer::new(Rt::new(scene.net.public_host()), WAIT);
    let address = scene.node.address().to_string();
    dialer.connect(&address, &TransportKey::new([transport; 32]), &scene.expected()).await.expect("a link")
}

fn begin(scene: &Scene, link: &Link, owner: &SecretKey, generation: u32, len: Option<u64>) -> NodeRequest {
    let name = ShardName { generation, ..name(owner) };
    let offer = PutOffer { node: scene.identity.id(), name, len, lease: 1_000_000, root: None };
    NodeRequest::PutBegin(Signed::new(&offer, owner, scene.network, &link.session))
}

#[test]
fn a_key_that_is_not_invited_stores_nothing_until_it_presents_an_invite() {
    block_on(async {
        let scene = Scene::with(|builder| builder.store(MemoryStore::new(1 << 20)).admission(Admission::Invited)).await;
        let owner = key(1);
        let mut guest = scene.link().await;
        assert_eq!(refusal(scene.store_small(&mut guest, &owner, b"text").await), Refusal::Denied);
        let invite = scene.node.invite(HOUR);
        let accept = NodeRequest::Accept(invite.clone());
        assert!(matches!(ask(&mut guest, &accept).await, Ok(NodeReply::Info(_))));
        assert!(matches!(scene.store_small(&mut guest, &owner, b"text").await, Ok(NodeReply::Stored(_))));

        let mut other = scene.connect(2).await.expect("a link");
        assert_eq!(refusal(ask(&mut other, &accept).await), Refusal::Denied, "it is the first one's");
        assert_eq!(refusal(scene.store_small(&mut other, &key(2), b"text").await), Refusal::Denied);
        let mut again = scene.link().await;
        assert!(
            matches!(ask(&mut again, &accept).await, Ok(NodeReply::Info(_))),
            "who presents it again is told the same"
        );
    });
}

#[test]
fn an_invite_that_is_forged_expired_or_of_another_node_or_network_lets_nobody_in() {
    block_on(async {
        let scene = Scene::with(|builder| builder.store(MemoryStore::new(1 << 20)).admission(Admission::Invited)).await;
        let mut link = scene.link().await;
        let now = Rt::new(scene.net.host()).now();
        let terms = |node, not_after| InviteTerms { node, id: [1; 16], not_after };
        let (me, later) = (scene.identity.id(), now.after(HOUR));
        let (ours, thief) = (scene.identity.signing(), key(9));
        let sign =
            |terms: InviteTerms, key: &SecretKey, label| -> Invite { Signed::new(&terms, key, network_id(label), &[]) };
        for (invite, expected) in [
            (sign(terms(me, later), &thief, "dstore"), Refusal::Denied),
            (sign(terms(me, later), ours, "other"), Refusal::Denied),
            (sign(terms(NodeId::new(thief.address()), later), &thief, "dstore"), Refusal::Denied),
            (sign(terms(me, Timestamp::default()), ours, "dstore"), Refusal::Expired),
        ] {
            assert_eq!(refusal(ask(&mut link, &NodeRequest::Accept(invite)).await), expected);
        }
        assert_eq!(refusal(scene.store_small(&mut link, &key(1), b"text").await), Refusal::Denied);
    });
}

#[test]
fn strangers_share_one_pool_whatever_keys_they_make_and_known_keys_do_not_use_it() {
    block_on(async {
        let mut strangers = Strangers::default();
        (strangers.bytes, strangers.network_bytes) = (Some(1000), Some(1000));
        let scene = open_node(1 << 20, strangers).await;
        let bytes = [7; 400];
        for number in 1..=2 {
            let mut link = stranger(&scene, number).await;
            assert!(matches!(scene.store_small(&mut link, &key(number), &bytes).await, Ok(NodeReply::Stored(_))));
        }
        let mut third = stranger(&scene, 3).await;
        assert_eq!(refusal(scene.store_small(&mut third, &key(3), &bytes).await), Refusal::Quota);
        let mut known = scene.connect(4).await.expect("a link from a private address");
        assert!(matches!(scene.store_small(&mut known, &key(4), &bytes).await, Ok(NodeReply::Stored(_))));
    });
}

#[test]
fn one_network_of_strangers_leaves_room_for_another() {
    block_on(async {
        let mut strangers = Strangers::default();
        (strangers.bytes, strangers.network_bytes) = (Some(1000), Some(500));
        let scene = open_node(1 << 20, strangers).await;
        let mut link = stranger(&scene, 1).await;
        scene.store_small(&mut link, &key(1), &[7; 400]).await.expect("stored");
        let mut link = stranger(&scene, 2).await;
        assert_eq!(refusal(scene.store_small(&mut link, &key(2), &[7; 400]).await), Refusal::Quota);
    });
}

#[test]
fn strangers_cannot_set_aside_more_than_a_share_of_what_is_free_without_sending_it() {
    block_on(async {
        const CAPACITY: u64 = 64 << 20;
        let mut strangers = Strangers::default();
        (strangers.bytes, strangers.network_bytes) = (Some(CAPACITY), Some(CAPACITY));
        let scene = open_node(CAPACITY, strangers).await;
        let mut links = Vec::new();
        let mut set_aside = 0;
        let last = loop {
            let mut link = stranger(&scene, u8::try_from(links.len() + 1).expect("few")).await;
            let request = begin(&scene, &link, &key(1), u32::try_from(links.len()).expect("few"), Some(4 << 20));
            match ask(&mut link, &request).await {
                Ok(said) => assert_eq!(said, ready()),
                refused => break refusal(refused),
            }
            // A drop keeps it open for a while.
            link.writer.data(&[&[0; crate::merkle::BLOCK_LEN]], Body::More);
            link.writer.flush().await.expect("sent");
            links.push(link);
            set_aside += 4 << 20;
        };
        assert_eq!((last, set_aside), (Refusal::NoSpace, CAPACITY / 4));
        let mut known = scene.link().await;
        let honest = begin(&scene, &known, &key(2), 0, Some(CAPACITY / 2));
        assert_eq!(ask(&mut known, &honest).await.expect("there is room for those who are known"), ready());
    });
}

#[test]
fn strangers_together_leave_half_of_the_places_for_puts_to_those_who_are_known() {
    block_on(async {
        let scene =
            Scene::with(|builder| builder.store(MemoryStore::new(1 << 20)).admission(Admission::Open).open_puts(2))
                .await;
        let (mut first, mut second) = (stranger(&scene, 1).await, stranger(&scene, 2).await);
        let request = begin(&scene, &first, &key(1), 0, None);
        assert_eq!(ask(&mut first, &request).await.expect("ready"), ready());
        let request = begin(&scene, &second, &key(1), 1, None);
        assert_eq!(refusal(ask(&mut second, &request).await), Refusal::Busy);
        let mut known = scene.link().await;
        let request = begin(&scene, &known, &key(2), 0, None);
        assert_eq!(ask(&mut known, &request).await.expect("ready"), ready());
    });
}

#[test]
fn one_network_of_strangers_and_all_callers_together_have_only_so_many_puts_open() {
    block_on(async {
        let mut strangers = Strangers::default();
        (strangers.network_puts, strangers.bytes) = (1, Some(1 << 20));
        let scene = Scene::with(|builder| {
            let builder = builder.store(MemoryStore::new(1 << 20)).admission(Admission::Open).strangers(strangers);
            builder.open_puts(2)
        })
        .await;
        let (mut first, mut second) = (stranger(&scene, 1).await, stranger(&scene, 2).await);
        let request = begin(&scene, &first, &key(1), 0, None);
        assert_eq!(ask(&mut first, &request).await.expect("ready"), ready());
        let request = begin(&scene, &second, &key(1), 1, None);
        assert_eq!(refusal(ask(&mut second, &request).await), Refusal::Busy);
        let (mut known, mut late) = (scene.link().await, scene.link().await);
        let request = begin(&scene, &known, &key(2), 0, None);
        assert_eq!(ask(&mut known, &request).await.expect("ready"), ready());
        let request = begin(&scene, &late, &key(2), 1, None);
        assert_eq!(refusal(ask(&mut late, &request).await), Refusal::Busy, "in all");
    });
}

const KEY: NoiseKey = NoiseKey::new([3; 32]);

fn door(admission: Admission) -> Door {
    let guests = block_on(Guests::open(None, &Rt::default())).expect("in memory");
    Door { admission, allowed: [NoiseKey::new([4; 32])].into(), guests }
}

#[test]
fn strangers_from_public_addresses_store_nothing_unless_asked_in() {
    let [public, private] = [[192, 0, 2, 1], [10, 0, 0, 1]].map(IpAddr::from);
    let may = |admission, remote| door(admission).caller(KEY, remote).map(|caller| caller.is_stranger);
    assert_eq!(may(Admission::Private, public), Err(Refusal::Denied));
    assert_eq!(may(Admission::Private, private), Ok(false));
    assert_eq!(may(Admission::Open, public), Ok(true));
    assert_eq!(may(Admission::Open, private), Ok(false));
    assert_eq!(may(Admission::Invited, private), Err(Refusal::Denied));
}

#[test]
fn a_key_that_is_allowed_may_store_shards_from_wherever_it_comes() {
    for admission in [Admission::Private, Admission::Open, Admission::Invited] {
        let caller = door(admission).caller(NoiseKey::new([4; 32]), [192, 0, 2, 1].into());
        assert_eq!(caller, Ok(Caller { account: NoiseKey::new([4; 32]), is_stranger: false }));
    }
}

#[test]
fn strangers_of_one_network_have_one_account_and_all_accounts_of_strangers_lie_together() {
    let account = |text: &str| account_of(text.parse().expect("an address"));
    assert_eq!(account("192.0.2.1"), account("192.0.2.255"));
    assert_eq!(account("192.0.2.1"), account("::ffff:192.0.2.9"));
    assert_ne!(account("192.0.2.1"), account("192.0.3.1"));
    assert_eq!(account("2001:db8::1"), account("2001:db8::ffff:1"));
    assert_ne!(account("2001:db8::1"), account("2001:db8:0:1::1"));
    assert!(["192.0.2.1", "2001:db8::1"].iter().all(|text| all_strangers().contains(&account(text))));
    assert!(!all_strangers().contains(&KEY));
}
