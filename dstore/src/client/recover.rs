//! Finds an owner's files again with nothing but the owner's key and a registry: what the nodes keep copies of.
//!
//! Invariant: what comes out was sealed by the owner; a node can withhold and replay, and loses against higher versions.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::head::{RecoveredFile, RecoveredLedger, Recovery, RecoveryNode};
use super::slot::ledger_failed;
use super::{Client, Head, ShardCheck, ShardHealth, Shared, check};
use crate::copy::{RecordCopy, open_copy};
use crate::error::{PeerProblem, Result};
use crate::id::{CopyId, FileId, LedgerId, NodeId};
use crate::ledger::{Entry, EventKind, LedgerError, file_id};
use crate::manifest::{Manifest, NodePlace, RecordPlace, open_record};
use crate::net::LinkError;
use crate::proto::{CopyItem, NodeReply, NodeRequest};

/// Items that are read of one node.
const MAX_ITEMS: usize = 1 << 20;
/// Items of one node that may not open: an honest one has none, but for what a newer version wrote.
const MAX_STRANGE: usize = 1024;
/// Items that a node must give within each time-out: one that drips genuine pages holds nobody up.
const ITEMS_PER_TIMEOUT: usize = 1024;
/// Nodes that are listed at once.
const NODES_AT_ONCE: usize = 16;
/// Files whose shards are asked for at once: a node gives few connections to one key.
const FILES_AT_ONCE: usize = 4;

impl Client {
    /// Looks for this owner's files at every node that the registries list, and at those that the files found name.
    /// Nothing is written: [`LocalLedger::restore`](crate::LocalLedger::restore) takes what is found. Where this client's
    /// ledger has a file, its version counts, and what only the ledger lists is found too. Then every shard of every file is asked for.
    ///
    /// # Errors
    /// As [`Client::network`]; [`Error::Integrity`](crate::Error::Integrity) for a ledger that is damaged. Nodes that do not answer are no error, nor is
    /// a ledger that cannot tell: see [`Recovery::nodes`] and [`Recovery::ledger_problem`].
    pub async fn recover(&self) -> Result<Recovery> {
        let client = &self.0;
        let mut search = Search::new(client);
        let mut asked: HashMap<NodeId, RecoveryNode> = HashMap::new();
        let mut round = client.directory.places().await?;
        while !round.is_empty() {
            let search = &search;
            let answers = stream::iter(round).map(|node| async move { search.ask(node).await });
            let answers: Vec<RecoveryNode> = answers.buffer_unordered(NODES_AT_ONCE).collect().await;
            asked.extend(answers.into_iter().map(|node| (node.id, node)));
            // A registry may hide nodes, and forgets dead ones: manifests name them.
            round = search.named_nodes();
            round.retain(|node| !asked.contains_key(&node.id));
        }
        search.heed_ledger().await?;
        let silent: HashSet<NodeId> =
            asked.values().filter(|node| node.problem.is_some()).map(|node| node.id).collect();
        let (mut ledgers, older) = (Vec::new(), std::mem::take(&mut search.older));
        let ledger_problem = search.problem.take();
        for (id, versions) in search.by_ledger() {
            let mut ledger = judge(client, id, versions, &silent).await;
            for file in &mut ledger.files {
                file.may_be_older |= id == client.ledger.id() && older.contains(&file.head.file_id);
            }
            ledgers.push(ledger);
        }
        ledgers.sort_by_key(|ledger| (std::cmp::Reverse(ledger.files.len()), ledger.id));
        let mut nodes: Vec<_> = asked.into_values().collect();
        nodes.sort_unstable_by_key(|node| node.id);
        Ok(Recovery { ledgers, nodes, ledger_problem })
    }
}

type Found = HashMap<(LedgerId, FileId), RecordCopy>;

/// What was found so far: of each file the highest version.
struct Search<'a> {
    client: &'a Arc<Shared>,
    found: Mutex<Found>,
    /// Files of this client's ledger of which it may have a later version.
    older: HashSet<FileId>,
    /// Why the ledger did not tell all that it knows.
    problem: Option<String>,
}

impl<'a> Search<'a> {
    fn new(client: &'a Arc<Shared>) -> Self {
        Self { client, found: Mutex::default(), older: HashSet::new(), problem: None }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all copies that a node keeps for this owner. What came before a failure counts.
    async fn ask(&self, node: NodePlace) -> RecoveryNode {
        let mut told = RecoveryNode { id: node.id, address: node.hint.clone(), copies: 0, strange: 0, problem: None };
        let (started, limit) = (self.client.rt.uptime(), self.client.settings.timeout);
        let mut cursor = None;
        told.problem = loop {
            if is_overdue(self.client.rt.uptime().saturating_sub(started), told.copies + told.strange, limit) {
                break Some(PeerProblem::Timeout(limit));
            }
            let request = || NodeRequest::ListCopies { cursor };
            let page = match self.client.pool.ask(&node, |_| request(), None).await {
                Ok(NodeReply::Copies { items, next }) => (items, next),
                Ok(_) => break Some(LinkError::Protocol("another answer than copies").problem()),
                Err(error) => break Some(error.problem()),
            };
            match self.take(page, cursor, &mut told) {
                Ok(None) => break None,
                Ok(next) => cursor = next,
                Err(problem) => break Some(problem),
            }
        };
        if let Some(problem) = told.problem {
            tracing::warn!(node = %node.id, %problem, "a node did not list its copies");
        }
        told
    }

    /// Takes a page in, and answers where the next one starts.
    fn take(
        &self,
        (items, next): (Vec<CopyItem>, Option<CopyId>),
        cursor: Option<CopyId>,
        told: &mut RecoveryNode,
    ) -> Result<Option<CopyId>, PeerProblem> {
        let in_order = items.windows(2).all(|pair| (pair[0].id, pair[0].version) < (pair[1].id, pair[1].version));
        let goes_on = items.first().is_none_or(|first| cursor.is_none_or(|cursor| cursor < first.id));
        let ends = next.is_none_or(|next| items.last().is_some_and(|last| last.id <= next));
        if !(in_order && goes_on && ends) {
            return Err(PeerProblem::Protocol);
        }
        for CopyItem { id, version, body } in items {
            let opened = open_copy(&self.client.owner, told.id, id, version, &body).ok();
            match opened.filter(|copy| copy.record.is_empty() || self.manifest(copy).is_some()) {
                Some(copy) => {
                    told.copies += 1;
                    self.admit(copy);
                }
                None => told.strange += 1,
            }
            if told.strange > MAX_STRANGE || told.copies > MAX_ITEMS {
                return Err(PeerProblem::Protocol);
            }
        }
        Ok(next)
    }

    fn admit(&self, copy: RecordCopy) {
        let mut found = self.found();
        let place = (copy.place.ledger, copy.place.file);
        if found.get(&place).is_none_or(|known| known.place.version < copy.place.version) {
            found.insert(place, copy);
        }
    }

    fn manifest(&self, copy: &RecordCopy) -> Option<Manifest> {
        manifest(self.client, copy)
    }

    /// The nodes that the files found name.
    fn named_nodes(&self) -> Vec<NodePlace> {
        let found = self.found();
        let manifests = found.values().filter_map(|copy| self.manifest(copy));
        let nodes = manifests.flat_map(|manifest| manifest.nodes).map(|node| (node.id, node));
        nodes.collect::<HashMap<_, _>>().into_values().collect()
    }

    /// Where this client's ledger has a file, its version counts, and what only the ledger lists is found as well.
    async fn heed_ledger(&mut self) -> Result<()> {
        let id = self.client.ledger.id();
        let listed = self.list().await?;
        let rest: Vec<FileId> = {
            let found = self.found();
            let ours = found.keys().filter(|(ledger, file)| *ledger == id && !listed.contains(file));
            ours.map(|(_, file)| *file).collect()
        };
        for file in rest {
            match self.client.ledger.get(file).await {
                Ok(Some(entry)) => self.heed(entry),
                Ok(None) => {}
                Err(LedgerError::RecordMissing { version, kind }) => self.heed_version(file, version, kind),
                Err(error) => {
                    self.doubt(error)?;
                    self.older.insert(file);
                }
            }
        }
        Ok(())
    }

    /// Takes in the files that the ledger lists; answers which.
    async fn list(&mut self) -> Result<HashSet<FileId>> {
        let (ledger, owner) = (&self.client.ledger, self.client.owner.id());
        let (mut listed, mut cursor) = (HashSet::new(), None);
        loop {
            let page = match ledger.list(owner, cursor).await {
                Ok(page) => page,
                Err(error) => {
                    self.doubt(error)?;
                    return Ok(listed);
                }
            };
            for entry in page.entries {
                listed.insert(entry.file_id);
                self.heed(entry);
            }
            // A ledger that goes round in circles is not followed.
            match page.next {
                Some(next) if cursor.is_none_or(|cursor| cursor < next) => cursor = Some(next),
                _ => return Ok(listed),
            }
        }
    }

    fn heed(&self, entry: Entry) {
        let ledger = self.client.ledger.id();
        let place = RecordPlace { ledger, file: entry.file_id, version: entry.version };
        let copy = RecordCopy { place, kind: entry.kind, record: entry.record };
        self.found().insert((ledger, entry.file_id), copy);
    }

    /// The ledger is at `version` of a file and does not give its record out: a copy of that very version is it, and an
    /// older one is all there is.
    fn heed_version(&mut self, file: FileId, version: u32, kind: EventKind) {
        let ledger = self.client.ledger.id();
        if !kind.is_live() {
            let place = RecordPlace { ledger, file, version };
            self.found().insert((ledger, file), RecordCopy { place, kind, record: Vec::new() });
        } else if self.found().get(&(ledger, file)).is_none_or(|copy| copy.place.version != version) {
            self.older.insert(file);
        }
    }

    /// Goes on without what the ledger did not tell, and says so; fails where it is damaged.
    fn doubt(&mut self, error: LedgerError) -> Result<()> {
        if matches!(error, LedgerError::Damaged { .. }) {
            return Err(ledger_failed(error, None));
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "the ledger did not tell all that it knows");
        self.problem.get_or_insert_with(|| error.to_string());
        Ok(())
    }

    fn by_ledger(self) -> HashMap<LedgerId, Vec<RecordCopy>> {
        let found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut ledgers: HashMap<LedgerId, Vec<RecordCopy>> = HashMap::new();
        for ((ledger, _), copy) in found {
            ledgers.entry(ledger).or_default().push(copy);
        }
        ledgers
    }
}

/// Whether a node has taken too long for so many items.
fn is_overdue(elapsed: Duration, items: usize, limit: Duration) -> bool {
    let periods = u32::try_from(1 + items / ITEMS_PER_TIMEOUT).unwrap_or(u32::MAX);
    elapsed > limit.saturating_mul(periods)
}

/// The manifest in a copy, if its record opens and is about the file that the copy says.
fn manifest(client: &Shared, copy: &RecordCopy) -> Option<Manifest> {
    let owner = &client.owner;
    let manifest = open_record(owner, copy.place, &copy.record).ok()?;
    (file_id(owner.id(), owner.path_salt(&manifest.path)) == copy.place.file).then_some(manifest)
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

#[cfg(test)]
mod tests;
