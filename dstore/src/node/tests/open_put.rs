//! Puts whose connection ended: who may go on with them, from where, and when they end.

use std::time::Duration;

use futures_lite::future::block_on;

use super::{Scene, ask, key, name, refusal, reply};
use crate::id::{NoiseKey, ShardRoot};
use crate::merkle::BLOCK_LEN;
use crate::net::{Body, Link, LinkError};
use crate::node::{StorageNode, StorageNodeBuilder, upkeep};
use crate::proto::{Deletion, NodeReply, NodeRequest, PutEnd, Refusal, Signed, encode};
use crate::rt::Rt;
use crate::signature::SecretKey;
use crate::store::{MemoryStore, OpenShard, ShardKey, ShardStore};

const ROOM: u64 = 8 << 20;

fn data() -> Vec<u8> {
    crate::testing::conformance::store::bytes(1, 100 * BLOCK_LEN + 3)
}

/// A node whose store the test sees too.
async fn scene(setup: impl FnOnce(StorageNodeBuilder) -> StorageNodeBuilder) -> (Scene, MemoryStore) {
    let store = MemoryStore::new(ROOM);
    let kept = store.clone();
    (Scene::with(|builder| setup(builder.store(store))).await, kept)
}

async fn begin(scene: &Scene, link: &mut Link, owner: &SecretKey, len: Option<u64>) -> Result<NodeReply, LinkError> {
    let offer = scene.offer(owner, len, None);
    ask(link, &NodeRequest::PutBegin(Signed::new(&offer, owner, scene.network, &link.session))).await
}

/// Sends a part of a body, and hangs up.
async fn cut_off(mut link: Link, part: &[u8]) {
    for frame in part.chunks(crate::net::MAX_DATA_LEN) {
        link.writer.data(&[frame], Body::More);
        link.writer.flush().await.expect("sent");
    }
}

async fn end(link: &mut Link, rest: &[u8], root: ShardRoot) -> Result<NodeReply, LinkError> {
    link.writer.body(rest).await?;
    link.writer.control(&encode(&PutEnd { root }));
    link.writer.flush().await?;
    reply(link).await
}

fn holds(blocks: usize) -> NodeReply {
    NodeReply::PutReady { have: blocks as u64, root: ShardRoot::of(&data()[..blocks * BLOCK_LEN]) }
}

/// Ready when the node has noticed the end of the connection that wrote the shard of `owner`.
async fn left(store: &MemoryStore, owner: &SecretKey) -> Option<OpenShard> {
    loop {
        let open = store.open_shard(name(owner).id()).await.expect("counts");
        match open {
            Some(open) if open.reserved > open.held => futures_lite::future::yield_now().await,
            open => return open,
        }
    }
}

#[test]
fn another_connection_goes_on_where_the_first_was_cut() {
    block_on(async {
        let (scene, store) = scene(|builder| builder).await;
        let (owner, data) = (key(1), data());
        let len = Some(data.len() as u64);
        let mut have = 0;
        for next in [30, 90] {
            let mut link = scene.link().await;
            assert_eq!(begin(&scene, &mut link, &owner, len).await.expect("ready"), holds(have));
            cut_off(link, &data[have * BLOCK_LEN..next * BLOCK_LEN]).await;
            let open = left(&store, &owner).await.expect("is open");
            assert_eq!(open.held, (next * BLOCK_LEN) as u64, "all that arrived is kept");
            have = next;
        }
        let mut other = scene.connect(2).await.expect("a link");
        assert_eq!(begin(&scene, &mut other, &owner, len).await.expect("ready"), holds(90));
        let stored = end(&mut other, &data[90 * BLOCK_LEN..], ShardRoot::of(&data)).await;
        assert!(matches!(stored, Ok(NodeReply::Stored(_))), "{stored:?}");
        assert_eq!(store.contents(), [data]);
    });
}

#[test]
fn a_put_that_is_taken_over_fails_on_its_older_connection() {
    block_on(async {
        let (scene, store) = scene(|builder| builder).await;
        let (owner, data) = (key(1), data());
        let (mut first, mut second) = (scene.link().await, scene.link().await);
        assert_eq!(begin(&scene, &mut first, &owner, None).await.expect("ready"), holds(0));
        assert_eq!(begin(&scene, &mut second, &owner, None).await.expect("ready"), holds(0));
        let late = end(&mut first, &data, ShardRoot::of(&data)).await;
        assert_eq!(refusal(late), Refusal::Failed);
        let stored = end(&mut second, &data, ShardRoot::of(&data)).await;
        assert!(matches!(stored, Ok(NodeReply::Stored(_))), "{stored:?}");
        assert_eq!(store.contents(), [data]);
    });
}

#[test]
fn a_node_that_was_started_again_goes_on_with_its_open_puts() {
    block_on(async {
        let (mut scene, store) = scene(|builder| builder).await;
        let (owner, data) = (key(1), data());
        let mut link = scene.link().await;
        assert_eq!(begin(&scene, &mut link, &owner, None).await.expect("ready"), holds(0));
        cut_off(link, &data[..70 * BLOCK_LEN]).await;
        while store
            .open_shard(name(&owner).id())
            .await
            .expect("counts")
            .is_none_or(|open| open.held < 70 * BLOCK_LEN as u64)
        {
            futures_lite::future::yield_now().await;
        }
        let builder = StorageNode::builder().rt(Rt::new(scene.net.host())).identity(scene.identity.clone());
        scene.node = builder.store(store.clone()).start().await.expect("starts again");
        let mut link = scene.link().await;
        let len = Some(data.len() as u64);
        assert_eq!(begin(&scene, &mut link, &owner, len).await.expect("ready"), holds(70));
        let stored = end(&mut link, &data[70 * BLOCK_LEN..], ShardRoot::of(&data)).await;
        assert!(matches!(stored, Ok(NodeReply::Stored(_))), "{stored:?}");
    });
}

/// Leaves a put of `owner` open that holds so many blocks of the data.
async fn leave_open(scene: &Scene, store: &MemoryStore, owner: &SecretKey, blocks: usize) {
    let mut link = scene.link().await;
    begin(scene, &mut link, owner, Some(data().len() as u64)).await.expect("ready");
    cut_off(link, &data()[..blocks * BLOCK_LEN]).await;
    let open = left(store, owner).await.expect("is open");
    assert_eq!((open.held, open.reserved), ((blocks * BLOCK_LEN) as u64, (blocks * BLOCK_LEN) as u64));
}

#[test]
fn a_wrong_root_at_the_end_discards_the_put() {
    block_on(async {
        let (scene, store) = scene(|builder| builder).await;
        let (owner, data) = (key(1), data());
        leave_open(&scene, &store, &owner, 40).await;
        let mut link = scene.link().await;
        begin(&scene, &mut link, &owner, None).await.expect("ready");
        let refused = end(&mut link, &data[41 * BLOCK_LEN..], ShardRoot::of(&data)).await;
        assert_eq!(refusal(refused), Refusal::Mismatch);
        assert_eq!(begin(&scene, &mut link, &owner, None).await.expect("ready"), holds(0));
    });
}

#[test]
fn another_length_than_before_starts_anew() {
    block_on(async {
        let (scene, store) = scene(|builder| builder).await;
        let owner = key(1);
        leave_open(&scene, &store, &owner, 40).await;
        let mut link = scene.link().await;
        let other = Some(data().len() as u64 + 1);
        assert_eq!(begin(&scene, &mut link, &owner, other).await.expect("ready"), holds(0));
    });
}

#[test]
fn a_deleted_put_frees_its_room_at_once() {
    block_on(async {
        let (scene, store) = scene(|builder| builder).await;
        let owner = key(1);
        leave_open(&scene, &store, &owner, 40).await;
        let mut link = scene.link().await;
        for _ in 0..2 {
            let deletion = Deletion { node: scene.identity.id(), name: name(&owner) };
            let delete = NodeRequest::Delete(Signed::new(&deletion, &owner, scene.network, &link.session));
            assert_eq!(ask(&mut link, &delete).await.expect("deleted"), NodeReply::Deleted);
            assert_eq!(store.usage().await.expect("counts").used, 0);
        }
        assert_eq!(begin(&scene, &mut link, &owner, None).await.expect("ready"), holds(0));
    });
}

#[test]
fn open_puts_take_up_quota_with_what_they_hold_and_no_more() {
    block_on(async {
        let len = data().len() as u64;
        let quota = len + 40 * BLOCK_LEN as u64;
        let (scene, store) = scene(|builder| builder.quota(quota, 100)).await;
        leave_open(&scene, &store, &key(1), 40).await;
        leave_open(&scene, &store, &key(2), 41).await;
        let mut link = scene.link().await;
        let refused = begin(&scene, &mut link, &key(3), Some(len)).await;
        assert_eq!(refusal(refused), Refusal::Quota, "what is held counts");
        let refused = begin(&scene, &mut link, &key(1), Some(len)).await;
        assert_eq!(refusal(refused), Refusal::Quota, "so does the rest, when it is taken up");
        let ready = begin(&scene, &mut link, &key(2), Some(len)).await.expect("what is held counts once");
        assert_eq!(ready, holds(41));
    });
}

#[test]
fn a_key_has_a_bounded_number_of_open_puts() {
    block_on(async {
        let (scene, store) = scene(|builder| builder.max_open(2)).await;
        leave_open(&scene, &store, &key(1), 1).await;
        let mut writing = scene.link().await;
        assert_eq!(begin(&scene, &mut writing, &key(2), None).await.expect("ready"), holds(0));
        let mut link = scene.link().await;
        assert_eq!(refusal(begin(&scene, &mut link, &key(3), None).await), Refusal::Quota);
        assert_eq!(begin(&scene, &mut link, &key(1), None).await.expect("it is open already"), holds(1));
        let mut other = scene.connect(2).await.expect("a link");
        assert_eq!(begin(&scene, &mut other, &key(3), None).await.expect("another key"), holds(0));
    });
}

#[test]
fn a_draining_node_still_finishes_its_open_puts() {
    block_on(async {
        let (scene, store) = scene(|builder| builder).await;
        let data = data();
        leave_open(&scene, &store, &key(1), 40).await;
        scene.node.drain(true);
        let mut link = scene.link().await;
        assert_eq!(refusal(begin(&scene, &mut link, &key(2), None).await), Refusal::NoSpace);
        assert_eq!(begin(&scene, &mut link, &key(1), None).await.expect("ready"), holds(40));
        let stored = end(&mut link, &data[40 * BLOCK_LEN..], ShardRoot::of(&data)).await;
        assert!(matches!(stored, Ok(NodeReply::Stored(_))), "{stored:?}");
    });
}

#[test]
fn a_put_stays_open_for_24_h() {
    block_on(async {
        let store = MemoryStore::new(ROOM);
        let now = Rt::default().now();
        let day = Duration::from_secs(24 * 3600);
        let minute = Duration::from_secs(60);
        let shard = |owner: &SecretKey| ShardKey {
            id: name(owner).id(),
            cap_pk: owner.public_key(),
            index: 0,
            generation: 7,
            account: NoiseKey::new([1; 32]),
        };
        for (owner, begun) in [(key(1), now.before(day + minute)), (key(2), now.before(day).after(minute))] {
            let mut writer = store.begin(shard(&owner), None, begun).await.expect("begins");
            writer.append(data()[..BLOCK_LEN].to_vec()).await.expect("appends");
        }
        // Started only now: a node sweeps when it likes, and takes a shard that is just being written for a young one.
        let scene = Scene::with(|builder| builder.store(store.clone())).await;
        upkeep::round(&scene.node.core, &mut None).await.expect("sweeps");
        assert_eq!(store.open_shard(name(&key(1)).id()).await.expect("counts"), None);
        assert!(store.open_shard(name(&key(2)).id()).await.expect("counts").is_some());
    });
}
