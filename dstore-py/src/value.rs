//! Values of the library as Python objects: the dataclasses of `dstore._values`.

use dstore::client::{Preview, Probe};
use dstore::copy::RecordCopy;
use dstore::error::Fault;
use dstore::id::LedgerId;
use dstore::ledger::{ContractInfo, Cost, Deployment, EventKind, Restored};
use dstore::proto::NodeInfo;
use dstore::registry::RegisteredNode;
use dstore::rt::Timestamp;
use dstore::{
    Committed, FileVersion, Head, Network, NodeStatus, Progress, RecoveredFile, RecoveredLedger, Recovery,
    RecoveryNode, ShardCheck, ShardHome, Warning,
};
use pyo3::IntoPyObjectExt;
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::buffer::NewBytes;
use crate::scheme::Scheme;

/// What Python gets of a value.
pub(crate) trait ToPy: Send + 'static {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

/// A dataclass of `dstore._values`, with its fields in order.
fn dataclass<'py>(py: Python<'py>, name: &str, fields: impl PyCallArgs<'py>) -> PyResult<Py<PyAny>> {
    Ok(py.import("dstore._values")?.getattr(name)?.call1(fields)?.unbind())
}

/// The moment as an aware `datetime`.
fn moment(py: Python<'_>, time: Timestamp) -> PyResult<Py<PyAny>> {
    Ok(py.import("dstore._values")?.call_method1("_moment", (time.as_millis(),))?.unbind())
}

impl ToPy for () {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.None())
    }
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl ToPy for $type {
            fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                self.into_py_any(py)
            }
        })*
    };
}

plain!(bool, u32, u64, u128, String, Py<PyAny>);

impl ToPy for NewBytes {
    fn to_py(self, _: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.into_object().into_any())
    }
}

impl<T: ToPy> ToPy for Option<T> {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.map_or_else(|| Ok(py.None()), |value| value.to_py(py))
    }
}

impl<T: ToPy> ToPy for Vec<T> {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let list = PyList::empty(py);
        for value in self {
            list.append(value.to_py(py)?)?;
        }
        list.into_py_any(py)
    }
}

impl ToPy for Fault {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dataclass(py, "Fault", (self.node.to_string(), self.address, self.shard, self.kind.to_string()))
    }
}

impl ToPy for Progress {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let seconds = self.elapsed.as_secs_f64();
        dataclass(py, "Progress", (self.bytes_done, self.bytes_durable, self.bytes_total, seconds))
    }
}

impl ToPy for Warning {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let message = self.to_string();
        dataclass(py, "TransferWarning", (self.code.as_str(), self.node.to_string(), self.address, self.shard, message))
    }
}

impl ToPy for ShardHome {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dataclass(py, "ShardHome", (self.index, self.node.to_string(), self.address, self.bytes))
    }
}

impl ToPy for Head {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let attributes = pyo3::types::PyDict::new(py);
        for (name, value) in self.attributes {
            attributes.set_item(name, value)?;
        }
        let fields = (
            self.path.to_string(),
            self.file_id.to_string(),
            self.version,
            self.size,
            self.padded,
            moment(py, self.created)?,
            Scheme::from(self.scheme),
            hex(&self.content_hash),
            self.shards.to_py(py)?,
            self.tolerates_nodes,
            attributes,
        );
        dataclass(py, "Head", fields)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ToPy for Committed {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dataclass(py, "Committed", (self.head.to_py(py)?, self.stored, self.resumed))
    }
}

impl ToPy for ShardCheck {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dataclass(py, "ShardCheck", (self.home.to_py(py)?, self.state.as_str()))
    }
}

/// What `Client::check` answers.
impl ToPy for (Head, Vec<ShardCheck>) {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dataclass(py, "FileCheck", (self.0.to_py(py)?, self.1.to_py(py)?))
    }
}

/// A file that was opened, and how much of it is read.
impl ToPy for (Head, u64) {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        (self.0.to_py(py)?, self.1).into_py_any(py)
    }
}

impl ToPy for FileVersion {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let kind = match self.kind {
            EventKind::Put => "put",
            EventKind::RenamedHere => "renamed_here",
            EventKind::Removed => "removed",
            EventKind::RenamedAway => "renamed_away",
        };
        dataclass(py, "FileVersion", (self.version, kind, moment(py, self.written)?, self.head.to_py(py)?))
    }
}

impl ToPy for NodeStatus {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let fields = (
            self.id.to_string(),
            self.address,
            self.state.as_str(),
            self.capacity,
            self.free,
            self.zone,
            moment(py, self.last_seen)?,
        );
        dataclass(py, "NodeStatus", fields)
    }
}

impl ToPy for RegisteredNode {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let address = self.endpoints.into_iter().next().unwrap_or_default();
        let state = self.state.as_str();
        let last_seen = moment(py, self.last_seen)?;
        dataclass(
            py,
            "NodeStatus",
            (self.id.to_string(), address, state, self.capacity, self.free, self.zone, last_seen),
        )
    }
}

impl ToPy for Network {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let fields = (self.nodes.to_py(py)?, self.active, self.required, self.unreachable, self.odd);
        dataclass(py, "Network", fields)
    }
}

impl ToPy for NodeInfo {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let fields = (
            self.capacity,
            self.used,
            self.free,
            self.shards,
            moment(py, self.time)?,
            self.version,
            self.damaged,
            self.draining,
        );
        dataclass(py, "NodeInfo", fields)
    }
}

impl ToPy for Probe {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dataclass(py, "Probe", (self.took.as_secs_f64(), moment(py, self.clock)?, moment(py, self.here)?))
    }
}

impl ToPy for Cost {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dataclass(py, "Cost", (self.gas, self.wei, self.max_wei))
    }
}

impl ToPy for Preview {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let fields = (
            self.path.to_string(),
            self.version,
            self.size,
            self.padded,
            self.stored,
            self.shards,
            self.nodes,
            self.record_len,
            self.cost.to_py(py)?,
        );
        dataclass(py, "Preview", fields)
    }
}

impl ToPy for ContractInfo {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let providers: Vec<(String, Option<u64>, Option<String>)> = self
            .providers
            .into_iter()
            .map(|(host, head)| match head {
                Ok(block) => (host, Some(block), None),
                Err(problem) => (host, None, Some(problem)),
            })
            .collect();
        let fields = (
            format!("0x{}", self.contract),
            self.chain_id,
            hex(&self.code_hash),
            self.head,
            moment(py, self.head_time)?,
            self.writes,
            providers,
        );
        dataclass(py, "ContractInfo", fields)
    }
}

impl ToPy for Deployment {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let fields = (
            format!("0x{}", self.contract),
            self.chain_id,
            hex(&self.code_hash),
            self.block,
            format!("0x{}", hex(&self.tx)),
            self.wei,
        );
        dataclass(py, "Deployment", fields)
    }
}

impl ToPy for Restored {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dataclass(py, "Restored", (self.added, self.known))
    }
}

impl ToPy for RecoveryNode {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let problem = self.problem.map(|problem| problem.to_string());
        dataclass(py, "RecoveryNode", (self.id.to_string(), self.address, self.copies, self.strange, problem))
    }
}

impl ToPy for RecoveredFile {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (readable, lost) = (self.is_readable(), self.is_lost());
        dataclass(
            py,
            "RecoveredFile",
            (self.head.to_py(py)?, self.shards.to_py(py)?, self.may_be_older, readable, lost),
        )
    }
}

impl ToPy for RecoveredLedger {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let versions = Py::new(py, RecoveredVersions { ledger: self.id, versions: self.versions })?;
        dataclass(py, "RecoveredLedger", (self.id.to_string(), self.files.to_py(py)?, versions))
    }
}

impl ToPy for Recovery {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dataclass(py, "Recovery", (self.ledgers.to_py(py)?, self.nodes.to_py(py)?, self.ledger_problem))
    }
}

/// Sealed versions of one ledger's files: what `LocalLedger.restore` takes of `Client.recover`.
///
/// >>> committed = client.put("notes/a.txt", b"hello")
/// >>> len(client.recover().ledgers[0].versions)
/// 1
#[pyclass(frozen, module = "dstore")]
pub(crate) struct RecoveredVersions {
    pub(crate) ledger: LedgerId,
    pub(crate) versions: Vec<RecordCopy>,
}

#[pymethods]
impl RecoveredVersions {
    fn __len__(&self) -> usize {
        self.versions.len()
    }

    fn __repr__(&self) -> String {
        format!("<{} sealed versions of ledger {}>", self.versions.len(), self.ledger)
    }
}
