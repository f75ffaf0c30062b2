//! The rules of [`CopyStore`]: every implementation passes [`run`].
//!
//! Each rule is a function of a fresh store, and panics where the store breaks it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::store::{LEASE, key, put_small};
use crate::id::{CopyId, NoiseKey};
use crate::rt::Timestamp;
use crate::store::{CopyStore, NewCopy, ShardStore, StoreError, StoredCopy};

/// A fresh store under test.
pub struct Subject {
    /// The copies.
    pub copies: Arc<dyn CopyStore>,
    /// The shards that share their room.
    pub shards: Arc<dyn ShardStore>,
    /// What lives as long as the store, as its folder.
    pub keep: Box<dyn Any>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.copies.fmt(f)
    }
}

/// Checks every rule, each on a fresh store of the capacity that `make` is given, in bytes.
pub async fn run<F: Future<Output = Subject>>(make: impl Fn(u64) -> F) {
    const ROOM: u64 = 16 << 20;
    the_two_highest_versions_read_back(&make(ROOM).await).await;
    leases_only_extend_and_end_what_they_should(&make(ROOM).await).await;
    an_account_lists_its_own_copies_in_order_and_within_its_budget(&make(ROOM).await).await;
    another_account_takes_a_copy_over(&make(ROOM).await).await;
    copies_and_shards_share_room_and_accounts(&make(1_000).await).await;
    what_is_not_stored_is_not_found(&make(ROOM).await).await;
}

/// A version of copy `seed`, whose body of `len` bytes differs from all others; ids are in no order.
#[must_use]
pub fn copy(seed: u32, account: u8, version: u32, len: usize) -> NewCopy {
    let mut body = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).update(&version.to_be_bytes()).finalize_xof().fill(&mut body);
    let id = CopyId::new(*blake3::hash(&seed.to_le_bytes()).as_bytes());
    let mut key = [0; 32];
    key[31] = account;
    NewCopy { id, holder: NoiseKey::new(key), account: NoiseKey::new(key), version, lease_until: LEASE, body }
}

async fn put(subject: &Subject, new: &NewCopy) -> StoredCopy {
    let kept = subject.copies.put_copy(new.clone()).await.expect("stores");
    assert_eq!(subject.copies.copy(new.id).await.expect("stored"), kept);
    kept
}

async fn usage(subject: &Subject, account: NoiseKey) -> (u64, u64) {
    let used = subject.shards.account_usage(account).await.expect("counts").used;
    (used, subject.copies.count_copies(account).await.expect("counts"))
}

async fn the_two_highest_versions_read_back(subject: &Subject) {
    let version = |version, len| copy(1, 1, version, len);
    let first = put(subject, &version(5, 128)).await;
    assert_eq!((first.newest, first.older), ((5, version(5, 128).body), None));
    let lower = put(subject, &version(2, 768)).await;
    assert_eq!((lower.newest.0, lower.older), (5, Some((2, version(2, 768).body))));
    let between = put(subject, &version(3, 256)).await;
    assert_eq!((between.newest.0, between.older), (5, Some((3, version(3, 256).body))));
    let before = put(subject, &version(2, 768)).await;
    assert_eq!(before, subject.copies.copy(version(2, 0).id).await.expect("stored"), "too low to be kept");
    let replaced = put(subject, &version(5, 384)).await;
    assert_eq!(replaced.newest, (5, version(5, 384).body));
    let higher = put(subject, &version(u32::MAX, 128)).await;
    assert_eq!((higher.newest.0, higher.older), (u32::MAX, Some((5, version(5, 384).body))));
    assert_eq!(usage(subject, higher.account).await, (128 + 384, 1));
    assert_eq!(subject.shards.usage().await.expect("counts").used, 128 + 384);
}

async fn sweep(subject: &Subject, floor: u64) -> u64 {
    let mut freed = 0;
    loop {
        match subject.copies.sweep_copies(Timestamp::from_millis(floor)).await.expect("sweeps") {
            0 => return freed,
            more => freed += more,
        }
    }
}

async fn leases_only_extend_and_end_what_they_should(subject: &Subject) {
    let until = |seed, millis| NewCopy { lease_until: Timestamp::from_millis(millis), ..copy(seed, 1, 1, 128) };
    for (asked, expected) in [(500, 500), (400, 500), (501, 501)] {
        assert_eq!(put(subject, &until(1, asked)).await.lease_until, Timestamp::from_millis(expected));
    }
    put(subject, &until(2, 600)).await;
    put(subject, &NewCopy { version: 2, ..until(2, 100) }).await;
    assert_eq!(sweep(subject, 501).await, 0, "leases end with their last millisecond");
    assert_eq!(sweep(subject, 502).await, 1);
    assert!(matches!(subject.copies.copy(until(1, 0).id).await, Err(StoreError::NotFound)));
    assert_eq!(usage(subject, until(1, 0).account).await, (256, 1));
    assert_eq!(sweep(subject, 601).await, 1, "with all its versions");
    assert_eq!(subject.shards.usage().await.expect("counts").used, 0);
}

async fn an_account_lists_its_own_copies_in_order_and_within_its_budget(subject: &Subject) {
    let mut expected = Vec::new();
    for seed in 0..50 {
        let account = if seed % 5 == 0 { 2 } else { 1 };
        put(subject, &copy(seed, account, 1, 128)).await;
        let kept = put(subject, &copy(seed, account, 2, 256)).await;
        if account == 1 {
            expected.push(kept);
        }
    }
    expected.sort_unstable_by_key(|copy| copy.id);
    let account = copy(1, 1, 1, 0).account;
    for (budget, step) in [(0, 1), (384, 1), (767, 1), (768, 2), (3_000, 7), (u64::MAX, 40)] {
        let (mut after, mut listed) = (None, Vec::new());
        for page in expected.chunks(step) {
            let copies = subject.copies.copies(account, after, budget).await.expect("lists");
            assert_eq!(copies, page, "budget {budget}");
            after = copies.last().map(|last| last.id);
            listed.extend(copies);
        }
        assert_eq!(listed, expected);
        assert_eq!(subject.copies.copies(account, after, budget).await.expect("lists"), []);
    }
    let nobody = copy(1, 9, 1, 0).account;
    assert_eq!(subject.copies.copies(nobody, None, u64::MAX).await.expect("lists"), []);
}

async fn another_account_takes_a_copy_over(subject: &Subject) {
    let (ours, theirs) = (copy(1, 1, 1, 128), copy(1, 2, 2, 256));
    put(subject, &ours).await;
    assert_eq!((usage(subject, ours.account).await, usage(subject, theirs.account).await), ((128, 1), (0, 0)));
    put(subject, &theirs).await;
    assert_eq!((usage(subject, ours.account).await, usage(subject, theirs.account).await), ((0, 0), (384, 1)));
    assert_eq!(subject.copies.copies(ours.account, None, u64::MAX).await.expect("lists"), []);
    assert_eq!(subject.copies.copies(theirs.account, None, u64::MAX).await.expect("lists").len(), 1);
}

async fn copies_and_shards_share_room_and_accounts(subject: &Subject) {
    let first = copy(1, 1, 1, 256);
    put(subject, &first).await;
    assert_eq!(key(1).account, first.account, "the suites name accounts alike");
    put_small(&*subject.shards, 1, &[0; 500]).await.expect("stores");
    assert_eq!(usage(subject, first.account).await, (756, 1));
    let full = subject.shards.usage().await.expect("counts");
    assert_eq!((full.used, full.free, full.shards), (756, 244, 1));
    let refused = subject.copies.put_copy(copy(2, 1, 1, 256)).await;
    assert!(matches!(refused, Err(StoreError::NoSpace)), "{refused:?}");
    let grown = subject.copies.put_copy(copy(1, 1, 2, 256)).await;
    assert!(matches!(grown, Err(StoreError::NoSpace)), "two versions do not fit: {grown:?}");
    assert_eq!(subject.copies.copy(first.id).await.expect("is as it was").newest.0, 1);
    put(subject, &copy(1, 1, 2, 128)).await;
    put(subject, &copy(1, 1, 3, 256)).await;
    put(subject, &copy(1, 1, 4, 128)).await;
    assert_eq!(subject.shards.usage().await.expect("counts").free, 1_000 - 500 - 384);
    assert!(matches!(put_small(&*subject.shards, 2, &[0; 117]).await, Err(StoreError::NoSpace)));
    put_small(&*subject.shards, 2, &[0; 116]).await.expect("just fits");
    put(subject, &copy(1, 1, 5, 256)).await;
}

async fn what_is_not_stored_is_not_found(subject: &Subject) {
    let new = copy(1, 1, 1, 128);
    assert!(matches!(subject.copies.copy(new.id).await, Err(StoreError::NotFound)));
    assert_eq!(subject.copies.count_copies(new.account).await.expect("counts"), 0);
    assert_eq!(sweep(subject, u64::MAX).await, 0);
}
