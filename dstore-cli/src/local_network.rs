//! A registry and some storage nodes in this process, each with its own folder and port.

use std::path::Path;

use dstore::{NodeHandle, Registry, RegistryHandle, StorageNode};

use crate::failure::Result;

/// What a node offers, bytes: the disk is the limit.
const CAPACITY: u64 = 1 << 40;

/// A running registry and its nodes.
#[derive(Debug)]
pub(crate) struct LocalNetwork {
    /// The registry.
    pub(crate) registry: RegistryHandle,
    /// The nodes; `None` once stopped.
    pub(crate) nodes: Vec<Option<NodeHandle>>,
}

/// Where everybody listens, `host:port`; port 0 chooses a free one.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The registry.
    pub(crate) registry: String,
    /// The nodes, as many as there are to be.
    pub(crate) nodes: Vec<String>,
}

impl Places {
    /// Free ports on this machine for a registry and so many nodes.
    pub(crate) fn free(nodes: usize) -> Self {
        Self { registry: "127.0.0.1:0".to_owned(), nodes: vec!["127.0.0.1:0".to_owned(); nodes] }
    }
}

impl LocalNetwork {
    /// Starts a registry in `DIR/registry` and nodes in `DIR/node-1` and so on; ready when all are listed.
    pub(crate) async fn start(dir: &Path, places: &Places, network: &str) -> Result<Self> {
        let registry = Registry::builder().listen(places.registry.as_str()).dir(dir.join("registry")).network(network);
        let registry = registry.start().await?;
        let mut nodes = Vec::new();
        for (place, number) in places.nodes.iter().zip(1..) {
            let node = StorageNode::builder()
                .listen(place.as_str())
                .dir(dir.join(format!("node-{number}")))
                .network(network)
                .capacity(CAPACITY)
                .free_floor(0)
                .registry(registry.registry_address());
            nodes.push(Some(node.start().await?));
        }
        for node in nodes.iter().flatten() {
            node.registered().await;
        }
        Ok(Self { registry, nodes })
    }

    /// Ends everything, running requests first.
    pub(crate) async fn shutdown(self) {
        for node in self.nodes.into_iter().flatten() {
            node.shutdown().await;
        }
        self.registry.shutdown().await;
    }
}
