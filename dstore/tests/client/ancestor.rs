//! The defects of the Python project that dstore descends from, each as a test that it is gone.

use dstore::{PutMode, Scheme};
use futures_lite::future::block_on;

use super::{cluster_of, noise};

#[test]
fn a_fourth_node_or_one_that_returns_elsewhere_changes_nothing_for_files_that_exist() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        let content = noise(1_000_000);
        client.put("x", &content[..]).await.expect("stored");
        cluster.add_node(1 << 30).await.expect("a fourth node");
        assert!(client.get("x").bytes().await.expect("read") == content);
        for node in 0..3 {
            cluster.restart_elsewhere(node).await.expect("restarted");
        }
        let fresh = cluster.client().await.expect("a client");
        assert!(fresh.get("x").bytes().await.expect("all nodes have moved") == content);
    });
}

#[test]
fn any_one_node_may_be_lost() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        client.put("x", &noise(100_000)[..]).await.expect("stored");
        cluster.kill(1);
        assert!(client.get("x").bytes().await.expect("read") == noise(100_000));
    });
}

#[test]
fn names_never_reach_a_node() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        client.put("a name that says all", &b"a content that says all"[..]).await.expect("stored");
        for node in 0..3 {
            for bytes in cluster.store(node).contents() {
                let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
                assert!(!has(b"a name that") && !has(b"a content that"));
            }
        }
    });
}

#[test]
fn names_that_are_not_ascii_are_names_like_others() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        for path in ["文件/我的 照片.jpg", "ärger", "🦀", "a\u{301}"] {
            client.put(path, path.as_bytes()).await.expect("stored");
        }
        for path in ["文件/我的 照片.jpg", "ärger", "🦀", "a\u{301}"] {
            assert_eq!(client.get(path).bytes().await.expect("read"), path.as_bytes());
        }
        assert!(client.get("á").bytes().await.is_err(), "another sequence of bytes is another name");
    });
}

#[test]
fn a_path_can_be_stored_again_and_again() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        for version in 1..=5 {
            let committed = client.put("x", &noise(version)[..]).await.expect("stored");
            assert_eq!(committed.head.version as usize, version);
        }
    });
}

#[test]
fn nobody_can_squat_a_name_or_read_what_is_filed_under_it() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let stranger = dstore::Owner::from_secret(&[9; 32]).expect("valid");
        let stranger = cluster.client_builder().owner(stranger).connect().await.expect("a client");
        stranger.put("x", &b"theirs"[..]).mode(PutMode::Create).await.expect("stored");
        client.put("x", &b"ours"[..]).mode(PutMode::Create).await.expect("stored all the same");
        assert_eq!(client.get("x").bytes().await.expect("read"), &b"ours"[..]);
        assert_eq!(stranger.get("x").bytes().await.expect("read"), &b"theirs"[..]);
    });
}

#[test]
fn a_file_larger_than_the_memory_setting_goes_both_ways() {
    block_on(async {
        let (cluster, _) = cluster_of(3).await;
        let client = cluster.client_builder().memory(1).connect().await.expect("the least memory is used");
        let content = noise(64 << 20);
        let reader = dstore::Source::reader(futures_lite::io::Cursor::new(content.clone()));
        client.put("x", reader).await.expect("stored");
        assert!(client.get("x").bytes().await.expect("read") == content);
    });
}

#[test]
fn a_ledger_that_fails_loses_nothing_and_leaves_no_shards() {
    use dstore::testing::BrokenLedger;
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        client.put("x", &b"old"[..]).await.expect("stored");
        let broken = BrokenLedger::new(cluster.ledger().clone());
        let other = cluster.client_builder().ledger(broken).connect().await.expect("a client");
        let error = other.put("x", &noise(500_000)[..]).await.expect_err("the ledger is down");
        assert_eq!(error.code(), "unavailable");
        assert!(error.to_string().contains("ledger"), "{error}");
        other.close().await;
        assert_eq!(client.get("x").bytes().await.expect("read"), &b"old"[..]);
        assert_eq!(cluster.live_shards().await, 6, "only the old version's");
    });
}

#[test]
fn every_default_put_has_parity() {
    assert!(Scheme::default().parity() > 0);
}
