//! One suite for each port: its rules as small checks that every implementation passes.

pub mod ledger;
