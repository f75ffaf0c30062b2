//! The command line from outside: real processes, exit codes, JSON, signals and pipes.

mod admin;
mod config;
mod demo;
mod files;
mod network;
mod nodes;
mod process;
mod recovery;
mod transfers;
