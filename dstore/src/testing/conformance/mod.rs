//! One suite of rules for each port: every implementation passes it.

pub mod store;
