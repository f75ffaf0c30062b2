//! Several writers and several versions of one path.

use dstore::{Error, PutMode};
use futures_lite::future::block_on;
use futures_lite::{StreamExt, future};

use super::{cluster_of, noise};

#[test]
fn a_second_put_is_a_second_version_and_the_first_one_s_shards_are_retired() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let first = client.put("x", &noise(200_000)[..]).await.expect("stored");
        let second = client.put("x", &noise(300_000)[..]).await.expect("stored");
        assert_eq!((first.head.version, second.head.version), (1, 2));
        assert!(client.get("x").bytes().await.expect("read") == noise(300_000));
        client.close().await;
        assert_eq!(cluster.live_shards().await, 6, "only those of the second version");
    });
}

#[test]
fn a_reader_in_between_sees_one_version_or_the_other_whole() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let (old, new) = (noise(6_000_000), noise(6_000_001));
        client.put("x", &old[..]).await.expect("stored");
        let mut reading = client.get("x").stream().await.expect("a stream");
        let first = reading.next().await.expect("a piece").expect("read");
        client.put("x", &new[..]).await.expect("stored");
        let mut read = first.to_vec();
        while let Some(piece) = reading.next().await {
            read.extend_from_slice(&piece.expect("retired shards serve readers that started before"));
        }
        assert!(read == old);
        assert!(client.get("x").bytes().await.expect("read") == new);
    });
}

#[test]
fn a_get_into_memory_of_the_caller_starts_over_in_new_memory_when_the_file_is_replaced() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        let (old, new) = (noise(1_000_000), noise(1_000_001));
        client.put("x", &old[..]).await.expect("stored");
        let mut lens = Vec::new();
        let read = client.get("x").bytes_into(|len| {
            lens.push(len);
            if lens.len() == 1 {
                block_on(async {
                    for node in 0..3 {
                        cluster.wipe(node).await.expect("restarted");
                    }
                    client.put("x", &new[..]).await.expect("replaced");
                });
            }
            Vec::with_capacity(len)
        });
        assert!(read.await.expect("read") == new);
        assert_eq!(lens, [old.len(), new.len()]);
    });
}

#[test]
fn of_two_creators_at_once_one_wins_and_the_other_is_told() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let other = cluster.client().await.expect("a client");
        let (a, b) = (noise(100_000), noise(100_001));
        let one = async { client.put("x", &a[..]).mode(PutMode::Create).await };
        let two = async { other.put("x", &b[..]).mode(PutMode::Create).await };
        let results = future::zip(one, two).await;
        let (won, lost) = match results {
            (Ok(_), Err(error)) => (&a, error),
            (Err(error), Ok(_)) => (&b, error),
            both => panic!("{both:?}"),
        };
        assert_eq!(lost.code(), "already_exists");
        assert!(client.get("x").bytes().await.expect("read") == *won, "the loser deleted nothing of the winner's");
        other.close().await;
        client.close().await;
        assert_eq!(cluster.live_shards().await, 6, "the loser's shards are retired");
    });
}

#[test]
fn an_update_needs_the_very_version_that_it_names() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let put = |mode| client.put("x", &b"text"[..]).mode(mode).into_future();
        assert_eq!(put(PutMode::Update(1)).await.expect_err("nothing there").code(), "not_found");
        put(PutMode::Create).await.expect("created");
        assert_eq!(put(PutMode::Create).await.expect_err("there").code(), "already_exists");
        assert_eq!(put(PutMode::Update(1)).await.expect("updated").head.version, 2);
        let error = put(PutMode::Update(1)).await.expect_err("stale");
        assert!(matches!(error, Error::VersionConflict { expected: 1, actual: 2, .. }), "{error}");
    });
}

#[test]
fn a_removed_file_is_gone_and_its_path_can_be_used_again() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        client.put("x", &b"one"[..]).await.expect("stored");
        client.remove("x").await.expect("removed");
        assert_eq!(client.get("x").bytes().await.expect_err("gone").code(), "not_found");
        assert_eq!(client.remove("x").await.expect_err("gone").code(), "not_found");
        let again = client.put("x", &b"two"[..]).mode(PutMode::Create).await.expect("stored");
        assert_eq!(again.head.version, 3, "versions never repeat");
        client.close().await;
        assert_eq!(cluster.live_shards().await, 6);
    });
}

#[test]
fn a_rename_moves_the_record_and_no_shard() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let content = noise(200_000);
        let before = client.put("old", &content[..]).await.expect("stored");
        let after = client.rename("old", "new").await.expect("renamed");
        assert_eq!(before.head.shards, after.shards);
        assert_eq!(client.head("old").await.expect_err("gone").code(), "not_found");
        assert!(client.get("new").bytes().await.expect("read") == content);
        client.put("other", &b"text"[..]).await.expect("stored");
        assert_eq!(client.rename("new", "other").await.expect_err("taken").code(), "already_exists");
        assert_eq!(client.rename("new", "new").await.expect_err("itself").code(), "invalid_path");
        assert_eq!(client.rename("nothing", "y").await.expect_err("nothing").code(), "not_found");
        client.close().await;
        assert_eq!(cluster.live_shards().await, 12);
    });
}

#[test]
fn a_list_has_every_live_file_under_its_prefix() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        for path in ["a/1", "a/2", "b/1", "a-2"] {
            client.put(path, path.as_bytes()).await.expect("stored");
        }
        client.remove("a/2").await.expect("removed");
        let listed = async |prefix: &str| {
            let heads: Vec<_> = client.list(prefix).try_collect().await.expect("listed");
            let mut paths: Vec<String> = heads.iter().map(|head: &dstore::Head| head.path.to_string()).collect();
            paths.sort();
            paths
        };
        assert_eq!(listed("").await, ["a-2", "a/1", "b/1"]);
        assert_eq!(listed("a/").await, ["a/1"]);
        assert!(listed("c").await.is_empty());
    });
}

#[test]
fn a_put_that_is_dropped_commits_nothing() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let stuck = dstore::Source::reader(futures_lite::io::AsyncReadExt::chain(
            futures_lite::io::Cursor::new(noise(9_000_000)),
            Stuck,
        ));
        let mut put = client.put("x", stuck).into_future();
        // Until nothing moves any more: the source waits for ever.
        for _ in 0..50 {
            future::poll_once(&mut put).await;
            future::yield_now().await;
        }
        drop(put);
        assert_eq!(client.head("x").await.expect_err("nothing").code(), "not_found");
        client.put("x", &b"text"[..]).mode(PutMode::Create).await.expect("stored");
    });
}

/// A source that never ends and never gives.
struct Stuck;

impl futures_lite::AsyncRead for Stuck {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut [u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::task::Poll::Pending
    }
}

use std::future::IntoFuture;
