//! `dstore.Client`.

use std::collections::HashMap;
use std::future::IntoFuture;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use dstore::rt::Env;
use dstore::{RegistryAddr, Result, Source};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::args::{self, Texts};
use crate::get::Get;
use crate::listing::HeadBatches;
use crate::owner::Owner;
use crate::report::Report;
use crate::settings::{self, LedgerArg};
use crate::transfer::{self, Data, PutOptions};
use crate::writer::RawWriter;
use crate::{error, run};

/// How long the end of a with statement waits for what is not needed any more, after an exception.
const CLOSING: Duration = Duration::from_secs(2);

/// Stores and reads an owner's files.
#[pyclass(frozen, weakref, module = "dstore")]
pub(crate) struct Client {
    /// `None` once it is closed.
    inner: RwLock<Option<dstore::Client>>,
}

impl Client {
    pub(crate) fn new(inner: dstore::Client) -> Self {
        Self { inner: RwLock::new(Some(inner)) }
    }

    /// The client itself.
    ///
    /// # Errors
    /// `RuntimeError` once it is closed.
    pub(crate) fn client(&self) -> PyResult<dstore::Client> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| PyRuntimeError::new_err("this client is closed"))
    }

    fn take(&self) -> Option<dstore::Client> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn connect(py: Python<'_>, builder: dstore::ClientBuilder) -> PyResult<Self> {
        let _pass = crate::gate::enter(py)?;
        // Nothing is waited for: it is asked for nothing yet.
        let client = py.detach(|| futures_lite::future::block_on(builder.connect()));
        error::raised(py, client).map(Self::new)
    }

    fn put_whole(&self, py: Python<'_>, path: &str, source: Source, options: PutOptions) -> PyResult<Py<PyAny>> {
        let report = options.report.clone();
        run::block_with(py, &report, options.apply(self.client()?.put(path, source)).into_future())
    }

    fn put_whole_async(&self, py: Python<'_>, path: &str, source: Source, options: PutOptions) -> PyResult<Py<PyAny>> {
        let report = options.report.clone();
        run::spawn_with(py, &report, options.apply(self.client()?.put(path, source)).into_future())
    }

    /// The put that is looked at, and never made.
    fn preview_of(
        &self,
        py: Python<'_>,
        path: &str,
        data: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<dstore::Put> {
        let source = match transfer::data(data)? {
            Data::Whole(source) => source,
            Data::Pieces => Source::reader(futures_util::io::empty()),
        };
        Ok(PutOptions::new(py, options)?.apply(self.client()?.put(path, source)))
    }
}

async fn exists(client: dstore::Client, path: String) -> Result<bool> {
    match client.head(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == "not_found" => Ok(false),
        Err(error) => Err(error),
    }
}

async fn close(client: Option<dstore::Client>, limit: Option<Duration>) -> Result<()> {
    let Some(client) = client else { return Ok(()) };
    match limit {
        Some(limit) => futures_lite::future::or(client.close(), run::ENV.sleep(limit)).await,
        None => client.close().await,
    }
    Ok(())
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (*, owner, ledger, registry = None, **settings))]
    fn py_new(
        py: Python<'_>,
        owner: &Bound<'_, Owner>,
        ledger: LedgerArg<'_>,
        registry: Option<Texts>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut builder = dstore::Client::builder().owner(owner.get().inner.clone()).shared_ledger(ledger.shared());
        for address in args::parsed(py, registry.as_ref())? {
            builder = builder.registry(address);
        }
        Self::connect(py, settings::tune(py, builder, settings)?)
    }

    #[classmethod]
    #[pyo3(signature = (dir = None, *, env_file = None, env = None, **settings))]
    fn from_env(
        class: &Bound<'_, PyType>,
        dir: Option<PathBuf>,
        env_file: Option<PathBuf>,
        env: Option<HashMap<String, String>>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = class.py();
        let env = match env {
            Some(env) => env,
            // As for the command line, variables that are not Unicode are none of ours.
            None => {
                let environ = py.import("os")?.getattr("environ")?.call_method0("copy")?.cast_into::<PyDict>()?;
                environ.iter().filter_map(|(name, value)| Some((name.extract().ok()?, value.extract().ok()?))).collect()
            }
        };
        Self::connect(py, settings::from_env(py, dir, env_file, env, settings)?)
    }

    #[getter]
    fn owner(&self) -> PyResult<String> {
        Ok(self.client()?.owner().to_string())
    }

    fn transport_key(&self, py: Python<'_>, node: &str) -> PyResult<String> {
        Ok(self.client()?.transport_key(args::node(py, node)?).to_string())
    }

    #[pyo3(signature = (path, data, **options))]
    fn put(
        &self,
        py: Python<'_>,
        path: &str,
        data: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let options = PutOptions::new(py, options)?;
        match transfer::data(data)? {
            Data::Whole(source) => self.put_whole(py, path, source, options),
            Data::Pieces => {
                let writer = RawWriter::start(py, self.client()?, path, options)?;
                Ok(py.import("dstore._sources")?.call_method1("store", (writer, data))?.unbind())
            }
        }
    }

    #[pyo3(signature = (path, data, **options))]
    fn put_async(
        &self,
        py: Python<'_>,
        path: &str,
        data: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let options = PutOptions::new(py, options)?;
        match transfer::data(data)? {
            Data::Whole(source) => self.put_whole_async(py, path, source, options),
            Data::Pieces => {
                let writer = RawWriter::start(py, self.client()?, path, options)?;
                Ok(py.import("dstore._sources")?.call_method1("store_async", (writer, data))?.unbind())
            }
        }
    }

    #[pyo3(signature = (source, path, **options))]
    fn upload(
        &self,
        py: Python<'_>,
        source: PathBuf,
        path: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.put_whole(py, path, Source::file(&source), PutOptions::new(py, options)?)
    }

    #[pyo3(signature = (source, path, **options))]
    fn upload_async(
        &self,
        py: Python<'_>,
        source: PathBuf,
        path: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.put_whole_async(py, path, Source::file(&source), PutOptions::new(py, options)?)
    }

    #[pyo3(signature = (path, data, **options))]
    fn preview(
        &self,
        py: Python<'_>,
        path: &str,
        data: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        run::block(py, self.preview_of(py, path, data, options)?.preview())
    }

    #[pyo3(signature = (path, data, **options))]
    fn preview_async(
        &self,
        py: Python<'_>,
        path: &str,
        data: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.preview_of(py, path, data, options)?.preview())
    }

    /// Where a stream of pieces is stored when it is finished: `dstore.Writer` is over it.
    #[pyo3(signature = (path, **options))]
    fn _writer(&self, py: Python<'_>, path: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<RawWriter> {
        RawWriter::start(py, self.client()?, path, PutOptions::new(py, options)?)
    }

    #[pyo3(signature = (path, mode = "rb", buffering = -1, **options))]
    fn open<'py>(
        slf: &Bound<'py, Self>,
        path: &str,
        mode: &str,
        buffering: isize,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("dstore._files")?.call_method("open_file", (slf, path, mode, buffering), options)
    }

    #[pyo3(signature = (path, mode = "rb", **options))]
    fn open_async<'py>(
        slf: &Bound<'py, Self>,
        path: &str,
        mode: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("dstore._files")?.call_method("open_file_async", (slf, path, mode), options)
    }

    #[pyo3(signature = (path, *, start = 0, length = None, end = None, progress = None, on_warning = None))]
    fn get(
        &self,
        path: &str,
        start: u64,
        length: Option<u64>,
        end: Option<u64>,
        progress: Option<Py<PyAny>>,
        on_warning: Option<Py<PyAny>>,
    ) -> PyResult<Get> {
        let report = Report::new(progress, on_warning);
        Ok(Get::new(self.client()?.get(path), args::range(start, length, end)?, report))
    }

    #[pyo3(signature = (path, *, start = 0, length = None, end = None))]
    fn get_range(
        &self,
        py: Python<'_>,
        path: &str,
        start: u64,
        length: Option<u64>,
        end: Option<u64>,
    ) -> PyResult<Py<PyAny>> {
        self.get(path, start, length, end, None, None)?.bytes(py)
    }

    #[pyo3(signature = (path, *, start = 0, length = None, end = None))]
    fn get_range_async(
        &self,
        py: Python<'_>,
        path: &str,
        start: u64,
        length: Option<u64>,
        end: Option<u64>,
    ) -> PyResult<Py<PyAny>> {
        self.get(path, start, length, end, None, None)?.bytes_async(py)
    }

    fn get_ranges(&self, py: Python<'_>, path: &str, ranges: Vec<(u64, u64)>) -> PyResult<Py<PyAny>> {
        self.get(path, 0, None, None, None, None)?.ranges(py, ranges)
    }

    fn get_ranges_async(&self, py: Python<'_>, path: &str, ranges: Vec<(u64, u64)>) -> PyResult<Py<PyAny>> {
        self.get(path, 0, None, None, None, None)?.ranges_async(py, ranges)
    }

    #[pyo3(signature = (path, to, *, progress = None, on_warning = None))]
    fn download(
        &self,
        py: Python<'_>,
        path: &str,
        to: PathBuf,
        progress: Option<Py<PyAny>>,
        on_warning: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.get(path, 0, None, None, progress, on_warning)?.save(py, to)
    }

    #[pyo3(signature = (path, to, *, progress = None, on_warning = None))]
    fn download_async(
        &self,
        py: Python<'_>,
        path: &str,
        to: PathBuf,
        progress: Option<Py<PyAny>>,
        on_warning: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.get(path, 0, None, None, progress, on_warning)?.save_async(py, to)
    }

    fn head(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.head(path).await })
    }

    fn head_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.head(path).await })
    }

    fn exists(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        run::block(py, exists(self.client()?, path))
    }

    fn exists_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        run::spawn(py, exists(self.client()?, path))
    }

    fn check(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.check(path).await })
    }

    fn check_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.check(path).await })
    }

    #[pyo3(signature = (prefix = ""))]
    fn list<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyAny>> {
        let batches = HeadBatches::new(self.client()?.list(prefix));
        py.import("dstore._streams")?.call_method1("Listing", (batches,))
    }

    fn remove(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.remove(path).await })
    }

    fn remove_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.remove(path).await })
    }

    fn rename(&self, py: Python<'_>, source: String, target: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.rename(source, target).await })
    }

    fn rename_async(&self, py: Python<'_>, source: String, target: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.rename(source, target).await })
    }

    #[pyo3(signature = (source, target, *, mode = None, if_version = None, progress = None, on_warning = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn copy(
        &self,
        py: Python<'_>,
        source: &str,
        target: &str,
        mode: Option<&str>,
        if_version: Option<u32>,
        progress: Option<Py<PyAny>>,
        on_warning: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let report = Report::new(progress, on_warning);
        let copy = transfer::copy(&self.client()?, (source, target), args::mode(mode, if_version)?, &report);
        run::block_with(py, &report, copy.into_future())
    }

    #[pyo3(signature = (source, target, *, mode = None, if_version = None, progress = None, on_warning = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn copy_async(
        &self,
        py: Python<'_>,
        source: &str,
        target: &str,
        mode: Option<&str>,
        if_version: Option<u32>,
        progress: Option<Py<PyAny>>,
        on_warning: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let report = Report::new(progress, on_warning);
        let copy = transfer::copy(&self.client()?, (source, target), args::mode(mode, if_version)?, &report);
        run::spawn_with(py, &report, copy.into_future())
    }

    fn history(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.history(path).await })
    }

    fn history_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.history(path).await })
    }

    fn network(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.network().await })
    }

    fn network_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.network().await })
    }

    fn node_info(&self, py: Python<'_>, node: &str) -> PyResult<Py<PyAny>> {
        let (client, node) = (self.client()?, args::node(py, node)?);
        run::block(py, async move { client.node_info(node).await })
    }

    fn node_info_async(&self, py: Python<'_>, node: &str) -> PyResult<Py<PyAny>> {
        let (client, node) = (self.client()?, args::node(py, node)?);
        run::spawn(py, async move { client.node_info(node).await })
    }

    fn probe_registry(&self, py: Python<'_>, address: &str) -> PyResult<Py<PyAny>> {
        let (client, address) = (self.client()?, error::raised(py, address.parse::<RegistryAddr>())?);
        run::block(py, async move { client.probe_registry(&address).await })
    }

    fn probe_registry_async(&self, py: Python<'_>, address: &str) -> PyResult<Py<PyAny>> {
        let (client, address) = (self.client()?, error::raised(py, address.parse::<RegistryAddr>())?);
        run::spawn(py, async move { client.probe_registry(&address).await })
    }

    fn recover(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.recover().await })
    }

    fn recover_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.recover().await })
    }

    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, close(self.take(), None))
    }

    fn close_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, close(self.take(), None))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        raised: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let limit = (!raised.is_none()).then_some(CLOSING);
        run::block(py, close(self.take(), limit)).map(drop)
    }

    fn __aenter__(slf: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let client = slf.into_any().unbind();
        run::spawn(py, async move { Ok(client) })
    }

    fn __aexit__(
        &self,
        py: Python<'_>,
        raised: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let limit = (!raised.is_none()).then_some(CLOSING);
        run::spawn(py, close(self.take(), limit))
    }

    fn __repr__(&self) -> String {
        match self.client() {
            Ok(client) => format!("<dstore.Client of owner {}>", client.owner()),
            Err(_) => "<dstore.Client, closed>".to_owned(),
        }
    }
}
