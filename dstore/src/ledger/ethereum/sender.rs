//! Transactions of one account: nonce, fees, signature, and what becomes of them.
//!
//! Invariant: under one nonce only one write is ever sent, with different fees at most: it can happen once.

use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{
    Address, BlockNumber, Bytes, Eip1559TransactionRequest, H256, NameOrAddress, Signature, TransactionReceipt, U256,
};
use ethers_core::utils::keccak256;
use ethers_providers::Middleware;

use super::abi::{self, Revert};
use super::reader::{PENDING, unusable};
use super::rpc::{Rpc, error_response, text};
use crate::error::ChainProblem;
use crate::id::OwnerId;
use crate::ledger::{Cost, LedgerError};
use crate::signature::SecretKey;

/// Blocks after which a transaction that is not included is offered again for more.
const PATIENCE: u64 = 6;
/// How often its fees are raised.
const MAX_RAISES: u32 = 5;
/// Each time by so much: nodes take no replacement for less than a tenth more.
const RAISE: (u128, u128) = (1125, 1000);
/// Nonces that others took before this one is given up.
const MAX_NONCES: usize = 8;
/// A tip that includes a transaction where nobody pays any.
const MIN_TIP: u128 = 1_000_000;
/// Looks at a nonce that is used, without a receipt of ours, after which it is another's.
const DISPLACED_AFTER: u32 = 4;

/// The account that signs.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) rpc: Arc<Rpc>,
    key: SecretKey,
    pub(super) owner: OwnerId,
}

/// What a unit of gas costs, wei.
#[derive(Debug, Clone, Copy)]
struct Fees {
    tip: u128,
    max: u128,
    /// What is paid if nothing changes.
    now: u128,
}

/// A transaction on its way.
#[derive(Debug)]
pub(super) struct Sent {
    request: Eip1559TransactionRequest,
    nonce: u64,
    hashes: Vec<H256>,
    raw: Bytes,
}

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Landed {
    /// A block has it.
    Included(Box<TransactionReceipt>),
    /// A block has it, and the contract refused.
    Reverted,
    /// Another transaction took its nonce: it never comes.
    Displaced,
}

impl Sender {
    pub(super) fn new(rpc: Arc<Rpc>, key: SecretKey) -> Self {
        let owner = OwnerId::new(key.address());
        Self { rpc, key, owner }
    }

    fn address(&self) -> Address {
        abi::address(self.owner)
    }

    pub(super) async fn balance(&self) -> Result<u128, LedgerError> {
        let address = self.address();
        let wei = self.rpc.get(|provider| provider.get_balance(address, None)).await?;
        Ok(u128::try_from(wei).unwrap_or(u128::MAX))
    }

    fn request(&self, to: Option<Address>, data: &Bytes) -> Eip1559TransactionRequest {
        let request = Eip1559TransactionRequest::new().from(self.address()).data(data.clone());
        let request = request.chain_id(self.rpc.chain_id()).value(0);
        match to {
            Some(to) => request.to(NameOrAddress::Address(to)),
            None => request,
        }
    }

    /// The gas that a call takes, with what waits to be included before it; or why the contract refuses it.
    pub(super) async fn estimate(&self, to: Option<Address>, data: &Bytes) -> Result<Result<u64, Revert>, LedgerError> {
        let call = &TypedTransaction::Eip1559(self.request(to, data));
        let answer =
            self.rpc.any(|provider| async move { provider.estimate_gas(call, Some(PENDING.into())).await }).await?;
        match answer {
            Ok(gas) => {
                let gas = u64::try_from(gas).ok().filter(|gas| *gas < u64::MAX / 2);
                gas.map(Ok).ok_or_else(|| unusable("the RPC provider names no possible amount of gas".to_owned()))
            }
            Err(error) => {
                let refused = error_response(&error).filter(|refused| refused.is_revert());
                match refused {
                    Some(refused) => Ok(Err(abi::revert(&refused.as_revert_data().unwrap_or_default()))),
                    None => Err(unusable(format!("the RPC provider cannot estimate the gas: {}", text(&error)))),
                }
            }
        }
    }

    /// What this call costs.
    pub(super) async fn cost(&self, gas: u64) -> Result<Cost, LedgerError> {
        let fees = self.fees().await?;
        Ok(Cost::new(gas, u128::from(gas) * fees.now, u128::from(limit(gas)) * fees.max))
    }

    async fn fees(&self) -> Result<Fees, LedgerError> {
        let history = self.rpc.get(|provider| provider.fee_history(5, BlockNumber::Latest, &[50.0])).await?;
        let base = history.base_fee_per_gas.last().copied().unwrap_or_default();
        let mut tips: Vec<U256> = history.reward.iter().filter_map(|tips| tips.first().copied()).collect();
        tips.sort_unstable();
        let tip = tips.get(tips.len() / 2).copied().unwrap_or_default();
        let number = |value: U256| u128::try_from(value).unwrap_or(u128::MAX);
        let (base, tip) = (number(base), number(tip).max(MIN_TIP));
        let (cap, needed) = (self.rpc.config.max_fee, base.saturating_add(tip));
        if needed > cap {
            let what = format!(
                "gas costs {} gwei now, more than the {} that --max-fee allows: try again later, or allow more",
                gwei(needed),
                gwei(cap)
            );
            return Err(LedgerError::Chain { problem: ChainProblem::FeeTooHigh, what });
        }
        Ok(Fees { tip, max: base.saturating_mul(2).saturating_add(tip).min(cap), now: needed })
    }

    /// Signs and sends a call that takes so much gas by estimate.
    pub(super) async fn send(&self, to: Option<Address>, data: &Bytes, gas: u64) -> Result<Sent, LedgerError> {
        let fees = self.fees().await?;
        self.afford(gas, fees).await?;
        let mut turn = Turn::take(&self.rpc, self.owner).await?;
        let mut told = String::new();
        for tried in 0..MAX_NONCES {
            if tried > 0 {
                self.rpc.pause().await;
            }
            let nonce = self.nonce(&turn).await?;
            let request = self.request(to, data).nonce(nonce).gas(limit(gas));
            let request = request.max_fee_per_gas(fees.max).max_priority_fee_per_gas(fees.tip);
            let (raw, hash) = self.sign(&request);
            match self.broadcast(&raw).await? {
                Broadcast::Accepted => {
                    turn.note(nonce, hash).await;
                    tracing::debug!(nonce, tx = ?hash, "a transaction was sent");
                    return Ok(Sent { request, nonce, hashes: vec![hash], raw });
                }
                Broadcast::NonceTaken(why) => told = why,
            }
        }
        let what = format!("other programs that use this account keep taking its turn ({told}): try again later");
        Err(LedgerError::Unavailable { what, source: None })
    }

    async fn afford(&self, gas: u64, fees: Fees) -> Result<(), LedgerError> {
        let (balance, needed) = (self.balance().await?, u128::from(limit(gas)).saturating_mul(fees.max));
        if balance >= needed {
            return Ok(());
        }
        let what = format!(
            "account 0x{} has {} ETH, and this write may cost {}: send it some ETH of chain {}",
            self.owner,
            ether(balance),
            ether(needed),
            self.rpc.config.chain.name
        );
        Err(LedgerError::Chain { problem: ChainProblem::InsufficientFunds, what })
    }

    /// The next nonce: what the provider counts, or the one after the last that was sent, if that is still on its way.
    async fn nonce(&self, turn: &Turn) -> Result<u64, LedgerError> {
        let address = self.address();
        let counted = self.rpc.get(|provider| provider.get_transaction_count(address, Some(PENDING.into()))).await?;
        let counted = u64::try_from(counted).unwrap_or(u64::MAX);
        let Some((last, hash)) = turn.last.filter(|(last, _)| *last >= counted) else { return Ok(counted) };
        let known = self.rpc.get(|provider| provider.get_transaction(hash)).await?;
        Ok(if known.is_some() { last + 1 } else { counted })
    }

    fn sign(&self, request: &Eip1559TransactionRequest) -> (Bytes, H256) {
        let transaction = TypedTransaction::Eip1559(request.clone());
        let signed = *self.key.sign_digest(&transaction.sighash().0).as_bytes();
        let (r, s) = (U256::from_big_endian(&signed[..32]), U256::from_big_endian(&signed[32..64]));
        let signature = Signature { r, s, v: signed[64].into() };
        let raw = transaction.rlp_signed(&signature);
        let hash = H256::from(keccak256(&raw));
        (raw, hash)
    }

    /// Gives a transaction to every provider.
    async fn broadcast(&self, raw: &Bytes) -> Result<Broadcast, LedgerError> {
        let mut refused = None;
        let mut silent = Vec::new();
        for (host, answer) in
            self.rpc
                .all(|provider| async move {
                    Ok(provider.send_raw_transaction(raw.clone()).await.map(|sent| sent.tx_hash()))
                })
                .await
        {
            match answer {
                Ok(Ok(_)) => return Ok(Broadcast::Accepted),
                Ok(Err(error)) => match error_response(&error) {
                    Some(answer) if is_known(&answer.message) => return Ok(Broadcast::Accepted),
                    Some(answer) => refused = Some(answer.message.clone()),
                    None => silent.push(format!("{host}: {}", text(&error))),
                },
                Err(error) => silent.push(error.to_string()),
            }
        }
        match refused {
            Some(message) if is_nonce(&message) => Ok(Broadcast::NonceTaken(plain(&message))),
            Some(message) if message.to_ascii_lowercase().contains("insufficient funds") => {
                let what = format!("account 0x{} cannot pay for this write: {}", self.owner, plain(&message));
                Err(LedgerError::Chain { problem: ChainProblem::InsufficientFunds, what })
            }
            Some(message) => Err(unusable(format!("the RPC provider refuses the transaction: {}", plain(&message)))),
            None => Err(LedgerError::Unknown {
                what: format!("the transaction was sent, and nobody said whether it arrived: {}", silent.join("; ")),
                source: None,
            }),
        }
    }

    /// Waits until a block has the transaction; offers more for it when that takes long.
    pub(super) async fn land(&self, mut sent: Sent) -> Result<Landed, LedgerError> {
        let (address, started) = (self.address(), self.rpc.rt().uptime());
        let (mut since, mut raises, mut passed) = (None, 0, 0);
        loop {
            match self.look(&sent).await {
                Ok(Some(receipt)) if receipt.status == Some(1.into()) => return Ok(Landed::Included(receipt)),
                Ok(Some(_)) => return Ok(Landed::Reverted),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "whether a transaction is included is not known yet"),
            }
            let state = self.rpc.get(|provider| async move {
                let used = provider.get_transaction_count(address, None).await?;
                Ok((used, provider.get_block_number().await?.as_u64()))
            });
            if let Ok((used, head)) = state.await {
                passed = if used > sent.nonce.into() { passed + 1 } else { 0 };
                if passed >= DISPLACED_AFTER {
                    return Ok(Landed::Displaced);
                }
                if passed == 0 && head >= *since.get_or_insert(head) + PATIENCE {
                    since = Some(head);
                    raises += 1;
                    self.offer_again(&mut sent, raises <= MAX_RAISES).await;
                }
            }
            let waited = self.rpc.rt().uptime().saturating_sub(started);
            if waited > self.rpc.config.inclusion_timeout {
                return Err(LedgerError::Unknown { what: late(&sent, waited), source: None });
            }
            self.rpc.pause().await;
        }
    }

    async fn look(&self, sent: &Sent) -> Result<Option<Box<TransactionReceipt>>, LedgerError> {
        for hash in sent.hashes.iter().rev() {
            let receipt = self.rpc.get(|provider| provider.get_transaction_receipt(*hash)).await?;
            if let Some(receipt) = receipt.filter(|receipt| receipt.block_number.is_some()) {
                return Ok(Some(Box::new(receipt)));
            }
        }
        Ok(None)
    }

    /// The same write under the same nonce, for higher fees where the cap allows them.
    async fn offer_again(&self, sent: &mut Sent, may_raise: bool) {
        let raised = |fee: Option<U256>| {
            let fee = u128::try_from(fee.unwrap_or_default()).unwrap_or(u128::MAX);
            fee.saturating_mul(RAISE.0) / RAISE.1 + 1
        };
        let (max, tip) = (raised(sent.request.max_fee_per_gas), raised(sent.request.max_priority_fee_per_gas));
        if may_raise && max <= self.rpc.config.max_fee {
            let request = sent.request.clone().max_fee_per_gas(max).max_priority_fee_per_gas(tip.min(max));
            let (raw, hash) = self.sign(&request);
            if matches!(self.broadcast(&raw).await, Ok(Broadcast::Accepted)) {
                tracing::info!(nonce = sent.nonce, tx = ?hash, "a transaction that was not included pays more now");
                sent.request = request;
                sent.raw = raw;
                sent.hashes.push(hash);
                return;
            }
        }
        // It may have been forgotten.
        if let Err(error) = self.broadcast(&sent.raw).await {
            tracing::warn!(%error, "a transaction that is not included could not be sent again");
        }
    }
}

enum Broadcast {
    Accepted,
    NonceTaken(String),
}

/// The limit for a call that takes so much gas by estimate.
fn limit(gas: u64) -> u64 {
    gas.saturating_mul(6) / 5
}

fn late(sent: &Sent, waited: Duration) -> String {
    let hash = sent.hashes.last().copied().unwrap_or_default();
    format!("transaction {hash:?} was sent, and is in no block after {} s", waited.as_secs())
}

fn is_known(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("already known") || message.contains("already imported") || message.contains("known transaction")
}

fn is_nonce(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("nonce") || message.contains("underpriced")
}

fn plain(message: &str) -> String {
    message.chars().filter(|char| !char.is_control()).take(200).collect()
}

fn gwei(wei: u128) -> String {
    decimal(wei, 9)
}

fn ether(wei: u128) -> String {
    decimal(wei, 18)
}

/// `wei / 10^digits` with at most six places.
fn decimal(wei: u128, digits: u32) -> String {
    let unit = 10_u128.pow(digits);
    let places = 10_u128.pow(digits.saturating_sub(6));
    let fraction = format!("{:06}", (wei % unit) / places);
    match fraction.trim_end_matches('0') {
        "" => (wei / unit).to_string(),
        fraction => format!("{}.{fraction}", wei / unit),
    }
}

/// The right to send the next transaction of an account, among all processes that use the folder.
struct Turn {
    file: Option<std::fs::File>,
    rpc: Arc<Rpc>,
    /// The last nonce that was used, and for which transaction.
    last: Option<(u64, H256)>,
}

/// How long it is waited for: a turn is a few requests.
const TURN_LIMIT: Duration = Duration::from_secs(120);
const TURN_PAUSE: Duration = Duration::from_millis(20);

impl Turn {
    async fn take(rpc: &Arc<Rpc>, owner: OwnerId) -> Result<Self, LedgerError> {
        let Some(folder) = rpc.config.lock_folder.clone() else {
            return Ok(Self { file: None, rpc: rpc.clone(), last: None });
        };
        let path = folder.join(format!("{}-{owner}.lock", rpc.chain_id()));
        let failed = |error: std::io::Error| LedgerError::Unavailable {
            what: "the lock of this account cannot be used".to_owned(),
            source: Some(Box::new(error)),
        };
        let started = rpc.rt().uptime();
        loop {
            let (folder, path) = (folder.clone(), path.clone());
            let taken = rpc.rt().blocking(move || try_take(&folder, &path)).await.map_err(failed)?;
            if let Some((file, last)) = taken {
                return Ok(Self { file: Some(file), rpc: rpc.clone(), last });
            }
            if rpc.rt().uptime().saturating_sub(started) > TURN_LIMIT {
                let what = "another process holds the lock of this account: see whether one hangs".to_owned();
                return Err(LedgerError::Unavailable { what, source: None });
            }
            rpc.rt().sleep(TURN_PAUSE).await;
        }
    }

    /// A note that is lost costs a try, no more.
    async fn note(&mut self, nonce: u64, hash: H256) {
        let Some(mut file) = self.file.take() else { return };
        let noted = self.rpc.rt().blocking(move || {
            let written = file.set_len(0).and_then(|()| file.rewind());
            written.and_then(|()| write!(file, "{nonce} {hash:?}"))
        });
        if let Err(error) = noted.await {
            tracing::debug!(%error, "the last nonce could not be noted");
        }
    }
}

type Taken = Option<(std::fs::File, Option<(u64, H256)>)>;

fn try_take(folder: &PathBuf, path: &PathBuf) -> std::io::Result<Taken> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    let mut file = std::fs::OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    let mut text = String::new();
    // What cannot be read is no note.
    let read = (&mut file).take(256).read_to_string(&mut text);
    let last = read
        .ok()
        .and_then(|_| text.split_once(' '))
        .and_then(|(nonce, hash)| Some((nonce.parse().ok()?, hash.trim().parse().ok()?)));
    Ok(Some((file, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_people_read_them() {
        assert_eq!((gwei(2_500_000_000), gwei(100_000_000_000)), ("2.5".to_owned(), "100".to_owned()));
        assert_eq!((ether(1), ether(1_234_567_890_000_000_000)), ("0".to_owned(), "1.234567".to_owned()));
    }

    #[test]
    fn what_nodes_say_of_nonces_is_understood() {
        for message in ["nonce too low", "Nonce too low: next nonce 5", "replacement transaction underpriced"] {
            assert!(is_nonce(message) && !is_known(message), "{message}");
        }
        assert!(is_known("already known") && is_known("transaction already imported"));
    }
}
