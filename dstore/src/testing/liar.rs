//! A storage node that lies on the wire, for whoever wants to see that nothing comes of it.
//!
//! Invariant: apart from its one lie it does what docs/wire.md section 7 asks of a node, without looking at who asks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Cluster;
use crate::announce::{Announcer, NodeDescription};
use crate::error::{Error, Result};
use crate::id::{NetworkId, NodeId, ShardId, ShardRoot};
use crate::identity::ServerIdentity;
use crate::keys::network_id;
use crate::merkle::{BLOCK_LEN, BlockRange};
use crate::net::{self, Body, Identity, Limits, Link, LinkError, ServerHandle, Service, Serving};
use crate::noise::Role;
use crate::proto::{
    BlockRequest, MAX_CONTROL_LEN, MAX_LEASE, NodeInfo, NodeReply, NodeRequest, PutEnd, PutOffer, Receipt, Refusal,
    ShardHealth, ShardName, ShardStatus, Signed, Token, decode, encode,
};
use crate::rt::{BoxFuture, Rt, Timestamp};
use crate::store::{MemoryStore, ProvedBlocks, ShardKey, ShardStore, StoreError, StoredShard};

const CAPACITY: u64 = 1 << 30;
/// Between two bytes of a node that drips.
const DRIP: Duration = Duration::from_millis(5);

/// What a [`LyingNode`] does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// Nothing.
    Nothing,
    /// Reads: the last byte of each block is another.
    WrongBlock,
    /// Reads: other blocks of the same shard, with their own proof.
    OtherBlock,
    /// Reads: the same blocks of another shard of the file, with their own proof.
    OtherShard,
    /// Reads: the same blocks of a shard of another version, with their own proof.
    StaleShard,
    /// Reads: a proof that is none.
    WrongProof,
    /// Reads: the body ends a byte early.
    ShortBody,
    /// Reads: the connection ends amid the body.
    CutBody,
    /// Reads: the body never ends.
    EndlessBody,
    /// Reads: pads without end, and never an answer.
    EndlessPads,
    /// Reads: a byte now and then.
    Drip,
    /// Reads: a good proof, and a refusal in place of the body.
    RefusedBody,
    /// Reads: a refusal without a meaning.
    UnknownRefusal,
    /// Reads: another message than an answer to a read.
    OtherAnswer,
    /// Reads: a lease that ended long ago.
    LeaseLongOver,
    /// Reads: a lease without end.
    LeaseForEver,
    /// Puts: a receipt that somebody else signed.
    ForgedReceipt,
    /// Puts: a receipt for other bytes.
    OtherReceipt,
    /// Puts: a good receipt, and nothing is kept.
    Discard,
    /// Puts: it is ready, and then refuses.
    RefusalWhenReady,
    /// Puts: it says that it has blocks of a put that never was.
    NonsenseHave,
}

/// A running node that lies. Dropping it stops it at once.
pub struct LyingNode {
    core: Arc<Core>,
    _server: ServerHandle,
    _announcer: Announcer,
}

struct Core {
    rt: Rt,
    identity: ServerIdentity,
    network: NetworkId,
    store: MemoryStore,
    lie: Mutex<Lie>,
}

impl LyingNode {
    /// Joins the network of `cluster`; ready when the registry lists it. It tells no lie yet.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot listen, which does not happen in memory.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let host = cluster.net().host();
        let rt = Rt::new(host.clone());
        let identity = ServerIdentity::generate(&rt);
        let address = format!("{}:0", host.ip());
        let listener = rt.listen(&address).await.map_err(|error| Error::io("cannot listen", error))?;
        let endpoint = listener.local_addr().to_string();
        let (network, store) = (network_id("dstore"), MemoryStore::new(CAPACITY));
        let lie = Mutex::new(Lie::Nothing);
        let core = Arc::new(Core { rt: rt.clone(), identity: identity.clone(), network, store, lie });
        let served = Identity { id: identity.id(), transport: identity.transport().clone(), role: Role::Node, network };
        let server = net::start(&rt, listener, served, Limits::default(), core.clone());
        let describe = move || NodeDescription {
            endpoints: vec![endpoint.clone()],
            capacity: CAPACITY,
            free: CAPACITY,
            used: 0,
            zone: String::new(),
            draining: false,
            connections: 0,
        };
        let registries = vec![cluster.registry_address().clone()];
        let announcer = Announcer::start(&rt, &identity, network, registries, describe);
        announcer.registered().await;
        Ok(Self { core, _server: server, _announcer: announcer })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.core.identity.id()
    }

    /// What it keeps.
    #[must_use]
    pub fn store(&self) -> &MemoryStore {
        &self.core.store
    }

    /// From the next request on it tells this lie.
    pub fn tell(&self, lie: Lie) {
        *self.core.lie.lock().unwrap_or_else(PoisonError::into_inner) = lie;
    }
}

impl fmt::Debug for LyingNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LyingNode").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// A refusal, or the end of the connection.
enum Stop {
    Refused(Refusal),
    Closed,
}

impl From<LinkError> for Stop {
    fn from(_: LinkError) -> Self {
        Self::Closed
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(match error {
            StoreError::NotFound => Refusal::NotFound,
            _ => Refusal::Failed,
        })
    }
}

impl Service for Core {
    fn serve(self: Arc<Self>, mut link: Link, serving: Serving) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some(request) = serving.next(&mut link).await {
                let Ok(request) = decode("node request", &request) else { return };
                match self.answer(&mut link, request).await {
                    Ok(()) => {}
                    Err(Stop::Refused(refusal)) => link.writer.abort(refusal),
                    Err(Stop::Closed) => return,
                }
                if link.writer.flush().await.is_err() {
                    return;
                }
            }
        })
    }
}

impl Core {
    fn lie(&self) -> Lie {
        *self.lie.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, link: &mut Link, request: NodeRequest) -> Result<(), Stop> {
        let reply = match request {
            NodeRequest::Info => NodeReply::Info(NodeInfo {
                capacity: CAPACITY,
                used: 0,
                free: CAPACITY,
                shards: 0,
                time: self.rt.now(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                damaged: 0,
                draining: false,
            }),
            NodeRequest::Read(request) => return self.read(link, &request).await,
            NodeRequest::Hashes(request) => {
                let (shard, range) = self.blocks(&request).await?;
                let proof = self.store.prove(shard.key.id, range).await?.proof;
                NodeReply::Blocks { proof, lease_until: shard.lease_until }
            }
            NodeRequest::Stat(token) => {
                let StoredShard { root, len, lease_until, .. } = self.store.stat(self.token(&token)?.name.id()).await?;
                NodeReply::Status(ShardStatus { root, len, lease_until, health: ShardHealth::Live })
            }
            NodeRequest::Renew { token, .. } => {
                let name = self.token(&token)?.name;
                let stored = self.store.renew(name.id(), self.rt.now().after(MAX_LEASE)).await?;
                self.receipt(name, stored.root, stored.len)
            }
            NodeRequest::Delete(deletion) => {
                let deletion = deletion.deletion(self.network, &link.session).ok_or(Stop::Refused(Refusal::Denied))?;
                let _ = self.store.retire(deletion.name.id(), self.rt.now()).await;
                NodeReply::Deleted
            }
            NodeRequest::PutBegin(offer) => {
                let offer = offer.offer(self.network, &link.session).ok_or(Stop::Refused(Refusal::Denied))?;
                self.put(link, &offer, true).await?
            }
            NodeRequest::PutSmall(offer) => {
                let offer = offer.offer(self.network, &link.session).ok_or(Stop::Refused(Refusal::Denied))?;
                self.put(link, &offer, false).await?
            }
            // Of copies and guests it tells no lies: it has none.
            NodeRequest::PutCopy { .. }
            | NodeRequest::GetCopy(_)
            | NodeRequest::ListCopies { .. }
            | NodeRequest::Accept(_) => {
                return Err(Stop::Refused(Refusal::Unsupported));
            }
            NodeRequest::Transfer(none) => match none {},
        };
        link.writer.control(&encode(&reply));
        Ok(())
    }

    fn token(&self, signed: &Signed<Token>) -> Result<Token, Stop> {
        signed.token(self.network).ok_or(Stop::Refused(Refusal::Denied))
    }

    async fn blocks(&self, request: &BlockRequest) -> Result<(StoredShard, BlockRange), Stop> {
        let shard = self.store.stat(self.token(&request.token)?.name.id()).await?;
        let range = BlockRange::new(shard.len, request.first, request.count);
        Ok((shard, range.ok_or(Stop::Refused(Refusal::Malformed))?))
    }

    /// Another shard of the same length, of the same version or of another.
    async fn other_shard(&self, than: &StoredShard, is_same_version: bool) -> Option<ShardId> {
        for id in self.store.ids() {
            let Ok(shard) = self.store.stat(id).await else { continue };
            let is_same = shard.key.cap_pk == than.key.cap_pk;
            if id != than.key.id && shard.len == than.len && is_same == is_same_version {
                return Some(id);
            }
        }
        None
    }

    /// What is read in place of `range` of `shard`.
    async fn place(&self, shard: &StoredShard, range: BlockRange) -> (ShardId, BlockRange) {
        let id = shard.key.id;
        match self.lie() {
            Lie::OtherShard => (self.other_shard(shard, true).await.unwrap_or(id), range),
            Lie::StaleShard => (self.other_shard(shard, false).await.unwrap_or(id), range),
            Lie::OtherBlock => {
                let first = if range.first() == 0 { 1 } else { range.first() - 1 };
                (id, BlockRange::new(shard.len, first, range.count()).unwrap_or(range))
            }
            _ => (id, range),
        }
    }

    async fn read(&self, link: &mut Link, request: &BlockRequest) -> Result<(), Stop> {
        let (shard, range) = self.blocks(request).await?;
        let (id, range) = self.place(&shard, range).await;
        let ProvedBlocks { mut proof, mut bytes } = self.store.read(id, range).await?;
        let mut lease_until = shard.lease_until;
        let writer = &mut link.writer;
        match self.lie() {
            Lie::UnknownRefusal => return Err(Stop::Refused(Refusal::from(4242))),
            Lie::OtherAnswer => {
                writer.control(&encode(&NodeReply::Deleted));
                return Ok(());
            }
            Lie::EndlessPads => loop {
                writer.pad();
                writer.flush().await?;
            },
            Lie::WrongBlock => bytes.chunks_mut(BLOCK_LEN).for_each(|block| block[block.len() - 1] ^= 1),
            Lie::WrongProof => proof.push([7; 32]),
            Lie::ShortBody => drop(bytes.pop()),
            Lie::LeaseLongOver => lease_until = Timestamp::from_millis(1),
            Lie::LeaseForEver => lease_until = Timestamp::from_millis(u64::MAX),
            _ => {}
        }
        writer.control(&encode(&NodeReply::Blocks { proof, lease_until }));
        match self.lie() {
            Lie::RefusedBody => return Err(Stop::Refused(Refusal::Failed)),
            Lie::EndlessBody => loop {
                writer.data(&[&[0; BLOCK_LEN]], Body::More);
                writer.flush().await?;
            },
            Lie::CutBody => {
                writer.data(&[&bytes[..1]], Body::More);
                writer.flush().await?;
                return Err(Stop::Closed);
            }
            Lie::Drip => {
                for byte in bytes.chunks(1) {
                    writer.data(&[byte], Body::More);
                    writer.flush().await?;
                    self.rt.sleep(DRIP).await;
                }
                writer.data(&[], Body::End);
            }
            _ => writer.body(&bytes).await?,
        }
        Ok(())
    }

    async fn put(&self, link: &mut Link, offer: &PutOffer, is_asked: bool) -> Result<NodeReply, Stop> {
        if is_asked {
            let nonsense = NodeReply::PutReady { have: 77, root: ShardRoot::new([7; 32]) };
            let ready = NodeReply::PutReady { have: 0, root: ShardRoot::of(&[]) };
            link.writer.control(&encode(if self.lie() == Lie::NonsenseHave { &nonsense } else { &ready }));
            link.writer.flush().await?;
            if self.lie() == Lie::RefusalWhenReady {
                link.writer.abort(Refusal::NoSpace);
                link.writer.flush().await?;
                return Err(Stop::Closed);
            }
        }
        let mut bytes = Vec::new();
        while link.reader.data(&mut bytes).await? == Body::More {}
        if self.lie() == Lie::RefusalWhenReady {
            return Err(Stop::Refused(Refusal::NoSpace));
        }
        if is_asked {
            let end = link.reader.control(MAX_CONTROL_LEN, MAX_LEASE).await?;
            let _: PutEnd = decode("end of a put", &end).map_err(|_| Stop::Closed)?;
        }
        let (root, len) = (ShardRoot::of(&bytes), bytes.len() as u64);
        if self.lie() != Lie::Discard {
            let name = &offer.name;
            let key = ShardKey {
                id: name.id(),
                cap_pk: *name.capability.as_bytes(),
                index: name.index,
                generation: name.generation,
                account: link.peer,
            };
            self.store.put_small(key, root, self.rt.now().after(MAX_LEASE), bytes).await?;
        }
        let root = if self.lie() == Lie::OtherReceipt { ShardRoot::new([7; 32]) } else { root };
        Ok(self.receipt(offer.name, root, len))
    }

    fn receipt(&self, name: ShardName, root: ShardRoot, len: u64) -> NodeReply {
        let now = self.rt.now();
        let receipt =
            Receipt { node: self.identity.id(), name, root, len, lease_until: now.after(MAX_LEASE), time: now };
        let forger = ServerIdentity::generate(&self.rt);
        let signer = if self.lie() == Lie::ForgedReceipt { &forger } else { &self.identity };
        NodeReply::Stored(Signed::new(&receipt, signer.signing(), self.network, &[]))
    }
}
