//! The owner's files, page by page from the ledger, or from the nodes' copies where it gives no records out.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt, try_unfold};

use super::search::Search;
use super::{Head, Shared};
use crate::error::{ChainProblem, Error, Result};
use crate::id::FileId;
use crate::ledger::{Entry, LedgerError, file_id};
use crate::manifest::{RecordPlace, open_record};

/// What is left of a listing.
struct Listing {
    client: Arc<Shared>,
    prefix: String,
    ready: VecDeque<Entry>,
    /// Where the next page starts; the outer `None` after the last page.
    next: Option<Option<FileId>>,
    /// What to say at the end: that there may be more.
    partial: Option<Error>,
}

/// The files whose path starts with `prefix`.
pub(super) fn list(client: Arc<Shared>, prefix: String) -> BoxStream<'static, Result<Head>> {
    let listing = Listing { client, prefix, ready: VecDeque::new(), next: Some(None), partial: None };
    try_unfold(listing, Listing::step).boxed()
}

impl Listing {
    async fn step(mut self) -> Result<Option<(Head, Self)>> {
        loop {
            while let Some(entry) = self.ready.pop_front() {
                let place =
                    RecordPlace { ledger: self.client.ledger.id(), file: entry.file_id, version: entry.version };
                let manifest = open_record(&self.client.owner, place, &entry.record)?;
                let owner = &self.client.owner;
                if file_id(owner.id(), owner.path_salt(&manifest.path)) != entry.file_id {
                    return Err(Error::Integrity { what: "record: path" });
                }
                if manifest.path.as_str().starts_with(&self.prefix) {
                    return Ok(Some((Head::new(entry.file_id, entry.version, &manifest), self)));
                }
            }
            let Some(cursor) = self.next else { return self.partial.map_or(Ok(None), Err) };
            match self.client.ledger.list(self.client.owner.id(), cursor).await {
                Ok(page) => {
                    self.ready = page.entries.into();
                    self.next = page.next.map(Some);
                }
                // Of what was listed already nothing is listed again.
                Err(error) if cursor.is_none() && withholds(&error) => {
                    let (entries, partial) = from_copies(&self.client, &error).await?;
                    (self.ready, self.next, self.partial) = (entries.into(), None, partial);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether it says that the ledger has versions whose records it does not give out.
fn withholds(error: &LedgerError) -> bool {
    matches!(error, LedgerError::RecordMissing { .. } | LedgerError::Chain { problem: ChainProblem::Other, .. })
}

/// The live files of the ledger, by the nodes' copies of the very versions that it has; and an error when these may not
/// be all.
async fn from_copies(client: &Arc<Shared>, why: &LedgerError) -> Result<(Vec<Entry>, Option<Error>)> {
    tracing::warn!(
        error = why as &dyn std::error::Error,
        "the ledger gives no records out: nodes are asked for copies"
    );
    let mut search = Search::new(client);
    let nodes = search.ask_all().await?;
    search.heed_ledger(&Default::default()).await?;
    let silent = nodes.iter().filter(|node| node.problem.is_some()).count();
    let (entries, missing) = search.live();
    // Copies are at one node more than a content tolerates to lose.
    if missing == 0 && silent <= client.settings.tolerate {
        return Ok((entries, None));
    }
    let what = format!(
        "{why}; nodes have copies of the records of {}, of {missing} more no node that answers has one, and {silent} of {} \
         nodes do not answer: there may be more files",
        entries.len(),
        nodes.len()
    );
    Ok((entries, Some(Error::Chain { problem: ChainProblem::Other, what })))
}
