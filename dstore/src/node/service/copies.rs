//! Copies of records: kept for whoever has their key, listed to whoever stored them (docs/wire.md section 7).

use super::{Connection, Failure, refusal};
use crate::copy::is_body_len;
use crate::id::CopyId;
use crate::node::authority::lease_until;
use crate::proto::{CopyItem, CopyOffer, CopyQuery, NodeReply, Refusal, Signed};
use crate::store::{NewCopy, StoreError, StoredCopy};

/// Bytes of bodies in a page: with 39 bytes beside each body of at least 128, a page is within the longest message.
const PAGE_BUDGET: u64 = 48 * 1024;

impl Connection {
    pub(super) async fn put_copy(&self, signed: &Signed<CopyOffer>, body: Vec<u8>) -> Result<NodeReply, Failure> {
        let offer = self.authority.copy_offer(signed)?;
        if !is_body_len(body.len()) {
            return Err(Refusal::Malformed.into());
        }
        if *blake3::hash(&body).as_bytes() != offer.hash {
            return Err(Refusal::Mismatch.into());
        }
        let lease_until = lease_until(self.node.rt.now(), offer.lease);
        let new = NewCopy { id: offer.id(), account: self.link.peer, version: offer.version, lease_until, body };
        self.check_copy_quota(&new).await?;
        let kept = self.node.copies.put_copy(new).await?;
        Ok(NodeReply::CopyStored { version: kept.newest.0, lease_until: kept.lease_until })
    }

    /// Refuses what would take the peer's account over its quota, and new addresses while draining.
    async fn check_copy_quota(&self, new: &NewCopy) -> Result<(), Refusal> {
        let old = match self.node.copies.copy(new.id).await {
            Ok(old) => Some(old),
            Err(StoreError::NotFound) => None,
            Err(error) => return Err(refusal(&error)),
        };
        let ours = old.as_ref().filter(|old| old.account == new.account);
        if old.is_none() && self.node.draining.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Refusal::NoSpace);
        }
        let before = ours.map_or(0, StoredCopy::len);
        let is_new = ours.is_none();
        let growth = StoredCopy::after(old, new.clone()).len().saturating_sub(before);
        if growth == 0 && !is_new {
            return Ok(());
        }
        let (config, failed) = (&self.node.config, |error| refusal(&error));
        let used = self.node.store.account_usage(new.account).await.map_err(failed)?.used;
        let copies = self.node.copies.count_copies(new.account).await.map_err(failed)?;
        let fits = used.saturating_add(growth) <= config.quota_bytes && (!is_new || copies < config.quota_copies);
        if fits { Ok(()) } else { Err(Refusal::Quota) }
    }

    pub(super) async fn get_copy(&self, signed: &Signed<CopyQuery>) -> Result<NodeReply, Failure> {
        let query = self.authority.copy_query(signed)?;
        let copy = self.node.copies.copy(query.id()).await?;
        Ok(NodeReply::Copies { items: items(copy).collect(), next: None })
    }

    pub(super) async fn list_copies(&self, cursor: Option<CopyId>) -> Result<NodeReply, Failure> {
        let page = self.node.copies.copies(self.link.peer, cursor, PAGE_BUDGET).await?;
        // A page that is followed by an empty one costs the client a question, and the node no look ahead.
        let next = page.last().map(|last| last.id);
        Ok(NodeReply::Copies { items: page.into_iter().flat_map(items).collect(), next })
    }
}

/// The versions of a copy, lowest first.
fn items(copy: StoredCopy) -> impl Iterator<Item = CopyItem> {
    let StoredCopy { id, older, newest, .. } = copy;
    older.into_iter().chain([newest]).map(move |(version, body)| CopyItem { id, version, body })
}
