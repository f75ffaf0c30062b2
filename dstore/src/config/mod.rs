//! Settings from the places where people put them: flag, environment, `.env`, config file, default, in this order.
//!
//! Everything comes from the caller: this module reads no environment variable, and no file but those it is told to. A program
//! usually gives [`gather`] its flags and environment, and [`client()`] what that answers.

mod client;
mod env_file;
#[cfg(feature = "ethereum")]
mod ethereum;
mod file;
mod gather;
mod key;
mod limits;
mod resolve;

pub use client::{
    CONFIG_FILE, LEDGER_FILE, LedgerKind, OWNER_FILE, OwnerKey, client, client_limits, client_of, keystore_password,
    ledger_kind, owner, owner_key,
};
pub use env_file::EnvFile;
#[cfg(feature = "ethereum")]
pub use ethereum::{contract, ethereum, parse_contract, parse_gwei};
pub use file::ConfigFile;
pub use gather::{CLIENT_HOME, gather};
pub use key::{Key, Scope};
pub use limits::{limits, node_limits, registry_limits};
pub use resolve::{Config, Origin, Value, Variables};
