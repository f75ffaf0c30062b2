//! Folders as crashes, failing disks and people leave them, each built by hand: opening heals them.

use std::fs;
use std::path::Path;

use dstore::Error;
use dstore::id::ShardId;
use dstore::merkle::BLOCK_LEN;
use dstore::rt::Rt;
use dstore::store::{DiskStore, ShardState, ShardStore, StoreError};
use dstore::testing::conformance::store::{LEASE, bytes, check_whole, key, put_small, put_streamed};
use futures_lite::future::block_on;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{config, data_file, flip, meta_file, open};

fn data() -> Vec<u8> {
    bytes(1, 3 * BLOCK_LEN + 5)
}

/// A closed store with the file shards `seeds`.
fn with_files(seeds: &[u32]) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for seed in seeds {
        block_on(put_streamed(&store, *seed, &data(), None)).expect("stores");
    }
    dir
}

fn sql(dir: &Path, statement: &str, id: ShardId) {
    let index = Connection::open(dir.join("index.db")).expect("opens");
    assert_eq!(index.execute(statement, [id.as_bytes()]).expect("runs"), 1);
}

/// A closed store where the shards' files were renamed, and the crash came before the commit.
fn without_rows(seeds: &[u32]) -> TempDir {
    let dir = with_files(seeds);
    for seed in seeds {
        sql(dir.path(), "DELETE FROM shards WHERE id = ?1", key(*seed).id);
    }
    dir
}

fn exist(dir: &Path, seed: u32) -> (bool, bool) {
    (data_file(dir, key(seed).id).exists(), meta_file(dir, key(seed).id).exists())
}

fn cut(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).expect("is there").set_len(len).expect("is cut");
}

fn is_missing(store: &DiskStore, seed: u32) -> bool {
    matches!(block_on(store.stat(key(seed).id)), Err(StoreError::NotFound))
}

#[test]
fn a_shard_that_was_renamed_but_not_committed_is_restored() {
    let dir = without_rows(&[1]);
    let store = open(dir.path());
    block_on(check_whole(&store, 1, &data()));
    let stored = block_on(store.stat(key(1).id)).expect("restored");
    assert_eq!((stored.key, stored.lease_until, stored.state), (key(1), LEASE, ShardState::Live));
    let usage = block_on(store.usage()).expect("counts");
    assert_eq!((usage.used, usage.shards), (data().len() as u64, 1));
    let account = block_on(store.account_usage(key(1).account)).expect("counts");
    assert_eq!((account.used, account.shards), (data().len() as u64, 1));
}

#[test]
fn half_of_a_shard_that_was_not_committed_is_removed() {
    let dir = without_rows(&[1, 2]);
    fs::remove_file(data_file(dir.path(), key(1).id)).expect("is there");
    fs::remove_file(meta_file(dir.path(), key(2).id)).expect("is there");
    let store = open(dir.path());
    for seed in [1, 2] {
        assert!(is_missing(&store, seed));
        assert_eq!(exist(dir.path(), seed), (false, false));
    }
}

#[test]
fn a_shard_that_was_not_committed_and_is_not_whole_is_removed() {
    let dir = without_rows(&[1, 2, 3, 4, 5, 6]);
    cut(&data_file(dir.path(), key(1).id), 7);
    cut(&meta_file(dir.path(), key(2).id), 100);
    cut(&meta_file(dir.path(), key(3).id), 200);
    flip(&meta_file(dir.path(), key(4).id), 50);
    fs::copy(meta_file(dir.path(), key(6).id), meta_file(dir.path(), key(5).id)).expect("copies");
    let store = open(dir.path());
    for seed in 1..=5 {
        assert!(is_missing(&store, seed), "{seed}");
        assert_eq!(exist(dir.path(), seed), (false, false), "{seed}");
    }
    block_on(check_whole(&store, 6, &data()));
}

#[test]
fn a_shard_that_another_version_wrote_is_left_alone() {
    let dir = without_rows(&[1]);
    flip(&meta_file(dir.path(), key(1).id), 8);
    let store = open(dir.path());
    assert!(is_missing(&store, 1));
    assert_eq!(exist(dir.path(), 1), (true, true));
}

#[test]
fn a_shard_whose_files_are_gone_or_cut_is_quarantined_and_can_be_stored_anew() {
    let dir = with_files(&[1, 2, 3, 4, 5]);
    fs::remove_file(data_file(dir.path(), key(1).id)).expect("is there");
    fs::remove_file(meta_file(dir.path(), key(2).id)).expect("is there");
    cut(&data_file(dir.path(), key(3).id), 5);
    cut(&meta_file(dir.path(), key(4).id), 195);
    let store = open(dir.path());
    for seed in 1..=4 {
        let state = block_on(store.stat(key(seed).id)).expect("is kept").state;
        assert_eq!(state, ShardState::Quarantined, "{seed}");
        block_on(put_streamed(&store, seed, &data(), None)).expect("replaces");
    }
    for seed in 1..=5 {
        block_on(check_whole(&store, seed, &data()));
    }
    assert_eq!(block_on(store.usage()).expect("counts").shards, 5);
}

#[test]
fn a_sweep_that_a_crash_cut_short_is_finished() {
    let dir = with_files(&[1, 2]);
    for seed in [1, 2] {
        sql(dir.path(), "DELETE FROM shards WHERE id = ?1", key(seed).id);
        sql(dir.path(), "INSERT INTO freed VALUES (?1)", key(seed).id);
    }
    fs::remove_file(data_file(dir.path(), key(2).id)).expect("is there");
    let store = open(dir.path());
    for seed in [1, 2] {
        assert!(is_missing(&store, seed), "a deleted shard does not come back");
        assert_eq!(exist(dir.path(), seed), (false, false));
        block_on(put_streamed(&store, seed, &data(), None)).expect("its id is free");
    }
}

#[test]
fn files_that_a_small_shard_took_the_place_of_are_removed() {
    let dir = with_files(&[1, 2]);
    sql(dir.path(), "DELETE FROM shards WHERE id = ?1", key(1).id);
    fs::rename(data_file(dir.path(), key(1).id), dir.path().join("data")).expect("renames");
    fs::rename(meta_file(dir.path(), key(1).id), dir.path().join("meta")).expect("renames");
    block_on(put_small(&open(dir.path()), 1, &[9; 99])).expect("stores");
    fs::rename(dir.path().join("data"), data_file(dir.path(), key(1).id)).expect("renames");
    fs::rename(dir.path().join("meta"), meta_file(dir.path(), key(1).id)).expect("renames");
    let store = open(dir.path());
    assert_eq!(exist(dir.path(), 1), (false, false));
    block_on(check_whole(&store, 1, &[9; 99]));
    block_on(check_whole(&store, 2, &data()));
}

#[test]
fn strange_files_beside_open_shards_are_removed_and_those_beside_stored_ones_are_left_alone() {
    let dir = with_files(&[1]);
    let temporary = dir.path().join("open").join("anything");
    let strange = data_file(dir.path(), key(1).id).with_file_name("README");
    fs::write(&temporary, b"half").expect("writes");
    fs::write(&strange, b"mine").expect("writes");
    let store = open(dir.path());
    assert!(!temporary.exists() && strange.exists());
    block_on(check_whole(&store, 1, &data()));
}

#[test]
fn a_lost_index_is_made_again_and_frees_nothing_early() {
    let dir = with_files(&[1, 2]);
    block_on(put_small(&open(dir.path()), 3, &[3])).expect("stores");
    fs::remove_file(dir.path().join("index.db")).expect("is there");
    let store = open(dir.path());
    let day = std::time::Duration::from_secs(24 * 3600);
    for seed in [1, 2] {
        block_on(check_whole(&store, seed, &data()));
        let lease = block_on(store.stat(key(seed).id)).expect("restored").lease_until;
        assert!(lease > dstore::rt::Rt::default().env().now().after(89 * day), "it may have been renewed");
    }
    assert!(is_missing(&store, 3), "small shards are lost with the index");
    drop(store);
    let store = open(dir.path());
    assert_eq!(block_on(store.usage()).expect("counts").shards, 2);
}

/// File shards are as before; small ones are as before, or lost.
fn check_after_damage(dir: &Path, seeds: std::ops::Range<u32>) {
    let store = open(dir);
    block_on(async {
        for seed in seeds {
            if seed % 2 == 0 {
                check_whole(&store, seed, &data()).await;
                continue;
            }
            let range = dstore::merkle::BlockRange::new(1_000, 0, 1).expect("one block");
            if let Ok(read) = store.read(key(seed).id, range).await
                && read.bytes != bytes(seed, 1_000)
            {
                let scrubbed = store.scrub(None, u64::MAX).await.expect("scrubs");
                assert!(scrubbed.quarantined.contains(&key(seed).id), "wrong bytes are found");
            }
        }
        put_small(&store, 100, &[100]).await.expect("stores");
        check_whole(&store, 100, &[100]).await;
    });
}

#[test]
fn an_index_that_is_damaged_anywhere_costs_no_file_shard() {
    let dir = tempfile::tempdir().expect("a folder");
    let seeds = 0..24;
    let store = open(dir.path());
    for seed in seeds.clone() {
        let stored = match seed % 2 {
            0 => block_on(put_streamed(&store, seed, &data(), None)),
            _ => block_on(put_small(&store, seed, &bytes(seed, 1_000))),
        };
        stored.expect("stores");
    }
    drop(store);
    let path = dir.path().join("index.db");
    let intact = fs::read(&path).expect("is there");
    let page = 4096;
    for at in (0..intact.len()).step_by(page) {
        let mut zeroed = intact.clone();
        zeroed[at..at + page].fill(0);
        let mut noise = intact.clone();
        noise[at..at + page].copy_from_slice(&bytes(7, page));
        for damaged in [zeroed, noise, intact[..at].to_vec(), intact[..at + page / 2].to_vec()] {
            fs::write(&path, &damaged).expect("writes");
            check_after_damage(dir.path(), seeds.clone());
        }
    }
    let aside = fs::read_dir(dir.path()).expect("is there").filter_map(Result::ok);
    assert!(aside.filter(|file| file.file_name().to_string_lossy().contains(".damaged-")).count() > 0);
}

#[test]
fn a_store_of_a_later_version_is_refused_and_not_touched() {
    let dir = with_files(&[1]);
    let index = Connection::open(dir.path().join("index.db")).expect("opens");
    index.pragma_update(None, "user_version", 2).expect("runs");
    drop(index);
    let refused = block_on(DiskStore::open(dir.path(), config(), Rt::default()));
    assert!(matches!(refused, Err(Error::Config { .. })), "{refused:?}");
    assert_eq!(exist(dir.path(), 1), (true, true));
}
