//! A ledger on a chain: writes that a reorg takes, records that its provider does not give out, and clients that are killed.

use std::time::Duration;

use dstore::journal::MemoryJournal;
use dstore::keys::ContentKey;
use dstore::ledger::{Entry, EventKind, Ledger, file_id};
use dstore::manifest::{Manifest, RecordPlace, open_record, seal_record};
use dstore::testing::{Sim, SimClient, SimNet};
use dstore::{Client, FilePath, Result};
use futures_lite::StreamExt;

use super::model::{Model, PATHS, content, number_of};
use super::{at_seeds, every, tell};

const NODES: usize = 4;
const SHARDS: usize = 6;
const OPERATIONS: usize = 12;
const CONFIRMED: Duration = Duration::from_secs(3);
const FINAL: Duration = Duration::from_secs(100);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A client with a journal that outlives it, at a ledger whose writes are final after a while.
async fn client(net: &SimNet) -> (SimClient, MemoryJournal) {
    net.ledger().finality(CONFIRMED, FINAL);
    let journal = MemoryJournal::default();
    let kept = journal.clone();
    (net.client_with(move |builder| builder.journal(kept.clone())).await, journal)
}

/// Every version of `path` on the ledger, newest first.
async fn versions(net: &SimNet, client: &Client, path: &str) -> Vec<Entry> {
    let salt = net.owner().path_salt(&FilePath::new(path).expect("a path"));
    net.ledger().memory().history(file_id(client.owner(), salt)).await.expect("read")
}

/// Bytes that all nodes have taken.
fn arrived(net: &SimNet) -> u64 {
    (0..NODES).flat_map(|node| net.arrived(node)).map(|(_, bytes)| bytes).sum()
}

/// Lets what is watched come to its end, waits for what is done then, and lets go what nobody can tell the end of.
async fn settle(net: &SimNet, clients: &mut [&mut SimClient]) {
    for later in [Duration::ZERO, Duration::ZERO, DAY + DAY / 8, 8 * DAY] {
        net.skip(later).await;
        net.sleep(FINAL * 2).await;
        for client in &mut *clients {
            client.restart().await;
            client.close().await;
        }
    }
}

/// Reads every file, which renews its leases; answers how many shards records name.
async fn named(client: &Client, mut read: impl FnMut(&'static str, Result<(u32, Vec<u8>)>)) -> usize {
    let mut named = 0;
    for path in PATHS {
        let bytes = client.get(path).bytes().await;
        named += if bytes.is_ok() { SHARDS } else { 0 };
        let version = client.head(path).await.map_or(0, |head| head.version);
        read(path, bytes.map(|bytes| (version, bytes.to_vec())));
    }
    client.clone().close().await;
    named
}

/// What no record names has been retired, or ends with its lease 97 days after it was stored.
async fn ends_with_its_lease(net: &SimNet, client: &Client) {
    let read = |_, _| ();
    net.skip(61 * DAY).await;
    let before = named(client, read).await;
    net.skip(37 * DAY).await;
    net.sleep(Duration::from_secs(5)).await;
    assert_eq!(named(client, read).await, before);
    assert_eq!(net.shards().await.1, before, "a shard that no record names, or a record without one");
}

async fn write(client: Client, kind: usize, (path, other): (&'static str, &'static str), number: u64) -> Result<()> {
    match kind {
        0..=5 => client.put(path, content(number)).await.map(drop),
        6 => client.remove(path).await.map(drop),
        _ => client.rename(path, other).await.map(drop),
    }
}

/// An operation of one client, which is killed in the middle of it or not.
async fn operate(net: &SimNet, client: &mut SimClient, model: &Model) {
    let (path, other) = (PATHS[net.below(PATHS.len())], PATHS[net.below(PATHS.len())]);
    let (kind, number) = (net.below(8), model.number());
    tell(net, (kind, path, other, number));
    net.ledger().lose_answers(net.below(4) == 0);
    let work = client.spawn(move |client| async move {
        match kind {
            0..=5 => client.put(path, content(number)).await.map(|committed| committed.head),
            6 => client.remove(path).await,
            _ => client.rename(path, other).await,
        }
    });
    if net.below(3) == 0 {
        net.at_step(net.steps() + net.below(600) as u64).await;
        client.restart().await;
    }
    let answer = work.await;
    tell(net, answer.as_ref().map(|answer| answer.as_ref().map(|head| head.version).map_err(dstore::Error::code)));
    if let Some(Err(error)) = &answer {
        let told = ["not_found", "already_exists", "version_conflict", "invalid_path"].contains(&error.code());
        assert!(told || error.is_retryable(), "{error:?}");
    }
    match kind {
        0..=5 => model.put(path, number, answer),
        6 => model.removed(path, answer),
        _ => model.renamed(path, other, answer),
    }
}

#[test]
fn what_was_acknowledged_outlives_reorgs_and_ends_of_its_client() {
    at_seeds(32, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let (mut client, journal) = client(&net).await;
            let model = Model::default();
            for _ in 0..OPERATIONS {
                operate(&net, &mut client, &model).await;
                net.sleep(FINAL / [100, 20, 3][net.below(3)]).await;
                if net.below(3) == 0 {
                    tell(&net, "reorg");
                    net.ledger().reorg();
                }
            }
            net.ledger().heal();
            settle(&net, &mut [&mut client]).await;
            assert_eq!(journal.count(), 0, "nothing is left to be done");
            named(&client, |path, read| match read {
                Ok((version, bytes)) => model.read(path, model.newest(path), version, &bytes),
                Err(error) => {
                    assert_eq!(error.code(), "not_found", "{path}: {error:?}");
                    model.gone(path);
                }
            })
            .await;
            model.check();
            for path in PATHS {
                let history = client.history(path).await.unwrap_or_default();
                let puts = history.iter().filter(|version| version.kind == EventKind::Put);
                let mut contents: Vec<_> = puts.filter_map(|put| Some(put.head.as_ref()?.content_hash)).collect();
                contents.sort_unstable();
                assert!(contents.windows(2).all(|pair| pair[0] != pair[1]), "{path}: one put made two versions");
            }
            ends_with_its_lease(&net, &client).await;
        });
    });
}

#[test]
fn two_clients_with_reorgs_lose_only_what_another_one_took_the_place_of() {
    at_seeds(24, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let ((mut one, first), (mut two, second)) = (client(&net).await, client(&net).await);
            for number in 0..OPERATIONS as u64 {
                let client = if net.below(2) == 0 { &mut one } else { &mut two };
                let (kind, at) = (net.below(8), [("a", "b"), ("b", "a")][net.below(2)]);
                tell(&net, (client.host(), kind, at, number));
                net.ledger().lose_answers(net.below(4) == 0);
                let work = client.spawn(move |client| write(client, kind, at, number));
                if net.below(4) == 0 {
                    net.at_step(net.steps() + net.below(600) as u64).await;
                    client.restart().await;
                }
                if let Some(Err(error)) = work.await {
                    let told = ["not_found", "already_exists", "version_conflict"].contains(&error.code());
                    assert!(told || error.is_retryable(), "{error:?}");
                }
                net.sleep(FINAL / [100, 20, 3][net.below(3)]).await;
                if net.below(3) == 0 {
                    tell(&net, "reorg");
                    net.ledger().reorg();
                }
            }
            net.ledger().heal();
            settle(&net, &mut [&mut one, &mut two]).await;
            assert_eq!((first.count(), second.count()), (0, 0), "nothing is left to be done");
            named(&one, |_, read| match read {
                Ok((_, bytes)) => _ = number_of(&bytes),
                Err(error) => assert_eq!(error.code(), "not_found", "{error:?}"),
            })
            .await;
            ends_with_its_lease(&net, &one).await;
        });
    });
}

#[test]
fn what_a_reorg_took_is_written_again_as_it_was_and_sends_no_shard_twice() {
    at_seeds(8, |seed| {
        for is_killed in [false, true] {
            Sim::new(seed).nodes(NODES).run(async |net| {
                let (mut client, _) = client(&net).await;
                client.put("a", content(1)).await.expect("stored");
                let (before, sent) = (versions(&net, &client, "a").await, arrived(&net));
                client.close().await;
                net.ledger().reorg();
                assert_eq!(client.head("a").await.expect_err("the chain went on without it").code(), "not_found");
                // A client that runs notices by itself, and so does the next one that starts.
                if is_killed {
                    client.restart().await;
                    client.close().await;
                } else {
                    net.sleep(Duration::from_secs(60)).await;
                }
                assert!(client.get("a").bytes().await.expect("read") == content(1));
                let after = versions(&net, &client, "a").await;
                let record = |entries: &[Entry]| entries.iter().map(|entry| entry.record.clone()).collect::<Vec<_>>();
                assert_eq!(record(&after), record(&before), "the same bytes");
                assert_eq!(arrived(&net), sent);
            });
        }
    });
}

#[test]
fn what_a_write_replaced_is_retired_when_nothing_can_undo_it_and_not_before() {
    at_seeds(8, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let (client, journal) = client(&net).await;
            client.put("a", content(1)).await.expect("stored");
            net.sleep(FINAL * 2).await;
            client.put("a", content(2)).await.expect("stored");
            net.sleep(Duration::from_secs(40)).await;
            assert_eq!(net.shards().await.0, 2 * SHARDS, "a reorg may bring the first version back");
            net.ledger().reorg();
            assert!(client.get("a").bytes().await.expect("read") == content(1));
            net.sleep(FINAL * 2).await;
            client.close().await;
            assert!(client.get("a").bytes().await.expect("read") == content(2));
            assert_eq!((net.shards().await.0, journal.count()), (SHARDS, 0));
        });
    });
}

#[test]
fn a_put_whose_write_a_reorg_takes_while_it_waits_is_one_version() {
    at_seeds(8, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let (client, _) = client(&net).await;
            let put = client.spawn(|client| async move { client.put("a", content(1)).await });
            while versions(&net, &client, "a").await.is_empty() {
                net.sleep(Duration::from_millis(100)).await;
            }
            net.ledger().reorg();
            assert_eq!(put.await.expect("alive").expect("written again").head.version, 1);
            assert_eq!(versions(&net, &client, "a").await.len(), 1);
        });
    });
}

#[test]
fn a_put_whose_place_another_writer_takes_in_a_reorg_is_a_conflict_and_leaves_nothing() {
    at_seeds(8, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let ((mut one, journal), (two, _)) = (client(&net).await, client(&net).await);
            let put = one.spawn(|client| async move { client.put("a", content(1)).await });
            while versions(&net, &one, "a").await.is_empty() {
                net.sleep(Duration::from_millis(100)).await;
            }
            let Entry { file_id: file, version, record, .. } = versions(&net, &one, "a").await.remove(0);
            let place = RecordPlace { ledger: net.ledger().id(), file, version };
            let ours = open_record(net.owner(), place, &record).expect("it opens");
            let theirs = Manifest { content_key: ContentKey::new([7; 32]), ..ours };
            let theirs = seal_record(net.owner(), place, &theirs).expect("sealed");
            net.ledger().reorg();
            let salt = net.owner().path_salt(&FilePath::new("a").expect("a path"));
            net.ledger().memory().put(one.owner(), salt, 0, theirs).await.expect("the other one is first");
            let error = put.await.expect("alive").expect_err("another one took its place");
            assert_eq!(error.code(), "version_conflict", "{error:?}");
            one.close().await;
            assert_eq!(net.shards().await.0, SHARDS, "another reorg may bring it back");
            two.put("a", content(2)).await.expect("over what is there");
            settle(&net, &mut [&mut one]).await;
            assert!(one.get("a").bytes().await.expect("read") == content(2));
            assert_eq!((net.shards().await.0, journal.count()), (SHARDS, 0));
        });
    });
}

/// Whoever gives out records may make one up. That is no reason to give up what was stored.
#[test]
fn a_record_that_nobody_sealed_proves_no_loss() {
    at_seeds(4, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let (mut one, journal) = client(&net).await;
            one.put("a", content(1)).await.expect("stored");
            one.close().await;
            one.kill();
            net.ledger().reorg();
            let salt = net.owner().path_salt(&FilePath::new("a").expect("a path"));
            net.ledger().memory().put(one.owner(), salt, 0, vec![7; 128]).await.expect("written");
            for _ in 0..3 {
                net.sleep(FINAL * 2).await;
                one.restart().await;
                one.close().await;
            }
            assert_eq!((net.shards().await.0, journal.count()), (SHARDS, 1));
        });
    });
}

#[test]
fn what_was_acknowledged_and_then_lost_to_another_writer_leaves_nothing_and_takes_nothing() {
    at_seeds(8, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let ((mut one, journal), (two, _)) = (client(&net).await, client(&net).await);
            one.put("a", content(1)).await.expect("stored");
            one.close().await;
            one.kill();
            net.ledger().reorg();
            two.put("a", content(2)).await.expect("stored");
            settle(&net, &mut [&mut one]).await;
            assert!(one.get("a").bytes().await.expect("read") == content(2));
            let entries = versions(&net, &one, "a").await;
            assert_eq!((entries.len(), net.shards().await.0, journal.count()), (1, SHARDS, 0));
        });
    });
}

#[test]
fn what_was_put_over_a_move_that_nobody_was_told_of_comes_back_with_it() {
    at_seeds(8, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let (mut client, journal) = client(&net).await;
            client.put("a", content(1)).await.expect("stored");
            net.sleep(FINAL * 2).await;
            let rename = client.spawn(|client| async move { client.rename("a", "b").await });
            while versions(&net, &client, "b").await.is_empty() {
                net.sleep(Duration::from_millis(100)).await;
            }
            client.restart().await;
            assert!(rename.await.is_none(), "nobody was told");
            client.put("b", content(2)).await.expect("over what moved there");
            net.ledger().reorg();
            assert_eq!(client.head("a").await.expect("back").version, 1);
            client.put("a", content(3)).await.expect("stored");
            settle(&net, &mut [&mut client]).await;
            assert!(client.get("a").bytes().await.expect("read") == content(3));
            assert!(client.get("b").bytes().await.expect("acknowledged") == content(2));
            assert_eq!((net.shards().await.0, journal.count()), (2 * SHARDS, 0));
        });
    });
}

/// The paths and versions that `client` lists.
async fn listed(client: &Client) -> Vec<(String, u32)> {
    let heads: Vec<Result<_>> = client.list("").collect().await;
    let heads = heads.into_iter().map(|head| head.expect("listed"));
    let mut files: Vec<_> = heads.map(|head| (head.path.to_string(), head.version)).collect();
    files.sort();
    files
}

#[test]
fn a_ledger_that_gives_no_records_out_costs_nothing_but_time() {
    at_seeds(8, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let owner = net.client().await;
            owner.put("a", content(1)).await.expect("stored");
            owner.put("a", content(2)).await.expect("stored");
            owner.put("b/c", content(3)).await.expect("stored");
            owner.put("d", content(4)).await.expect("stored");
            owner.remove("d").await.expect("removed");
            owner.close().await;
            net.ledger().missing_records(true);
            let client = net.client().await;
            assert_eq!(listed(&client).await, [("a".to_owned(), 2), ("b/c".to_owned(), 1)]);
            assert!(client.get("a").bytes().await.expect("read") == content(2));
            let history = client.history("a").await.expect("read");
            assert_eq!(history[0].head.as_ref().map(|head| head.version), Some(2), "{history:?}");
            let found = client.recover().await.expect("a registry is there");
            assert!(found.ledger_problem.is_some());
            let files: Vec<_> = found.ledgers.iter().flat_map(|ledger| &ledger.files).collect();
            assert!(files.iter().all(|file| file.is_readable() && !file.may_be_older), "{files:?}");
            assert_eq!(files.len(), 2);
            client.put("a", content(5)).await.expect("stored over it");
            client.rename("a", "e").await.expect("moved");
            client.remove("b/c").await.expect("removed");
            client.close().await;
            assert!(client.get("e").bytes().await.expect("read") == content(5));
            assert_eq!(listed(&client).await, [("e".to_owned(), 1)]);
            assert_eq!(net.shards().await.0, SHARDS);
        });
    });
}

#[test]
fn a_listing_without_records_says_so_when_it_may_not_be_whole() {
    Sim::new(1).nodes(NODES).run(async |net| {
        let client = net.client().await;
        client.put("a", content(1)).await.expect("stored");
        client.close().await;
        net.ledger().missing_records(true);
        (0..NODES).for_each(|node| net.kill(dstore::testing::SimHost::Node(node)));
        let heads: Vec<Result<_>> = client.list("").collect().await;
        let error = heads.last().expect("something").as_ref().expect_err("nobody has a copy");
        assert!(error.to_string().contains("there may be more files"), "{error}");
        assert_eq!(client.get("a").bytes().await.expect_err("no record").code(), "chain");
    });
}

#[test]
fn a_ledger_that_shows_an_old_version_is_not_written_and_not_believed() {
    Sim::new(1).nodes(NODES).run(async |net| {
        let client = net.client().await;
        client.put("a", content(1)).await.expect("stored");
        client.put("a", content(2)).await.expect("stored");
        net.ledger().stale(true);
        for error in [
            client.head("a").await.err(),
            client.get("a").bytes().await.err(),
            client.put("a", content(3)).await.err(),
            client.remove("a").await.err(),
            client.rename("a", "b").await.err(),
        ] {
            let error = error.expect("it is stale");
            assert!(error.to_string().contains("has shown 3 before"), "{error}");
        }
        net.ledger().heal();
        assert!(client.get("a").bytes().await.expect("read") == content(2));
        client.remove("a").await.expect("removed");
        client.close().await;
        net.ledger().stale(true);
        let error = client.put("a", content(3)).await.expect_err("it is stale");
        assert!(error.to_string().contains("shows version 3"), "also after a removal: {error}");
    });
}

/// Kills a client at step `at` of a rename, and starts it again; answers the steps of one that nothing disturbs.
fn killed_in_a_rename(seed: u64, is_chain: bool, at: Option<u64>) -> std::ops::Range<u64> {
    Sim::new(seed).nodes(NODES).run(async |net| {
        let (mut client, journal) = client(&net).await;
        if !is_chain {
            net.ledger().finality(Duration::ZERO, Duration::ZERO);
        }
        client.put("a", content(1)).await.expect("stored");
        client.close().await;
        let start = net.steps();
        let rename = client.spawn(|client| async move { client.rename("a", "b").await });
        let Some(at) = at else {
            rename.await.expect("alive").expect("moved");
            client.close().await;
            return start..net.steps();
        };
        net.at_step(at).await;
        client.restart().await;
        // What was sent to the ledger may still be on its way.
        net.sleep(Duration::from_secs(10)).await;
        client.restart().await;
        client.close().await;
        let files = listed(&client).await;
        let ledger = net.new_ledger();
        let stranger = net.client_with(move |builder| builder.ledger(ledger.clone())).await;
        for dead in 0..NODES {
            net.kill(dstore::testing::SimHost::Node(dead));
            let found = stranger.recover().await.expect("a registry is there");
            let found = found.ledgers.iter().flat_map(|ledger| &ledger.files);
            let found: Vec<_> = found.map(|file| (file.head.path.to_string(), file.head.version)).collect();
            assert_eq!(found, files, "without node {dead}");
            net.restart(dstore::testing::SimHost::Node(dead));
            net.settled().await;
        }
        settle(&net, &mut [&mut client]).await;
        assert_eq!(journal.count(), 0);
        start..net.steps()
    })
}

#[test]
fn a_rename_that_was_killed_is_ended_by_the_next_start() {
    for is_chain in [false, true] {
        at_seeds(1, |seed| {
            for at in every(killed_in_a_rename(seed, is_chain, None), 24) {
                killed_in_a_rename(seed, is_chain, Some(at));
            }
        });
    }
}
