//! The registry: knows which storage nodes are alive, and tells clients (docs/wire.md section 8).
//!
//! Invariant: it can hide nodes or add its own, but no record is listed that its node did not sign.

mod dial_back;
mod membership;
mod service;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::dial_back::{DialBack, Reach};
use self::membership::{Membership, Rules};
use self::service::RegistryService;
use self::state::State;
use self::watch::{RegistryMetrics, Watch};
use crate::address::RegistryAddr;
use crate::admin::{Admin, AdminSettings, Subject};
use crate::error::{Error, Result};
use crate::id::{NetworkId, NodeId};
use crate::identity::ServerIdentity;
use crate::keys::network_id;
use crate::net::{Identity, Limits, ServerHandle, start};
use crate::noise::Role;
use crate::proto::{MAX_LISTED, NodeState, is_endpoint};
use crate::rt::{Rt, Timestamp};

pub use self::dial_back::DialBacks;
pub use self::membership::Quarantine;

/// The label of the network that nodes and registries belong to unless told otherwise.
const DEFAULT_NETWORK: &str = "dstore";

/// A registry. [`Registry::builder`] is where it begins.
#[derive(Debug)]
pub struct Registry;

impl Registry {
    /// A registry with every setting at its default.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder {
            listen: "127.0.0.1:0".into(),
            public: None,
            dir: None,
            identity: None,
            network: DEFAULT_NETWORK.into(),
            heartbeat: Duration::from_secs(10),
            min_nodes: 3,
            max_nodes: MAX_LISTED,
            quarantine: Quarantine::default(),
            dial_backs: DialBacks::default(),
            limits: Limits::default(),
            private_endpoints: false,
            admin: AdminSettings::default(),
            rt: None,
        }
    }
}

/// The settings of a registry that is to start.
#[derive(Debug, Clone)]
#[must_use = "a registry runs only once it is started"]
pub struct RegistryBuilder {
    listen: String,
    public: Option<String>,
    dir: Option<PathBuf>,
    identity: Option<ServerIdentity>,
    network: String,
    heartbeat: Duration,
    min_nodes: usize,
    max_nodes: usize,
    quarantine: Quarantine,
    dial_backs: DialBacks,
    limits: Limits,
    private_endpoints: bool,
    admin: AdminSettings,
    rt: Option<Rt>,
}

impl RegistryBuilder {
    /// Where to listen, `host:port`; port 0 chooses a free one. Default: `127.0.0.1:0`.
    ///
    /// At a loopback or private address nodes may announce private addresses too; elsewhere, and at an unspecified
    /// address such as `0.0.0.0`, only global ones: see [`private_endpoints`](Self::private_endpoints).
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// The `host:port` that others reach this registry at. Default: where it listens (for an unspecified address:
    /// the loopback one).
    pub fn public(mut self, endpoint: impl Into<String>) -> Self {
        self.public = Some(endpoint.into());
        self
    }

    /// The folder of its state: `identity.key` (made on the first start) and `registry.db`. Default: none, so that
    /// a restart knows no nodes and, unless [`identity`](Self::identity) is set, has a new identity.
    pub fn dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.dir = Some(folder.into());
        self
    }

    /// Its identity, in place of the one in its folder. Default: that one, or a new one when there is no folder.
    pub fn identity(mut self, identity: ServerIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The label of its network: nodes, registries and clients with other labels cannot connect. Default: `dstore`.
    pub fn network(mut self, label: impl Into<String>) -> Self {
        self.network = label.into();
        self
    }

    /// How often nodes are to be heard: three misses make a node suspect, six end its listing. Default: 10 s.
    /// Shorter notices losses faster and costs each node one small message per interval. At least 10 ms.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// How many active nodes there must be before uploads are offered any. Default: 3. At least 1.
    pub fn min_nodes(mut self, count: usize) -> Self {
        self.min_nodes = count;
        self
    }

    /// The most nodes that are listed; further ones are told `busy`. Default: 2,048. About 2 KiB of memory each. One
    /// reply holds at most 2,048, and at most 1 MiB.
    pub fn max_nodes(mut self, count: usize) -> Self {
        self.max_nodes = count;
        self
    }

    /// When a node that comes and goes is kept out of uploads. Default: for 10 min after more than 5 changes in 10 min.
    pub fn quarantine(mut self, quarantine: Quarantine) -> Self {
        self.quarantine = quarantine;
        self
    }

    /// How often nodes are dialled back before they are listed. Default: once in 10 s for each source and address, with
    /// bursts of 3 and 6.
    pub fn dial_backs(mut self, often: DialBacks) -> Self {
        self.dial_backs = often;
        self
    }

    /// Limits on connections. Default: those of [`Limits::default`]. Their idle time is raised to three heartbeats.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Lists nodes at loopback and private addresses wherever this registry listens. Default: only if it listens at
    /// such an address itself. Anyone who reaches the registry can then make it try connections inside its own network.
    pub fn private_endpoints(mut self) -> Self {
        self.private_endpoints = true;
        self
    }

    /// Serves `/metrics`, `/healthz` and `/readyz` over plain HTTP at `address`, `host:port`, to whoever asks. Default:
    /// not at all.
    pub fn admin(mut self, address: impl Into<String>) -> Self {
        self.admin.address = Some(address.into());
        self
    }

    /// Allows an [`admin`](Self::admin) address that others than this machine can reach. The pages tell them how many
    /// nodes are listed and how busy the registry is. Default: only loopback addresses.
    pub fn admin_public(mut self) -> Self {
        self.admin.public = true;
        self
    }

    /// The environment it runs in. Default: the real one.
    pub fn rt(mut self, rt: Rt) -> Self {
        self.rt = Some(rt);
        self
    }

    /// Starts the registry.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting, identity or state that cannot be used; [`Error::Locked`] when another process
    /// uses the folder; [`Error::Io`] when the folder cannot be used or the address is taken.
    pub async fn start(self) -> Result<RegistryHandle> {
        self.check()?;
        let rt = self.rt.clone().unwrap_or_default();
        let identity = self.open_identity(&rt).await?;
        let network = network_id(&self.network);
        let (state, members) = self.open_members(&rt, network).await?;
        let listener = rt.listen(&self.listen).await;
        let listener = listener.map_err(|error| Error::io(format!("cannot listen at {}", self.listen), error))?;
        let local = listener.local_addr();
        let reach = if self.private_endpoints { Reach::Private } else { Reach::of_listener(local.ip()) };
        let service = Arc::new(RegistryService {
            rt: rt.clone(),
            network,
            heartbeat: self.heartbeat,
            min_nodes: self.min_nodes,
            dial_back: DialBack::new(&rt, network, identity.transport().clone(), reach, self.dial_backs),
            members: Mutex::new(members),
            state: futures_util::lock::Mutex::new(state),
            metrics: RegistryMetrics::new(),
        });
        let address = RegistryAddr {
            id: identity.id(),
            noise_key: identity.noise_key(),
            endpoint: self.public.unwrap_or_else(|| reachable(local).to_string()),
        };
        let me = Identity { id: identity.id(), transport: identity.transport().clone(), role: Role::Registry, network };
        let mut limits = self.limits;
        // Nodes speak once per heartbeat: their connections are not idle.
        limits.idle_timeout = limits.idle_timeout.max(self.heartbeat * 3);
        let mut server = start(&rt, listener, me, limits, service.clone());
        let ticking = service.clone();
        server.adopt(rt.spawn(async move {
            loop {
                ticking.rt.sleep(ticking.heartbeat).await;
                ticking.tick().await;
            }
        }));
        tracing::info!(%address, "the registry serves");
        let watch = Arc::new(Watch { service: service.clone(), gate: server.gate() });
        let admin = Admin::start(&rt, self.admin, watch.clone()).await?;
        Ok(RegistryHandle { server, address, service, watch, admin })
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::config(what));
        if self.heartbeat < Duration::from_millis(10) || self.heartbeat > Duration::from_secs(3600) {
            return wrong("the registry's heartbeat must be 10 ms to 1 h");
        }
        if self.min_nodes == 0 || self.max_nodes < self.min_nodes {
            return wrong("the registry's min_nodes must be at least 1, and at most max_nodes");
        }
        match &self.public {
            Some(endpoint) if !is_endpoint(endpoint) => {
                Err(Error::config(format!("the registry's public address {endpoint:?} is not host:port")))
            }
            _ => Ok(()),
        }
    }

    async fn open_identity(&self, rt: &Rt) -> Result<ServerIdentity> {
        match (&self.identity, &self.dir) {
            (Some(identity), _) => Ok(identity.clone()),
            (None, None) => Ok(ServerIdentity::generate(rt)),
            (None, Some(folder)) => {
                let (path, env) = (folder.join("identity.key"), rt.clone());
                rt.blocking(move || ServerIdentity::open_or_create(path, &env)).await
            }
        }
    }

    async fn open_members(&self, rt: &Rt, network: NetworkId) -> Result<(State, Membership)> {
        let rules = Rules { heartbeat: self.heartbeat, max_nodes: self.max_nodes, quarantine: self.quarantine };
        let mut members = Membership::new(rules, rt.now());
        let Some(folder) = &self.dir else { return Ok((State::in_memory(), members)) };
        let (state, saved) = State::open(rt, folder.join("registry.db")).await?;
        for (id, until) in saved.quarantined {
            members.quarantine(id, until, rt.now());
        }
        for node in saved.nodes {
            // Of another network, or ended meanwhile: such nodes register again if they live.
            if let Some(record) = node.record.record(network) {
                members.restore(node.record, record, node.last_seen, rt.now());
            }
        }
        Ok((state, members))
    }
}

/// An address that this machine can dial.
fn reachable(local: SocketAddr) -> SocketAddr {
    let ip = match local.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, local.port())
}

/// A node, as the registry that lists it sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegisteredNode {
    /// Who.
    pub id: NodeId,
    /// Where, `host:port`.
    pub endpoints: Vec<String>,
    /// Whether the registry counts on it.
    pub state: NodeState,
    /// Bytes it offers in all.
    pub capacity: u64,
    /// Bytes that are free, as it said last.
    pub free: u64,
    /// Bytes of shards held, as it said last.
    pub used: u64,
    /// Its operator's label for what fails together; may be empty.
    pub zone: String,
    /// When it was last heard.
    pub last_seen: Timestamp,
}

/// A running registry. Dropping it stops it at once.
pub struct RegistryHandle {
    server: ServerHandle,
    address: RegistryAddr,
    service: Arc<RegistryService>,
    watch: Arc<Watch>,
    admin: Option<Admin>,
}

impl RegistryHandle {
    /// What nodes and clients are given to find this registry, and no other in its place.
    #[must_use]
    pub fn registry_address(&self) -> RegistryAddr {
        self.address.clone()
    }

    /// Where `/metrics` and the other pages of [`RegistryBuilder::admin`] are, if it was asked to serve them.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// What `/metrics` shows: everything that this registry counts, as OpenMetrics text.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.watch.metrics()
    }

    /// Every listed node, by id.
    #[must_use]
    pub fn nodes(&self) -> Vec<RegisteredNode> {
        let now = self.service.rt.now();
        let mut members = self.service.members();
        let nodes = members.each(now).map(|(member, state)| RegisteredNode {
            id: member.record.id,
            endpoints: member.record.endpoints.clone(),
            state,
            capacity: member.record.capacity,
            free: member.heartbeat.free,
            used: member.heartbeat.used,
            zone: member.record.zone.clone(),
            last_seen: member.last_seen,
        });
        nodes.collect()
    }

    /// Takes no new connection or request, and is ready when running ones have ended, at most 10 s later. The folder
    /// is then free for another registry.
    pub async fn shutdown(self) {
        let Self { server, service, .. } = self;
        server.shutdown().await;
        service.state.lock().await.close(&service.rt).await;
    }
}

impl Deref for RegistryHandle {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.server
    }
}

impl std::fmt::Debug for RegistryHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryHandle").field("address", &self.address).finish_non_exhaustive()
    }
}
