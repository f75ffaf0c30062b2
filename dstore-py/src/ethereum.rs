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

/// The owner's account on a chain.
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

    #[getter]
    fn address(&self) -> String {
        format!("0x{}", self.inner.address())
    }

    fn balance(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, balance(self.inner.clone()))
    }

    fn balance_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, balance(self.inner.clone()))
    }

    fn deploy_cost(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let account = self.inner.clone();
        run::block(py, async move { account.deploy_cost().await.map_err(Error::from) })
    }

    fn deploy_cost_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let account = self.inner.clone();
        run::spawn(py, async move { account.deploy_cost().await.map_err(Error::from) })
    }

    fn deploy(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let account = self.inner.clone();
        run::block(py, async move { account.deploy().await.map_err(Error::from) })
    }

    fn deploy_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let account = self.inner.clone();
        run::spawn(py, async move { account.deploy().await.map_err(Error::from) })
    }

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

/// Records in a contract on a chain.
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

    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    fn contract(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ledger = self.inner.clone();
        run::block(py, async move { ledger.contract().await.map_err(Error::from) })
    }

    fn contract_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ledger = self.inner.clone();
        run::spawn(py, async move { ledger.contract().await.map_err(Error::from) })
    }

    fn __repr__(&self) -> String {
        format!("<dstore.{:?}>", self.inner)
    }
}
