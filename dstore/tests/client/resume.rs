//! What a client that ended left behind: gone on with, cleared away, or left to whoever is still at work.

use std::sync::{Arc, Mutex};

use dstore::error::Error;
use dstore::journal::{Journal, MemoryJournal};
use dstore::testing::{BrokenLedger, Cluster};
use dstore::{Client, Progress, PutMode};
use futures_lite::future::{block_on, poll_once};

use super::noise;

async fn client_of(cluster: &Cluster, journal: &MemoryJournal) -> Client {
    cluster.client_builder().journal(journal.clone()).connect().await.expect("a client")
}

/// Ends the put of `content` to `x` once nodes have at least a part of it.
pub(super) async fn interrupt(client: &Client, content: &[u8]) {
    let reached = Arc::new(Mutex::new(0));
    let seen = reached.clone();
    let put = client.put("x", content).progress(move |p: Progress| *seen.lock().expect("fine") = p.bytes_done);
    let mut put = std::future::IntoFuture::into_future(put);
    while *reached.lock().expect("fine") < content.len() as u64 / 2 {
        assert!(poll_once(&mut put).await.is_none(), "it was to be interrupted");
        futures_lite::future::yield_now().await;
    }
}

#[test]
fn a_put_that_was_interrupted_goes_on_with_what_nodes_have() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let (journal, content) = (MemoryJournal::default(), noise(40_000_000));
        interrupt(&client_of(&cluster, &journal).await, &content).await;
        assert_eq!(journal.count(), 1);
        let first = Arc::new(Mutex::new(None));
        let seen = first.clone();
        let again = client_of(&cluster, &journal).await;
        let put = again.put("x", &content[..]);
        let put = put.progress(move |p: Progress| {
            seen.lock().expect("fine").get_or_insert(p.bytes_done);
        });
        let committed = put.await.expect("stored");
        assert!(committed.resumed > 0, "{}", committed.resumed);
        assert!(first.lock().expect("fine").expect("told") > 2_000_000, "the bar starts where it stood");
        assert_eq!(committed.head.version, 1);
        assert!(again.get("x").bytes().await.expect("read") == content);
        again.close().await;
        assert_eq!(journal.count(), 0);
        assert_eq!(cluster.live_shards().await, 6);
    });
}

#[test]
fn other_bytes_are_another_content_and_go_from_the_start() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let (journal, mut content) = (MemoryJournal::default(), noise(20_000_000));
        interrupt(&client_of(&cluster, &journal).await, &content).await;
        // Of the same length, and with the same beginning and end.
        content[1_000_000] ^= 1;
        let again = client_of(&cluster, &journal).await;
        let committed = again.put("x", &content[..]).await.expect("stored");
        assert!(again.get("x").bytes().await.expect("read") == content);
        assert_eq!(committed.head.version, 1);
        again.close().await;
        assert_eq!(cluster.live_shards().await, 6, "what the first one left is gone");
        assert_eq!(journal.count(), 0);
    });
}

#[test]
fn a_client_that_starts_beside_a_running_put_leaves_it_alone() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let (journal, content) = (MemoryJournal::default(), noise(10_000_000));
        let first = client_of(&cluster, &journal).await;
        let mut put = std::future::IntoFuture::into_future(first.put("x", &content[..]));
        while journal.count() == 0 {
            assert!(poll_once(&mut put).await.is_none());
            futures_lite::future::yield_now().await;
        }
        let beside = client_of(&cluster, &journal).await;
        beside.put("y", &b"beside"[..]).await.expect("stored");
        beside.close().await;
        put.await.expect("stored");
        assert!(first.get("x").bytes().await.expect("read") == content);
    });
}

#[test]
fn a_put_that_was_committed_and_not_told_is_told_and_not_made_again() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let (journal, content) = (MemoryJournal::default(), noise(300_000));
        // The ledger takes the write and the answer is lost.
        let ledger = BrokenLedger::mute(cluster.ledger().clone());
        let mute = cluster.client_builder().journal(journal.clone()).ledger(ledger).connect().await.expect("a client");
        let error = mute.put("x", &content[..]).mode(PutMode::Create).await.expect_err("no answer");
        assert_eq!(error.code(), "unknown_outcome");
        drop(mute);
        let again = client_of(&cluster, &journal).await;
        let committed = again.put("x", &content[..]).mode(PutMode::Create).await.expect("it is there");
        assert_eq!(committed.head.version, 1);
        assert_eq!(committed.resumed, committed.stored);
        let other = again.put("x", &noise(5)[..]).mode(PutMode::Create).await.expect_err("it exists");
        assert!(matches!(other, Error::AlreadyExists { version: 1, .. }), "{other}");
    });
}

#[test]
fn shards_of_a_write_that_another_writer_won_are_retired_by_the_next_start() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let journal = MemoryJournal::default();
        // Neither the write nor its answer arrives.
        let ledger = BrokenLedger::silent(cluster.ledger().clone());
        let broken =
            cluster.client_builder().journal(journal.clone()).ledger(ledger).connect().await.expect("a client");
        let error = broken.put("x", &noise(300_000)[..]).await.expect_err("no answer");
        assert_eq!(error.code(), "unknown_outcome");
        drop(broken);
        let other = cluster.client().await.expect("a client");
        other.put("x", &b"mine"[..]).await.expect("stored");
        assert_eq!(cluster.live_shards().await, 12);
        let next = client_of(&cluster, &journal).await;
        next.close().await;
        assert_eq!(cluster.live_shards().await, 6);
        assert_eq!(journal.count(), 0);
        assert_eq!(other.get("x").bytes().await.expect("read"), &b"mine"[..]);
    });
}

#[test]
fn what_a_dead_node_could_not_retire_is_retired_when_it_is_back() {
    block_on(async {
        let mut cluster = Cluster::start(4).await.expect("a cluster");
        let journal = MemoryJournal::default();
        let client = client_of(&cluster, &journal).await;
        client.put("x", &noise(300_000)[..]).await.expect("stored");
        client.close().await;
        cluster.kill(0);
        let client = client_of(&cluster, &journal).await;
        client.remove("x").await.expect("removed");
        client.close().await;
        assert_eq!(journal.count(), 1, "shards are left at the dead node");
        cluster.restart(0).await.expect("restarted");
        let held = journal.claim(None).await.expect("claimed");
        assert_eq!(held.len(), 1, "and nobody holds the log");
    });
}

/// Ends the save of `x` to `to` once half of it is there.
async fn interrupt_save(client: &Client, to: &std::path::Path, len: u64) {
    let reached = Arc::new(Mutex::new(0));
    let seen = reached.clone();
    let get = client.get("x").progress(move |p: Progress| *seen.lock().expect("fine") = p.bytes_done);
    let mut save = std::future::IntoFuture::into_future(get.save(to));
    while *reached.lock().expect("fine") < len / 2 {
        assert!(poll_once(&mut save).await.is_none(), "it was to be interrupted");
        futures_lite::future::yield_now().await;
    }
}

fn files_in(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("readable").path()).collect()
}

#[test]
fn a_save_that_was_interrupted_goes_on_with_what_is_there() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let (journal, content) = (MemoryJournal::default(), noise(40_000_000));
        let (dir, len) = (tempfile::tempdir().expect("a folder"), content.len() as u64);
        let to = dir.path().join("back");
        let client = client_of(&cluster, &journal).await;
        client.put("x", &content[..]).await.expect("stored");
        client.close().await;
        let client = client_of(&cluster, &journal).await;
        interrupt_save(&client, &to, len).await;
        drop(client);
        assert_eq!((files_in(dir.path()).len(), to.exists()), (1, false), "a part is left, under another name");

        let first = Arc::new(Mutex::new(None));
        let seen = first.clone();
        let again = client_of(&cluster, &journal).await;
        let get = again.get("x").progress(move |p: Progress| {
            seen.lock().expect("fine").get_or_insert((p.bytes_done, p.bytes_total));
        });
        get.save(&to).await.expect("saved");
        let (done, total) = first.lock().expect("fine").expect("told");
        assert!(done > len / 3 && total == Some(len), "the bar starts where it stood: {done} of {total:?}");
        assert!(std::fs::read(&to).expect("there") == content);
        assert_eq!(files_in(dir.path()), [to]);
        assert_eq!(journal.count(), 0);
    });
}

#[test]
fn a_part_that_was_changed_meanwhile_is_fetched_anew() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let (journal, content) = (MemoryJournal::default(), noise(20_000_000));
        let dir = tempfile::tempdir().expect("a folder");
        let to = dir.path().join("back");
        let client = client_of(&cluster, &journal).await;
        client.put("x", &content[..]).await.expect("stored");
        interrupt_save(&client, &to, content.len() as u64).await;
        let part = files_in(dir.path()).pop().expect("a part");
        let mut bytes = std::fs::read(&part).expect("readable");
        bytes[1234] ^= 1;
        std::fs::write(&part, bytes).expect("written");
        client.get("x").save(&to).await.expect("saved");
        assert!(std::fs::read(&to).expect("there") == content);
        assert_eq!(files_in(dir.path()), [to]);
    });
}

#[test]
fn without_a_journal_an_interrupted_save_leaves_nothing() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let content = noise(20_000_000);
        let dir = tempfile::tempdir().expect("a folder");
        let client = cluster.client().await.expect("a client");
        client.put("x", &content[..]).await.expect("stored");
        interrupt_save(&client, &dir.path().join("back"), content.len() as u64).await;
        assert!(files_in(dir.path()).is_empty());
    });
}
