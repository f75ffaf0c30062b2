//! Copies of records: kept for whoever has their key, listed to whoever stored them (docs/wire.md section 7).

use super::{Connection, Failure, refusal};
use crate::copy::is_body_len;
use crate::id::CopyId;
use crate::node::admission::Caller;
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
        let caller = self.caller()?;
        let (holder, account) = (self.link.peer, caller.account);
        let new = NewCopy { id: offer.id(), holder, account, version: offer.version, lease_until, body };
        let _turn = self.node.quota_turn.lock().await;
        self.check_copy_quota(caller, &new).await?;
        let kept = self.node.copies.put_copy(new).await?;
        Ok(NodeReply::CopyStored { version: kept.newest.0, lease_until: kept.lease_until })
    }

    /// Refuses what would take the peer's account over its quota, and new addresses while draining.
    async fn check_copy_quota(&self, caller: Caller, new: &NewCopy) -> Result<(), Refusal> {
        let old = match self.node.copies.copy(new.id).await {
            Ok(old) => Some(old),
            Err(StoreError::NotFound) => None,
            Err(error) => return Err(refusal(&error)),
        };
        let ours = old.as_ref().filter(|old| old.account == new.account);
        if old.is_none() && self.node.is_draining() {
            return Err(Refusal::NoSpace);
        }
        let before = ours.map_or(0, StoredCopy::len);
        let is_new = ours.is_none();
        let growth = StoredCopy::after(old, new.clone()).len().saturating_sub(before);
        if growth == 0 && !is_new {
            return Ok(());
        }
        let copies = self.node.copies.count_copies(new.account).await.map_err(|error| refusal(&error))?;
        if is_new && copies >= self.node.config.quota_copies {
            return Err(Refusal::Quota);
        }
        self.node.check_bytes(caller, growth).await
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
