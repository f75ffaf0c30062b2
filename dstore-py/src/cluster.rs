//! `dstore.testing.Cluster`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_lock::Mutex;
use dstore::testing::Defect;
use dstore::{Result, testing};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::client::Client;
use crate::ledger::MemoryLedger;
use crate::owner::Owner;
use crate::{args, error, run, settings};

/// Bytes of a node that is added, unless told otherwise: more than a test fills.
const CAPACITY: u64 = 1 << 40;

/// A registry and nodes in this process, in memory.
#[pyclass(frozen, weakref, module = "dstore.testing")]
pub(crate) struct Cluster {
    nodes: usize,
    running: Arc<Running>,
}

#[derive(Default)]
struct Running {
    cluster: Mutex<Option<testing::Cluster>>,
    is_running: AtomicBool,
}

impl Running {
    async fn start(self: Arc<Self>, nodes: usize, this: Py<PyAny>) -> Result<Py<PyAny>> {
        let cluster = testing::Cluster::start(nodes).await?;
        *self.cluster.lock().await = Some(cluster);
        self.is_running.store(true, Ordering::Relaxed);
        Ok(this)
    }

    async fn stop(self: Arc<Self>) -> Result<()> {
        self.is_running.store(false, Ordering::Relaxed);
        drop(self.cluster.lock().await.take());
        Ok(())
    }
}

impl Cluster {
    /// Does something with the cluster that runs; `index` must be one of its nodes.
    ///
    /// # Errors
    /// `RuntimeError` when none runs, `IndexError` for a node that is not there.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        index: Option<usize>,
        work: impl FnOnce(&mut testing::Cluster) -> T + Send,
    ) -> PyResult<T> {
        let _pass = crate::gate::enter(py)?;
        py.detach(|| {
            let mut cluster = self.running.cluster.lock_blocking();
            let cluster = cluster.as_mut().ok_or_else(|| error::not_running("cluster"))?;
            match index {
                Some(index) if index >= cluster.len() => {
                    Err(PyIndexError::new_err(format!("there is no node {index}: the cluster has {}", cluster.len())))
                }
                _ => Ok(work(cluster)),
            }
        })
    }

    /// The future of `work` on the cluster that runs.
    ///
    /// # Errors
    /// As [`Cluster::with`].
    fn later<T: Send, F>(
        &self,
        py: Python<'_>,
        index: Option<usize>,
        work: F,
    ) -> PyResult<impl Future<Output = Result<T>> + Send + use<T, F>>
    where
        F: for<'a> FnOnce(&'a mut testing::Cluster) -> dstore::rt::BoxFuture<'a, Result<T>> + Send,
    {
        self.with(py, index, |_| ())?;
        let running = self.running.clone();
        Ok(async move {
            match &mut *running.cluster.lock().await {
                Some(cluster) => work(cluster).await,
                None => Err(error::interrupted("the cluster was stopped")),
            }
        })
    }
}

fn parse_defect(text: &str) -> PyResult<Defect> {
    match text {
        "refuse" => Ok(Defect::Refuses),
        "lose" => Ok(Defect::Loses),
        "mute" => Ok(Defect::IsMute),
        _ => Err(PyValueError::new_err(format!("fault must be 'refuse', 'lose', 'mute' or None, not {text:?}"))),
    }
}

#[pymethods]
impl Cluster {
    #[new]
    #[pyo3(signature = (nodes = 3))]
    fn new(nodes: usize) -> Self {
        Self { nodes, running: Arc::default() }
    }

    fn start(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        run::block(slf.py(), Self::starting(&slf)?)
    }

    fn start_async(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        run::spawn(slf.py(), Self::starting(&slf)?)
    }

    fn stop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, self.running.clone().stop())
    }

    fn stop_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.running.clone().stop())
    }

    #[getter]
    fn is_running(&self) -> bool {
        self.running.is_running.load(Ordering::Relaxed)
    }

    #[pyo3(signature = (**settings))]
    fn client(&self, py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Client> {
        let builder = self.with(py, None, |cluster| cluster.client_builder())?;
        Client::connect(py, settings::tune(py, builder, settings)?)
    }

    #[getter]
    fn registry_address(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, None, |cluster| cluster.registry_address().to_string())
    }

    #[getter]
    fn owner(&self, py: Python<'_>) -> PyResult<Owner> {
        self.with(py, None, |cluster| cluster.owner().clone().into())
    }

    #[getter]
    fn ledger(&self, py: Python<'_>) -> PyResult<MemoryLedger> {
        Ok(MemoryLedger { inner: self.with(py, None, |cluster| cluster.ledger().clone())? })
    }

    #[getter]
    fn node_ids(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.with(py, None, |cluster| (0..cluster.len()).map(|index| cluster.node_id(index).to_string()).collect())
    }

    fn index_of(&self, py: Python<'_>, node: &str) -> PyResult<Option<usize>> {
        let node = args::node(py, node)?;
        self.with(py, None, |cluster| cluster.index_of(node))
    }

    fn kill(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        self.with(py, Some(index), |cluster| cluster.kill(index))
    }

    fn hang(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        self.with(py, Some(index), |cluster| cluster.hang(index))
    }

    fn resume(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        self.with(py, Some(index), |cluster| cluster.resume(index))
    }

    fn corrupt(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        self.with(py, Some(index), |cluster| cluster.corrupt(index))
    }

    fn kill_registry(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, None, testing::Cluster::kill_registry)
    }

    #[pyo3(signature = (fault))]
    fn ledger_fault(&self, py: Python<'_>, fault: Option<&str>) -> PyResult<()> {
        let defect = fault.map(parse_defect).transpose()?;
        self.with(py, None, |cluster| cluster.ledger_fault(defect))
    }

    #[pyo3(signature = (capacity = CAPACITY))]
    fn add_node(&self, py: Python<'_>, capacity: u64) -> PyResult<Py<PyAny>> {
        run::block(py, self.adding(py, capacity)?)
    }

    #[pyo3(signature = (capacity = CAPACITY))]
    fn add_node_async(&self, py: Python<'_>, capacity: u64) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.adding(py, capacity)?)
    }

    fn restart(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::block(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.restart(index)))?)
    }

    fn restart_async(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.restart(index)))?)
    }

    fn restart_elsewhere(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::block(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.restart_elsewhere(index)))?)
    }

    fn restart_elsewhere_async(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.restart_elsewhere(index)))?)
    }

    fn wipe(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::block(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.wipe(index)))?)
    }

    fn wipe_async(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.wipe(index)))?)
    }

    fn restart_registry(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, self.later(py, None, |cluster| Box::pin(cluster.restart_registry()))?)
    }

    fn restart_registry_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.later(py, None, |cluster| Box::pin(cluster.restart_registry()))?)
    }

    fn live_shards(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, self.counting(py)?)
    }

    fn live_shards_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.counting(py)?)
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
        let state = if self.is_running() { "running" } else { "not running" };
        format!("<dstore.testing.Cluster of {} nodes, {state}>", self.nodes)
    }
}

impl Cluster {
    fn starting(slf: &Bound<'_, Self>) -> PyResult<impl Future<Output = Result<Py<PyAny>>> + Send + use<>> {
        let this = slf.get();
        if this.is_running() {
            return Err(error::running_already("cluster"));
        }
        Ok(this.running.clone().start(this.nodes, slf.clone().into_any().unbind()))
    }

    fn adding(&self, py: Python<'_>, capacity: u64) -> PyResult<impl Future<Output = Result<u64>> + Send + use<>> {
        self.later(py, None, move |cluster| Box::pin(async move { Ok(cluster.add_node(capacity).await? as u64) }))
    }

    fn counting(&self, py: Python<'_>) -> PyResult<impl Future<Output = Result<u64>> + Send + use<>> {
        self.later(py, None, |cluster| Box::pin(async move { Ok(cluster.live_shards().await as u64) }))
    }
}
