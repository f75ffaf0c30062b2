//! A reader that can seek: `dstore.Reader` is over it.

use std::io::SeekFrom;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_lock::Mutex;
use bytes::BufMut;
use dstore::{Head, Reader, Result};
use futures_util::{AsyncReadExt, AsyncSeekExt};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PySlice};

use crate::buffer::NewBytes;
use crate::report::Report;
use crate::run;
use crate::value::ToPy;

/// Bytes that a read asks of the reader at once.
const STEP: usize = 1 << 20;

/// A file, or a range of one, that can be read from any position: `Reader` is over it.
#[pyclass(frozen, module = "dstore._dstore")]
pub(crate) struct RawReader {
    reader: Arc<Mutex<Reader>>,
    /// Where the next read begins. The reader's own position may be further on: after a read that was cancelled.
    position: AtomicU64,
    head: Head,
    len: u64,
    report: Arc<Report>,
}

impl ToPy for RawReader {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, self)?.into_any())
    }
}

impl RawReader {
    pub(crate) async fn open(get: dstore::Get, report: Arc<Report>) -> Result<Self> {
        let reader = get.reader().await?;
        let (head, len) = (reader.head().clone(), reader.len());
        Ok(Self { reader: Arc::new(Mutex::new(reader)), position: AtomicU64::new(0), head, len, report })
    }

    /// How many bytes a read for `wanted` gives, from where.
    fn span(&self, wanted: Option<usize>) -> (u64, usize) {
        let position = self.position.load(Ordering::Relaxed);
        let left = usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX);
        (position, wanted.map_or(left, |wanted| wanted.min(left)))
    }
}

/// Exactly `len` bytes from `position`, which are there.
async fn read(reader: Arc<Mutex<Reader>>, position: u64, len: usize) -> Result<NewBytes> {
    let mut reader = reader.lock().await;
    let io = |source| dstore::Error::Io { what: "reading".to_owned(), source };
    reader.seek(SeekFrom::Start(position)).await.map_err(io)?;
    let mut bytes = NewBytes::new(len);
    let mut step = vec![0; len.min(STEP)];
    let mut left = len;
    while left > 0 {
        let space = left.min(STEP);
        let count = reader.read(&mut step[..space]).await.map_err(cause)?;
        if count == 0 || bytes.remaining_mut() < count {
            return Err(dstore::Error::Internal { what: "a reader gives as many bytes as it says" });
        }
        bytes.put_slice(&step[..count]);
        left -= count;
    }
    Ok(bytes)
}

/// A reader fails as a stream of bytes: what it failed with is inside.
fn cause(error: std::io::Error) -> dstore::Error {
    match error.downcast::<dstore::Error>() {
        Ok(cause) => cause,
        Err(source) => dstore::Error::Io { what: "reading".to_owned(), source },
    }
}

#[pymethods]
impl RawReader {
    /// The file that is read.
    #[getter]
    fn head(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.head.clone().to_py(py)
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(usize::try_from(self.len)?)
    }

    /// Bytes that can be read.
    #[getter]
    fn size(&self) -> u64 {
        self.len
    }

    /// Where the next byte is read.
    fn tell(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Moves to a position; says which.
    fn seek(&self, offset: i64, whence: i32) -> PyResult<u64> {
        let from = match whence {
            0 => Some(0),
            1 => Some(self.tell()),
            2 => Some(self.len),
            _ => return Err(PyValueError::new_err(format!("whence is 0, 1 or 2, not {whence}"))),
        };
        let target = from.and_then(|from| from.checked_add_signed(offset));
        let target = target.ok_or_else(|| PyValueError::new_err("a position before the beginning"))?;
        self.position.store(target, Ordering::Relaxed);
        Ok(target)
    }

    /// The next `size` bytes, fewer at the end only; all that are left for None.
    #[pyo3(signature = (size = None))]
    fn read(&self, py: Python<'_>, size: Option<usize>) -> PyResult<Py<PyAny>> {
        let (position, len) = self.span(size);
        let bytes = run::block_with(py, &self.report, read(self.reader.clone(), position, len))?;
        self.position.store(position + len as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// `read`, for asyncio. The position stays where it is: only the caller knows whether the bytes have arrived.
    #[pyo3(signature = (size = None))]
    fn read_async(&self, py: Python<'_>, size: Option<usize>) -> PyResult<Py<PyAny>> {
        let (position, len) = self.span(size);
        run::spawn_with(py, &self.report, read(self.reader.clone(), position, len))
    }

    /// Fills `buffer` with the next bytes; says how many.
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let view = PyMemoryView::from(buffer)?.call_method1("cast", ("B",))?;
        let bytes = self.read(py, Some(view.len()?))?;
        let count = bytes.bind(py).len()?;
        let end = isize::try_from(count)?;
        view.set_item(PySlice::new(py, 0, end, 1), bytes)?;
        Ok(count)
    }
}
