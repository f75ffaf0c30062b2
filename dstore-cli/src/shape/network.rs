//! Nodes and registries, as `status`, `node` and `registry` show them.

use std::net::SocketAddr;

use dstore::client::NodeStatus;
use serde::Serialize;

/// A node in `dstore.nodes/1` and `dstore.status/1`.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    id: String,
    address: String,
    state: &'static str,
    capacity: u64,
    free: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    zone: String,
    last_seen: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    info: Option<Info>,
}

/// What a node says of itself, in the list of `node status`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Info {
    /// Whether it answered.
    pub(crate) reachable: bool,
    /// Bytes of shards it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<u64>,
    /// Shards it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shards: Option<u64>,
    /// The version of dstore it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Shards of those it holds that were found damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damaged: Option<u64>,
    /// Whether it takes no new shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) draining: Option<bool>,
}

impl Node {
    /// A node as registries list it, and what it says of itself, if it was asked.
    pub(crate) fn new(node: &NodeStatus, info: Option<Info>) -> Self {
        Self {
            id: node.id.to_string(),
            address: node.address.clone(),
            state: node.state.as_str(),
            capacity: node.capacity,
            free: node.free,
            zone: node.zone.clone(),
            last_seen: node.last_seen.to_string(),
            info,
        }
    }
}

/// `dstore.nodes/1`
#[derive(Debug, Serialize)]
pub(crate) struct Nodes {
    /// Its name.
    pub(crate) schema: &'static str,
    /// Every node that a registry lists.
    pub(crate) nodes: Vec<Node>,
    /// How many active nodes an upload needs.
    pub(crate) required: usize,
    /// How many there are.
    pub(crate) active: usize,
    /// What is wrong and what can be done, a sentence each.
    pub(crate) problems: Vec<String>,
}

/// `dstore.status/1`
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// The nodes, as in `dstore.nodes/1`.
    #[serde(flatten)]
    pub(crate) nodes: Nodes,
    /// Every registry that is configured.
    pub(crate) registry: Vec<RegistryState>,
    /// The ledger.
    pub(crate) ledger: LedgerState,
    /// The version of this program.
    pub(crate) version: &'static str,
}

/// A registry, as seen from here.
#[derive(Debug, Serialize)]
pub(crate) struct RegistryState {
    /// How it is named in the configuration.
    pub(crate) address: String,
    /// Whether it answered.
    pub(crate) reachable: bool,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

/// The ledger in use.
#[derive(Debug, Serialize)]
pub(crate) struct LedgerState {
    /// `local`, `memory` or `ethereum`.
    pub(crate) kind: &'static str,
    /// Its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Its chain: a name, or an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chain: Option<String>,
    /// Its contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) contract: Option<String>,
}

/// `dstore.ready/1`
#[derive(Debug, Serialize)]
pub(crate) struct Ready {
    /// Its name.
    pub(crate) schema: &'static str,
    /// `registry`, `node` or `dev`.
    pub(crate) role: &'static str,
    /// What others use to reach it.
    pub(crate) address: String,
    /// Its identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// This process.
    pub(crate) pid: u32,
    /// Where `/metrics` and the other pages for operators are, if they are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<String>,
    /// Of `dev`: the client's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<String>,
}

impl Ready {
    /// A role that serves at `address`.
    pub(crate) fn new(role: &'static str, address: String, id: Option<String>) -> Self {
        Self { schema: "dstore.ready/1", role, address, id, pid: std::process::id(), admin: None, dir: None }
    }

    /// The same, with the address of the operator's pages.
    pub(crate) fn with_admin(self, address: Option<SocketAddr>) -> Self {
        Self { admin: address.map(|address| address.to_string()), ..self }
    }
}
