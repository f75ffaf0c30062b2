//! What nodes keep copies of and what the ledger says of it, for whoever looks for all files of an owner.
//!
//! Invariant: what comes out was sealed by the owner; a node can withhold and replay, and loses against higher versions.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::Shared;
use super::head::RecoveryNode;
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
/// Files that the ledger is asked for at once.
const FILES_AT_ONCE: usize = 16;

type Found = HashMap<(LedgerId, FileId), RecordCopy>;

/// What was found so far: of each file the highest version.
pub(super) struct Search<'a> {
    client: &'a Arc<Shared>,
    found: Mutex<Found>,
    /// Files of this client's ledger of which it may have a later version.
    pub(super) older: HashSet<FileId>,
    /// Files that this client's ledger, which the copies name, does not know.
    unknown: HashSet<FileId>,
    /// Why the ledger did not tell all that it knows.
    pub(super) problem: Option<String>,
}

impl<'a> Search<'a> {
    pub(super) fn new(client: &'a Arc<Shared>) -> Self {
        let (found, older, unknown) = (Mutex::default(), HashSet::new(), HashSet::new());
        Self { client, found, older, unknown, problem: None }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the copies of all nodes: of those that the registries list, and of those that the files found name.
    pub(super) async fn ask_all(&self) -> Result<Vec<RecoveryNode>> {
        let mut asked: HashMap<NodeId, RecoveryNode> = HashMap::new();
        let mut round = self.client.directory.places().await?;
        while !round.is_empty() {
            let answers = stream::iter(round).map(|node| async move { self.ask(node).await });
            let answers: Vec<RecoveryNode> = answers.buffer_unordered(NODES_AT_ONCE).collect().await;
            asked.extend(answers.into_iter().map(|node| (node.id, node)));
            // A registry may hide nodes, and forgets dead ones: manifests name them.
            round = self.named_nodes();
            round.retain(|node| !asked.contains_key(&node.id));
        }
        Ok(asked.into_values().collect())
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

    /// Where this client's ledger has a file that was found, and that it has not `listed`, its version counts.
    pub(super) async fn heed_ledger(&mut self, listed: &HashSet<FileId>) -> Result<()> {
        let (id, ledger) = (self.client.ledger.id(), &self.client.ledger);
        let mut rest: Vec<FileId> = {
            let found = self.found();
            let ours = found.keys().filter(|(ledger, file)| *ledger == id && !listed.contains(file));
            ours.map(|(_, file)| *file).collect()
        };
        // In order, so that nothing but the environment decides what happens when.
        rest.sort_unstable();
        let read = stream::iter(rest).map(|file| async move { (file, ledger.get(file).await) });
        let read: Vec<_> = read.buffered(FILES_AT_ONCE).collect().await;
        for (file, entry) in read {
            match entry {
                Ok(Some(entry)) => self.heed(entry),
                Ok(None) => _ = self.unknown.insert(file),
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
    pub(super) async fn list(&mut self) -> Result<HashSet<FileId>> {
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
            return Err(error.into());
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "the ledger did not tell all that it knows");
        self.problem.get_or_insert_with(|| error.to_string());
        Ok(())
    }

    /// The live files of this client's ledger, in the order of their ids, as entries of which only place, kind and record
    /// are known; and how many there are beside them without a record.
    pub(super) fn live(self) -> (Vec<Entry>, usize) {
        let (client, (older, unknown)) = (self.client, (self.older, self.unknown));
        let found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ours = found.into_iter().filter(|((ledger, file), copy)| {
            *ledger == client.ledger.id() && copy.kind.is_live() && !older.contains(file) && !unknown.contains(file)
        });
        let entry = |((_, file), copy): (_, RecordCopy)| {
            let entry = Entry::without_record(file, client.owner.id(), copy.place.version, copy.kind);
            Entry { record: copy.record, ..entry }
        };
        let mut entries: Vec<Entry> = ours.map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.file_id);
        (entries, older.len())
    }

    pub(super) fn by_ledger(self) -> HashMap<LedgerId, Vec<RecordCopy>> {
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
pub(super) fn manifest(client: &Shared, copy: &RecordCopy) -> Option<Manifest> {
    let owner = &client.owner;
    let manifest = open_record(owner, copy.place, &copy.record).ok()?;
    (file_id(owner.id(), owner.path_salt(&manifest.path)) == copy.place.file).then_some(manifest)
}

#[cfg(test)]
mod tests;
