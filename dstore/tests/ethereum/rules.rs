//! The rules of every ledger, kept by a real chain; and the chain compared with a ledger in memory, step by step.

use std::sync::Arc;

use dstore::id::{FileId, LedgerId, OwnerId, PathSalt};
use dstore::ledger::{Entry, EthereumAccount, EthereumLedger, Finality, Ledger, LedgerError, Page, Written};
use dstore::rt::BoxFuture;
use dstore::testing::conformance;
use futures_lite::future::block_on;

use crate::anvil::Anvil;
use crate::kit::{config, deploy, owner, stranger};

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

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.owner.health()
    }
}

pub(crate) fn both(anvil: &Anvil) -> Both {
    let (contract, stranger) = (deploy(anvil), stranger(anvil));
    let ledger = |owner| EthereumAccount::new(config(&anvil.url), owner).ledger(contract);
    Both { owner: ledger(&owner()), other: (stranger.id(), ledger(&stranger)) }
}

#[test]
fn the_contract_keeps_every_rule_of_a_ledger() {
    let anvil = Anvil::start();
    let both = both(&anvil);
    let stranger = both.other.0;
    block_on(conformance::ledger::run(Arc::new(both), owner().id(), stranger));
}

#[test]
fn a_ledger_signs_for_its_owner_alone() {
    let anvil = Anvil::start();
    let both = both(&anvil);
    let refused = block_on(both.owner.put(both.other.0, PathSalt::new([1; 32]), 0, vec![1]));
    assert!(matches!(refused, Err(LedgerError::Chain { .. })), "{refused:?}");
}
