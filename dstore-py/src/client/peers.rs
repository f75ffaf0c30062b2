//! Registries and nodes, and what nodes know of files.

use dstore::RegistryAddr;
use pyo3::prelude::*;

use super::Client;
use crate::{args, error, run};

#[pymethods]
impl Client {
    /// What the registries say of the network.
    ///
    /// Raises `ConfigError` when the client has no registry.
    ///
    /// >>> client.network().active
    /// 3
    fn network(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.network().await })
    }

    /// `network`, for asyncio.
    fn network_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.network().await })
    }

    /// What the node with the id `node` says of itself.
    ///
    /// Raises `NotFound` when no registry knows it, `ConfigError` when `node` is no id.
    ///
    /// >>> client.node_info(network.node_ids[0]).draining
    /// False
    fn node_info(&self, py: Python<'_>, node: &str) -> PyResult<Py<PyAny>> {
        let (client, node) = (self.client()?, args::node(py, node)?);
        run::block(py, async move { client.node_info(node).await })
    }

    /// `node_info`, for asyncio.
    fn node_info_async(&self, py: Python<'_>, node: &str) -> PyResult<Py<PyAny>> {
        let (client, node) = (self.client()?, args::node(py, node)?);
        run::spawn(py, async move { client.node_info(node).await })
    }

    /// Connects to the registry at `address`, whether this client uses it or not, and proves its key and its network.
    ///
    /// Raises `ConfigError` when `address` is none; `Unavailable` when it cannot be reached, or is another one.
    ///
    /// >>> client.probe_registry(network.registry_address).seconds < 10
    /// True
    fn probe_registry(&self, py: Python<'_>, address: &str) -> PyResult<Py<PyAny>> {
        let (client, address) = (self.client()?, error::raised(py, address.parse::<RegistryAddr>())?);
        run::block(py, async move { client.probe_registry(&address).await })
    }

    /// `probe_registry`, for asyncio.
    fn probe_registry_async(&self, py: Python<'_>, address: &str) -> PyResult<Py<PyAny>> {
        let (client, address) = (self.client()?, error::raised(py, address.parse::<RegistryAddr>())?);
        run::spawn(py, async move { client.probe_registry(&address).await })
    }

    /// Looks for this owner's files at every node, and asks for every shard of each. Nothing is written:
    /// `LocalLedger.restore` takes what is found. A node that does not answer is no error, nor is a ledger that
    /// cannot tell: the `Recovery` says so.
    ///
    /// Raises `ConfigError` when the client has no registry.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> found = client.recover().ledgers[0]
    /// >>> [(file.head.path, file.is_readable) for file in found.files]
    /// [('notes/a.txt', True)]
    /// >>> restored = dstore.LocalLedger.restore(path / "ledger.db", network.owner, found.versions)
    /// >>> restored.added
    /// 1
    fn recover(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.recover().await })
    }

    /// `recover`, for asyncio.
    fn recover_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.recover().await })
    }
}
