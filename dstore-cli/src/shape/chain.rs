//! What commands tell of a chain: amounts are wei, as text, because they are larger than numbers in JSON should be.

use dstore::client::Preview;
use dstore::id::OwnerId;
use dstore::ledger::{Chain, ContractInfo, Cost, Deployment};
use serde::Serialize;

/// `dstore.contract/1`: of `contract deploy` with the transaction, of `contract info` with who answers for it.
#[derive(Debug, Serialize)]
pub(crate) struct Contract {
    schema: &'static str,
    address: String,
    chain: &'static str,
    chain_id: u64,
    code_hash: String,
    /// Where it was deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx: Option<String>,
    /// What deploying it has cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    wei: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_time: Option<String>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// What this owner has written so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    providers: Vec<Provider>,
}

/// A provider in `dstore.contract/1`.
#[derive(Debug, Serialize)]
struct Provider {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Contract {
    /// One that has just been made.
    pub(crate) fn deployed(chain: &Chain, deployment: &Deployment) -> Self {
        Self {
            schema: "dstore.contract/1",
            address: format!("0x{}", deployment.contract),
            chain: chain.name(),
            chain_id: deployment.chain_id,
            code_hash: hex(&deployment.code_hash),
            block: Some(deployment.block),
            tx: Some(hex(&deployment.tx)),
            wei: Some(deployment.wei.to_string()),
            head: None,
            head_time: None,
            owner: None,
            writes: None,
            providers: Vec::new(),
        }
    }

    /// One that was asked for.
    pub(crate) fn asked(chain: &Chain, owner: OwnerId, info: &ContractInfo) -> Self {
        let provider = |(host, answer): &(String, Result<u64, String>)| Provider {
            host: host.clone(),
            head: answer.as_ref().ok().copied(),
            problem: answer.as_ref().err().cloned(),
        };
        Self {
            schema: "dstore.contract/1",
            address: format!("0x{}", info.contract),
            chain: chain.name(),
            chain_id: info.chain_id,
            code_hash: hex(&info.code_hash),
            block: None,
            tx: None,
            wei: None,
            head: Some(info.head),
            head_time: Some(info.head_time.to_string()),
            owner: Some(format!("0x{owner}")),
            writes: Some(info.writes),
            providers: info.providers.iter().map(provider).collect(),
        }
    }
}

/// `dstore.deploy_preview/1`
#[derive(Debug, Serialize)]
pub(crate) struct DeployPreview {
    schema: &'static str,
    /// Who would pay.
    address: String,
    chain: &'static str,
    chain_id: u64,
    #[serde(flatten)]
    cost: Price,
}

impl DeployPreview {
    /// What deploying would cost the account at `address`.
    pub(crate) fn new(address: String, chain: &Chain, cost: &Cost) -> Self {
        let (name, id) = (chain.name(), chain.id());
        Self { schema: "dstore.deploy_preview/1", address, chain: name, chain_id: id, cost: cost.into() }
    }
}

/// `dstore.balance/1`
#[derive(Debug, Serialize)]
pub(crate) struct Balance {
    schema: &'static str,
    address: String,
    chain: &'static str,
    chain_id: u64,
    wei: String,
}

impl Balance {
    /// What an account has.
    pub(crate) fn new(address: String, chain: &Chain, wei: u128) -> Self {
        let (name, id) = (chain.name(), chain.id());
        Self { schema: "dstore.balance/1", address, chain: name, chain_id: id, wei: wei.to_string() }
    }
}

/// `dstore.put_preview/1`
#[derive(Debug, Serialize)]
pub(crate) struct PutPreview {
    schema: &'static str,
    items: Vec<Item>,
    /// Bytes on all nodes together.
    stored: u64,
    /// Where writing costs something: all of them, one by one. Together they cost less.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    cost: Option<Price>,
}

impl PutPreview {
    /// What would be stored, with the sum of all.
    pub(crate) fn new(items: &[Preview], total: Option<&Cost>) -> Self {
        let item = |preview: &Preview| Item {
            path: preview.path.to_string(),
            version: preview.version,
            size: preview.size,
            padded: preview.padded,
            stored: preview.stored,
            record: preview.record_len,
            cost: preview.cost.as_ref().map(Price::from),
        };
        Self {
            schema: "dstore.put_preview/1",
            items: items.iter().map(item).collect(),
            stored: items.iter().filter_map(|item| item.stored).sum(),
            cost: total.map(Price::from),
        }
    }
}

/// A file in `dstore.put_preview/1`.
#[derive(Debug, Serialize)]
struct Item {
    path: String,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    padded: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<u64>,
    record: usize,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    cost: Option<Price>,
}

/// What a write would cost.
#[derive(Debug, Serialize)]
struct Price {
    gas: u64,
    wei: String,
    max_wei: String,
}

impl From<&Cost> for Price {
    fn from(cost: &Cost) -> Self {
        Self { gas: cost.gas, wei: cost.wei.to_string(), max_wei: cost.max_wei.to_string() }
    }
}

fn hex(hash: &[u8; 32]) -> String {
    format!("0x{}", hex::encode(hash))
}
