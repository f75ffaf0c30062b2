//! Copies of records at the nodes of a file (docs/format.md section 13): written after the ledger, read when it is lost.
//!
//! Invariant: nothing is copied that the ledger has not taken.

use std::sync::Arc;

use futures_util::future::{join_all, ready};
use futures_util::stream::{self, StreamExt};

use super::report::{Reporter, Warning, WarningCode};
use super::slot::Slot;
use super::{Client, Shared};
use crate::copy::{RecordCopy, open_copy, seal_copy};
use crate::error::{ChainProblem, Error, Result};
use crate::manifest::{Manifest, NodePlace, RecordPlace, open_record};
use crate::net::{Link, LinkError};
use crate::path::FilePath;
use crate::proto::{CapabilityKey, CopyOffer, CopyQuery, MAX_LEASE, NodeReply, NodeRequest, Signed};

/// Brings copies to nodes, to all at once and to each in this order; answers the nodes that do not have them all.
pub(super) async fn write(client: &Arc<Shared>, copies: &[RecordCopy], nodes: Vec<NodePlace>) -> Vec<NodePlace> {
    let written = nodes.into_iter().map(|node| async move {
        let failed = put(client, copies, &node).await.err()?;
        tracing::warn!(node = %node.id, error = &failed as &dyn std::error::Error, "a copy of a record was not stored");
        Some(node)
    });
    join_all(written).await.into_iter().flatten().collect()
}

async fn put(client: &Shared, copies: &[RecordCopy], node: &NodePlace) -> Result<(), LinkError> {
    for copy in copies {
        let (id, key) = copy.authority(&client.owner, node.id);
        let body = seal_copy(&client.owner, node.id, id, copy)
            .map_err(|_| LinkError::Protocol("a record that is longer than a ledger takes"))?;
        let offer = CopyOffer {
            node: node.id,
            key: CapabilityKey::new(key.public_key()),
            version: copy.place.version,
            lease: u64::try_from(MAX_LEASE.as_millis()).unwrap_or(u64::MAX),
            hash: *blake3::hash(&body).as_bytes(),
        };
        let network = client.settings.network;
        let make = |link: &Link| NodeRequest::PutCopy {
            offer: Signed::new(&offer, &key, network, &link.session),
            body: body.clone(),
        };
        match client.pool.ask(node, make, None).await? {
            NodeReply::CopyStored { version, .. } if version > copy.place.version => {
                tracing::warn!(node = %node.id, version, "it keeps a higher version than the ledger: was that rolled back?");
            }
            NodeReply::CopyStored { .. } => {}
            _ => return Err(LinkError::Protocol("another answer than that a copy is stored")),
        }
    }
    Ok(())
}

impl Shared {
    /// Brings copies to the nodes of `manifest`, and to those of the one that it `replaced`. Ready when so many of the
    /// former have them that no tolerated loss takes all; the rest goes on in the background. Too few are warned of:
    /// the ledger has taken the write all the same.
    pub(super) async fn spread(
        self: &Arc<Self>,
        copies: Vec<RecordCopy>,
        manifest: &Manifest,
        replaced: Option<&Manifest>,
        reporter: &Reporter,
    ) {
        let (copies, (done, written)) = (Arc::new(copies), async_channel::unbounded());
        let is_new = |node: &&NodePlace| manifest.nodes.iter().all(|known| known.id != node.id);
        let before = replaced.map_or(&[][..], |replaced| &replaced.nodes);
        for (node, counts) in
            manifest.nodes.iter().map(|node| (node, true)).chain(before.iter().filter(is_new).map(|node| (node, false)))
        {
            let (node, copies, done) = (node.clone(), copies.clone(), done.clone());
            self.background(async move |client: Arc<Self>| {
                let id = node.id;
                let stored = write(&client, &copies, vec![node]).await.is_empty();
                if counts && stored {
                    // Nobody listens any more once there are enough.
                    let _ = done.try_send(id);
                }
            });
        }
        drop(done);
        let needed = (self.settings.tolerate + 1).min(manifest.nodes.len());
        let mut have = Vec::new();
        let enough = async {
            while have.len() < needed
                && let Ok(node) = written.recv().await
            {
                have.push(node);
            }
        };
        // What is late may still come; it is not waited for.
        let _ = self.rt.timeout(self.settings.timeout, enough).await;
        if have.len() < needed {
            for node in manifest.nodes.iter().filter(|node| !have.contains(&node.id)) {
                let (code, address) = (WarningCode::CopiesMissing, node.hint.clone());
                reporter.warn(Warning { code, node: node.id, address, shard: None });
            }
        }
    }

    /// Writes the copies of a version that is there once more, in the background: that renews their lease.
    pub(super) fn renew_copies(self: &Arc<Self>, slot: &Slot, manifest: &Manifest) {
        let Some(copy) = slot.copy(self) else { return };
        let nodes = manifest.nodes.clone();
        self.background(async move |client: Arc<Self>| {
            // Each failure is told of there; the next renewal tries again.
            write(&client, &[copy], nodes).await;
        });
    }

    /// The copy at `node` of the version at `place`.
    async fn fetch(&self, place: RecordPlace, node: &NodePlace) -> Option<RecordCopy> {
        let key = self.owner.copy_authority(place.ledger, place.file, node.id);
        let query = CopyQuery { node: node.id, key: CapabilityKey::new(key.public_key()) };
        let network = self.settings.network;
        let make = |link: &Link| NodeRequest::GetCopy(Signed::new(&query, &key, network, &link.session));
        let Ok(NodeReply::Copies { items, .. }) = self.pool.ask(node, make, None).await else { return None };
        let item = items.into_iter().find(|item| item.id == query.id() && item.version == place.version)?;
        let copy = open_copy(&self.owner, node.id, item.id, item.version, &item.body).ok()?;
        (copy.place == place).then_some(copy)
    }
}

/// Nodes that are asked for a copy at once.
const NODES_AT_ONCE: usize = 16;

impl Shared {
    /// The first copy of the version at `place` that a node gives and that `is_right`; every node that the registries
    /// list is asked.
    async fn find(&self, place: RecordPlace, is_right: impl Fn(&RecordCopy) -> bool) -> Result<Option<RecordCopy>> {
        let nodes = self.directory.places().await?;
        let asked = stream::iter(nodes).map(|node| async move { self.fetch(place, &node).await });
        let mut found =
            asked.buffer_unordered(NODES_AT_ONCE).filter_map(|copy| ready(copy.filter(|copy| is_right(copy))));
        Ok(found.next().await)
    }

    /// The record of the version at `place`, which the ledger knows and does not give out, from a node that has a copy.
    pub(super) async fn find_record(&self, place: RecordPlace, path: &FilePath) -> Result<Vec<u8>> {
        let is_right = |copy: &RecordCopy| {
            let manifest = open_record(&self.owner, place, &copy.record);
            manifest.is_ok_and(|manifest| manifest.path == *path)
        };
        let found = self.find(place, is_right).await;
        let why = match found {
            Ok(Some(copy)) => return Ok(copy.record),
            Ok(None) => {
                "no node that answers has a copy: try again when more nodes answer, or with another provider".to_owned()
            }
            Err(error) => format!("no node could be asked for a copy ({error})"),
        };
        let version = place.version;
        let what =
            format!("it has version {version} of {:?}, its provider gives no record out, and {why}", path.as_str());
        Err(Error::Chain { problem: ChainProblem::Other, what })
    }
}

impl Client {
    /// One version of a file as the nodes keep it, for a ledger that knows the version and has lost its record. The
    /// record is not opened. Every node that the registries list is asked.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no node that answers has it; as [`Client::network`].
    pub async fn record_copy(&self, place: RecordPlace) -> Result<RecordCopy> {
        let found = self.0.find(place, |_| true).await?;
        found.ok_or_else(|| Error::NotFound { path: format!("file {}, version {}", place.file, place.version) })
    }
}
