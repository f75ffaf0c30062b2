//! Who may connect: counts per source, per key and in total (docs/wire.md section 9).
//!
//! Invariant: no count exceeds its limit, and a source that holds few connections gets one from a source that holds many.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::AbortHandle;

use super::turn::Turns;
use crate::id::NoiseKey;

/// Limits on connections. Each is a bound on memory or descriptors that strangers can make a server use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Handshakes under way in all (256). Costs up to 5 KiB each.
    pub half_open: usize,
    /// Handshakes under way per source address, or per /64 for IPv6 (8).
    pub half_open_per_source: usize,
    /// The same for loopback and private addresses (128).
    pub half_open_per_private_source: usize,
    /// Time for a whole handshake (5 s).
    pub handshake_timeout: Duration,
    /// New connections per source and second, with bursts of four seconds' worth (64). A handshake costs about 0.2 ms of a core.
    pub rate_per_source: u32,
    /// The same for loopback and private addresses (512).
    pub rate_per_private_source: u32,
    /// Connections in all (1,024). Costs a descriptor and up to 1 MiB each.
    pub connections: usize,
    /// Connections per source (64).
    pub per_source: usize,
    /// The same for loopback and private addresses (512).
    pub per_private_source: usize,
    /// Connections per transport key (16). A further one takes the place of the key's oldest idle one, or is told `busy`.
    pub per_key: usize,
    /// Time between two requests, after which a connection is closed (60 s).
    pub idle_timeout: Duration,
    /// While a message is under way, 64 KiB arrive, or are taken, in each time of this length (10 s); else the connection ends.
    pub progress_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            half_open: 256,
            half_open_per_source: 8,
            half_open_per_private_source: 128,
            handshake_timeout: Duration::from_secs(5),
            rate_per_source: 64,
            rate_per_private_source: 512,
            connections: 1024,
            per_source: 64,
            per_private_source: 512,
            per_key: 16,
            idle_timeout: Duration::from_secs(60),
            progress_window: super::link::PROGRESS_WINDOW,
        }
    }
}

/// Sources whose rate is remembered; beyond it the quietest are forgotten.
const MAX_SOURCES: usize = 4096;
/// Refusals under way in all: each holds a descriptor for a moment. Beyond it newcomers are hung up on without a word.
const MAX_REFUSALS: usize = 64;

/// Counts connections, and lets them in or not.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Handshakes that compute at once: requests that are served find the other cores free.
    computing: Turns,
    refusals: Arc<async_lock::Semaphore>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    next: u64,
    entries: HashMap<u64, Entry>,
    buckets: HashMap<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Entry {
    source: IpAddr,
    /// Shared by all of its source: one handshake of a source computes at a time.
    turn: Arc<async_lock::Mutex<()>>,
    /// `None` during the handshake.
    key: Option<NoiseKey>,
    busy: Arc<AtomicBool>,
    /// Whether it has asked for something yet.
    served: Arc<AtomicBool>,
    abort: AbortHandle,
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.served.load(Ordering::Relaxed) && !self.busy.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Gate {
    /// For a server with so many processors.
    pub(crate) fn new(limits: Limits, processors: usize) -> Self {
        let state = State { limits, next: 0, entries: HashMap::new(), buckets: HashMap::new() };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            computing: Turns::new((processors / 2).max(1)),
            refusals: Arc::new(async_lock::Semaphore::new(MAX_REFUSALS)),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave to tell a newcomer that was refused why; `None` when too many are being told.
    pub(crate) fn refusal(&self) -> Option<async_lock::SemaphoreGuardArc> {
        self.0.refusals.try_acquire_arc()
    }

    /// The process is out of descriptors: ends a connection that is idle or under way, of the source that holds most.
    pub(crate) fn shed(&self) {
        self.state().make_room(0);
    }

    /// Lets a new connection start its handshake; `abort` ends its task should it have to make room. `None`: refused.
    pub(crate) fn enter(&self, source: IpAddr, now: Duration, abort: AbortHandle) -> Option<Admission> {
        let private = is_private(source);
        let source = source_of(source);
        let mut state = self.state();
        let limits = state.limits.clone();
        let half_open_limit = if private { limits.half_open_per_private_source } else { limits.half_open_per_source };
        let source_limit = if private { limits.per_private_source } else { limits.per_source };
        let rate = if private { limits.rate_per_private_source } else { limits.rate_per_source };
        if !state.take_token(source, rate, now) {
            return None;
        }
        let of_source = || state.entries.values().filter(|entry| entry.source == source);
        let (open, half) = of_source().fold((0, 0), |(all, half), e| (all + 1, half + usize::from(e.key.is_none())));
        let turn = of_source().next().map(|entry| entry.turn.clone()).unwrap_or_default();
        if half >= half_open_limit || open >= source_limit {
            return None;
        }
        let half_open = state.entries.values().filter(|entry| entry.key.is_none()).count();
        if (half_open >= limits.half_open || state.entries.len() >= limits.connections) && !state.make_room(open) {
            return None;
        }
        let id = state.next;
        state.next += 1;
        let busy = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicBool::new(false));
        let entry = Entry { source, turn: turn.clone(), key: None, busy: busy.clone(), served: served.clone(), abort };
        state.entries.insert(id, entry);
        Some(Admission { gate: self.clone(), id, turn, busy, served })
    }

    /// Connections that are through their handshake.
    pub(crate) fn connections(&self) -> usize {
        self.state().entries.values().filter(|entry| entry.key.is_some()).count()
    }

    /// Those of them that may have to make room. A peer has its answer a moment before.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.state().entries.values().filter(|entry| entry.is_idle()).count()
    }
}

impl State {
    fn take_token(&mut self, source: IpAddr, rate: u32, now: Duration) -> bool {
        let rate = f64::from(rate);
        let full = 4.0 * rate;
        if self.buckets.len() >= MAX_SOURCES && !self.buckets.contains_key(&source) {
            self.buckets.retain(|_, bucket| now.saturating_sub(bucket.at) < Duration::from_secs(4));
            if self.buckets.len() >= MAX_SOURCES {
                return false;
            }
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket { tokens: full, at: now });
        bucket.tokens = full.min(bucket.tokens + rate * now.saturating_sub(bucket.at).as_secs_f64());
        bucket.at = now;
        let granted = bucket.tokens >= 1.0;
        if granted {
            bucket.tokens -= 1.0;
        }
        granted
    }

    /// Ends the oldest idle or half-open connection of the source that holds most, if it holds clearly more than the newcomer's `own`.
    fn make_room(&mut self, own: usize) -> bool {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        self.entries.values().for_each(|entry| *counts.entry(entry.source).or_default() += 1);
        let Some((most, count)) = counts.into_iter().max_by_key(|(source, count)| (*count, *source)) else {
            return false;
        };
        if count <= own + 1 {
            return false;
        }
        let idle = |entry: &Entry| entry.key.is_none() || !entry.busy.load(Ordering::Relaxed);
        let of_most = self.entries.iter().filter(|(_, entry)| entry.source == most && idle(entry));
        let Some(oldest) = of_most.map(|(id, _)| *id).min() else { return false };
        self.end(oldest);
        true
    }

    fn end(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            entry.abort.abort();
        }
    }
}

/// A connection that was let in; dropping it gives its place back.
#[derive(Debug)]
pub(crate) struct Admission {
    gate: Gate,
    id: u64,
    turn: Arc<async_lock::Mutex<()>>,
    busy: Arc<AtomicBool>,
    served: Arc<AtomicBool>,
}

impl Admission {
    /// Runs a step of the handshake that computes, when it is this source's turn: however many handshakes one source
    /// starts, those of another wait for one of them at most.
    pub(crate) async fn compute<T>(&self, step: impl FnOnce() -> T) -> T {
        let _turn = self.turn.lock().await;
        let _core = self.gate.0.computing.wait().await;
        step()
    }

    /// The handshake showed `key`. False: that key has too many connections, and none of them is idle.
    ///
    /// Until its first request is over a connection is not idle, or those who connect many times at once would end their own.
    pub(crate) fn authenticated(&self, key: NoiseKey) -> bool {
        let mut state = self.gate.state();
        let held = state.entries.values().filter(|entry| entry.key == Some(key)).count();
        if held >= state.limits.per_key {
            // Links that a process keeps for later must not starve another process of the same owner.
            let idle = |entry: &Entry| entry.key == Some(key) && entry.is_idle();
            let Some(oldest) = state.entries.iter().filter(|(_, entry)| idle(entry)).map(|(id, _)| *id).min() else {
                return false;
            };
            state.end(oldest);
        }
        if let Some(entry) = state.entries.get_mut(&self.id) {
            entry.key = Some(key);
        }
        true
    }

    /// A request is being served, so that this connection does not have to make room.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
        if busy {
            self.served.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.gate.state().entries.remove(&self.id);
    }
}

/// Addresses that one party can have many of count as one.
pub(crate) fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Whether an address is a loopback, private or link-local one.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn enter(gate: &Gate, source: IpAddr) -> Option<Admission> {
        gate.enter(source, Duration::ZERO, AbortHandle::new_pair().0)
    }

    fn enter_many(gate: &Gate, source: IpAddr, count: usize) -> Vec<Admission> {
        (0..count).map_while(|_| enter(gate, source)).collect()
    }

    #[test]
    fn a_source_can_start_only_so_many_handshakes_and_gets_its_places_back() {
        let gate = Gate::new(Limits::default(), 2);
        let held = enter_many(&gate, PUBLIC, 100);
        assert_eq!(held.len(), 8);
        assert!(enter(&gate, OTHER).is_some());
        assert_eq!(enter_many(&gate, LOCAL, 1000).len(), 128);
        drop(held);
        assert!(enter(&gate, PUBLIC).is_some());
    }

    #[test]
    fn a_key_can_hold_only_so_many_connections() {
        let gate = Gate::new(Limits::default(), 2);
        let key = NoiseKey::new([1; 32]);
        let held: Vec<_> = (0..16).map(|_| enter(&gate, LOCAL).expect("room")).collect();
        assert!(held.iter().all(|admission| admission.authenticated(key)));
        held.iter().for_each(|admission| admission.set_busy(true));
        let next = enter(&gate, LOCAL).expect("room");
        assert!(!next.authenticated(key));
        assert!(next.authenticated(NoiseKey::new([2; 32])));
        assert_eq!(gate.connections(), 17);
    }

    #[test]
    fn a_connection_takes_the_place_of_the_oldest_idle_one_of_its_key_and_of_no_other() {
        let gate = Gate::new(Limits { per_key: 3, ..Limits::default() }, 2);
        let key = NoiseKey::new([1; 32]);
        let other = enter(&gate, LOCAL).expect("room");
        assert!(other.authenticated(NoiseKey::new([2; 32])));
        other.set_busy(false);
        let held: Vec<_> = (0..3).map(|_| enter(&gate, LOCAL).expect("room")).collect();
        assert!(held.iter().all(|admission| admission.authenticated(key)));
        held[0].set_busy(true);
        let early = enter(&gate, LOCAL).expect("room");
        assert!(!early.authenticated(key), "those that have not asked yet are about to");
        for admission in &held[1..] {
            admission.set_busy(true);
            admission.set_busy(false);
        }
        let next = enter(&gate, LOCAL).expect("room");
        assert!(next.authenticated(key));
        let state = gate.state();
        let is_there = |admission: &Admission| state.entries.contains_key(&admission.id);
        assert!(is_there(&other), "another key's");
        assert!(is_there(&held[0]) && !is_there(&held[1]) && is_there(&held[2]) && is_there(&next));
        drop(state);
    }

    #[test]
    fn when_full_the_largest_holder_makes_room_for_a_small_one() {
        let gate = Gate::new(Limits { connections: 20, ..Limits::default() }, 2);
        let greedy = enter_many(&gate, LOCAL, 20);
        assert_eq!(greedy.len(), 20);
        greedy.iter().for_each(|admission| {
            assert!(admission.authenticated(NoiseKey::new([u8::try_from(admission.id).expect("few"); 32])))
        });
        greedy[0].set_busy(true);
        assert!(enter(&gate, LOCAL).is_none(), "its own place would be no gain");
        let _small = enter(&gate, PUBLIC).expect("the greedy one loses one");
        let state = gate.state();
        assert!(state.entries.contains_key(&greedy[0].id), "busy ones stay");
        assert!(!state.entries.contains_key(&greedy[1].id), "the oldest idle one went");
    }

    #[test]
    fn a_source_that_reconnects_without_end_is_slowed_down() {
        let gate = Gate::new(Limits::default(), 2);
        let let_in = (0..1000).filter(|_| enter(&gate, PUBLIC).is_some()).count();
        assert_eq!(let_in, 256);
        let later = gate.enter(PUBLIC, Duration::from_secs(1), AbortHandle::new_pair().0);
        assert!(later.is_some());
        let let_in = (0..10_000).filter(|_| enter(&gate, LOCAL).is_some()).count();
        assert_eq!(let_in, 2048, "a private one too, later");
    }

    #[test]
    fn only_so_many_are_told_at_once_why_they_are_refused() {
        let gate = Gate::new(Limits::default(), 2);
        let told: Vec<_> = std::iter::from_fn(|| gate.refusal()).collect();
        assert_eq!(told.len(), MAX_REFUSALS);
        drop(told);
        assert!(gate.refusal().is_some());
    }

    #[test]
    fn handshakes_of_one_source_wait_for_each_other_and_hold_up_another_by_one_of_theirs_at_most() {
        let gate = Gate::new(Limits::default(), 2);
        let greedy = enter_many(&gate, PUBLIC, 8);
        let other = enter(&gate, OTHER).expect("room");
        let order = Mutex::new(Vec::new());
        let step = |admission, who| {
            let order = &order;
            Admission::compute(admission, move || order.lock().expect("no panic").push(who))
        };
        let greedy = futures_util::future::join_all(greedy.iter().map(|admission| step(admission, "greedy")));
        futures_lite::future::block_on(async {
            let running = gate.0.computing.wait().await;
            let end = async { drop(running) };
            futures_util::future::join3(greedy, step(&other, "other"), end).await;
        });
        let order = order.into_inner().expect("no panic");
        assert_eq!(order.iter().position(|who| *who == "other"), Some(1), "{order:?}");
    }

    #[test]
    fn a_process_without_descriptors_gets_them_from_the_source_that_holds_most() {
        let gate = Gate::new(Limits::default(), 2);
        let (small, greedy) = (enter(&gate, LOCAL).expect("room"), enter_many(&gate, PUBLIC, 8));
        gate.shed();
        let state = gate.state();
        assert!(state.entries.contains_key(&small.id) && !state.entries.contains_key(&greedy[0].id));
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let gate = Gate::new(Limits::default(), 2);
        let held: Vec<_> = (0..100_u16)
            .map_while(|n| enter(&gate, IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n))))
            .collect();
        assert_eq!(held.len(), 8);
    }
}
