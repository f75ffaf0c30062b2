//! What is refused, before anything is sent or kept.

use dstore::{Client, Error, MemoryLedger, Owner, Scheme};
use futures_lite::future::block_on;

use super::{cluster_of, noise};

#[test]
fn with_two_nodes_a_put_refuses_before_it_sends_and_says_how_many_are_needed() {
    block_on(async {
        let (cluster, client) = cluster_of(2).await;
        let error = client.put("x", &noise(1_000_000)[..]).await.expect_err("too few");
        assert_eq!(error.code(), "not_enough_nodes");
        assert!(matches!(error, Error::NotEnoughNodes { active: 2, needed: 3, .. }), "{error}");
        assert_eq!(cluster.live_shards().await, 0);
    });
}

#[test]
fn a_full_node_is_passed_over_for_a_spare_one() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        let full = cluster.add_node(1000).await.expect("a node");
        for path in ["a", "b", "c", "d"] {
            let committed = client.put(path, &noise(500_000)[..]).await.expect("stored");
            assert!(committed.head.shards.iter().all(|shard| shard.node != cluster.node_id(full)));
            client.put(path, &noise(50_000)[..]).await.expect("stored: small files too");
        }
    });
}

#[test]
fn without_a_spare_node_a_full_one_ends_the_put_whole() {
    block_on(async {
        let (mut cluster, client) = cluster_of(2).await;
        let full = cluster.add_node(1000).await.expect("a node");
        for len in [5_000, 500_000] {
            let error = client.put("x", &noise(len)[..]).await.expect_err("no room");
            assert_eq!(error.code(), "not_enough_nodes");
            assert!(error.to_string().contains("no space left"), "{error}");
            assert!(error.to_string().contains(&cluster.node_id(full).short()), "{error}");
        }
        assert_eq!(client.head("x").await.expect_err("nothing").code(), "not_found");
    });
}

#[test]
fn reading_a_known_file_needs_no_registry_and_putting_one_says_that_it_is_down() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        client.put("x", &b"text"[..]).await.expect("stored");
        cluster.kill_registry();
        let fresh = cluster.client().await.expect("a client");
        assert_eq!(fresh.get("x").bytes().await.expect("read"), &b"text"[..]);
        let error = fresh.put("y", &b"text"[..]).await.expect_err("no registry");
        assert_eq!(error.code(), "unavailable");
        assert!(error.to_string().contains("registry"), "{error}");
    });
}

#[test]
fn without_a_registry_configured_a_put_names_the_setting() {
    block_on(async {
        let owner = Owner::from_secret(&[1; 32]).expect("valid");
        let client = Client::builder().owner(owner).ledger(MemoryLedger::default()).connect().await.expect("a client");
        let error = client.put("x", &b"text"[..]).await.expect_err("no registry");
        assert_eq!(error.code(), "config");
        assert!(error.to_string().contains("DSTORE_REGISTRY"), "{error}");
    });
}

#[test]
fn bad_paths_are_refused_by_every_operation() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let long = "x".repeat(5000);
        for path in ["../../etc/passwd", "a//b", "", "/a", "a\0b", &long] {
            let codes = [
                client.put(path, &b"text"[..]).await.expect_err("refused").code(),
                client.get(path).bytes().await.expect_err("refused").code(),
                client.remove(path).await.expect_err("refused").code(),
                client.rename("x", path).await.expect_err("refused").code(),
                client.head(path).await.expect_err("refused").code(),
            ];
            assert_eq!(codes, ["invalid_path"; 5], "{path:?}");
        }
        assert_eq!(cluster.live_shards().await, 0);
    });
}

#[test]
fn a_record_that_would_not_fit_is_refused_before_anything_is_sent() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let scheme = Scheme::new(16, 16).expect("valid");
        let put = client.put("p".repeat(1024), &noise(1000)[..]).scheme(scheme).attribute("a", "b".repeat(2000));
        assert_eq!(put.await.expect_err("too long").code(), "too_large");
        let put = client.put("x", &b"text"[..]).attribute("a", "b".repeat(3000));
        assert_eq!(put.await.expect_err("too long").code(), "too_large");
        assert_eq!(cluster.live_shards().await, 0);
    });
}

#[test]
fn a_tolerance_that_no_scheme_gives_is_a_configuration_error() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        for tolerate in [0, 3] {
            let error = cluster.client_builder().tolerate(tolerate).connect().await.expect_err("impossible");
            assert_eq!(error.code(), "config");
        }
        let two = cluster.client_builder().tolerate(2).connect().await.expect("a client");
        let error = two.put("x", &b"text"[..]).await.expect_err("needs six nodes");
        assert!(matches!(error, Error::NotEnoughNodes { active: 3, needed: 6, .. }), "{error}");
        let weak = Scheme::new(4, 1).expect("valid");
        let error = client.put("x", &b"text"[..]).scheme(weak).await.expect_err("needs five nodes");
        assert!(matches!(error, Error::NotEnoughNodes { active: 3, needed: 5, .. }), "{error}");
    });
}

#[test]
fn another_network_s_nodes_cannot_be_used_and_the_error_names_both_causes() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        client.put("x", &b"text"[..]).await.expect("stored");
        let stranger = cluster.client_builder().network("other").connect().await.expect("a client");
        let error = stranger.put("y", &b"text"[..]).await.expect_err("another network");
        let text = error.to_string();
        assert!(text.contains("key") && text.contains("network"), "{text}");
        let error = stranger.get("x").bytes().await.expect_err("another network");
        assert!(error.to_string().contains("network"), "{error}");
    });
}
