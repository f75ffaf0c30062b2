//! What tests of dstore, and of programs that embed it, are made of.

pub mod conformance;
