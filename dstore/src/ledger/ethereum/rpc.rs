//! The providers of one chain: each a spare of the others, and compared where one alone could be wrong or old.
//!
//! Invariant: no provider of another chain is ever believed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ethers_core::types::{Block, BlockId, BlockNumber, H256, U64};
use ethers_providers::{Middleware, Provider, ProviderError};
use futures_util::future::join_all;

use super::chain::EthereumConfig;
use super::http::Http;
use crate::error::ChainProblem;
use crate::ledger::LedgerError;
use crate::rt::{Rt, Timestamp};

/// Blocks by which the newest ones of providers may differ.
pub(super) const MAX_LAG: u64 = 16;
/// For how long one that did not answer is left out while another one answers.
const REST: Duration = Duration::from_secs(30);
/// The contract counts no further.
const MAX_BLOCKS: u64 = 1 << 40;
/// How often heads that differ are looked at again.
const TRIES: usize = 5;

/// All providers that are configured.
#[derive(Debug)]
pub(super) struct Rpc {
    nodes: Vec<Node>,
    /// Who answered last.
    last: AtomicUsize,
    /// The newest block, and when it was asked for.
    recent: async_lock::Mutex<Option<(Duration, Head)>>,
    pub(super) config: EthereumConfig,
}

/// One provider.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) host: String,
    provider: Provider<Http>,
    is_checked: AtomicBool,
    /// Until when it is left out, milliseconds of uptime.
    rests_until: AtomicU64,
}

/// A block at which all providers that answer agree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) time: Timestamp,
}

impl Head {
    fn block(self) -> BlockId {
        BlockId::Number(BlockNumber::Number(self.number.into()))
    }
}

pub(super) type Asked<T> = Result<T, ProviderError>;

impl Node {
    /// The provider, once it has shown that it serves the chain.
    pub(super) async fn provider(&self, chain: u64) -> Result<&Provider<Http>, LedgerError> {
        // Several may ask at once: nobody waits for another one's answer.
        if !self.is_checked.load(Ordering::Relaxed) {
            let id = self.provider.get_chainid().await.map_err(|error| failed(&self.host, &error))?;
            if id != chain.into() {
                let what = format!("{} serves chain {id}, not {chain}: check ETH_RPC_URL and --chain", self.host);
                return Err(LedgerError::Chain { problem: ChainProblem::WrongChain, what });
            }
            self.is_checked.store(true, Ordering::Relaxed);
        }
        Ok(&self.provider)
    }
}

impl Node {
    fn rests(&self, now: Duration) -> bool {
        now < Duration::from_millis(self.rests_until.load(Ordering::Relaxed))
    }

    fn rest(&self, now: Duration) {
        let until = u64::try_from((now + REST).as_millis()).unwrap_or(u64::MAX);
        self.rests_until.store(until, Ordering::Relaxed);
    }
}

impl Rpc {
    pub(super) fn new(config: EthereumConfig) -> Self {
        let node = |url: &super::chain::RpcUrl| {
            let http = Http::new(url.clone(), config.timeout, config.rt.clone());
            Node {
                host: url.host().to_owned(),
                provider: Provider::new(http),
                is_checked: AtomicBool::new(false),
                rests_until: AtomicU64::new(0),
            }
        };
        Self {
            nodes: config.urls.iter().map(node).collect(),
            last: AtomicUsize::new(0),
            recent: async_lock::Mutex::new(None),
            config,
        }
    }

    pub(super) fn rt(&self) -> &Rt {
        &self.config.rt
    }

    fn now(&self) -> Duration {
        self.rt().uptime()
    }

    pub(super) fn chain_id(&self) -> u64 {
        self.config.chain.id
    }

    /// How long to wait before looking again.
    pub(super) async fn pause(&self) {
        self.rt().sleep(self.config.chain.poll).await;
    }

    /// The answer of the first provider that gives one, beginning with the one that did so last. That a contract refuses
    /// is an answer; what a provider refuses, another one may do. If all do, the first refusal is the answer.
    pub(super) async fn any<'a, T, F>(&'a self, ask: impl Fn(&'a Provider<Http>) -> F) -> Result<Asked<T>, LedgerError>
    where
        F: Future<Output = Asked<T>>,
    {
        let first = self.last.load(Ordering::Relaxed);
        let (mut told, mut refusal) = (Vec::new(), None);
        let mut order: Vec<usize> = (0..self.nodes.len()).map(|n| (first + n) % self.nodes.len()).collect();
        order.sort_by_key(|at| self.nodes[*at].rests(self.now()));
        for at in order {
            let node = &self.nodes[at];
            let provider = match node.provider(self.chain_id()).await {
                Ok(provider) => provider,
                Err(LedgerError::Unavailable { what, .. }) => {
                    node.rest(self.now());
                    told.push(what);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let error = match ask(provider).await {
                Err(error) if revert_data(&error).is_none() => error,
                answer => {
                    self.last.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
            };
            tracing::warn!(provider = %node.host, error = text(&error), "an RPC provider did not answer");
            told.push(format!("{}: {}", node.host, text(&error)));
            if error_response(&error).is_some() {
                refusal.get_or_insert(error);
            } else {
                node.rest(self.now());
            }
        }
        refusal.map(Err).ok_or_else(|| LedgerError::Unavailable { what: told.join("; "), source: None })
    }

    /// As [`Rpc::any`], where a refusal means that no provider can be used.
    pub(super) async fn get<'a, T, F>(&'a self, ask: impl Fn(&'a Provider<Http>) -> F) -> Result<T, LedgerError>
    where
        F: Future<Output = Asked<T>>,
    {
        self.any(ask).await?.map_err(|error| failed("the RPC provider", &error))
    }

    /// What every provider answers, beside its host, but for those that did not answer lately while others do.
    pub(super) async fn all<'a, T, F>(
        &'a self,
        ask: impl Fn(&'a Provider<Http>) -> F,
    ) -> Vec<(&'a str, Result<T, LedgerError>)>
    where
        F: Future<Output = Asked<T>>,
    {
        let awake: Vec<&Node> = self.nodes.iter().filter(|node| !node.rests(self.now())).collect();
        self.each(if awake.is_empty() { self.nodes.iter().collect() } else { awake }, ask).await
    }

    /// What every provider answers, beside its host.
    pub(super) async fn every<'a, T, F>(
        &'a self,
        ask: impl Fn(&'a Provider<Http>) -> F,
    ) -> Vec<(&'a str, Result<T, LedgerError>)>
    where
        F: Future<Output = Asked<T>>,
    {
        self.each(self.nodes.iter().collect(), ask).await
    }

    async fn each<'a, T, F>(
        &'a self,
        nodes: Vec<&'a Node>,
        ask: impl Fn(&'a Provider<Http>) -> F,
    ) -> Vec<(&'a str, Result<T, LedgerError>)>
    where
        F: Future<Output = Asked<T>>,
    {
        let ask = &ask;
        let asked = nodes.into_iter().map(|node| async move {
            let answer = match node.provider(self.chain_id()).await {
                Ok(provider) => ask(provider).await.map_err(|error| (error_response(&error).is_some(), error)),
                Err(error) => {
                    node.rest(self.now());
                    return (&node.host[..], Err(error));
                }
            };
            let answer = answer.map_err(|(is_refusal, error)| {
                if !is_refusal {
                    node.rest(self.now());
                }
                failed(&node.host, &error)
            });
            (&node.host[..], answer)
        });
        join_all(asked).await
    }

    /// Asks `ask` at one block: of one provider at its newest, of several at one that all know by the same hash, and
    /// then all must say the same.
    pub(super) async fn agreed<'a, T, F>(
        &'a self,
        ask: impl Fn(&'a Provider<Http>, BlockId) -> F,
    ) -> Result<(Head, T), LedgerError>
    where
        T: PartialEq,
        F: Future<Output = Asked<T>>,
    {
        if self.nodes.len() == 1 {
            return self.at_newest(ask).await;
        }
        for tried in 0..TRIES {
            if tried > 0 {
                self.pause().await;
            }
            let head = self.head().await?;
            let mut answers = Vec::new();
            for (host, answer) in self.all(|provider| ask(provider, head.block())).await {
                match answer {
                    Ok(answer) => answers.push((host, answer)),
                    Err(error @ LedgerError::Chain { .. }) => return Err(error),
                    Err(error) => tracing::warn!(provider = host, %error, "an RPC provider is left out"),
                }
            }
            let other = answers.iter().find(|(_, answer)| *answer != answers[0].1).map(|(host, _)| *host);
            match other {
                // Between the two questions the chain may have changed its mind.
                Some(_) if tried + 1 < TRIES => {}
                Some(other) => {
                    let what =
                        format!("{} and {other} contradict each other about block {}", answers[0].0, head.number);
                    return Err(LedgerError::Chain { problem: ChainProblem::RpcDisagree, what });
                }
                None => {
                    let answer = answers.into_iter().next().map(|(_, answer)| (head, answer));
                    return answer.ok_or_else(silent);
                }
            }
        }
        Err(silent())
    }

    /// What one provider says at its newest block. Behind its address may be several nodes, of which some do not have
    /// that block yet and refuse.
    async fn at_newest<'a, T, F>(
        &'a self,
        ask: impl Fn(&'a Provider<Http>, BlockId) -> F,
    ) -> Result<(Head, T), LedgerError>
    where
        F: Future<Output = Asked<T>>,
    {
        let mut tried = 0;
        loop {
            let head = self.head().await?;
            tried += 1;
            match self.any(|provider| ask(provider, head.block())).await? {
                Ok(answer) => return Ok((head, answer)),
                Err(error) if tried == TRIES => return Err(failed(&self.nodes[0].host, &error)),
                Err(_) => self.pause().await,
            }
        }
    }

    /// The newest block that all providers which answer, and are not far behind, know by the same hash.
    pub(super) async fn head(&self) -> Result<Head, LedgerError> {
        for tried in 0..TRIES {
            if tried > 0 {
                self.pause().await;
            }
            if let Some(head) = self.common_head().await? {
                return self.fresh(head);
            }
        }
        let what = "the RPC providers follow different chains: their newest blocks differ".to_owned();
        Err(LedgerError::Chain { problem: ChainProblem::RpcDisagree, what })
    }

    /// As [`Rpc::head`], asked once for all that want to know within the time between two looks.
    pub(super) async fn recent_head(&self) -> Result<Head, LedgerError> {
        let mut recent = self.recent.lock().await;
        if let Some((asked, head)) = *recent
            && self.now().saturating_sub(asked) < self.config.chain.poll
        {
            return Ok(head);
        }
        let head = self.head().await?;
        *recent = Some((self.now(), head));
        Ok(head)
    }

    fn fresh(&self, head: Head) -> Result<Head, LedgerError> {
        let age = self.rt().now().since(head.time);
        match self.config.chain.max_head_age {
            Some(limit) if age > limit => {
                let minutes = age.as_secs() / 60;
                let what =
                    format!("its newest block is {minutes} min old: the RPC provider is behind, use another one");
                Err(LedgerError::Unavailable { what, source: None })
            }
            _ => Ok(head),
        }
    }

    async fn common_head(&self) -> Result<Option<Head>, LedgerError> {
        if self.nodes.len() == 1 {
            let block = self.get(|provider| provider.get_block(BlockNumber::Latest)).await?;
            return block.as_ref().and_then(head_of).map(Some).ok_or_else(no_block);
        }
        let mut heads = Vec::new();
        let mut told = Vec::new();
        for (host, block) in self.all(|provider| provider.get_block(BlockNumber::Latest)).await {
            match block {
                Ok(Some(block)) => heads.extend(head_of(&block).map(|head| (host, head))),
                Ok(None) => {}
                Err(error @ LedgerError::Chain { .. }) => return Err(error),
                Err(error) => told.push(error.to_string()),
            }
        }
        if heads.is_empty() {
            return Err(LedgerError::Unavailable { what: told.join("; "), source: None });
        }
        // One that has stopped says so itself: its newest block is old. Numbers alone prove nothing.
        let is_fresh = |(_, head): &(&str, Head)| self.fresh(*head).is_ok();
        if heads.iter().any(is_fresh) {
            heads.retain(is_fresh);
        }
        let number = |(_, head): &&(&str, Head)| head.number;
        let (lowest, newest) = (heads.iter().min_by_key(number), heads.iter().max_by_key(number));
        let (Some((behind, lowest)), Some((ahead, newest))) = (lowest, newest) else { return Ok(None) };
        if newest.number - lowest.number > MAX_LAG {
            let what = format!(
                "{ahead} is at block {}, {behind} at {}: one of them shows another chain",
                newest.number, lowest.number
            );
            return Err(LedgerError::Chain { problem: ChainProblem::RpcDisagree, what });
        }
        let number = lowest.number;
        let known = |host: &str| heads.iter().any(|(known, _)| *known == host);
        let mut hashes = Vec::new();
        for (host, block) in self.all(|provider| provider.get_block(number)).await {
            match block {
                Ok(block) if known(host) => hashes.push(block.and_then(|block| block.hash)),
                _ => {}
            }
        }
        let is_one = hashes.first().is_some_and(Option::is_some) && hashes.windows(2).all(|pair| pair[0] == pair[1]);
        Ok(is_one.then_some(*lowest))
    }

    /// The newest block that all providers call final; `None` where one says so of none.
    pub(super) async fn finalized(&self) -> Option<u64> {
        let blocks = self.all(|provider| provider.get_block(BlockNumber::Finalized)).await;
        let numbers: Option<Vec<u64>> =
            blocks.into_iter().map(|(_, block)| Some(block.ok()??.number?.as_u64())).collect();
        numbers?.into_iter().min()
    }

    /// When a block was made.
    pub(super) async fn time(&self, number: u64) -> Result<Timestamp, LedgerError> {
        let block = self.get(|provider| provider.get_block(number)).await?;
        block.as_ref().and_then(head_of).map(|head| head.time).ok_or_else(no_block)
    }
}

fn silent() -> LedgerError {
    LedgerError::Unavailable { what: "no RPC provider answers".to_owned(), source: None }
}

fn no_block() -> LedgerError {
    LedgerError::Unavailable {
        what: "the RPC provider does not give out a block that it knows".to_owned(),
        source: None,
    }
}

fn head_of(block: &Block<H256>) -> Option<Head> {
    let number: U64 = block.number.filter(|number| number.as_u64() < MAX_BLOCKS)?;
    // Dates that are no dates end far in the future, not in a panic.
    let seconds = u64::try_from(block.timestamp).unwrap_or(u64::MAX);
    Some(Head { number: number.as_u64(), time: Timestamp::from_millis(seconds.saturating_mul(1000)) })
}

/// What a provider answered, if it did answer.
pub(super) fn error_response(error: &ProviderError) -> Option<&ethers_providers::JsonRpcError> {
    match error {
        ProviderError::JsonRpcClientError(error) => error.as_error_response(),
        _ => None,
    }
}

/// What a contract gave as its reason for refusing a call; `None` for any other failure.
pub(super) fn revert_data(error: &ProviderError) -> Option<Vec<u8>> {
    let said = error_response(error)?;
    if let Some(data) = said.as_revert_data() {
        return Some(data.to_vec());
    }
    // Others than geth say it by code, and some put a word before the data.
    let is_revert = said.code == 3 || said.code == -32015;
    let data = || said.data.as_ref().and_then(|data| data.as_str()).and_then(|data| data.split("0x").nth(1));
    is_revert.then(|| data().and_then(|data| hex::decode(data).ok()).unwrap_or_default())
}

/// In words, cut where a provider talks too much.
pub(super) fn text(error: &ProviderError) -> String {
    let text = match (error_response(error), error) {
        (Some(said), _) => said.message.clone(),
        (None, ProviderError::JsonRpcClientError(error)) => error.to_string(),
        (None, error) => error.to_string(),
    };
    let plain: String = text.chars().filter(|char| !char.is_control()).take(200).collect();
    plain
}

pub(super) fn failed(host: &str, error: &ProviderError) -> LedgerError {
    LedgerError::Unavailable { what: format!("{host}: {}", text(error)), source: None }
}

/// For how long a provider is given to catch up with what another one, or it itself, has shown.
pub(super) const CATCH_UP: Duration = Duration::from_secs(6);
