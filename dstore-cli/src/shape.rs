//! The JSON that scripts read: fields may be added, and none changes its meaning.

use dstore::client::NodeStatus;
use dstore::{Committed, Head, Progress, ShardCheck, Warning};
use serde::Serialize;

use crate::failure::Failure;

/// The last line of standard error of a command that failed.
#[derive(Debug, Serialize)]
pub(crate) struct ExitError<'a> {
    r#type: &'static str,
    exit: u8,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    retryable: bool,
}

impl<'a> ExitError<'a> {
    /// What is said of a failure.
    pub(crate) fn new(failure: &'a Failure) -> Self {
        Self {
            r#type: "exit_error",
            exit: failure.exit,
            code: failure.code,
            message: &failure.message,
            hint: (!failure.hints.is_empty()).then(|| failure.hints.join("; ")),
            retryable: failure.retryable,
        }
    }
}

/// `dstore.ls/1`
#[derive(Debug, Serialize)]
pub(crate) struct List {
    schema: &'static str,
    items: Vec<Item>,
}

#[derive(Debug, Serialize)]
struct Item {
    path: String,
    size: u64,
    version: u32,
    created: String,
    scheme: String,
}

impl List {
    /// Files in the order given.
    pub(crate) fn new(files: &[Head]) -> Self {
        let item = |head: &Head| Item {
            path: head.path.to_string(),
            size: head.size,
            version: head.version,
            created: head.created.to_string(),
            scheme: head.scheme.to_string(),
        };
        Self { schema: "dstore.ls/1", items: files.iter().map(item).collect() }
    }
}

/// `dstore.stat/1`
#[derive(Debug, Serialize)]
pub(crate) struct Stat {
    schema: &'static str,
    path: String,
    file_id: String,
    size: u64,
    padded: u64,
    version: u32,
    created: String,
    scheme: String,
    content_hash: String,
    shards: Vec<Shard>,
    tolerates_nodes: usize,
}

#[derive(Debug, Serialize)]
struct Shard {
    index: u8,
    node: String,
    address: String,
    state: &'static str,
    bytes: u64,
}

impl Stat {
    /// A file and how its shards are.
    pub(crate) fn new(head: &Head, shards: &[ShardCheck]) -> Self {
        let shard = |shard: &ShardCheck| Shard {
            index: shard.home.index,
            node: shard.home.node.to_string(),
            address: shard.home.address.clone(),
            state: shard.state.as_str(),
            bytes: shard.home.bytes,
        };
        Self {
            schema: "dstore.stat/1",
            path: head.path.to_string(),
            file_id: head.file_id.to_string(),
            size: head.size,
            padded: head.padded,
            version: head.version,
            created: head.created.to_string(),
            scheme: head.scheme.to_string(),
            content_hash: hex::encode(head.content_hash),
            shards: shards.iter().map(shard).collect(),
            tolerates_nodes: head.tolerates_nodes,
        }
    }
}

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
#[derive(Debug, Serialize)]
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
    /// `local` or `memory`.
    pub(crate) kind: &'static str,
    /// Its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
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
    /// Of `dev`: the client's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<String>,
}

impl Ready {
    /// A role that serves at `address`.
    pub(crate) fn new(role: &'static str, address: String, id: Option<String>) -> Self {
        Self { schema: "dstore.ready/1", role, address, id, pid: std::process::id(), dir: None }
    }
}

/// `{"type":"status"}`
#[derive(Debug, Serialize)]
pub(crate) struct StatusEvent<'a> {
    r#type: &'static str,
    op: &'a str,
    path: &'a str,
    bytes_done: u64,
    bytes_durable: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_total: Option<u64>,
    seconds: f64,
}

impl<'a> StatusEvent<'a> {
    /// How far `op` on `path` is.
    pub(crate) fn new(op: &'a str, path: &'a str, progress: Progress) -> Self {
        Self {
            r#type: "status",
            op,
            path,
            bytes_done: progress.bytes_done,
            bytes_durable: progress.bytes_durable,
            bytes_total: progress.bytes_total,
            seconds: progress.elapsed.as_secs_f64(),
        }
    }
}

/// `{"type":"warning"}`
#[derive(Debug, Serialize)]
pub(crate) struct WarningEvent {
    r#type: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u8>,
    message: String,
}

impl WarningEvent {
    /// What the library warned of.
    pub(crate) fn new(path: &str, warning: &Warning) -> Self {
        Self {
            r#type: "warning",
            code: warning.code.as_str(),
            path: Some(path.to_owned()),
            node: Some(warning.node.to_string()),
            shard: warning.shard,
            message: warning.to_string(),
        }
    }

    /// A local file that was left out.
    pub(crate) fn skipped(path: &str, message: &str) -> Self {
        Self { path: Some(path.to_owned()), ..Self::general("skipped", message) }
    }

    /// A warning that concerns no file.
    pub(crate) fn general(code: &'static str, message: &str) -> Self {
        Self { r#type: "warning", code, path: None, node: None, shard: None, message: message.to_owned() }
    }
}

/// `{"type":"error"}`: one of several items failed.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorEvent<'a> {
    r#type: &'static str,
    path: &'a str,
    code: &'a str,
    message: &'a str,
    retryable: bool,
}

impl<'a> ErrorEvent<'a> {
    /// Why the item at `path` failed.
    pub(crate) fn new(path: &'a str, failure: &'a Failure) -> Self {
        let Failure { code, message, retryable, .. } = failure;
        Self { r#type: "error", path, code, message, retryable: *retryable }
    }
}

/// `{"type":"result"}` with `dstore.put/1` or `dstore.get/1`.
#[derive(Debug, Serialize)]
pub(crate) struct ResultEvent {
    r#type: &'static str,
    schema: &'static str,
    path: String,
    file_id: String,
    version: u32,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<u64>,
    seconds: f64,
    nodes: Vec<NodeName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst: Option<String>,
}

/// A node and where it is.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct NodeName {
    id: String,
    address: String,
}

/// The nodes of a file, each once.
fn node_names(head: &Head) -> Vec<NodeName> {
    let mut nodes = Vec::new();
    for shard in &head.shards {
        let node = NodeName { id: shard.node.to_string(), address: shard.address.clone() };
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    nodes
}

impl ResultEvent {
    /// A put that is durable.
    pub(crate) fn put(committed: &Committed, seconds: f64) -> Self {
        Self { stored: Some(committed.stored), ..Self::new("dstore.put/1", &committed.head, seconds) }
    }

    /// A get that is whole; `dst` is the local file, if there is one.
    pub(crate) fn get(head: &Head, seconds: f64, dst: Option<String>) -> Self {
        Self { dst, ..Self::new("dstore.get/1", head, seconds) }
    }

    fn new(schema: &'static str, head: &Head, seconds: f64) -> Self {
        Self {
            r#type: "result",
            schema,
            path: head.path.to_string(),
            file_id: head.file_id.to_string(),
            version: head.version,
            size: head.size,
            stored: None,
            seconds,
            nodes: node_names(head),
            dst: None,
        }
    }
}

/// `dstore.rm/1`: the files that are gone. `dstore.mv/1`: the file at its new path.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    schema: &'static str,
    items: Vec<ChangedItem>,
}

#[derive(Debug, Serialize)]
struct ChangedItem {
    path: String,
    file_id: String,
    version: u32,
}

impl Changed {
    /// Files, under the name of a shape.
    pub(crate) fn new(schema: &'static str, files: &[Head]) -> Self {
        let item = |head: &Head| ChangedItem {
            path: head.path.to_string(),
            file_id: head.file_id.to_string(),
            version: head.version,
        };
        Self { schema, items: files.iter().map(item).collect() }
    }
}

/// `dstore.init/1`
#[derive(Debug, Serialize)]
pub(crate) struct Init {
    /// Its name.
    pub(crate) schema: &'static str,
    /// The client's folder.
    pub(crate) dir: String,
    /// Whose files it will keep.
    pub(crate) owner: String,
    /// The registries it will ask.
    pub(crate) registry: Vec<String>,
}

/// `dstore.config/1`
#[derive(Debug, Serialize)]
pub(crate) struct ConfigDocument {
    /// Its name.
    pub(crate) schema: &'static str,
    /// Every setting that has a value.
    pub(crate) settings: Vec<Setting>,
}

/// A setting; of a secret only whether it is set.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    /// Its name, as in the config file.
    pub(crate) name: &'static str,
    /// Its value.
    pub(crate) value: String,
    /// Where it came from, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<String>,
}

/// `dstore.demo/1`
#[derive(Debug, Serialize)]
pub(crate) struct Demo {
    /// Its name.
    pub(crate) schema: &'static str,
    /// The file's name.
    pub(crate) file: String,
    /// Its length.
    pub(crate) size: u64,
    /// Bytes on all nodes together.
    pub(crate) stored: u64,
    /// Where each shard went.
    pub(crate) shards: Vec<DemoShard>,
    /// The node that was stopped.
    pub(crate) stopped: String,
    /// How long the put took.
    pub(crate) put_seconds: f64,
    /// How long the get took.
    pub(crate) get_seconds: f64,
    /// Whether what came back is what went in.
    pub(crate) identical: bool,
}

/// A shard in `dstore.demo/1`.
#[derive(Debug, Serialize)]
pub(crate) struct DemoShard {
    /// Its index.
    pub(crate) index: u8,
    /// Its node.
    pub(crate) node: String,
    /// The node's address.
    pub(crate) address: String,
    /// Its length.
    pub(crate) bytes: u64,
}
