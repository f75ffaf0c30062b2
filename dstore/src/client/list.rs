//! The owner's files, page by page from the ledger.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt, try_unfold};

use super::slot::ledger_failed;
use super::{Head, Shared};
use crate::error::{Error, Result};
use crate::id::FileId;
use crate::ledger::{Entry, file_id};
use crate::manifest::{RecordPlace, open_record};

/// What is left of a listing.
struct Listing {
    client: Arc<Shared>,
    prefix: String,
    ready: VecDeque<Entry>,
    /// Where the next page starts; the outer `None` after the last page.
    next: Option<Option<FileId>>,
}

/// The files whose path starts with `prefix`.
pub(super) fn list(client: Arc<Shared>, prefix: String) -> BoxStream<'static, Result<Head>> {
    let listing = Listing { client, prefix, ready: VecDeque::new(), next: Some(None) };
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
            let Some(cursor) = self.next else { return Ok(None) };
            let page = self.client.ledger.list(self.client.owner.id(), cursor).await;
            let page = page.map_err(|error| ledger_failed(error, None))?;
            self.ready = page.entries.into();
            self.next = page.next.map(Some);
        }
    }
}
