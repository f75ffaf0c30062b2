//! Every crash that a scenario can have, on a disk that drops, tears and reorders what was not synced.
//!
//! The database is the real one: its files are copied before every step, so a crash finds it at its last acknowledged
//! commit, or after it.

mod model;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures_lite::future::block_on;

use self::model::{Dice, ModelFiles};
use super::{DiskStore, DiskStoreConfig};
use crate::merkle::{BLOCK_LEN, BlockRange, ProvedLeaves, block_count};
use crate::rt::{Rt, Timestamp};
use crate::store::{ShardState, ShardStore, ShardWriter, StoreError};
use crate::testing::conformance::store::{LEASE, NOW, bytes, check_whole, key, root};

const LATER: Timestamp = Timestamp::from_millis(LEASE.as_millis() + 77);
const SEEDS: std::ops::RangeInclusive<u32> = 1..=7;

/// What the scenario knows at a step of the log.
#[derive(Debug, Clone, Copy)]
enum Word {
    /// It was told that the shard is stored, or that its lease was extended.
    Stored(u32, Timestamp),
    /// From here on it may be gone.
    Leaving(u32),
    /// It was told that it is gone, and it asks for it no more.
    Gone(u32),
    /// It may be there again.
    Coming(u32),
}

fn streamed(seed: u32) -> Vec<u8> {
    bytes(seed, (2 + seed as usize % 3) * BLOCK_LEN + 700 * (seed as usize % 2))
}

/// What is stored in one piece under the same id, at other times.
fn small(seed: u32) -> Vec<u8> {
    bytes(100 + seed, 900)
}

fn open(files: &ModelFiles, dir: &Path) -> DiskStore {
    let config = DiskStoreConfig::new().free_floor(0).inline_max(BLOCK_LEN);
    DiskStore::open_on(Arc::new(files.clone()), dir.to_owned(), &config, Rt::default()).expect("opens after any crash")
}

struct Scenario {
    files: ModelFiles,
    store: DiskStore,
    words: Vec<(usize, Word)>,
}

impl Scenario {
    fn say(&mut self, word: Word) {
        self.words.push((self.files.note(), word));
    }

    async fn begin(&self, seed: u32) -> Box<dyn ShardWriter> {
        let len = seed.is_multiple_of(2).then(|| streamed(seed).len() as u64);
        self.store.begin(key(seed), len, NOW).await.expect("begins")
    }

    async fn append(&self, seed: u32, writer: &mut Box<dyn ShardWriter>, blocks: usize) {
        let (data, from) = (streamed(seed), usize::try_from(writer.len()).expect("small"));
        let piece = data[from..data.len().min(from + blocks * BLOCK_LEN)].to_vec();
        writer.append(piece).await.expect("appends");
    }

    async fn finish(&mut self, seed: u32, mut writer: Box<dyn ShardWriter>) {
        self.append(seed, &mut writer, 9).await;
        writer.finish(root(&streamed(seed)), LEASE).await.expect("stores");
        self.say(Word::Stored(seed, LEASE));
    }

    async fn put_small(&mut self, seed: u32, data: Vec<u8>) {
        self.store.put_small(key(seed), root(&data), LEASE, data).await.expect("stores");
        self.say(Word::Stored(seed, LEASE));
    }

    async fn remove(&mut self, seed: u32) {
        self.say(Word::Leaving(seed));
        self.store.retire(key(seed).id, Timestamp::default()).await.expect("retires");
        self.store.sweep(NOW, Timestamp::default(), Timestamp::default()).await.expect("sweeps");
        self.say(Word::Gone(seed));
    }

    async fn run(&mut self) {
        let (mut first, mut second) = (self.begin(1).await, self.begin(2).await);
        self.append(1, &mut first, 1).await;
        self.append(2, &mut second, 2).await;
        self.put_small(3, small(3)).await;
        self.append(1, &mut first, 1).await;
        self.finish(1, first).await;
        drop(second);
        self.store.renew(key(1).id, LATER).await.expect("renews");
        self.say(Word::Stored(1, LATER));
        let second = self.begin(2).await;
        self.finish(2, second).await;
        self.put_small(4, streamed(4)).await;
        self.remove(1).await;
        self.say(Word::Coming(1));
        let again = self.begin(1).await;
        self.finish(1, again).await;
        self.open_ones().await;
        self.replace_damaged().await;
    }

    async fn open_ones(&mut self) {
        for seed in [5, 6, 7] {
            let mut writer = self.begin(seed).await;
            self.append(seed, &mut writer, 1).await;
        }
        let mut older = self.begin(5).await;
        self.append(5, &mut older, 1).await;
        let mut newer = self.begin(5).await;
        self.append(5, &mut newer, 1).await;
        drop((older, newer));
        self.store.retire(key(5).id, LEASE).await.expect("discards");
        self.put_small(6, small(6)).await;
        let wrong = self.begin(7).await.finish(root(b"other"), LEASE).await;
        assert!(matches!(wrong, Err(StoreError::Mismatch)));
        let mut left = self.begin(7).await;
        self.append(7, &mut left, 2).await;
    }

    async fn replace_damaged(&mut self) {
        for seed in [2, 4] {
            let damaged = self.store.stat(key(seed).id).await.expect("is there");
            self.say(Word::Leaving(seed));
            self.store.commit().run(move |batch| batch.quarantine(&[damaged])).await.expect("quarantines");
            if seed == 2 {
                let writer = self.begin(seed).await;
                self.finish(seed, writer).await;
            } else {
                self.put_small(seed, small(seed)).await;
            }
        }
        self.store.sweep(NOW, Timestamp::default(), Timestamp::default()).await.expect("sweeps");
    }
}

/// What must be there, and what must not, to who heard the words before step `at`.
fn promised(words: &[(usize, Word)], at: usize) -> (BTreeMap<u32, Timestamp>, BTreeSet<u32>) {
    let (mut there, mut gone) = (BTreeMap::new(), BTreeSet::new());
    for (_, word) in words.iter().filter(|(step, _)| *step < at) {
        match word {
            Word::Stored(seed, lease) => drop(there.insert(*seed, *lease)),
            Word::Leaving(seed) => drop(there.remove(seed)),
            Word::Gone(seed) => drop(gone.insert(*seed)),
            Word::Coming(seed) => drop(gone.remove(seed)),
        }
    }
    (there, gone)
}

/// The bytes of a stored shard that has this root.
fn known(seed: u32, of: crate::id::ShardRoot) -> Vec<u8> {
    let known = [streamed(seed), small(seed)].into_iter().find(|data| root(data) == of);
    known.expect("only what was put is stored")
}

/// Whether the whole shard reads back; where it does not, no wrong byte is proved.
async fn reads_back(store: &DiskStore, seed: u32) -> bool {
    let Ok(stored) = store.stat(key(seed).id).await else { return false };
    let data = known(seed, stored.root);
    let range = BlockRange::new(stored.len, 0, block_count(stored.len)).expect("the whole");
    let Ok(read) = store.read(key(seed).id, range).await else { return false };
    let Some(proved) = ProvedLeaves::verify(stored.root, range, &read.proof) else { return false };
    let mut is_whole = read.bytes.len() == data.len();
    for (block, bytes) in (0..).zip(read.bytes.chunks(BLOCK_LEN)) {
        let is_right = data.chunks(BLOCK_LEN).nth(block).is_some_and(|right| right == bytes);
        let is_proved = proved.matches(block as u64, bytes);
        assert!(is_right || !is_proved, "a wrong block of {seed} was proved");
        is_whole &= is_right;
    }
    is_whole
}

async fn check(store: &DiskStore, (there, gone): &(BTreeMap<u32, Timestamp>, BTreeSet<u32>)) {
    for (seed, lease) in there {
        assert!(reads_back(store, *seed).await, "{seed} was acknowledged");
        let stored = store.stat(key(*seed).id).await.expect("was acknowledged");
        assert!(stored.state == ShardState::Live && stored.lease_until >= *lease, "{stored:?}");
    }
    for seed in gone {
        assert!(matches!(store.stat(key(*seed).id).await, Err(StoreError::NotFound)), "{seed} has come back");
    }
    store.scrub(None, u64::MAX).await.expect("scrubs");
    let (mut used, mut shards, mut open) = (0, 0, 0);
    for seed in SEEDS {
        if let Ok(stored) = store.stat(key(seed).id).await {
            let is_sound = stored.state == ShardState::Quarantined || reads_back(store, seed).await;
            assert!(is_sound, "{seed} is not what it is said to be: {stored:?}");
            (used, shards) = (used + stored.len, shards + 1);
        }
        if let Some(held) = store.open_shard(key(seed).id).await.expect("counts") {
            (used, open) = (used + held.held, open + 1);
        }
    }
    let usage = store.usage().await.expect("counts");
    assert_eq!((usage.used, usage.shards, usage.open), (used, shards, open));
}

/// What a client does whose put was cut off: it goes on where it can, and starts anew where it cannot.
async fn go_on(store: &DiskStore) {
    for seed in SEEDS {
        let data = streamed(seed);
        let begin = || store.begin(key(seed), Some(data.len() as u64), NOW);
        let mut writer = match begin().await {
            Err(StoreError::Exists(_)) => continue,
            begun => begun.expect("begins"),
        };
        let held = usize::try_from(writer.len()).expect("small");
        if writer.root() != root(&data[..held]) {
            writer.discard().await;
            writer = begin().await.expect("begins");
            assert_eq!(writer.len(), 0);
        }
        let held = usize::try_from(writer.len()).expect("small");
        writer.append(data[held..].to_vec()).await.expect("appends");
        writer.finish(root(&data), LEASE).await.expect("stores");
        check_whole(store, seed, &data).await;
    }
}

/// Runs the scenario, then every crash of it, torn as `dice` falls.
fn survive_every_crash(seed: u32) {
    let dir = tempfile::tempdir().expect("a folder");
    let files = ModelFiles::default();
    let store = open(&files, dir.path());
    files.record(dir.path());
    let mut scenario = Scenario { files: files.clone(), store, words: vec![] };
    block_on(scenario.run());
    files.note();
    let mut dice = Dice::new(seed);
    let mut seen = HashSet::new();
    assert!(files.steps() > 100, "{} steps", files.steps());
    for at in 1..files.steps() {
        for early in [false, true] {
            let (left, database) = files.crash(at, early, &mut dice);
            let promised = promised(&scenario.words, at);
            if !seen.insert((left.fingerprint(), Arc::as_ptr(&database), format!("{promised:?}"))) {
                continue;
            }
            let after = tempfile::tempdir_in(dir.path()).expect("a folder");
            for (name, bytes) in &*database {
                fs::write(after.path().join(name), bytes).expect("writes");
            }
            // The model looks for its files under the folder of the scenario.
            let left = left.moved(dir.path(), after.path());
            block_on(async {
                let store = open(&left, after.path());
                check(&store, &promised).await;
                if !early {
                    // What was gone is put again.
                    go_on(&store).await;
                    check(&store, &(promised.0, BTreeSet::new())).await;
                }
            });
        }
    }
}

#[test]
fn every_crash_keeps_what_was_acknowledged() {
    survive_every_crash(1);
}

#[test]
fn every_crash_keeps_what_was_acknowledged_when_the_dice_fall_otherwise() {
    survive_every_crash(2);
}
