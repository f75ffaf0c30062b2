//! Keep private files on disks that other people own.

pub mod address;
mod announce;
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

pub use error::{Error, Result};
pub use registry::{Registry, RegistryBuilder, RegistryHandle};
