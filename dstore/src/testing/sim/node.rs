//! The roles that serve, as tasks of their hosts: killing the host ends the role with everything it does.

use super::disk::{Disk, Platter};
use super::host::SimEnv;
use crate::address::RegistryAddr;
use crate::identity::ServerIdentity;
use crate::node::StorageNode;
use crate::registry::Registry;
use crate::rt::{Env, Rt};

const REGISTRY_PORT: u16 = 4100;
const NODE_PORT: u16 = 4200;

/// A registry, and what is left of it when it is killed.
pub(super) struct RegistryMember {
    pub(super) host: usize,
    identity: ServerIdentity,
    pub(super) address: RegistryAddr,
}

impl RegistryMember {
    pub(super) fn new(env: &SimEnv) -> Self {
        let identity = ServerIdentity::generate(&Rt::new(env.clone()));
        let endpoint = format!("{}:{REGISTRY_PORT}", env.ip());
        let address = RegistryAddr { id: identity.id(), noise_key: identity.noise_key(), endpoint };
        Self { host: env.host, identity, address }
    }

    pub(super) fn start(&self, env: &SimEnv) {
        let builder = Registry::builder().rt(Rt::new(env.clone())).identity(self.identity.clone());
        let builder = builder.listen(self.address.endpoint.clone());
        env.spawn(Box::pin(async move {
            let _registry = builder.start().await.expect("a registry in memory starts");
            std::future::pending::<()>().await;
        }));
    }
}

/// A node, and what is left of it when it is killed.
pub(super) struct NodeMember {
    pub(super) host: usize,
    pub(super) identity: ServerIdentity,
    pub(super) platter: Platter,
    /// Closes when the node of this life is registered.
    pub(super) registered: async_channel::Receiver<()>,
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
            .listen(format!("{}:{NODE_PORT}", env.ip()))
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
