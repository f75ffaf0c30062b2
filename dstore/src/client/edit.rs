//! What changes a file without its content, and what happens to shards that are no longer used.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::fetch::{ShardAccess, whom};
use super::note::{Note, Notes, Offered};
use super::slot::Slot;
use super::write::{Refused, Write};
use super::{Head, Reporter, Shared, Warning, WarningCode};
use crate::error::{Error, Result};
use crate::id::NodeId;
use crate::keys::ContentKey;
use crate::ledger::{Coming, LedgerError, Written};
use crate::manifest::{Manifest, NodePlace};
use crate::net::Link;
use crate::path::FilePath;
use crate::proto::{CapabilityKey, Deletion, MAX_LEASE, NodeRequest, Rights, ShardName, Signed};
use crate::signature::SecretKey;

/// Removes the file at `path`; answers what it was.
pub(super) async fn remove(client: &Arc<Shared>, path: FilePath) -> Result<Head> {
    let slot = client.slot_to_write(path).await?;
    let expected = slot.version();
    if !slot.is_live() {
        return Err(Error::NotFound { path: slot.path.to_string() });
    }
    // A record that does not open is no reason to keep it.
    let manifest = slot.manifest(client);
    let write = Write::new(client, &slot, expected, None, manifest.as_ref().ok().cloned());
    make(client, &write, manifest.as_ref().ok()).await?;
    Ok(Head::new(slot.file_id, expected, &manifest?))
}

/// Moves a file to a path where none is.
pub(super) async fn rename(client: &Arc<Shared>, from: FilePath, to: FilePath) -> Result<Head> {
    if from == to {
        return Err(LedgerError::SamePath.into());
    }
    let mut old = Slot::read(client, from).await?;
    let mut new = Slot::read(client, to).await?;
    if client.uphold(&[&old, &new]).await? {
        old = Slot::read(client, old.path).await?;
        new = Slot::read(client, new.path).await?;
    }
    let mut manifest = old.manifest(client)?;
    if new.is_live() {
        return Err(Error::AlreadyExists { path: new.path.to_string(), version: new.version() });
    }
    manifest.path = new.path.clone();
    let record = new.seal(client, new.version(), &manifest)?;
    let write = Write::rename(client, &old, &new, record);
    let Written { version, .. } = make(client, &write, Some(&manifest)).await?;
    Ok(Head::new(new.file_id, version, &manifest))
}

/// Makes a write that changes no content, and does what follows from it; `manifest` says at which nodes its copies are.
async fn make(client: &Arc<Shared>, write: &Write, manifest: Option<&Manifest>) -> Result<Written> {
    let mut notes = Notes::begin(client, &write.writing.path).await?;
    if let Some(notes) = &mut notes {
        notes.add(&write.note()).await?;
    }
    match write.make(client, Coming::default()).await {
        Ok(written) => {
            if let Some(manifest) = manifest {
                client.spread(write.copies(client), manifest, None, &Reporter::default()).await;
            }
            client.acknowledge(write, notes, Reporter::default()).await;
            Ok(written)
        }
        Err(refused) => {
            // The log of one whose fate is not known stays.
            if let (Refused::Never(_) | Refused::Lost(_), Some(notes)) = (&refused, notes) {
                notes.remove().await;
            }
            Err(refused.error())
        }
    }
}

/// A shard that no record names, and the authority to retire it.
pub(super) struct Abandoned {
    node: NodePlace,
    name: ShardName,
    capability: SecretKey,
}

impl Abandoned {
    /// A shard of the content with this key.
    pub(super) fn new(key: &ContentKey, node: NodePlace, name: ShardName) -> Self {
        let capability = key.capability(node.id);
        Self { node, name, capability }
    }

    /// A shard that was offered to a node.
    pub(super) fn offered(key: &ContentKey, offered: &Offered) -> Self {
        let capability = key.capability(offered.node.id);
        let name = ShardName {
            capability: CapabilityKey::new(capability.public_key()),
            index: offered.index,
            generation: offered.generation,
        };
        Self { node: offered.node.clone(), name, capability }
    }

    /// All shards of a content.
    pub(super) fn all_of(manifest: &Manifest) -> Vec<Self> {
        let shards = (0..manifest.shards.len()).map(|index| ShardAccess::new(manifest, index));
        shards.map(|shard| Self::new(&manifest.content_key, shard.node, shard.name)).collect()
    }
}

impl Shared {
    /// Retires the shards of a content that is of no use, in the background, and then removes its log.
    pub(super) fn abandon(self: &Arc<Self>, shards: Vec<Abandoned>, mut notes: Notes) {
        self.background(async move |client: Arc<Self>| {
            // From now on no put may go on with it.
            match notes.add(&Note::GivenUp).await {
                Ok(()) => client.retire(shards, Reporter::default(), Some(notes)),
                Err(error) => tracing::warn!(%error, "shards that are of no use stay until a later start"),
            }
        });
    }

    /// Retires shards that no record names any more, in the background, and then removes the log that knows of them.
    /// What cannot be reached now is left to a later start, or, without a journal, to its lease.
    pub(super) fn retire(self: &Arc<Self>, shards: Vec<Abandoned>, reporter: Reporter, notes: Option<Notes>) {
        if shards.is_empty() && notes.is_none() {
            return;
        }
        self.background(async move |client: Arc<Self>| {
            let retire = |shard: Abandoned| {
                let client = client.clone();
                async move {
                    let deletion = Deletion { node: shard.node.id, name: shard.name };
                    let network = client.settings.network;
                    let make = |link: &Link| {
                        NodeRequest::Delete(Signed::new(&deletion, &shard.capability, network, &link.session))
                    };
                    let retired = client.pool.ask(&shard.node, make, None).await;
                    retired.map(drop).map_err(|_| shard)
                }
            };
            let failed = each_node(shards, |shard| shard.node.id, retire).await;
            match notes {
                Some(notes) if failed.is_empty() => notes.remove().await,
                Some(mut notes) => drop(notes.add(&Note::Tried(client.rt.now())).await),
                None => {}
            }
            for Abandoned { node, .. } in failed {
                reporter.warn(Warning {
                    code: WarningCode::NotRetired,
                    node: node.id,
                    address: node.hint,
                    shard: None,
                });
            }
        });
    }

    /// Asks every node of a content to keep its shards for another lease, in the background.
    pub(super) fn renew(self: &Arc<Self>, manifest: Manifest) {
        self.background(async move |client: Arc<Self>| {
            let renew = |shard: ShardAccess| {
                let client = client.clone();
                async move {
                    let token = shard.token(&client, Rights::Renew);
                    let lease = u64::try_from(MAX_LEASE.as_millis()).unwrap_or(u64::MAX);
                    let make = |_: &Link| NodeRequest::Renew { token: token.clone(), lease };
                    client.pool.ask(&shard.node, make, None).await.map(drop).map_err(|_| shard)
                }
            };
            let shards = (0..manifest.shards.len()).map(|index| ShardAccess::new(&manifest, index)).collect();
            for (node, _, shard) in each_node(shards, |shard| shard.node.id, renew).await.iter().map(whom) {
                tracing::warn!(%node, shard, "a lease could not be renewed");
            }
        });
    }
}

/// Runs `act` for every shard, those of one node one after another; answers one failed shard for each node that failed.
async fn each_node<S, F>(shards: Vec<S>, node: impl Fn(&S) -> NodeId, act: impl Fn(S) -> F) -> Vec<S>
where
    F: Future<Output = Result<(), S>>,
{
    // In order, so that nothing but the environment decides what happens when.
    let mut by_node: BTreeMap<NodeId, Vec<S>> = BTreeMap::new();
    for shard in shards {
        by_node.entry(node(&shard)).or_default().push(shard);
    }
    let act = &act;
    let nodes = by_node.into_values().map(|shards| async move {
        for shard in shards {
            act(shard).await?;
        }
        Ok(())
    });
    join_all(nodes).await.into_iter().filter_map(Result::err).collect()
}
