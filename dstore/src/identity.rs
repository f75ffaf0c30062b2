//! The two keys of a storage node or registry: one that signs, one that connects (docs/wire.md section 1).

use crate::id::{NodeId, NoiseKey};
use crate::keys::TransportKey;
use crate::rt::Rt;
use crate::signature::SecretKey;

/// Who a storage node or registry is. Two separate random keys; prints without them.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    signing: SecretKey,
    transport: TransportKey,
}

impl ServerIdentity {
    /// A new identity from the environment's entropy.
    #[must_use]
    pub fn generate(rt: &Rt) -> Self {
        let signing = std::iter::repeat_with(|| SecretKey::new(&rt.random()))
            .flatten()
            .next()
            .expect("all but one in 2^127 candidates are valid");
        Self { signing, transport: TransportKey::new(rt.random()) }
    }

    /// The identity with these two private keys; `None` if the first is not valid.
    #[must_use]
    pub fn from_secrets(signing: &[u8; 32], transport: [u8; 32]) -> Option<Self> {
        Some(Self { signing: SecretKey::new(signing)?, transport: TransportKey::new(transport) })
    }

    /// Its id: the Ethereum address of the signing key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::new(self.signing.address())
    }

    /// Its public transport key.
    #[must_use]
    pub fn noise_key(&self) -> NoiseKey {
        self.transport.public_key()
    }

    pub(crate) fn signing(&self) -> &SecretKey {
        &self.signing
    }

    pub(crate) fn transport(&self) -> &TransportKey {
        &self.transport
    }
}
