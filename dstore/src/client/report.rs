//! What an operation tells while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::events::Inbox;
use crate::id::NodeId;

/// How far a transfer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the file that were read from the source (put), or handed out (get).
    pub bytes_done: u64,
    /// Bytes of the file that are on their nodes' disks, as far as receipts say (put), or handed out (get).
    pub bytes_durable: u64,
    /// Bytes of the file; `None` while that is not known.
    pub bytes_total: Option<u64>,
    /// Time since the start.
    pub elapsed: Duration,
}

/// Something that did not stop an operation, but that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// What happened.
    pub code: WarningCode,
    /// The node it concerns.
    pub node: NodeId,
    /// The node's address, as last known.
    pub address: String,
    /// The shard's index, when one shard is meant.
    pub shard: Option<u8>,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WarningCode {
    /// A node sent bytes that do not belong to the shard.
    BlockCorrupt,
    /// A node answers, but a shard is not there.
    ShardMissing,
    /// A node cannot be used; others were used in its place.
    NodeUnreachable,
    /// A node took too long; others were used in its place.
    NodeSlow,
    /// A node could not be used for a shard, and another took it.
    NodeReplaced,
    /// A shard that is no longer used could not be retired: its lease will end it.
    NotRetired,
    /// A node did not take its copy of the record, and too few others did: without the ledger, the file may not be
    /// found again.
    CopiesMissing,
}

impl WarningCode {
    /// The stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlockCorrupt => "block_corrupt",
            Self::ShardMissing => "shard_missing",
            Self::NodeUnreachable => "node_unreachable",
            Self::NodeSlow => "node_slow",
            Self::NodeReplaced => "node_replaced",
            Self::NotRetired => "not_retired",
            Self::CopiesMissing => "copies_missing",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.code {
            WarningCode::BlockCorrupt => "sent bytes that do not belong to it",
            WarningCode::ShardMissing => "does not have it",
            WarningCode::NodeUnreachable => "cannot be used",
            WarningCode::NodeSlow => "is slow",
            WarningCode::NodeReplaced => "could not be used, and another took its part",
            WarningCode::NotRetired => "did not retire an old version: its lease will end it",
            WarningCode::CopiesMissing => "did not take a copy of the record: keep the ledger safe",
        };
        if let Some(shard) = self.shard {
            write!(f, "shard {shard}: ")?;
        }
        write!(f, "node {} at {} {what}", self.node.short(), self.address)
    }
}

type ProgressFn = dyn Fn(Progress) + Send + Sync;
type WarningFn = dyn Fn(Warning) + Send + Sync;

/// Where an operation's reports go.
#[derive(Clone, Default)]
pub(crate) struct Reporter {
    progress: Option<Arc<ProgressFn>>,
    warning: Option<Arc<WarningFn>>,
    events: Option<Arc<Inbox>>,
}

impl Reporter {
    pub(crate) fn on_progress(&mut self, call: impl Fn(Progress) + Send + Sync + 'static) {
        self.progress = Some(Arc::new(call));
    }

    pub(crate) fn on_warning(&mut self, call: impl Fn(Warning) + Send + Sync + 'static) {
        self.warning = Some(Arc::new(call));
    }

    /// Where the same reports go besides, from now on.
    pub(super) fn listen(&mut self) -> Arc<Inbox> {
        self.events.insert(Arc::default()).clone()
    }

    pub(crate) fn progress(&self, progress: Progress) {
        if let Some(events) = &self.events {
            events.progress(progress);
        }
        if let Some(call) = &self.progress {
            call(progress);
        }
    }

    pub(crate) fn warn(&self, warning: Warning) {
        tracing::warn!(code = warning.code.as_str(), node = %warning.node, shard = warning.shard, "{warning}");
        if let Some(events) = &self.events {
            events.warn(warning.clone());
        }
        if let Some(call) = &self.warning {
            call(warning);
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_node_need_not_have_refused() {
        let (code, node, address) = (WarningCode::NodeReplaced, NodeId::new([1; 20]), "a:1".to_owned());
        let text = Warning { code, node, address, shard: Some(2) }.to_string();
        assert!(text.ends_with("a:1 could not be used, and another took its part"), "{text}");
    }
}
