//! Who may store shards here, and how much (docs/wire.md section 7.4).
//!
//! Invariant: strangers share a pool, each of their networks has a part of it, and what they set aside without sending
//! it is a share of what is free.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::NodeCore;
use super::guests::Guests;
use crate::id::NoiseKey;
use crate::net::is_private;
use crate::proto::Refusal;

/// Who may store shards at a node, besides the keys that it allows and those that it invited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Admission {
    /// Clients at loopback and private addresses.
    #[default]
    Private,
    /// Everybody. Keys that are not known, and come from public addresses, share what [`Strangers`] says.
    Open,
    /// Nobody.
    Invited,
}

/// What clients that nobody knows may use of an open node: keys cost nothing, so these limits are for their networks
/// (the /24 of an IPv4 address, the /64 of an IPv6 address) and for all together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Strangers {
    /// Bytes of all strangers (a quarter of the capacity).
    pub bytes: Option<u64>,
    /// Shards of all strangers (262,144). Costs about 300 bytes of disk each besides the shard.
    pub shards: u64,
    /// Bytes from one network (an eighth of `bytes`).
    pub network_bytes: Option<u64>,
    /// Shards from one network (32,768).
    pub network_shards: u64,
    /// Puts that are open at once from one network (16).
    pub network_puts: usize,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { bytes: None, shards: 1 << 18, network_bytes: None, network_shards: 1 << 15, network_puts: 16 }
    }
}

impl Strangers {
    fn bytes(&self, capacity: u64) -> u64 {
        self.bytes.unwrap_or(capacity / 4)
    }

    fn network_bytes(&self, capacity: u64) -> u64 {
        self.network_bytes.unwrap_or(self.bytes(capacity) / 8)
    }
}

/// What strangers announce and have not sent yet is at most one in so many of the bytes that are free.
const RESERVED_SHARE: u64 = 4;

/// Who may come in.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) admission: Admission,
    pub(super) allowed: BTreeSet<NoiseKey>,
    pub(super) guests: Guests,
}

/// Somebody who may store shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    /// Whose quota it uses: its key, or for a stranger its network.
    pub(super) account: NoiseKey,
    is_stranger: bool,
}

impl Door {
    /// The caller with this key at this address, if it may store shards.
    pub(super) fn caller(&self, key: NoiseKey, remote: IpAddr) -> Result<Caller, Refusal> {
        let known = self.allowed.contains(&key)
            || self.guests.contains(key)
            || (is_private(remote) && self.admission != Admission::Invited);
        match (known, self.admission) {
            (true, _) => Ok(Caller { account: key, is_stranger: false }),
            (false, Admission::Open) => Ok(Caller { account: account_of(remote), is_stranger: true }),
            (false, _) => Err(Refusal::Denied),
        }
    }
}

/// Begins the accounts of networks. No key can be made that begins like this.
const STRANGERS: [u8; 16] = *b"dstore/strangers";

/// The account of all strangers in the network of an address.
fn account_of(remote: IpAddr) -> NoiseKey {
    let network = match remote.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 0).to_ipv6_mapped()
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
        }
    };
    stranger(network.octets())
}

fn stranger(network: [u8; 16]) -> NoiseKey {
    let mut account = [0; 32];
    let (tag, rest) = account.split_at_mut(16);
    tag.copy_from_slice(&STRANGERS);
    rest.copy_from_slice(&network);
    NoiseKey::new(account)
}

fn all_strangers() -> RangeInclusive<NoiseKey> {
    stranger([0; 16])..=stranger([0xff; 16])
}

/// Puts that are under way.
#[derive(Debug, Default)]
pub(super) struct OpenPuts(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    count: usize,
    /// Of strangers, by their account.
    strangers: HashMap<NoiseKey, usize>,
    /// Bytes that strangers announced.
    announced: u64,
}

/// A put that is under way, until this is dropped.
#[derive(Debug)]
pub(super) struct OpenPut {
    puts: Arc<Mutex<Open>>,
    caller: Caller,
    bytes: u64,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for OpenPut {
    fn drop(&mut self) {
        let mut open = lock(&self.puts);
        open.count -= 1;
        if self.caller.is_stranger {
            open.announced -= self.bytes;
            if let Some(count) = open.strangers.get_mut(&self.caller.account) {
                *count -= 1;
                if *count == 0 {
                    open.strangers.remove(&self.caller.account);
                }
            }
        }
    }
}

impl NodeCore {
    /// Takes one of the places for puts, for a shard of `len` bytes.
    pub(super) async fn open_put(&self, caller: Caller, len: Option<u64>) -> Result<OpenPut, Refusal> {
        let bytes = len.unwrap_or(0);
        let free = self.store.usage().await.map_err(|_| Refusal::Failed)?.free;
        let mut open = lock(&self.open_puts.0);
        if open.count >= self.config.open_puts {
            return Err(Refusal::Busy);
        }
        if caller.is_stranger {
            if open.strangers.get(&caller.account).is_some_and(|count| *count >= self.config.strangers.network_puts) {
                return Err(Refusal::Busy);
            }
            // Networks cost little too: half of the places are for those who are known.
            if open.strangers.values().sum::<usize>() >= self.config.open_puts.div_ceil(2) {
                return Err(Refusal::Busy);
            }
            // What is announced already is no longer free.
            let share = free.saturating_add(open.announced) / RESERVED_SHARE;
            if open.announced.saturating_add(bytes) > share {
                return Err(Refusal::NoSpace);
            }
            *open.strangers.entry(caller.account).or_default() += 1;
            open.announced += bytes;
        }
        open.count += 1;
        Ok(OpenPut { puts: self.open_puts.0.clone(), caller, bytes })
    }

    /// Refuses what would take the caller over its quota of bytes.
    pub(super) async fn check_bytes(&self, caller: Caller, len: u64) -> Result<(), Refusal> {
        self.check(caller, len, |_, _| true).await
    }

    /// Refuses what would take the caller over its quota of bytes, or one more shard over that of shards.
    pub(super) async fn check_quota(&self, caller: Caller, len: u64) -> Result<(), Refusal> {
        self.check(caller, len, |held, most| held < most).await
    }

    async fn check(&self, caller: Caller, len: u64, shards_fit: impl Fn(u64, u64) -> bool) -> Result<(), Refusal> {
        let config = &self.config;
        let within = async |accounts: RangeInclusive<NoiseKey>, bytes: u64, shards: u64| {
            let usage = self.store.accounts_usage(accounts).await.map_err(|error| {
                tracing::error!(%error, "the store failed");
                Refusal::Failed
            })?;
            let fits = usage.used.saturating_add(len) <= bytes && shards_fit(usage.shards, shards);
            if fits { Ok(()) } else { Err(Refusal::Quota) }
        };
        let own = caller.account..=caller.account;
        if !caller.is_stranger {
            return within(own, config.quota_bytes, config.quota_shards).await;
        }
        let strangers = &config.strangers;
        within(own, strangers.network_bytes(config.capacity), strangers.network_shards).await?;
        within(all_strangers(), strangers.bytes(config.capacity), strangers.shards).await
    }
}

#[cfg(test)]
mod tests;
