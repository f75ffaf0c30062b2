//! Fixed-length names: each a type of its own, written as lower-case hex.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that is not the hex of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {0} bytes of hex")]
pub struct ParseIdError(usize);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The id with these bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hex digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError($len))?;
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// An owner: the Ethereum address of the owner key.
    OwnerId,
    20
);
id!(
    /// A storage node or a registry: the Ethereum address of its identity key.
    NodeId,
    20
);
id!(
    /// A file on the ledger: `keccak256(abi.encode(owner, salt))` (docs/format.md section 3).
    FileId,
    32
);
id!(
    /// What a file is filed under, known only to its owner until the first write.
    PathSalt,
    32
);
id!(
    /// One shard at one node: derived from its capability, so that no other node can match it.
    ShardId,
    32
);
id!(
    /// The copy of one file's record at one node: derived from its key, so that it matches nothing elsewhere.
    CopyId,
    32
);
id!(
    /// The BLAKE3 hash of a whole shard: the root of its tree of blocks.
    ShardRoot,
    32
);
id!(
    /// A network: the hash of its label.
    NetworkId,
    32
);
id!(
    /// A ledger: chain id and contract, or the random id of a local one.
    LedgerId,
    32
);
id!(
    /// A public X25519 key of the Noise transport.
    NoiseKey,
    32
);
id!(
    /// A contract on a chain: its Ethereum address.
    ContractId,
    20
);
