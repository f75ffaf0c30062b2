//! The command line from outside: real processes, exit codes, JSON, signals and pipes.

#[expect(unreachable_pub, reason = "shared with the benchmark of the same attack")]
#[path = "../../../benches/src/attacker.rs"]
mod attacker;
mod config;
mod demo;
mod files;
mod guests;
mod hostile;
mod network;
mod nodes;
mod process;
mod transfers;
