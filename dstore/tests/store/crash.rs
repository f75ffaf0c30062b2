//! kill -9 in the middle of puts, deletions and sweeps: nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use dstore::merkle::BLOCK_LEN;
use dstore::rt::Timestamp;
use dstore::store::{CopyStore, DiskStore, ShardStore};
use dstore::testing::conformance::copies::copy;
use dstore::testing::conformance::store::{bytes, check_whole, key, put_small, put_streamed};
use futures_lite::future::block_on;
use futures_util::future::join_all;

use super::open;

const FOLDER: &str = "DSTORE_TEST_CRASH_FOLDER";

fn data(seed: u32) -> Vec<u8> {
    let len = if seed.is_multiple_of(4) { 3 * BLOCK_LEN + 9 } else { 700 };
    bytes(seed, len)
}

async fn put(store: &DiskStore, seed: u32) {
    let data = data(seed);
    let stored = match seed % 4 {
        0 => put_streamed(store, seed, &data, None).await,
        _ => put_small(store, seed, &data).await,
    };
    stored.expect("stores");
    // Versions of one address follow each other.
    store.put_copy(copy(seed % 8, 1, seed, 768)).await.expect("stores");
    say("stored", seed);
}

fn say(word: &str, seed: u32) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{word} {seed}").and_then(|()| out.flush()).expect("the parent listens");
}

/// Not a test by itself: the process that the test below kills.
#[test]
fn child_that_stores_until_it_is_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let store = open(Path::new(&dir));
    let start = u32::try_from(block_on(store.usage()).expect("counts").shards).expect("few") * 1_000;
    for round in 0_u32.. {
        let first = start + round * 8;
        block_on(async {
            join_all((first..first + 8).map(|seed| put(&store, seed)).collect::<Vec<_>>()).await;
            for seed in [first, first + 1] {
                say("deleting", seed);
                store.retire(key(seed).id, Timestamp::default()).await.expect("retires");
            }
            store.sweep(Timestamp::from_millis(1), Timestamp::default(), Timestamp::default()).await.expect("sweeps");
        });
    }
}

/// Starts the child, kills it after `count` acknowledged shards, and notes what it said.
fn run_and_kill(dir: &Path, count: usize, stored: &mut BTreeSet<u32>, deleting: &mut BTreeSet<u32>) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["crash::child_that_stores_until_it_is_killed", "--exact", "--nocapture"])
        .env(FOLDER, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut seen = 0;
    let lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    for line in lines {
        let line = line.expect("text");
        match line.split_once(' ') {
            Some(("stored", seed)) => {
                seen += 1;
                stored.insert(seed.parse().expect("a number"));
            }
            Some(("deleting", seed)) => {
                deleting.insert(seed.parse().expect("a number"));
            }
            _ => {}
        }
        if seen == count {
            // What it says between this and its end is read as well.
            child.kill().expect("is killed");
        }
    }
    child.wait().expect("has ended");
    assert!(seen >= count, "it ended by itself after {seen}");
}

#[test]
fn no_acknowledged_shard_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut stored, mut deleting) = (BTreeSet::new(), BTreeSet::new());
    for count in [1, 7, 20, 33, 58] {
        run_and_kill(dir.path(), count, &mut stored, &mut deleting);
        let store = open(dir.path());
        for seed in stored.difference(&deleting) {
            block_on(check_whole(&store, *seed, &data(*seed)));
        }
        for address in 0..8 {
            let highest = stored.iter().filter(|seed| *seed % 8 == address).max();
            let Some(highest) = highest else { continue };
            let found = block_on(store.copy(copy(address, 1, 0, 0).id)).expect("stored").newest;
            // One that was stored after it may not have been told of.
            assert!(found.0 >= *highest, "version {highest} of a copy is lost");
            assert_eq!(found.1, copy(address, 1, found.0, 768).body);
        }
        let scrubbed = block_on(store.scrub(None, u64::MAX)).expect("scrubs");
        assert_eq!(scrubbed.quarantined, []);
        let open = block_on(store.usage()).expect("counts").open;
        assert_eq!(std::fs::read_dir(dir.path().join("open")).expect("is there").count() as u64, 2 * open);
    }
}
