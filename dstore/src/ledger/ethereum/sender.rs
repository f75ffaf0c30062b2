//! Transactions of one account: nonce, fees, signature, and what becomes of them.
//!
//! Invariant: under one nonce only one write is ever sent, with different fees at most: it can happen once.

use std::sync::Arc;
use std::time::Duration;

use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{
    Address, BlockNumber, Bytes, Eip1559TransactionRequest, H256, NameOrAddress, Signature, TransactionReceipt, U64,
    U256,
};
use ethers_core::utils::keccak256;
use ethers_providers::{Middleware, Provider};
use serde::{Deserialize, Serialize};

use super::abi::{self, Revert};
use super::http::Http;
use super::reader::{PENDING, unusable};
use super::refusal::Refusal;
use super::rpc::{Rpc, error_response, revert_data, text};
use super::turn::Turn;
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
/// Blocks whose fees are looked at.
const FEE_BLOCKS: u64 = 5;
/// How often a transaction is given to providers of which none says that it took it.
const MAX_OFFERS: usize = 3;
/// For how long it is waited for providers of which none answers.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(45);
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

/// What gas cost in the last blocks, oldest first, and costs in the next one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FeeHistory {
    base_fee_per_gas: Vec<U256>,
    reward: Option<Vec<Vec<U256>>>,
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
        let mut answer = Err(None);
        // Not all providers know of what waits.
        for at in [PENDING, BlockNumber::Latest] {
            let asked =
                self.rpc.any(|provider| async move { provider.estimate_gas(call, Some(at.into())).await }).await?;
            answer = asked.map_err(Some);
            match &answer {
                Err(Some(error)) if revert_data(error).is_none() => {}
                _ => break,
            }
        }
        match answer {
            Ok(gas) => {
                let gas = u64::try_from(gas).ok().filter(|gas| *gas < u64::MAX / 2);
                gas.map(Ok).ok_or_else(|| unusable("the RPC provider names no possible amount of gas".to_owned()))
            }
            Err(error) => match error.as_ref().and_then(revert_data) {
                Some(data) => Ok(Err(abi::revert(&data))),
                None => {
                    let said = error.as_ref().map_or_else(String::new, text);
                    Err(unusable(format!("the RPC provider cannot estimate the gas: {said}")))
                }
            },
        }
    }

    /// What this call costs.
    pub(super) async fn cost(&self, gas: u64) -> Result<Cost, LedgerError> {
        let fees = self.fees().await?;
        let price = |gas: u64, fee: u128| u128::from(gas).saturating_mul(fee);
        Ok(Cost::new(gas, price(gas, fees.now), price(limit(gas), fees.max)))
    }

    async fn fees(&self) -> Result<Fees, LedgerError> {
        let asked = (U64::from(FEE_BLOCKS), BlockNumber::Latest, [50.0]);
        let asked = &asked;
        let history: FeeHistory =
            self.rpc.get(|provider| async move { provider.request("eth_feeHistory", asked).await }).await?;
        let base = history.base_fee_per_gas.last().copied();
        let base = base.ok_or_else(|| unusable("the RPC provider does not tell what gas costs".to_owned()))?;
        let rewards = history.reward.unwrap_or_default();
        let mut tips: Vec<U256> = rewards.iter().filter_map(|tips| tips.first().copied()).collect();
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
    ///
    /// With [`LedgerError::Unknown`] it may be on its way; with any other error it is not.
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
            match self.offer(&raw, hash).await {
                Offered::Taken => {
                    turn.note(nonce, hash).await;
                    tracing::debug!(nonce, tx = ?hash, "a transaction was sent");
                    return Ok(Sent { request, nonce, hashes: vec![hash], raw });
                }
                Offered::NonceTaken(why) => told = why,
                Offered::Refused(error) => return Err(error),
                Offered::Unclear(why) => {
                    turn.note(nonce, hash).await;
                    let what = format!("transaction {hash:?} was sent, and nobody said whether it arrived: {why}");
                    return Err(LedgerError::Unknown { what, source: None });
                }
            }
        }
        let what = format!("other programs that use this account keep taking its turn ({told}): try again later");
        Err(LedgerError::Unavailable { what, source: None })
    }

    /// Gives a transaction to the providers until one has it, or all say why not.
    async fn offer(&self, raw: &Bytes, hash: H256) -> Offered {
        let mut unclear = None;
        for tried in 0..MAX_OFFERS {
            if tried > 0 {
                self.rpc.pause().await;
            }
            match self.broadcast(raw).await {
                Offered::Taken => return Offered::Taken,
                Offered::Unclear(why) => unclear = Some(why),
                // Of a transaction that may have arrived before, this says that it did not now.
                refusal if unclear.is_none() => return refusal,
                _ => {}
            }
            // An answer that was lost.
            if self.is_known(hash).await.unwrap_or(false) {
                return Offered::Taken;
            }
        }
        Offered::Unclear(unclear.unwrap_or_default())
    }

    async fn afford(&self, gas: u64, fees: Fees) -> Result<(), LedgerError> {
        let (balance, needed) = (self.balance().await?, u128::from(limit(gas)).saturating_mul(fees.max));
        if balance >= needed {
            return Ok(());
        }
        let what = format!(
            "account 0x{} has {} ETH, and this write may cost {} ETH: send it some ETH of chain {}",
            self.owner,
            ether(balance),
            // Rounded up: who sends just this can pay.
            ether(needed.saturating_add(10_u128.pow(12) - 1)),
            self.rpc.config.chain.name
        );
        Err(LedgerError::Chain { problem: ChainProblem::InsufficientFunds, what })
    }

    /// The next nonce: what the provider counts, or the one after the last that was sent, if that is still on its way.
    async fn nonce(&self, turn: &Turn) -> Result<u64, LedgerError> {
        let address = self.address();
        let counted = self.rpc.get(|provider| provider.get_transaction_count(address, Some(PENDING.into()))).await?;
        let counted = u64::try_from(counted).unwrap_or(u64::MAX);
        // Where one before the last is missing, nothing behind it is ever taken: it is filled first.
        let Some((last, hash)) = turn.last.filter(|(last, _)| *last == counted) else { return Ok(counted) };
        Ok(if self.is_known(hash).await? { last + 1 } else { counted })
    }

    async fn is_known(&self, hash: H256) -> Result<bool, LedgerError> {
        Ok(self.rpc.get(|provider| provider.get_transaction(hash)).await?.is_some())
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
    async fn broadcast(&self, raw: &Bytes) -> Offered {
        let send = |provider: &Provider<Http>| {
            let (provider, raw) = (provider.clone(), raw.clone());
            async move { Ok(provider.send_raw_transaction(raw).await.map(|sent| sent.tx_hash())) }
        };
        let mut refused = None;
        let mut unclear = Vec::new();
        for (host, answer) in self.rpc.all(send).await {
            let error = match answer {
                Ok(Ok(_)) => return Offered::Taken,
                Ok(Err(error)) => error,
                Err(error) => {
                    unclear.push(error.to_string());
                    continue;
                }
            };
            let said = error_response(&error).map(|said| plain(&said.message));
            match (said.as_deref().and_then(Refusal::of), said) {
                (Some(Refusal::Known), _) => return Offered::Taken,
                (Some(refusal), Some(said)) => refused = Some((refusal, said)),
                _ => unclear.push(format!("{host}: {}", text(&error))),
            }
        }
        match refused {
            // Whoever did not answer clearly may have taken it.
            Some((refusal, said)) if unclear.is_empty() => match refusal {
                Refusal::Nonce | Refusal::Known => Offered::NonceTaken(said),
                Refusal::Funds => {
                    let what = format!("account 0x{} cannot pay for this write: {said}", self.owner);
                    Offered::Refused(LedgerError::Chain { problem: ChainProblem::InsufficientFunds, what })
                }
                Refusal::Other => {
                    Offered::Refused(unusable(format!("the RPC provider refuses the transaction: {said}")))
                }
            },
            _ => Offered::Unclear(unclear.join("; ")),
        }
    }

    /// Waits until a block has the transaction; offers more for it when that takes long.
    pub(super) async fn land(&self, mut sent: Sent) -> Result<Landed, LedgerError> {
        let (address, started) = (self.address(), self.rpc.rt().uptime());
        let (mut since, mut raises, mut passed) = (None, 0, 0);
        let mut heard = started;
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
                heard = self.rpc.rt().uptime();
                passed = if used > sent.nonce.into() { passed + 1 } else { 0 };
                if passed >= DISPLACED_AFTER {
                    return Ok(Landed::Displaced);
                }
                if passed == 0 && head >= since.get_or_insert(head).saturating_add(PATIENCE) {
                    since = Some(head);
                    raises += 1;
                    self.offer_again(&mut sent, raises <= MAX_RAISES).await;
                }
            }
            let now = self.rpc.rt().uptime();
            let (waited, silent) = (now.saturating_sub(started), now.saturating_sub(heard));
            if waited > self.rpc.config.inclusion_timeout || silent > MAX_SILENCE {
                return Err(LedgerError::Unknown { what: late(&sent, waited, silent), source: None });
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
            match self.offer(&raw, hash).await {
                // It may be the one that a block takes.
                Offered::Taken | Offered::Unclear(_) => {
                    tracing::info!(nonce = sent.nonce, tx = ?hash, "a transaction that was not included pays more now");
                    sent.request = request;
                    sent.raw = raw;
                    sent.hashes.push(hash);
                    return self.note_again(sent.nonce, hash).await;
                }
                Offered::NonceTaken(why) => tracing::warn!(why, "a transaction was not replaced"),
                Offered::Refused(error) => tracing::warn!(%error, "a transaction was not replaced"),
            }
        }
        // It may have been forgotten.
        if let Offered::Unclear(why) = self.broadcast(&sent.raw).await {
            tracing::warn!(why, "a transaction that is not included could not be sent again");
        }
    }

    /// Others must not take its nonce for free.
    async fn note_again(&self, nonce: u64, hash: H256) {
        match Turn::take(&self.rpc, self.owner).await {
            Ok(mut turn) if turn.last.is_some_and(|(last, _)| last == nonce) => turn.note(nonce, hash).await,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a replaced transaction could not be noted"),
        }
    }
}

/// What became of the offer of a transaction.
enum Offered {
    /// A provider has it.
    Taken,
    /// None has it: its nonce is used.
    NonceTaken(String),
    /// None has it, nor takes it.
    Refused(LedgerError),
    /// Nobody knows.
    Unclear(String),
}

/// The limit for a call that takes so much gas by estimate.
fn limit(gas: u64) -> u64 {
    gas.saturating_mul(6) / 5
}

fn late(sent: &Sent, waited: Duration, silent: Duration) -> String {
    let hash = sent.hashes.last().copied().unwrap_or_default();
    let seen = match silent > MAX_SILENCE {
        true => format!("no RPC provider has answered for {} s since", silent.as_secs()),
        false => format!("is in no block after {} s", waited.as_secs()),
    };
    format!("transaction {hash:?} was sent, and {seen}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_people_read_them() {
        assert_eq!((gwei(2_500_000_000), gwei(100_000_000_000)), ("2.5".to_owned(), "100".to_owned()));
        assert_eq!((ether(1), ether(1_234_567_890_000_000_000)), ("0".to_owned(), "1.234567".to_owned()));
    }

    /// Made with eth-account 0.14.0 (Account.sign_transaction): a call and a deployment.
    #[test]
    fn transactions_are_signed_as_other_implementations_do() {
        const KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
        const CALL: &str = "02f89b83aa36a7078459682f00850737be76078301e24094f0109fc8df283027b6285cc889f5aa624eac1f55\
            80ac11223344abababababababababababababababababababababababababababababababababababababababab\
            c080a01f95e630bfbba0d03fbe99fc65fe7b7928eed5f84cc5e4c6be1196b4f7c6d20c\
            a007312dfefff478497e5ab931abd2e99f926dbae799f757bc9bbda35fcaf22a0c";
        const DEPLOYMENT: &str = "02f88783aa36a7808459682f00850737be76078301e2408080\
            ac11223344abababababababababababababababababababababababababababababababababababababababab\
            c001a0857768790d64b891e73fe16c3a280e5d1eca9dcbbb4401c27425e8acb4825c8e\
            a03118ddbd72c27b68cbdb0baddbfa1f848a7080b5ca2b8c478c32ed41e7d164ed";
        let key = crate::keys::Owner::parse(KEY).expect("a key").account_key();
        let url = "http://127.0.0.1:1".parse().expect("an address");
        let config = super::super::EthereumConfig::new(super::super::Chain::SEPOLIA, vec![url]).expect("a config");
        let sender = Sender::new(Arc::new(Rpc::new(config)), key);
        let data = Bytes::from([&[0x11, 0x22, 0x33, 0x44][..], &[0xAB; 40]].concat());
        let to: Address = "0xF0109fC8DF283027b6285cc889F5aA624EaC1F55".parse().expect("an address");
        let signed = |to, nonce: u64| {
            let request = sender.request(to, &data).nonce(nonce).gas(123_456);
            sender.sign(&request.max_fee_per_gas(31_000_000_007_u64).max_priority_fee_per_gas(1_500_000_000))
        };
        let (raw, hash) = signed(Some(to), 7);
        assert_eq!(hex::encode(&raw), CALL);
        assert_eq!(hex::encode(hash), "c96c800e1db9f7bf48c7c9b6ed0f022e7d1e4caacfbf6eeac5b70dc69ae3855b");
        let (raw, hash) = signed(None, 0);
        assert_eq!(hex::encode(&raw), DEPLOYMENT);
        assert_eq!(hex::encode(hash), "11b0e6bda17d6c3bfe171d57b9cbd535c6771c39d32a2a7e6723969830519bc0");
    }
}
