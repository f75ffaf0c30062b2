//! Gets, and files that are opened.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Client;
use crate::args;
use crate::get::Get;
use crate::report::Report;

#[pymethods]
impl Client {
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
}
