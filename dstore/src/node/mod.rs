//! A storage node: keeps shards for others on this machine's disk.

mod admission;
mod authority;
mod guests;
mod service;
#[cfg(test)]
mod tests;
mod upkeep;
mod watch;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::admission::{Door, OpenPuts};
use self::guests::Guests;
use self::watch::{NodeMetrics, Watch};
use crate::address::RegistryAddr;
use crate::admin::{Admin, AdminSettings, Subject};
use crate::announce::{Announcer, NodeDescription};
use crate::error::{Error, Result};
use crate::id::{NetworkId, NodeId, NoiseKey};
use crate::identity::ServerIdentity;
use crate::keys::network_id;
use crate::net::{self, Identity, Limits, ServerHandle};
use crate::noise::Role;
use crate::proto::{Invite, InviteTerms, Signed, is_endpoint};
use crate::rt::Rt;
use crate::store::{CopyStore, DiskStore, DiskStoreConfig, ShardStore, Usage};

pub use self::admission::{Admission, Strangers};

/// The identity in a node's folder.
const IDENTITY_FILE: &str = "identity.key";
/// How long a node that ends waits until its folder is free.
const RELEASE: Duration = Duration::from_secs(10);

/// What the parts of a node share.
pub(crate) struct NodeCore {
    rt: Rt,
    identity: ServerIdentity,
    network: NetworkId,
    store: Arc<dyn ShardStore>,
    copies: Arc<dyn CopyStore>,
    config: NodeConfig,
    /// As it was when it was last measured.
    usage: Mutex<Usage>,
    draining: AtomicBool,
    metrics: NodeMetrics,
    door: Door,
    open_puts: OpenPuts,
    quota_turn: futures_util::lock::Mutex<()>,
}

impl NodeCore {
    fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The plain settings of a node.
#[derive(Debug, Clone)]
struct NodeConfig {
    capacity: u64,
    quota_bytes: u64,
    quota_shards: u64,
    quota_copies: u64,
    retire_for: Duration,
    open_for: Duration,
    max_open: u64,
    grace: Duration,
    open_puts: usize,
    strangers: Strangers,
    limits: Limits,
}

/// A storage node: [`StorageNode::builder`] makes one.
#[derive(Debug)]
pub struct StorageNode;

impl StorageNode {
    /// The settings of a new node.
    pub fn builder() -> StorageNodeBuilder {
        StorageNodeBuilder::default()
    }
}

/// The settings of a storage node. A folder is needed.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `start`"]
pub struct StorageNodeBuilder {
    listen: String,
    public: Option<String>,
    dir: Option<PathBuf>,
    store: Option<(Arc<dyn ShardStore>, Arc<dyn CopyStore>)>,
    identity: Option<ServerIdentity>,
    registries: Vec<RegistryAddr>,
    network: NetworkId,
    zone: String,
    disk: DiskStoreConfig,
    config: NodeConfig,
    admin: AdminSettings,
    admission: Admission,
    allowed: BTreeSet<NoiseKey>,
    rt: Rt,
}

impl Default for StorageNodeBuilder {
    fn default() -> Self {
        let capacity = 10 << 30;
        Self {
            listen: "127.0.0.1:0".to_owned(),
            public: None,
            dir: None,
            store: None,
            identity: None,
            registries: Vec::new(),
            network: network_id("dstore"),
            zone: String::new(),
            disk: DiskStoreConfig::default(),
            config: NodeConfig {
                capacity,
                quota_bytes: u64::MAX,
                quota_shards: 1 << 20,
                quota_copies: 1 << 16,
                retire_for: Duration::from_secs(24 * 3600),
                open_for: Duration::from_secs(24 * 3600),
                max_open: 1_024,
                grace: Duration::from_secs(7 * 24 * 3600),
                open_puts: 256,
                strangers: Strangers::default(),
                limits: Limits::default(),
            },
            admin: AdminSettings::default(),
            admission: Admission::default(),
            allowed: BTreeSet::new(),
            rt: Rt::default(),
        }
    }
}

impl StorageNodeBuilder {
    /// Where it listens, `host:port`. Default `127.0.0.1:0`: a free port on this machine only.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// How others reach it, `host:port`. Default: where it listens.
    pub fn public(mut self, address: impl Into<String>) -> Self {
        self.public = Some(address.into());
        self
    }

    /// The folder that holds everything it keeps: its identity and the shards.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Keeps shards and copies of records in `store` instead of the folder.
    pub fn store(mut self, store: impl ShardStore + CopyStore) -> Self {
        let store = Arc::new(store);
        self.store = Some((store.clone(), store));
        self
    }

    /// Who it is, instead of the identity in the folder.
    pub fn identity(mut self, identity: ServerIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// A registry to be listed at; call it again for more.
    pub fn registry(mut self, address: RegistryAddr) -> Self {
        self.registries.push(address);
        self
    }

    /// The label of the network. Default `dstore`.
    pub fn network(mut self, label: &str) -> Self {
        self.network = network_id(label);
        self
    }

    /// The operator's label for what fails together, at most 64 bytes: a building, a provider. Default: none.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = zone.into();
        self
    }

    /// Bytes of shards that it takes. Default 10 GiB.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.config.capacity = bytes;
        self
    }

    /// Bytes of the disk that it leaves free, whatever the capacity. Default 1 GiB.
    pub fn free_floor(mut self, bytes: u64) -> Self {
        self.disk = self.disk.free_floor(bytes);
        self
    }

    /// Shards up to this many bytes live in the index database, larger ones in files. Default 48 KiB.
    pub fn inline_max(mut self, bytes: usize) -> Self {
        self.disk = self.disk.inline_max(bytes);
        self
    }

    /// Bytes and shards that one client key may keep here. Default: no limit on bytes, 1,048,576 shards.
    pub fn quota(mut self, bytes: u64, shards: u64) -> Self {
        (self.config.quota_bytes, self.config.quota_shards) = (bytes, shards);
        self
    }

    /// Copies of records that one client key may keep here: one for each of its files. Default 65,536. Their bytes count
    /// like those of shards.
    pub fn quota_copies(mut self, copies: u64) -> Self {
        self.config.quota_copies = copies;
        self
    }

    /// How long a deleted shard still serves readers that started before. Default 24 h.
    pub fn retire_for(mut self, time: Duration) -> Self {
        self.config.retire_for = time;
        self
    }

    /// How long a put whose connection ended is kept open, for its client to go on with. Default 24 h.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.config.open_for = time;
        self
    }

    /// Puts that one client key may have open here, those under way included. Default 1,024.
    pub fn max_open(mut self, puts: u64) -> Self {
        self.config.max_open = puts;
        self
    }

    /// How long a shard is kept after its lease ended. Default 7 days.
    pub fn grace(mut self, time: Duration) -> Self {
        self.config.grace = time;
        self
    }

    /// Who may store shards, besides keys that are allowed or were invited. Default: clients at loopback and private
    /// addresses.
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// Lets the client with this transport key store shards, wherever it is: [`Client::transport_key`] tells it. Call it
    /// again for more.
    ///
    /// [`Client::transport_key`]: crate::client::Client::transport_key
    pub fn allow(mut self, key: NoiseKey) -> Self {
        self.allowed.insert(key);
        self
    }

    /// What clients that nobody knows may use of an open node. Default: a quarter of the capacity for all of them.
    pub fn strangers(mut self, strangers: Strangers) -> Self {
        self.config.strangers = strangers;
        self
    }

    /// Puts of shards above 48 KiB that are under way at once; more are told `busy`. Default 256. Costs up to 2.2 MiB each.
    pub fn open_puts(mut self, count: usize) -> Self {
        self.config.open_puts = count;
        self
    }

    /// An invite by the node with these settings, running or not: the first client that presents it within `lasts` may
    /// store shards from then on.
    ///
    /// # Errors
    /// [`Error::Config`] without a folder or identity; [`Error::Io`] when the folder holds no node yet.
    pub async fn invite(self, lasts: Duration) -> Result<Invite> {
        let identity = match (self.identity, self.dir) {
            (Some(identity), _) => identity,
            (None, Some(dir)) => self.rt.blocking(move || ServerIdentity::open(dir.join(IDENTITY_FILE))).await?,
            (None, None) => return Err(Error::config("a storage node needs a folder: StorageNodeBuilder::dir")),
        };
        Ok(invite(&identity, self.network, lasts, &self.rt))
    }

    /// Limits on connections.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Serves `/metrics`, `/healthz` and `/readyz` over plain HTTP at `address`, `host:port`, to whoever asks. Default:
    /// not at all.
    pub fn admin(mut self, address: impl Into<String>) -> Self {
        self.admin.address = Some(address.into());
        self
    }

    /// Allows an [`admin`](Self::admin) address that others than this machine can reach. The pages tell them how full and
    /// how busy the node is, and which registries it knows. Default: only loopback addresses.
    pub fn admin_public(mut self) -> Self {
        self.admin.public = true;
        self
    }

    /// The environment: clock, tasks, sockets. Default: the machine's own.
    pub fn rt(mut self, rt: Rt) -> Self {
        self.rt = rt;
        self
    }

    /// Opens the store, listens, and starts to announce itself to the registries.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot be used; [`Error::Locked`] when another process has the folder;
    /// [`Error::Io`] when the folder or an address cannot be used.
    pub async fn start(self) -> Result<NodeHandle> {
        if self.zone.len() > crate::proto::MAX_ZONE_LEN {
            return Err(Error::config("the zone label is longer than 64 bytes"));
        }
        let rt = self.rt;
        let identity = match (self.identity, &self.dir) {
            (Some(identity), _) => identity,
            (None, Some(dir)) => {
                let (path, env) = (dir.join(IDENTITY_FILE), rt.clone());
                rt.blocking(move || ServerIdentity::open_or_create(path, &env)).await?
            }
            (None, None) => return Err(Error::config("a storage node needs a folder: StorageNodeBuilder::dir")),
        };
        let guests = Guests::open(self.dir.clone(), &rt).await?;
        let mut released = None;
        let (store, copies) = match (self.store, self.dir) {
            (Some(stores), _) => stores,
            (None, Some(dir)) => {
                let disk = DiskStore::open(dir, self.disk.capacity(self.config.capacity), rt.clone()).await?;
                let disk = Arc::new(disk);
                released = Some(disk.released());
                (disk.clone() as Arc<dyn ShardStore>, disk as Arc<dyn CopyStore>)
            }
            (None, None) => return Err(Error::config("a storage node needs a folder: StorageNodeBuilder::dir")),
        };
        let listen = self.listen;
        let listener =
            rt.listen(&listen).await.map_err(|error| Error::io(format!("cannot listen at {listen}"), error))?;
        let local = listener.local_addr();
        let endpoint = match self.public {
            Some(public) => public,
            None if local.ip().is_unspecified() => {
                return Err(Error::config(format!(
                    "a node that listens at {local} needs the address by which others reach it: StorageNodeBuilder::public, \
                     or --public HOST:PORT"
                )));
            }
            None => local.to_string(),
        };
        if !is_endpoint(&endpoint) {
            return Err(Error::config(format!(
                "{endpoint:?} is no public address: write host:port, at most 64 characters"
            )));
        }
        let limits = self.config.limits.clone();
        let core = Arc::new(NodeCore {
            rt: rt.clone(),
            identity,
            network: self.network,
            store,
            copies,
            config: self.config,
            usage: Mutex::default(),
            draining: AtomicBool::new(false),
            metrics: NodeMetrics::new(),
            door: Door { admission: self.admission, allowed: self.allowed, guests },
            open_puts: OpenPuts::default(),
            quota_turn: futures_util::lock::Mutex::default(),
        });
        let served = Identity {
            id: core.identity.id(),
            transport: core.identity.transport().clone(),
            role: Role::Node,
            network: self.network,
        };
        let mut server = net::start(&rt, listener, served, limits, core.clone());
        upkeep::measure(&core).await?;
        server.adopt(rt.spawn(upkeep::run(core.clone())));
        let (described, gate, zone) = (core.clone(), server.gate(), self.zone);
        let describe = move || {
            let usage = described.usage();
            NodeDescription {
                endpoints: vec![endpoint.clone()],
                capacity: described.config.capacity,
                free: usage.free,
                used: usage.used,
                zone: zone.clone(),
                draining: described.is_draining(),
                connections: u32::try_from(gate.connections()).unwrap_or(u32::MAX),
            }
        };
        let announcer = Announcer::start(&rt, &core.identity, self.network, self.registries, describe);
        let watch = Arc::new(Watch { node: core.clone(), gate: server.gate(), standings: announcer.standings() });
        let admin = Admin::start(&rt, self.admin, watch.clone()).await?;
        Ok(NodeHandle { server, announcer, core, watch, admin, released })
    }
}

/// A running storage node. Dropping it stops it at once.
pub struct NodeHandle {
    server: ServerHandle,
    announcer: Announcer,
    core: Arc<NodeCore>,
    watch: Arc<Watch>,
    admin: Option<Admin>,
    /// Closes when its folder is free; `None` for a store that somebody else opened.
    released: Option<async_channel::Receiver<()>>,
}

impl NodeHandle {
    /// Where it listens; with port 0 asked for, the port that was chosen.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.server.id()
    }

    /// Its transport key.
    #[must_use]
    pub fn noise_key(&self) -> NoiseKey {
        self.core.identity.noise_key()
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Ready when a registry has listed it, however long that takes: [`NodeHandle::registration_error`] says why it does.
    pub async fn registered(&self) {
        self.announcer.registered().await;
    }

    /// Why no registry has listed it yet.
    #[must_use]
    pub fn registration_error(&self) -> Option<Error> {
        self.announcer.last_error()
    }

    /// Where `/metrics` and the other pages of [`StorageNodeBuilder::admin`] are, if it was asked to serve them.
    #[must_use]
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// What `/metrics` shows: everything that this node counts, as OpenMetrics text.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.watch.metrics()
    }

    /// An invite: the first client that presents it within `lasts` may store shards here from then on.
    #[must_use]
    pub fn invite(&self, lasts: Duration) -> Invite {
        invite(&self.core.identity, self.core.network, lasts, &self.core.rt)
    }

    /// Takes no new shards from now on, or takes them again; what it keeps it goes on serving. Registries are told at once.
    pub fn drain(&self, draining: bool) {
        self.core.draining.store(draining, Ordering::Relaxed);
        self.announcer.refresh();
    }

    /// Tells its registries that it leaves, takes no new request, and is ready when running ones have ended, at most 10 s
    /// later. The folder is then free for another node.
    pub async fn shutdown(self) {
        let Self { server, announcer, core, watch, admin, released } = self;
        announcer.shutdown().await;
        server.shutdown().await;
        let rt = core.rt.clone();
        drop((core, watch, admin));
        // Upkeep ends where it is, but its work on other threads goes on to its end.
        if let Some(released) = released {
            let _ = rt.timeout(RELEASE, released.recv()).await;
        }
    }

    /// Ready when it has ended.
    pub async fn closed(&self) {
        self.server.closed().await;
    }
}

fn invite(identity: &ServerIdentity, network: NetworkId, lasts: Duration, rt: &Rt) -> Invite {
    let terms = InviteTerms { node: identity.id(), id: rt.random(), not_after: rt.now().after(lasts) };
    Signed::new(&terms, identity.signing(), network, &[])
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeHandle").field("id", &self.id()).field("address", &self.address()).finish_non_exhaustive()
    }
}
