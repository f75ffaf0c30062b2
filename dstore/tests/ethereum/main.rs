//! The ledger on Ethereum against a real development chain, anvil (`npm ci --prefix contracts` brings it).

#![cfg(feature = "ethereum")]

mod anvil;
#[path = "../client/counting.rs"]
mod counting;
mod crash;
mod faults;
mod kit;
mod model;
mod network;
mod proxy;
mod reorg;
mod rules;
mod sending;
