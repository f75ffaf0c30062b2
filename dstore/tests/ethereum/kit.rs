//! What the tests of this folder start from.

use dstore::Owner;
use dstore::id::{ContractId, OwnerId, PathSalt};
use dstore::ledger::{Chain, EthereumAccount, EthereumConfig, EthereumLedger};
use futures_lite::future::block_on;

use crate::anvil::{Anvil, RICH};

/// Whose key it is does not matter: each test has a chain of its own.
pub(crate) fn owner() -> Owner {
    Owner::parse(RICH).expect("a key")
}

/// Another account with ether.
pub(crate) fn stranger(anvil: &Anvil) -> Owner {
    let stranger = Owner::from_secret(&[7; 32]).expect("a key");
    anvil.fund(&format!("0x{}", stranger.id()), 10_u128.pow(20));
    stranger
}

pub(crate) fn config(url: &str) -> EthereumConfig {
    EthereumConfig::new(Chain::LOCAL, vec![url.parse().expect("an address")]).expect("a config")
}

/// The contract, deployed by the first account.
pub(crate) fn deploy(anvil: &Anvil) -> ContractId {
    block_on(EthereumAccount::new(config(&anvil.url), &owner()).deploy()).expect("deployed").contract
}

pub(crate) fn ledger(anvil: &Anvil, contract: ContractId) -> EthereumLedger {
    EthereumAccount::new(config(&anvil.url), &owner()).ledger(contract)
}

pub(crate) fn salt(n: u8) -> PathSalt {
    PathSalt::new([n; 32])
}

pub(crate) fn id() -> OwnerId {
    owner().id()
}
