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

/// Stores and reads an owner's files. It can be shared by threads and by event loops, which share its connections.
///
/// * `owner`: the `Owner` whose files these are.
/// * `ledger`: where the records of files are: a `LocalLedger`, a `MemoryLedger` or an `EthereumLedger`.
/// * `registry`: address (`dsr1:…@host:port`) of the registry to find nodes through, or several of them. Files can be
///   read without one, and not be stored.
/// * `scheme`: a `Scheme` or a text such as "4+2" (the default): data and parity shards of new files.
/// * `tolerate`: how many nodes, whichever, may vanish without loss of a new file. Default 1.
/// * `padding`: how the length of new files is hidden: "padme" (the default, at most 12 % more bytes) or "none".
/// * `network`: the label of the network. Default "dstore".
/// * `timeout`: seconds for which a step may make no progress before it fails. Default 30.
/// * `memory`: bytes for the buffers of one transfer. Default 48 MiB, at least 16 MiB.
/// * `hedge_after`: seconds that a get waits for a silent node, at most, before it asks another one. Default 1.
/// * `journal`: a folder where unfinished work is noted, so that it is gone on with, or cleared away. Default:
///   nowhere.
/// * `resume`: whether a put goes on where an earlier one of the same bytes to the same path ended. Default: if there
///   is a journal.
/// * `pin`: ids of the nodes that alone take new shards. Default: all that the registries list.
/// * `invite`: invites of nodes that do not know this client yet.
///
/// Making one asks nobody. `with` and `async with` close it at the end.
///
/// Raises `ConfigError` for an address, id or invite that is none, and for settings that no nodes could satisfy;
/// `ValueError` for a number out of range; `TypeError` for a keyword that it does not have.
///
/// Every method that waits has a twin for asyncio. All of them raise `Unavailable`, `Timeout` or `Busy` for a
/// registry, a node or a ledger that is needed and does not answer, `PermissionDenied` where it refuses,
/// `IntegrityError` for what does not verify, `Locked` while another process does not let go of a local ledger,
/// `ChainError` and its kinds for a ledger on a chain, `ForkedError` in a child process after a fork, and
/// `RuntimeError` once the client is closed. Each says what it raises besides.
///
/// >>> owner, ledger = dstore.Owner.create(path / "me.key"), dstore.LocalLedger(path / "ledger.db")
/// >>> with dstore.Client(owner=owner, ledger=ledger, scheme="2+4", timeout=5) as client:
/// ...     client.exists("notes/a.txt")
/// False
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

    /// The client that `dstore-cli` is here: the same folder, key, ledger, registries and settings.
    ///
    /// * `dir`: the client's folder. Default: what `DSTORE_DIR` says, else `dstore/client` in the platform's folder
    ///   for data.
    /// * `env_file`: a file with variables. Default: what `DSTORE_ENV_FILE` says, else `.env` in the current folder,
    ///   if there.
    /// * `env`: the variables. Default: `os.environ`, which nothing is ever written to.
    /// * keywords: the command line's settings by their names (`EnvSettings`), which come first; then the variables,
    ///   `env_file`, and `config.toml` in the folder.
    ///
    /// Raises `ConfigError` for a setting that is missing or wrong, and for a key file that others can read;
    /// `NotFound` for a file that is named and not there; `Locked`; `TypeError` for a keyword that is no setting.
    /// What the command line warns of is warned of with `warnings`.
    ///
    /// >>> dstore.Owner.create(path / "owner.key")
    /// <dstore.Owner ...>
    /// >>> with dstore.Client.from_env(path, env={}, ledger="memory", timeout=5.0) as client:
    /// ...     client.exists("notes/a.txt")
    /// False
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

    /// Whose files these are: 40 hex digits.
    ///
    /// >>> client.owner == network.owner.id
    /// True
    #[getter]
    fn owner(&self) -> PyResult<String> {
        Ok(self.client()?.owner().to_string())
    }

    /// The key that this client shows to the node with the id `node`, and to no other: 64 hex digits. The node's
    /// operator lets it in with `StorageNode(allow=…)`.
    ///
    /// Raises `ConfigError` when `node` is no id.
    ///
    /// >>> len(client.transport_key(network.node_ids[0]))
    /// 64
    fn transport_key(&self, py: Python<'_>, node: &str) -> PyResult<String> {
        Ok(self.client()?.transport_key(args::node(py, node)?).to_string())
    }

    /// Stores `data` at `path`. When it returns, the file is durable on its nodes and on the ledger; until then,
    /// nothing is there.
    ///
    /// * `data`: a bytes-like object, which is not copied and must not change meanwhile; a `pathlib.Path` of a local
    ///   file; a binary file object, which is read from where it stands to its end; or an iterable of bytes-like
    ///   objects. `put_async` also takes async iterables, and files whose `read` is to be awaited. What they raise
    ///   ends the put, and is raised.
    /// * `mode`: what may be replaced. "overwrite" (the default): whatever is there when the put starts. "create":
    ///   nothing. "update": the version `if_version`, and no other.
    /// * `if_version`: the version to replace; implies "update".
    /// * `scheme`: a `Scheme` or a text such as "4+2". Default: the client's.
    /// * `padding`: "padme" or "none". Default: the client's.
    /// * `attributes`: names and values of your own, at most 64, 2 KiB together; sealed like the rest.
    /// * `progress`: called with a `Progress` at most 20 times a second, and at the end; on this thread, or on the
    ///   event loop.
    /// * `on_warning`: called with a `TransferWarning` for what did not stop the put but should be known.
    ///
    /// What a callback raises ends the put, and is raised. So does Ctrl-C, and cancelling the task of `put_async`:
    /// before the write to the ledger nothing is stored; after it had begun, the journal settles it.
    ///
    /// Raises `InvalidPath`; `AlreadyExists` with "create"; `VersionConflict` when another writer was faster;
    /// `NotEnoughNodes` when too few nodes can take it; `UnknownOutcome` when the ledger did not say whether it was
    /// written; `TooLarge`; `NoSpace`; `ConfigError`; for a local file `NotFound`, `PermissionDenied` and others;
    /// `TypeError` for what cannot be stored, such as a str.
    ///
    /// >>> client.put("notes/a.txt", b"hello", mode="create").head.version
    /// 1
    /// >>> client.put("notes/a.txt", (f"line {i}\n".encode() for i in range(3)), if_version=1).head.size
    /// 21
    /// >>> client.put("notes/a.txt", b"hello", mode="create")
    /// Traceback (most recent call last):
    /// dstore._exceptions.AlreadyExists: "notes/a.txt" exists already, at version 2
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

    /// `put`, for asyncio.
    ///
    /// >>> async def pieces():
    /// ...     yield b"one "
    /// ...     yield b"two"
    /// >>> async def main():
    /// ...     committed = await client.put_async("c.txt", pieces())
    /// ...     return committed.head.size
    /// >>> asyncio.run(main())
    /// 7
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

    /// Stores the local file `source` at `path`: `put`, with its options, of a `pathlib.Path`. The file must not
    /// change meanwhile.
    ///
    /// Raises what `put` raises.
    ///
    /// >>> (path / "a.txt").write_text("hello")
    /// 5
    /// >>> client.upload(path / "a.txt", "notes/a.txt").head.size
    /// 5
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

    /// `upload`, for asyncio.
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

    /// What a put of `data` at `path` with these options would store and cost, as a `Preview`. Nothing is written
    /// anywhere and no piece of a file object or iterable is read, so that its length is not known.
    ///
    /// Raises those exceptions of a put that are known before it begins.
    ///
    /// >>> preview = client.preview("a.bin", bytes(1000), scheme="2+4", padding="none")
    /// >>> preview.size, preview.shards, preview.nodes, preview.cost
    /// (1000, 6, 3, None)
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

    /// `preview`, for asyncio.
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

    /// Opens the file at `path`, as the builtin does, in binary.
    ///
    /// * `mode`: "rb" reads, "wb" stores whatever was there, "xb" stores where no file may be.
    /// * `buffering`: bytes that are read at once at least. Default: 65,520; 0 gives the `Reader` itself, else there
    ///   is an `io.BufferedReader` over it. Of no effect for writing, which puts small pieces together anyway.
    /// * keywords for reading: those of `get`. For writing: those of `put` but `mode`.
    ///
    /// A `Writer` stores the file when it is closed, or its `with` block ends: all of it or nothing, and nothing when
    /// the block ends with an exception. For text, use `io.TextIOWrapper`.
    ///
    /// Raises for reading what `get` raises. A writer raises what `put` raises when it is written to or closed.
    /// `ValueError` for another mode.
    ///
    /// >>> with client.open("notes/a.txt", "wb") as file:
    /// ...     file.write(b"hello ")
    /// ...     file.write(b"world")
    /// 6
    /// 5
    /// >>> with client.open("notes/a.txt") as file:
    /// ...     file.seek(6)
    /// ...     file.read()
    /// 6
    /// b'world'
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

    /// `open`, for asyncio, without `buffering`: it gives a `Reader` or a `Writer`, which have twins for asyncio too.
    ///
    /// >>> async def main():
    /// ...     async with await client.open_async("notes/a.txt", "wb") as file:
    /// ...         await file.write_async(b"hello")
    /// ...     async with await client.open_async("notes/a.txt") as file:
    /// ...         return await file.read_async()
    /// >>> asyncio.run(main())
    /// b'hello'
    #[pyo3(signature = (path, mode = "rb", **options))]
    fn open_async<'py>(
        slf: &Bound<'py, Self>,
        path: &str,
        mode: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("dstore._files")?.call_method("open_file_async", (slf, path, mode), options)
    }

    /// A read of the file at `path`, or of a part of it, that has not started: the methods of the `Get` start it.
    ///
    /// * `start`: the first byte. Default 0.
    /// * `length`: how many bytes. Default: to the end of the file. What lies beyond the end is left out.
    /// * `end`: where to stop, in place of `length`: the first byte that is not read.
    /// * `progress`, `on_warning`: as for `put`.
    ///
    /// Raises `ValueError` for a range that ends before it starts, and for `length` together with `end`. The read
    /// raises `NotFound`; `InvalidPath`; `NotEnoughShards` while too many holders cannot be reached; `Unrecoverable`
    /// when too much is lost; `IntegrityError`; `Superseded` when it was replaced again and again meanwhile.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello world")
    /// >>> client.get("notes/a.txt").bytes()
    /// b'hello world'
    /// >>> client.get("notes/a.txt", start=6, length=100).bytes()
    /// b'world'
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

    /// The bytes from `start` on, `length` of them or up to `end`: `get(…).bytes()`. What lies beyond the end of the
    /// file is left out.
    ///
    /// Raises what `get` and its read raise.
    ///
    /// >>> committed = client.put("a.bin", bytes(range(256)))
    /// >>> client.get_range("a.bin", start=10, length=3)
    /// b'\n\x0b\x0c'
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

    /// `get_range`, for asyncio.
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

    /// The bytes of several ranges at once, each `(start, end)`, in the order asked. Ranges may overlap, touch and be
    /// empty: what several share, or have close by, is fetched once. What lies beyond the end of the file is left
    /// out.
    ///
    /// Raises what `get` and its read raise; `TooLarge` for more than 65,536 ranges, or more bytes together than the
    /// client's `memory`.
    ///
    /// >>> committed = client.put("a.txt", b"hello world")
    /// >>> client.get_ranges("a.txt", [(0, 5), (6, 100), (3, 3)])
    /// [b'hello', b'world', b'']
    fn get_ranges(&self, py: Python<'_>, path: &str, ranges: Vec<(u64, u64)>) -> PyResult<Py<PyAny>> {
        self.get(path, 0, None, None, None, None)?.ranges(py, ranges)
    }

    /// `get_ranges`, for asyncio.
    fn get_ranges_async(&self, py: Python<'_>, path: &str, ranges: Vec<(u64, u64)>) -> PyResult<Py<PyAny>> {
        self.get(path, 0, None, None, None, None)?.ranges_async(py, ranges)
    }

    /// Writes the file at `path` to the local file `to`, which appears, or is replaced, only when it is whole and
    /// durable. Says what the file is. `progress` and `on_warning` are as for `put`.
    ///
    /// Raises what `get` and its read raise; `PermissionDenied`, `NoSpace` and others for the local file.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> client.download("notes/a.txt", path / "back.txt").size
    /// 5
    /// >>> (path / "back.txt").read_text()
    /// 'hello'
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

    /// `download`, for asyncio.
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

    /// What the ledger says of the file at `path`. No node is asked.
    ///
    /// Raises `NotFound`, `InvalidPath`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello", attributes={"type": "text/plain"})
    /// >>> head = client.head("notes/a.txt")
    /// >>> head.version, head.size, head.tolerates_nodes, head.attributes
    /// (1, 5, 1, {'type': 'text/plain'})
    fn head(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.head(path).await })
    }

    /// `head`, for asyncio.
    fn head_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.head(path).await })
    }

    /// Whether a file is at `path`. No node is asked.
    ///
    /// Raises `InvalidPath`.
    ///
    /// >>> client.exists("notes/a.txt")
    /// False
    fn exists(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        run::block(py, exists(self.client()?, path))
    }

    /// `exists`, for asyncio.
    fn exists_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        run::spawn(py, exists(self.client()?, path))
    }

    /// Asks every node of the file at `path` how its shards are, and reads no content. Nodes that do not answer are
    /// no error: their shards are "unreachable".
    ///
    /// Raises `NotFound`, `InvalidPath`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> network.kill(0)
    /// >>> states = [shard.state for shard in client.check("notes/a.txt").shards]
    /// >>> states.count("ok"), states.count("unreachable")
    /// (4, 2)
    fn check(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.check(path).await })
    }

    /// `check`, for asyncio.
    fn check_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.check(path).await })
    }

    /// The owner's files whose path starts with `prefix`, in no order: iterate over it, with `for` or `async for`.
    ///
    /// What it raises, it raises there: besides the usual, `Unavailable` at the end when there may be more files than
    /// a ledger that has dropped old records could name.
    ///
    /// >>> for name in ("a/1", "a/2", "b/1"):
    /// ...     committed = client.put(name, b"hello")
    /// >>> sorted(head.path for head in client.list("a/"))
    /// ['a/1', 'a/2']
    /// >>> async def main():
    /// ...     return [head.path async for head in client.list("b/")]
    /// >>> asyncio.run(main())
    /// ['b/1']
    #[pyo3(signature = (prefix = ""))]
    fn list<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyAny>> {
        let batches = HeadBatches::new(self.client()?.list(prefix));
        py.import("dstore._streams")?.call_method1("Listing", (batches,))
    }

    /// Removes the file at `path`, and says what it was. Its shards are freed after a day.
    ///
    /// Raises `NotFound`, `InvalidPath`; `VersionConflict` when another writer was faster; `UnknownOutcome`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> client.remove("notes/a.txt").size
    /// 5
    /// >>> client.exists("notes/a.txt")
    /// False
    fn remove(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.remove(path).await })
    }

    /// `remove`, for asyncio.
    fn remove_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.remove(path).await })
    }

    /// Moves the file at `source` to `target`, where no file may be, and says what it is there. Its content does not
    /// travel.
    ///
    /// Raises `NotFound`, `InvalidPath`, `AlreadyExists`; `VersionConflict` when another writer was faster;
    /// `UnknownOutcome`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> client.rename("notes/a.txt", "notes/b.txt").path
    /// 'notes/b.txt'
    fn rename(&self, py: Python<'_>, source: String, target: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.rename(source, target).await })
    }

    /// `rename`, for asyncio.
    fn rename_async(&self, py: Python<'_>, source: String, target: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.rename(source, target).await })
    }

    /// Reads the file at `source` and stores it at `target` with this client's settings: it takes as long as a get
    /// and a put, and the two files share nothing. `mode`, `if_version`, `progress` and `on_warning` are as for
    /// `put`.
    ///
    /// Raises what the read of a `get` and what `put` raise; `InvalidPath` when both paths are the same.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> client.copy("notes/a.txt", "notes/b.txt", mode="create").head.size
    /// 5
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

    /// `copy`, for asyncio.
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

    /// Every version of the file at `path`, also one that was removed, newest first.
    ///
    /// Raises `NotFound` when no file ever was there, `InvalidPath`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> removed = client.remove("notes/a.txt")
    /// >>> [(version.version, version.kind) for version in client.history("notes/a.txt")]
    /// [(2, 'removed'), (1, 'put')]
    fn history(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.history(path).await })
    }

    /// `history`, for asyncio.
    fn history_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.history(path).await })
    }

    /// What the registries say of the network.
    ///
    /// Raises `ConfigError` when the client has no registry.
    ///
    /// >>> client.network().active
    /// 3
    fn network(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.network().await })
    }

    /// `network`, for asyncio.
    fn network_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.network().await })
    }

    /// What the node with the id `node` says of itself.
    ///
    /// Raises `NotFound` when no registry knows it, `ConfigError` when `node` is no id.
    ///
    /// >>> client.node_info(network.node_ids[0]).draining
    /// False
    fn node_info(&self, py: Python<'_>, node: &str) -> PyResult<Py<PyAny>> {
        let (client, node) = (self.client()?, args::node(py, node)?);
        run::block(py, async move { client.node_info(node).await })
    }

    /// `node_info`, for asyncio.
    fn node_info_async(&self, py: Python<'_>, node: &str) -> PyResult<Py<PyAny>> {
        let (client, node) = (self.client()?, args::node(py, node)?);
        run::spawn(py, async move { client.node_info(node).await })
    }

    /// Connects to the registry at `address`, whether this client uses it or not, and proves its key and its network.
    ///
    /// Raises `ConfigError` when `address` is none; `Unavailable` when it cannot be reached, or is another one.
    ///
    /// >>> client.probe_registry(network.registry_address).seconds < 10
    /// True
    fn probe_registry(&self, py: Python<'_>, address: &str) -> PyResult<Py<PyAny>> {
        let (client, address) = (self.client()?, error::raised(py, address.parse::<RegistryAddr>())?);
        run::block(py, async move { client.probe_registry(&address).await })
    }

    /// `probe_registry`, for asyncio.
    fn probe_registry_async(&self, py: Python<'_>, address: &str) -> PyResult<Py<PyAny>> {
        let (client, address) = (self.client()?, error::raised(py, address.parse::<RegistryAddr>())?);
        run::spawn(py, async move { client.probe_registry(&address).await })
    }

    /// Looks for this owner's files at every node, and asks for every shard of each. Nothing is written:
    /// `LocalLedger.restore` takes what is found. A node that does not answer is no error, nor is a ledger that
    /// cannot tell: the `Recovery` says so.
    ///
    /// Raises `ConfigError` when the client has no registry.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> found = client.recover().ledgers[0]
    /// >>> [(file.head.path, file.is_readable) for file in found.files]
    /// [('notes/a.txt', True)]
    /// >>> restored = dstore.LocalLedger.restore(path / "ledger.db", network.owner, found.versions)
    /// >>> restored.added
    /// 1
    fn recover(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.recover().await })
    }

    /// `recover`, for asyncio.
    fn recover_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.recover().await })
    }

    /// Waits for what runs in the background, such as retiring replaced versions, for at most the time of `timeout`.
    /// Nothing can be asked afterwards. Closing twice does nothing. A client that is not closed ends without waiting.
    ///
    /// >>> client.close()
    /// >>> client.exists("notes/a.txt")
    /// Traceback (most recent call last):
    /// RuntimeError: this client is closed
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, close(self.take(), None))
    }

    /// `close`, for asyncio.
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
