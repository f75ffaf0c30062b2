//! Copies of records at a node: who may store, read and list them, and what stays of them.

use futures_lite::future::block_on;

use super::{Scene, ask, key, refusal};
use crate::copy::MAX_COPY_LEN;
use crate::id::CopyId;
use crate::keys::copy_id;
use crate::net::{Link, LinkError};
use crate::proto::{CapabilityKey, CopyItem, CopyOffer, CopyQuery, NodeReply, NodeRequest, Refusal, Signed};
use crate::signature::SecretKey;
use crate::store::MemoryStore;

const ROOM: u64 = 1 << 20;

fn offer(scene: &Scene, owner: &SecretKey, version: u32, body: &[u8]) -> CopyOffer {
    let key = CapabilityKey::new(owner.public_key());
    CopyOffer { node: scene.identity.id(), key, version, lease: 1_000_000, hash: *blake3::hash(body).as_bytes() }
}

/// `offer`, signed by `signer` for this link.
fn put(scene: &Scene, link: &Link, signer: &SecretKey, offer: &CopyOffer, body: &[u8]) -> NodeRequest {
    NodeRequest::PutCopy { offer: Signed::new(offer, signer, scene.network, &link.session), body: body.to_vec() }
}

async fn store(scene: &Scene, link: &mut Link, owner: &SecretKey, version: u32, body: &[u8]) -> Result<u32, Refusal> {
    let request = put(scene, link, owner, &offer(scene, owner, version, body), body);
    match ask(link, &request).await {
        Ok(NodeReply::CopyStored { version, .. }) => Ok(version),
        other => Err(refusal(other)),
    }
}

fn query(scene: &Scene, link: &Link, signer: &SecretKey, names: &SecretKey) -> NodeRequest {
    let query = CopyQuery { node: scene.identity.id(), key: CapabilityKey::new(names.public_key()) };
    NodeRequest::GetCopy(Signed::new(&query, signer, scene.network, &link.session))
}

async fn read(scene: &Scene, link: &mut Link, owner: &SecretKey) -> Result<Vec<(u32, Vec<u8>)>, Refusal> {
    let request = query(scene, link, owner, owner);
    match ask(link, &request).await {
        Ok(NodeReply::Copies { items, next: None }) => Ok(versions(items)),
        other => Err(refusal(other)),
    }
}

fn versions(items: Vec<CopyItem>) -> Vec<(u32, Vec<u8>)> {
    items.into_iter().map(|item| (item.version, item.body)).collect()
}

async fn page(link: &mut Link, cursor: Option<CopyId>) -> (Vec<CopyItem>, Option<CopyId>) {
    match ask(link, &NodeRequest::ListCopies { cursor }).await {
        Ok(NodeReply::Copies { items, next }) => (items, next),
        other => panic!("no page: {other:?}"),
    }
}

fn owner(number: u16) -> SecretKey {
    let mut secret = [1; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    SecretKey::new(&secret).expect("valid")
}

#[test]
fn the_two_highest_versions_of_a_copy_are_kept_and_read_by_whoever_has_its_key() {
    block_on(async {
        let scene = Scene::new().await;
        let mut link = scene.link().await;
        let body = |byte| vec![byte; 128];
        assert_eq!(read(&scene, &mut link, &key(1)).await, Err(Refusal::NotFound));
        for (version, highest) in [(3, 3), (1, 3), (2, 3), (1, 3), (7, 7), (7, 7)] {
            let byte = u8::try_from(version).expect("small");
            assert_eq!(store(&scene, &mut link, &key(1), version, &body(byte)).await, Ok(highest));
        }
        let kept = vec![(3, body(3)), (7, body(7))];
        assert_eq!(read(&scene, &mut link, &key(1)).await, Ok(kept.clone()));
        let mut elsewhere = scene.connect(9).await.expect("a link");
        assert_eq!(read(&scene, &mut elsewhere, &key(1)).await, Ok(kept));
        assert_eq!(store(&scene, &mut link, &key(1), 7, &body(77)).await, Ok(7));
        assert_eq!(read(&scene, &mut link, &key(1)).await, Ok(vec![(3, body(3)), (7, body(77))]), "the owner decides");
    });
}

#[test]
fn nobody_without_its_key_reads_stores_or_replays_a_copy() {
    block_on(async {
        let scene = Scene::new().await;
        let (mut ours, mut theirs) = (scene.link().await, scene.connect(9).await.expect("a link"));
        let (owner, thief) = (key(1), key(2));
        let body = vec![7; 128];
        let ours_offer = offer(&scene, &owner, 1, &body);
        let recorded = put(&scene, &ours, &owner, &ours_offer, &body);
        ask(&mut ours, &recorded).await.expect("stored");
        assert_eq!(refusal(ask(&mut theirs, &recorded).await), Refusal::Denied, "replay");
        let forged = put(&scene, &theirs, &thief, &CopyOffer { version: 2, ..ours_offer }, &body);
        assert_eq!(refusal(ask(&mut theirs, &forged).await), Refusal::Denied, "occupy");
        let elsewhere = CopyOffer { node: crate::id::NodeId::new([9; 20]), ..ours_offer };
        let misdirected = put(&scene, &ours, &owner, &elsewhere, &body);
        assert_eq!(refusal(ask(&mut ours, &misdirected).await), Refusal::Denied, "for another node");
        let there = query(&scene, &theirs, &thief, &owner);
        let not_there = query(&scene, &theirs, &thief, &key(3));
        assert_eq!(refusal(ask(&mut theirs, &there).await), Refusal::Denied, "read");
        assert_eq!(refusal(ask(&mut theirs, &not_there).await), Refusal::Denied, "what is not there looks the same");
        let recorded = query(&scene, &ours, &owner, &owner);
        ask(&mut ours, &recorded).await.expect("read");
        assert_eq!(refusal(ask(&mut theirs, &recorded).await), Refusal::Denied, "replay of a query");
        assert_eq!(read(&scene, &mut ours, &owner).await, Ok(vec![(1, body)]));
    });
}

#[test]
fn a_key_lists_what_it_stored_and_nothing_of_others_until_it_takes_it_over() {
    block_on(async {
        let scene = Scene::new().await;
        let (mut ours, mut theirs) = (scene.link().await, scene.connect(9).await.expect("a link"));
        store(&scene, &mut ours, &key(1), 1, &[7; 128]).await.expect("stored");
        store(&scene, &mut ours, &key(2), 1, &[8; 128]).await.expect("stored");
        store(&scene, &mut theirs, &key(3), 1, &[9; 128]).await.expect("stored");
        let ids = |page: &[CopyItem]| page.iter().map(|item| item.id).collect::<Vec<_>>();
        let mut expected = [1, 2].map(|owner| copy_id(&key(owner).public_key())).to_vec();
        expected.sort_unstable();
        assert_eq!(ids(&page(&mut ours, None).await.0), expected);
        assert_eq!(ids(&page(&mut theirs, None).await.0), [copy_id(&key(3).public_key())]);
        let any = CopyId::new([0; 32]);
        assert_eq!(
            ids(&page(&mut theirs, Some(any)).await.0),
            [copy_id(&key(3).public_key())],
            "no cursor finds others"
        );
        store(&scene, &mut theirs, &key(1), 2, &[7; 128]).await.expect("whoever has the key may");
        assert_eq!(ids(&page(&mut ours, None).await.0), [copy_id(&key(2).public_key())]);
        let listed = page(&mut theirs, None).await.0;
        assert_eq!(listed.iter().filter(|item| item.id == copy_id(&key(1).public_key())).count(), 2, "both versions");
        let mut stranger = scene.connect(10).await.expect("a link");
        assert_eq!(page(&mut stranger, None).await, (vec![], None));
    });
}

#[test]
fn pages_are_within_a_message_and_together_everything() {
    block_on(async {
        for len in [128, 768, MAX_COPY_LEN] {
            let scene = Scene::with(|builder| builder.store(MemoryStore::new(16 << 20))).await;
            let mut link = scene.link().await;
            for number in 0..400_u16 {
                for version in [1, 2] {
                    store(&scene, &mut link, &owner(number), version, &vec![7; len]).await.expect("stored");
                }
            }
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let (items, next) = page(&mut link, cursor).await;
                seen.extend(items.iter().map(|item| (item.id, item.version)));
                match next {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!((seen.len(), seen), (800, sorted), "bodies of {len} bytes");
        }
    });
}

#[test]
fn bodies_of_other_lengths_and_hashes_are_refused() {
    block_on(async {
        let scene = Scene::new().await;
        let mut link = scene.link().await;
        for len in [0, 1, 127, 129, MAX_COPY_LEN + 128] {
            let stored = store(&scene, &mut link, &key(1), 1, &vec![7; len]).await;
            assert_eq!(stored, Err(Refusal::Malformed), "{len}");
        }
        let request = put(&scene, &link, &key(1), &offer(&scene, &key(1), 1, &[8; 128]), &[7; 128]);
        assert_eq!(refusal(ask(&mut link, &request).await), Refusal::Mismatch);
        assert_eq!(read(&scene, &mut link, &key(1)).await, Err(Refusal::NotFound));
    });
}

#[test]
fn copies_count_against_their_key_and_a_new_version_of_the_same_length_always_fits() {
    block_on(async {
        let scene = Scene::with(|node| node.store(MemoryStore::new(ROOM)).quota(1_000, 100).quota_copies(3)).await;
        let mut link = scene.link().await;
        for number in 0..3 {
            store(&scene, &mut link, &owner(number), 1, &[7; 128]).await.expect("stored");
        }
        assert_eq!(store(&scene, &mut link, &owner(3), 1, &[7; 128]).await, Err(Refusal::Quota), "a fourth copy");
        let mut other = scene.connect(9).await.expect("a link");
        store(&scene, &mut other, &owner(3), 1, &[7; 128]).await.expect("another key has its own quota");
        assert_eq!(
            store(&scene, &mut link, &owner(3), 2, &[7; 128]).await,
            Err(Refusal::Quota),
            "nor by taking it over"
        );
        assert_eq!(store(&scene, &mut link, &owner(0), 2, &[7; 768]).await, Err(Refusal::Quota), "its bytes");
        for version in 2..9 {
            store(&scene, &mut link, &owner(0), version, &[7; 128])
                .await
                .expect("takes no more room from the third on");
        }
        let shard = scene.store_small(&mut link, &key(9), &[7; 600]).await;
        assert_eq!(refusal(shard), Refusal::Quota, "512 bytes of copies leave 488 to shards");
        scene.store_small(&mut link, &key(9), &[7; 488]).await.expect("just fits");
        store(&scene, &mut link, &owner(0), 9, &[7; 128]).await.expect("a renewal at the quota's end");
    });
}

#[test]
fn a_draining_or_full_node_takes_new_versions_of_what_it_has() {
    block_on(async {
        let scene = Scene::with(|builder| builder.store(MemoryStore::new(400))).await;
        let mut link = scene.link().await;
        store(&scene, &mut link, &key(1), 1, &[7; 128]).await.expect("stored");
        scene.node.drain(true);
        assert_eq!(store(&scene, &mut link, &key(2), 1, &[7; 128]).await, Err(Refusal::NoSpace), "draining");
        store(&scene, &mut link, &key(1), 2, &[7; 128]).await.expect("known");
        scene.node.drain(false);
        assert_eq!(store(&scene, &mut link, &key(2), 1, &[7; 256]).await, Err(Refusal::NoSpace), "full");
        store(&scene, &mut link, &key(1), 3, &[7; 128]).await.expect("takes the place of an older one");
    });
}

#[test]
fn who_may_not_store_shards_may_not_store_copies_and_may_read_them() {
    block_on(async {
        let scene =
            Scene::with(|builder| builder.store(MemoryStore::new(1 << 20)).admission(crate::node::Admission::Invited));
        let scene = scene.await;
        let mut link = scene.link().await;
        assert_eq!(store(&scene, &mut link, &key(1), 1, &[7; 128]).await, Err(Refusal::Denied));
        let query = CopyQuery { node: scene.node.id(), key: CapabilityKey::new(key(1).public_key()) };
        let request = NodeRequest::GetCopy(Signed::new(&query, &key(1), scene.network, &link.session));
        let refused = ask(&mut link, &request).await.expect_err("there is none");
        assert!(matches!(refused, LinkError::Refused(Refusal::NotFound)), "{refused}");
    });
}
