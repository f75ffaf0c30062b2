//! The roles that serve, as tasks of their hosts: killing the host ends the role with everything it does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::disk::{Disk, Platter};
use super::host::{SimEnv, ip_of};
use crate::address::RegistryAddr;
use crate::identity::ServerIdentity;
use crate::node::StorageNode;
use crate::proto::NodeState;
use crate::registry::{RegisteredNode, Registry, RegistryHandle};
use crate::rt::{Env, Rt};

const REGISTRY_PORT: u16 = 4100;
const NODE_PORT: u16 = 4200;

/// A registry, and what is left of it when it is killed.
pub(super) struct RegistryMember {
    pub(super) host: usize,
    identity: ServerIdentity,
    pub(super) address: RegistryAddr,
    /// That of its present life.
    running: Arc<Mutex<Weak<RegistryHandle>>>,
}

impl RegistryMember {
    pub(super) fn new(env: &SimEnv) -> Self {
        let identity = ServerIdentity::generate(&Rt::new(env.clone()));
        let endpoint = format!("{}:{REGISTRY_PORT}", env.ip());
        let address = RegistryAddr { id: identity.id(), noise_key: identity.noise_key(), endpoint };
        Self { host: env.host, identity, address, running: Arc::default() }
    }

    pub(super) fn start(&self, env: &SimEnv) {
        let builder = Registry::builder().rt(Rt::new(env.clone())).identity(self.identity.clone());
        let builder = builder.listen(self.address.endpoint.clone());
        let running = self.running.clone();
        env.spawn(Box::pin(async move {
            let registry = Arc::new(builder.start().await.expect("a registry in memory starts"));
            *lock(&running) = Arc::downgrade(&registry);
            std::future::pending::<()>().await;
        }));
    }

    /// Whether it does not run, or counts on a node at this address.
    pub(super) fn knows(&self, address: &str) -> bool {
        let running = lock(&self.running).upgrade();
        let counts = |node: &RegisteredNode| {
            node.state == NodeState::Active && node.endpoints.first().is_some_and(|endpoint| endpoint == address)
        };
        running.is_none_or(|registry| registry.nodes().iter().any(counts))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node, and what is left of it when it is killed.
pub(super) struct NodeMember {
    pub(super) host: usize,
    pub(super) identity: ServerIdentity,
    pub(super) platter: Platter,
    /// Closes when the node of this life is registered.
    pub(super) registered: async_channel::Receiver<()>,
}

/// Where a node at this host listens.
pub(super) fn address(host: usize) -> String {
    format!("{}:{NODE_PORT}", ip_of(host))
}

impl NodeMember {
    pub(super) fn new(env: &SimEnv, capacity: u64) -> Self {
        let identity = ServerIdentity::generate(&Rt::new(env.clone()));
        let (_, registered) = async_channel::bounded(1);
        Self { host: env.host, identity, platter: Platter::new(capacity), registered }
    }

    pub(super) fn start(&mut self, env: &SimEnv, registries: &[RegistryMember]) {
        let disk = Disk { platter: self.platter.clone(), env: env.clone() };
        let mut builder = StorageNode::builder()
            .rt(Rt::new(env.clone()))
            .listen(address(env.host))
            .identity(self.identity.clone())
            .store(disk);
        for registry in registries {
            builder = builder.registry(registry.address.clone());
        }
        let (waiting, registered) = async_channel::bounded::<()>(1);
        self.registered = registered;
        env.spawn(Box::pin(async move {
            let node = builder.start().await.expect("a node in memory starts");
            node.registered().await;
            drop(waiting);
            std::future::pending::<()>().await;
        }));
    }
}
