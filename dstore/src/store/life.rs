//! The life of a stored shard: renewed, retired, quarantined, freed. One set of rules for every store.

use super::{ShardState, StoreError, StoredShard};
use crate::merkle::BlockRange;
use crate::rt::Timestamp;

impl StoredShard {
    /// Whether another shard may be stored under the same id.
    pub(super) fn check_replaceable(&self) -> Result<(), StoreError> {
        match self.state {
            ShardState::Quarantined => Ok(()),
            ShardState::Live | ShardState::Retired(_) => Err(StoreError::Exists(Box::new(*self))),
        }
    }

    /// Whether blocks of `range` may be there. A quarantined shard serves what it has: most of its blocks may be sound,
    /// and the reader checks each.
    pub(super) fn check_readable(&self, range: BlockRange) -> Result<(), StoreError> {
        let ours = BlockRange::new(self.len, range.first(), range.count());
        if ours == Some(range) { Ok(()) } else { Err(StoreError::Mismatch) }
    }

    pub(super) fn renewed(self, lease_until: Timestamp) -> Result<Self, StoreError> {
        match self.state {
            ShardState::Live => Ok(Self { lease_until: self.lease_until.max(lease_until), ..self }),
            ShardState::Retired(_) => Err(StoreError::NotFound),
            ShardState::Quarantined => Err(StoreError::Damaged),
        }
    }

    /// One that is quarantined serves nobody: its lease ends at once instead, so that the next sweep frees it.
    pub(super) fn retired(self, free_at: Timestamp) -> Self {
        match self.state {
            ShardState::Live => Self { state: ShardState::Retired(free_at), ..self },
            ShardState::Retired(_) => self,
            ShardState::Quarantined => Self { lease_until: Timestamp::default(), ..self },
        }
    }

    pub(super) fn quarantined(self) -> Self {
        // The time at which a retired shard was to be freed is lost with this state: its lease ends instead.
        let retired = matches!(self.state, ShardState::Retired(_));
        let lease_until = if retired { Timestamp::default() } else { self.lease_until };
        Self { lease_until, state: ShardState::Quarantined, ..self }
    }

    pub(super) fn is_due(&self, now: Timestamp, lease_floor: Timestamp) -> bool {
        match self.state {
            ShardState::Retired(free_at) => free_at <= now,
            ShardState::Live | ShardState::Quarantined => self.lease_until < lease_floor,
        }
    }
}
