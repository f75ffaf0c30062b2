//! A client that is killed at every point of a put, and the same put again: one version, and nothing travels twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dstore::id::{CopyId, FileId, LedgerId, NoiseKey, OwnerId, PathSalt, ShardId, ShardRoot};
use dstore::journal::{DiskJournal, Journal, Log, LogId, Tag};
use dstore::ledger::{Entry, Finality, Ledger, LedgerError, Page, Written, file_id};
use dstore::merkle::BlockRange;
use dstore::rt::{BoxFuture, Rt, Timestamp};
use dstore::store::{
    CopyStore, MemoryStore, NewCopy, OpenShard, ProvedBlocks, Scrubbed, ShardKey, ShardState, ShardStore, ShardWriter,
    StoreError, StoredCopy, StoredShard, Usage,
};
use dstore::{Client, FilePath, LocalLedger, NodeHandle, Owner, Registry, RegistryAddr, RegistryHandle, StorageNode};
use futures_lite::future::block_on;

use super::noise;

/// Bytes that arrived, by shard.
type Arrived = Arc<Mutex<BTreeMap<ShardId, u64>>>;

/// A store that counts what arrives.
#[derive(Debug, Clone)]
struct Counting {
    store: MemoryStore,
    arrived: Arrived,
}

struct CountingWriter {
    writer: Box<dyn ShardWriter>,
    id: ShardId,
    arrived: Arrived,
}

fn count(arrived: &Arrived, id: ShardId, bytes: usize) {
    *arrived.lock().expect("fine").entry(id).or_default() += bytes as u64;
}

impl ShardWriter for CountingWriter {
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        count(&self.arrived, self.id, bytes.len());
        self.writer.append(bytes)
    }

    fn len(&self) -> u64 {
        self.writer.len()
    }

    fn root(&self) -> ShardRoot {
        self.writer.root()
    }

    fn discard(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.writer.discard()
    }

    fn finish(
        self: Box<Self>,
        root: ShardRoot,
        until: Timestamp,
    ) -> BoxFuture<'static, Result<StoredShard, StoreError>> {
        self.writer.finish(root, until)
    }
}

impl ShardStore for Counting {
    fn put_small(
        &self,
        key: ShardKey,
        root: ShardRoot,
        until: Timestamp,
        bytes: Vec<u8>,
    ) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        count(&self.arrived, key.id, bytes.len());
        self.store.put_small(key, root, until, bytes)
    }

    fn begin(
        &self,
        key: ShardKey,
        len: Option<u64>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StoreError>> {
        Box::pin(async move {
            let writer = self.store.begin(key, len, now).await?;
            let arrived = self.arrived.clone();
            Ok(Box::new(CountingWriter { writer, id: key.id, arrived }) as Box<dyn ShardWriter>)
        })
    }

    fn open_shard(&self, id: ShardId) -> BoxFuture<'_, Result<Option<OpenShard>, StoreError>> {
        self.store.open_shard(id)
    }

    fn stat(&self, id: ShardId) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        self.store.stat(id)
    }

    fn read(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        self.store.read(id, range)
    }

    fn prove(&self, id: ShardId, range: BlockRange) -> BoxFuture<'_, Result<ProvedBlocks, StoreError>> {
        self.store.prove(id, range)
    }

    fn renew(&self, id: ShardId, until: Timestamp) -> BoxFuture<'_, Result<StoredShard, StoreError>> {
        self.store.renew(id, until)
    }

    fn retire(&self, id: ShardId, free_at: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.retire(id, free_at)
    }

    fn sweep(&self, now: Timestamp, lease: Timestamp, open: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.sweep(now, lease, open)
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.store.usage()
    }

    fn accounts_usage(&self, accounts: RangeInclusive<NoiseKey>) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.store.accounts_usage(accounts)
    }

    fn scrub(&self, after: Option<ShardId>, budget: u64) -> BoxFuture<'_, Result<Scrubbed, StoreError>> {
        self.store.scrub(after, budget)
    }
}

impl CopyStore for Counting {
    fn put_copy(&self, new: NewCopy) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        self.store.put_copy(new)
    }

    fn copy(&self, id: CopyId) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        self.store.copy(id)
    }

    fn copies(
        &self,
        holder: NoiseKey,
        after: Option<CopyId>,
        budget: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredCopy>, StoreError>> {
        self.store.copies(holder, after, budget)
    }

    fn count_copies(&self, account: NoiseKey) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.count_copies(account)
    }

    fn sweep_copies(&self, lease_floor: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.sweep_copies(lease_floor)
    }
}

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
struct DeadlyLedger {
    ledger: LocalLedger,
    before: bool,
    after: bool,
}

impl Ledger for DeadlyLedger {
    fn id(&self) -> LedgerId {
        self.ledger.id()
    }

    fn put(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        Box::pin(async move {
            if self.before {
                std::process::abort();
            }
            let written = self.ledger.put(owner, salt, expected, record).await;
            if self.after {
                std::process::abort();
            }
            written
        })
    }

    fn rename(
        &self,
        owner: OwnerId,
        from: PathSalt,
        expected_from: u32,
        to: PathSalt,
        expected_to: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        self.ledger.rename(owner, from, expected_from, to, expected_to, record)
    }

    fn remove(&self, owner: OwnerId, salt: PathSalt, expected: u32) -> BoxFuture<'_, Result<Written, LedgerError>> {
        self.ledger.remove(owner, salt, expected)
    }

    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        self.ledger.get(file_id)
    }

    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.ledger.history(file_id)
    }

    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        self.ledger.list(owner, cursor)
    }

    fn settled(&self, written: Written) -> BoxFuture<'_, Result<Option<Finality>, LedgerError>> {
        self.ledger.settled(written)
    }

    fn wait(&self, written: Written, finality: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.wait(written, finality)
    }

    fn is_final_at_once(&self) -> bool {
        self.ledger.is_final_at_once()
    }

    fn decides_within(&self) -> Option<Duration> {
        self.ledger.decides_within()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.health()
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
    let (dies_before, dies_after) = (death == Death::BeforeLedger, death == Death::AfterLedger);
    let journal = DiskJournal::new(dir.join("journal"), Rt::default());
    Client::builder()
        .registry(registry)
        .owner(Owner::parse(KEY).expect("a key"))
        .ledger(DeadlyLedger { ledger, before: dies_before, after: dies_after })
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
