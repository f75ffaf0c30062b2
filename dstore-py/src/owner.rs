//! `dstore.Owner`.

use std::path::PathBuf;

use dstore::Error;
use dstore::rt::Rt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use zeroize::Zeroizing;

use crate::error;

/// The owner of files: the one secret from which everything is found and read again.
#[pyclass(frozen, module = "dstore")]
pub(crate) struct Owner {
    pub(crate) inner: dstore::Owner,
}

impl From<dstore::Owner> for Owner {
    fn from(inner: dstore::Owner) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl Owner {
    #[classmethod]
    fn create(class: &Bound<'_, PyType>, path: PathBuf) -> PyResult<Self> {
        error::raised(class.py(), dstore::Owner::create(path)).map(Self::from)
    }

    #[classmethod]
    fn open(class: &Bound<'_, PyType>, path: PathBuf) -> PyResult<Self> {
        error::raised(class.py(), dstore::Owner::open(path)).map(Self::from)
    }

    #[classmethod]
    fn open_keystore(class: &Bound<'_, PyType>, path: PathBuf, password: String) -> PyResult<Self> {
        let (py, password) = (class.py(), Zeroizing::new(password));
        let opened = py.detach(|| dstore::Owner::open_keystore(path, &password));
        error::raised(py, opened).map(Self::from)
    }

    #[classmethod]
    fn generate(_class: &Bound<'_, PyType>) -> Self {
        dstore::Owner::generate(&Rt::default()).into()
    }

    #[classmethod]
    fn parse(class: &Bound<'_, PyType>, text: String) -> PyResult<Self> {
        let text = Zeroizing::new(text);
        let owner = dstore::Owner::parse(&text)
            .ok_or_else(|| Error::Config { what: "not a private key: 64 hex digits, with or without 0x".to_owned() });
        error::raised(class.py(), owner).map(Self::from)
    }

    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        error::raised(py, self.inner.save(path))
    }

    fn export_secret(&self) -> String {
        self.inner.secret_hex().to_string()
    }

    fn transport_key(&self, py: Python<'_>, node: &str) -> PyResult<String> {
        Ok(self.inner.transport_key(crate::args::node(py, node)?).public_key().to_string())
    }

    fn __repr__(&self) -> String {
        format!("<dstore.Owner {}>", self.inner.id())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("an Owner is a secret and is not pickled: open its key file where it is needed"))
    }
}
