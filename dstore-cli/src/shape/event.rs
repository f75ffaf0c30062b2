//! What a transfer tells line by line, and how any command fails.

use dstore::{Committed, Head, Progress, Warning};
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

/// `{"type":"result"}` with `dstore.put/1`, `dstore.cp/1` or `dstore.get/1`.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<u64>,
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
        let resumed = Some(committed.resumed).filter(|resumed| *resumed > 0);
        Self { stored: Some(committed.stored), resumed, ..Self::new("dstore.put/1", &committed.head, seconds) }
    }

    /// A copy that is durable.
    pub(crate) fn cp(committed: &Committed, seconds: f64) -> Self {
        Self { schema: "dstore.cp/1", ..Self::put(committed, seconds) }
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
            resumed: None,
            seconds,
            nodes: node_names(head),
            dst: None,
        }
    }
}
