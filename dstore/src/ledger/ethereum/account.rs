//! The owner's account on a chain: what it can pay, and the contract that it deploys.

use std::sync::Arc;

use ethers_core::types::Bytes;

use super::EthereumLedger;
use super::abi::ARTIFACT;
use super::chain::EthereumConfig;
use super::reader::{code_at, is_ours, numbers_blocks, unusable};
use super::rpc::Rpc;
use super::sender::{Landed, Sender};
use crate::id::{ContractId, OwnerId};
use crate::keys::Owner;
use crate::ledger::{Cost, LedgerError};

/// The owner's account on a chain. Nothing is asked of the chain before a method says so. What it fails with becomes an
/// [`Error`](crate::Error) by `?`.
#[derive(Debug, Clone)]
pub struct EthereumAccount {
    config: EthereumConfig,
    owner: Owner,
}

/// A contract that was deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deployment {
    /// Its address.
    pub contract: ContractId,
    /// The chain.
    pub chain_id: u64,
    /// keccak256 of the code that is there.
    pub code_hash: [u8; 32],
    /// The block that it is in.
    pub block: u64,
    /// The transaction.
    pub tx: [u8; 32],
    /// What it cost, wei.
    pub wei: u128,
}

impl EthereumAccount {
    /// The account of `owner` on the chain of `config`.
    #[must_use]
    pub fn new(config: EthereumConfig, owner: &Owner) -> Self {
        Self { config, owner: owner.clone() }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> OwnerId {
        self.owner.id()
    }

    /// The ledger that this contract keeps, which the account writes.
    #[must_use]
    pub fn ledger(&self, contract: ContractId) -> EthereumLedger {
        EthereumLedger::new(self.config.clone(), &self.owner, contract)
    }

    fn sender(&self) -> Sender {
        Sender::new(Arc::new(Rpc::new(self.config.clone())), self.owner.account_key())
    }

    /// What it has, wei.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]; [`LedgerError::Chain`] when a provider serves another chain.
    pub async fn balance(&self) -> Result<u128, LedgerError> {
        self.sender().balance().await
    }

    /// What [`EthereumAccount::deploy`] would cost.
    ///
    /// # Errors
    /// As [`EthereumAccount::balance`], and when a unit of gas costs more than the configuration allows.
    pub async fn deploy_cost(&self) -> Result<Cost, LedgerError> {
        let sender = self.sender();
        let gas = estimate(&sender).await?;
        sender.cost(gas).await
    }

    /// Deploys the contract, and waits until a block has it.
    ///
    /// # Errors
    /// As [`EthereumAccount::deploy_cost`], when the account cannot pay, and when the chain is one whose blocks the
    /// contract cannot name; [`LedgerError::Unknown`] when it may have been deployed.
    pub async fn deploy(&self) -> Result<Deployment, LedgerError> {
        let sender = self.sender();
        numbers_blocks(&sender.rpc).await?;
        let gas = estimate(&sender).await?;
        let data = Bytes::from(ARTIFACT.creation.clone());
        let receipt = match sender.land(sender.send(None, &data, gas).await?).await? {
            Landed::Included(receipt) => receipt,
            Landed::Reverted => return Err(unusable("the chain refused to deploy the contract".to_owned())),
            Landed::Displaced => {
                return Err(unusable("another transaction took the place of this one: try again".to_owned()));
            }
        };
        let address = receipt.contract_address.ok_or_else(|| unusable("the receipt names no contract".to_owned()))?;
        let code = code_at(&sender.rpc, address).await.unwrap_or_default();
        if code.is_empty() {
            let block = receipt.block_number.unwrap_or_default();
            let what = format!(
                "the contract is to be at {address:?}, since block {block}, and the RPC provider does not show it yet"
            );
            return Err(LedgerError::Unknown { what, source: None });
        }
        is_ours(address, self.config.chain.name, &code)?;
        let price = receipt.effective_gas_price.unwrap_or_default();
        let wei = receipt.gas_used.unwrap_or_default().saturating_mul(price);
        Ok(Deployment {
            contract: ContractId::new(address.0),
            chain_id: self.config.chain.id,
            code_hash: ARTIFACT.code_hash,
            block: receipt.block_number.unwrap_or_default().as_u64(),
            tx: receipt.transaction_hash.0,
            wei: u128::try_from(wei).unwrap_or(u128::MAX),
        })
    }
}

async fn estimate(sender: &Sender) -> Result<u64, LedgerError> {
    let data = Bytes::from(ARTIFACT.creation.clone());
    let gas = sender.estimate(None, &data).await?;
    gas.map_err(|_| unusable("the chain refuses to deploy the contract".to_owned()))
}
