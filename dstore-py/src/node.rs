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

/// A storage node.
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

    fn start(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        run::block(slf.py(), Self::starting(&slf)?)
    }

    fn start_async(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        run::spawn(slf.py(), Self::starting(&slf)?)
    }

    fn stop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, stop(self.running.take()))
    }

    fn stop_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, stop(self.running.take()))
    }

    #[getter]
    fn is_running(&self) -> bool {
        self.running.is_running()
    }

    #[getter]
    fn id(&self) -> PyResult<String> {
        self.running.ask(|node| node.id().to_string())
    }

    #[getter]
    fn address(&self) -> PyResult<String> {
        self.running.ask(|node| node.address().to_string())
    }

    #[getter]
    fn admin_address(&self) -> PyResult<Option<String>> {
        self.running.ask(|node| node.admin_address().map(|address| address.to_string()))
    }

    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        let running = self.running.clone();
        py.detach(|| running.ask(NodeHandle::metrics))
    }

    #[pyo3(signature = (draining = true))]
    fn drain(&self, draining: bool) -> PyResult<()> {
        self.running.ask(|node| node.drain(draining))
    }

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
