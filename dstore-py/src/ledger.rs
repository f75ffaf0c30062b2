//! `dstore.LocalLedger` and `dstore.MemoryLedger`.

use std::path::PathBuf;

use dstore::Error;
use dstore::ledger::Ledger as _;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::error;
use crate::owner::Owner;
use crate::value::{RecoveredVersions, ToPy};

/// Records of files in the file `path` of this machine, which is made if there is none; its folder must exist.
///
/// Several processes may use the file at the same time, on a local disk. Beside it are its `-wal` and `-shm`: a copy
/// is complete only with the `-wal`, or when no process has the ledger open. A ledger that was lost is made again
/// with `Client.recover` and `restore`.
///
/// Raises `ConfigError` when the file is no ledger, or is damaged; `Locked` when another process did not let go of it
/// for 10 seconds; `NotFound`, `PermissionDenied` and others for the file.
///
/// >>> dstore.LocalLedger(path / "ledger.db").id == dstore.LocalLedger(path / "ledger.db").id
/// True
#[pyclass(frozen, module = "dstore")]
pub(crate) struct LocalLedger {
    pub(crate) inner: dstore::LocalLedger,
    path: PathBuf,
}

#[pymethods]
impl LocalLedger {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let _pass = crate::gate::enter(py)?;
        let inner = py.detach(|| dstore::LocalLedger::open(&path));
        Ok(Self { inner: error::raised(py, inner)?, path })
    }

    /// Adds what `Client.recover` found to the ledger file at `path`, which is made if there is none, and gives it
    /// the id of the ledger that was lost.
    ///
    /// * `owner`: whose files they are.
    /// * `versions`: those of one `RecoveredLedger`.
    ///
    /// Raises `ConfigError` when the file is no ledger, or another one; `Locked`; those for the file.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> found = client.recover().ledgers[0]
    /// >>> dstore.LocalLedger.restore(path / "ledger.db", network.owner, found.versions)
    /// Restored(added=1, known=0)
    #[classmethod]
    fn restore(
        class: &Bound<'_, PyType>,
        path: PathBuf,
        owner: &Bound<'_, Owner>,
        versions: &Bound<'_, RecoveredVersions>,
    ) -> PyResult<Py<PyAny>> {
        let (py, owner, found) = (class.py(), owner.get().inner.id(), versions.get());
        let restored = py.detach(|| dstore::LocalLedger::restore(path, found.ledger, owner, &found.versions));
        error::raised(py, restored)?.to_py(py)
    }

    /// Which ledger this is: records are sealed for it. 64 hex digits.
    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    fn __repr__(&self) -> String {
        format!("LocalLedger({:?})", self.path.display().to_string())
    }
}

/// Records of files in this process, gone when it ends: for tests.
///
/// >>> ledger = dstore.MemoryLedger()
/// >>> client = dstore.Client(owner=dstore.Owner.generate(), ledger=ledger)
#[pyclass(frozen, module = "dstore")]
pub(crate) struct MemoryLedger {
    pub(crate) inner: dstore::MemoryLedger,
}

#[pymethods]
impl MemoryLedger {
    #[new]
    fn new() -> Self {
        Self { inner: dstore::MemoryLedger::default() }
    }

    /// Which ledger this is: records are sealed for it. 64 hex digits.
    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    fn __repr__(&self) -> &'static str {
        "MemoryLedger()"
    }
}

/// A setting that cannot be understood.
pub(crate) fn config<T>(py: Python<'_>, parsed: Result<T, String>) -> PyResult<T> {
    error::raised(py, parsed.map_err(|what| Error::Config { what }))
}
