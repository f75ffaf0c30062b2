//! A node that lies costs time, is named, and changes nothing of what is read and what is stored.

use dstore::WarningCode;
use dstore::testing::{Cluster, Lie, LyingNode};
use futures_lite::AsyncReadExt;
use futures_lite::future::block_on;

use super::{Warnings, noise};

/// Two honest nodes and one that lies, so that every file has shards there, and a file in two versions.
struct Scene {
    cluster: Cluster,
    liar: LyingNode,
    content: Vec<u8>,
}

impl Scene {
    async fn new(len: usize) -> Self {
        let cluster = Cluster::start(2).await.expect("a cluster starts");
        let liar = LyingNode::start(&cluster).await.expect("a liar starts");
        let client = cluster.client().await.expect("a client");
        let content = noise(len);
        for _ in 0..2 {
            client.put("x", &content[..]).await.expect("stored");
        }
        Self { cluster, liar, content }
    }

    /// Reads the file in each way, with a client that knows nothing of the liar, and answers what it was told of it.
    async fn read(&self, lie: Lie) -> Vec<WarningCode> {
        self.liar.tell(lie);
        let client = self.cluster.client().await.expect("a client");
        let warnings = Warnings::default();
        let get = || client.get("x").warnings(warnings.hook());
        assert!(get().bytes().await.expect("read") == self.content, "{lie:?}");
        let half = self.content.len() as u64 / 2;
        let part = get().range(half..half + 100).bytes().await.expect("read");
        assert!(part[..] == self.content[half as usize..][..100], "{lie:?}");
        let mut read = Vec::new();
        get().reader().await.expect("a reader").read_to_end(&mut read).await.expect("read");
        assert!(read == self.content, "{lie:?}");
        assert!(warnings.list().iter().all(|warning| warning.node == self.liar.id()), "{lie:?}: {:?}", warnings.list());
        warnings.codes()
    }
}

#[test]
fn wrong_bytes_of_every_kind_are_never_returned_and_their_node_is_named() {
    block_on(async {
        for len in [200_000, 3_000_000] {
            let scene = Scene::new(len).await;
            for lie in
                [Lie::WrongBlock, Lie::OtherBlock, Lie::OtherShard, Lie::StaleShard, Lie::WrongProof, Lie::ShortBody]
            {
                let codes = scene.read(lie).await;
                assert!(codes.contains(&WarningCode::BlockCorrupt), "{lie:?} of {len}: {codes:?}");
            }
        }
    });
}

#[test]
fn a_node_that_breaks_the_protocol_amid_a_read_is_named_and_replaced() {
    block_on(async {
        let scene = Scene::new(3_000_000).await;
        for lie in [Lie::CutBody, Lie::EndlessBody, Lie::RefusedBody, Lie::UnknownRefusal, Lie::OtherAnswer] {
            let codes = scene.read(lie).await;
            assert!(codes.contains(&WarningCode::NodeUnreachable), "{lie:?}: {codes:?}");
        }
    });
}

#[test]
fn a_node_that_only_keeps_one_waiting_is_named_and_replaced() {
    block_on(async {
        let scene = Scene::new(3_000_000).await;
        for lie in [Lie::EndlessPads, Lie::Drip] {
            let codes = scene.read(lie).await;
            assert!(codes.contains(&WarningCode::NodeSlow), "{lie:?}: {codes:?}");
        }
    });
}

#[test]
fn a_lie_about_a_lease_changes_nothing_of_what_is_read() {
    block_on(async {
        let scene = Scene::new(200_000).await;
        for lie in [Lie::LeaseLongOver, Lie::LeaseForEver] {
            scene.read(lie).await;
        }
    });
}

/// Puts with `lie` told by one of three nodes, then with a spare one.
async fn put(lie: Lie, len: usize) {
    let mut cluster = Cluster::start(2).await.expect("a cluster starts");
    let liar = LyingNode::start(&cluster).await.expect("a liar starts");
    let client = cluster.client().await.expect("a client");
    liar.tell(lie);
    let content = noise(len);
    let error = client.put("x", &content[..]).await.expect_err("a node is missing");
    assert_eq!(error.code(), "not_enough_nodes", "{lie:?} of {len}: {error}");
    assert!(error.to_string().contains(&liar.id().short()), "{lie:?} of {len}: {error}");
    assert_eq!(client.head("x").await.expect_err("nothing").code(), "not_found", "{lie:?} of {len}");
    client.close().await;
    assert_eq!(cluster.live_shards().await, 0, "{lie:?} of {len}: nothing is left at the others");

    cluster.add_node(1 << 30).await.expect("a spare node");
    let client = cluster.client().await.expect("a client");
    let warnings = Warnings::default();
    let mut names_the_liar = false;
    // The registry lists nodes in any order: at last one put begins with the liar.
    for number in 0..64 {
        let path = format!("x{number}");
        let committed = client.put(&path, &content[..]).warnings(warnings.hook()).await.expect("stored at the others");
        assert!(committed.head.shards.iter().all(|shard| shard.node != liar.id()), "{lie:?} of {len}");
        names_the_liar = warnings.list().iter().any(|warning| warning.node == liar.id());
        if names_the_liar {
            break;
        }
    }
    assert!(names_the_liar, "{lie:?} of {len}");
    assert!(client.get("x0").bytes().await.expect("read") == content, "{lie:?} of {len}");
}

#[test]
fn a_receipt_that_is_forged_or_for_something_else_is_none() {
    block_on(async {
        for len in [1_000, 1_000_000] {
            put(Lie::ForgedReceipt, len).await;
            put(Lie::OtherReceipt, len).await;
        }
    });
}

#[test]
fn a_node_that_refuses_when_it_was_ready_is_replaced() {
    block_on(async {
        put(Lie::RefusalWhenReady, 1_000).await;
        put(Lie::RefusalWhenReady, 1_000_000).await;
    });
}

#[test]
fn a_node_that_claims_to_have_what_it_was_never_given_is_replaced() {
    block_on(put(Lie::NonsenseHave, 1_000_000));
}

/// With a receipt a put cannot know better: whoever looks finds out, and the others still have enough.
#[test]
fn a_node_that_takes_and_discards_is_found_by_a_check_and_read_around() {
    block_on(async {
        for len in [1_000, 1_000_000] {
            let cluster = Cluster::start(2).await.expect("a cluster starts");
            let liar = LyingNode::start(&cluster).await.expect("a liar starts");
            liar.tell(Lie::Discard);
            let client = cluster.client().await.expect("a client");
            let content = noise(len);
            client.put("x", &content[..]).await.expect("it has receipts");
            let (_, checks) = client.check("x").await.expect("checked");
            for check in checks {
                let is_missing = check.state == dstore::ShardHealth::Missing;
                assert_eq!(is_missing, check.home.node == liar.id(), "{check:?}");
            }
            let warnings = Warnings::default();
            assert!(client.get("x").warnings(warnings.hook()).bytes().await.expect("read") == content);
            let told = warnings.list();
            assert!(told.iter().all(|warning| warning.node == liar.id()), "{told:?}");
        }
    });
}
