//! `dstore.EthereumLedger` and `dstore.EthereumAccount`.

use std::path::PathBuf;

use dstore::config::parse_contract;
use dstore::ledger::{Chain, EthereumConfig, Ledger as _, RpcUrl};
use dstore::{Error, Result};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyDict;

use crate::ledger::config;
use crate::owner::Owner;
use crate::{args, error, run};

args::keywords! {
    /// How a chain is reached, and what a write may cost, by keyword.
    struct Keywords of "a chain" {
        rpc_url: Urls,
        max_fee: PyBackedStrOrNumber,
        confirmations: u64,
        batch_wait: f64,
        timeout: f64,
        inclusion_timeout: f64,
        lock_folder: PathBuf,
    }
}

/// One address of a provider, or several.
#[derive(FromPyObject)]
enum Urls {
    One(PyBackedStr),
    Several(Vec<PyBackedStr>),
}

/// A price in gwei, as text or number.
#[derive(FromPyObject)]
enum PyBackedStrOrNumber {
    Text(PyBackedStr),
    Number(f64),
}

/// The owner's account on a chain: what pays for a ledger there. Nothing is asked of the chain until a method is
/// called.
///
/// * `owner`: the `Owner`, whose key signs.
/// * `chain`: "sepolia" (the default), "local", or a chain id.
/// * `rpc_url`: address of a provider, or several, at most 8; each is a spare of the others. None is ever shown: they
///   carry keys.
/// * `max_fee`: the most that a unit of gas may cost, gwei, as a number or a text. Default 100.
/// * `confirmations`: blocks after which a write counts as confirmed. Default: the chain's, 2 on a public one.
/// * `batch_wait`: seconds that a put waits for others that are on their way, to share a transaction. Default 1.
/// * `timeout`: seconds for one request to a provider. Default 10.
/// * `inclusion_timeout`: seconds that a transaction is waited for. Default 600.
/// * `lock_folder`: a folder where processes that write with one key take turns. Default: none.
///
/// Raises `ConfigError` for settings that cannot be used, `ValueError` for a number out of range, `TypeError` for
/// another keyword.
///
/// Its methods raise `Unavailable` or `Timeout` when no provider answers, `WrongChain` when one serves another chain,
/// and `ChainError`.
///
/// >>> owner = dstore.Owner.generate()
/// >>> account = dstore.EthereumAccount(owner, chain="local", rpc_url="http://127.0.0.1:8545")
/// >>> account.address == "0x" + owner.id
/// True
#[pyclass(frozen, module = "dstore")]
pub(crate) struct EthereumAccount {
    inner: dstore::ledger::EthereumAccount,
    chain: String,
}

fn account(
    py: Python<'_>,
    owner: &Bound<'_, Owner>,
    chain: &str,
    keywords: Option<&Bound<'_, PyDict>>,
) -> PyResult<EthereumAccount> {
    let keywords: Keywords = Keywords::new(keywords)?;
    let chain: Chain = config(py, chain.parse())?;
    let urls = match &keywords.rpc_url {
        None => &[][..],
        Some(Urls::One(url)) => std::slice::from_ref(url),
        Some(Urls::Several(urls)) => urls,
    };
    let urls = urls.iter().map(|url| config(py, url.parse::<RpcUrl>())).collect::<PyResult<Vec<_>>>()?;
    let name = format!("{} ({})", chain.name(), chain.id());
    let mut ethereum = error::raised(py, EthereumConfig::new(chain, urls))?;
    if let Some(price) = keywords.max_fee {
        let text = match price {
            PyBackedStrOrNumber::Text(text) => text.to_string(),
            PyBackedStrOrNumber::Number(number) => number.to_string(),
        };
        ethereum = ethereum.max_fee(config(py, dstore::config::parse_gwei(&text))?);
    }
    match keywords.confirmations {
        Some(0) => return Err(PyValueError::new_err("confirmations is a number of blocks from 1 on")),
        Some(blocks) => ethereum = ethereum.confirmations(blocks),
        None => {}
    }
    if let Some(wait) = keywords.batch_wait {
        ethereum = ethereum.batch_wait(args::seconds("batch_wait", wait)?);
    }
    if let Some(limit) = keywords.timeout {
        ethereum = ethereum.timeout(args::seconds("timeout", limit)?);
    }
    if let Some(limit) = keywords.inclusion_timeout {
        ethereum = ethereum.inclusion_timeout(args::seconds("inclusion_timeout", limit)?);
    }
    if let Some(folder) = keywords.lock_folder {
        ethereum = ethereum.lock_folder(folder);
    }
    Ok(EthereumAccount { inner: dstore::ledger::EthereumAccount::new(ethereum, &owner.get().inner), chain: name })
}

#[pymethods]
impl EthereumAccount {
    #[new]
    #[pyo3(signature = (owner, *, chain = "sepolia", **options))]
    fn new(
        py: Python<'_>,
        owner: &Bound<'_, Owner>,
        chain: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        account(py, owner, chain, options)
    }

    /// Its address: `0x` and 40 hex digits.
    #[getter]
    fn address(&self) -> String {
        format!("0x{}", self.inner.address())
    }

    /// What it has, in wei.
    fn balance(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, balance(self.inner.clone()))
    }

    /// `balance`, for asyncio.
    fn balance_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, balance(self.inner.clone()))
    }

    /// What `deploy` would cost.
    ///
    /// Raises `FeeTooHigh` when a unit of gas costs more than `max_fee`.
    fn deploy_cost(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let account = self.inner.clone();
        run::block(py, async move { account.deploy_cost().await.map_err(Error::from) })
    }

    /// `deploy_cost`, for asyncio.
    fn deploy_cost_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let account = self.inner.clone();
        run::spawn(py, async move { account.deploy_cost().await.map_err(Error::from) })
    }

    /// Deploys the contract, and waits until a block has it. Needed once for a ledger; keep the contract's address.
    ///
    /// Raises `InsufficientFunds`; `FeeTooHigh`; `UnknownOutcome` when it may have been deployed.
    fn deploy(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let account = self.inner.clone();
        run::block(py, async move { account.deploy().await.map_err(Error::from) })
    }

    /// `deploy`, for asyncio.
    fn deploy_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let account = self.inner.clone();
        run::spawn(py, async move { account.deploy().await.map_err(Error::from) })
    }

    /// The ledger that the contract at the address `contract` keeps: `0x` and 40 hex digits.
    ///
    /// Raises `ConfigError` for another text.
    fn ledger(&self, py: Python<'_>, contract: &str) -> PyResult<EthereumLedger> {
        let contract = config(py, parse_contract(contract))?;
        Ok(EthereumLedger { inner: self.inner.ledger(contract) })
    }

    fn __repr__(&self) -> String {
        format!("<dstore.EthereumAccount 0x{} on {}>", self.inner.address(), self.chain)
    }
}

async fn balance(account: dstore::ledger::EthereumAccount) -> Result<u128> {
    Ok(account.balance().await?)
}

/// Records of files in a contract on a chain: nothing on this machine can be lost but the key. docs/ethereum.md says
/// what it costs and shows.
///
/// * `owner`: the `Owner`, whose key signs.
/// * `contract`: the contract's address: `0x` and 40 hex digits.
/// * keywords: those of `EthereumAccount`.
///
/// Raises `ConfigError` for settings that cannot be used. The chain is asked for the first time when the ledger is
/// used.
///
/// >>> ledger = dstore.EthereumLedger(
/// ...     dstore.Owner.generate(), "0x" + 40 * "1", chain="local", rpc_url="http://127.0.0.1:8545"
/// ... )
/// >>> len(ledger.id)
/// 64
#[pyclass(frozen, module = "dstore")]
pub(crate) struct EthereumLedger {
    pub(crate) inner: dstore::ledger::EthereumLedger,
}

#[pymethods]
impl EthereumLedger {
    #[new]
    #[pyo3(signature = (owner, contract, *, chain = "sepolia", **options))]
    fn new(
        py: Python<'_>,
        owner: &Bound<'_, Owner>,
        contract: &str,
        chain: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        account(py, owner, chain, options)?.ledger(py, contract)
    }

    /// Which ledger this is: records are sealed for it. Hex digits.
    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    /// What the contract and its chain say of themselves.
    ///
    /// Raises `Unavailable` or `Timeout` when no provider answers, `WrongChain`, `WrongContract`, `ChainError`.
    fn contract(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ledger = self.inner.clone();
        run::block(py, async move { ledger.contract().await.map_err(Error::from) })
    }

    /// `contract`, for asyncio.
    fn contract_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ledger = self.inner.clone();
        run::spawn(py, async move { ledger.contract().await.map_err(Error::from) })
    }

    fn __repr__(&self) -> String {
        format!("<dstore.{:?}>", self.inner)
    }
}
