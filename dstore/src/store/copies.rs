//! Copies of records: the second port under a storage node, for what is small, replaced often, and listed by its owner.
//!
//! Invariant: of each address the two highest versions are kept, and what was acknowledged is kept until its lease ends.

use std::fmt;

use super::StoreError;
use crate::id::{CopyId, NoiseKey};
use crate::rt::{BoxFuture, Timestamp};

/// A version of a copy that is to be kept.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCopy {
    /// Its address.
    pub id: CopyId,
    /// Who may list it: the Noise static key of the connection.
    pub holder: NoiseKey,
    /// Whose quota it counts against.
    pub account: NoiseKey,
    /// The version of the file.
    pub version: u32,
    /// Until when it is to be kept.
    pub lease_until: Timestamp,
    /// The sealed bytes.
    pub body: Vec<u8>,
}

/// What is kept under one address.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredCopy {
    /// The address.
    pub id: CopyId,
    /// Who may list it: whoever stored it last.
    pub holder: NoiseKey,
    /// Whose quota it counts against.
    pub account: NoiseKey,
    /// Until when the node promised to keep it.
    pub lease_until: Timestamp,
    /// The highest version and its bytes.
    pub newest: (u32, Vec<u8>),
    /// The next lower version, if there is one.
    pub older: Option<(u32, Vec<u8>)>,
}

impl StoredCopy {
    /// What is kept when `new` arrives where `old` is. A version below two that are there changes nothing; any other
    /// one takes the place of the lowest or of itself, extends the lease, and makes its account the owner.
    #[must_use]
    pub fn after(old: Option<Self>, new: NewCopy) -> Self {
        let NewCopy { id, holder, account, version, lease_until, body } = new;
        let offered = (version, body);
        let Some(old) = old else { return Self { id, holder, account, lease_until, newest: offered, older: None } };
        if old.older.as_ref().is_some_and(|(lowest, _)| version < *lowest) {
            return old;
        }
        let lease_until = lease_until.max(old.lease_until);
        let mut kept = vec![offered];
        kept.extend([Some(old.newest), old.older].into_iter().flatten().filter(|(at, _)| *at != version));
        kept.sort_unstable_by_key(|(at, _)| std::cmp::Reverse(*at));
        let mut kept = kept.into_iter();
        let newest = kept.next().unwrap_or_default();
        Self { id, holder, account, lease_until, newest, older: kept.next() }
    }

    /// Bytes of all versions.
    #[must_use]
    pub fn len(&self) -> u64 {
        let older = self.older.as_ref().map_or(0, |(_, body)| body.len());
        (self.newest.1.len() + older) as u64
    }

    /// Whether there are no bytes, which no client stores.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The versions, lowest first.
    pub fn versions(&self) -> impl Iterator<Item = &(u32, Vec<u8>)> {
        self.older.iter().chain([&self.newest])
    }
}

impl fmt::Debug for NewCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewCopy({}, version {}, {} bytes)", self.id.short(), self.version, self.body.len())
    }
}

impl fmt::Debug for StoredCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<u32> = self.versions().map(|(version, _)| *version).collect();
        write!(f, "StoredCopy({}, versions {versions:?}, {} bytes)", self.id.short(), self.len())
    }
}

/// Where a node keeps copies of records. Their bytes share the room of its shards, and count against the same accounts:
/// see [`ShardStore::account_usage`](super::ShardStore::account_usage).
pub trait CopyStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps a version as [`StoredCopy::after`] says, and answers what is kept now. When this returns, a power loss keeps it.
    ///
    /// # Errors
    /// `NoSpace` when it takes more room than there is, `Failed`.
    fn put_copy(&self, new: NewCopy) -> BoxFuture<'_, Result<StoredCopy, StoreError>>;

    /// What is kept under `id`.
    ///
    /// # Errors
    /// `NotFound`, `Failed`.
    fn copy(&self, id: CopyId) -> BoxFuture<'_, Result<StoredCopy, StoreError>>;

    /// The copies of `holder` after `after`, in the order of their ids: as many as have `budget` bytes, at least one
    /// if there is any.
    ///
    /// # Errors
    /// `Failed`.
    fn copies(
        &self,
        holder: NoiseKey,
        after: Option<CopyId>,
        budget: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredCopy>, StoreError>>;

    /// How many copies `account` has: addresses, whatever the number of their versions.
    ///
    /// # Errors
    /// `Failed`.
    fn count_copies(&self, account: NoiseKey) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Frees copies whose lease ended before `lease_floor`. Answers how many; call again while that is not 0.
    ///
    /// # Errors
    /// `Failed`.
    fn sweep_copies(&self, lease_floor: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(offered: &[u32]) -> Vec<u32> {
        let offer = |version| NewCopy {
            id: CopyId::new([1; 32]),
            holder: NoiseKey::new([2; 32]),
            account: NoiseKey::new([2; 32]),
            version,
            lease_until: Timestamp::default(),
            body: vec![0; 128],
        };
        let kept = offered.iter().fold(None, |kept, version| Some(StoredCopy::after(kept, offer(*version))));
        kept.iter().flat_map(StoredCopy::versions).map(|(version, _)| *version).collect()
    }

    #[test]
    fn in_whatever_order_versions_come_the_two_highest_stay() {
        for offered in [&[1, 2, 3][..], &[3, 2, 1], &[2, 3, 1, 1], &[3, 1, 2], &[2, 2, 3, 3]] {
            assert_eq!(versions(offered), [2, 3], "{offered:?}");
        }
        assert_eq!(versions(&[5, 5]), [5]);
        assert_eq!(versions(&[u32::MAX, 0]), [0, u32::MAX]);
    }
}
