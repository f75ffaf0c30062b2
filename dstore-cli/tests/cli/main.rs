//! The command line from outside: real processes, exit codes, JSON, signals and pipes.

mod admin;
#[expect(unreachable_pub, reason = "shared with the benchmark of the same attack")]
#[path = "../../../benches/src/attacker.rs"]
mod attacker;
mod check;
mod config;
mod demo;
mod doctor;
mod files;
mod guests;
mod hostile;
mod network;
mod nodes;
mod pages;
mod process;
mod recovery;
mod transfers;
mod versions;
