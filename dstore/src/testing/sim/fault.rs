//! What can go wrong: hosts that die, hang, rot and lag, and links that part and break.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::disk::Platter;
use super::link::Pair;
use super::network::{Members, SimHost, SimNet};
use super::world::World;
use crate::id::ShardId;

impl SimNet {
    /// Ends a host as `kill -9` would: its tasks stop where they are, and its connections are reset.
    pub fn kill(&self, host: SimHost) {
        self.world().kill(self.number(host));
    }

    /// Starts a registry or node again with what it had made durable, at its old address. A registry remembers no node.
    ///
    /// # Panics
    /// For a client: [`SimClient::restart`](crate::testing::SimClient::restart).
    pub fn restart(&self, host: SimHost) {
        self.kill(host);
        let env = self.env(host);
        let mut members = self.members();
        let Members { registries, nodes, .. } = &mut *members;
        match host {
            SimHost::Registry(at) => registries[at].start(&env),
            SimHost::Node(at) => nodes[at].start(&env, registries),
            SimHost::Client(_) => panic!("a client is started again with SimClient::restart"),
        }
    }

    /// As [`SimNet::restart`] for node `index`, at another address.
    pub fn restart_elsewhere(&self, index: usize) {
        self.kill(SimHost::Node(index));
        let host = self.new_host().host;
        self.members().nodes[index].host = host;
        self.restart(SimHost::Node(index));
    }

    /// Starts node `index` again with an empty store, as after the loss of its disk.
    pub fn wipe(&self, index: usize) {
        self.kill(SimHost::Node(index));
        self.members().nodes[index].platter = Platter::new(self.capacity());
        self.restart(SimHost::Node(index));
    }

    /// Flips the first byte of every shard that node `index` keeps, as a failing disk might; answers which these are.
    /// [`MemoryStore::flip`](crate::store::MemoryStore::flip) makes them whole again.
    pub fn corrupt(&self, index: usize) -> Vec<ShardId> {
        let store = self.store(index);
        let ids = store.ids();
        ids.iter().for_each(|id| _ = store.flip(*id, 0));
        ids
    }

    /// Whether the disk of node `index` takes nothing more.
    pub fn disk_full(&self, index: usize, full: bool) {
        self.members().nodes[index].platter.full.store(full, Ordering::Relaxed);
    }

    /// Makes a host silent: its connections stay open, and nothing arrives there or comes from there.
    pub fn hang(&self, host: SimHost) {
        let number = self.number(host);
        self.world().lock().links.hang(number, true);
    }

    /// Delays all that a host sends and gets by so much, each way.
    pub fn slow(&self, host: SimHost, delay: Duration) {
        let number = self.number(host);
        self.world().lock().links.host(number).delay = delay;
    }

    /// Ends [`SimNet::hang`] and [`SimNet::slow`]. What was sent meanwhile arrives.
    pub fn resume(&self, host: SimHost) {
        let number = self.number(host);
        let mut state = self.world().lock();
        state.links.hang(number, false);
        state.links.host(number).delay = Duration::ZERO;
        let wakers = state.streams.stirred();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Bytes a second that a host can send, and as many that it can take.
    pub fn bandwidth(&self, host: SimHost, bytes: u64) {
        let number = self.number(host);
        let mut state = self.world().lock();
        let link = state.links.host(number);
        (link.out.bandwidth, link.into.bandwidth) = (Some(bytes), Some(bytes));
    }

    /// Sets a host's clock so many milliseconds ahead of the time, or behind it.
    pub fn skew(&self, host: SimHost, ahead: i64) {
        let number = self.number(host);
        self.world().lock().hosts[number].skew = ahead;
    }

    /// The link between two hosts, both ways.
    #[must_use]
    pub fn link(&self, one: SimHost, other: SimHost) -> SimLink {
        let (one, other) = (self.number(one), self.number(other));
        SimLink { world: self.world().clone(), ways: vec![(one, other), (other, one)] }
    }

    /// The link from one host to another, without the way back.
    #[must_use]
    pub fn one_way(&self, from: SimHost, to: SimHost) -> SimLink {
        SimLink { world: self.world().clone(), ways: vec![(self.number(from), self.number(to))] }
    }

    /// Lets time pass with every node and registry switched off, and starts them again: months cost no steps.
    pub async fn skip(&self, duration: Duration) {
        let (nodes, registries) = (self.nodes(), self.members().registries.len());
        let hosts = || (0..registries).map(SimHost::Registry).chain((0..nodes).map(SimHost::Node));
        hosts().for_each(|host| self.kill(host));
        self.sleep(duration).await;
        hosts().for_each(|host| self.restart(host));
        self.settled().await;
    }
}

/// A link between two hosts.
pub struct SimLink {
    world: Arc<World>,
    /// From, to.
    ways: Vec<(usize, usize)>,
}

impl SimLink {
    /// How long bytes travel, one way. By default some time up to 2 ms, by the seed. A quarter more is left to chance.
    pub fn latency(self, latency: Duration) -> Self {
        self.each(|pair| pair.latency = latency)
    }

    /// Bytes that it carries in a second. Default: any number.
    pub fn bandwidth(self, bytes: u64) -> Self {
        self.each(|pair| pair.lane.bandwidth = Some(bytes))
    }

    fn each(self, change: impl Fn(&mut Pair)) -> Self {
        let mut guard = self.world.lock();
        let state = &mut *guard;
        self.ways.iter().for_each(|(from, to)| change(state.links.pair(&mut state.chance, *from, *to)));
        drop(guard);
        self
    }

    /// Parts the hosts: what is sent does not arrive until [`SimLink::heal`], and connections stay open.
    pub fn part(self) {
        let mut state = self.world.lock();
        self.ways.iter().for_each(|(from, to)| state.links.part(*from, *to, true));
        drop(state);
    }

    /// Ends [`SimLink::part`].
    pub fn heal(self) {
        let mut state = self.world.lock();
        self.ways.iter().for_each(|(from, to)| state.links.part(*from, *to, false));
        let wakers = state.streams.stirred();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Resets every connection between the two.
    pub fn cut(self) {
        let mut state = self.world.lock();
        let wakers: Vec<_> = self.ways.iter().flat_map(|(a, b)| state.streams.cut_pair(*a, *b)).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for SimLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimLink({:?})", self.ways)
    }
}
