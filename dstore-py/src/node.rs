//! `dstore.StorageNode`.

use std::path::PathBuf;
use std::time::Duration;

use dstore::error::PeerProblem;
use dstore::rt::Env;
use dstore::{Admission, Error, NodeHandle, RegistryAddr, Result, StorageNodeBuilder};
use futures_lite::future::or;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::args::{self, Texts};
use crate::run::{self, ENV};
use crate::server::Running;

/// How long a node that starts waits to be listed, unless told otherwise.
const REGISTRATION: f64 = 30.0;

args::keywords! {
    /// Settings of a node, by keyword.
    struct Keywords of "a storage node" {
        dir: PathBuf,
        listen: String,
        public: String,
        registry: Texts,
        network: String,
        zone: String,
        capacity: u64,
        free_floor: u64,
        inline_max: usize,
        retire_for: f64,
        grace: f64,
        admission: String,
        allow: Texts,
        admin: String,
        admin_public: bool,
        registration_timeout: f64,
    }
}

impl Keywords {
    fn builder(self, registries: &[RegistryAddr]) -> PyResult<StorageNodeBuilder> {
        let mut builder = dstore::StorageNode::builder();
        for registry in registries {
            builder = builder.registry(registry.clone());
        }
        if let Some(dir) = self.dir {
            builder = builder.dir(dir);
        }
        if let Some(address) = self.listen {
            builder = builder.listen(address);
        }
        if let Some(address) = self.public {
            builder = builder.public(address);
        }
        if let Some(label) = self.network {
            builder = builder.network(&label);
        }
        if let Some(zone) = self.zone {
            builder = builder.zone(zone);
        }
        if let Some(bytes) = self.capacity {
            builder = builder.capacity(bytes);
        }
        if let Some(bytes) = self.free_floor {
            builder = builder.free_floor(bytes);
        }
        if let Some(bytes) = self.inline_max {
            builder = builder.inline_max(bytes);
        }
        if let Some(time) = self.retire_for {
            builder = builder.retire_for(args::seconds("retire_for", time)?);
        }
        if let Some(time) = self.grace {
            builder = builder.grace(args::seconds("grace", time)?);
        }
        if let Some(admission) = self.admission {
            builder = builder.admission(parse_admission(&admission)?);
        }
        if let Some(address) = self.admin {
            builder = builder.admin(address);
        }
        if self.admin_public == Some(true) {
            builder = builder.admin_public();
        }
        Ok(builder)
    }
}

fn parse_admission(text: &str) -> PyResult<Admission> {
    match text {
        "private" => Ok(Admission::Private),
        "open" => Ok(Admission::Open),
        "invited" => Ok(Admission::Invited),
        _ => Err(PyValueError::new_err(format!("admission is 'private', 'open' or 'invited', not {text:?}"))),
    }
}

/// A storage node in this process: it keeps shards, and knows nothing of what they are. It runs in a `with` or `async
/// with` block, or from `start` to `stop`.
///
/// * `dir`: the folder of everything that it keeps. Needed.
/// * `registry`: address (`dsr1:…@host:port`) of the registry to be listed at, or several.
/// * `listen`: `host:port`; port 0 chooses a free one. Default "127.0.0.1:0".
/// * `public`: the `host:port` that others reach it at. Default: where it listens.
/// * `network`: the label of its network. Default "dstore".
/// * `zone`: a label for what fails together, such as a building; at most 64 bytes. Default: none.
/// * `capacity`: bytes of shards that it takes. Default 10 GiB.
/// * `free_floor`: bytes of the disk that it leaves free. Default 1 GiB.
/// * `inline_max`: bytes up to which a shard lives in the database, and not in a file. Default 48 KiB.
/// * `retire_for`: seconds for which a deleted shard still serves readers. Default 24 h.
/// * `grace`: seconds for which a shard is kept after its lease. Default 7 days.
/// * `admission`: who may store: "private" (clients at private addresses, the default), "open" (everybody) or
///   "invited" (those who are allowed or invited alone).
/// * `allow`: transport keys of clients that may store, wherever they are: `Client.transport_key` tells them.
/// * `admin`: `host:port` where /metrics, /healthz and /readyz are served over plain HTTP. Default: nowhere.
/// * `admin_public`: whether that may be an address that other machines can reach. Default: no.
/// * `registration_timeout`: seconds that `start` waits for a registry to list it. Default 30.
///
/// Raises `ConfigError` for an address or key that is none, `ValueError` for a number out of range, `TypeError` for
/// another keyword.
///
/// >>> with dstore.Registry() as registry:
/// ...     with dstore.StorageNode(dir=path / "node", registry=registry.address, free_floor=0) as node:
/// ...         [known.id == node.id for known in registry.nodes()]
/// [True]
#[pyclass(frozen, weakref, module = "dstore")]
pub(crate) struct StorageNode {
    builder: StorageNodeBuilder,
    /// How long it waits to be listed; `None` where it has no registry.
    patience: Option<Duration>,
    running: Running<NodeHandle>,
}

impl StorageNode {
    fn starting(slf: &Bound<'_, Self>) -> PyResult<impl Future<Output = Result<Py<PyAny>>> + Send + use<>> {
        let this = slf.get();
        this.running.check_idle()?;
        let (builder, patience, running) = (this.builder.clone(), this.patience, this.running.clone());
        let this = slf.clone().into_any().unbind();
        Ok(async move {
            let node = builder.start().await?;
            if let Some(patience) = patience {
                let listed = async {
                    node.registered().await;
                    true
                };
                let late = async {
                    ENV.sleep(patience).await;
                    false
                };
                if !or(listed, late).await {
                    let late = Error::Peer {
                        peer: "the registries".to_owned(),
                        problem: PeerProblem::Timeout(patience),
                        source: None,
                    };
                    let error = node.registration_error().unwrap_or(late);
                    node.shutdown().await;
                    return Err(error);
                }
            }
            running.set(node);
            Ok(this)
        })
    }
}

async fn stop(handle: Option<NodeHandle>) -> Result<()> {
    if let Some(handle) = handle {
        handle.shutdown().await;
    }
    Ok(())
}

#[pymethods]
impl StorageNode {
    #[new]
    #[pyo3(signature = (**settings))]
    fn new(py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let keywords: Keywords = Keywords::new(settings)?;
        let registries: Vec<RegistryAddr> = args::parsed(py, keywords.registry.as_ref())?;
        let allowed = args::texts(keywords.allow.as_ref());
        let patience = args::seconds("registration_timeout", keywords.registration_timeout.unwrap_or(REGISTRATION))?;
        let mut builder = keywords.builder(&registries)?;
        for key in allowed {
            builder = builder.allow(args::id(py, &key, "a transport key")?);
        }
        let patience = (!registries.is_empty()).then_some(patience);
        Ok(Self { builder, patience, running: Running::new("storage node") })
    }

    /// Starts it, and gives the node itself once a registry has listed it.
    ///
    /// Raises `RuntimeError` when it is running; `ConfigError` for settings that cannot be used, and an address that
    /// is taken; `Locked` when another process uses the folder; `PermissionDenied` and others for the folder;
    /// `Timeout`, or what the registry said, when none lists it within `registration_timeout`.
    ///
    /// >>> node = dstore.StorageNode(dir=path / "node", free_floor=0).start()
    /// >>> node.stop()
    fn start(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        run::block(slf.py(), Self::starting(&slf)?)
    }

    /// `start`, for asyncio.
    fn start_async(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        run::spawn(slf.py(), Self::starting(&slf)?)
    }

    /// Tells its registries, and ends when what runs is done, after 10 seconds at most. Does nothing when it is not
    /// running.
    ///
    /// >>> dstore.StorageNode(dir=path / "node").stop()
    fn stop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, stop(self.running.take()))
    }

    /// `stop`, for asyncio.
    fn stop_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, stop(self.running.take()))
    }

    /// Whether it is running.
    ///
    /// >>> dstore.StorageNode(dir=path / "node").is_running
    /// False
    #[getter]
    fn is_running(&self) -> bool {
        self.running.is_running()
    }

    /// Who it is: 40 hex digits. Raises `RuntimeError` when it is not running.
    ///
    /// >>> with dstore.StorageNode(dir=path / "node", free_floor=0) as node:
    /// ...     len(node.id)
    /// 40
    #[getter]
    fn id(&self) -> PyResult<String> {
        self.running.ask(|node| node.id().to_string())
    }

    /// Where it listens, `host:port`. Raises `RuntimeError` when it is not running.
    ///
    /// >>> with dstore.StorageNode(dir=path / "node", free_floor=0) as node:
    /// ...     node.address.startswith("127.0.0.1:")
    /// True
    #[getter]
    fn address(&self) -> PyResult<String> {
        self.running.ask(|node| node.address().to_string())
    }

    /// Where /metrics and the rest are, `host:port`; None without `admin`. Raises `RuntimeError` when it is not
    /// running.
    ///
    /// >>> with dstore.StorageNode(dir=path / "node", free_floor=0) as node:
    /// ...     node.admin_address
    #[getter]
    fn admin_address(&self) -> PyResult<Option<String>> {
        self.running.ask(|node| node.admin_address().map(|address| address.to_string()))
    }

    /// What /metrics shows, as OpenMetrics text. Raises `RuntimeError` when it is not running.
    ///
    /// >>> with dstore.StorageNode(dir=path / "node", free_floor=0) as node:
    /// ...     node.metrics().splitlines()[-1]
    /// '# EOF'
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        let running = self.running.clone();
        py.detach(|| running.ask(NodeHandle::metrics))
    }

    /// Takes no new shards from now on, or takes them again with `draining=False`. What it keeps it goes on serving.
    ///
    /// Raises `RuntimeError` when it is not running.
    ///
    /// >>> with dstore.StorageNode(dir=path / "node", free_floor=0) as node:
    /// ...     node.drain()
    #[pyo3(signature = (draining = true))]
    fn drain(&self, draining: bool) -> PyResult<()> {
        self.running.ask(|node| node.drain(draining))
    }

    /// An invite, `dsi1:…`: the first client that presents it within `lasts` seconds may store shards here from then
    /// on. Hand it over like a password.
    ///
    /// Raises `RuntimeError` when it is not running, `ValueError` unless `lasts` is above 0.
    ///
    /// >>> with dstore.StorageNode(dir=path / "node", free_floor=0) as node:
    /// ...     invite = node.invite(lasts=3600)
    #[pyo3(signature = (lasts))]
    fn invite(&self, lasts: f64) -> PyResult<String> {
        let lasts = args::seconds("lasts", lasts)?;
        self.running.ask(|node| node.invite(lasts).to_string())
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::start(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _raised: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.stop(py).map(drop)
    }

    fn __aenter__(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::start_async(slf)
    }

    fn __aexit__(
        &self,
        py: Python<'_>,
        _raised: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        self.stop_async(py)
    }

    fn __repr__(&self) -> String {
        self.running
            .ask(|node| format!("<dstore.StorageNode {} at {}>", node.id().short(), node.address()))
            .unwrap_or_else(|_| "<dstore.StorageNode, not running>".to_owned())
    }
}
