//! Which chain, and through whom: presets, addresses of providers, and what a write may cost.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ethers_providers::JsonRpcError;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::rt::Rt;

/// A chain that runs Ethereum's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub(super) name: &'static str,
    pub(super) id: u64,
    pub(super) default_url: Option<&'static str>,
    /// Subdomain of the provider whose key users call `ALCHEMY_API_KEY`.
    alchemy: Option<&'static str>,
    /// Blocks, the one with the write included, after which a write counts as confirmed.
    pub(super) confirmations: u64,
    /// Whether included is final: a chain that mines on demand never says `finalized`.
    pub(super) is_final_at_once: bool,
    pub(super) poll: Duration,
    /// How old the newest block may be.
    pub(super) max_head_age: Option<Duration>,
}

impl Chain {
    /// The public test network.
    pub const SEPOLIA: Self = Self {
        name: "sepolia",
        id: 11_155_111,
        default_url: None,
        alchemy: Some("eth-sepolia"),
        confirmations: 2,
        is_final_at_once: false,
        poll: Duration::from_secs(3),
        max_head_age: Some(Duration::from_secs(600)),
    };

    /// A development chain on this machine, such as anvil: what is included is final.
    pub const LOCAL: Self = Self {
        name: "local",
        id: 31337,
        default_url: Some("http://127.0.0.1:8545"),
        alchemy: None,
        confirmations: 1,
        is_final_at_once: true,
        poll: Duration::from_millis(50),
        max_head_age: None,
    };

    /// Every preset. A successor of a test network is one more of these.
    pub const PRESETS: [Self; 2] = [Self::SEPOLIA, Self::LOCAL];

    /// The preset with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::PRESETS.into_iter().find(|chain| chain.name == name)
    }

    /// Another chain, by its id (EIP-155), with the habits of a public one: 2 confirmations, `finalized` blocks.
    #[must_use]
    pub const fn with_id(id: u64) -> Self {
        Self { name: "custom", id, alchemy: None, ..Self::SEPOLIA }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its id (EIP-155).
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }
}

impl FromStr for Chain {
    type Err = String;

    /// A preset's name, or the id of another chain.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(chain) = Self::named(text) {
            return Ok(chain);
        }
        let names = || Self::PRESETS.map(|chain| chain.name).join(", ");
        let id = text.parse::<u64>().map_err(|_| format!("{text:?} is no chain: {}, or a chain id", names()))?;
        Ok(Self::PRESETS.into_iter().find(|chain| chain.id == id).unwrap_or_else(|| Self::with_id(id)))
    }
}

/// Where a provider of a chain answers, `http://` or `https://`. It often carries a key: only its host is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RpcUrl {
    url: Zeroizing<String>,
    host: String,
}

impl RpcUrl {
    /// That of the provider whose key users have as `ALCHEMY_API_KEY`; `None` where it does not serve the chain.
    ///
    /// # Errors
    /// [`Error::Config`] for a key that cannot be part of an address.
    pub fn alchemy(chain: &Chain, key: &str) -> Result<Option<Self>, Error> {
        let Some(network) = chain.alchemy else { return Ok(None) };
        let is_plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_plain {
            return Err(Error::config("ALCHEMY_API_KEY: a key has letters, digits, - and _"));
        }
        let url = format!("https://{network}.g.alchemy.com/v2/{key}");
        url.parse().map(Some).map_err(|error: String| Error::config(error))
    }

    /// The host, with its port where one is named.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn expose(&self) -> &str {
        &self.url
    }

    /// What a provider says, without the parts of its address that it may have repeated.
    pub(super) fn redact(&self, mut said: JsonRpcError) -> JsonRpcError {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let parts = rest.split(['/', '?', '#', '@', '&', '=', ':']).filter(|part| part.len() >= MIN_SECRET_LEN);
        for part in parts.filter(|part| !self.host.contains(part)) {
            said.message = said.message.replace(part, "***");
            // What it adds may repeat it as well; of a refusal of the contract it does not.
            said.data = said.data.filter(|data| !data.to_string().contains(part));
        }
        said
    }
}

impl FromStr for RpcUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        // The address itself is not told: it may hold a key.
        let rest = rest.ok_or("an RPC address starts with https:// or http://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if host.is_empty()
            || !host.bytes().all(is_plain)
            || text.len() > 2048
            || !text.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err("an RPC address is like https://host/path".to_owned());
        }
        Ok(Self { url: Zeroizing::new(text.to_owned()), host: host.to_owned() })
    }
}

impl fmt::Display for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

impl fmt::Debug for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RpcUrl({})", self.host)
    }
}

/// Shorter parts of an address are no keys.
const MIN_SECRET_LEN: usize = 6;

/// How a chain is read and written.
#[derive(Debug, Clone)]
#[must_use]
pub struct EthereumConfig {
    pub(super) chain: Chain,
    pub(super) urls: Vec<RpcUrl>,
    pub(super) max_fee: u128,
    pub(super) timeout: Duration,
    pub(super) inclusion_timeout: Duration,
    pub(super) batch_wait: Duration,
    pub(super) lock_folder: Option<PathBuf>,
    pub(super) rt: Rt,
}

/// Providers that one configuration may name.
const MAX_PROVIDERS: usize = 8;

impl EthereumConfig {
    /// `chain`, through these providers; none: the preset's own. With several, each is a spare of the others, and what
    /// they say of a file is compared.
    ///
    /// # Errors
    /// [`Error::Config`] without a provider where the chain has none of its own, and with more than 8.
    pub fn new(chain: Chain, mut urls: Vec<RpcUrl>) -> Result<Self, Error> {
        if let (Some(url), true) = (chain.default_url, urls.is_empty()) {
            urls.push(url.parse().map_err(|error: String| Error::config(error))?);
        }
        if urls.is_empty() {
            return Err(Error::config(format!(
                "no RPC provider is set for chain {}: set ETH_RPC_URL, or ALCHEMY_API_KEY where that provider serves it",
                chain.name
            )));
        }
        if urls.len() > MAX_PROVIDERS {
            return Err(Error::config(format!("{} RPC providers are named: at most {MAX_PROVIDERS}", urls.len())));
        }
        Ok(Self {
            chain,
            urls,
            max_fee: 100_000_000_000,
            timeout: Duration::from_secs(10),
            inclusion_timeout: Duration::from_secs(600),
            batch_wait: Duration::from_secs(1),
            lock_folder: None,
            rt: Rt::default(),
        })
    }

    /// The most that a unit of gas may cost, wei. Default 100 gwei.
    pub fn max_fee(mut self, wei: u128) -> Self {
        self.max_fee = wei;
        self
    }

    /// Blocks after which a write counts as confirmed, the one that includes it among them. Default: the chain's, 2 on a
    /// public one. More wait longer, and are undone less often.
    pub fn confirmations(mut self, blocks: u64) -> Self {
        self.chain.confirmations = blocks.max(1);
        self
    }

    /// Whether what is included counts as final, as on a development chain. Default: the chain's.
    pub fn final_at_once(mut self, is_final: bool) -> Self {
        self.chain.is_final_at_once = is_final;
        self
    }

    /// How often it is looked whether a write is included. Default: the chain's, 3 s on a public one.
    pub fn poll(mut self, interval: Duration) -> Self {
        self.chain.poll = interval;
        self
    }

    /// For how long one request to a provider may take, retries included. Default 10 s.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// For how long a transaction that was sent is waited for. Then nobody knows whether it comes. Default 10 min.
    pub fn inclusion_timeout(mut self, limit: Duration) -> Self {
        self.inclusion_timeout = limit;
        self
    }

    /// How long a put waits for others of this ledger that are on their way, to share a transaction. Default 1 s. A put
    /// that is alone does not wait.
    pub fn batch_wait(mut self, limit: Duration) -> Self {
        self.batch_wait = limit;
        self
    }

    /// A folder where processes that write with the same key take turns. Default: none; then processes that do so at the
    /// same time try again until each has a nonce of its own.
    pub fn lock_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.lock_folder = Some(folder.into());
        self
    }

    /// The environment: clock, tasks, threads. Default: the machine's own.
    pub fn rt(mut self, rt: Rt) -> Self {
        self.rt = rt;
        self
    }

    /// Which chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The hosts of the providers.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.urls.iter().map(RpcUrl::host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_provider_is_never_shown_but_for_its_host() {
        let url: RpcUrl = "https://user:pass@rpc.example:8545/v2/hunter2?key=hunter3".parse().expect("an address");
        assert_eq!((url.host(), url.to_string()), ("rpc.example:8545", "rpc.example:8545".to_owned()));
        let config = EthereumConfig::new(Chain::LOCAL, vec![url]).expect("a config");
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter") && !shown.contains("pass") && shown.contains("rpc.example"), "{shown}");
    }

    #[test]
    fn what_a_provider_repeats_of_its_address_is_not_told() {
        let url: RpcUrl = "https://rpc.example/v2/hunter2?key=hunter3".parse().expect("an address");
        let said = serde_json::json!({"code": -32000, "message": "bad key hunter2 (hunter3)", "data": "hunter2"});
        let said = url.redact(serde_json::from_value(said).expect("an error"));
        assert!(!format!("{said:?} {said}").contains("hunter"), "{said}");
        assert!(said.message.starts_with("bad key ***"), "{said}");
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_it() {
        for text in ["", "rpc.example/hunter2", "ftp://hunter2", "https://", "https:///hunter2", "http://ho st/hunter2"]
        {
            let error = text.parse::<RpcUrl>().expect_err(text);
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(RpcUrl::alchemy(&Chain::SEPOLIA, "a/b").is_err());
        assert!(RpcUrl::alchemy(&Chain::LOCAL, "abc").expect("fine").is_none());
    }

    #[test]
    fn a_chain_is_named_or_numbered() {
        assert_eq!("sepolia".parse(), Ok(Chain::SEPOLIA));
        assert_eq!("31337".parse(), Ok(Chain::LOCAL));
        assert_eq!("17000".parse::<Chain>().map(|chain| chain.id()), Ok(17000));
        assert!("mainet".parse::<Chain>().is_err());
    }

    #[test]
    fn a_chain_without_a_provider_says_what_to_set() {
        let error = EthereumConfig::new(Chain::SEPOLIA, Vec::new()).expect_err("none").to_string();
        assert!(error.contains("ETH_RPC_URL") && error.contains("ALCHEMY_API_KEY"), "{error}");
        assert!(EthereumConfig::new(Chain::LOCAL, Vec::new()).is_ok());
    }
}
