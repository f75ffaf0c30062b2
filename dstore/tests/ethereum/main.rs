//! The ledger on Ethereum against a real development chain, anvil (`npm ci --prefix contracts` brings it).

#![cfg(feature = "ethereum")]

mod anvil;
mod kit;
mod rules;
