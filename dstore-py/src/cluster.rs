//! `dstore.testing.Cluster`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_lock::Mutex;
use dstore::testing::Defect;
use dstore::{Result, testing};
use futures_lite::future::or;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::client::Client;
use crate::ledger::MemoryLedger;
use crate::owner::Owner;
use crate::{args, error, run, settings};

/// How often a call looks whether an earlier one has ended, and whether somebody has interrupted it.
const TURN: Duration = Duration::from_millis(5);

/// A whole network in this process and in memory, for tests: a registry and `nodes` storage nodes, which can fail as
/// you say.
///
/// It is used with `with` or `async with`, or with `start` and `stop`. Nodes are named by their index, from 0 on.
///
/// Its methods raise `RuntimeError` when it is not running, and `IndexError` for a node that is not there.
///
/// >>> import dstore.testing
/// >>> with dstore.testing.Cluster(nodes=3) as network, network.client() as client:
/// ...     committed = client.put("a.txt", b"hello")
/// ...     network.kill(0)
/// ...     client.get("a.txt").bytes()
/// b'hello'
#[pyclass(frozen, weakref, module = "dstore.testing")]
pub(crate) struct Cluster {
    nodes: usize,
    running: Arc<Running>,
}

#[derive(Default)]
struct Running {
    cluster: Mutex<Option<testing::Cluster>>,
    is_running: AtomicBool,
    /// Told when the cluster is to stop, for calls that wait for what does not come.
    stopping: event_listener::Event,
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
        self.stopping.notify(usize::MAX);
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
        let mut cluster = loop {
            match self.running.cluster.try_lock() {
                Some(cluster) => break cluster,
                // Another call of this cluster waits for something: it may be this thread that ends the wait.
                None => {
                    py.detach(|| std::thread::sleep(TURN));
                    py.check_signals()?;
                }
            }
        };
        let cluster = cluster.as_mut().ok_or_else(|| error::not_running("cluster"))?;
        match index {
            Some(index) if index >= cluster.len() => {
                Err(PyIndexError::new_err(format!("there is no node {index}: the cluster has {}", cluster.len())))
            }
            _ => Ok(py.detach(|| work(cluster))),
        }
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
            let stopped = || Err(error::interrupted("the cluster was stopped"));
            let stopping = running.stopping.listen();
            let work = async {
                match &mut *running.cluster.lock().await {
                    Some(cluster) => work(cluster).await,
                    None => stopped(),
                }
            };
            or(work, async {
                stopping.await;
                stopped()
            })
            .await
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

    /// Starts the registry and the nodes, and says when all of them are listed: it gives the cluster itself.
    ///
    /// Raises `RuntimeError` when it is running.
    ///
    /// >>> network = dstore.testing.Cluster(nodes=1).start()
    /// >>> network.stop()
    fn start(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        run::block(slf.py(), Self::starting(&slf)?)
    }

    /// `start`, for asyncio.
    fn start_async(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        run::spawn(slf.py(), Self::starting(&slf)?)
    }

    /// Ends everything at once. What was stored is gone. Does nothing when it is not running.
    ///
    /// >>> network.stop()
    /// >>> network.is_running
    /// False
    fn stop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, self.running.clone().stop())
    }

    /// `stop`, for asyncio.
    fn stop_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.running.clone().stop())
    }

    /// Whether it is running.
    ///
    /// >>> network.is_running
    /// True
    #[getter]
    fn is_running(&self) -> bool {
        self.running.is_running.load(Ordering::Relaxed)
    }

    /// A client of this network, with the cluster's owner and ledger. Its settings are those of `Client` by the same
    /// names.
    ///
    /// Raises what `Client` raises for settings.
    ///
    /// >>> with network.client(scheme="2+4", tolerate=2) as client:
    /// ...     client.put("a.txt", b"hello").head.tolerates_nodes
    /// 2
    #[pyo3(signature = (**settings))]
    fn client(&self, py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Client> {
        let builder = self.with(py, None, |cluster| cluster.client_builder())?;
        Client::connect(py, settings::tune(py, builder, settings)?)
    }

    /// The registry's address. Only clients of this cluster reach it: it is on a network in memory.
    ///
    /// >>> network.registry_address.startswith("dsr1:")
    /// True
    #[getter]
    fn registry_address(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, None, |cluster| cluster.registry_address().to_string())
    }

    /// Whose files its clients keep.
    ///
    /// >>> network.owner.id == client.owner
    /// True
    #[getter]
    fn owner(&self, py: Python<'_>) -> PyResult<Owner> {
        self.with(py, None, |cluster| cluster.owner().clone().into())
    }

    /// The ledger that its clients share.
    ///
    /// >>> network.ledger
    /// MemoryLedger()
    #[getter]
    fn ledger(&self, py: Python<'_>) -> PyResult<MemoryLedger> {
        Ok(MemoryLedger { inner: self.with(py, None, |cluster| cluster.ledger().clone())? })
    }

    /// The ids of its nodes, by their index, of those that do not run too.
    ///
    /// >>> len(network.node_ids)
    /// 3
    #[getter]
    fn node_ids(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.with(py, None, |cluster| (0..cluster.len()).map(|index| cluster.node_id(index).to_string()).collect())
    }

    /// The index of the node with the id `node`, or None.
    ///
    /// Raises `ConfigError` when `node` is no id.
    ///
    /// >>> network.index_of(network.node_ids[2])
    /// 2
    fn index_of(&self, py: Python<'_>, node: &str) -> PyResult<Option<usize>> {
        let node = args::node(py, node)?;
        self.with(py, None, |cluster| cluster.index_of(node))
    }

    /// Ends node `index` as a power cut would: without a word, all its connections with it. `restart` starts it
    /// again.
    ///
    /// >>> committed = client.put("a.txt", b"hello")
    /// >>> network.kill(0)
    /// >>> client.get("a.txt").bytes()
    /// b'hello'
    fn kill(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        self.with(py, Some(index), |cluster| cluster.kill(index))
    }

    /// Makes node `index` silent: it keeps its connections, takes new ones, and never answers, until `resume`.
    ///
    /// >>> committed = client.put("a.txt", b"hello")
    /// >>> network.hang(0)
    /// >>> client.get("a.txt").bytes()
    /// b'hello'
    fn hang(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        self.with(py, Some(index), |cluster| cluster.hang(index))
    }

    /// Ends `hang` of node `index`.
    ///
    /// >>> network.hang(0)
    /// >>> network.resume(0)
    fn resume(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        self.with(py, Some(index), |cluster| cluster.resume(index))
    }

    /// Flips the first byte of every shard that node `index` keeps, as a failing disk might.
    ///
    /// >>> committed = client.put("a.txt", b"hello")
    /// >>> network.corrupt(0)
    /// >>> client.get("a.txt").bytes()
    /// b'hello'
    fn corrupt(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        self.with(py, Some(index), |cluster| cluster.corrupt(index))
    }

    /// Ends the registry as a power cut would. Files can still be read.
    ///
    /// >>> committed = client.put("a.txt", b"hello")
    /// >>> network.kill_registry()
    /// >>> client.get("a.txt").bytes()
    /// b'hello'
    fn kill_registry(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, None, testing::Cluster::kill_registry)
    }

    /// Has the ledger of the cluster's clients, present and future, fail from now on: "refuse" has every write refused, with
    /// "lose" none arrives and none is answered, with "mute" the next one arrives and nothing is answered from then on. With
    /// None it works again.
    ///
    /// >>> network.ledger_fault("refuse")
    /// >>> client.put("a.txt", b"hello")
    /// Traceback (most recent call last):
    /// dstore.Unavailable: the ledger (broken for a test): cannot be reached
    /// >>> network.ledger_fault(None)
    #[pyo3(signature = (fault))]
    fn ledger_fault(&self, py: Python<'_>, fault: Option<&str>) -> PyResult<()> {
        let defect = fault.map(parse_defect).transpose()?;
        self.with(py, None, |cluster| cluster.ledger_fault(defect))
    }

    /// Starts one more node, which takes `capacity` bytes of shards (default 1 TiB), and says its index.
    ///
    /// >>> network.add_node()
    /// 3
    #[pyo3(signature = (capacity = 1_099_511_627_776))]
    fn add_node(&self, py: Python<'_>, capacity: u64) -> PyResult<Py<PyAny>> {
        run::block(py, self.adding(py, capacity)?)
    }

    /// `add_node`, for asyncio.
    #[pyo3(signature = (capacity = 1_099_511_627_776))]
    fn add_node_async(&self, py: Python<'_>, capacity: u64) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.adding(py, capacity)?)
    }

    /// Starts node `index` again, at its old address and with what it kept; it is listed when this returns.
    ///
    /// >>> network.kill(0)
    /// >>> network.restart(0)
    fn restart(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::block(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.restart(index)))?)
    }

    /// `restart`, for asyncio.
    fn restart_async(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.restart(index)))?)
    }

    /// Starts node `index` again, at another address and with what it kept; it is listed when this returns.
    ///
    /// >>> network.kill(0)
    /// >>> network.restart_elsewhere(0)
    fn restart_elsewhere(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::block(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.restart_elsewhere(index)))?)
    }

    /// `restart_elsewhere`, for asyncio.
    fn restart_elsewhere_async(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.restart_elsewhere(index)))?)
    }

    /// Starts node `index` again without what it kept, as after the loss of its disk.
    ///
    /// >>> committed = client.put("a.txt", b"hello")
    /// >>> network.wipe(0)
    /// >>> [shard.state for shard in client.check("a.txt").shards].count("missing")
    /// 2
    fn wipe(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::block(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.wipe(index)))?)
    }

    /// `wipe`, for asyncio.
    fn wipe_async(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.later(py, Some(index), move |cluster| Box::pin(cluster.wipe(index)))?)
    }

    /// Starts the registry again, at its old address and with an empty memory.
    ///
    /// >>> network.kill_registry()
    /// >>> network.restart_registry()
    fn restart_registry(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, self.later(py, None, |cluster| Box::pin(cluster.restart_registry()))?)
    }

    /// `restart_registry`, for asyncio.
    fn restart_registry_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.later(py, None, |cluster| Box::pin(cluster.restart_registry()))?)
    }

    /// How many shards the nodes keep, without those that are retired.
    ///
    /// >>> committed = client.put("a.txt", b"hello")
    /// >>> network.live_shards()
    /// 6
    fn live_shards(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, self.counting(py)?)
    }

    /// `live_shards`, for asyncio.
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
