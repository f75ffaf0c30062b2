//! `dstore.LocalLedger` and `dstore.MemoryLedger`.

use std::path::PathBuf;

use dstore::Error;
use dstore::ledger::Ledger as _;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::error;
use crate::owner::Owner;
use crate::value::{RecoveredVersions, ToPy};

/// Records in a file on this machine.
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

    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    fn __repr__(&self) -> String {
        format!("LocalLedger({:?})", self.path.display().to_string())
    }
}

/// Records in this process, gone when it ends.
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
