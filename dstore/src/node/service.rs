//! Requests of one connection, one after another (docs/wire.md section 7).
//!
//! Invariant: nothing is answered as stored before the store has made it durable, and every refusal is a number.

use std::sync::Arc;

use futures_util::TryFutureExt;
use futures_util::future::try_join;

use super::NodeCore;
use super::admission::Caller;
use super::authority::{Authority, lease_until};
use crate::id::ShardRoot;
use crate::merkle::BlockRange;
use crate::net::{Body, Link, LinkError, Service, Serving};
use crate::proto::{
    BlockRequest, Deletion, MAX_READ_BLOCKS, MAX_SMALL_LEN, NodeInfo, NodeReply, NodeRequest, PutEnd, PutOffer,
    Receipt, Refusal, Rights, ShardHealth, ShardStatus, Signed, Token, decode, encode,
};
use crate::rt::BoxFuture;
use crate::store::{ProvedBlocks, ShardKey, ShardState, ShardWriter, StoreError, StoredShard};

/// Body bytes that are gathered before they are written.
const APPEND_LEN: usize = 1 << 20;
/// Blocks that are read from the store at once.
const READ_BLOCKS: u64 = 64;
/// What is still read of a body that was refused, so that the refusal arrives before the connection ends.
const DRAIN_LEN: usize = 4 << 20;

/// How a request failed.
enum Failure {
    /// Say so; the connection goes on.
    Refused(Refusal),
    /// Say so, and end the connection: a body is under way.
    RefusedMidway(Refusal),
    /// The connection is of no further use.
    Broken,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<LinkError> for Failure {
    fn from(_: LinkError) -> Self {
        Self::Broken
    }
}

/// What a peer is told of a store's failure.
fn refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::NotFound => Refusal::NotFound,
        StoreError::NoSpace => Refusal::NoSpace,
        StoreError::Mismatch => Refusal::Mismatch,
        StoreError::Damaged => Refusal::Damaged,
        StoreError::Exists(_) => Refusal::Denied,
        StoreError::Failed { .. } => {
            tracing::error!(%error, "the store failed");
            Refusal::Failed
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(refusal(&error))
    }
}

impl Service for NodeCore {
    fn serve(self: Arc<Self>, link: Link, serving: Serving) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let me = (self.identity.id(), self.network);
            let authority = Authority::new(me, link.session, link.peer);
            let mut connection = Connection { node: self, link, authority };
            while let Some(request) = serving.next(&mut connection.link).await {
                let outcome = connection.answer(&request).await;
                let goes_on = match outcome {
                    Ok(()) => true,
                    Err(Failure::Refused(refusal)) => {
                        connection.link.writer.abort(refusal);
                        true
                    }
                    Err(Failure::RefusedMidway(refusal)) => {
                        connection.link.writer.abort(refusal);
                        let _ = connection.link.writer.flush().await;
                        connection.drain().await;
                        false
                    }
                    Err(Failure::Broken) => false,
                };
                if !goes_on || connection.link.writer.flush().await.is_err() {
                    return;
                }
            }
        })
    }
}

struct Connection {
    node: Arc<NodeCore>,
    link: Link,
    authority: Authority,
}

impl Connection {
    async fn answer(&mut self, request: &[u8]) -> Result<(), Failure> {
        let request = decode("node request", request).map_err(|_| {
            // A body may follow what was not understood.
            Failure::RefusedMidway(if NodeRequest::is_served(request) {
                Refusal::Malformed
            } else {
                Refusal::Unsupported
            })
        })?;
        let reply = match request {
            NodeRequest::Info => self.info().await?,
            NodeRequest::PutBegin(offer) => self.put(&offer).await?,
            NodeRequest::PutSmall(offer) => self.put_small(&offer).await?,
            NodeRequest::Hashes(request) => {
                let (shard, range) = self.blocks(&request).await?;
                let proved = self.node.store.prove(shard.key.id, range).await?;
                NodeReply::Blocks { proof: proved.proof, lease_until: shard.lease_until }
            }
            NodeRequest::Read(request) => return self.read(&request).await,
            NodeRequest::Stat(token) => self.stat(&token).await?,
            NodeRequest::Renew { token, lease } => self.renew(&token, lease).await?,
            NodeRequest::Delete(deletion) => self.delete(&deletion).await?,
            NodeRequest::Accept(invite) => {
                let terms = self.authority.invite(&invite)?;
                self.node.door.guests.accept(&terms, self.link.peer, &self.node.rt).await?;
                self.info().await?
            }
            NodeRequest::PutCopy(none)
            | NodeRequest::GetCopy(none)
            | NodeRequest::ListCopies(none)
            | NodeRequest::Transfer(none) => match none {},
        };
        self.link.writer.control(&encode(&reply));
        Ok(())
    }

    async fn info(&self) -> Result<NodeReply, Failure> {
        let usage = self.node.store.usage().await?;
        let parts = (usage.used, usage.free, usage.shards);
        Ok(NodeReply::Info(NodeInfo::new(self.node.config.capacity, parts, self.node.rt.now())))
    }

    fn receipt(&self, offer: &crate::proto::ShardName, stored: &StoredShard) -> NodeReply {
        let receipt = Receipt {
            node: self.node.identity.id(),
            name: *offer,
            root: stored.root,
            len: stored.len,
            lease_until: stored.lease_until,
            time: self.node.rt.now(),
        };
        NodeReply::Stored(Signed::new(&receipt, self.node.identity.signing(), self.node.network, &[]))
    }

    fn key(&self, offer: &PutOffer) -> ShardKey {
        let name = &offer.name;
        ShardKey {
            id: name.id(),
            cap_pk: *name.capability.as_bytes(),
            index: name.index,
            generation: name.generation,
            account: self.caller().map_or(self.link.peer, |caller| caller.account),
        }
    }

    /// Refuses what would take the peer's account over its quota, and everything while draining.
    async fn check_quota(&self, len: u64) -> Result<(), Refusal> {
        let caller = self.caller()?;
        if self.node.draining.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Refusal::NoSpace);
        }
        self.node.check_quota(caller, len).await
    }

    /// The peer, if it may store shards.
    fn caller(&self) -> Result<Caller, Refusal> {
        self.node.door.caller(self.link.peer, self.link.remote.ip())
    }

    async fn put_small(&mut self, signed: &Signed<PutOffer>) -> Result<NodeReply, Failure> {
        let mut body = Vec::new();
        while self.link.reader.data(&mut body).await? == Body::More {
            if body.len() > MAX_SMALL_LEN {
                return Err(Failure::RefusedMidway(Refusal::Mismatch));
            }
        }
        let offer = self.authority.offer(signed)?;
        let root = offer.root.ok_or(Refusal::Malformed)?;
        if offer.len != Some(body.len() as u64) || body.len() > MAX_SMALL_LEN {
            return Err(Refusal::Mismatch.into());
        }
        self.check_quota(body.len() as u64).await?;
        let until = lease_until(self.node.rt.now(), offer.lease);
        let stored = match self.node.store.put_small(self.key(&offer), root, until, body).await {
            Err(StoreError::Exists(stored)) if stored.state == ShardState::Live => *stored,
            other => other?,
        };
        Ok(self.receipt(&offer.name, &stored))
    }

    async fn put(&mut self, signed: &Signed<PutOffer>) -> Result<NodeReply, Failure> {
        let offer = self.authority.offer(signed)?;
        let _open = self.node.open_put(self.caller()?, offer.len).await?;
        // Until what is set aside counts, nobody else is measured: else many could pass at once.
        let turn = self.node.quota_turn.lock().await;
        self.check_quota(offer.len.unwrap_or(0)).await?;
        let mut writer = match self.node.store.begin(self.key(&offer), offer.len).await {
            Err(StoreError::Exists(stored)) if stored.state == ShardState::Live => {
                return Ok(self.receipt(&offer.name, &stored));
            }
            other => other?,
        };
        drop(turn);
        self.link.writer.control(&encode(&NodeReply::PutReady { have: 0, root: ShardRoot::of(&[]) }));
        self.link.writer.flush().await?;
        let root = self.receive(writer.as_mut(), &offer).await?;
        let until = lease_until(self.node.rt.now(), offer.lease);
        let stored = writer.finish(root, until).await?;
        Ok(self.receipt(&offer.name, &stored))
    }

    /// Takes a body and its root: the next megabyte arrives while the last one is written.
    async fn receive(&mut self, writer: &mut dyn ShardWriter, offer: &PutOffer) -> Result<ShardRoot, Failure> {
        let midway = |error: StoreError| Failure::RefusedMidway(refusal(&error));
        let mut next = self.gather().await?;
        loop {
            let (bytes, body) = next;
            if offer.len.is_none() {
                // A stream's length is not known beforehand: its quota is taken as it grows. What was written before counts already.
                self.check_quota(bytes.len() as u64).await.map_err(Failure::RefusedMidway)?;
            }
            if body == Body::End {
                if !bytes.is_empty() {
                    writer.append(bytes).await.map_err(midway)?;
                }
                break;
            }
            let written = writer.append(bytes).map_err(midway);
            ((), next) = try_join(written, self.gather().map_err(Failure::from)).await?;
        }
        let end = self.link.reader.control(crate::proto::MAX_CONTROL_LEN, self.node.config.limits.idle_timeout).await?;
        let end: PutEnd = decode("end of a put", &end).map_err(|_| Refusal::Malformed)?;
        Ok(end.root)
    }

    /// The next piece of a body: whole blocks, except at its end.
    async fn gather(&mut self) -> Result<(Vec<u8>, Body), LinkError> {
        let mut bytes = Vec::with_capacity(APPEND_LEN + crate::net::MAX_DATA_LEN);
        loop {
            let body = self.link.reader.data(&mut bytes).await?;
            let whole = bytes.len().is_multiple_of(crate::merkle::BLOCK_LEN);
            if body == Body::End || (whole && bytes.len() >= APPEND_LEN) {
                return Ok((bytes, body));
            }
            if bytes.len() > APPEND_LEN + crate::merkle::BLOCK_LEN {
                return Err(LinkError::Protocol("data frames that are not whole blocks"));
            }
        }
    }

    /// Reads on for a while, so that the peer can see the refusal before the connection ends under it.
    async fn drain(&mut self) {
        let drain = async {
            let mut bytes = Vec::new();
            let mut left = DRAIN_LEN;
            while let Ok(body) = self.link.reader.data(&mut bytes).await {
                left = left.saturating_sub(bytes.len());
                bytes.clear();
                if body == Body::End || left == 0 {
                    return;
                }
            }
        };
        let _ = self.node.rt.timeout(std::time::Duration::from_secs(1), drain).await;
    }

    async fn blocks(&mut self, request: &BlockRequest) -> Result<(StoredShard, BlockRange), Failure> {
        let token = self.authority.token(&request.token, &[Rights::Read], self.node.rt.now())?;
        let shard = self.node.store.stat(token.name.id()).await?;
        let range = BlockRange::new(shard.len, request.first, request.count);
        let range = range.filter(|range| range.count() <= MAX_READ_BLOCKS).ok_or(Refusal::Malformed)?;
        Ok((shard, range))
    }

    async fn read(&mut self, request: &BlockRequest) -> Result<(), Failure> {
        let (shard, range) = self.blocks(request).await?;
        let store = &self.node.store;
        let id = shard.key.id;
        let piece = |first: u64| {
            let count = READ_BLOCKS.min(range.first() + range.count() - first);
            BlockRange::new(shard.len, first, count)
        };
        let Some(first_piece) = piece(range.first()) else { return Err(Refusal::Malformed.into()) };
        let ProvedBlocks { mut proof, mut bytes } = store.read(id, first_piece).await?;
        if first_piece.count() < range.count() {
            proof = store.prove(id, range).await?.proof;
        }
        let reply = NodeReply::Blocks { proof, lease_until: shard.lease_until };
        self.link.writer.control(&encode(&reply));
        let mut done = first_piece.count();
        while done < range.count() {
            for frame in bytes.chunks(crate::net::MAX_DATA_LEN) {
                self.link.writer.data(&[frame], Body::More);
                self.link.writer.flush_if_full().await?;
            }
            let Some(next) = piece(range.first() + done) else { return Err(Failure::RefusedMidway(Refusal::Failed)) };
            bytes = store.read(id, next).await.map_err(|error| Failure::RefusedMidway(refusal(&error)))?.bytes;
            done += next.count();
        }
        self.link.writer.body(&bytes).await?;
        Ok(())
    }

    async fn stat(&mut self, token: &Signed<Token>) -> Result<NodeReply, Failure> {
        let token = self.authority.token(token, &[Rights::Read, Rights::Renew], self.node.rt.now())?;
        let shard = self.node.store.stat(token.name.id()).await?;
        let health = match shard.state {
            ShardState::Live => ShardHealth::Live,
            ShardState::Retired(_) => ShardHealth::Retired,
            ShardState::Quarantined => ShardHealth::Damaged,
        };
        Ok(NodeReply::Status(ShardStatus { root: shard.root, len: shard.len, lease_until: shard.lease_until, health }))
    }

    async fn renew(&mut self, token: &Signed<Token>, lease: u64) -> Result<NodeReply, Failure> {
        let now = self.node.rt.now();
        let token = self.authority.token(token, &[Rights::Renew], now)?;
        let stored = self.node.store.renew(token.name.id(), lease_until(now, lease)).await?;
        Ok(self.receipt(&token.name, &stored))
    }

    async fn delete(&mut self, deletion: &Signed<Deletion>) -> Result<NodeReply, Failure> {
        let deletion = self.authority.deletion(deletion)?;
        let free_at = self.node.rt.now().after(self.node.config.retire_for);
        match self.node.store.retire(deletion.name.id(), free_at).await {
            Ok(()) | Err(StoreError::NotFound) => Ok(NodeReply::Deleted),
            Err(error) => Err(error.into()),
        }
    }
}
