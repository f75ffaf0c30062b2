//! The command line from outside: real processes, exit codes, JSON, signals and pipes.

mod admin;
mod check;
mod config;
mod demo;
mod doctor;
mod files;
mod network;
mod nodes;
mod pages;
mod process;
mod recovery;
mod transfers;
mod versions;
