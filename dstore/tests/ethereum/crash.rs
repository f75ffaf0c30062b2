//! A client that is killed around its transaction, and the same put again: one version, and nothing travels twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};

use dstore::id::ContractId;
use dstore::journal::DiskJournal;
use dstore::ledger::{Ledger, file_id};
use dstore::rt::Rt;
use dstore::store::{MemoryStore, ShardState, ShardStore};
use dstore::{Client, FilePath, NodeHandle, Registry, RegistryAddr, RegistryHandle, ServerIdentity, StorageNode};
use futures_lite::future::block_on;

use crate::anvil::Anvil;
use crate::counting::{Arrived, Counting};
use crate::kit::{config, deploy, id, ledger, owner};
use crate::proxy::{Call, Fault, Proxy};

const JOB: &str = "DSTORE_TEST_ETHEREUM_CRASH";

fn client(dir: &Path, registry: RegistryAddr, url: &str, contract: ContractId) -> dstore::ClientBuilder {
    Client::builder()
        .registry(registry)
        .owner(owner())
        .ledger(ledger(config(url).lock_folder(dir.join("locks")), contract))
        .journal(DiskJournal::new(dir.join("journal"), Rt::default()))
}

/// What the tests start as a process of its own; as a test it does nothing.
#[test]
fn child_that_puts() {
    let Ok(job) = std::env::var(JOB) else { return };
    let [dir, registry, url, contract]: [&str; 4] = job.split('|').collect::<Vec<_>>().try_into().expect("four parts");
    let dir = Path::new(dir);
    block_on(async {
        let (registry, contract) = (registry.parse().expect("an address"), contract.parse().expect("an id"));
        let client = client(dir, registry, url, contract).connect().await.expect("a client");
        client.upload(dir.join("source"), "x").await.expect("stored");
        client.close().await;
    });
}

struct Scene {
    anvil: Anvil,
    contract: ContractId,
    registry: RegistryHandle,
    _nodes: Vec<NodeHandle>,
    stores: Vec<Counting>,
    arrived: Arrived,
    dir: tempfile::TempDir,
}

async fn scene() -> Scene {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    let dir = tempfile::tempdir().expect("a folder");
    let registry = Registry::builder().dir(dir.path().join("registry")).start().await.expect("a registry");
    let arrived = Arrived::default();
    let (mut nodes, mut stores) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let store = Counting { store: MemoryStore::new(1 << 30), arrived: arrived.clone() };
        let node = StorageNode::builder()
            .identity(ServerIdentity::generate(&Rt::default()))
            .store(store.clone())
            .registry(registry.registry_address())
            .start()
            .await
            .expect("a node");
        node.registered().await;
        nodes.push(node);
        stores.push(store);
    }
    Scene { anvil, contract, registry, _nodes: nodes, stores, arrived, dir }
}

impl Scene {
    fn start(&self, url: &str) -> Child {
        let job = format!("{}|{}|{url}|{}", self.dir.path().display(), self.registry.registry_address(), self.contract);
        Command::new(std::env::current_exe().expect("this test"))
            .args(["crash::child_that_puts", "--exact", "--nocapture"])
            .env(JOB, job)
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts")
    }

    async fn live(&self) -> Vec<dstore::id::ShardId> {
        let mut live = Vec::new();
        for store in &self.stores {
            for id in store.store.ids() {
                if store.store.stat(id).await.is_ok_and(|shard| shard.state == ShardState::Live) {
                    live.push(id);
                }
            }
        }
        live
    }
}

/// Kills a client once its provider is at a point, and puts again with one that works.
fn one_version_and_nothing_twice(rule: impl Fn(Sender<()>) -> Box<dyn FnMut(&Call) -> Fault + Send>) {
    for len in [5_000, 9_000_000] {
        block_on(async {
            let scene = scene().await;
            let mut content = vec![0; len];
            blake3::Hasher::new().finalize_xof().fill(&mut content);
            std::fs::write(scene.dir.path().join("source"), &content).expect("written");
            let (reached, at_the_point) = channel();
            let proxy = Proxy::new(&scene.anvil, rule(reached));
            let mut child = scene.start(&proxy.url);
            at_the_point.recv().expect("the client comes so far");
            child.kill().expect("killed");
            child.wait().expect("it ended");

            let ended = scene.start(&scene.anvil.url).wait().expect("it ended");
            assert!(ended.success(), "the same again");
            let file = file_id(id(), owner().path_salt(&FilePath::new("x").expect("a path")));
            let ledger = ledger(config(&scene.anvil.url), scene.contract);
            assert_eq!(ledger.history(file).await.expect("read").len(), 1, "one version");

            let registry = scene.registry.registry_address();
            let reader = client(scene.dir.path(), registry, &scene.anvil.url, scene.contract).connect().await;
            let reader = reader.expect("a client");
            assert!(reader.get("x").bytes().await.expect("read") == content);
            let head = reader.head("x").await.expect("there");
            reader.close().await;
            let live = scene.live().await;
            assert_eq!(live.len(), 6);
            let expected: BTreeMap<_, _> = live.into_iter().map(|id| (id, head.shards[0].bytes)).collect();
            assert_eq!(*scene.arrived.lock().expect("fine"), expected, "every byte arrived once");
        });
    }
}

/// Obeys `fault` for calls of `method`, and says so before.
fn at(method: &'static str, reached: Sender<()>, fault: fn() -> Fault) -> Box<dyn FnMut(&Call) -> Fault + Send> {
    Box::new(move |call| {
        if call.method != method {
            return Fault::None;
        }
        let _ = reached.send(());
        fault()
    })
}

#[test]
fn a_client_killed_between_receipts_and_transaction_ends_with_one_version() {
    one_version_and_nothing_twice(|reached| at("eth_sendRawTransaction", reached, || Fault::Silence));
}

#[test]
fn a_client_killed_between_sending_and_the_receipt_ends_with_one_version() {
    one_version_and_nothing_twice(|reached| at("eth_getTransactionReceipt", reached, || Fault::Silence));
}

#[test]
fn a_client_killed_after_the_transaction_was_included_ends_with_one_version() {
    // What it asks after the receipt, to see how settled the write is.
    one_version_and_nothing_twice(|reached| {
        let mut at = at("eth_call", reached, || Fault::Silence);
        let mut is_included = false;
        Box::new(move |call| {
            is_included |= call.method == "eth_getTransactionReceipt";
            if is_included { at(call) } else { Fault::None }
        })
    });
}
