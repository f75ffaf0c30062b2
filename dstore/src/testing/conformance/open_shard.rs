//! The rules of [`ShardStore`](crate::store::ShardStore) for shards of which a part is there.

use std::future::Future;

use super::store::{LEASE, NOW, Subject, bytes, check_whole, key, put_small, put_streamed, root};
use crate::id::ShardRoot;
use crate::merkle::{BLOCK_LEN, BlockRange};
use crate::rt::Timestamp;
use crate::store::{ShardState, ShardStore, ShardWriter, StoreError};

/// Checks every rule, each on a fresh store.
pub(super) async fn run<F: Future<Output = Subject>>(make: &impl Fn(u64) -> F) {
    const ROOM: u64 = 64 << 20;
    a_dropped_writer_keeps_its_whole_blocks_and_gives_the_rest_back(&make(1 << 20).await).await;
    a_writer_that_held_no_whole_block_leaves_nothing(&make(1 << 20).await).await;
    what_was_appended_is_gone_on_with(&make(ROOM).await).await;
    what_is_cut_off_leaves_no_trace(&make(ROOM).await).await;
    another_length_starts_anew(&make(ROOM).await).await;
    a_later_writer_takes_the_place_of_an_earlier_one(&make(ROOM).await).await;
    taking_a_shard_up_sets_its_room_aside_again(&make(1 << 20).await).await;
    an_open_shard_counts_for_whoever_wrote_it_last(&make(ROOM).await).await;
    an_open_shard_can_be_discarded(&make(ROOM).await).await;
    a_small_shard_takes_the_place_of_an_open_one(&make(ROOM).await).await;
    an_open_shard_ends_when_nobody_goes_on_with_it(&make(ROOM).await).await;
    a_damaged_shard_stays_until_an_open_one_replaces_it(&make(ROOM).await).await;
}

const BLOCK: u64 = BLOCK_LEN as u64;

async fn begin(store: &dyn ShardStore, seed: u32, len: Option<u64>) -> Box<dyn ShardWriter> {
    store.begin(key(seed), len, NOW).await.expect("begins")
}

/// Leaves a shard open that holds `data`.
async fn leave(store: &dyn ShardStore, seed: u32, len: Option<u64>, data: &[u8]) {
    let mut writer = begin(store, seed, len).await;
    for piece in data[usize::try_from(writer.len()).expect("small")..].chunks(2 * BLOCK_LEN) {
        writer.append(piece.to_vec()).await.expect("appends");
    }
}

async fn held(store: &dyn ShardStore, seed: u32) -> Option<u64> {
    store.open_shard(key(seed).id).await.expect("counts").map(|open| open.held)
}

async fn used(store: &dyn ShardStore) -> (u64, u64, u64) {
    let usage = store.usage().await.expect("counts");
    (usage.used, usage.shards, usage.open)
}

async fn a_dropped_writer_keeps_its_whole_blocks_and_gives_the_rest_back(subject: &Subject) {
    let store = &*subject.store;
    let free = store.usage().await.expect("counts").free;
    let mut writer = begin(store, 1, Some(free)).await;
    writer.append(bytes(1, BLOCK_LEN)).await.expect("appends");
    assert_eq!((used(store).await, store.usage().await.expect("counts").free), ((free, 0, 1), 0));
    drop(writer);
    assert_eq!((used(store).await, store.usage().await.expect("counts").free), ((BLOCK, 0, 1), free - BLOCK));
    let open = store.open_shard(key(1).id).await.expect("counts").expect("is open");
    assert_eq!((open.account, open.held, open.reserved), (key(1).account, BLOCK, BLOCK));
    let range = BlockRange::new(BLOCK, 0, 1).expect("one block");
    assert!(matches!(store.stat(key(1).id).await, Err(StoreError::NotFound)), "it is not stored");
    assert!(matches!(store.read(key(1).id, range).await, Err(StoreError::NotFound)));
    assert!(matches!(store.renew(key(1).id, LEASE).await, Err(StoreError::NotFound)));
    assert_eq!(store.scrub(None, u64::MAX).await.expect("scrubs").bytes, 0);
}

async fn a_writer_that_held_no_whole_block_leaves_nothing(subject: &Subject) {
    let store = &*subject.store;
    for len in [0, 1, BLOCK_LEN - 1] {
        leave(store, 1, None, &bytes(1, len)).await;
        assert_eq!((used(store).await, held(store, 1).await), ((0, 0, 0), None), "{len}");
    }
}

async fn what_was_appended_is_gone_on_with(subject: &Subject) {
    let store = &*subject.store;
    let cuts =
        [(BLOCK, 0), (4 * BLOCK, 5), (7 * BLOCK, 0), (7 * BLOCK, BLOCK_LEN - 1), (64 * BLOCK, 1), (129 * BLOCK, 9)];
    let data = bytes(1, 130 * BLOCK_LEN + 77);
    let len = Some(data.len() as u64);
    for (seed, (first, then)) in [(None, None), (len, len), (None, len), (len, None)].into_iter().enumerate() {
        let seed = u32::try_from(seed).expect("small");
        for (whole, rest) in cuts {
            let at = usize::try_from(whole).expect("small");
            leave(store, seed, first, &data[..at + rest]).await;
            assert_eq!(held(store, seed).await, Some(whole), "a part of a block is cut off");
            let writer = begin(store, seed, first).await;
            assert_eq!((writer.len(), writer.root()), (whole, root(&data[..at])));
        }
        leave(store, seed, then, &data).await;
        let mut writer = begin(store, seed, then).await;
        let at = usize::try_from(writer.len()).expect("small");
        writer.append(data[at..].to_vec()).await.expect("appends");
        assert_eq!(writer.root(), root(&data));
        writer.finish(root(&data), LEASE).await.expect("stores");
        check_whole(store, seed, &data).await;
        assert_eq!(store.scrub(None, u64::MAX).await.expect("scrubs").quarantined, []);
    }
    assert_eq!(used(store).await, (4 * data.len() as u64, 4, 0));
}

async fn what_is_cut_off_leaves_no_trace(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 5 * BLOCK_LEN);
    for (seed, kept) in [(1, 0), (2, 1), (3, 4)] {
        leave(store, seed, None, &data[..kept * BLOCK_LEN + 99]).await;
        let writer = begin(store, seed, None).await;
        assert_eq!(writer.len(), kept as u64 * BLOCK);
        let whole = &data[..kept * BLOCK_LEN];
        writer.finish(root(whole), LEASE).await.expect("stores what was kept alone");
        check_whole(store, seed, whole).await;
    }
}

async fn another_length_starts_anew(subject: &Subject) {
    let store = &*subject.store;
    let (data, other) = (bytes(1, 5 * BLOCK_LEN), bytes(2, 9 * BLOCK_LEN));
    let held = &data[..4 * BLOCK_LEN];
    for (seed, (first, then)) in [
        (Some(5 * BLOCK), Some(9 * BLOCK)),
        (Some(5 * BLOCK), Some(4 * BLOCK)),
        (None, Some(4 * BLOCK - 1)),
        (None, Some(0)),
    ]
    .into_iter()
    .enumerate()
    {
        let seed = u32::try_from(seed).expect("small");
        leave(store, seed, first, held).await;
        let writer = begin(store, seed, then).await;
        assert_eq!((writer.len(), writer.root()), (0, ShardRoot::of(&[])), "{first:?} {then:?}");
        drop(writer);
        let other = &other[..usize::try_from(then.unwrap_or(0)).expect("small")];
        put_streamed(store, seed, other, then).await.expect("stores");
        check_whole(store, seed, other).await;
    }
}

async fn a_later_writer_takes_the_place_of_an_earlier_one(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 4 * BLOCK_LEN);
    let len = data.len() as u64;
    let mut first = begin(store, 1, Some(len)).await;
    first.append(data[..2 * BLOCK_LEN].to_vec()).await.expect("appends");
    let mut second = begin(store, 1, Some(len)).await;
    assert_eq!((second.len(), second.root()), (2 * BLOCK, root(&data[..2 * BLOCK_LEN])));
    assert_eq!(used(store).await, (len, 0, 1), "one of them holds room");
    let late = first.append(data[2 * BLOCK_LEN..].to_vec()).await;
    assert!(matches!(late, Err(StoreError::Failed { .. })), "{late:?}");
    first.discard().await;
    second.append(data[2 * BLOCK_LEN..].to_vec()).await.expect("the first one's end is nothing to it");
    let third = begin(store, 1, None).await;
    let late = second.finish(root(&data), LEASE).await;
    assert!(matches!(late, Err(StoreError::Failed { .. })), "{late:?}");
    assert_eq!((third.len(), third.root()), (len, root(&data)));
    third.finish(root(&data), LEASE).await.expect("all of it was there");
    check_whole(store, 1, &data).await;
    assert_eq!(used(store).await, (len, 1, 0));
}

async fn taking_a_shard_up_sets_its_room_aside_again(subject: &Subject) {
    let store = &*subject.store;
    let free = store.usage().await.expect("counts").free;
    let data = bytes(1, usize::try_from(free).expect("small"));
    leave(store, 1, Some(free), &data[..BLOCK_LEN]).await;
    let in_the_way = begin(store, 2, Some(BLOCK)).await;
    for _ in 0..2 {
        assert!(matches!(store.begin(key(1), Some(free), NOW).await, Err(StoreError::NoSpace)));
        assert_eq!(held(store, 1).await, Some(BLOCK), "nothing is lost by it");
    }
    drop(in_the_way);
    let mut writer = begin(store, 1, Some(free)).await;
    assert_eq!((writer.len(), used(store).await), (BLOCK, (free, 0, 1)));
    assert!(matches!(store.begin(key(2), Some(1), NOW).await, Err(StoreError::NoSpace)));
    writer.append(data[BLOCK_LEN..].to_vec()).await.expect("fits");
    writer.finish(root(&data), LEASE).await.expect("stores");
    check_whole(store, 1, &data).await;
}

async fn an_open_shard_counts_for_whoever_wrote_it_last(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 3 * BLOCK_LEN);
    let count = async |seed| {
        let usage = store.account_usage(key(seed).account).await.expect("counts");
        (usage.used, usage.shards, usage.open)
    };
    leave(store, 1, Some(9 * BLOCK), &data).await;
    leave(store, 4, None, &data).await;
    let other = crate::store::ShardKey { account: key(2).account, ..key(1) };
    assert_eq!((count(1).await, count(2).await), ((6 * BLOCK, 0, 2), (0, 0, 0)));
    let writer = store.begin(other, Some(9 * BLOCK), NOW).await.expect("takes over");
    assert_eq!(writer.len(), 3 * BLOCK);
    assert_eq!((count(1).await, count(2).await), ((3 * BLOCK, 0, 1), (9 * BLOCK, 0, 1)));
    drop(writer);
    assert_eq!((count(1).await, count(2).await), ((3 * BLOCK, 0, 1), (3 * BLOCK, 0, 1)));
}

async fn an_open_shard_can_be_discarded(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 3 * BLOCK_LEN);
    leave(store, 1, None, &data).await;
    store.retire(key(1).id, LEASE).await.expect("discards");
    assert_eq!((used(store).await, held(store, 1).await), ((0, 0, 0), None));
    assert!(matches!(store.retire(key(1).id, LEASE).await, Err(StoreError::NotFound)));

    let mut writer = begin(store, 1, None).await;
    assert_eq!(writer.len(), 0);
    writer.append(data.clone()).await.expect("appends");
    store.retire(key(1).id, LEASE).await.expect("discards");
    let late = writer.finish(root(&data), LEASE).await;
    assert!(matches!(late, Err(StoreError::Failed { .. })), "{late:?}");

    leave(store, 1, None, &data).await;
    begin(store, 1, None).await.discard().await;
    assert_eq!(used(store).await, (0, 0, 0));
    leave(store, 1, None, &data).await;
    let wrong = begin(store, 1, None).await.finish(root(b"other"), LEASE).await;
    assert!(matches!(wrong, Err(StoreError::Mismatch)));
    assert_eq!((used(store).await, held(store, 1).await), ((0, 0, 0), None));
    put_streamed(store, 1, &data, None).await.expect("the id is free");
    check_whole(store, 1, &data).await;
}

async fn a_small_shard_takes_the_place_of_an_open_one(subject: &Subject) {
    let store = &*subject.store;
    let (open, small) = (bytes(1, 3 * BLOCK_LEN), bytes(2, 100));
    leave(store, 1, None, &open).await;
    assert!(store.put_small(key(1), root(b"other"), LEASE, small.clone()).await.is_err());
    assert_eq!(held(store, 1).await, Some(3 * BLOCK), "one that is refused takes no place");
    put_small(store, 1, &small).await.expect("stores");
    check_whole(store, 1, &small).await;
    assert_eq!((used(store).await, held(store, 1).await), ((100, 1, 0), None));
}

async fn an_open_shard_ends_when_nobody_goes_on_with_it(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 3 * BLOCK_LEN);
    let sweep = async |now, floor| {
        let (now, floor) = (Timestamp::from_millis(now), Timestamp::from_millis(floor));
        store.sweep(now, Timestamp::default(), floor).await.expect("sweeps")
    };
    let begun = NOW.as_millis();
    leave(store, 1, None, &data).await;
    assert_eq!(sweep(begun + 99, begun).await, 0);
    assert_eq!(held(store, 1).await, Some(3 * BLOCK));
    assert_eq!(sweep(begun + 99, begun + 1).await, 1);
    assert_eq!((used(store).await, held(store, 1).await), ((0, 0, 0), None));

    let mut writer = begin(store, 1, None).await;
    writer.append(data.clone()).await.expect("appends");
    assert_eq!(sweep(begun + 50, begun + 99).await, 0, "it is being written");
    drop(writer);
    assert_eq!(sweep(begun + 99, begun + 50).await, 0, "it was being written not long ago");
    assert_eq!(sweep(begun + 99, begun + 51).await, 1);
    assert_eq!(sweep(begun + 99, begun + 51).await, 0);
}

async fn a_damaged_shard_stays_until_an_open_one_replaces_it(subject: &Subject) {
    let store = &*subject.store;
    let data = bytes(1, 3 * BLOCK_LEN);
    put_streamed(store, 1, &data, None).await.expect("stores");
    (subject.flip)(key(1).id, 0);
    store.scrub(None, u64::MAX).await.expect("scrubs");
    leave(store, 1, None, &data[..2 * BLOCK_LEN]).await;
    assert_eq!(store.stat(key(1).id).await.expect("is kept").state, ShardState::Quarantined);
    assert_eq!(used(store).await, (5 * BLOCK, 1, 1));
    put_open_rest(store, &data).await;
    check_whole(store, 1, &data).await;
    assert_eq!(used(store).await, (3 * BLOCK, 1, 0));
}

async fn put_open_rest(store: &dyn ShardStore, data: &[u8]) {
    let mut writer = begin(store, 1, None).await;
    writer.append(data[2 * BLOCK_LEN..].to_vec()).await.expect("appends");
    writer.finish(root(data), LEASE).await.expect("stores");
}
