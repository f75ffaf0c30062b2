//! `dstore.Get`: a read that has not started, and the batches of bytes that it streams.

use std::future::IntoFuture;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use dstore::{ByteStream, Error, Head, Result};
use futures_lite::StreamExt;
use futures_lite::future::poll_once;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::buffer::NewBytes;
use crate::reader::RawReader;
use crate::report::Report;
use crate::run;
use crate::value::ToPy;

/// Pieces of 64 KiB that are handed over at once, when they are there.
const BATCH: usize = 32;

/// A read that has not started: `Client.get` makes it. Each of its methods reads once more; so does a loop over it,
/// with `for` or `async for`, which gives read-only memoryviews of up to 64 KiB, in order.
///
/// They raise what `Client.get` says.
///
/// >>> committed = client.put("a.bin", bytes(100_000))
/// >>> sum(len(piece) for piece in client.get("a.bin"))
/// 100000
#[pyclass(frozen, module = "dstore")]
pub(crate) struct Get {
    get: dstore::Get,
    report: Arc<Report>,
}

impl Get {
    pub(crate) fn new(get: dstore::Get, range: Option<Range<u64>>, report: Arc<Report>) -> Self {
        let mut get = match range {
            Some(range) => get.range(range),
            None => get,
        };
        if let Some(listen) = report.progress() {
            get = get.progress(listen);
        }
        if let Some(listen) = report.warnings() {
            get = get.warnings(listen);
        }
        Self { get, report }
    }

    fn batches(&self) -> ByteBatches {
        ByteBatches {
            stream: Arc::new(Mutex::new(Some(Stream::Waiting(self.get.clone())))),
            report: self.report.clone(),
        }
    }
}

#[pymethods]
impl Get {
    /// All bytes at once. Starts over when the file is replaced meanwhile.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> client.get("notes/a.txt").bytes()
    /// b'hello'
    pub(crate) fn bytes(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block_with(py, &self.report, self.get.clone().bytes_into(NewBytes::new))
    }

    /// `bytes`, for asyncio.
    pub(crate) fn bytes_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn_with(py, &self.report, self.get.clone().bytes_into(NewBytes::new))
    }

    /// Several ranges at once, each `(start, end)`, counted from the start of what is read: as `Client.get_ranges`.
    ///
    /// Raises also `TooLarge` for more than 65,536 ranges, or more bytes together than the client's `memory`;
    /// `ValueError` for a range that ends before it starts.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello world")
    /// >>> client.get("notes/a.txt", start=6).ranges([(0, 1), (4, 5)])
    /// [b'w', b'd']
    pub(crate) fn ranges(&self, py: Python<'_>, ranges: Vec<(u64, u64)>) -> PyResult<Py<PyAny>> {
        run::block_with(py, &self.report, fetch(self.get.clone(), checked(ranges)?))
    }

    /// `ranges`, for asyncio.
    pub(crate) fn ranges_async(&self, py: Python<'_>, ranges: Vec<(u64, u64)>) -> PyResult<Py<PyAny>> {
        run::spawn_with(py, &self.report, fetch(self.get.clone(), checked(ranges)?))
    }

    /// Writes the bytes to the local file `to`, which appears, or is replaced, only when it is whole and durable.
    /// Says what the file is. Starts over when the file is replaced meanwhile.
    ///
    /// Raises also `PermissionDenied`, `NoSpace` and others for the local file.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> client.get("notes/a.txt", end=4).save(path / "start.txt").path
    /// 'notes/a.txt'
    /// >>> (path / "start.txt").read_text()
    /// 'hell'
    pub(crate) fn save(&self, py: Python<'_>, to: PathBuf) -> PyResult<Py<PyAny>> {
        run::block_with(py, &self.report, self.get.clone().save(to).into_future())
    }

    /// `save`, for asyncio.
    pub(crate) fn save_async(&self, py: Python<'_>, to: PathBuf) -> PyResult<Py<PyAny>> {
        run::spawn_with(py, &self.report, self.get.clone().save(to).into_future())
    }

    /// Opens the bytes as a `ByteStream`: an iterator that knows the file and how many bytes come. It reads one
    /// version, and raises `Superseded` when that is gone.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> stream = client.get("notes/a.txt").stream()
    /// >>> stream.size, b"".join(stream)
    /// (5, b'hello')
    fn stream(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let batches = self.batches();
        let opened = run::block_with(py, &self.report, opened(batches.stream.clone()))?;
        Ok(py.import("dstore._streams")?.call_method1("ByteStream", (batches, opened))?.unbind())
    }

    /// `stream`, for asyncio.
    fn stream_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let batches = self.batches();
        let opened = run::spawn_with(py, &self.report, opened(batches.stream.clone()))?;
        Ok(py.import("dstore._streams")?.call_method1("opened_async", (batches, opened))?.unbind())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("dstore._streams")?.call_method1("Batches", (self.batches(),))
    }

    fn __aiter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.__iter__(py)
    }

    /// Opens the bytes as a `Reader`: a binary file that can seek.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> with client.get("notes/a.txt").reader() as file:
    /// ...     file.seek(-2, 2)
    /// ...     file.read()
    /// 3
    /// b'lo'
    fn reader(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let raw = run::block_with(py, &self.report, RawReader::open(self.get.clone(), self.report.clone()))?;
        Ok(py.import("dstore._files")?.call_method1("Reader", (raw,))?.unbind())
    }

    /// `reader`, for asyncio.
    fn reader_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let raw = run::spawn_with(py, &self.report, RawReader::open(self.get.clone(), self.report.clone()))?;
        Ok(py.import("dstore._files")?.call_method1("reader_async", (raw,))?.unbind())
    }

    fn __repr__(&self) -> &'static str {
        "<dstore.Get: bytes(), stream(), reader(), ranges() or save() starts it>"
    }
}

fn checked(ranges: Vec<(u64, u64)>) -> PyResult<Vec<Range<u64>>> {
    let reversed = ranges.iter().find(|(start, end)| end < start);
    if let Some((start, end)) = reversed {
        return Err(PyValueError::new_err(format!("the range ({start}, {end}) ends before it starts")));
    }
    Ok(ranges.into_iter().map(|(start, end)| start..end).collect())
}

async fn fetch(get: dstore::Get, ranges: Vec<Range<u64>>) -> Result<Pieces> {
    Ok(Pieces(get.ranges(ranges).await?))
}

/// As `bytes` objects.
struct Pieces(Vec<Bytes>);

impl ToPy for Pieces {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let pieces: Vec<Py<PyAny>> = self.0.iter().map(|piece| PyBytes::new(py, piece).into_any().unbind()).collect();
        pieces.to_py(py)
    }
}

/// As read-only views of the memory where they were opened.
struct Batch(Vec<Bytes>);

impl ToPy for Batch {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let view = |piece| {
            let owner = Bound::new(py, pyo3_bytes::PyBytes::new(piece))?;
            Ok(PyMemoryView::from(owner.as_any())?.into_any().unbind())
        };
        self.0.into_iter().map(view).collect::<PyResult<Vec<Py<PyAny>>>>()?.to_py(py)
    }
}

enum Stream {
    Waiting(dstore::Get),
    Open(ByteStream),
}

/// Taken out while somebody reads: a read that was cancelled leaves nothing, since nobody knows where it ended.
type SharedStream = Arc<Mutex<Option<Stream>>>;

/// The bytes of a file in order, some pieces at a time: `ByteStream` is over it.
#[pyclass(frozen, module = "dstore._dstore")]
pub(crate) struct ByteBatches {
    stream: SharedStream,
    report: Arc<Report>,
}

#[pymethods]
impl ByteBatches {
    /// The next pieces; none at the end.
    fn next_batch(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block_with(py, &self.report, next_batch(self.stream.clone()))
    }

    /// `next_batch`, for asyncio.
    fn next_batch_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn_with(py, &self.report, next_batch(self.stream.clone()))
    }
}

async fn take(shared: &SharedStream) -> Result<ByteStream> {
    let taken = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    match taken {
        Some(Stream::Open(stream)) => Ok(stream),
        Some(Stream::Waiting(get)) => get.stream().await,
        None => Err(crate::error::interrupted("the stream was interrupted, or another thread reads it: begin again")),
    }
}

fn put_back(shared: &SharedStream, stream: ByteStream) {
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Stream::Open(stream));
}

/// The file, and the length of the range.
async fn opened(shared: SharedStream) -> Result<(Head, u64)> {
    let stream = take(&shared).await?;
    let opened = (stream.head().clone(), stream.len());
    put_back(&shared, stream);
    Ok(opened)
}

/// The next pieces; none at the end.
async fn next_batch(shared: SharedStream) -> Result<Batch, Error> {
    let mut stream = take(&shared).await?;
    let mut batch = Vec::new();
    let mut next = stream.next().await;
    while let Some(piece) = next {
        let piece = piece?;
        if piece.has_remaining() {
            batch.push(piece);
        }
        if batch.len() >= BATCH {
            break;
        }
        next = match poll_once(stream.next()).await {
            Some(next) => next,
            None => break,
        };
    }
    put_back(&shared, stream);
    Ok(Batch(batch))
}
