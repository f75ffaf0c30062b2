//! `dstore.Registry`.

use std::path::PathBuf;

use dstore::registry::RegistryHandle;
use dstore::{RegistryBuilder, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::server::Running;
use crate::value::ToPy;
use crate::{args, run};

args::keywords! {
    /// Settings of a registry, by keyword.
    struct Keywords of "a registry" {
        dir: PathBuf,
        listen: String,
        public: String,
        network: String,
        heartbeat: f64,
        min_nodes: usize,
        max_nodes: usize,
        private_nodes: bool,
        admin: String,
        admin_public: bool,
    }
}

impl Keywords {
    fn builder(self) -> PyResult<RegistryBuilder> {
        let mut builder = dstore::Registry::builder();
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
            builder = builder.network(label);
        }
        if let Some(interval) = self.heartbeat {
            builder = builder.heartbeat(args::seconds("heartbeat", interval)?);
        }
        if let Some(count) = self.min_nodes {
            builder = builder.min_nodes(count);
        }
        if let Some(count) = self.max_nodes {
            builder = builder.max_nodes(count);
        }
        if self.private_nodes == Some(true) {
            builder = builder.private_endpoints();
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

/// A registry in this process: it knows which storage nodes are alive. It runs in a `with` or `async with` block, or
/// from `start` to `stop`.
///
/// * `dir`: the folder of its identity and state. Default: none; then it has a new identity and address at each
///   start.
/// * `listen`: `host:port`; port 0 chooses a free one. Default "127.0.0.1:0".
/// * `public`: the `host:port` that others reach it at. Default: where it listens.
/// * `network`: the label of its network. Default "dstore".
/// * `heartbeat`: seconds between two signs of life of a node. Default 10.
/// * `min_nodes`: how many active nodes there must be before uploads are offered any. Default 3.
/// * `max_nodes`: the most nodes that are listed. Default 2,048.
/// * `private_nodes`: whether nodes at private addresses are listed although it listens at a public one. Default: no.
/// * `admin`: `host:port` where /metrics, /healthz and /readyz are served over plain HTTP. Default: nowhere.
/// * `admin_public`: whether that may be an address that other machines can reach. Default: no.
///
/// Raises `ValueError` for a number out of range, `TypeError` for another keyword.
///
/// >>> with dstore.Registry(dir=path / "registry") as registry:
/// ...     registry.address.startswith("dsr1:")
/// True
#[pyclass(frozen, weakref, module = "dstore")]
pub(crate) struct Registry {
    builder: RegistryBuilder,
    running: Running<RegistryHandle>,
}

async fn start(builder: RegistryBuilder, running: Running<RegistryHandle>, this: Py<PyAny>) -> Result<Py<PyAny>> {
    running.set(builder.start().await?);
    Ok(this)
}

async fn stop(handle: Option<RegistryHandle>) -> Result<()> {
    if let Some(handle) = handle {
        handle.shutdown().await;
    }
    Ok(())
}

#[pymethods]
impl Registry {
    #[new]
    #[pyo3(signature = (**settings))]
    fn new(settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let keywords: Keywords = Keywords::new(settings)?;
        Ok(Self { builder: keywords.builder()?, running: Running::new("registry") })
    }

    /// Starts it, and gives the registry itself.
    ///
    /// Raises `RuntimeError` when it is running; `ConfigError` for settings that cannot be used, and an address that
    /// is taken; `Locked` when another process uses the folder; `PermissionDenied` and others for the folder.
    ///
    /// >>> registry = dstore.Registry().start()
    /// >>> registry.stop()
    fn start(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.running.check_idle()?;
        run::block(py, start(this.builder.clone(), this.running.clone(), slf.clone().into_any().unbind()))
    }

    /// `start`, for asyncio.
    fn start_async(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.running.check_idle()?;
        run::spawn(py, start(this.builder.clone(), this.running.clone(), slf.clone().into_any().unbind()))
    }

    /// Ends it when what runs is done, after 10 seconds at most. Does nothing when it is not running.
    ///
    /// >>> dstore.Registry().stop()
    fn stop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, stop(self.running.take()))
    }

    /// `stop`, for asyncio.
    fn stop_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, stop(self.running.take()))
    }

    /// Whether it is running.
    ///
    /// >>> dstore.Registry().is_running
    /// False
    #[getter]
    fn is_running(&self) -> bool {
        self.running.is_running()
    }

    /// What nodes and clients are given to find it, `dsr1:…@host:port`. Raises `RuntimeError` when it is not running.
    ///
    /// >>> with dstore.Registry() as registry:
    /// ...     registry.address.partition(":")[0]
    /// 'dsr1'
    #[getter]
    fn address(&self) -> PyResult<String> {
        self.running.ask(|registry| registry.registry_address().to_string())
    }

    /// Where /metrics and the rest are, `host:port`; None without `admin`. Raises `RuntimeError` when it is not
    /// running.
    ///
    /// >>> with dstore.Registry() as registry:
    /// ...     registry.admin_address
    #[getter]
    fn admin_address(&self) -> PyResult<Option<String>> {
        self.running.ask(|registry| registry.admin_address().map(|address| address.to_string()))
    }

    /// Every listed node. Raises `RuntimeError` when it is not running.
    ///
    /// >>> with dstore.Registry() as registry:
    /// ...     registry.nodes()
    /// []
    fn nodes(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let running = self.running.clone();
        py.detach(|| running.ask(RegistryHandle::nodes))?.to_py(py)
    }

    /// What /metrics shows, as OpenMetrics text. Raises `RuntimeError` when it is not running.
    ///
    /// >>> with dstore.Registry() as registry:
    /// ...     registry.metrics().splitlines()[-1]
    /// '# EOF'
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        let running = self.running.clone();
        py.detach(|| running.ask(RegistryHandle::metrics))
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
        self.address().map_or_else(
            |_| "<dstore.Registry, not running>".to_owned(),
            |address| format!("<dstore.Registry {address}>"),
        )
    }
}
