//! Nodes die, hang and rot: what is tolerated reads, what is not ends in the right error.

use dstore::error::FaultKind;
use dstore::{Error, Scheme, WarningCode};
use futures_lite::future::block_on;

use super::{Warnings, cluster_of, noise};

#[test]
fn a_file_reads_back_after_the_loss_of_any_one_of_three_nodes() {
    block_on(async {
        for lost in 0..3 {
            let (mut cluster, client) = cluster_of(3).await;
            let content = noise(3_000_000);
            let committed = client.put("a/b.bin", &content[..]).await.expect("stored");
            assert_eq!(committed.head.tolerates_nodes, 1);
            cluster.kill(lost);
            assert!(client.get("a/b.bin").bytes().await.expect("read") == content, "node {lost} lost");
        }
    });
}

/// With one shard at each of six nodes, all 15 losses of two shards.
#[test]
fn a_file_reads_back_after_the_loss_of_any_two_of_six_shards() {
    block_on(async {
        let (mut cluster, client) = cluster_of(6).await;
        let content = noise(200_000);
        client.put("x", &content[..]).await.expect("stored");
        for first in 0..6 {
            for second in first + 1..6 {
                cluster.kill(first);
                cluster.kill(second);
                assert!(client.get("x").bytes().await.expect("read") == content, "{first} and {second} lost");
                cluster.restart(first).await.expect("restarted");
                cluster.restart(second).await.expect("restarted");
            }
        }
    });
}

#[test]
fn the_high_scheme_survives_any_two_of_three_nodes() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        let content = noise(300_000);
        let committed = client.put("x", &content[..]).scheme(Scheme::HIGH).await.expect("stored");
        assert_eq!(committed.head.tolerates_nodes, 2);
        cluster.kill(0);
        cluster.kill(2);
        assert!(client.get("x").bytes().await.expect("read") == content);
    });
}

#[test]
fn with_two_of_three_nodes_dead_the_error_counts_and_names_what_is_missing() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        client.put("x", &noise(500_000)[..]).await.expect("stored");
        cluster.kill(0);
        cluster.kill(1);
        let error = client.get("x").bytes().await.expect_err("too few");
        assert_eq!(error.code(), "not_enough_shards");
        assert!(error.is_retryable());
        let Error::NotEnoughShards { found, needed, missing } = error else { panic!("{error}") };
        assert_eq!((found, needed, missing.len()), (2, 4, 4));
        for dead in [0, 1] {
            assert_eq!(missing.iter().filter(|fault| fault.node == cluster.node_id(dead)).count(), 2);
        }
    });
}

#[test]
fn a_dead_node_that_comes_back_serves_again() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        let content = noise(500_000);
        client.put("x", &content[..]).await.expect("stored");
        cluster.kill(0);
        cluster.kill(1);
        client.get("x").bytes().await.expect_err("too few");
        cluster.restart(0).await.expect("restarted");
        assert!(client.get("x").bytes().await.expect("read") == content);
    });
}

#[test]
fn a_node_that_hangs_is_answered_with_parity() {
    block_on(async {
        let (cluster, _) = cluster_of(3).await;
        let client = cluster
            .client_builder()
            .hedge_after(std::time::Duration::from_millis(20))
            .connect()
            .await
            .expect("a client");
        let content = noise(5_000_000);
        let committed = client.put("x", &content[..]).await.expect("stored");
        let first = cluster.index_of(committed.head.shards[0].node).expect("a member");
        cluster.hang(first);
        let warnings = Warnings::default();
        let read = client.get("x").warnings(warnings.hook()).bytes().await.expect("read");
        assert!(read == content);
        assert!(warnings.codes().contains(&WarningCode::NodeSlow), "{:?}", warnings.list());
        assert!(warnings.list().iter().any(|warning| warning.node == cluster.node_id(first)));
    });
}

#[test]
fn a_corrupt_node_costs_a_warning_that_names_it_and_never_a_wrong_byte() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        for len in [1_000, 1_000_000] {
            let content = noise(len);
            let committed = client.put("x", &content[..]).await.expect("stored");
            let first = cluster.index_of(committed.head.shards[0].node).expect("a member");
            cluster.corrupt(first);
            let warnings = Warnings::default();
            let read = client.get("x").warnings(warnings.hook()).bytes().await.expect("read");
            assert!(read == content);
            let warning = warnings.list().into_iter().find(|w| w.code == WarningCode::BlockCorrupt).expect("a warning");
            assert_eq!(warning.node, cluster.node_id(first));
            cluster.corrupt(first);
        }
    });
}

#[test]
fn too_many_corrupt_shards_on_living_nodes_are_unrecoverable() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        client.put("x", &noise(1_000_000)[..]).await.expect("stored");
        cluster.corrupt(0);
        cluster.corrupt(1);
        let error = client.get("x").bytes().await.expect_err("too few intact");
        assert_eq!(error.code(), "unrecoverable");
        let Error::Unrecoverable { found, needed, faults } = error else { panic!("{error}") };
        assert_eq!((found, needed), (2, 4));
        assert!(faults.iter().all(|fault| fault.kind == FaultKind::Corrupt));
    });
}

#[test]
fn a_corrupt_node_and_a_dead_one_together_are_not_final() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        client.put("x", &noise(1_000_000)[..]).await.expect("stored");
        cluster.corrupt(0);
        cluster.kill(1);
        let error = client.get("x").bytes().await.expect_err("too few");
        assert_eq!(error.code(), "not_enough_shards", "the dead node may come back");
    });
}

#[test]
fn what_a_dead_node_could_not_make_enough_again_is_unrecoverable() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        client.put("x", &noise(1_000_000)[..]).await.expect("stored");
        cluster.corrupt(0);
        cluster.corrupt(1);
        cluster.kill(2);
        let error = client.get("x").bytes().await.expect_err("too few intact");
        assert_eq!(error.code(), "unrecoverable", "even with the dead node back only two of four would be left");
    });
}

#[test]
fn shards_that_are_all_damaged_in_different_places_still_give_every_byte() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let content = noise(5_000_000);
        client.put("x", &content[..]).await.expect("stored");
        let mut stripe = 0;
        for node in 0..3 {
            for id in cluster.store(node).ids() {
                assert!(cluster.store(node).flip(id, stripe * 16_384 + 5), "stripe {stripe} is there");
                stripe += 3;
            }
        }
        let warnings = Warnings::default();
        let read = client.get("x").warnings(warnings.hook()).bytes().await.expect("every stripe has five good blocks");
        assert!(read == content);
        let corrupt = [WarningCode::BlockCorrupt, WarningCode::NodeSlow];
        assert!(warnings.codes().iter().all(|code| corrupt.contains(code)), "or late, on a busy machine");
    });
}

#[test]
fn a_get_outlives_the_restart_of_every_node_one_after_another() {
    use futures_lite::StreamExt;
    block_on(async {
        let (mut cluster, _) = cluster_of(3).await;
        let client = cluster.client_builder().memory(1).connect().await.expect("a client");
        let content = noise(30_000_000);
        client.put("x", &content[..]).await.expect("stored");
        let mut stream = client.get("x").stream().await.expect("a stream");
        let mut read = vec![];
        for node in 0..3 {
            while read.len() < (node + 1) * 6_000_000 {
                read.extend_from_slice(&stream.next().await.expect("more").expect("read"));
            }
            cluster.restart(node).await.expect("restarted");
        }
        while let Some(piece) = stream.next().await {
            read.extend_from_slice(&piece.expect("every node is back"));
        }
        assert!(read == content);
    });
}

#[test]
fn check_tells_how_every_shard_is() {
    use dstore::ShardHealth::{Missing, Ok, Unreachable};
    block_on(async {
        let (mut cluster, client) = cluster_of(4).await;
        client.put("x", &noise(500_000)[..]).await.expect("stored");
        let (head, checks) = client.check("x").await.expect("checked");
        assert!(checks.iter().all(|check| check.state == Ok));
        let [dead, empty] = [0, 1].map(|at| cluster.index_of(head.shards[at].node).expect("a member"));
        cluster.kill(dead);
        cluster.wipe(empty).await.expect("restarted");
        for check in client.check("x").await.expect("checked").1 {
            let expected = match cluster.index_of(check.home.node) {
                Some(node) if node == dead => Unreachable,
                Some(node) if node == empty => Missing,
                _ => Ok,
            };
            assert_eq!(check.state, expected, "shard {}", check.home.index);
        }
    });
}

/// A source that calls `act` when so many of its bytes were read.
struct Trap<F> {
    bytes: Vec<u8>,
    at: usize,
    sprung_at: usize,
    act: Option<F>,
}

impl<F: FnOnce() + Unpin> futures_lite::AsyncRead for Trap<F> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buf: &mut [u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        if self.at >= self.sprung_at
            && let Some(act) = self.act.take()
        {
            act();
        }
        let count = buf.len().min(self.bytes.len() - self.at);
        buf[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        std::task::Poll::Ready(Ok(count))
    }
}

#[test]
fn a_node_that_dies_during_a_put_of_a_stream_ends_it_whole() {
    use std::sync::{Arc, Mutex};
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let cluster = Arc::new(Mutex::new(cluster));
        let killer = cluster.clone();
        let trap = Trap {
            bytes: noise(20_000_000),
            at: 0,
            sprung_at: 8_000_000,
            act: Some(move || killer.lock().expect("no panic").kill(1)),
        };
        let error = client.put("x", dstore::Source::reader(trap)).await.expect_err("a node died");
        assert!(error.is_retryable(), "{error}");
        let dead = cluster.lock().expect("no panic").node_id(1).short();
        assert!(error.to_string().contains(&dead), "{error}");
        assert_eq!(client.head("x").await.expect_err("nothing").code(), "not_found");
        client.close().await;
        let cluster = Arc::into_inner(cluster).expect("the source is gone").into_inner().expect("no panic");
        assert_eq!(cluster.live_shards().await, 0, "what the others had stored is retired");
    });
}

/// Its bytes are gone: what the lost node had is made again from the shards that the others have.
#[test]
fn a_node_that_dies_during_a_put_of_a_stream_is_replaced_by_a_spare_one() {
    use std::sync::{Arc, Mutex};
    block_on(async {
        for victim in 0..4 {
            let (cluster, client) = cluster_of(4).await;
            let cluster = Arc::new(Mutex::new(cluster));
            let killer = cluster.clone();
            let content = noise(20_000_000);
            let act = Some(move || killer.lock().expect("no panic").kill(victim));
            let trap = Trap { bytes: content.clone(), at: 0, sprung_at: 8_000_000, act };
            let warnings = Warnings::default();
            let put = client.put("x", dstore::Source::reader(trap)).warnings(warnings.hook());
            let committed = put.await.expect("stored on the other three");
            let cluster = Arc::into_inner(cluster).expect("the source is gone").into_inner().expect("no panic");
            assert!(committed.head.shards.iter().all(|shard| shard.node != cluster.node_id(victim)));
            assert!(warnings.codes().contains(&WarningCode::NodeReplaced));
            assert_eq!(committed.head.tolerates_nodes, 1);
            assert!(client.get("x").bytes().await.expect("read") == content);
        }
    });
}

#[test]
fn a_node_that_dies_during_a_put_of_a_file_is_replaced_by_a_spare_one() {
    use std::sync::{Arc, Mutex};
    block_on(async {
        let (cluster, client) = cluster_of(4).await;
        let victim = Arc::new(Mutex::new(cluster));
        let killer = victim.clone();
        let content = noise(20_000_000);
        // Two of four nodes hold two shards: the third progress report comes with bytes on their way to all of them.
        let reports = Mutex::new(0);
        let warnings = Warnings::default();
        let put = client.put("x", &content[..]).warnings(warnings.hook()).progress(move |_| {
            let mut reports = reports.lock().expect("no panic");
            *reports += 1;
            if *reports == 3 {
                killer.lock().expect("no panic").kill(1);
            }
        });
        let committed = put.await.expect("stored on the other three");
        let cluster = Arc::into_inner(victim).expect("the put is gone").into_inner().expect("no panic");
        assert!(committed.head.shards.iter().all(|shard| shard.node != cluster.node_id(1)));
        assert!(warnings.codes().contains(&WarningCode::NodeReplaced));
        assert!(client.get("x").bytes().await.expect("read") == content);
        client.close().await;
        assert_eq!(cluster.live_shards().await, 6, "the first attempt left nothing");
    });
}
