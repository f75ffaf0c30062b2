//! Links between hosts: how long bytes travel, how many at a time, and whether at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::chance::Chance;

/// The longest one-way latency that a link has by chance.
const LATENCY: Duration = Duration::from_millis(2);

/// The links of all hosts.
#[derive(Default)]
pub(super) struct Links {
    hosts: Vec<HostLink>,
    pairs: BTreeMap<(usize, usize), Pair>,
    /// What says nothing and takes nothing.
    hung: BTreeSet<usize>,
    /// From, to.
    parted: BTreeSet<(usize, usize)>,
}

/// What holds for every link of a host.
#[derive(Default)]
pub(super) struct HostLink {
    /// Added to the latency of each of its links, both ways.
    pub(super) delay: Duration,
    pub(super) out: Lane,
    pub(super) into: Lane,
}

/// One direction of a link between two hosts.
#[derive(Default)]
pub(super) struct Pair {
    pub(super) latency: Duration,
    pub(super) lane: Lane,
}

/// What carries only so many bytes in a second.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) bandwidth: Option<u64>,
    busy_until: Duration,
}

impl Lane {
    /// When `bytes` that enter now have left.
    fn carry(&mut self, now: Duration, bytes: usize) -> Duration {
        let Some(bandwidth) = self.bandwidth else { return now };
        let nanos = (bytes as u128).saturating_mul(1_000_000_000) / u128::from(bandwidth.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = self.busy_until.max(now).saturating_add(time);
        self.busy_until
    }
}

impl Links {
    pub(super) fn add_host(&mut self) {
        self.hosts.push(HostLink::default());
    }

    pub(super) fn host(&mut self, host: usize) -> &mut HostLink {
        &mut self.hosts[host]
    }

    /// The link from one host to another.
    pub(super) fn pair(&mut self, chance: &mut Chance, from: usize, to: usize) -> &mut Pair {
        let new = || Pair { latency: chance.time(LATENCY), lane: Lane::default() };
        self.pairs.entry((from, to)).or_insert_with(new)
    }

    /// How long a packet takes from one host to another.
    pub(super) fn latency(&mut self, chance: &mut Chance, from: usize, to: usize) -> Duration {
        let base = self.pair(chance, from, to).latency;
        base + chance.time(base / 4) + self.hosts[from].delay + self.hosts[to].delay
    }

    /// When `bytes` that leave now arrive.
    pub(super) fn arrival(
        &mut self,
        chance: &mut Chance,
        now: Duration,
        (from, to): (usize, usize),
        bytes: usize,
    ) -> Duration {
        let out = self.hosts[from].out.carry(now, bytes);
        let between = self.pair(chance, from, to).lane.carry(now, bytes);
        let into = self.hosts[to].into.carry(now, bytes);
        out.max(between).max(into) + self.latency(chance, from, to)
    }

    /// Whether anything that leaves `from` reaches `to`.
    pub(super) fn carries(&self, from: usize, to: usize) -> bool {
        !self.hung.contains(&from) && !self.hung.contains(&to) && !self.parted.contains(&(from, to))
    }

    pub(super) fn hang(&mut self, host: usize, hung: bool) {
        if hung {
            self.hung.insert(host)
        } else {
            self.hung.remove(&host)
        };
    }

    pub(super) fn part(&mut self, from: usize, to: usize, parted: bool) {
        if parted {
            self.parted.insert((from, to))
        } else {
            self.parted.remove(&(from, to))
        };
    }
}
