//! The ledger on Ethereum against a real development chain, anvil (`npm ci --prefix contracts` brings it).

#![cfg(feature = "ethereum")]

mod anvil;
mod faults;
mod kit;
mod model;
mod proxy;
mod reorg;
mod rules;
mod sending;
