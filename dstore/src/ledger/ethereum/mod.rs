//! The ledger on Ethereum: the contract FileLedger, read and written through JSON-RPC (contracts/README.md).
//!
//! This folder is the only place that names `ethers_core` and `ethers_providers`.

mod abi;
mod account;
mod chain;
mod http;
mod reader;
mod refusal;
mod rpc;
mod sender;
mod turn;
mod writer;

use std::fmt;
use std::sync::Arc;

use ethers_core::utils::keccak256;
use ethers_providers::Middleware;

pub use self::account::{Deployment, EthereumAccount};
pub use self::chain::{Chain, EthereumConfig, RpcUrl};
use self::reader::Reader;
use self::rpc::Rpc;
use self::sender::{MAX_SILENCE, Sender};
use self::writer::{Action, Writer};
use super::{Coming, Cost, Entry, Finality, Ledger, LedgerError, Page, Written};
use crate::error::ChainProblem;
use crate::id::{ContractId, FileId, LedgerId, OwnerId, PathSalt};
use crate::keys::Owner;
use crate::rt::{BoxFuture, Timestamp};

/// The ledger that a contract keeps. Whoever knows the contract can read it; its owner alone can change an owner's files.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use dstore::ledger::{Chain, EthereumAccount, EthereumConfig};
/// use dstore::{Client, Owner};
///
/// let owner = Owner::open("me.key")?;
/// let provider = std::env::var("ETH_RPC_URL")?.parse()?;
/// let account = EthereumAccount::new(EthereumConfig::new(Chain::SEPOLIA, vec![provider])?, &owner);
/// let contract = account.deploy().await?.contract; // once; keep its address
/// let client = Client::builder()
///     .registry("dsr1:…@registry.example:4100".parse()?)
///     .owner(owner)
///     .ledger(account.ledger(contract))
///     .connect()
///     .await?;
/// # client.close().await;
/// # Ok(())
/// # }
/// ```
///
/// Clones share what they know. Nothing is asked of the chain before the first call; the first one compares chain id
/// and code with what is configured and known.
#[derive(Clone)]
pub struct EthereumLedger {
    contract: ContractId,
    id: LedgerId,
    reader: Arc<Reader>,
    writer: Arc<Writer>,
}

/// What a contract and its chain say of themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContractInfo {
    /// Its address.
    pub contract: ContractId,
    /// The chain.
    pub chain_id: u64,
    /// keccak256 of its code, which is the one that this version knows.
    pub code_hash: [u8; 32],
    /// The newest block.
    pub head: u64,
    /// When it was made.
    pub head_time: Timestamp,
    /// Writes of this owner.
    pub writes: u64,
    /// The host of each provider, and its newest block or what is wrong with it.
    pub providers: Vec<(String, Result<u64, String>)>,
}

impl EthereumLedger {
    fn new(config: EthereumConfig, owner: &Owner, contract: ContractId) -> Self {
        let rpc = Arc::new(Rpc::new(config));
        let sender = Sender::new(rpc.clone(), owner.account_key());
        let id = id(rpc.chain_id(), contract);
        let reader = Arc::new(Reader::new(rpc, contract));
        let writer = Writer::new(reader.clone(), sender, contract);
        Self { contract, id, reader, writer }
    }

    /// What the contract and its chain say of themselves.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]; [`LedgerError::Chain`] when chain or code are not those configured and known.
    pub async fn contract(&self) -> Result<ContractInfo, LedgerError> {
        let (head, writes) = self.reader.writes(self.writer.sender.owner).await?;
        let heads = self.reader.rpc.every(|provider| provider.get_block_number()).await;
        let providers = heads.into_iter().map(|(host, number)| {
            (host.to_owned(), number.map(|number| number.as_u64()).map_err(|error| error.to_string()))
        });
        Ok(ContractInfo {
            contract: self.contract,
            chain_id: self.reader.rpc.chain_id(),
            code_hash: abi::ARTIFACT.code_hash,
            head: head.number,
            head_time: head.time,
            writes,
            providers: providers.collect(),
        })
    }
}

/// docs/format.md section 8.3.
fn id(chain: u64, contract: ContractId) -> LedgerId {
    let mut bytes = [0; 64];
    bytes[24..32].copy_from_slice(&chain.to_be_bytes());
    bytes[44..].copy_from_slice(contract.as_bytes());
    LedgerId::new(keccak256(bytes))
}

impl fmt::Debug for EthereumLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("EthereumLedger");
        debug.field("chain", &self.reader.rpc.chain_id()).field("contract", &self.contract).finish_non_exhaustive()
    }
}

impl Ledger for EthereumLedger {
    fn id(&self) -> LedgerId {
        self.id
    }

    fn put(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        Box::pin(self.writer.write(owner, Action::Put { salt, expected, record }))
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
        let (from, to) = ((from, expected_from), (to, expected_to));
        Box::pin(self.writer.write(owner, Action::Rename { from, to, record }))
    }

    fn remove(&self, owner: OwnerId, salt: PathSalt, expected: u32) -> BoxFuture<'_, Result<Written, LedgerError>> {
        Box::pin(self.writer.write(owner, Action::Remove { salt, expected }))
    }

    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(self.reader.get(file_id))
    }

    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(self.reader.history(file_id))
    }

    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        Box::pin(self.reader.list(owner, cursor))
    }

    fn settled(&self, written: Written) -> BoxFuture<'_, Result<Option<Finality>, LedgerError>> {
        Box::pin(self.reader.settled(written))
    }

    fn wait(&self, written: Written, finality: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.wait_for(written, finality))
    }

    fn is_final_at_once(&self) -> bool {
        self.reader.rpc.config.chain.is_final_at_once
    }

    fn coming(&self) -> Coming {
        self.writer.coming()
    }

    fn cost(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        len: usize,
    ) -> BoxFuture<'_, Result<Option<Cost>, LedgerError>> {
        let _ = owner;
        Box::pin(async move { self.writer.cost(salt, expected, len).await.map(Some) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async {
            self.reader.writes(self.writer.sender.owner).await?;
            Ok(())
        })
    }
}

/// Looks without a write, at blocks no older than its own, after which it counts as gone.
const GONE_AFTER: u32 = 4;

impl EthereumLedger {
    async fn wait_for(&self, written: Written, finality: Finality) -> Result<(), LedgerError> {
        let rpc = &self.reader.rpc;
        let started = rpc.rt().uptime();
        let (mut gone, mut heard) = (0, started);
        loop {
            match self.look(written, finality).await {
                Ok(Some(now)) if now >= finality => return Ok(()),
                Ok(told) => {
                    gone = if told.is_some() { 0 } else { gone + 1 };
                    heard = rpc.rt().uptime();
                }
                Err(error @ LedgerError::VersionConflict { .. }) => return Err(error),
                Err(LedgerError::Chain { problem, what }) if is_lasting(problem) => {
                    return Err(LedgerError::Chain { problem, what });
                }
                Err(error @ LedgerError::RecordMissing { .. }) => {
                    return Err(LedgerError::Unknown { what: error.to_string(), source: None });
                }
                Err(error) => tracing::warn!(%error, "how settled a write is could not be found out"),
            }
            if gone >= GONE_AFTER {
                return Err(LedgerError::Reorged);
            }
            let now = rpc.rt().uptime();
            let (waited, silent) = (now.saturating_sub(started), now.saturating_sub(heard));
            if silent > MAX_SILENCE {
                let what = format!("no RPC provider has answered for {} s", silent.as_secs());
                return Err(LedgerError::Unknown { what, source: None });
            }
            if finality < Finality::Final && waited > rpc.config.inclusion_timeout {
                let what = format!("no further block has come for {} s", waited.as_secs());
                return Err(LedgerError::Unknown { what, source: None });
            }
            rpc.pause().await;
        }
    }

    /// How settled a write is. Of one whose block is known nobody asks before it can be as settled as is wanted: many that
    /// share a block, or wait at the same time, share the question for the newest one.
    async fn look(&self, written: Written, finality: Finality) -> Result<Option<Finality>, LedgerError> {
        if let (Some(block), true) = (self.reader.block_of(written), finality > Finality::Included) {
            let head = self.reader.rpc.recent_head().await?;
            if (block..self.reader.confirmed_at(block)).contains(&head.number) {
                return Ok(Some(Finality::Included));
            }
        }
        self.reader.settled(written).await
    }
}

/// Whether asking again changes nothing.
fn is_lasting(problem: ChainProblem) -> bool {
    matches!(problem, ChainProblem::WrongChain | ChainProblem::WrongContract | ChainProblem::UnsupportedChain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_ledger_is_that_of_chain_and_contract() {
        let one = id(1, ContractId::new([1; 20]));
        assert_eq!(one, id(1, ContractId::new([1; 20])));
        assert!(one != id(2, ContractId::new([1; 20])) && one != id(1, ContractId::new([2; 20])));
        // keccak256(abi.encode(uint256(1), address(0x0101...01)))
        let encoded = ethers_core::abi::encode(&[
            ethers_core::abi::Token::Uint(1.into()),
            ethers_core::abi::Token::Address([1; 20].into()),
        ]);
        assert_eq!(one.as_bytes(), &keccak256(encoded));
    }
}
