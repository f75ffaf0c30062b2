//! Who may do what to a shard: every check that stands between a request and the store (docs/wire.md section 6).
//!
//! Invariant: knowing an id authorises nothing; each yes follows from a signature by the shard's own capability.

use std::time::Duration;

use crate::id::{NetworkId, NodeId, NoiseKey};
use crate::proto::{
    CLOCK_SKEW, CopyOffer, CopyQuery, Deletion, Invite, InviteTerms, MAX_LEASE, PutOffer, Refusal, Rights, Signed,
    Token,
};
use crate::rt::Timestamp;

/// Tokens of one connection that were checked already: a long read repeats its token with every request.
const REMEMBERED: usize = 8;

/// The checks of one connection.
pub(super) struct Authority {
    node: NodeId,
    network: NetworkId,
    session: [u8; 32],
    peer: NoiseKey,
    seen: Vec<(Signed<Token>, Token)>,
}

impl Authority {
    pub(super) fn new((node, network): (NodeId, NetworkId), session: [u8; 32], peer: NoiseKey) -> Self {
        Self { node, network, session, peer, seen: Vec::new() }
    }

    /// What the bearer of `signed` may touch, if it allows `rights` now, here, to this peer.
    pub(super) fn token(
        &mut self,
        signed: &Signed<Token>,
        rights: &[Rights],
        now: Timestamp,
    ) -> Result<Token, Refusal> {
        let token = match self.seen.iter().find(|(known, _)| known.is_same(signed)) {
            Some((_, token)) => token.clone(),
            None => {
                let token = signed.token(self.network).ok_or(Refusal::Denied)?;
                if self.seen.len() >= REMEMBERED {
                    self.seen.remove(0);
                }
                self.seen.push((signed.clone(), token.clone()));
                token
            }
        };
        let held_by_peer = token.holder.is_none_or(|holder| holder == self.peer);
        if token.node != self.node || !held_by_peer || !rights.contains(&token.rights) {
            return Err(Refusal::Denied);
        }
        if token.not_before > now.after(CLOCK_SKEW) || token.not_after.after(CLOCK_SKEW) <= now {
            return Err(Refusal::Expired);
        }
        Ok(token)
    }

    /// What the peer offers to store.
    pub(super) fn offer(&self, signed: &Signed<PutOffer>) -> Result<PutOffer, Refusal> {
        let offer = signed.offer(self.network, &self.session).ok_or(Refusal::Denied)?;
        if offer.node == self.node { Ok(offer) } else { Err(Refusal::Denied) }
    }

    /// Which copy of a record the peer may store.
    pub(super) fn copy_offer(&self, signed: &Signed<CopyOffer>) -> Result<CopyOffer, Refusal> {
        let offer = signed.copy_offer(self.network, &self.session).ok_or(Refusal::Denied)?;
        if offer.node == self.node { Ok(offer) } else { Err(Refusal::Denied) }
    }

    /// Which copy of a record the peer may read.
    pub(super) fn copy_query(&self, signed: &Signed<CopyQuery>) -> Result<CopyQuery, Refusal> {
        let query = signed.copy_query(self.network, &self.session).ok_or(Refusal::Denied)?;
        if query.node == self.node { Ok(query) } else { Err(Refusal::Denied) }
    }

    /// An invite by this node.
    pub(super) fn invite(&self, signed: &Invite) -> Result<InviteTerms, Refusal> {
        let terms = signed.terms(self.network).ok_or(Refusal::Denied)?;
        if terms.node == self.node { Ok(terms) } else { Err(Refusal::Denied) }
    }

    /// What the peer may retire.
    pub(super) fn deletion(&self, signed: &Signed<Deletion>) -> Result<Deletion, Refusal> {
        let deletion = signed.deletion(self.network, &self.session).ok_or(Refusal::Denied)?;
        if deletion.node == self.node { Ok(deletion) } else { Err(Refusal::Denied) }
    }
}

/// The end of a lease of so many milliseconds from `now`: at most the longest.
pub(super) fn lease_until(now: Timestamp, lease: u64) -> Timestamp {
    now.after(Duration::from_millis(lease).min(MAX_LEASE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{CapabilityKey, ShardName};
    use crate::signature::SecretKey;

    const NODE: NodeId = NodeId::new([1; 20]);
    const NETWORK: NetworkId = NetworkId::new([2; 32]);
    const PEER: NoiseKey = NoiseKey::new([3; 32]);
    const HOUR: Duration = Duration::from_secs(3600);

    fn capability() -> SecretKey {
        SecretKey::new(&[4; 32]).expect("valid")
    }

    fn name() -> ShardName {
        ShardName { capability: CapabilityKey::new(capability().public_key()), index: 0, generation: 0 }
    }

    fn now() -> Timestamp {
        Timestamp::default().after(1000 * HOUR)
    }

    fn authority() -> Authority {
        Authority::new((NODE, NETWORK), [5; 32], PEER)
    }

    fn token() -> Token {
        Token {
            node: NODE,
            name: name(),
            rights: Rights::Read,
            holder: Some(PEER),
            not_before: now(),
            not_after: now().after(HOUR),
        }
    }

    fn judge(token: &Token, now: Timestamp) -> Result<Token, Refusal> {
        let signed = Signed::new(token, &capability(), NETWORK, &[]);
        authority().token(&signed, &[Rights::Read], now)
    }

    #[test]
    fn a_token_serves_its_holder_at_its_node_in_its_time() {
        assert!(judge(&token(), now()).is_ok());
        assert!(judge(&Token { holder: None, ..token() }, now()).is_ok());
        assert_eq!(judge(&Token { holder: Some(NoiseKey::new([9; 32])), ..token() }, now()), Err(Refusal::Denied));
        assert_eq!(judge(&Token { node: NodeId::new([9; 20]), ..token() }, now()), Err(Refusal::Denied));
        assert_eq!(judge(&Token { rights: Rights::Renew, ..token() }, now()), Err(Refusal::Denied));
        assert_eq!(judge(&token(), now().after(2 * HOUR)), Err(Refusal::Expired));
        assert_eq!(judge(&token(), now().before(HOUR)), Err(Refusal::Expired));
        assert!(judge(&token(), now().before(CLOCK_SKEW)).is_ok(), "clocks may differ a little");
    }

    #[test]
    fn a_remembered_token_is_judged_anew_each_time() {
        let mut authority = authority();
        let signed = Signed::new(&token(), &capability(), NETWORK, &[]);
        assert!(authority.token(&signed, &[Rights::Read], now()).is_ok());
        assert_eq!(authority.token(&signed, &[Rights::Read], now().after(2 * HOUR)), Err(Refusal::Expired));
        assert_eq!(authority.token(&signed, &[Rights::Renew], now()), Err(Refusal::Denied));
    }

    #[test]
    fn a_token_signed_by_another_capability_is_denied() {
        let thief = SecretKey::new(&[6; 32]).expect("valid");
        let signed = Signed::new(&token(), &thief, NETWORK, &[]);
        assert_eq!(authority().token(&signed, &[Rights::Read], now()), Err(Refusal::Denied));
    }

    #[test]
    fn a_lease_is_never_longer_than_90_days() {
        assert_eq!(lease_until(now(), u64::MAX), now().after(MAX_LEASE));
        assert_eq!(lease_until(now(), 1000), now().after(Duration::from_secs(1)));
    }
}
