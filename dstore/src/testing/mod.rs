//! The test kit: what implementations of the ports are held to.

pub mod conformance;
