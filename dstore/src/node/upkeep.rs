//! What a node does by itself: freeing what is due, and looking for bit rot.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::NodeCore;
use crate::error::{Error, Result};
use crate::id::ShardId;
use crate::store::StoreError;

/// How often. A day has 144 rounds.
const ROUND: Duration = Duration::from_secs(600);
/// The share of the data that a round re-hashes: all of it in 30 days.
const SCRUB_ROUNDS: u64 = 144 * 30;

/// How often the store is measured, for the registries.
const MEASURE: Duration = Duration::from_secs(5);

/// Runs rounds without end; the first one at once.
pub(super) async fn run(node: Arc<NodeCore>) {
    let mut cursor = None;
    loop {
        if let Err(error) = round(&node, &mut cursor).await {
            node.metrics.upkeep_failures.inc();
            tracing::error!(error = &error as &dyn std::error::Error, "upkeep of the store failed");
        }
        let round_ends = node.rt.uptime() + ROUND;
        while node.rt.uptime() < round_ends {
            node.rt.sleep(MEASURE).await;
            if let Err(error) = measure(&node).await {
                node.metrics.upkeep_failures.inc();
                tracing::error!(error = &error as &dyn std::error::Error, "the store cannot be measured");
            }
        }
    }
}

/// Remembers how full the store is.
///
/// # Errors
/// What the store fails with.
pub(super) async fn measure(node: &NodeCore) -> Result<()> {
    let usage = node.store.usage().await;
    let usage = usage.map_err(|error| Error::io("cannot measure the store", std::io::Error::other(error)))?;
    *node.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
    Ok(())
}

pub(super) async fn round(node: &NodeCore, cursor: &mut Option<ShardId>) -> std::result::Result<(), StoreError> {
    let now = node.rt.now();
    let (leases, open) = (now.before(node.config.grace), now.before(node.config.open_for));
    loop {
        let freed = node.store.sweep(now, leases, open).await?;
        node.metrics.freed.inc_by(freed);
        if freed == 0 {
            break;
        }
    }
    while node.copies.sweep_copies(leases).await? > 0 {}
    let budget = node.store.usage().await?.used / SCRUB_ROUNDS;
    let scrubbed = node.store.scrub(*cursor, budget).await?;
    node.metrics.scrubbed.inc_by(scrubbed.bytes);
    node.metrics.found_damaged.inc_by(scrubbed.quarantined.len() as u64);
    for shard in &scrubbed.quarantined {
        tracing::warn!(%shard, "a stored shard is damaged: it is quarantined");
    }
    *cursor = scrubbed.last;
    if cursor.is_none() {
        node.metrics.scrub_passed.set(Duration::from_millis(now.as_millis()).as_secs_f64());
    }
    Ok(())
}
