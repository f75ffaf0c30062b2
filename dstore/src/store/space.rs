//! Room in a store: bytes that are stored, bytes set aside for shards on their way, and what is left.
//!
//! Invariant: every byte that is set aside is either stored or given back, also when its writer is dropped.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{ShardKey, StoreError, Usage};
use crate::id::{NoiseKey, ShardId};
use crate::rt::Rt;

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
    writers: HashMap<ShardId, u64>,
}

/// The free bytes of the disk: as measured, less what was written since.
struct Disk {
    measured: Duration,
    free: u64,
}

struct Claim {
    id: ShardId,
    account: NoiseKey,
    bytes: u64,
    unwritten: u64,
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

    /// Sets `bytes` aside for a shard that is written at once.
    pub(super) fn reserve(self: &Arc<Self>, key: &ShardKey, bytes: u64) -> Result<Reservation, StoreError> {
        let mut state = self.state();
        if bytes > self.room(&mut state) {
            return Err(StoreError::NoSpace);
        }
        Ok(self.claim(&mut state, key, bytes))
    }

    /// Sets `bytes` aside for a writer. It takes the place, and the room, of another writer of the same shard.
    pub(super) fn reserve_for_writer(self: &Arc<Self>, key: &ShardKey, bytes: u64) -> Result<Reservation, StoreError> {
        let mut state = self.state();
        let before = state.writers.get(&key.id).copied();
        let given_back = before.and_then(|serial| state.claims.get(&serial)).map_or(0, |claim| claim.bytes);
        if bytes > self.room(&mut state).saturating_add(given_back) {
            return Err(StoreError::NoSpace);
        }
        if let Some(serial) = before {
            state.release(serial);
        }
        let reservation = self.claim(&mut state, key, bytes);
        state.writers.insert(key.id, reservation.serial);
        Ok(reservation)
    }

    fn claim(self: &Arc<Self>, state: &mut State, key: &ShardKey, bytes: u64) -> Reservation {
        state.serial += 1;
        state.reserved += bytes;
        state.unwritten += bytes;
        let serial = state.serial;
        state.claims.insert(serial, Claim { id: key.id, account: key.account, bytes, unwritten: bytes });
        Reservation { space: Arc::clone(self), serial }
    }

    /// A stored shard of `bytes` is gone.
    pub(super) fn freed(&self, bytes: u64) {
        let mut state = self.state();
        state.stored = state.stored.saturating_sub(bytes);
        state.shards = state.shards.saturating_sub(1);
    }

    pub(super) fn usage(&self) -> Usage {
        let mut state = self.state();
        let free = self.room(&mut state);
        Usage { used: state.stored + state.reserved, free, shards: state.shards }
    }

    /// Bytes on their way that count against `accounts`, and the room that is left.
    pub(super) fn accounts(&self, accounts: &RangeInclusive<NoiseKey>) -> (u64, u64) {
        let mut state = self.state();
        let ours = state.claims.values().filter(|claim| accounts.contains(&claim.account));
        let on_their_way = ours.map(|claim| claim.bytes);
        (on_their_way.sum(), self.room(&mut state))
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

impl State {
    fn release(&mut self, serial: u64) -> Option<Claim> {
        let claim = self.claims.remove(&serial)?;
        self.reserved -= claim.bytes;
        self.unwritten -= claim.unwritten;
        if self.writers.get(&claim.id) == Some(&serial) {
            self.writers.remove(&claim.id);
        }
        Some(claim)
    }

    fn wrote(&mut self, bytes: u64) {
        if let Some(disk) = &mut self.disk {
            disk.free = disk.free.saturating_sub(bytes);
        }
    }
}

/// Bytes set aside for one shard: given back when this is dropped.
pub(super) struct Reservation {
    space: Arc<Space>,
    serial: u64,
}

impl Reservation {
    /// A number that no other reservation of this store has.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

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
        state.reserved += bytes;
        state.unwritten += bytes;
        Ok(())
    }

    /// So many of the bytes are on the disk now.
    pub(super) fn wrote(&self, bytes: u64) {
        let mut state = self.space.state();
        if let Some(claim) = state.claims.get_mut(&self.serial) {
            let bytes = bytes.min(claim.unwritten);
            claim.unwritten -= bytes;
            state.unwritten -= bytes;
            state.wrote(bytes);
        }
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
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.state().release(self.serial);
    }
}

/// What a writer hears whose place was taken.
pub(super) fn superseded() -> StoreError {
    StoreError::failed("another writer of this shard took the place of this one")
}

const MEASURE_EVERY: Duration = Duration::from_secs(1);
