//! `dstore.Owner`.

use std::path::PathBuf;

use dstore::Error;
use dstore::rt::Rt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use zeroize::Zeroizing;

use crate::error;

/// The owner of files: the one secret from which everything is found and read again. Keep a copy of its key file.
///
/// `create`, `open`, `open_keystore`, `generate` and `parse` make one. It is never shown, nor pickled.
///
/// >>> owner = dstore.Owner.create(path / "me.key")
/// >>> dstore.Owner.open(path / "me.key").id == owner.id
/// True
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
    /// A new owner, whose key is written to the file `path`, for this user only.
    ///
    /// Raises `AlreadyExists` when the file is there; `NotFound`, `PermissionDenied`, `NoSpace` and others for the
    /// file.
    ///
    /// >>> dstore.Owner.create(path / "me.key")
    /// <dstore.Owner ...>
    #[classmethod]
    fn create(class: &Bound<'_, PyType>, path: PathBuf) -> PyResult<Self> {
        error::raised(class.py(), dstore::Owner::create(path)).map(Self::from)
    }

    /// The owner whose key is in the file `path`: 64 hex digits, with or without 0x.
    ///
    /// Raises `ConfigError` when others can read the file, or it holds no key; `NotFound`, `PermissionDenied` and
    /// others for the file.
    ///
    /// >>> owner = dstore.Owner.create(path / "me.key")
    /// >>> dstore.Owner.open(path / "me.key")
    /// <dstore.Owner ...>
    #[classmethod]
    fn open(class: &Bound<'_, PyType>, path: PathBuf) -> PyResult<Self> {
        error::raised(class.py(), dstore::Owner::open(path)).map(Self::from)
    }

    /// The owner whose key is in the Ethereum keystore `path`, under a password. It may take seconds and 256 MiB of
    /// memory.
    ///
    /// Raises `ConfigError` for another password, and for a file that is no keystore, or that others can read;
    /// `NotFound`, `PermissionDenied` and others for the file.
    #[classmethod]
    fn open_keystore(class: &Bound<'_, PyType>, path: PathBuf, password: String) -> PyResult<Self> {
        let (py, password) = (class.py(), Zeroizing::new(password));
        let opened = py.detach(|| dstore::Owner::open_keystore(path, &password));
        error::raised(py, opened).map(Self::from)
    }

    /// A new owner, whose key is nowhere else: `save` it, or what it stores is lost with this process.
    ///
    /// >>> dstore.Owner.generate()
    /// <dstore.Owner ...>
    #[classmethod]
    fn generate(_class: &Bound<'_, PyType>) -> Self {
        dstore::Owner::generate(&Rt::default()).into()
    }

    /// The owner with this key: 64 hex digits, with or without 0x. Better is `open`: Python keeps texts in memory as
    /// long as it likes.
    ///
    /// Raises `ConfigError` for another text, which it does not show.
    ///
    /// >>> owner = dstore.Owner.generate()
    /// >>> dstore.Owner.parse(owner.export_secret()).id == owner.id
    /// True
    #[classmethod]
    fn parse(class: &Bound<'_, PyType>, text: String) -> PyResult<Self> {
        let text = Zeroizing::new(text);
        let owner = dstore::Owner::parse(&text)
            .ok_or_else(|| Error::Config { what: "not a private key: 64 hex digits, with or without 0x".to_owned() });
        error::raised(class.py(), owner).map(Self::from)
    }

    /// Who: 40 hex digits, which are no secret.
    ///
    /// >>> len(dstore.Owner.generate().id)
    /// 40
    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    /// Writes the key to the file `path`, which must not exist, for this user only.
    ///
    /// Raises `AlreadyExists` when the file is there; `NotFound`, `PermissionDenied`, `NoSpace` and others for the
    /// file.
    ///
    /// >>> dstore.Owner.generate().save(path / "me.key")
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        error::raised(py, self.inner.save(path))
    }

    /// The key as 64 hex digits: whoever has them has all files. Python keeps the text in memory as long as it likes.
    ///
    /// >>> len(dstore.Owner.generate().export_secret())
    /// 64
    fn export_secret(&self) -> String {
        self.inner.secret_hex().to_string()
    }

    /// The key that clients of this owner show to the node with the id `node`, and to no other: 64 hex digits, which
    /// are no secret.
    ///
    /// Raises `ConfigError` when `node` is no id.
    ///
    /// >>> network.owner.transport_key(network.node_ids[0]) == client.transport_key(network.node_ids[0])
    /// True
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
