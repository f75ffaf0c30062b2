//! What changes a file without its content, and what happens to shards that are no longer used.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::fetch::{ShardAccess, whom};
use super::note::{Note, Notes, Offered};
use super::settle;
use super::slot::{Refused, Slot, ledger_failed};
use super::{Head, Reporter, Shared, Warning, WarningCode};
use crate::error::{Error, Result};
use crate::id::NodeId;
use crate::keys::ContentKey;
use crate::ledger::{EventKind, LedgerError, Written};
use crate::manifest::{Manifest, NodePlace};
use crate::net::Link;
use crate::path::FilePath;
use crate::proto::{CapabilityKey, Deletion, MAX_LEASE, NodeRequest, Rights, ShardName, Signed};
use crate::signature::SecretKey;

/// Removes the file at `path`; answers what it was.
pub(super) async fn remove(client: &Arc<Shared>, path: FilePath) -> Result<Head> {
    let slot = Slot::read(client, path).await?;
    let expected = slot.version();
    if !slot.is_live() {
        return Err(Error::NotFound { path: slot.path.to_string() });
    }
    // A record that does not open is no reason to keep it.
    let manifest = slot.manifest(client);
    let mut notes = Notes::begin(client, &slot.path).await?;
    if let Some(notes) = &mut notes {
        notes.add(&settle::writing(client, &slot, expected, None, manifest.as_ref().ok().cloned())).await?;
    }
    let written = client.ledger.remove(client.owner.id(), slot.salt, expected).await;
    let settled = slot.settle(client, expected, written, |entry| entry.kind == EventKind::Removed).await;
    let written = match settled {
        Ok(written) => written,
        Err(refused) => return Err(give_up(notes, refused).await),
    };
    if let Ok(manifest) = &manifest {
        let copy = slot.copy_of(client, written.version, EventKind::Removed, Vec::new());
        client.spread(vec![copy], manifest, None, &Reporter::default()).await;
    }
    let retired = manifest.as_ref().map(Abandoned::all_of).unwrap_or_default();
    client.retire(retired, Reporter::default(), notes);
    let manifest = manifest?;
    Ok(Head::new(slot.file_id, expected, &manifest))
}

/// Moves a file to a path where none is.
pub(super) async fn rename(client: &Arc<Shared>, from: FilePath, to: FilePath) -> Result<Head> {
    if from == to {
        return Err(ledger_failed(LedgerError::SamePath, Some(&from)));
    }
    let old = Slot::read(client, from).await?;
    let mut manifest = old.manifest(client)?;
    let new = Slot::read(client, to).await?;
    if new.is_live() {
        return Err(Error::AlreadyExists { path: new.path.to_string(), version: new.version() });
    }
    manifest.path = new.path.clone();
    let record = new.seal(client, new.version(), &manifest)?;
    let (expected_from, expected_to) = (old.version(), new.version());
    let owner = client.owner.id();
    let written = client.ledger.rename(owner, old.salt, expected_from, new.salt, expected_to, record.clone()).await;
    let settled = new.settle(client, expected_to, written, |entry| entry.record == record).await;
    let Written { version, .. } = match settled {
        Ok(written) => written,
        // The target is as it was, so it was the source that another writer changed.
        Err(Refused::Unknown(_)) => {
            let now = Slot::read(client, old.path.clone()).await?;
            if now.version() == expected_from {
                return Err(Error::UnknownOutcome { path: new.path.to_string(), source: None });
            }
            let (path, actual) = (now.path.to_string(), now.version());
            return Err(Error::VersionConflict { path, expected: expected_from, actual });
        }
        Err(refused) => return Err(error_of(refused)),
    };
    // The new path first: between the two the file is found twice, and never not at all.
    let copies = vec![
        new.copy_of(client, version, EventKind::RenamedHere, record),
        old.copy_of(client, expected_from.saturating_add(1), EventKind::RenamedAway, Vec::new()),
    ];
    client.spread(copies, &manifest, None, &Reporter::default()).await;
    Ok(Head::new(new.file_id, version, &manifest))
}

/// Forgets a write that will not happen; the log of one whose fate is not known stays.
async fn give_up(notes: Option<Notes>, refused: Refused) -> Error {
    if let (Refused::Never(_), Some(notes)) = (&refused, notes) {
        notes.remove().await;
    }
    error_of(refused)
}

fn error_of(refused: Refused) -> Error {
    match refused {
        Refused::Never(error) | Refused::Unknown(error) => error,
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
