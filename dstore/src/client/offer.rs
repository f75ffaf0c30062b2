//! Offering the shards of one content to nodes, and what a node may answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::edit::Abandoned;
use super::note::{Note, Notes, Offered};
use super::pool::Lease;
use super::send::Held;
use super::{Reporter, Shared};
use crate::error::Result;
use crate::id::ShardRoot;
use crate::keys::ContentKey;
use crate::manifest::{Manifest, NodePlace};
use crate::net::{Link, LinkError};
use crate::proto::{CapabilityKey, MAX_LEASE, NodeReply, NodeRequest, PutOffer, Receipt, ShardName, Signed};
use crate::signature::SecretKey;

/// How long a node may take to say whether it takes a shard.
const READY: Duration = Duration::from_secs(10);

/// One shard for one node.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) node: NodePlace,
    pub(super) name: ShardName,
    capability: SecretKey,
    /// Whether the node may have something of it.
    known: bool,
}

/// A node's answer to an offer.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it arrives")]
pub(super) enum Answer {
    /// It is ready for what it does not have.
    Ready(Lease, Held),
    /// The whole shard is durable there, with this root and length.
    Stored(ShardRoot, u64),
}

/// The shards of one content that were offered. What is not kept is retired when this is dropped.
pub(super) struct Offers {
    client: Arc<Shared>,
    key: ContentKey,
    /// What may be at nodes.
    made: Mutex<Vec<(NodePlace, ShardName)>>,
    notes: Option<Notes>,
    /// Whether what is at the nodes stays for a later attempt, when this one does not succeed.
    pub(super) kept: bool,
    /// Whether a record that may still come names what is at the nodes: then that stays, whatever happens.
    pub(super) named: bool,
}

impl Offers {
    pub(super) fn new(client: &Arc<Shared>, key: ContentKey, notes: Option<Notes>, kept: bool) -> Self {
        Self { client: client.clone(), key, made: Mutex::default(), notes, kept, named: false }
    }

    pub(super) fn key(&self) -> &ContentKey {
        &self.key
    }

    fn made(&self) -> MutexGuard<'_, Vec<(NodePlace, ShardName)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An offer that an earlier attempt made already.
    pub(super) fn again(&self, offered: Offered) -> Offer {
        self.make(offered, true)
    }

    fn make(&self, offered: Offered, known: bool) -> Offer {
        let Offered { index, node, generation } = offered;
        let capability = self.key.capability(node.id);
        let name = ShardName { capability: CapabilityKey::new(capability.public_key()), index, generation };
        self.made().push((node.clone(), name));
        Offer { node, name, capability, known }
    }

    /// Notes that these shards are about to be offered: from now on they may be at their nodes.
    pub(super) async fn announce(&mut self, offered: Vec<Offered>) -> Result<Vec<Offer>> {
        if let Some(notes) = self.notes.as_mut().filter(|_| !offered.is_empty()) {
            notes.add(&Note::Offered(offered.clone())).await?;
        }
        Ok(offered.into_iter().map(|offered| self.make(offered, false)).collect())
    }

    /// Stores a small shard whole.
    pub(super) async fn store(&self, offer: &Offer, root: ShardRoot, bytes: &[u8]) -> Result<(), LinkError> {
        let len = bytes.len() as u64;
        let statement = statement(offer, Some(len), Some(root));
        let network = self.client.settings.network;
        let make =
            |link: &Link| NodeRequest::PutSmall(Signed::new(&statement, &offer.capability, network, &link.session));
        let reply = self.client.pool.ask(&offer.node, make, Some(bytes)).await?;
        if self.receipt(&reply, offer)? != (root, len) {
            return Err(LinkError::Protocol("a receipt for something else"));
        }
        Ok(())
    }

    /// Offers a shard, of which the node may have a part from before.
    pub(super) async fn begin(&self, offer: &Offer, len: Option<u64>) -> Result<Answer, LinkError> {
        let statement = statement(offer, len, None);
        let network = self.client.settings.network;
        let make =
            |link: &Link| NodeRequest::PutBegin(Signed::new(&statement, &offer.capability, network, &link.session));
        let limit = READY.min(self.client.settings.timeout);
        let (reply, lease) = self.client.rt.timeout(limit, self.client.pool.call(&offer.node, make, None)).await??;
        let answer = match reply {
            NodeReply::PutReady { have, root } => Answer::Ready(lease, Held { blocks: have, root }),
            reply => {
                let (root, len) = self.receipt(&reply, offer)?;
                self.client.pool.give_back(offer.node.id, lease);
                Answer::Stored(root, len)
            }
        };
        match answer {
            Answer::Ready(_, Held { blocks: 0, .. }) => Ok(answer),
            _ if !offer.known => Err(LinkError::Protocol("a node has something of a shard that is new")),
            _ => Ok(answer),
        }
    }

    /// Root and length in a receipt for this very shard, signed by this very node.
    pub(super) fn receipt(&self, reply: &NodeReply, offer: &Offer) -> Result<(ShardRoot, u64), LinkError> {
        let NodeReply::Stored(signed) = reply else { return Err(LinkError::Protocol("no receipt for a shard")) };
        let receipt = signed.receipt(self.client.settings.network).ok_or(LinkError::Protocol("a forged receipt"))?;
        let Receipt { node, name, root, len, lease_until, .. } = receipt;
        if (node, name) != (offer.node.id, offer.name) || lease_until <= self.client.rt.now() {
            return Err(LinkError::Protocol("a receipt for something else"));
        }
        Ok((root, len))
    }

    /// Ends the offering with success: what the manifest does not name is retired; the log goes to whoever goes on.
    pub(super) fn succeed(mut self, manifest: &Manifest) -> Option<Notes> {
        let is_used = |(node, name): &(NodePlace, ShardName)| {
            let index = usize::from(name.index);
            let place = manifest.shards.get(index);
            place.is_some_and(|place| place.generation == name.generation && manifest.holder(index).id == node.id)
        };
        self.made().retain(|made| !is_used(made));
        (self.kept, self.named) = (false, false);
        self.notes.take()
    }
}

fn statement(offer: &Offer, len: Option<u64>, root: Option<ShardRoot>) -> PutOffer {
    let lease = u64::try_from(MAX_LEASE.as_millis()).unwrap_or(u64::MAX);
    PutOffer { node: offer.node.id, name: offer.name, len, lease, root }
}

impl Offer {
    /// From now on its node may have something of it.
    pub(super) fn made(&mut self) {
        self.known = true;
    }
}

/// An attempt that failed, or was dropped by whoever waited for it, leaves nothing behind but what is kept.
impl Drop for Offers {
    fn drop(&mut self) {
        if self.kept || self.named {
            return;
        }
        let made = std::mem::take(&mut *self.made());
        let shards = made.into_iter().map(|(node, name)| Abandoned::new(&self.key, node, name)).collect();
        match self.notes.take() {
            Some(notes) => self.client.abandon(shards, notes),
            None => self.client.retire(shards, Reporter::default(), None),
        }
    }
}
