//! A whole network in one process and in memory: registry, nodes, ledger and clients, with faults at will.
//!
//! ```
//! # futures_lite::future::block_on(async {
//! let mut cluster = dstore::testing::Cluster::start(3).await?;
//! let client = cluster.client().await?;
//! client.put("notes/a.txt", &b"hello"[..]).await?;
//! cluster.kill(0);
//! assert_eq!(client.get("notes/a.txt").bytes().await?, &b"hello"[..]);
//! # Ok::<(), dstore::Error>(())
//! # }).unwrap();
//! ```

use crate::address::RegistryAddr;
use crate::client::{Client, ClientBuilder};
use crate::error::Result;
use crate::id::NodeId;
use crate::identity::ServerIdentity;
use crate::keys::Owner;
use crate::ledger::MemoryLedger;
use crate::node::{NodeHandle, StorageNode};
use crate::registry::{Registry, RegistryHandle};
use crate::rt::Rt;
use crate::store::{MemoryStore, ShardState, ShardStore};

use super::faults::{BrokenLedger, Defect};
use super::memory_net::{HostEnv, MemoryNet};

/// Bytes that each node of a cluster takes, if nothing else is said.
const CAPACITY: u64 = 1 << 30;

/// A network in memory. Dropping it ends everything.
#[derive(Debug)]
pub struct Cluster {
    net: MemoryNet,
    registry_env: HostEnv,
    registry_identity: ServerIdentity,
    registry: Option<RegistryHandle>,
    address: RegistryAddr,
    nodes: Vec<Member>,
    ledger: MemoryLedger,
    /// The same, as clients have it.
    reached: BrokenLedger<MemoryLedger>,
    owner: Owner,
}

#[derive(Debug)]
struct Member {
    env: HostEnv,
    identity: ServerIdentity,
    store: MemoryStore,
    port: u16,
    running: Option<NodeHandle>,
}

impl Cluster {
    /// A registry and so many nodes, all registered.
    ///
    /// # Errors
    /// None in practice: everything is in memory.
    pub async fn start(nodes: usize) -> Result<Self> {
        let net = MemoryNet::new();
        let registry_env = net.host();
        let rt = Rt::new(registry_env.clone());
        let registry_identity = ServerIdentity::generate(&rt);
        let registry = start_registry(&registry_env, &registry_identity, 0).await?;
        let address = registry.registry_address();
        let owner = std::iter::repeat_with(|| Owner::from_secret(&rt.random())).flatten().next();
        let owner = owner.expect("all but one in 2^127 candidates are valid");
        let ledger = MemoryLedger::new(rt);
        let mut cluster = Self {
            net,
            registry_env,
            registry_identity,
            registry: Some(registry),
            address,
            nodes: vec![],
            reached: BrokenLedger::with(ledger.clone(), None),
            ledger,
            owner,
        };
        for _ in 0..nodes {
            cluster.add_node(CAPACITY).await?;
        }
        Ok(cluster)
    }

    /// Starts one more node of so many bytes; answers its index.
    ///
    /// # Errors
    /// None in practice.
    pub async fn add_node(&mut self, capacity: u64) -> Result<usize> {
        let env = self.net.host();
        let identity = ServerIdentity::generate(&Rt::new(env.clone()));
        self.nodes.push(Member { env, identity, store: MemoryStore::new(capacity), port: 0, running: None });
        let index = self.nodes.len() - 1;
        self.restart(index).await?;
        Ok(index)
    }

    /// A client of the cluster's owner and ledger.
    ///
    /// # Errors
    /// None in practice.
    pub async fn client(&self) -> Result<Client> {
        self.client_builder().connect().await
    }

    /// The settings of such a client, to be changed.
    pub fn client_builder(&self) -> ClientBuilder {
        Client::builder()
            .rt(Rt::new(self.net.host()))
            .registry(self.address.clone())
            .owner(self.owner.clone())
            .ledger(self.reached.clone())
    }

    /// The registry's address.
    #[must_use]
    pub fn registry_address(&self) -> &RegistryAddr {
        &self.address
    }

    /// From now on the ledger has this defect for clients of [`Cluster::client`] and [`Cluster::client_builder`], also for
    /// those that are there already; with none it works again.
    pub fn ledger_fault(&self, defect: Option<Defect>) {
        self.reached.set_defect(defect);
    }

    /// The ledger that the cluster's clients share, without the fault that it may have for them.
    #[must_use]
    pub fn ledger(&self) -> &MemoryLedger {
        &self.ledger
    }

    /// The network under it, for roles and hosts of one's own.
    #[must_use]
    pub fn net(&self) -> &MemoryNet {
        &self.net
    }

    /// Whose files its clients keep.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// How many nodes it has, running or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The id of node `index`.
    #[must_use]
    pub fn node_id(&self, index: usize) -> NodeId {
        self.nodes[index].identity.id()
    }

    /// The index of the node with this id.
    #[must_use]
    pub fn index_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.identity.id() == id)
    }

    /// What node `index` keeps, running or not.
    #[must_use]
    pub fn store(&self, index: usize) -> &MemoryStore {
        &self.nodes[index].store
    }

    /// Ends node `index` as a power cut would: without a word, all its connections with it.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].running = None;
        self.net.cut(self.nodes[index].env.ip());
    }

    /// Makes node `index` silent: it keeps its connections, takes new ones, and never answers.
    pub fn hang(&self, index: usize) {
        self.net.hang(self.nodes[index].env.ip());
    }

    /// Ends [`Cluster::hang`].
    pub fn resume(&self, index: usize) {
        self.net.resume(self.nodes[index].env.ip());
    }

    /// Flips the first byte of every shard that node `index` keeps, as a failing disk might.
    pub fn corrupt(&self, index: usize) {
        let store = &self.nodes[index].store;
        for id in store.ids() {
            store.flip(id, 0);
        }
    }

    /// Starts node `index` again with an empty store, as after the loss of its disk.
    ///
    /// # Errors
    /// None in practice.
    pub async fn wipe(&mut self, index: usize) -> Result<()> {
        self.kill(index);
        self.nodes[index].store = MemoryStore::new(CAPACITY);
        self.restart(index).await
    }

    /// How many shards the nodes keep, without those that are retired.
    pub async fn live_shards(&self) -> usize {
        let mut live = 0;
        for node in &self.nodes {
            for id in node.store.ids() {
                let shard = node.store.stat(id).await;
                live += usize::from(shard.is_ok_and(|shard| shard.state == ShardState::Live));
            }
        }
        live
    }

    /// Starts node `index` again with what it kept, at its old address; ready when it is registered.
    ///
    /// # Errors
    /// None in practice.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        self.kill(index);
        let Member { env, identity, store, port, .. } = &self.nodes[index];
        let node = StorageNode::builder()
            .rt(Rt::new(env.clone()))
            .listen(format!("{}:{port}", env.ip()))
            .identity(identity.clone())
            .store(store.clone())
            .registry(self.address.clone())
            .start()
            .await?;
        node.registered().await;
        let member = &mut self.nodes[index];
        member.port = node.address().port();
        member.running = Some(node);
        Ok(())
    }

    /// As [`Cluster::restart`], at another address.
    ///
    /// # Errors
    /// None in practice.
    pub async fn restart_elsewhere(&mut self, index: usize) -> Result<()> {
        self.kill(index);
        self.nodes[index].env = self.net.host();
        self.nodes[index].port = 0;
        self.restart(index).await
    }

    /// Ends the registry as a power cut would.
    pub fn kill_registry(&mut self) {
        self.registry = None;
        self.net.cut(self.registry_env.ip());
    }

    /// Starts the registry again, at its old address and with an empty memory.
    ///
    /// # Errors
    /// None in practice.
    pub async fn restart_registry(&mut self) -> Result<()> {
        self.kill_registry();
        let port = self.address.endpoint.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
        self.registry = Some(start_registry(&self.registry_env, &self.registry_identity, port).await?);
        Ok(())
    }
}

async fn start_registry(env: &HostEnv, identity: &ServerIdentity, port: u16) -> Result<RegistryHandle> {
    Registry::builder()
        .rt(Rt::new(env.clone()))
        .identity(identity.clone())
        .listen(format!("{}:{port}", env.ip()))
        .start()
        .await
}
