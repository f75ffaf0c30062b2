//! Clients whose records are on the chain: an owner's key finds everything, and a reorg loses nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use dstore::client::Recovery;
use dstore::id::ContractId;
use dstore::journal::MemoryJournal;
use dstore::ledger::{Chain, EthereumConfig, EthereumLedger, EventKind, Ledger, file_id};
use dstore::testing::Cluster;
use dstore::{Client, ClientBuilder, FilePath};
use futures_lite::future::{block_on, zip};
use serde_json::{Value, json};

use crate::anvil::Anvil;
use crate::kit::{config, deploy, id, ledger, owner, through};
use crate::proxy::{Call, Fault, Proxy};

/// A network, and a chain with the contract.
struct Scene {
    cluster: Cluster,
    anvil: Anvil,
    contract: ContractId,
}

async fn scene() -> Scene {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    Scene { cluster: Cluster::start(4).await.expect("a cluster starts"), anvil, contract }
}

impl Scene {
    fn builder(&self, config: EthereumConfig) -> ClientBuilder {
        self.cluster.client_builder().owner(owner()).ledger(ledger(config, self.contract))
    }

    async fn client(&self, config: EthereumConfig) -> Client {
        self.builder(config).connect().await.expect("a client")
    }

    /// The chain as a public one: what is included may be undone.
    fn public(&self) -> EthereumConfig {
        through(Chain::with_id(31337), &[&self.anvil.url]).poll(Duration::from_millis(20)).confirmations(1)
    }

    async fn kinds(&self, path: &str) -> Vec<(u32, EventKind)> {
        let file = file_id(id(), owner().path_salt(&FilePath::new(path).expect("a path")));
        let history = ledger(config(&self.anvil.url), self.contract).history(file).await.expect("read");
        history.iter().map(|entry| (entry.version, entry.kind)).collect()
    }
}

fn no_logs(call: &Call) -> Fault {
    if call.method == "eth_getLogs" { Fault::Changed(|_: Value| json!([])) } else { Fault::None }
}

fn paths(recovery: &Recovery) -> BTreeSet<String> {
    recovery.ledgers.iter().flat_map(|ledger| &ledger.files).map(|file| file.head.path.to_string()).collect()
}

/// With nothing but the key: no journal, no folder, a provider that works or one that gives out no records.
#[test]
fn an_owners_key_finds_and_reads_every_file() {
    block_on(async {
        let scene = scene().await;
        let client = scene.client(config(&scene.anvil.url)).await;
        for (path, content) in [("a", 1), ("b/c", 2), ("gone", 3), ("moved", 4)] {
            client.put(path, vec![content; 50_000]).await.expect("stored");
        }
        client.rename("moved", "here").await.expect("moved");
        client.remove("gone").await.expect("removed");
        client.remove("a").await.expect("removed");
        client.put("a", vec![9; 70_000]).await.expect("a removed path can be put again");
        client.close().await;
        assert_eq!(scene.kinds("a").await, [(3, EventKind::Put), (2, EventKind::Removed), (1, EventKind::Put)]);

        let silent = Proxy::new(&scene.anvil, no_logs);
        for url in [&scene.anvil.url, &silent.url] {
            let client = scene.client(config(url)).await;
            let found = client.recover().await.expect("found");
            assert_eq!(paths(&found), ["a", "b/c", "here"].map(str::to_owned).into(), "{found:?}");
            for (path, content) in [("a", vec![9; 70_000]), ("b/c", vec![2; 50_000]), ("here", vec![4; 50_000])] {
                assert!(client.get(path).bytes().await.expect("read") == content, "{path}");
            }
            assert_eq!(client.get("gone").bytes().await.expect_err("removed").code(), "not_found");
            client.close().await;
        }
        assert!(silent.count("eth_getLogs") > 0);
    });
}

#[test]
fn a_write_that_a_reorg_dropped_is_made_again_by_the_next_client() {
    block_on(async {
        let scene = scene().await;
        let journal = MemoryJournal::default();
        let first = scene.builder(scene.public()).journal(journal.clone()).connect().await.expect("a client");
        first.put("x", vec![1; 50_000]).await.expect("stored");
        first.close().await;
        let before = record(&scene, "x").await.expect("it is there");
        scene.anvil.ask("anvil_rollback", &json!([1]));
        assert_eq!(record(&scene, "x").await, None);

        let next = scene.builder(scene.public()).journal(journal.clone()).connect().await.expect("a client");
        while record(&scene, "x").await.is_none() {
            futures_lite::future::yield_now().await;
        }
        assert_eq!(record(&scene, "x").await.expect("it is there"), before, "the same bytes");
        assert_eq!(scene.kinds("x").await, [(1, EventKind::Put)]);
        assert!(next.get("x").bytes().await.expect("read") == vec![1; 50_000]);
        next.close().await;
    });
}

async fn record(scene: &Scene, path: &str) -> Option<Vec<u8>> {
    let file = file_id(id(), owner().path_salt(&FilePath::new(path).expect("a path")));
    let ledger: EthereumLedger = ledger(config(&scene.anvil.url), scene.contract);
    ledger.get(file).await.expect("asked").map(|entry| entry.record)
}

#[test]
fn a_put_whose_place_another_one_took_in_a_reorg_is_a_version_conflict() {
    block_on(async {
        let scene = scene().await;
        let provider = Proxy::honest(&scene.anvil);
        let slow = through(Chain::with_id(31337), &[&provider.url]).poll(Duration::from_millis(20));
        let slow = scene.client(slow.confirmations(2)).await;
        let other = scene.client(config(&scene.anvil.url)).await;
        scene.anvil.mine_on_demand();
        let put = async { slow.put("x", vec![1; 50_000]).await };
        let others = async {
            scene.anvil.await_waiting(1).await;
            scene.anvil.mine(1);
            // Meanwhile it cannot write again.
            provider.obey(|_| Fault::Closed);
            scene.anvil.ask("anvil_rollback", &json!([1]));
            let theirs = async { other.put("x", vec![2; 50_000]).await };
            let mined = async {
                scene.anvil.await_waiting(1).await;
                scene.anvil.mine(3);
            };
            let (theirs, ()) = zip(theirs, mined).await;
            provider.obey(|_| Fault::None);
            theirs
        };
        let (ours, theirs) = zip(put, others).await;
        theirs.expect("stored");
        assert_eq!(ours.expect_err("another one is there").code(), "version_conflict");
        assert!(slow.get("x").bytes().await.expect("read") == vec![2; 50_000]);
        slow.close().await;
        other.close().await;
    });
}
