//! Rule sets that every implementation of a port keeps.

pub mod copies;
pub mod ledger;
mod open_shard;
pub mod store;
