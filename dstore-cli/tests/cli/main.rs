//! The command line from outside: real processes, exit codes, JSON, signals and pipes.

mod admin;
#[path = "../../src/anvil.rs"]
mod anvil;
#[expect(unreachable_pub, reason = "shared with the benchmark of the same attack")]
#[path = "../../../benches/src/attacker.rs"]
mod attacker;
mod chain;
mod chain_failure;
mod check;
mod config;
mod demo;
mod doctor;
mod files;
mod forgetful;
mod guests;
mod hostile;
mod network;
mod nodes;
mod pages;
mod process;
mod recovery;
mod transfers;
mod versions;
