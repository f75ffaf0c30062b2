//! A registry and some storage nodes in this process, each with its own folder and port.

use std::net::SocketAddr;
use std::path::Path;

use dstore::{NodeHandle, Registry, RegistryHandle, StorageNode};

use crate::failure::Result;

/// A running registry and its nodes.
#[derive(Debug)]
pub struct LocalNetwork {
    /// The registry.
    pub registry: RegistryHandle,
    /// The nodes; `None` once stopped.
    pub nodes: Vec<Option<NodeHandle>>,
}

/// Where everybody listens, `host:port`; port 0 chooses a free one.
#[derive(Debug, Clone)]
pub struct Places {
    /// The registry.
    pub registry: String,
    /// The nodes, as many as there are to be.
    pub nodes: Vec<String>,
}

impl Places {
    /// Free ports on this machine for a registry and so many nodes.
    pub fn free(nodes: usize) -> Self {
        Self { registry: "127.0.0.1:0".to_owned(), nodes: vec!["127.0.0.1:0".to_owned(); nodes] }
    }
}

impl LocalNetwork {
    /// Starts a registry in `DIR/registry` and nodes in `DIR/node-1` and so on; ready when all are listed.
    pub async fn start(dir: &Path, places: &Places, network: &str) -> Result<Self> {
        let registry = Registry::builder().listen(places.registry.as_str()).dir(dir.join("registry")).network(network);
        let registry = registry.start().await?;
        let mut nodes = Vec::new();
        for (place, number) in places.nodes.iter().zip(1..) {
            let node = StorageNode::builder()
                .listen(place.as_str())
                .dir(dir.join(format!("node-{number}")))
                .network(network)
                .free_floor(0)
                .registry(registry.registry_address());
            nodes.push(Some(node.start().await?));
        }
        for node in nodes.iter().flatten() {
            node.registered().await;
        }
        Ok(Self { registry, nodes })
    }

    /// Where the nodes that run listen.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.nodes.iter().flatten().map(NodeHandle::address)
    }

    /// Ends everything, running requests first.
    pub async fn shutdown(self) {
        for node in self.nodes.into_iter().flatten() {
            node.shutdown().await;
        }
        self.registry.shutdown().await;
    }
}
