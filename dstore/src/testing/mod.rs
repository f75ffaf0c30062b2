//! The test kit: a network in one process, a simulation of one, and what implementations of the ports are held to.

mod cluster;
pub mod conformance;
mod faults;
mod hooked_ledger;
mod liar;
mod memory_net;
mod sim;

pub use cluster::Cluster;
pub use faults::{BrokenLedger, BrokenStore, Defect, LedgerFault};
pub use hooked_ledger::{HookedLedger, LedgerHooks, LedgerWrite};
pub use liar::{Lie, LyingNode};
pub use memory_net::{HostEnv, MemoryNet};
pub use sim::{Running, Sim, SimClient, SimHost, SimLedger, SimLink, SimNet};
