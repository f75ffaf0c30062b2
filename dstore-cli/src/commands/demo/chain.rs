//! The demo's ledger on Ethereum: a development chain of its own, where its new account has ether from the beginning.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use dstore::id::ContractId;
use dstore::ledger::{Chain, Deployment, EthereumAccount, EthereumConfig, EthereumLedger};
use dstore::{Error, Owner};

use crate::anvil::Anvil;
use crate::failure::{Failure, Result};
use crate::text;

/// What the account begins with, wei: 1 ETH.
const ETHER: u128 = 1_000_000_000_000_000_000;

/// A running chain with a contract, and an account that can pay.
#[derive(Debug)]
pub(super) struct DemoChain {
    anvil: Anvil,
    config: EthereumConfig,
    account: EthereumAccount,
    deployed: Deployment,
}

impl DemoChain {
    /// Starts a chain, and deploys the contract there.
    pub(super) async fn start(dir: &Path, owner: &Owner) -> Result<Self> {
        let genesis = dir.join("genesis.json");
        write_genesis(&genesis, owner)
            .map_err(|error| Failure::io("cannot write what the chain begins with", error))?;
        // In a thread of its own: a program that hangs must not keep a signal from ending us.
        let anvil = blocking::unblock(move || {
            let flag = |flag| OsStr::new(flag);
            Anvil::start(&[flag("--accounts"), flag("0"), flag("--init"), genesis.as_os_str()])
        });
        let anvil = anvil.await.map_err(|error| absent(&error))?;
        let url = anvil.url().parse().map_err(|error: String| Failure::new("internal", error))?;
        let config = EthereumConfig::new(Chain::LOCAL, vec![url])?;
        let account = EthereumAccount::new(config.clone(), owner);
        let deployed = account.deploy().await.map_err(Error::from)?;
        Ok(Self { anvil, config, account, deployed })
    }

    /// The ledger that its contract keeps: a new one, which knows nothing yet.
    pub(super) fn ledger(&self, owner: &Owner) -> EthereumLedger {
        EthereumAccount::new(self.config.clone(), owner).ledger(self.contract())
    }

    pub(super) fn contract(&self) -> ContractId {
        self.deployed.contract
    }

    /// Where it is, and what the contract has cost.
    pub(super) fn lines(&self) -> Vec<String> {
        let cost = text::ether(self.deployed.wei);
        vec![
            format!("   chain      {}   (anvil, chain id {})", self.anvil.url(), self.deployed.chain_id),
            format!("   contract   0x{}   (for {cost})", self.contract()),
        ]
    }

    /// What the account has paid so far, wei.
    pub(super) async fn paid(&self) -> Result<u128> {
        let left = self.account.balance().await.map_err(Error::from)?;
        Ok(ETHER.saturating_sub(left))
    }
}

/// Only the account of `owner` has anything: no key but its own is of any use there.
fn write_genesis(path: &Path, owner: &Owner) -> io::Result<()> {
    let id = Chain::LOCAL.id();
    let alloc = serde_json::json!({ format!("0x{}", owner.id()): { "balance": format!("{ETHER:#x}") } });
    fs::write(path, serde_json::json!({ "config": { "chainId": id }, "alloc": alloc }).to_string())
}

fn absent(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new("config", "anvil is not installed: it is the chain of this demo")
            .hint("in the checkout below which this program was built: npm ci --prefix contracts")
            .hint("or install Foundry, which brings it, and have it in PATH")
            .hint("without a chain: dstore-cli demo"),
        _ => Failure::new("unavailable", format!("cannot start anvil, the chain of this demo: {error}"))
            .hint("see what it says: anvil --port 0"),
    }
}
