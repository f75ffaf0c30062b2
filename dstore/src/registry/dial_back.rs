//! Seeing a node where its record says it is (docs/wire.md section 8).
//!
//! Invariant: only addresses that the policy allows are dialled, as resolved, and each source and each address only so
//! often: a registry is no port scanner.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join_all, select_ok};

use crate::id::NetworkId;
use crate::keys::TransportKey;
use crate::net::{Dialer, LinkError, is_private, source_of};
use crate::noise::{Expected, Role};
use crate::proto::{NodeRecord, Refusal};
use crate::rt::Rt;

/// Time to see a node, from name look-up to the end of the handshake.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most addresses dialled for one registration.
const MAX_DIALS: usize = 4;
/// How often a registry dials nodes back: what strangers can make it do to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialBacks {
    /// Each source, and each address, earns one dial in so long (10 s).
    pub period: Duration,
    /// Dials that one source may ask for at once (3). Not for loopback and private ones.
    pub per_source: u32,
    /// Dials to one address at once (6).
    pub per_address: u32,
}

impl Default for DialBacks {
    fn default() -> Self {
        Self { period: Duration::from_secs(10), per_source: 3, per_address: 6 }
    }
}

/// Sources and addresses that are remembered; beyond it newcomers wait.
const MAX_REMEMBERED: usize = 4096;

/// Which addresses of nodes are dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Global unicast ones.
    Global,
    /// Those, and loopback and private ones.
    Private,
}

impl Reach {
    /// What a registry that listens at `address` may dial: whoever reaches it at a private one is there already.
    pub(super) fn of_listener(address: IpAddr) -> Self {
        if is_private(address) && !address.is_unspecified() { Self::Private } else { Self::Global }
    }

    fn allows(self, address: SocketAddr) -> bool {
        let allowed = match address.ip().to_canonical() {
            IpAddr::V4(v4) => is_global_v4(v4) || (self == Self::Private && is_site_v4(v4)),
            IpAddr::V6(v6) => is_global_v6(v6) || (self == Self::Private && (v6.is_loopback() || v6.is_unique_local())),
        };
        allowed && address.port() != 0
    }
}

/// Loopback, private, or shared by a carrier's or an overlay's hosts.
fn is_site_v4(v4: Ipv4Addr) -> bool {
    v4.is_loopback() || v4.is_private() || is_shared(v4)
}

fn is_shared(v4: Ipv4Addr) -> bool {
    matches!(v4.octets(), [100, 64..=127, ..])
}

fn is_global_v4(v4: Ipv4Addr) -> bool {
    let reserved = matches!(v4.octets(), [0 | 240.., ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..]);
    let special = v4.is_multicast() || v4.is_documentation() || v4.is_link_local();
    !reserved && !special && !is_site_v4(v4)
}

fn is_global_v6(v6: Ipv6Addr) -> bool {
    // Only 2000::/3 is handed out, less what tunnels to IPv4 addresses (which may be private) and what is for documents.
    match v6.segments() {
        [0x2001, 0 | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Dials nodes back.
#[derive(Debug)]
pub(super) struct DialBack {
    rt: Rt,
    network: NetworkId,
    local: TransportKey,
    reach: Reach,
    dialer: Dialer,
    sources: Mutex<Pace<IpAddr>>,
    addresses: Mutex<Pace<SocketAddr>>,
}

impl DialBack {
    pub(super) fn new(rt: &Rt, network: NetworkId, local: TransportKey, reach: Reach, often: DialBacks) -> Self {
        Self {
            rt: rt.clone(),
            network,
            local,
            reach,
            dialer: Dialer::new(rt.clone(), TIMEOUT),
            sources: Mutex::new(Pace::new(often.per_source, often.period)),
            addresses: Mutex::new(Pace::new(often.per_address, often.period)),
        }
    }

    /// Completes a handshake with the node of `record` at one of its endpoints, on behalf of someone at `source`.
    pub(super) async fn see(&self, record: &NodeRecord, source: IpAddr) -> Result<(), Refusal> {
        let now = self.rt.uptime();
        let paced = is_private(source) || take(&self.sources, source_of(source), now);
        if !paced {
            return Err(Refusal::Busy);
        }
        match self.rt.timeout(TIMEOUT, self.dial_any(record)).await {
            Ok(seen) => seen,
            Err(_) => Err(Refusal::Unreachable),
        }
    }

    async fn dial_any(&self, record: &NodeRecord) -> Result<(), Refusal> {
        // Resolved once, and dialled as resolved: a name cannot mean another address when it is dialled.
        let resolved = join_all(record.endpoints.iter().map(|endpoint| self.rt.resolve(endpoint))).await;
        let mut found: Vec<_> = resolved.into_iter().flatten().flatten().filter(|a| self.reach.allows(*a)).collect();
        found.dedup();
        found.truncate(MAX_DIALS);
        if found.is_empty() {
            return Err(Refusal::Unreachable);
        }
        let now = self.rt.uptime();
        found.retain(|address| take(&self.addresses, *address, now));
        if found.is_empty() {
            return Err(Refusal::Busy);
        }
        let dials = found.into_iter().map(|address| Box::pin(self.dial(address, record)));
        match select_ok(dials).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(node = %record.id, %error, "a node is not where its record says");
                Err(Refusal::Unreachable)
            }
        }
    }

    async fn dial(&self, address: SocketAddr, record: &NodeRecord) -> Result<(), LinkError> {
        let expected = Expected { id: record.id, noise_key: record.noise_key, role: Role::Node, network: self.network };
        self.dialer.connect(&address.to_string(), &self.local, &expected).await.map(drop)
    }
}

fn take<K: Ord + Copy>(pace: &Mutex<Pace<K>>, key: K, now: Duration) -> bool {
    pace.lock().unwrap_or_else(PoisonError::into_inner).take(key, now)
}

/// One event per key and period, with a burst.
#[derive(Debug)]
struct Pace<K> {
    burst: u32,
    period: Duration,
    /// When the key's next event would be due, had there been no burst.
    due: BTreeMap<K, Duration>,
}

impl<K: Ord + Copy> Pace<K> {
    fn new(burst: u32, period: Duration) -> Self {
        Self { burst: burst.max(1), period, due: BTreeMap::new() }
    }

    fn take(&mut self, key: K, now: Duration) -> bool {
        if self.due.len() >= MAX_REMEMBERED && !self.due.contains_key(&key) {
            self.due.retain(|_, due| *due > now);
            if self.due.len() >= MAX_REMEMBERED {
                return false;
            }
        }
        let due = self.due.entry(key).or_insert(now);
        let early = due.saturating_sub(now);
        if early > self.period * (self.burst - 1) {
            return false;
        }
        *due = now + early + self.period;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn allows(reach: Reach, address: &str) -> bool {
        reach.allows(address.parse().expect("an address"))
    }

    #[test]
    fn a_public_registry_dials_global_addresses_only() {
        for good in ["1.1.1.1:4200", "193.0.14.129:1", "[2a00:1450::1]:4200", "[::ffff:1.1.1.1]:9"] {
            assert!(allows(Reach::Global, good), "{good}");
        }
        for bad in [
            "1.1.1.1:0",
            "0.0.0.0:1",
            "127.0.0.1:1",
            "10.0.0.1:1",
            "172.16.0.1:1",
            "192.168.1.1:1",
            "169.254.169.254:80",
            "100.64.0.1:1",
            "192.0.2.1:1",
            "198.18.0.1:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[::]:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "[64:ff9b::7f00:1]:1",
            "[2002:7f00:1::]:1",
            "[2001:0:1::]:1",
            "[2001:db8::1]:1",
            "[fc00::1]:1",
            "[fe80::1]:1",
            "[ff02::1]:1",
        ] {
            assert!(!allows(Reach::Global, bad), "{bad}");
        }
    }

    #[test]
    fn a_private_registry_dials_private_addresses_too_but_never_link_local_ones() {
        for good in
            ["127.0.0.1:1", "10.0.0.1:1", "192.168.1.1:1", "100.64.0.1:1", "[::1]:1", "[fd00::1]:1", "1.1.1.1:1"]
        {
            assert!(allows(Reach::Private, good), "{good}");
        }
        for bad in ["0.0.0.0:1", "169.254.169.254:80", "[fe80::1]:1", "224.0.0.1:1", "127.0.0.1:0"] {
            assert!(!allows(Reach::Private, bad), "{bad}");
        }
        let of = |address: &str| Reach::of_listener(address.parse().expect("an address"));
        assert_eq!((of("127.0.0.1"), of("10.1.2.3"), of("::1")), (Reach::Private, Reach::Private, Reach::Private));
        assert_eq!((of("0.0.0.0"), of("::"), of("1.1.1.1")), (Reach::Global, Reach::Global, Reach::Global));
    }

    #[test]
    fn a_source_gets_a_burst_and_then_one_dial_each_period() {
        let mut pace = Pace::new(3, PERIOD);
        let second = Duration::from_secs;
        assert_eq!((0..10).filter(|_| pace.take(1, second(100))).count(), 3);
        assert!(pace.take(2, second(100)), "another source has its own pace");
        assert!(!pace.take(1, second(109)));
        assert!(pace.take(1, second(110)));
        assert!(!pace.take(1, second(111)));
        assert_eq!((0..10).filter(|_| pace.take(1, second(1000))).count(), 3);
    }

    #[test]
    fn what_is_remembered_of_strangers_is_bounded() {
        let mut pace = Pace::new(3, PERIOD);
        assert_eq!((0..4_200).filter(|key| pace.take(*key, Duration::ZERO)).count(), MAX_REMEMBERED);
        assert!(pace.take(10_001, PERIOD), "those whose turn is over are forgotten");
    }
}
