//! Files, as `ls`, `stat`, `rm` and `mv` show them.

use dstore::{Head, ShardCheck};
use serde::Serialize;

use crate::verdict::Health;

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
    verdict: &'static str,
    spare_nodes: usize,
}

/// A shard in `dstore.stat/1` and `dstore.check/1`.
#[derive(Debug, Serialize)]
pub(super) struct Shard {
    index: u8,
    node: String,
    address: String,
    state: &'static str,
    bytes: u64,
}

impl Shard {
    /// A shard and how it is.
    pub(super) fn new(shard: &ShardCheck) -> Self {
        Self {
            index: shard.home.index,
            node: shard.home.node.to_string(),
            address: shard.home.address.clone(),
            state: shard.state.as_str(),
            bytes: shard.home.bytes,
        }
    }
}

impl Stat {
    /// A file and how its shards are.
    pub(crate) fn new(head: &Head, shards: &[ShardCheck]) -> Self {
        let health = Health::new(head, shards);
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
            shards: shards.iter().map(Shard::new).collect(),
            tolerates_nodes: head.tolerates_nodes,
            verdict: health.verdict.as_str(),
            spare_nodes: health.spare,
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
