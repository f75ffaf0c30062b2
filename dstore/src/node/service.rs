//! Requests of one connection, one after another (docs/wire.md section 7).
//!
//! Invariant: nothing is answered as stored before the store has made it durable, and every refusal is a number.

mod copies;

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use tracing::Instrument;

use super::NodeCore;
use super::admission::Caller;
use super::authority::{Authority, lease_until};
use crate::id::ShardRoot;
use crate::merkle::{BLOCK_LEN, BlockRange};
use crate::net::{Body, Link, LinkError, ServerCounts, Service, Serving};
use crate::proto::{
    BlockRequest, Deletion, MAX_READ_BLOCKS, MAX_SMALL_LEN, NodeInfo, NodeReply, NodeRequest, PutEnd, PutOffer,
    Receipt, Refusal, Rights, ShardHealth, ShardName, ShardStatus, Signed, Token, decode, encode,
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
    fn counts(&self) -> ServerCounts {
        self.metrics.server.clone()
    }

    fn serve(self: Arc<Self>, link: Link, serving: Serving) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let me = (self.identity.id(), self.network);
            let authority = Authority::new(me, link.session, link.peer);
            let mut connection = Connection { node: self, link, authority };
            while let Some(request) = serving.next(&mut connection.link).await {
                let outcome = connection.counted(&request).await;
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
    /// Answers a request, and notes what it was and how it ended.
    async fn counted(&mut self, request: &[u8]) -> Result<(), Failure> {
        let kind = self.node.metrics.requests.kind(request);
        let started = self.node.rt.uptime();
        let span = tracing::debug_span!("request", kind, shard = tracing::field::Empty);
        let outcome = self.answer(request).instrument(span.clone()).await;
        let word = match &outcome {
            Ok(()) => "ok",
            Err(Failure::Refused(refusal) | Failure::RefusedMidway(refusal)) => refusal.name(),
            Err(Failure::Broken) => "broken",
        };
        let took = self.node.rt.uptime().saturating_sub(started);
        self.node.metrics.requests.ended(kind, word, took);
        span.in_scope(|| tracing::debug!(outcome = word, ms = took.as_secs_f64() * 1000.0, "answered"));
        outcome
    }

    /// Names the shard of the request under way in the log.
    fn about(name: &ShardName) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::Span::current().record("shard", tracing::field::display(name.id().short()));
        }
    }

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
            NodeRequest::PutCopy { offer, body } => self.put_copy(&offer, body).await?,
            NodeRequest::GetCopy(query) => self.get_copy(&query).await?,
            NodeRequest::ListCopies { cursor } => self.list_copies(cursor).await?,
            NodeRequest::Accept(invite) => {
                let terms = self.authority.invite(&invite)?;
                self.node.door.guests.accept(&terms, self.link.peer, &self.node.rt).await?;
                self.info().await?
            }
            NodeRequest::Transfer(none) => match none {},
        };
        self.link.writer.control(&encode(&reply));
        Ok(())
    }

    async fn info(&self) -> Result<NodeReply, Failure> {
        let usage = self.node.store.usage().await?;
        Ok(NodeReply::Info(NodeInfo {
            capacity: self.node.config.capacity,
            used: usage.used,
            free: usage.free,
            shards: usage.shards,
            time: self.node.rt.now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            damaged: usage.damaged,
            draining: self.node.is_draining(),
        }))
    }

    fn receipt(&self, offer: &ShardName, stored: &StoredShard) -> NodeReply {
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

    /// Refuses everything new while draining.
    fn check_draining(&self) -> Result<(), Refusal> {
        if self.node.is_draining() { Err(Refusal::NoSpace) } else { Ok(()) }
    }

    /// Refuses what would take the peer's account over its quota.
    async fn check_quota(&self, len: u64) -> Result<(), Refusal> {
        self.node.check_quota(self.caller()?, len).await
    }

    /// The peer, if it may store shards.
    fn caller(&self) -> Result<Caller, Refusal> {
        self.node.door.caller(self.link.peer, self.link.remote.ip())
    }

    /// As [`Connection::check_quota`], for a put that is begun, or taken up: what is set aside for it counts already.
    async fn check_begin(&self, offer: &PutOffer) -> Result<(), Refusal> {
        let failed = |error: StoreError| refusal(&error);
        let account = self.caller()?.account;
        let open = self.node.store.open_shard(offer.name.id()).await.map_err(failed)?;
        if open.is_none() {
            self.check_draining()?;
        }
        let len = offer.len.unwrap_or(0);
        let Some(ours) = open.filter(|open| open.account == account) else {
            let usage = self.node.store.account_usage(account).await.map_err(failed)?;
            if usage.open >= self.node.config.max_open {
                return Err(Refusal::Quota);
            }
            return self.check_quota(len.max(open.map_or(0, |open| open.held))).await;
        };
        self.check_quota(len.saturating_sub(ours.reserved)).await
    }

    async fn put_small(&mut self, signed: &Signed<PutOffer>) -> Result<NodeReply, Failure> {
        let mut body = Vec::new();
        while self.link.reader.data(&mut body).await? == Body::More {
            if body.len() > MAX_SMALL_LEN {
                return Err(Failure::RefusedMidway(Refusal::Mismatch));
            }
        }
        let offer = self.authority.offer(signed)?;
        Self::about(&offer.name);
        let root = offer.root.ok_or(Refusal::Malformed)?;
        if offer.len != Some(body.len() as u64) || body.len() > MAX_SMALL_LEN {
            return Err(Refusal::Mismatch.into());
        }
        self.check_draining()?;
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
        Self::about(&offer.name);
        let _open = self.node.open_put(self.caller()?, offer.len).await?;
        self.node.store.prepare(offer.name.id()).await;
        // Until what is set aside counts, nobody else is measured: else many could pass at once.
        let turn = self.node.quota_turn.lock().await;
        self.check_begin(&offer).await?;
        let mut writer = match self.node.store.begin(self.key(&offer), offer.len, self.node.rt.now()).await {
            Err(StoreError::Exists(stored)) if stored.state == ShardState::Live => {
                return Ok(self.receipt(&offer.name, &stored));
            }
            other => other?,
        };
        drop(turn);
        let have = writer.len() / BLOCK_LEN as u64;
        self.link.writer.control(&encode(&NodeReply::PutReady { have, root: writer.root() }));
        self.link.writer.flush().await?;
        let root = match self.receive(writer.as_mut(), &offer).await {
            Err(Failure::RefusedMidway(refusal)) => {
                // It cannot go on here: nobody should have to delete it to have the room back.
                writer.discard().await;
                return Err(Failure::RefusedMidway(refusal));
            }
            received => received?,
        };
        let until = lease_until(self.node.rt.now(), offer.lease);
        let stored = match writer.finish(root, until).await {
            // Another connection has put the same bytes meanwhile.
            Err(StoreError::Exists(stored)) if stored.state == ShardState::Live && stored.root == root => *stored,
            other => other?,
        };
        Ok(self.receipt(&offer.name, &stored))
    }

    /// Takes a body and its root: the next megabyte arrives while the last one is written. When the connection ends
    /// inside the body, what arrived of it is written.
    async fn receive(&mut self, writer: &mut dyn ShardWriter, offer: &PutOffer) -> Result<ShardRoot, Failure> {
        let midway = |error: StoreError| Failure::RefusedMidway(refusal(&error));
        let mut next = self.gather().await;
        loop {
            let (bytes, body) = next;
            if offer.len.is_none() {
                // A stream's length is not known beforehand: its quota is taken as it grows. What was written before counts already.
                self.check_quota(bytes.len() as u64).await.map_err(Failure::RefusedMidway)?;
            }
            if !matches!(body, Ok(Body::More)) {
                if !bytes.is_empty() {
                    writer.append(bytes).await.map_err(midway)?;
                }
                body?;
                break;
            }
            let written = writer.append(bytes);
            let gathered = pin!(self.gather());
            next = match select(written, gathered).await {
                Either::Left((written, gathered)) => {
                    written.map_err(midway)?;
                    gathered.await
                }
                Either::Right((gathered, written)) => {
                    written.await.map_err(midway)?;
                    gathered
                }
            };
        }
        let end = self.link.reader.control(crate::proto::MAX_CONTROL_LEN, self.node.config.limits.idle_timeout).await?;
        let end: PutEnd = decode("end of a put", &end).map_err(|_| Refusal::Malformed)?;
        Ok(end.root)
    }

    /// The next piece of a body, and whether it ends with it: whole blocks, except at the end of the body itself.
    async fn gather(&mut self) -> (Vec<u8>, Result<Body, LinkError>) {
        let mut bytes = Vec::with_capacity(APPEND_LEN + crate::net::MAX_DATA_LEN);
        let body = loop {
            match self.link.reader.data(&mut bytes).await {
                Ok(Body::More) if bytes.len() < APPEND_LEN || !bytes.len().is_multiple_of(BLOCK_LEN) => {}
                body => break body,
            }
            if bytes.len() > APPEND_LEN + BLOCK_LEN {
                break Err(LinkError::Protocol("data frames that are not whole blocks"));
            }
        };
        if body.is_err() {
            bytes.truncate(bytes.len() - bytes.len() % BLOCK_LEN);
        }
        (bytes, body)
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
        Self::about(&token.name);
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
        Self::about(&token.name);
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
        Self::about(&token.name);
        let stored = self.node.store.renew(token.name.id(), lease_until(now, lease)).await?;
        Ok(self.receipt(&token.name, &stored))
    }

    async fn delete(&mut self, deletion: &Signed<Deletion>) -> Result<NodeReply, Failure> {
        let deletion = self.authority.deletion(deletion)?;
        Self::about(&deletion.name);
        let free_at = self.node.rt.now().after(self.node.config.retire_for);
        match self.node.store.retire(deletion.name.id(), free_at).await {
            Ok(()) | Err(StoreError::NotFound) => Ok(NodeReply::Deleted),
            Err(error) => Err(error.into()),
        }
    }
}
