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

pub(crate) fn id() -> OwnerId {
    owner().id()
}

pub(crate) fn address(owner: &Owner) -> String {
    format!("0x{}", owner.id())
}

/// Another account with ether.
pub(crate) fn stranger(anvil: &Anvil) -> Owner {
    let stranger = Owner::from_secret(&[7; 32]).expect("a key");
    anvil.fund(&address(&stranger), 10_u128.pow(20));
    stranger
}

pub(crate) fn config(url: &str) -> EthereumConfig {
    through(Chain::LOCAL, &[url])
}

pub(crate) fn through(chain: Chain, urls: &[&str]) -> EthereumConfig {
    let urls = urls.iter().map(|url| url.parse().expect("an address")).collect();
    EthereumConfig::new(chain, urls).expect("a config")
}

/// The contract, deployed by the first account.
pub(crate) fn deploy(anvil: &Anvil) -> ContractId {
    block_on(EthereumAccount::new(config(&anvil.url), &owner()).deploy()).expect("deployed").contract
}

pub(crate) fn ledger(config: EthereumConfig, contract: ContractId) -> EthereumLedger {
    EthereumAccount::new(config, &owner()).ledger(contract)
}

pub(crate) fn salt(n: u8) -> PathSalt {
    PathSalt::new([n; 32])
}
