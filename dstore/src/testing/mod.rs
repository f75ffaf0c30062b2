//! The test kit: a network in one process, and what implementations of the ports are held to.

mod cluster;
pub mod conformance;
mod faults;
mod liar;
mod memory_net;

pub use cluster::Cluster;
pub use faults::BrokenLedger;
pub use liar::{Lie, LyingNode};
pub use memory_net::{HostEnv, MemoryNet};
