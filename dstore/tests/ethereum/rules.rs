//! The rules of every ledger, kept by a real chain.

use std::sync::Arc;

use dstore::Owner;
use dstore::id::{ContractId, FileId, LedgerId, OwnerId, PathSalt};
use dstore::ledger::{
    Chain, Entry, EthereumAccount, EthereumConfig, EthereumLedger, Finality, Ledger, LedgerError, Page, RpcUrl,
    Written, file_id,
};
use dstore::rt::BoxFuture;
use dstore::testing::conformance;
use futures_lite::future::block_on;

use crate::anvil::Anvil;
use crate::kit::{config, deploy, ledger, owner, salt, stranger};

/// The contract through two accounts: each signs for its own owner.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) owner: EthereumLedger,
    pub(crate) other: (OwnerId, EthereumLedger),
}

impl Both {
    fn of(&self, owner: OwnerId) -> &EthereumLedger {
        if owner == self.other.0 { &self.other.1 } else { &self.owner }
    }
}

impl Ledger for Both {
    fn id(&self) -> LedgerId {
        self.owner.id()
    }

    fn put(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        self.of(owner).put(owner, salt, expected, record)
    }

    fn rename(
        &self,
        owner: OwnerId,
        from: PathSalt,
        expected_from: u32,
        to: PathSalt,
        expected_to: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        self.of(owner).rename(owner, from, expected_from, to, expected_to, record)
    }

    fn remove(&self, owner: OwnerId, salt: PathSalt, expected: u32) -> BoxFuture<'_, Result<Written, LedgerError>> {
        self.of(owner).remove(owner, salt, expected)
    }

    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        self.owner.get(file_id)
    }

    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.owner.history(file_id)
    }

    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        self.of(owner).list(owner, cursor)
    }

    fn settled(&self, written: Written) -> BoxFuture<'_, Result<Option<Finality>, LedgerError>> {
        self.owner.settled(written)
    }

    fn wait(&self, written: Written, finality: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.owner.wait(written, finality)
    }

    fn is_final_at_once(&self) -> bool {
        self.owner.is_final_at_once()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.owner.health()
    }
}

pub(crate) fn both(config: &EthereumConfig, contract: ContractId, owner: &Owner, other: &Owner) -> Both {
    let ledger = |owner| EthereumAccount::new(config.clone(), owner).ledger(contract);
    Both { owner: ledger(owner), other: (other.id(), ledger(other)) }
}

fn every_rule(config: &EthereumConfig, owner: &Owner, stranger: &Owner) {
    let deployed = block_on(EthereumAccount::new(config.clone(), owner).deploy()).expect("deployed");
    let both = both(config, deployed.contract, owner, stranger);
    block_on(conformance::ledger::run(Arc::new(both), owner.id(), stranger.id()));
}

#[test]
fn the_contract_keeps_every_rule_of_a_ledger() {
    let anvil = Anvil::start();
    let stranger = stranger(&anvil);
    every_rule(&config(&anvil.url), &owner(), &stranger);
}

/// The other account has to be given some ether too, once: its key is made of the first one.
#[test]
#[ignore = "spends ether of a public test network: make sepolia"]
fn the_contract_keeps_every_rule_of_a_ledger_on_a_public_chain() {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let chain: Chain = set("DSTORE_CHAIN").as_deref().unwrap_or("sepolia").parse().expect("DSTORE_CHAIN");
    let urls = match (set("ETH_RPC_URL"), set("ALCHEMY_API_KEY")) {
        (Some(urls), _) => urls.split(',').map(|url| url.trim().parse().expect("ETH_RPC_URL")).collect(),
        (None, Some(key)) => RpcUrl::alchemy(&chain, &key).expect("ALCHEMY_API_KEY").into_iter().collect(),
        (None, None) => Vec::new(),
    };
    let config = EthereumConfig::new(chain, urls).expect("ETH_RPC_URL or ALCHEMY_API_KEY");
    let key = set("ETH_PRIVATE_KEY").expect("ETH_PRIVATE_KEY: the key of an account with test ether");
    let owner = Owner::parse(&key).expect("ETH_PRIVATE_KEY");
    let digits = key.trim().trim_start_matches("0x").to_ascii_lowercase();
    let stranger = Owner::from_secret(blake3::hash(digits.as_bytes()).as_bytes()).expect("a key");
    for account in [&owner, &stranger] {
        let wei = block_on(EthereumAccount::new(config.clone(), account).balance()).expect("told");
        assert!(
            wei > 5 * 10_u128.pow(16),
            "send at least 0.1 ETH of this chain to 0x{}, it has {wei} wei",
            account.id()
        );
    }
    every_rule(&config, &owner, &stranger);
}

#[test]
fn a_ledger_signs_for_its_owner_alone() {
    let anvil = Anvil::start();
    let stranger = stranger(&anvil);
    let ledger = ledger(config(&anvil.url), deploy(&anvil));
    let refused = block_on(ledger.put(stranger.id(), PathSalt::new([1; 32]), 0, vec![1]));
    assert!(matches!(refused, Err(LedgerError::Chain { .. })), "{refused:?}");
}

/// With the owner's own salts.
#[test]
fn another_account_changes_nothing_of_an_owner() {
    let anvil = Anvil::start();
    let both = both(&config(&anvil.url), deploy(&anvil), &owner(), &stranger(&anvil));
    let (owner, stranger) = (owner().id(), both.other.0);
    block_on(async {
        both.put(owner, salt(1), 0, vec![1; 640]).await.expect("written");
        let before = both.history(file_id(owner, salt(1))).await.expect("read");
        assert!(matches!(
            both.put(stranger, salt(1), 1, vec![2; 640]).await,
            Err(LedgerError::VersionConflict { expected: 1, actual: 0 })
        ));
        assert!(both.remove(stranger, salt(1), 0).await.is_err());
        assert!(both.rename(stranger, salt(1), 0, salt(2), 0, vec![2; 640]).await.is_err());
        let written = both.put(stranger, salt(1), 0, vec![2; 640]).await.expect("an id of its own");
        assert_ne!(written.file_id, file_id(owner, salt(1)));
        assert_eq!(both.history(file_id(owner, salt(1))).await.expect("read"), before);
    });
}
