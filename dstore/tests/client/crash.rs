//! A client that is killed at every point of a put, and the same put again: one version, and nothing travels twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use dstore::id::ShardId;
use dstore::journal::{DiskJournal, Journal, Log, LogId, Tag};
use dstore::ledger::{Ledger, LedgerError, Written, file_id};
use dstore::rt::{BoxFuture, Rt};
use dstore::store::{MemoryStore, ShardState, ShardStore};
use dstore::testing::{HookedLedger, LedgerHooks, LedgerWrite};
use dstore::{Client, FilePath, LocalLedger, NodeHandle, Owner, Registry, RegistryAddr, RegistryHandle, StorageNode};
use futures_lite::future::block_on;

use super::counting::{Arrived, Counting};
use super::noise;

/// A journal whose process ends at the note with this number, before or after it is written.
#[derive(Debug)]
struct Deadly {
    journal: DiskJournal,
    notes: Arc<Mutex<u32>>,
    at: u32,
    before: bool,
}

struct DeadlyLog {
    log: Box<dyn Log>,
    notes: Arc<Mutex<u32>>,
    at: u32,
    before: bool,
}

impl Journal for Deadly {
    fn begin(&self, tag: Tag) -> BoxFuture<'_, io::Result<Box<dyn Log>>> {
        Box::pin(async move {
            let log = self.journal.begin(tag).await?;
            Ok(Box::new(DeadlyLog { log, notes: self.notes.clone(), at: self.at, before: self.before }) as Box<dyn Log>)
        })
    }

    fn claim(&self, tag: Option<Tag>) -> BoxFuture<'_, io::Result<Vec<Box<dyn Log>>>> {
        self.journal.claim(tag)
    }
}

impl Log for DeadlyLog {
    fn id(&self) -> LogId {
        self.log.id()
    }

    fn notes(&self) -> BoxFuture<'_, io::Result<Vec<Vec<u8>>>> {
        self.log.notes()
    }

    fn append(&mut self, note: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let reached = {
                let mut notes = self.notes.lock().expect("fine");
                *notes += 1;
                *notes == self.at
            };
            if reached && self.before {
                std::process::abort();
            }
            self.log.append(note).await?;
            if reached {
                std::process::abort();
            }
            Ok(())
        })
    }

    fn remove(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        // The last thing that is written of a put that went well.
        if self.at == REMOVAL {
            std::process::abort();
        }
        self.log.remove()
    }
}

/// A ledger in whose write the process ends, before or after it takes effect.
#[derive(Debug)]
struct DeadlyWrite {
    before: bool,
    after: bool,
}

impl LedgerHooks for DeadlyWrite {
    fn write<'a>(&'a self, ledger: &'a dyn Ledger, write: LedgerWrite) -> BoxFuture<'a, Result<Written, LedgerError>> {
        Box::pin(async move {
            if self.before {
                std::process::abort();
            }
            let written = write.make(ledger).await;
            if self.after {
                std::process::abort();
            }
            written
        })
    }
}

const REMOVAL: u32 = 1000;
const JOB: &str = "DSTORE_TEST_CRASH";
const KEY: &str = "0x00000000000000000000000000000000000000000000000000000000000000c1";

/// When the client of a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    BeforeNote(u32),
    AfterNote(u32),
    BeforeLedger,
    AfterLedger,
    /// Once so many hundredths of the file were read.
    Midway(u32),
    Never,
}

fn client(dir: &Path, registry: RegistryAddr, death: Death) -> dstore::ClientBuilder {
    let (at, before) = match death {
        Death::BeforeNote(at) => (at, true),
        Death::AfterNote(at) => (at, false),
        _ => (0, false),
    };
    let ledger = LocalLedger::open(dir.join("ledger.db")).expect("a ledger");
    let dies = DeadlyWrite { before: death == Death::BeforeLedger, after: death == Death::AfterLedger };
    let journal = DiskJournal::new(dir.join("journal"), Rt::default());
    Client::builder()
        .registry(registry)
        .owner(Owner::parse(KEY).expect("a key"))
        .ledger(HookedLedger::around(ledger, dies))
        .journal(Deadly { journal, notes: Arc::default(), at, before })
}

/// What the test starts as a process of its own; as a test it does nothing.
#[test]
fn child_that_puts_until_it_ends() {
    let Ok(job) = std::env::var(JOB) else { return };
    let [dir, registry, kind, number]: [&str; 4] = job.split('|').collect::<Vec<_>>().try_into().expect("four parts");
    let number: u32 = number.parse().expect("a number");
    let death = match kind {
        "before" => Death::BeforeNote(number),
        "after" => Death::AfterNote(number),
        "midway" => Death::Midway(number),
        "before-ledger" => Death::BeforeLedger,
        "after-ledger" => Death::AfterLedger,
        _ => Death::Never,
    };
    let dir = Path::new(dir);
    block_on(async {
        let client = client(dir, registry.parse().expect("an address"), death).connect().await.expect("a client");
        let put = client.upload(dir.join("source"), "x").progress(move |p| {
            let total = p.bytes_total.unwrap_or(1).max(1);
            if let Death::Midway(part) = death
                && p.bytes_done * 100 / total >= u64::from(part)
            {
                std::process::abort();
            }
        });
        put.await.expect("stored");
        client.close().await;
    });
}

fn run(dir: &Path, registry: &RegistryAddr, death: Death) -> bool {
    let (kind, number) = match death {
        Death::BeforeNote(at) => ("before", at),
        Death::AfterNote(at) => ("after", at),
        Death::Midway(part) => ("midway", part),
        Death::BeforeLedger => ("before-ledger", 0),
        Death::AfterLedger => ("after-ledger", 0),
        Death::Never => ("never", 0),
    };
    let job = format!("{}|{registry}|{kind}|{number}", dir.display());
    let ended = Command::new(std::env::current_exe().expect("this test"))
        .args(["crash::child_that_puts_until_it_ends", "--exact", "--nocapture"])
        .env(JOB, job)
        .output()
        .expect("it starts");
    ended.status.success()
}

struct Network {
    registry: RegistryHandle,
    _nodes: Vec<NodeHandle>,
    stores: Vec<Counting>,
    arrived: Arrived,
}

async fn network() -> Network {
    let dir = tempfile::tempdir().expect("a folder");
    let registry = Registry::builder().dir(dir.path()).start().await.expect("a registry");
    let arrived = Arrived::default();
    let (mut nodes, mut stores) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let store = Counting { store: MemoryStore::new(1 << 30), arrived: arrived.clone() };
        let identity = dstore::ServerIdentity::generate(&Rt::default());
        let node = StorageNode::builder()
            .identity(identity)
            .store(store.clone())
            .registry(registry.registry_address())
            .start()
            .await
            .expect("a node");
        node.registered().await;
        nodes.push(node);
        stores.push(store);
    }
    Network { registry, _nodes: nodes, stores, arrived }
}

impl Network {
    async fn live(&self) -> BTreeSet<ShardId> {
        let mut live = BTreeSet::new();
        for store in &self.stores {
            for id in store.store.ids() {
                if store.store.stat(id).await.is_ok_and(|shard| shard.state == ShardState::Live) {
                    live.insert(id);
                }
            }
        }
        live
    }
}

fn one_version_and_nothing_twice(len: usize, deaths: &[Death]) {
    for death in deaths {
        block_on(async {
            let network = network().await;
            let dir = tempfile::tempdir().expect("a folder");
            let content = noise(len);
            std::fs::write(dir.path().join("source"), &content).expect("written");
            let address = network.registry.registry_address();
            assert!(!run(dir.path(), &address, *death), "{death:?}: it was to die");
            assert!(run(dir.path(), &address, Death::Never), "{death:?}: the same again");

            let reader = client(dir.path(), address, Death::Never).connect().await.expect("a client");
            let head = reader.head("x").await.expect("there");
            assert_eq!(head.version, 1, "{death:?}");
            assert!(reader.get("x").bytes().await.expect("read") == content, "{death:?}");
            reader.close().await;
            let owner = Owner::parse(KEY).expect("a key");
            let id = file_id(owner.id(), owner.path_salt(&FilePath::new("x").expect("a path")));
            let ledger = LocalLedger::open(dir.path().join("ledger.db")).expect("a ledger");
            assert_eq!(ledger.history(id).await.expect("read").len(), 1, "{death:?}");

            let live = network.live().await;
            assert_eq!(live.len(), 6, "{death:?}");
            let arrived = network.arrived.lock().expect("fine").clone();
            let expected: BTreeMap<_, _> = live.iter().map(|id| (*id, head.shards[0].bytes)).collect();
            assert_eq!(arrived, expected, "{death:?}: every byte arrived once");
            let left = std::fs::read_dir(dir.path().join("journal")).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{death:?}: nothing is left to be done");
        });
    }
}

const NOTES: u32 = 3;

fn at_every_note() -> Vec<Death> {
    let at = |n| [Death::BeforeNote(n), Death::AfterNote(n)];
    // Before the first note nothing was begun, and after the removal nothing is left to remember.
    let others = [Death::BeforeLedger, Death::AfterLedger, Death::AfterNote(REMOVAL)];
    (1..=NOTES).flat_map(at).chain(others).collect()
}

#[test]
fn a_put_that_was_killed_at_any_note_ends_with_one_version_and_sends_nothing_twice() {
    one_version_and_nothing_twice(9_000_000, &at_every_note());
}

#[test]
fn a_small_put_that_was_killed_at_any_note_ends_with_one_version_and_sends_nothing_twice() {
    one_version_and_nothing_twice(5_000, &at_every_note());
}

#[test]
fn a_put_that_was_killed_midway_sends_only_what_is_missing() {
    one_version_and_nothing_twice(30_000_000, &[Death::Midway(25), Death::Midway(60), Death::Midway(95)]);
}

#[test]
fn a_put_has_as_many_notes_as_these_tests_kill_it_at() {
    block_on(async {
        let network = network().await;
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("source"), noise(1000)).expect("written");
        assert!(run(dir.path(), &network.registry.registry_address(), Death::AfterNote(NOTES + 1)));
    });
}
