//! Shards of which a part is there, across restarts of a disk store, and as crashes leave their files.

use std::fs;
use std::path::{Path, PathBuf};

use dstore::merkle::BLOCK_LEN;
use dstore::rt::{Rt, Timestamp};
use dstore::store::{DiskStore, ShardStore, ShardWriter, StoreError};
use dstore::testing::conformance::store::{LEASE, NOW, bytes, check_whole, key, put_small, root};
use futures_lite::future::block_on;
use tempfile::TempDir;

use super::open;

fn data() -> Vec<u8> {
    bytes(1, 70 * BLOCK_LEN + 5)
}

fn held() -> Vec<u8> {
    data()[..70 * BLOCK_LEN].to_vec()
}

/// A closed store with the open shards `seeds`, each with all of `data`.
fn left_open(seeds: &[u32], len: Option<u64>) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for seed in seeds {
        let mut writer = begin(&store, *seed, len);
        block_on(writer.append(data())).expect("appends");
    }
    dir
}

fn begin(store: &DiskStore, seed: u32, len: Option<u64>) -> Box<dyn ShardWriter> {
    block_on(store.begin(key(seed), len, NOW)).expect("begins")
}

fn data_file(dir: &Path, seed: u32) -> PathBuf {
    dir.join("open").join(key(seed).id.to_string())
}

fn meta_file(dir: &Path, seed: u32) -> PathBuf {
    data_file(dir, seed).with_extension("meta")
}

fn cut(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).expect("is there").set_len(len).expect("is cut");
}

/// Goes on with a shard to its end, and sees that it is whole.
fn finish(store: &DiskStore, seed: u32, mut writer: Box<dyn ShardWriter>) {
    let rest = data()[usize::try_from(writer.len()).expect("small")..].to_vec();
    block_on(async {
        writer.append(rest).await.expect("appends");
        writer.finish(root(&data()), LEASE).await.expect("stores");
        check_whole(store, seed, &data()).await;
        assert_eq!(store.scrub(None, u64::MAX).await.expect("scrubs").quarantined, []);
    });
}

#[test]
fn an_open_shard_is_open_when_the_store_is_opened_again() {
    let len = Some(data().len() as u64);
    for (first, then) in [(None, None), (len, len), (None, len), (len, None)] {
        let dir = left_open(&[1, 2], first);
        let store = open(dir.path());
        let usage = block_on(store.usage()).expect("counts");
        assert_eq!((usage.used, usage.shards, usage.open), (2 * held().len() as u64, 0, 2));
        let account = block_on(store.account_usage(key(2).account)).expect("counts");
        assert_eq!((account.used, account.shards, account.open), (held().len() as u64, 0, 1));
        let writer = begin(&store, 1, then);
        assert_eq!((writer.len(), writer.root()), (held().len() as u64, root(&held())));
        finish(&store, 1, writer);
    }
}

#[test]
fn a_length_that_was_announced_is_known_after_a_restart() {
    let len = data().len() as u64;
    let dir = left_open(&[1], Some(len));
    let store = open(dir.path());
    assert_eq!(begin(&store, 1, Some(len + 1)).len(), 0, "another length starts anew");
}

#[test]
fn bytes_that_a_power_loss_changed_are_told_by_the_root() {
    let dir = left_open(&[1], None);
    let mut torn = held();
    torn[BLOCK_LEN] ^= 1;
    fs::write(data_file(dir.path(), 1), &torn).expect("writes");
    let store = open(dir.path());
    let writer = begin(&store, 1, None);
    assert_eq!((writer.len(), writer.root()), (torn.len() as u64, root(&torn)));
    let refused = block_on(writer.finish(root(&held()), LEASE));
    assert!(matches!(refused, Err(StoreError::Mismatch)));
    let writer = begin(&store, 1, None);
    assert_eq!(writer.len(), 0);
    finish(&store, 1, writer);
}

#[test]
fn an_open_shard_is_cut_down_to_what_its_file_has_in_whole_blocks() {
    let dir = left_open(&[1, 2], None);
    cut(&data_file(dir.path(), 1), 9 * BLOCK_LEN as u64 + 1);
    cut(&meta_file(dir.path(), 2), 192 + 32);
    let store = open(dir.path());
    let writer = begin(&store, 1, None);
    assert_eq!((writer.len(), writer.root()), (9 * BLOCK_LEN as u64, root(&held()[..9 * BLOCK_LEN])));
    finish(&store, 1, writer);
    let writer = begin(&store, 2, None);
    assert_eq!((writer.len(), writer.root()), (held().len() as u64, root(&held())));
    finish(&store, 2, writer);
}

#[test]
fn open_shards_that_make_no_sense_are_removed() {
    let dir = left_open(&[1, 2, 3, 4, 5, 6, 7], Some(data().len() as u64));
    fs::remove_file(data_file(dir.path(), 1)).expect("is there");
    fs::remove_file(meta_file(dir.path(), 2)).expect("is there");
    cut(&meta_file(dir.path(), 3), 100);
    super::flip(&meta_file(dir.path(), 4), 50);
    fs::copy(meta_file(dir.path(), 7), meta_file(dir.path(), 5)).expect("copies");
    cut(&data_file(dir.path(), 6), BLOCK_LEN as u64 - 1);
    let store = open(dir.path());
    for seed in 1..=6 {
        assert_eq!(block_on(store.open_shard(key(seed).id)).expect("counts"), None, "{seed}");
        assert!(!data_file(dir.path(), seed).exists() && !meta_file(dir.path(), seed).exists(), "{seed}");
    }
    let writer = begin(&store, 7, None);
    finish(&store, 7, writer);
}

#[test]
fn open_files_of_a_stored_shard_are_removed() {
    let dir = left_open(&[1], None);
    let (data_copy, meta_copy) = (dir.path().join("data"), dir.path().join("meta"));
    fs::copy(data_file(dir.path(), 1), &data_copy).expect("copies");
    fs::copy(meta_file(dir.path(), 1), &meta_copy).expect("copies");
    block_on(put_small(&open(dir.path()), 1, &[9; 99])).expect("stores");
    fs::rename(data_copy, data_file(dir.path(), 1)).expect("renames");
    fs::rename(meta_copy, meta_file(dir.path(), 1)).expect("renames");
    let store = open(dir.path());
    assert!(!data_file(dir.path(), 1).exists() && !meta_file(dir.path(), 1).exists());
    block_on(check_whole(&store, 1, &[9; 99]));
}

#[test]
fn files_that_vanish_under_an_open_store_cost_only_what_they_held() {
    let dir = left_open(&[], None);
    let store = open(dir.path());
    let mut writer = begin(&store, 1, None);
    block_on(writer.append(held())).expect("appends");
    drop(writer);
    fs::remove_file(data_file(dir.path(), 1)).expect("is there");
    let writer = begin(&store, 1, None);
    assert_eq!(writer.len(), 0);
    finish(&store, 1, writer);
}

#[test]
fn after_a_restart_an_open_shard_is_as_old_as_its_file() {
    let dir = left_open(&[1], None);
    let store = open(dir.path());
    let now = Rt::default().env().now();
    let sweep = |floor| block_on(store.sweep(now, Timestamp::default(), floor)).expect("sweeps");
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(sweep(now.before(hour)), 0);
    assert_eq!(sweep(now.after(hour)), 1);
    assert!(!data_file(dir.path(), 1).exists() && !meta_file(dir.path(), 1).exists());
}

#[test]
fn an_append_that_nobody_waits_for_is_kept_or_not_but_never_half() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for seed in 0..20 {
        let mut writer = begin(&store, seed, None);
        block_on(writer.append(data()[..2 * BLOCK_LEN].to_vec())).expect("appends");
        {
            let mut append = writer.append(data()[2 * BLOCK_LEN..].to_vec());
            let _ = block_on(futures_lite::future::poll_once(&mut append));
        }
        drop(writer);
        let writer = begin(&store, seed, None);
        let len = usize::try_from(writer.len()).expect("small");
        assert!(len == 2 * BLOCK_LEN || len == 70 * BLOCK_LEN, "{len}");
        assert_eq!(writer.root(), root(&data()[..len]));
        finish(&store, seed, writer);
    }
}

#[test]
fn what_was_left_is_hashed_before_a_writer_begins_and_not_again() {
    let dir = left_open(&[1], None);
    let store = open(dir.path());
    block_on(store.prepare(key(1).id));
    // Were it hashed from now on, another root would come out.
    fs::write(data_file(dir.path(), 1), vec![0; held().len()]).expect("writes");
    let writer = begin(&store, 1, None);
    assert_eq!((writer.len(), writer.root()), (held().len() as u64, root(&held())));
    drop(writer);
    block_on(store.prepare(key(2).id));
    assert!(block_on(store.open_shard(key(2).id)).expect("counts").is_none(), "what is not open stays so");
}
