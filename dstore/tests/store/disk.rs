//! What only a disk store does: it survives being closed, shares commits, and keeps room on its disk.

use std::fs;
use std::path::Path;

use dstore::Error;
use dstore::merkle::{BLOCK_LEN, BlockRange, ProvedLeaves};
use dstore::rt::{Rt, Timestamp};
use dstore::store::{CopyStore, DiskStore, ShardState, ShardStore, StoreError};
use dstore::testing::conformance::copies::copy;
use dstore::testing::conformance::store::{LEASE, NOW, bytes, check_whole, key, put_small, put_streamed, root};
use futures_lite::future::{block_on, poll_once};
use futures_util::future::join_all;

use super::{config, data_file, flip, meta_file, open};

fn open_files(dir: &Path) -> usize {
    fs::read_dir(dir.join("open")).expect("is there").count()
}

#[test]
fn what_was_stored_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let small = bytes(1, 3_000);
    let large = bytes(2, (2 << 20) + 1);
    let later = Timestamp::from_millis(LEASE.as_millis() + 9);
    block_on(async {
        let store = open(dir.path());
        put_small(&store, 1, &small).await.expect("stores");
        put_streamed(&store, 2, &large, None).await.expect("stores");
        put_streamed(&store, 3, &large, None).await.expect("stores");
        put_streamed(&store, 4, &large, None).await.expect("stores");
        store.renew(key(2).id, later).await.expect("renews");
        store.retire(key(3).id, later).await.expect("retires");
        flip(&data_file(dir.path(), key(4).id), 5);
        store.scrub(None, u64::MAX).await.expect("scrubs");
    });
    block_on(async {
        let store = open(dir.path());
        check_whole(&store, 1, &small).await;
        check_whole(&store, 2, &large).await;
        check_whole(&store, 3, &large).await;
        assert_eq!(store.stat(key(2).id).await.expect("stored").lease_until, later);
        assert_eq!(store.stat(key(3).id).await.expect("stored").state, ShardState::Retired(later));
        assert_eq!(store.stat(key(4).id).await.expect("stored").state, ShardState::Quarantined);
        let usage = store.usage().await.expect("counts");
        assert_eq!((usage.used, usage.shards, usage.damaged), (3 * large.len() as u64 + 3_000, 4, 1));
        let account = store.account_usage(key(1).account).await.expect("counts");
        assert_eq!((account.used, account.shards), (large.len() as u64 + 3_000, 2));
    });
}

#[test]
fn copies_are_there_when_the_store_is_opened_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let kept = block_on(async {
        let store = open(dir.path());
        put_small(&store, 1, &[0; 50]).await.expect("stores");
        store.put_copy(copy(1, 1, 1, 128)).await.expect("stores");
        store.put_copy(copy(1, 1, 2, 768)).await.expect("stores")
    });
    block_on(async {
        let store = open(dir.path());
        assert_eq!(store.copy(kept.id).await.expect("stored"), kept);
        assert_eq!(store.copies(kept.account, None, 0).await.expect("lists"), std::slice::from_ref(&kept));
        let usage = store.usage().await.expect("counts");
        assert_eq!((usage.used, usage.shards), (50 + 128 + 768, 1));
        assert_eq!(store.account_usage(kept.account).await.expect("counts").used, 50 + 128 + 768);
    });
}

#[test]
fn a_store_that_an_earlier_version_made_takes_copies() {
    let dir = tempfile::tempdir().expect("a folder");
    block_on(put_small(&open(dir.path()), 1, &[0; 50])).expect("stores");
    let index = rusqlite::Connection::open(dir.path().join("index.db")).expect("opens");
    index.execute_batch("DROP TABLE copies; DROP TABLE copy_accounts;").expect("as it was then");
    drop(index);
    block_on(async {
        let store = open(dir.path());
        check_whole(&store, 1, &[0; 50]).await;
        let kept = store.put_copy(copy(1, 1, 1, 128)).await.expect("stores");
        assert_eq!(store.copy(kept.id).await.expect("stored"), kept);
    });
}

#[test]
fn a_shard_file_holds_exactly_the_bytes_of_its_shard() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = bytes(1, 5 * BLOCK_LEN + 3);
    block_on(put_streamed(&open(dir.path()), 1, &data, None)).expect("stores");
    assert_eq!(fs::read(data_file(dir.path(), key(1).id)).expect("is there"), data);
}

#[test]
fn many_small_puts_at_a_time_share_few_commits() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    block_on(async {
        let shards: Vec<_> = (0..200).map(|seed| (seed, bytes(seed, 500))).collect();
        for put in join_all(shards.iter().map(|(seed, data)| put_small(&store, *seed, data))).await {
            put.expect("stores");
        }
        let commits = store.commits();
        assert!(commits <= 100, "200 puts took {commits} commits");
        for (seed, data) in &shards {
            check_whole(&store, *seed, data).await;
        }
    });
}

#[test]
fn shards_streamed_at_a_time_do_not_mix() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    block_on(async {
        let shards: Vec<_> = (0..16).map(|seed| (seed, bytes(seed, (1 << 20) + 77))).collect();
        for put in join_all(shards.iter().map(|(seed, data)| put_streamed(&store, *seed, data, None))).await {
            put.expect("stores");
        }
        for (seed, data) in &shards {
            check_whole(&store, *seed, data).await;
        }
    });
}

#[test]
fn one_sweep_frees_a_bounded_number() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    block_on(async {
        join_all((0..1_100).map(|seed| put_small(&store, seed, &[1])).collect::<Vec<_>>()).await;
        put_streamed(&store, 2_000, &[1], None).await.expect("stores");
        assert_eq!(store.usage().await.expect("counts").shards, 1_101);
        let floor = Timestamp::from_millis(LEASE.as_millis() + 1);
        let mut freed = vec![];
        while freed.last() != Some(&0) {
            freed.push(store.sweep(Timestamp::default(), floor, Timestamp::default()).await.expect("sweeps"));
        }
        assert_eq!(freed, [1_000, 101, 0]);
        assert!(!data_file(dir.path(), key(2_000).id).exists());
        assert!(!meta_file(dir.path(), key(2_000).id).exists());
        assert_eq!(store.usage().await.expect("counts").shards, 0);
    });
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let refused = block_on(DiskStore::open(dir.path(), config(), Rt::default()));
    assert!(matches!(refused, Err(Error::Locked { .. })));
    drop(store);
    open(dir.path());
}

#[test]
fn nothing_is_taken_below_the_free_space_floor() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = config().free_floor(u64::MAX);
    block_on(async {
        let store = DiskStore::open(dir.path(), config, Rt::default()).await.expect("opens");
        assert_eq!(store.usage().await.expect("counts").free, 0);
        assert!(matches!(put_small(&store, 1, &[1]).await, Err(StoreError::NoSpace)));
        assert!(matches!(store.begin(key(1), Some(1), NOW).await, Err(StoreError::NoSpace)));
        let mut unknown = store.begin(key(1), None, NOW).await.expect("begins");
        assert!(matches!(unknown.append(vec![1]).await, Err(StoreError::NoSpace)));
        assert!(matches!(store.check().await, Err(StoreError::NoSpace)));
    });
}

#[test]
fn a_check_writes_to_the_disk_and_to_the_index() {
    let dir = tempfile::tempdir().expect("a folder");
    block_on(async {
        let store = open(dir.path());
        let before = store.commits();
        store.check().await.expect("it works");
        assert_eq!(store.commits(), before + 1);
        assert_eq!(open_files(dir.path()), 0);
        fs::remove_dir(dir.path().join("open")).expect("is there");
        assert!(matches!(store.check().await, Err(StoreError::Failed { .. })));
        fs::create_dir(dir.path().join("open")).expect("made");
        store.check().await.expect("it works again");
    });
}

#[test]
fn a_store_that_holds_more_than_its_new_capacity_still_serves() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = bytes(1, 100_000);
    block_on(put_streamed(&open(dir.path()), 1, &data, None)).expect("stores");
    block_on(async {
        let store = DiskStore::open(dir.path(), config().capacity(10), Rt::default()).await.expect("opens");
        assert_eq!(store.usage().await.expect("counts").free, 0);
        check_whole(&store, 1, &data).await;
        assert!(matches!(put_small(&store, 2, &[1]).await, Err(StoreError::NoSpace)));
    });
}

#[test]
fn an_open_shard_has_two_files_and_one_that_is_nothing_has_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let data = bytes(1, 2 * BLOCK_LEN);
    let begin = async || store.begin(key(1), None, NOW).await.expect("begins");
    block_on(async {
        let empty = begin().await;
        assert_eq!(open_files(dir.path()), 2);
        drop(empty);
        assert_eq!(open_files(dir.path()), 0);

        let mut dropped = begin().await;
        dropped.append(data.clone()).await.expect("appends");
        drop(dropped);
        assert_eq!(open_files(dir.path()), 2);
        let wrong = begin().await.finish(root(b"other"), LEASE).await;
        assert!(matches!(wrong, Err(StoreError::Mismatch)));
        assert_eq!(open_files(dir.path()), 0);

        let mut superseded = begin().await;
        superseded.append(data.clone()).await.expect("appends");
        let last = begin().await;
        assert!(superseded.finish(root(&data), LEASE).await.is_err());
        assert_eq!(open_files(dir.path()), 2);
        last.finish(root(&data), LEASE).await.expect("stores");
        assert_eq!(open_files(dir.path()), 0);
    });
}

#[test]
fn a_finish_that_nobody_waits_for_stores_all_or_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = bytes(1, 2 * BLOCK_LEN);
    for seed in 0..20 {
        let store = open(dir.path());
        let mut finish = block_on(async {
            let mut writer = store.begin(key(seed), None, NOW).await.expect("begins");
            writer.append(data.clone()).await.expect("appends");
            writer
        })
        .finish(root(&data), LEASE);
        assert!(block_on(poll_once(&mut finish)).is_none(), "it waits for a disk");
        // The store is closed under it: what is under way ends, and lets go of the folder.
        drop(store);
        drop(block_on(finish));
        let store = open(dir.path());
        let is_stored = block_on(store.stat(key(seed).id)).is_ok();
        let is_open = block_on(store.open_shard(key(seed).id)).expect("counts").is_some();
        assert!(is_stored != is_open, "stored, or open");
        if is_stored {
            block_on(check_whole(&store, seed, &data));
        } else {
            block_on(store.retire(key(seed).id, LEASE)).expect("discards");
        }
        assert_eq!(open_files(dir.path()), 0);
    }
}

#[test]
fn a_changed_tree_is_found_by_the_proof_and_by_a_scrub() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = bytes(1, 9 * BLOCK_LEN);
    block_on(async {
        let store = open(dir.path());
        put_streamed(&store, 1, &data, None).await.expect("stores");
        flip(&meta_file(dir.path(), key(1).id), 192);
        let range = BlockRange::new(data.len() as u64, 0, 2).expect("in the shard");
        let read = store.read(key(1).id, range).await.expect("reads what there is");
        assert_eq!(ProvedLeaves::verify(root(&data), range, &read.proof), None);
        assert_eq!(store.scrub(None, 0).await.expect("scrubs").quarantined, [key(1).id]);
    });
}

#[test]
fn files_that_are_cut_or_gone_are_damage() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = bytes(1, 9 * BLOCK_LEN);
    let range = BlockRange::new(data.len() as u64, 0, 2).expect("in the shard");
    block_on(async {
        let store = open(dir.path());
        for seed in 0..4 {
            put_streamed(&store, seed, &data, None).await.expect("stores");
        }
        let shorten = |path, by: u64| {
            let file = fs::OpenOptions::new().write(true).open(path).expect("is there");
            file.set_len(file.metadata().expect("is there").len() - by).expect("is cut");
        };
        shorten(data_file(dir.path(), key(0).id), 1);
        shorten(meta_file(dir.path(), key(1).id), 1);
        fs::remove_file(data_file(dir.path(), key(2).id)).expect("is there");
        fs::remove_file(meta_file(dir.path(), key(3).id)).expect("is there");
        for seed in 0..4 {
            assert!(matches!(store.read(key(seed).id, range).await, Err(StoreError::Damaged)), "{seed}");
        }
        assert_eq!(store.scrub(None, u64::MAX).await.expect("scrubs").quarantined.len(), 4);
    });
}
