//! How the shards of a file are, as their nodes say.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::fetch::{ShardAccess, fault};
use super::{Head, ShardCheck, ShardHealth, Shared};
use crate::error::FaultKind;
use crate::id::NodeId;
use crate::manifest::Manifest;
use crate::net::{Link, LinkError};
use crate::proto::{self, NodeReply, NodeRequest, Rights, ShardStatus};

/// Asks for every shard of `manifest`, all at once.
pub(super) async fn check(client: &Arc<Shared>, manifest: &Manifest, head: &Head) -> Vec<ShardCheck> {
    check_but(client, manifest, head, &HashSet::new()).await
}

/// As [`check`], without asking nodes that are known to be `silent`.
pub(super) async fn check_but(
    client: &Arc<Shared>,
    manifest: &Manifest,
    head: &Head,
    silent: &HashSet<NodeId>,
) -> Vec<ShardCheck> {
    let checks = head.shards.iter().enumerate().map(|(index, home)| async move {
        if silent.contains(&home.node) {
            return ShardCheck { home: home.clone(), state: ShardHealth::Unreachable };
        }
        let shard = ShardAccess::new(manifest, index);
        let token = shard.token(client, Rights::Read);
        let answer = client.pool.ask(&shard.node, |_: &Link| NodeRequest::Stat(token.clone()), None).await;
        ShardCheck { home: home.clone(), state: judge(&shard, answer) }
    });
    join_all(checks).await
}

fn judge(shard: &ShardAccess, answer: Result<NodeReply, LinkError>) -> ShardHealth {
    match answer {
        Ok(NodeReply::Status(ShardStatus { root, len, health, .. })) => match health {
            proto::ShardHealth::Damaged => ShardHealth::Corrupt,
            _ if (root, len) != (shard.root, shard.len) => ShardHealth::Corrupt,
            proto::ShardHealth::Live | proto::ShardHealth::Retired => ShardHealth::Ok,
        },
        Ok(_) => ShardHealth::Unreachable,
        Err(error) => match fault(&error) {
            FaultKind::Missing => ShardHealth::Missing,
            FaultKind::Corrupt => ShardHealth::Corrupt,
            FaultKind::Peer(_) => ShardHealth::Unreachable,
        },
    }
}
