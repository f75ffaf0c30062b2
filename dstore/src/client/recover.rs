//! Finds an owner's files again with nothing but the owner's key and a registry: what the nodes keep copies of.
//!
//! Invariant: nothing is written, and of each file the highest version counts, or that of the ledger which has it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::head::{RecoveredFile, RecoveredLedger, Recovery};
use super::search::{Search, manifest};
use super::{Client, Head, ShardCheck, ShardHealth, Shared, check};
use crate::copy::RecordCopy;
use crate::error::Result;
use crate::id::{LedgerId, NodeId};
use crate::ledger::EventKind;

/// Files whose shards are asked for at once: a node gives few connections to one key.
const FILES_AT_ONCE: usize = 4;

impl Client {
    /// Looks for this owner's files at every node that the registries list, and at those that the files found name.
    /// Nothing is written: [`LocalLedger::restore`](crate::LocalLedger::restore) takes what is found. Where this client's
    /// ledger has a file, its version counts, and what only the ledger lists is found too. Then every shard of every
    /// file is asked for.
    ///
    /// # Errors
    /// As [`Client::network`]; [`Error::Integrity`](crate::Error::Integrity) for a ledger that is damaged. Nodes that do not
    /// answer are no error, nor is a ledger that cannot tell: see [`Recovery::nodes`] and [`Recovery::ledger_problem`].
    pub async fn recover(&self) -> Result<Recovery> {
        let client = &self.0;
        let mut search = Search::new(client);
        let mut nodes = search.ask_all().await?;
        let listed = search.list().await?;
        search.heed_ledger(&listed).await?;
        let silent: HashSet<NodeId> = nodes.iter().filter(|node| node.problem.is_some()).map(|node| node.id).collect();
        let (older, ledger_problem) = (std::mem::take(&mut search.older), search.problem.take());
        let mut ledgers = Vec::new();
        for (id, versions) in search.by_ledger() {
            let mut ledger = judge(client, id, versions, &silent).await;
            for file in &mut ledger.files {
                file.may_be_older |= id == client.ledger.id() && older.contains(&file.head.file_id);
            }
            ledgers.push(ledger);
        }
        ledgers.sort_by_key(|ledger| (std::cmp::Reverse(ledger.files.len()), ledger.id));
        nodes.sort_unstable_by_key(|node| node.id);
        Ok(Recovery { ledgers, nodes, ledger_problem })
    }
}

/// Live versions of one content are one file that was renamed while no node that answers was told that it left its old
/// path. Were both kept, removing one would take the shards of the other: all but one get the version that was lost.
fn end_lost_renames(client: &Shared, versions: &mut [RecordCopy]) {
    let mut contents: HashMap<[u8; 32], usize> = HashMap::new();
    for at in 0..versions.len() {
        let Some(manifest) = manifest(client, &versions[at]) else { continue };
        let Some(other) = contents.insert(manifest.content_key.content_id(), at) else { continue };
        let rank = |at: usize| (versions[at].kind == EventKind::RenamedHere, versions[at].place.version);
        let (stays, left) = if rank(at) > rank(other) { (at, other) } else { (other, at) };
        contents.insert(manifest.content_key.content_id(), stays);
        let gone = &mut versions[left];
        gone.place.version = gone.place.version.saturating_add(1);
        (gone.kind, gone.record) = (EventKind::RenamedAway, Vec::new());
    }
}

/// What can be read of the files of one ledger.
async fn judge(
    client: &Arc<Shared>,
    id: LedgerId,
    mut versions: Vec<RecordCopy>,
    silent: &HashSet<NodeId>,
) -> RecoveredLedger {
    versions.sort_unstable_by_key(|copy| copy.place.file);
    end_lost_renames(client, &mut versions);
    let live: Vec<_> = versions.iter().filter_map(|copy| Some((copy.place, manifest(client, copy)?))).collect();
    let checks = stream::iter(live).map(|(place, manifest)| async move {
        let head = Head::new(place.file, place.version, &manifest);
        let shards = check::check_but(client, &manifest, &head, silent).await;
        let may_be_older = manifest.nodes.iter().any(|node| silent.contains(&node.id));
        RecoveredFile { head, shards, may_be_older }
    });
    let mut files: Vec<RecoveredFile> = checks.buffer_unordered(FILES_AT_ONCE).collect().await;
    files.sort_by(|a, b| a.head.path.cmp(&b.head.path));
    RecoveredLedger { id, files, versions }
}

impl RecoveredFile {
    fn count(&self, wanted: ShardHealth) -> usize {
        self.shards.iter().filter(|ShardCheck { state, .. }| *state == wanted).count()
    }

    /// How many of its shards answer.
    #[must_use]
    pub fn shards_found(&self) -> usize {
        self.count(ShardHealth::Ok)
    }

    /// Whether enough shards answer for the file to be read now.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.shards_found() >= self.head.scheme.data()
    }

    /// Whether it cannot be read even if every node that does not answer comes back with what it had.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.shards_found() + self.count(ShardHealth::Unreachable) < self.head.scheme.data()
    }
}
