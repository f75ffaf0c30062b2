//! `dstore.Client`: how it is made and closed. Its other methods are in the files beside this one.

mod files;
mod peers;
mod read;
mod write;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use dstore::Result;
use dstore::rt::Env;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::args::{self, Texts};
use crate::owner::Owner;
use crate::settings::{self, LedgerArg};
use crate::{error, run};

/// How long the end of a with statement waits for what is not needed any more, after an exception.
const CLOSING: Duration = Duration::from_secs(2);

/// Stores and reads an owner's files. It can be shared by threads and by event loops, which share its connections.
///
/// * `owner`: the `Owner` whose files these are.
/// * `ledger`: where the records of files are: a `LocalLedger`, a `MemoryLedger` or an `EthereumLedger`.
/// * `registry`: address (`dsr1:…@host:port`) of the registry to find nodes through, or several of them. Files can be
///   read without one, and not be stored.
/// * `scheme`: a `Scheme` or a text such as "4+2" (the default): data and parity shards of new files.
/// * `tolerate`: how many nodes, whichever, may vanish without loss of a new file. Default 1.
/// * `padding`: how the length of new files is hidden: "padme" (the default, at most 12 % more bytes) or "none".
/// * `network`: the label of the network. Default "dstore".
/// * `timeout`: seconds for which a step may make no progress before it fails. Default 30.
/// * `memory`: bytes for the buffers of one transfer. Default 48 MiB, at least 16 MiB.
/// * `hedge_after`: seconds that a get waits for a silent node, at most, before it asks another one. Default 1.
/// * `journal`: a folder where unfinished work is noted, so that it is gone on with, or cleared away. Default:
///   nowhere.
/// * `resume`: whether a put goes on where an earlier one of the same bytes to the same path ended. Default: if there
///   is a journal.
/// * `pin`: ids of the nodes that alone take new shards. Default: all that the registries list.
/// * `invite`: invites of nodes that do not know this client yet.
///
/// Making one asks nobody. `with` and `async with` close it at the end.
///
/// Raises `ConfigError` for an address, id or invite that is none, and for settings that no nodes could satisfy;
/// `ValueError` for a number out of range; `TypeError` for a keyword that it does not have.
///
/// Every method that waits has a twin for asyncio. All of them raise `Unavailable`, `Timeout` or `Busy` for a
/// registry, a node or a ledger that is needed and does not answer, `PermissionDenied` where it refuses,
/// `IntegrityError` for what does not verify, `Locked` while another process does not let go of a local ledger,
/// `ChainError` and its kinds for a ledger on a chain, `ForkedError` in a child process after a fork, and
/// `RuntimeError` once the client is closed. Each says what it raises besides.
///
/// >>> owner, ledger = dstore.Owner.create(path / "me.key"), dstore.LocalLedger(path / "ledger.db")
/// >>> with dstore.Client(owner=owner, ledger=ledger, scheme="2+4", timeout=5) as client:
/// ...     client.exists("notes/a.txt")
/// False
#[pyclass(frozen, weakref, module = "dstore")]
pub(crate) struct Client {
    /// `None` once it is closed.
    inner: RwLock<Option<dstore::Client>>,
}

impl Client {
    pub(crate) fn new(inner: dstore::Client) -> Self {
        Self { inner: RwLock::new(Some(inner)) }
    }

    /// The client itself.
    ///
    /// # Errors
    /// `RuntimeError` once it is closed.
    pub(crate) fn client(&self) -> PyResult<dstore::Client> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| PyRuntimeError::new_err("this client is closed"))
    }

    fn take(&self) -> Option<dstore::Client> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn connect(py: Python<'_>, builder: dstore::ClientBuilder) -> PyResult<Self> {
        let _pass = crate::gate::enter(py)?;
        // Nothing is waited for: it is asked for nothing yet.
        let client = py.detach(|| futures_lite::future::block_on(builder.connect()));
        error::raised(py, client).map(Self::new)
    }
}

async fn close(client: Option<dstore::Client>, limit: Option<Duration>) -> Result<()> {
    let Some(client) = client else { return Ok(()) };
    match limit {
        Some(limit) => futures_lite::future::or(client.close(), run::ENV.sleep(limit)).await,
        None => client.close().await,
    }
    Ok(())
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (*, owner, ledger, registry = None, **settings))]
    fn py_new(
        py: Python<'_>,
        owner: &Bound<'_, Owner>,
        ledger: LedgerArg<'_>,
        registry: Option<Texts>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut builder = dstore::Client::builder().owner(owner.get().inner.clone()).shared_ledger(ledger.shared());
        for address in args::parsed(py, registry.as_ref())? {
            builder = builder.registry(address);
        }
        Self::connect(py, settings::tune(py, builder, settings)?)
    }

    /// The client that `dstore-cli` is here: the same folder, key, ledger, registries and settings.
    ///
    /// * `dir`: the client's folder. Default: what `DSTORE_DIR` says, else `dstore/client` in the platform's folder
    ///   for data.
    /// * `env_file`: a file with variables. Default: what `DSTORE_ENV_FILE` says, else `.env` in the current folder,
    ///   if there.
    /// * `env`: the variables. Default: `os.environ`, which nothing is ever written to.
    /// * keywords: the command line's settings by their names (`EnvSettings`), which come first; then the variables,
    ///   `env_file`, and `config.toml` in the folder.
    ///
    /// Raises `ConfigError` for a setting that is missing or wrong, and for a key file that others can read;
    /// `NotFound` for a file that is named and not there; `Locked`; `TypeError` for a keyword that is no setting.
    /// What the command line warns of is warned of with `warnings`.
    ///
    /// >>> dstore.Owner.create(path / "owner.key")
    /// <dstore.Owner ...>
    /// >>> with dstore.Client.from_env(path, env={}, ledger="memory", timeout=5.0) as client:
    /// ...     client.exists("notes/a.txt")
    /// False
    #[classmethod]
    #[pyo3(signature = (dir = None, *, env_file = None, env = None, **settings))]
    fn from_env(
        class: &Bound<'_, PyType>,
        dir: Option<PathBuf>,
        env_file: Option<PathBuf>,
        env: Option<HashMap<String, String>>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = class.py();
        let env = match env {
            Some(env) => env,
            // As for the command line, variables that are not Unicode are none of ours.
            None => {
                let environ = py.import("os")?.getattr("environ")?.call_method0("copy")?.cast_into::<PyDict>()?;
                environ.iter().filter_map(|(name, value)| Some((name.extract().ok()?, value.extract().ok()?))).collect()
            }
        };
        Self::connect(py, settings::from_env(py, dir, env_file, env, settings)?)
    }

    /// Whose files these are: 40 hex digits.
    ///
    /// >>> client.owner == network.owner.id
    /// True
    #[getter]
    fn owner(&self) -> PyResult<String> {
        Ok(self.client()?.owner().to_string())
    }

    /// The key that this client shows to the node with the id `node`, and to no other: 64 hex digits. The node's
    /// operator lets it in with `StorageNode(allow=…)`.
    ///
    /// Raises `ConfigError` when `node` is no id.
    ///
    /// >>> len(client.transport_key(network.node_ids[0]))
    /// 64
    fn transport_key(&self, py: Python<'_>, node: &str) -> PyResult<String> {
        Ok(self.client()?.transport_key(args::node(py, node)?).to_string())
    }

    /// Whether it was closed: nothing can be asked any more.
    ///
    /// >>> client.is_closed
    /// False
    #[getter]
    fn is_closed(&self) -> bool {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Waits for what runs in the background, such as retiring replaced versions, for at most the time of `timeout`.
    /// Nothing can be asked afterwards. Closing twice does nothing. A client that is not closed ends without waiting.
    ///
    /// >>> client.close()
    /// >>> client.exists("notes/a.txt")
    /// Traceback (most recent call last):
    /// RuntimeError: this client is closed
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, close(self.take(), None))
    }

    /// `close`, for asyncio.
    fn close_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, close(self.take(), None))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        raised: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let limit = (!raised.is_none()).then_some(CLOSING);
        run::block(py, close(self.take(), limit)).map(drop)
    }

    fn __aenter__(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let client = slf.into_any().unbind();
        run::spawn(py, async move { Ok(client) })
    }

    fn __aexit__(
        &self,
        py: Python<'_>,
        raised: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let limit = (!raised.is_none()).then_some(CLOSING);
        run::spawn(py, close(self.take(), limit))
    }

    fn __repr__(&self) -> String {
        match self.client() {
            Ok(client) => format!("<dstore.Client of owner {}>", client.owner()),
            Err(_) => "<dstore.Client, closed>".to_owned(),
        }
    }
}
