//! Room in a store: bytes that are stored, bytes set aside for shards on their way, and what is left.
//!
//! Invariant: every byte that is set aside is stored, held by an open shard, or given back, also when its writer is dropped.
//! Which shards are open is known here and nowhere else.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::intake::whole_blocks;
use super::{OpenShard, ShardKey, StoreError, Usage};
use crate::id::{NoiseKey, ShardId};
use crate::rt::{Rt, Timestamp};

/// Counts the bytes of a store.
pub(super) struct Space {
    capacity: u64,
    floor: Option<Floor>,
    state: Mutex<State>,
}

/// How much of a disk stays free.
pub(super) struct Floor {
    pub(super) dir: PathBuf,
    pub(super) free: u64,
    pub(super) rt: Rt,
}

#[derive(Default)]
struct State {
    stored: u64,
    shards: u64,
    reserved: u64,
    /// The part of `reserved` that is not on the disk yet.
    unwritten: u64,
    disk: Option<Disk>,
    serial: u64,
    claims: HashMap<u64, Claim>,
    /// The claim of each open shard.
    open: HashMap<ShardId, u64>,
    accounts: BTreeMap<NoiseKey, Account>,
}

/// The claims of one account.
#[derive(Default)]
struct Account {
    claims: u64,
    open: u64,
    bytes: u64,
}

/// The free bytes of the disk: as measured, less what was written since.
struct Disk {
    measured: Duration,
    free: u64,
}

struct Claim {
    account: NoiseKey,
    bytes: u64,
    unwritten: u64,
    open: Option<Open>,
}

/// What is known of an open shard.
struct Open {
    id: ShardId,
    held: u64,
    appended: Timestamp,
    has_writer: bool,
}

impl Space {
    pub(super) fn new(capacity: u64, floor: Option<Floor>) -> Arc<Self> {
        Arc::new(Self { capacity, floor, state: Mutex::default() })
    }

    /// Takes over what was found when a store was opened.
    pub(super) fn load(&self, stored: u64, shards: u64) {
        let mut state = self.state();
        state.stored = stored;
        state.shards = shards;
    }

    /// Takes over an open shard of which `held` bytes were found when a store was opened.
    pub(super) fn load_open(&self, key: &ShardKey, held: u64, appended: Timestamp) {
        let open = Open { id: key.id, held, appended, has_writer: false };
        self.state().add(Claim { account: key.account, bytes: held, unwritten: 0, open: Some(open) });
    }

    /// Sets `bytes` aside for a shard that is written at once.
    pub(super) fn reserve(self: &Arc<Self>, key: &ShardKey, bytes: u64) -> Result<Reservation, StoreError> {
        let mut state = self.state();
        if bytes > self.room(&mut state) {
            return Err(StoreError::NoSpace);
        }
        let serial = state.add(Claim { account: key.account, bytes, unwritten: bytes, open: None });
        Ok(Reservation { space: Arc::clone(self), serial })
    }

    /// Sets `bytes` aside for the copy of a record.
    pub(super) fn reserve_copy(self: &Arc<Self>, account: NoiseKey, bytes: u64) -> Result<Reservation, StoreError> {
        let mut state = self.state();
        if bytes > self.room(&mut state) {
            return Err(StoreError::NoSpace);
        }
        let serial = state.add(Claim { account, bytes, unwritten: bytes, open: None });
        Ok(Reservation { space: Arc::clone(self), serial })
    }

    /// Opens a shard of `len` bytes of which `held` are there, for a writer that begins at `now`. It takes the place, and
    /// the room, of another writer of the same shard.
    pub(super) fn reserve_for_writer(
        self: &Arc<Self>,
        key: &ShardKey,
        held: u64,
        len: Option<u64>,
        now: Timestamp,
    ) -> Result<Reservation, StoreError> {
        let mut state = self.state();
        let before = state.open.get(&key.id).copied();
        let given_back = before.and_then(|serial| state.claims.get(&serial)).map_or(0, |claim| claim.bytes);
        let bytes = len.unwrap_or(held).max(held);
        if bytes > self.room(&mut state).saturating_add(given_back) {
            return Err(StoreError::NoSpace);
        }
        if let Some(serial) = before {
            state.release(serial);
        }
        let open = Open { id: key.id, held, appended: now, has_writer: true };
        let serial = state.add(Claim { account: key.account, bytes, unwritten: bytes - held, open: Some(open) });
        Ok(Reservation { space: Arc::clone(self), serial })
    }

    /// What is held of an open shard.
    pub(super) fn open_shard(&self, id: ShardId) -> Option<OpenShard> {
        let state = self.state();
        let claim = state.claims.get(state.open.get(&id)?)?;
        let held = whole_blocks(claim.open.as_ref()?.held);
        Some(OpenShard { account: claim.account, held, reserved: claim.bytes })
    }

    /// Whether a shard is open.
    pub(super) fn is_open(&self, id: ShardId) -> bool {
        self.state().open.contains_key(&id)
    }

    /// The open shards without a writer that were last appended to before `floor`, at most `limit`. Those that have a writer
    /// count as appended to at `now`.
    pub(super) fn idle(&self, now: Timestamp, floor: Timestamp, limit: usize) -> Vec<ShardId> {
        let mut state = self.state();
        for open in state.claims.values_mut().filter_map(|claim| claim.open.as_mut()).filter(|open| open.has_writer) {
            open.appended = open.appended.max(now);
        }
        let idle = state.claims.values().filter_map(|claim| claim.open.as_ref()).filter(|open| open.is_idle(floor));
        idle.map(|open| open.id).take(limit).collect()
    }

    /// Gives back the room of an open shard, and fails its writer; `false` when it is not open.
    pub(super) fn discard(&self, id: ShardId) -> bool {
        let mut state = self.state();
        let serial = state.open.get(&id).copied();
        serial.and_then(|serial| state.release(serial)).is_some()
    }

    /// As [`Space::discard`], if it is one of [`Space::idle`].
    pub(super) fn discard_idle(&self, id: ShardId, floor: Timestamp) -> bool {
        let mut state = self.state();
        let serial = state.open.get(&id).copied();
        let claim = serial.and_then(|serial| state.claims.get(&serial));
        let is_idle = claim.and_then(|claim| claim.open.as_ref()).is_some_and(|open| open.is_idle(floor));
        is_idle && serial.and_then(|serial| state.release(serial)).is_some()
    }

    /// A stored shard of `bytes` is gone.
    pub(super) fn freed(&self, bytes: u64) {
        let mut state = self.state();
        state.stored = state.stored.saturating_sub(bytes);
        state.shards = state.shards.saturating_sub(1);
    }

    /// Copies of records of `bytes` are gone.
    pub(super) fn freed_copy(&self, bytes: u64) {
        let mut state = self.state();
        state.stored = state.stored.saturating_sub(bytes);
    }

    pub(super) fn usage(&self) -> Usage {
        let mut state = self.state();
        let free = self.room(&mut state);
        let open = state.open.len() as u64;
        let used = state.stored + state.reserved;
        Usage { used, free, shards: state.shards, open, reserved: state.reserved, damaged: 0 }
    }

    /// What is on its way for `accounts` together, without stored shards, and the room that is left.
    pub(super) fn accounts(&self, accounts: &RangeInclusive<NoiseKey>) -> Usage {
        let mut state = self.state();
        let free = self.room(&mut state);
        let ours = state.accounts.range(accounts.clone()).map(|(_, account)| (account.bytes, account.open));
        let (used, open) = ours.fold((0, 0), |(bytes, open), (more, others)| (bytes + more, open + others));
        Usage { used, free, shards: 0, open, reserved: used, damaged: 0 }
    }

    fn room(&self, state: &mut State) -> u64 {
        let room = self.capacity.saturating_sub(state.stored).saturating_sub(state.reserved);
        let Some(floor) = &self.floor else { return room };
        let now = floor.rt.uptime();
        let disk = match &state.disk {
            Some(disk) if now.saturating_sub(disk.measured) < MEASURE_EVERY => disk.free,
            _ => {
                let free = floor.measure();
                state.disk = Some(Disk { measured: now, free });
                free
            }
        };
        room.min(disk.saturating_sub(floor.free).saturating_sub(state.unwritten))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Floor {
    fn measure(&self) -> u64 {
        match rustix::fs::statvfs(&self.dir) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(error) => {
                tracing::error!(dir = %self.dir.display(), %error, "cannot see how much of the disk is free: taking it as full");
                0
            }
        }
    }
}

impl Open {
    fn is_idle(&self, floor: Timestamp) -> bool {
        !self.has_writer && self.appended < floor
    }
}

impl State {
    fn add(&mut self, claim: Claim) -> u64 {
        self.serial += 1;
        self.reserved += claim.bytes;
        self.unwritten += claim.unwritten;
        let account = self.accounts.entry(claim.account).or_default();
        account.claims += 1;
        account.bytes += claim.bytes;
        if let Some(open) = &claim.open {
            account.open += 1;
            self.open.insert(open.id, self.serial);
        }
        self.claims.insert(self.serial, claim);
        self.serial
    }

    fn release(&mut self, serial: u64) -> Option<Claim> {
        let claim = self.claims.remove(&serial)?;
        self.reserved -= claim.bytes;
        self.unwritten -= claim.unwritten;
        if let Some(open) = &claim.open {
            self.open.remove(&open.id);
        }
        if let Some(account) = self.accounts.get_mut(&claim.account) {
            account.claims -= 1;
            account.bytes -= claim.bytes;
            account.open -= u64::from(claim.open.is_some());
            if account.claims == 0 {
                self.accounts.remove(&claim.account);
            }
        }
        Some(claim)
    }

    /// A writer has ended: what it held in whole blocks stays.
    fn let_go(&mut self, serial: u64) {
        let Some(Claim { account, open, .. }) = self.release(serial) else { return };
        let open = open.map(|open| Open { held: whole_blocks(open.held), has_writer: false, ..open });
        if let Some(open) = open.filter(|open| open.held > 0) {
            self.add(Claim { account, bytes: open.held, unwritten: 0, open: Some(open) });
        }
    }

    fn wrote(&mut self, bytes: u64) {
        if let Some(disk) = &mut self.disk {
            disk.free = disk.free.saturating_sub(bytes);
        }
    }
}

/// Bytes set aside for one shard. When this is dropped they are given back, but for those that an open shard holds.
pub(super) struct Reservation {
    space: Arc<Space>,
    serial: u64,
}

impl Reservation {
    /// Whether no other writer took this one's place.
    pub(super) fn is_current(&self) -> bool {
        self.space.state().claims.contains_key(&self.serial)
    }

    /// Sets more bytes aside.
    pub(super) fn grow(&self, bytes: u64) -> Result<(), StoreError> {
        let mut state = self.space.state();
        if bytes > self.space.room(&mut state) {
            return Err(StoreError::NoSpace);
        }
        let claim = state.claims.get_mut(&self.serial).ok_or_else(superseded)?;
        claim.bytes += bytes;
        claim.unwritten += bytes;
        let account = claim.account;
        state.reserved += bytes;
        state.unwritten += bytes;
        if let Some(account) = state.accounts.get_mut(&account) {
            account.bytes += bytes;
        }
        Ok(())
    }

    /// So many more bytes are there now.
    pub(super) fn wrote(&self, bytes: u64) {
        let mut state = self.space.state();
        if let Some(claim) = state.claims.get_mut(&self.serial) {
            if let Some(open) = &mut claim.open {
                open.held += bytes;
            }
            let bytes = bytes.min(claim.unwritten);
            claim.unwritten -= bytes;
            state.unwritten -= bytes;
            state.wrote(bytes);
        }
    }

    /// The shard is open no longer, whatever comes of it: dropped from now on, everything is given back.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let mut state = self.space.state();
        let claim = state.claims.get_mut(&self.serial).ok_or_else(superseded)?;
        if let Some(open) = claim.open.take() {
            let account = claim.account;
            state.open.remove(&open.id);
            if let Some(account) = state.accounts.get_mut(&account) {
                account.open -= 1;
            }
        }
        Ok(())
    }

    /// Gives everything back at once; `false` when another writer took this one's place.
    pub(super) fn discard(&self) -> bool {
        self.space.state().release(self.serial).is_some()
    }

    /// The shard is stored, with `len` bytes.
    pub(super) fn settle(self, len: u64) {
        let mut state = self.space.state();
        if let Some(claim) = state.release(self.serial) {
            state.wrote(claim.unwritten);
        }
        state.stored += len;
        state.shards += 1;
    }

    /// The copy of a record that had `before` bytes has `after` now.
    pub(super) fn settle_copy(self, before: u64, after: u64) {
        let mut state = self.space.state();
        if let Some(claim) = state.release(self.serial) {
            state.wrote(claim.unwritten);
        }
        state.stored = (state.stored + after).saturating_sub(before);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.state().let_go(self.serial);
    }
}

/// What a writer hears whose place was taken.
pub(super) fn superseded() -> StoreError {
    StoreError::failed("another writer of this shard took the place of this one, or it was deleted")
}

const MEASURE_EVERY: Duration = Duration::from_secs(1);
