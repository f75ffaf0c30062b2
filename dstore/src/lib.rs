//! Keep private files on disks that other people own.

pub mod error;
pub mod id;
pub mod ledger;
pub mod merkle;
pub mod rt;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use error::{Error, Result};
