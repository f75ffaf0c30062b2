//! The network of a simulation: its hosts by their roles, and what they keep.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Sim;
use super::client::{Running, SimClient};
use super::host::SimEnv;
use super::ledger::SimLedger;
use super::node::{NodeMember, RegistryMember, address};
use super::world::{NOWHERE, World};
use crate::address::RegistryAddr;
use crate::client::{Client, ClientBuilder};
use crate::id::{NodeId, ShardId};
use crate::journal::MemoryJournal;
use crate::keys::Owner;
use crate::ledger::MemoryLedger;
use crate::rt::Rt;
use crate::store::{MemoryStore, ShardState, ShardStore};

/// A host, by the role that runs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimHost {
    /// A registry, from 0.
    Registry(usize),
    /// A storage node, from 0.
    Node(usize),
    /// A client, from 0 in the order in which they were made.
    Client(usize),
}

/// A simulation that runs. Clones are the same one.
#[derive(Clone)]
pub struct SimNet(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    seed: u64,
    capacity: u64,
    owner: Owner,
    ledger: SimLedger,
    members: Mutex<Members>,
}

#[derive(Default)]
pub(super) struct Members {
    pub(super) registries: Vec<RegistryMember>,
    pub(super) nodes: Vec<NodeMember>,
    /// The host of each.
    clients: Vec<usize>,
}

impl SimNet {
    pub(super) fn new(world: &Arc<World>, sim: &Sim) -> Self {
        let env = SimEnv::new(world, NOWHERE);
        let rt = Rt::new(env.clone());
        let owner = std::iter::repeat_with(|| Owner::from_secret(&rt.random())).flatten().next();
        let owner = owner.expect("all but one in 2^127 candidates are valid");
        let ledger = SimLedger::new(MemoryLedger::new(rt), env);
        let (world, seed, capacity) = (world.clone(), sim.seed, sim.capacity);
        let net = Self(Arc::new(Inner { world, seed, capacity, owner, ledger, members: Mutex::default() }));
        for _ in 0..sim.registries {
            let env = net.new_host();
            let registry = RegistryMember::new(&env);
            registry.start(&env);
            net.members().registries.push(registry);
        }
        for _ in 0..sim.nodes {
            net.add_node();
        }
        net
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new_host(&self) -> SimEnv {
        let host = self.0.world.add_host();
        SimEnv::new(&self.0.world, host)
    }

    pub(super) fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    pub(super) fn capacity(&self) -> u64 {
        self.0.capacity
    }

    pub(super) fn number(&self, host: SimHost) -> usize {
        let members = self.members();
        match host {
            SimHost::Registry(at) => members.registries[at].host,
            SimHost::Node(at) => members.nodes[at].host,
            SimHost::Client(at) => members.clients[at],
        }
    }

    /// The environment of a host in its present life, or in a new one.
    pub(super) fn env(&self, host: SimHost) -> SimEnv {
        SimEnv::new(&self.0.world, self.number(host))
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Polls of tasks so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.world.steps()
    }

    /// A hash over every poll, every byte count and every random number so far.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.0.world.lock().chance.trace()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.world.lock().clock.now()
    }

    /// A number below `bound`, which is not 0, from the seed.
    #[must_use]
    pub fn below(&self, bound: usize) -> usize {
        self.0.world.lock().chance.below(bound)
    }

    /// Ready when so much virtual time has passed.
    pub async fn sleep(&self, duration: Duration) {
        SimEnv::new(&self.0.world, NOWHERE).sleep_for(duration).await;
    }

    /// Ready at step `step`, before anything else runs; at once when that is over.
    pub async fn at_step(&self, step: u64) {
        self.0.world.at_step(step).await;
    }

    /// Starts work that no fault ends.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Running<T> {
        Running::start(&SimEnv::new(&self.0.world, NOWHERE), work)
    }

    /// A client of the simulation's owner, on a new host, with a journal that survives it.
    pub async fn client(&self) -> SimClient {
        self.client_with(|builder| builder).await
    }

    /// As [`SimNet::client`], with other settings.
    pub async fn client_with(
        &self,
        settings: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> SimClient {
        let host = self.new_host().host;
        let index = {
            let clients = &mut self.members().clients;
            clients.push(host);
            clients.len() - 1
        };
        // What it notes outlives its host, as a disk would.
        let journal = MemoryJournal::default();
        let settings = move |builder: ClientBuilder| settings(builder.journal(journal.clone()));
        SimClient::start(self.clone(), index, Arc::new(settings)).await
    }

    pub(super) fn client_builder(&self, rt: Rt) -> ClientBuilder {
        let members = self.members();
        let builder = Client::builder().rt(rt).owner(self.0.owner.clone()).ledger(self.0.ledger.clone());
        members.registries.iter().fold(builder, |builder, registry| builder.registry(registry.address.clone()))
    }

    /// The owner of every client.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.0.owner
    }

    /// The ledger, and what can go wrong with it.
    #[must_use]
    pub fn ledger(&self) -> &SimLedger {
        &self.0.ledger
    }

    /// An empty ledger with an id of its own, in the simulation's time: for a client that has lost the other one.
    #[must_use]
    pub fn new_ledger(&self) -> MemoryLedger {
        MemoryLedger::new(Rt::new(SimEnv::new(&self.0.world, NOWHERE)))
    }

    /// The address of registry `index`.
    #[must_use]
    pub fn registry_address(&self, index: usize) -> RegistryAddr {
        self.members().registries[index].address.clone()
    }

    /// Starts one more node; answers its index.
    pub fn add_node(&self) -> usize {
        let env = self.new_host();
        let mut members = self.members();
        let Members { registries, nodes, .. } = &mut *members;
        nodes.push(NodeMember::new(&env, self.0.capacity));
        let index = nodes.len() - 1;
        nodes[index].start(&env, registries);
        index
    }

    /// How many nodes there are, running or not.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.members().nodes.len()
    }

    /// The id of node `index`.
    #[must_use]
    pub fn node_id(&self, index: usize) -> NodeId {
        self.members().nodes[index].identity.id()
    }

    /// The index of the node with this id.
    #[must_use]
    pub fn index_of(&self, id: NodeId) -> Option<usize> {
        self.members().nodes.iter().position(|node| node.identity.id() == id)
    }

    /// What node `index` keeps, running or not.
    #[must_use]
    pub fn store(&self, index: usize) -> MemoryStore {
        self.members().nodes[index].platter.store.clone()
    }

    /// Shards at all nodes: those that are live, and those that are there at all.
    pub async fn shards(&self) -> (usize, usize) {
        let (mut live, mut all) = (0, 0);
        for index in 0..self.nodes() {
            let store = self.store(index);
            for id in store.ids() {
                let shard = store.stat(id).await;
                live += usize::from(shard.is_ok_and(|shard| shard.state == ShardState::Live));
                all += 1;
            }
        }
        (live, all)
    }

    /// Bytes of bodies that node `index` has taken so far, by shard: those that came twice count twice.
    #[must_use]
    pub fn arrived(&self, index: usize) -> BTreeMap<ShardId, u64> {
        self.members().nodes[index].platter.arrived()
    }

    /// Ready when every node that runs has registered, and every registry that runs counts on all of them. At most some
    /// time after the former, so that what hangs or is parted is not waited for.
    pub async fn settled(&self) {
        let waiting: Vec<_> = self.members().nodes.iter().map(|node| node.registered.clone()).collect();
        for registered in waiting {
            // Nothing is ever sent: the channel only closes, also when the node is killed.
            let _ = registered.recv().await;
        }
        let until = self.elapsed() + SETTLED;
        while !self.is_settled() && self.elapsed() < until {
            self.sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_settled(&self) -> bool {
        let members = self.members();
        let runs = |host: usize| self.0.world.lock().hosts[host].alive;
        let addresses = members.nodes.iter().filter(|node| runs(node.host)).map(|node| address(node.host));
        let addresses: Vec<String> = addresses.collect();
        members.registries.iter().all(|registry| addresses.iter().all(|address| registry.knows(address)))
    }
}

/// How long a registry may take to hear of a node that another one lists already.
const SETTLED: Duration = Duration::from_secs(40);

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").field("seed", &self.0.seed).field("steps", &self.steps()).finish_non_exhaustive()
    }
}
