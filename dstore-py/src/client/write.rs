//! Puts.

use std::future::IntoFuture;
use std::path::PathBuf;

use dstore::Source;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Client;
use crate::run;
use crate::transfer::{self, Data, PutOptions};
use crate::writer::RawWriter;

impl Client {
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

#[pymethods]
impl Client {
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
    /// dstore.AlreadyExists: "notes/a.txt" exists already, at version 2
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
}
