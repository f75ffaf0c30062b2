//! `dstore.Scheme`.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use pyo3::prelude::*;

use crate::error;

/// `data` and `parity` shards, each at least 1 and together at most 32: any `data` of all shards rebuild a file.
///
/// Raises `ConfigError` outside these limits.
///
/// >>> dstore.Scheme(4, 2)
/// Scheme(4, 2)
/// >>> dstore.Scheme(4, 2) == dstore.Scheme.STANDARD
/// True
#[pyclass(frozen, eq, from_py_object, module = "dstore")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scheme(dstore::Scheme);

impl From<dstore::Scheme> for Scheme {
    fn from(scheme: dstore::Scheme) -> Self {
        Self(scheme)
    }
}

#[pymethods]
impl Scheme {
    /// `data` + `parity` shards, each at least 1 and together at most 32. Raises ConfigError outside these limits.
    #[new]
    fn new(py: Python<'_>, data: u8, parity: u8) -> PyResult<Self> {
        error::raised(py, dstore::Scheme::new(data, parity)).map(Self)
    }

    /// The scheme written as "4+2", "standard" or "high".
    ///
    /// Raises `ConfigError` for any other text.
    ///
    /// >>> dstore.Scheme.parse("2+4").parity
    /// 4
    #[staticmethod]
    fn parse(py: Python<'_>, text: &str) -> PyResult<Self> {
        error::raised(py, text.parse()).map(Self)
    }

    /// Data shards.
    ///
    /// >>> dstore.Scheme.STANDARD.data
    /// 4
    #[getter]
    fn data(&self) -> usize {
        self.0.data()
    }

    /// Parity shards: so many may be lost.
    ///
    /// >>> dstore.Scheme.STANDARD.parity
    /// 2
    #[getter]
    fn parity(&self) -> usize {
        self.0.parity()
    }

    /// 4 + 2, the default: half as much again on disk, one of three nodes may vanish.
    #[classattr]
    const STANDARD: Self = Self(dstore::Scheme::STANDARD);

    /// 2 + 4: three times the bytes on disk, any two of three nodes may vanish.
    #[classattr]
    const HIGH: Self = Self(dstore::Scheme::HIGH);

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Scheme({}, {})", self.0.data(), self.0.parity())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<(Py<PyAny>, (usize, usize))> {
        let scheme = slf.get();
        Ok((slf.get_type().into_any().unbind(), (scheme.data(), scheme.parity())))
    }
}

/// A scheme, or its text, as an argument.
#[derive(FromPyObject)]
pub(crate) enum SchemeArg {
    Scheme(Scheme),
    Text(String),
}

impl SchemeArg {
    pub(crate) fn get(self, py: Python<'_>) -> PyResult<dstore::Scheme> {
        match self {
            Self::Scheme(Scheme(scheme)) => Ok(scheme),
            Self::Text(text) => error::raised(py, text.parse()),
        }
    }
}
