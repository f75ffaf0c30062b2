//! The rules of [`ShardStore`]: every implementation passes [`run`].
//!
//! Each rule is a function of a fresh store, and panics where the store breaks it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::id::{NoiseKey, ShardId, ShardRoot};
use crate::merkle::{BLOCK_LEN, BlockRange, ProvedLeaves, block_count};
use crate::rt::Timestamp;
use crate::store::{ShardKey, ShardState, ShardStore, ShardWriter, StoreError, StoredShard};

use super::open_shard;

/// A fresh store under test.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn ShardStore>,
    /// The longest shard that it treats as a small one.
    pub inline_max: usize,
    /// Damages the stored byte of a streamed shard at an offset.
    pub flip: Box<dyn Fn(ShardId, u64)>,
    /// What lives as long as the store, as its folder.
    pub keep: Box<dyn Any>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

/// Checks every rule, each on a fresh store of the capacity that `make` is given, in bytes.
pub async fn run<F: Future<Output = Subject>>(make: impl Fn(u64) -> F) {
    const ROOM: u64 = 64 << 20;
    shards_read_back_at_every_border(&make(ROOM).await).await;
    proofs_of_every_kind_of_range_verify(&make(ROOM).await).await;
    a_range_of_another_length_is_refused(&make(ROOM).await).await;
    bytes_that_do_not_match_leave_nothing(&make(ROOM).await).await;
    a_live_or_retired_shard_cannot_be_stored_again(&make(ROOM).await).await;
    what_does_not_fit_is_refused_before_its_bytes(&make(1 << 20).await).await;
    open_shard::run(&make).await;
    a_retired_shard_serves_until_it_is_due(&make(ROOM).await).await;
    an_expired_lease_frees_and_a_renewed_one_does_not(&make(ROOM).await).await;
    renewing_only_extends(&make(ROOM).await).await;
    accounts_are_counted_exactly(&make(ROOM).await).await;
    scrubbing_quarantines_what_is_damaged_and_a_new_put_replaces_it(&make(ROOM).await).await;
    scrubbing_visits_every_shard_within_its_budget(&make(ROOM).await).await;
    a_quarantined_shard_can_be_deleted(&make(ROOM).await).await;
    what_is_not_stored_is_not_found(&make(ROOM).await).await;
}

/// `len` bytes that look random, another sequence for every `seed`.
#[must_use]
pub fn bytes(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A shard's key: ids are in no order, and one of three accounts by `seed % 3`.
#[must_use]
pub fn key(seed: u32) -> ShardKey {
    let mut account = [0; 32];
    account[31] = u8::try_from(seed % 3).unwrap_or(0);
    let id = ShardId::new(*blake3::hash(&seed.to_le_bytes()).as_bytes());
    ShardKey { id, cap_pk: [2; 33], index: 5, generation: seed, account: NoiseKey::new(account) }
}

/// The root of these bytes.
#[must_use]
pub fn root(bytes: &[u8]) -> ShardRoot {
    ShardRoot::new(*blake3::hash(bytes).as_bytes())
}

/// A lease that no sweep of the suite ends.
pub const LEASE: Timestamp = Timestamp::from_millis(1_000_000);

/// When every shard of the suite is begun.
pub const NOW: Timestamp = Timestamp::from_millis(1_000);

/// Stores a shard in one piece.
///
/// # Errors
/// Those of the store.
pub async fn put_small(store: &dyn ShardStore, seed: u32, data: &[u8]) -> Result<StoredShard, StoreError> {
    store.put_small(key(seed), root(data), LEASE, data.to_vec()).await
}

/// Stores a shard in pieces of 1 MiB.
///
/// # Errors
/// Those of the store.
pub async fn put_streamed(
    store: &dyn ShardStore,
    seed: u32,
    data: &[u8],
    announced: Option<u64>,
) -> Result<StoredShard, StoreError> {
    let mut writer = store.begin(key(seed), announced, NOW).await?;
    for piece in data.chunks(1 << 20) {
        writer.append(piece.to_vec()).await?;
    }
    assert_eq!(writer.len(), data.len() as u64);
    writer.finish(root(data), LEASE).await
}

fn blocks(data: &[u8], first: u64, count: u64) -> &[u8] {
    let at = |block: u64| (usize::try_from(block).expect("small") * BLOCK_LEN).min(data.len());
    &data[at(first)..at(first + count)]
}

/// Reads a range, and checks its proof, its blocks and that a proof alone is the same.
pub async fn check_range(store: &dyn ShardStore, seed: u32, data: &[u8], first: u64, count: u64) {
    let range = BlockRange::new(data.len() as u64, first, count).expect("a range of the shard");
    let read = store.read(key(seed).id, range).await.expect("reads");
    assert_eq!(read.bytes, blocks(data, first, count), "blocks {first}+{count} of {}", data.len());
    let proved = ProvedLeaves::verify(root(data), range, &read.proof).expect("proved");
    for block in first..first + count {
        assert!(proved.matches(block, blocks(data, block, 1)), "block {block} of {}", data.len());
    }
    let alone = store.prove(key(seed).id, range).await.expect("proves");
    assert_eq!((alone.proof, alone.bytes), (read.proof, vec![]));
}

/// Reads a whole shard, and checks it.
pub async fn check_whole(store: &dyn ShardStore, seed: u32, data: &[u8]) {
    check_range(store, seed, data, 0, block_count(data.len() as u64)).await;
}

async fn shards_read_back_at_every_border(subject: &Subject) {
    let store = &*subject.store;
    let inline = subject.inline_max;
    let small = [0, 1, 64, BLOCK_LEN - 1, BLOCK_LEN, BLOCK_LEN + 1, inline - 1, inline, inline + 1];
    let mut total = 0;
    let mut seed = 0;
    for len in small {
        let data = bytes(seed, len);
        let stored = put_small(store, seed, &data).await.expect("stores");
        let expected = StoredShard {
            key: key(seed),
            root: root(&data),
            len: len as u64,
            lease_until: LEASE,
            state: ShardState::Live,
        };
        assert_eq!(stored, expected);
        assert_eq!(store.stat(key(seed).id).await.expect("stored"), expected);
        check_whole(store, seed, &data).await;
        total += len as u64;
        seed += 1;
    }
    for len in small.into_iter().chain([1 << 20, (3 << 20) + 64]) {
        for announced in [None, Some(len as u64)] {
            let data = bytes(seed, len);
            let stored = put_streamed(store, seed, &data, announced).await.expect("stores");
            assert_eq!(store.stat(key(seed).id).await.expect("stored"), stored);
            check_whole(store, seed, &data).await;
            total += len as u64;
            seed += 1;
        }
    }
    let usage = store.usage().await.expect("counts");
    assert_eq!((usage.used, usage.shards), (total, u64::from(seed)));
}

async fn proofs_of_every_kind_of_range_verify(subject: &Subject) {
    let store = &*subject.store;
    for (seed, len) in [(1, 2 * BLOCK_LEN + 7), (2, 21 * BLOCK_LEN), (3, 64 * BLOCK_LEN), (4, 129 * BLOCK_LEN - 1)] {
        let data = bytes(seed, len);
        put_streamed(store, seed, &data, None).await.expect("stores");
        let last = block_count(len as u64) - 1;
        for (first, count) in [(0, 1), (1, 1), (1, 2), (last, 1), (0, last), (last / 2, last - last / 2), (1, last)] {
            check_range(store, seed, &data, first, count).await;
        }
    }
}

async fn a_range_of_another_length_is_refused(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 3 * BLOCK_LEN);
    put_small(store, 1, &data).await.expect("stores");
    for len in [1, 4 * BLOCK_LEN as u64, 1 << 40] {
        let range = BlockRange::new(len, 0, 1).expect("a range of something");
        assert!(matches!(store.read(key(1).id, range).await, Err(StoreError::Mismatch)));
        assert!(matches!(store.prove(key(1).id, range).await, Err(StoreError::Mismatch)));
    }
}

async fn bytes_that_do_not_match_leave_nothing(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 3 * BLOCK_LEN);
    let wrong = root(b"something else");
    let refused = store.put_small(key(1), wrong, LEASE, data.clone()).await;
    assert!(matches!(refused, Err(StoreError::Mismatch)));

    let begin =
        async |announced| -> Box<dyn ShardWriter> { store.begin(key(1), announced, NOW).await.expect("begins") };
    let mut writer = begin(None).await;
    writer.append(data.clone()).await.expect("appends");
    assert!(matches!(writer.finish(wrong, LEASE).await, Err(StoreError::Mismatch)));

    let mut fewer = begin(Some(data.len() as u64 + 1)).await;
    fewer.append(data.clone()).await.expect("appends");
    assert!(matches!(fewer.finish(root(&data), LEASE).await, Err(StoreError::Mismatch)));

    let mut more = begin(Some(data.len() as u64 - 1)).await;
    assert!(matches!(more.append(data.clone()).await, Err(StoreError::Mismatch)));
    drop(more);

    let mut uneven = begin(None).await;
    uneven.append(data[..BLOCK_LEN + 1].to_vec()).await.expect("the last append may end inside a block");
    assert!(matches!(uneven.append(data[BLOCK_LEN + 1..].to_vec()).await, Err(StoreError::Mismatch)));
    uneven.discard().await;

    assert!(matches!(store.stat(key(1).id).await, Err(StoreError::NotFound)));
    let usage = store.usage().await.expect("counts");
    assert_eq!((usage.used, usage.shards), (0, 0));
    put_small(store, 1, &data).await.expect("the id is free");
}

async fn a_live_or_retired_shard_cannot_be_stored_again(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 100);
    for (seed, small) in [(1, true), (2, false)] {
        let early = store.begin(key(seed), None, NOW).await.expect("begins");
        let stored = if small {
            put_small(store, seed, &data).await
        } else {
            drop(early);
            put_streamed(store, seed, &data, None).await
        };
        let stored = stored.expect("stores");
        let exists =
            |error| matches!(error, StoreError::Exists(found) if found.key == stored.key && found.root == stored.root);
        for _ in 0..2 {
            assert!(exists(put_small(store, seed, &data).await.expect_err("exists")));
            assert!(exists(store.begin(key(seed), None, NOW).await.err().expect("exists")));
            store.retire(key(seed).id, LEASE).await.expect("retires");
        }
        check_whole(store, seed, &data).await;
    }
    let mut late = store.begin(key(3), None, NOW).await.expect("begins");
    late.append(data.clone()).await.expect("appends");
    put_small(store, 3, &data).await.expect("stores");
    let late = late.finish(root(&data), LEASE).await;
    assert!(matches!(late, Err(StoreError::Exists(_) | StoreError::Failed { .. })), "{late:?}");
    check_whole(store, 3, &data).await;
}

async fn what_does_not_fit_is_refused_before_its_bytes(subject: &Subject) {
    let store = &*subject.store;
    let free = store.usage().await.expect("counts").free;
    assert!(matches!(store.begin(key(1), Some(free + 1), NOW).await, Err(StoreError::NoSpace)));
    let half = usize::try_from(free / 2).expect("small");
    let held = store.begin(key(2), Some(free - half as u64), NOW).await.expect("fits");
    assert!(matches!(store.begin(key(3), Some(half as u64 + 1), NOW).await, Err(StoreError::NoSpace)));

    let mut growing = store.begin(key(3), None, NOW).await.expect("begins");
    growing.append(bytes(3, half)).await.expect("just fits");
    assert_eq!(store.usage().await.expect("counts").free, 0);
    assert!(matches!(put_small(store, 4, &[0]).await, Err(StoreError::NoSpace)));
    assert!(matches!(growing.append(vec![0]).await, Err(StoreError::NoSpace)));
    growing.discard().await;
    put_small(store, 4, &[0]).await.expect("fits now");
    drop(held);
}

async fn sweep(store: &dyn ShardStore, now: u64, lease_floor: u64) -> u64 {
    let (now, lease_floor) = (Timestamp::from_millis(now), Timestamp::from_millis(lease_floor));
    let mut freed = 0;
    loop {
        match store.sweep(now, lease_floor, Timestamp::default()).await.expect("sweeps") {
            0 => return freed,
            more => freed += more,
        }
    }
}

async fn a_retired_shard_serves_until_it_is_due(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 5 * BLOCK_LEN);
    put_small(store, 1, &data).await.expect("stores");
    put_streamed(store, 2, &data, None).await.expect("stores");
    put_small(store, 3, &data).await.expect("stores");
    for seed in [1, 2] {
        store.retire(key(seed).id, Timestamp::from_millis(500)).await.expect("retires");
        store.retire(key(seed).id, Timestamp::from_millis(900)).await.expect("changes nothing");
        let state = store.stat(key(seed).id).await.expect("still there").state;
        assert_eq!(state, ShardState::Retired(Timestamp::from_millis(500)));
        assert!(matches!(store.renew(key(seed).id, LEASE).await, Err(StoreError::NotFound)));
    }
    assert_eq!(sweep(store, 499, 0).await, 0);
    check_whole(store, 1, &data).await;
    check_whole(store, 2, &data).await;
    assert_eq!(sweep(store, 500, 0).await, 2);
    for seed in [1, 2] {
        assert!(matches!(store.stat(key(seed).id).await, Err(StoreError::NotFound)));
    }
    check_whole(store, 3, &data).await;
    let usage = store.usage().await.expect("counts");
    assert_eq!((usage.used, usage.shards), (data.len() as u64, 1));
    put_streamed(store, 2, &data, None).await.expect("a freed id can be stored again");
    check_whole(store, 2, &data).await;
}

async fn an_expired_lease_frees_and_a_renewed_one_does_not(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 40);
    put_small(store, 1, &data).await.expect("stores");
    put_streamed(store, 2, &data, None).await.expect("stores");
    put_small(store, 3, &data).await.expect("stores");
    store.renew(key(3).id, Timestamp::from_millis(LEASE.as_millis() + 5)).await.expect("renews");
    assert_eq!(sweep(store, 0, LEASE.as_millis()).await, 0, "leases end with their last millisecond");
    assert_eq!(sweep(store, 0, LEASE.as_millis() + 1).await, 2);
    check_whole(store, 3, &data).await;
    let usage = store.usage().await.expect("counts");
    assert_eq!((usage.used, usage.shards), (40, 1));
}

async fn renewing_only_extends(subject: &Subject) {
    let store = &*subject.store;
    put_small(store, 1, &[1]).await.expect("stores");
    for (asked, expected) in [(2_000_000, 2_000_000), (1_500_000, 2_000_000), (2_000_001, 2_000_001)] {
        let renewed = store.renew(key(1).id, Timestamp::from_millis(asked)).await.expect("renews");
        assert_eq!(renewed.lease_until, Timestamp::from_millis(expected));
        assert_eq!(store.stat(key(1).id).await.expect("stored"), renewed);
    }
}

async fn accounts_are_counted_exactly(subject: &Subject) {
    let store = &*subject.store;
    let count = async |seed| {
        let usage = store.account_usage(key(seed).account).await.expect("counts");
        (usage.used, usage.shards)
    };
    assert_eq!(count(1).await, (0, 0));
    put_small(store, 1, &[0; 10]).await.expect("stores");
    put_small(store, 2, &[0; 200]).await.expect("stores");
    put_streamed(store, 4, &[0; 3_000], None).await.expect("stores");
    assert_eq!((count(1).await, count(2).await, count(3).await), ((3_010, 2), (200, 1), (0, 0)));

    let writer = store.begin(key(7), Some(40_000), NOW).await.expect("begins");
    assert_eq!(count(1).await, (43_010, 2), "a shard on its way counts its bytes");
    drop(writer);
    store.retire(key(4).id, Timestamp::default()).await.expect("retires");
    assert_eq!(count(1).await, (3_010, 2), "a retired shard still takes its room");
    assert_eq!(sweep(store, 1, 0).await, 1);
    assert_eq!(count(1).await, (10, 1));
}

async fn scrubbing_quarantines_what_is_damaged_and_a_new_put_replaces_it(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 70 * BLOCK_LEN + 1);
    for seed in [1, 2, 3] {
        put_streamed(store, seed, &data, None).await.expect("stores");
    }
    put_small(store, 4, &data[..99]).await.expect("stores");
    let clean = store.scrub(None, u64::MAX).await.expect("scrubs");
    assert_eq!((clean.last, clean.quarantined), (None, vec![]));
    (subject.flip)(key(1).id, 65 * BLOCK_LEN as u64);
    (subject.flip)(key(2).id, 0);

    let range = BlockRange::new(data.len() as u64, 65, 1).expect("in the shard");
    let read = store.read(key(1).id, range).await.expect("is not known to be damaged yet");
    let proved = ProvedLeaves::verify(root(&data), range, &read.proof).expect("the tree is intact");
    assert!(!proved.matches(65, &read.bytes), "the proof tells");

    let mut expected = vec![key(1).id, key(2).id];
    expected.sort();
    let scrubbed = store.scrub(None, u64::MAX).await.expect("scrubs");
    assert_eq!((scrubbed.last, scrubbed.quarantined), (None, expected.clone()));
    assert_eq!(store.usage().await.expect("counts").damaged, expected.len() as u64);
    assert_eq!(scrubbed.bytes, 3 * data.len() as u64 + 99);
    let id = key(1).id;
    assert_eq!(store.stat(id).await.expect("kept").state, ShardState::Quarantined);
    let sound = BlockRange::new(data.len() as u64, 3, 2).expect("in the shard");
    let read = store.read(id, sound).await.expect("sound blocks of a damaged shard are served");
    let proved = ProvedLeaves::verify(root(&data), sound, &read.proof).expect("the tree is intact");
    assert!(proved.matches(3, &read.bytes[..BLOCK_LEN]) && proved.matches(4, &read.bytes[BLOCK_LEN..]));
    assert!(matches!(store.renew(id, LEASE).await, Err(StoreError::Damaged)));

    put_streamed(store, 1, &data, Some(data.len() as u64)).await.expect("replaces");
    put_small(store, 2, &data[..50]).await.expect("replaces, with other bytes");
    check_whole(store, 1, &data).await;
    check_whole(store, 2, &data[..50]).await;
    check_whole(store, 3, &data).await;
    let usage = store.usage().await.expect("counts");
    assert_eq!((usage.used, usage.shards), (2 * data.len() as u64 + 50 + 99, 4));
    sweep(store, 0, 0).await;
    check_whole(store, 2, &data[..50]).await;
    assert_eq!(store.scrub(None, u64::MAX).await.expect("scrubs").quarantined, vec![]);
}

async fn scrubbing_visits_every_shard_within_its_budget(subject: &Subject) {
    let store = &*subject.store;
    let mut ids = Vec::new();
    for seed in 0..10 {
        put_small(store, seed, &bytes(seed, 1_000)).await.expect("stores");
        ids.push(key(seed).id);
    }
    ids.sort();
    for (budget, step) in [(0, 1), (1_000, 1), (2_999, 2), (3_000, 3)] {
        let mut after = None;
        for visited in ids.chunks(step) {
            let scrubbed = store.scrub(after, budget).await.expect("scrubs");
            assert_eq!(scrubbed.bytes, visited.len() as u64 * 1_000);
            after = scrubbed.last;
            assert!(after.is_none_or(|last| Some(&last) == visited.last()), "it stops where it was");
        }
        if after.is_some() {
            assert_eq!(store.scrub(after, budget).await.expect("scrubs").last, None);
        }
    }
}

async fn a_quarantined_shard_can_be_deleted(subject: &Subject) {
    let store = &*subject.store;
    put_streamed(store, 1, &[7; 100], None).await.expect("stores");
    (subject.flip)(key(1).id, 99);
    assert_eq!(store.scrub(None, 0).await.expect("scrubs").quarantined, [key(1).id]);
    store.retire(key(1).id, LEASE).await.expect("retires");
    assert_eq!(sweep(store, 1, 1).await, 1, "it serves nobody, so nothing is waited for");
    assert!(matches!(store.stat(key(1).id).await, Err(StoreError::NotFound)));
    assert_eq!(store.usage().await.expect("counts").used, 0);
}

async fn what_is_not_stored_is_not_found(subject: &Subject) {
    let store = &*subject.store;
    let (id, range) = (key(1).id, BlockRange::new(0, 0, 1).expect("one empty block"));
    assert!(matches!(store.stat(id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.read(id, range).await, Err(StoreError::NotFound)));
    assert!(matches!(store.prove(id, range).await, Err(StoreError::NotFound)));
    assert!(matches!(store.renew(id, LEASE).await, Err(StoreError::NotFound)));
    assert!(matches!(store.retire(id, LEASE).await, Err(StoreError::NotFound)));
    assert_eq!(store.scrub(None, 1).await.expect("scrubs").last, None);
}
