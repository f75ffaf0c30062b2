//! Keep private files on disks that other people own.

pub mod address;
mod announce;
pub mod client;
pub mod config;
pub mod erasure;
pub mod error;
pub mod id;
pub mod identity;
pub mod keyfile;
pub mod keys;
pub mod ledger;
pub mod manifest;
pub mod merkle;
pub mod net;
pub mod node;
pub mod noise;
pub mod path;
pub mod placement;
pub mod proto;
pub mod registry;
pub mod rt;
pub mod scheme;
pub mod seal;
pub mod signature;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use address::RegistryAddr;
pub use client::{
    ByteStream, Client, ClientBuilder, Committed, Get, Head, Network, NodeStatus, Progress, Put, PutMode, Reader,
    ShardCheck, ShardHealth, ShardHome, Source, Warning, WarningCode,
};
pub use error::{Error, Result};
pub use identity::ServerIdentity;
pub use keys::Owner;
pub use ledger::{LocalLedger, MemoryLedger};
pub use net::{Limits, ServerHandle};
pub use node::{NodeHandle, StorageNode, StorageNodeBuilder};
pub use path::FilePath;
pub use registry::{Registry, RegistryBuilder, RegistryHandle};
pub use scheme::{Padding, Scheme};
