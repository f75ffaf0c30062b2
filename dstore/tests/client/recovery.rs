//! A ledger is lost: the owner's key and a registry find every file again, whatever some nodes do.

use std::path::PathBuf;

use dstore::client::Recovery;
use dstore::copy::RecordCopy;
use dstore::id::{CopyId, NoiseKey};
use dstore::ledger::{EventKind, Ledger};
use dstore::manifest::RecordPlace;
use dstore::rt::{Rt, Timestamp};
use dstore::store::{CopyStore, MemoryStore, NewCopy, StoredCopy};
use dstore::testing::Cluster;
use dstore::{Client, Error, LocalLedger, MemoryLedger, Owner, StorageNode, WarningCode};
use futures_lite::future::block_on;
use futures_util::TryStreamExt;

use super::{Warnings, noise};

/// An owner on a network, whose ledger is a file that can be lost.
struct Scene {
    cluster: Cluster,
    owner: Owner,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new(nodes: usize) -> Self {
        let cluster = Cluster::start(nodes).await.expect("a cluster starts");
        let owner = Owner::from_secret(&[7; 32]).expect("a key");
        Self { cluster, owner, folder: tempfile::tempdir().expect("a folder") }
    }

    fn ledger(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn client_with(&self, ledger: impl Ledger) -> Client {
        self.cluster.client_builder().owner(self.owner.clone()).ledger(ledger).connect().await.expect("a client")
    }

    /// A client of the ledger file with this name.
    async fn client(&self, name: &str) -> Client {
        self.client_with(LocalLedger::open(self.ledger(name)).expect("opens")).await
    }

    /// What somebody finds who has the key and a registry alone.
    async fn recover(&self) -> Recovery {
        self.client_with(MemoryLedger::default()).await.recover().await.expect("a registry answers")
    }

    /// Makes the one ledger that is found again under a name.
    fn restore(&self, found: &Recovery, name: &str) -> dstore::ledger::Restored {
        let [ledger] = &found.ledgers[..] else { panic!("{} ledgers", found.ledgers.len()) };
        LocalLedger::restore(self.ledger(name), ledger.id, self.owner.id(), &ledger.versions).expect("restored")
    }

    fn account(&self, node: usize) -> NoiseKey {
        self.owner.transport_key(self.cluster.node_id(node)).public_key()
    }

    /// All that a node keeps copies of.
    async fn copies(&self, node: usize) -> Vec<StoredCopy> {
        self.cluster.store(node).copies(self.account(node), None, u64::MAX).await.expect("lists")
    }

    /// Gives a node copies that it had at some time.
    async fn keep(&self, node: usize, copies: &[StoredCopy]) {
        for StoredCopy { id, holder, account, lease_until, newest: (version, body), .. } in copies.iter().cloned() {
            let new = NewCopy { id, holder, account, version, lease_until, body };
            self.cluster.store(node).put_copy(new).await.expect("stores");
        }
    }
}

fn paths(found: &Recovery) -> Vec<(String, u32)> {
    let files = found.ledgers.iter().flat_map(|ledger| &ledger.files);
    files.map(|file| (file.head.path.to_string(), file.head.version)).collect()
}

async fn listed(client: &Client) -> Vec<(String, u32)> {
    let mut files: Vec<_> =
        client.list("").map_ok(|head| (head.path.to_string(), head.version)).try_collect().await.expect("lists");
    files.sort();
    files
}

fn expected(files: &[(&str, u32)]) -> Vec<(String, u32)> {
    files.iter().map(|(path, version)| ((*path).to_owned(), *version)).collect()
}

#[test]
fn with_the_key_and_a_registry_alone_every_file_is_found_and_read_again() {
    block_on(async {
        let scene = Scene::new(4).await;
        let client = scene.client("lost").await;
        client.put("kept", &noise(100_000)[..]).await.expect("stored");
        for len in [1, 2, 3] {
            client.put("overwritten", &noise(len)[..]).await.expect("stored");
        }
        client.put("old name", &noise(50_000)[..]).await.expect("stored");
        client.rename("old name", "new name").await.expect("renamed");
        client.put("removed", &noise(4)[..]).await.expect("stored");
        client.remove("removed").await.expect("removed");
        client.put("came back", &noise(5)[..]).await.expect("stored");
        client.remove("came back").await.expect("removed");
        client.put("came back", &noise(6)[..]).await.expect("stored");
        let before = listed(&client).await;
        client.close().await;
        std::fs::remove_file(scene.ledger("lost")).expect("lost");

        let found = scene.recover().await;
        assert_eq!(paths(&found), before);
        assert_eq!(before, expected(&[("came back", 3), ("kept", 1), ("new name", 1), ("overwritten", 3)]));
        assert!(found.ledgers[0].files.iter().all(|file| file.is_readable() && !file.may_be_older));
        assert!(found.nodes.iter().all(|node| node.problem.is_none() && node.strange == 0));
        assert_eq!(found.nodes.len(), 4);
        let restored = scene.restore(&found, "again");
        assert_eq!((restored.added, restored.known), (6, 0));

        let client = scene.client("again").await;
        assert_eq!(listed(&client).await, before);
        for (path, len) in [("kept", 100_000), ("overwritten", 3), ("new name", 50_000), ("came back", 6)] {
            assert!(client.get(path).bytes().await.expect("read") == noise(len), "{path}");
        }
        for (path, version) in [("overwritten", 4), ("removed", 3), ("old name", 3)] {
            let committed = client.put(path, &b"next"[..]).await.expect("stored");
            assert_eq!(committed.head.version, version, "{path}: no version repeats");
        }
        let again = scene.restore(&scene.recover().await, "again");
        assert_eq!(again.added, 0, "nothing is found that the ledger does not have");
    });
}

#[test]
fn looking_writes_nothing_and_a_ledger_that_is_there_takes_only_higher_versions() {
    block_on(async {
        let scene = Scene::new(3).await;
        let client = scene.client("a").await;
        client.put("x", &b"one"[..]).await.expect("stored");
        client.close().await;
        let early = scene.recover().await;
        assert!(!scene.ledger("b").exists());
        scene.restore(&early, "b");
        let client = scene.client("a").await;
        client.put("x", &b"two"[..]).await.expect("stored");
        client.put("y", &b"new"[..]).await.expect("stored");
        client.close().await;

        let behind = scene.client("b").await;
        assert_eq!(
            paths(&behind.recover().await.expect("found")),
            expected(&[("x", 1), ("y", 1)]),
            "its version counts"
        );
        let late = scene.recover().await;
        let restored = scene.restore(&late, "b");
        assert_eq!((restored.added, restored.known), (2, 0));
        assert_eq!(behind.get("x").bytes().await.expect("read"), &b"two"[..]);
        let history = block_on(
            LocalLedger::open(scene.ledger("b")).expect("opens").history(late.ledgers[0].files[0].head.file_id),
        );
        let history: Vec<u32> = history.expect("read").iter().map(|entry| entry.version).collect();
        assert_eq!(history, [2, 1], "what it had stays");
        assert_eq!(scene.restore(&early, "b").added, 0, "what is lower changes nothing");

        drop(LocalLedger::open(scene.ledger("other")).expect("made"));
        let ledger = &late.ledgers[0];
        let refused = LocalLedger::restore(scene.ledger("other"), ledger.id, scene.owner.id(), &ledger.versions);
        assert!(matches!(refused, Err(Error::Config { .. })), "{refused:?}");
        assert_eq!(listed(&scene.client("other").await).await, []);
    });
}

#[test]
fn versions_that_no_ledger_has_are_not_restored() {
    block_on(async {
        let scene = Scene::new(3).await;
        let client = scene.client("a").await;
        client.put("x", &b"one"[..]).await.expect("stored");
        client.close().await;
        let found = scene.recover().await;
        let (id, good) = (found.ledgers[0].id, &found.ledgers[0].versions[0]);
        let zero = RecordPlace { version: 0, ..good.place };
        let elsewhere = RecordPlace { ledger: dstore::id::LedgerId::new([1; 32]), ..good.place };
        let bad = [
            RecordCopy { place: zero, ..good.clone() },
            RecordCopy { place: elsewhere, ..good.clone() },
            RecordCopy { kind: EventKind::Removed, ..good.clone() },
            RecordCopy { record: vec![], ..good.clone() },
            RecordCopy { record: vec![0; 4097], ..good.clone() },
        ];
        for bad in bad {
            let refused = LocalLedger::restore(scene.ledger("b"), id, scene.owner.id(), &[good.clone(), bad.clone()]);
            assert!(matches!(refused, Err(Error::Integrity { .. })), "{bad:?}");
            assert!(!scene.ledger("b").exists());
        }
    });
}

#[test]
fn a_dead_node_is_named_and_an_empty_one_changes_nothing() {
    block_on(async {
        let mut scene = Scene::new(3).await;
        let client = scene.client("lost").await;
        client.put("x", &noise(70_000)[..]).await.expect("stored");
        client.put("x", &noise(80_000)[..]).await.expect("stored");
        client.close().await;
        scene.cluster.wipe(0).await.expect("wiped");
        let found = scene.recover().await;
        let file = &found.ledgers[0].files[0];
        assert_eq!(
            (file.head.version, file.shards_found(), file.is_readable(), file.may_be_older),
            (2, 4, true, false)
        );
        scene.cluster.kill(1);
        let found = scene.recover().await;
        let silent: Vec<_> = found.nodes.iter().filter(|node| node.problem.is_some()).map(|node| node.id).collect();
        assert_eq!(silent, [scene.cluster.node_id(1)]);
        let file = &found.ledgers[0].files[0];
        assert_eq!((file.head.version, file.is_readable(), file.is_lost(), file.may_be_older), (2, false, false, true));
        scene.cluster.wipe(1).await.expect("wiped");
        assert!(scene.recover().await.ledgers[0].files[0].is_lost(), "every node answered, and too few have it");
    });
}

#[test]
fn nodes_that_no_registry_lists_any_more_are_found_through_the_files_that_name_them() {
    block_on(async {
        let mut scene = Scene::new(3).await;
        let client = scene.client("lost").await;
        client.put("x", &noise(70_000)[..]).await.expect("stored");
        client.close().await;
        scene.cluster.restart_registry().await.expect("restarted");
        scene.cluster.restart(0).await.expect("restarted");
        let found = scene.recover().await;
        assert_eq!(found.nodes.len(), 3);
        assert_eq!(found.ledgers[0].files[0].shards_found(), 6);
    });
}

#[test]
fn a_node_that_replays_old_versions_or_makes_copies_up_changes_nothing() {
    block_on(async {
        let mut scene = Scene::new(3).await;
        let client = scene.client("lost").await;
        client.put("x", &b"one"[..]).await.expect("stored");
        client.put("gone", &b"one"[..]).await.expect("stored");
        // Success is told when two of three nodes have the copies.
        client.close().await;
        let (old, foreign) = (scene.copies(0).await, scene.copies(1).await);
        let client = scene.client("lost").await;
        client.put("x", &b"two"[..]).await.expect("stored");
        client.remove("gone").await.expect("removed");
        client.close().await;
        scene.cluster.wipe(0).await.expect("wiped");
        scene.keep(0, &old).await;
        for StoredCopy { id, newest: (version, body), .. } in foreign {
            // What another node keeps, and made-up bytes.
            for (id, body) in [(id, body), (CopyId::new([9; 32]), vec![9; 128])] {
                let (account, lease_until) = (scene.account(0), Timestamp::from_millis(u64::MAX));
                let new = NewCopy { id, holder: account, account, version, lease_until, body };
                scene.cluster.store(0).put_copy(new).await.expect("stores");
            }
        }
        let found = scene.recover().await;
        assert_eq!(paths(&found), expected(&[("x", 2)]));
        let liar = found.nodes.iter().find(|node| node.id == scene.cluster.node_id(0)).expect("asked");
        assert_eq!((liar.copies, liar.strange, liar.problem), (2, 3, None));
        assert!(found.nodes.iter().filter(|node| node.id != liar.id).all(|node| node.strange == 0));
    });
}

#[test]
fn a_renamed_file_is_one_file_though_no_node_tells_that_it_left_its_old_path() {
    block_on(async {
        let mut scene = Scene::new(3).await;
        let client = scene.client("lost").await;
        for _ in 0..3 {
            client.put("before", &b"text"[..]).await.expect("stored");
        }
        client.close().await;
        let old = scene.copies(0).await;
        let client = scene.client("lost").await;
        client.rename("before", "after").await.expect("renamed");
        client.close().await;
        let mut new = scene.copies(0).await;
        new.retain(|copy| old.iter().all(|old| old.id != copy.id));
        for node in 0..3 {
            scene.cluster.wipe(node).await.expect("wiped");
        }
        scene.keep(0, &old).await;
        scene.keep(0, &new).await;
        let found = scene.recover().await;
        assert_eq!(paths(&found), expected(&[("after", 1)]));
        let gone = found.ledgers[0].versions.iter().find(|copy| copy.kind == EventKind::RenamedAway).expect("ended");
        assert_eq!(gone.place.version, 4);
    });
}

#[test]
fn a_put_whose_copies_no_node_takes_succeeds_with_a_warning() {
    block_on(async {
        let cluster = Cluster::start(0).await.expect("a cluster starts");
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let rt = Rt::new(cluster.net().host());
            let identity = dstore::ServerIdentity::generate(&rt);
            let builder = StorageNode::builder().rt(rt).identity(identity).store(MemoryStore::new(1 << 30));
            let node = builder.registry(cluster.registry_address().clone()).quota_copies(0).start().await;
            let node = node.expect("a node starts");
            node.registered().await;
            nodes.push(node);
        }
        let client = cluster.client().await.expect("a client");
        let warnings = Warnings::default();
        client.put("x", &b"text"[..]).warnings(warnings.hook()).await.expect("it is on the ledger");
        assert_eq!(warnings.codes(), [WarningCode::CopiesMissing; 3]);
        assert_eq!(client.get("x").bytes().await.expect("read"), &b"text"[..]);
        let found = client.recover().await.expect("a registry answers");
        assert!(found.nodes.iter().all(|node| node.copies == 0), "{found:?}");
        assert_eq!(paths(&found), expected(&[("x", 1)]), "what only the ledger knows");
    });
}

#[test]
fn one_dead_node_costs_no_warning_about_copies() {
    block_on(async {
        let mut scene = Scene::new(4).await;
        let client = scene.client("a").await;
        client.put("x", &b"text"[..]).await.expect("stored");
        client.close().await;
        let client = scene.client("a").await;
        let head = client.head("x").await.expect("there");
        let dead = scene.cluster.index_of(head.shards[0].node).expect("one of ours");
        scene.cluster.kill(dead);
        client.rename("x", "y").await.expect("renamed");
        client.close().await;
        assert_eq!(paths(&scene.recover().await), expected(&[("y", 1)]));
    });
}

#[test]
fn a_version_whose_record_the_ledger_has_lost_is_read_from_the_nodes() {
    block_on(async {
        let scene = Scene::new(3).await;
        let ledger = LocalLedger::open(scene.ledger("a")).expect("opens");
        let client = scene.client_with(ledger.clone()).await;
        client.put("x", &b"one"[..]).await.expect("stored");
        let committed = client.put("x", &b"two"[..]).await.expect("stored");
        let place = |version| RecordPlace { ledger: ledger.id(), file: committed.head.file_id, version };
        for entry in ledger.history(committed.head.file_id).await.expect("read") {
            let copy = client.record_copy(place(entry.version)).await.expect("kept");
            assert_eq!((copy.kind, copy.record), (entry.kind, entry.record), "version {}", entry.version);
        }
        assert!(matches!(client.record_copy(place(3)).await, Err(Error::NotFound { .. })));
    });
}

#[test]
fn more_files_than_a_page_holds_are_all_found() {
    block_on(async {
        let scene = Scene::new(3).await;
        let client = scene.client("lost").await;
        let path = |number| format!("{number:03}");
        for number in 0..90 {
            client.put(path(number), &b""[..]).await.expect("stored");
        }
        client.close().await;
        let found = scene.recover().await;
        assert_eq!(paths(&found), (0..90).map(|number| (path(number), 1)).collect::<Vec<_>>());
        assert!(found.nodes.iter().all(|node| node.copies == 90));
    });
}

#[test]
fn another_owner_finds_nothing() {
    block_on(async {
        let mut scene = Scene::new(3).await;
        let client = scene.client("a").await;
        client.put("x", &b"text"[..]).await.expect("stored");
        client.close().await;
        scene.owner = Owner::from_secret(&[8; 32]).expect("a key");
        assert_eq!(scene.recover().await.ledgers, []);
    });
}
