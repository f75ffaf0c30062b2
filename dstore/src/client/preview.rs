//! What a put would store, before it does: nothing is sent or written.

use std::sync::Arc;

use super::Shared;
use super::places::Places;
use super::slot::{Slot, ledger_timeout};
use super::upload::{Order, candidates, longest_manifest};
use crate::error::{Error, Result};
use crate::ledger::Cost;
use crate::manifest::record_len;
use crate::path::FilePath;

/// What a put would store: [`Put::preview`](crate::Put::preview) tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// Where.
    pub path: FilePath,
    /// The version that it would make.
    pub version: u32,
    /// Its length, bytes; `None` when the source does not say.
    pub size: Option<u64>,
    /// Its length with padding, bytes; `None` when the source does not say how long it is.
    pub padded: Option<u64>,
    /// Bytes at nodes, parity included; `None` when the source does not say how long it is.
    pub stored: Option<u64>,
    /// How many shards, parity included.
    pub shards: usize,
    /// How many nodes would get some of them.
    pub nodes: usize,
    /// Bytes of the record on the ledger, for the nodes that would be chosen now. A step of 128 bytes more where the
    /// source does not say how long it is, or where numbers that a put draws happen to be short.
    pub record_len: usize,
    /// What the ledger takes for the write; `None` where writing costs nothing.
    pub cost: Option<Cost>,
}

/// What a put of `order` over the version `expected` in `slot` would store, of a source of `size` bytes.
pub(super) async fn preview(
    client: &Arc<Shared>,
    order: &Order,
    slot: &Slot,
    expected: u32,
    size: Option<u64>,
) -> Result<Preview> {
    let version = expected.checked_add(1);
    let version =
        version.ok_or(Error::Internal { what: "a file without version numbers left is told by the ledger" })?;
    let nodes = candidates(client, order, size).await?;
    let mut places = Places::new(order.scheme, client.settings.tolerate, nodes);
    places.fill(|| u32::MAX)?;
    let manifest = longest_manifest(client, order, size, |shard| Some(places.offer(shard)?.0.clone()))?;
    let len = record_len(&manifest);
    let cost = client.ledger.cost(client.owner.id(), slot.salt, expected, len);
    let cost = client.rt.timeout(client.settings.timeout, cost).await.map_err(|elapsed| ledger_timeout(elapsed.0))?;
    let known = size.is_some();
    Ok(Preview {
        path: slot.path.clone(),
        version,
        size,
        padded: known.then_some(manifest.padded),
        stored: known.then_some(manifest.shard_len * manifest.shards.len() as u64),
        shards: manifest.shards.len(),
        nodes: manifest.nodes.len(),
        record_len: len,
        cost: cost.map_err(|error| error.about(slot.path.as_str()))?,
    })
}
