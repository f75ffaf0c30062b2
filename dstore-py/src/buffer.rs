//! Bytes between Python and Rust, copied as seldom as possible.

use bytes::buf::UninitSlice;
use bytes::{BufMut, Bytes};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

/// The memory of a bytes-like object; `None` for what is none. No copy is made: it must not change until it was read.
pub(crate) fn borrow(data: &Bound<'_, PyAny>) -> PyResult<Option<Bytes>> {
    let view = match PyMemoryView::from(data) {
        Ok(view) => view,
        Err(error) if error.is_instance_of::<PyTypeError>(data.py()) => return Ok(None),
        // It has memory, and cannot give it: a map of a file that is closed, for one.
        Err(error) => return Err(error),
    };
    if view.getattr("nbytes")?.extract::<usize>()? == 0 {
        return Ok(Some(Bytes::new()));
    }
    if !view.getattr("c_contiguous")?.is_truthy()? {
        return Err(PyBufferError::new_err(
            "the buffer is not contiguous: pass a contiguous copy of it, such as numpy.ascontiguousarray(array)",
        ));
    }
    let is_plain = view.getattr("ndim")?.eq(1)? && view.getattr("format")?.eq("B")?;
    let view = if is_plain { view.into_any() } else { view.call_method1("cast", ("B",))? };
    Ok(Some(view.extract::<pyo3_bytes::PyBytes>()?.into_inner()))
}

/// The bytes of a bytes-like object, which may change afterwards.
///
/// # Errors
/// `TypeError` for what is no bytes-like object.
pub(crate) fn take(data: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let bytes = borrow(data)?
        .ok_or_else(|| PyTypeError::new_err(format!("a bytes-like object is needed, not {}", type_name(data))))?;
    // Nobody can change `bytes`.
    Ok(if data.is_exact_instance_of::<PyBytes>() { bytes } else { Bytes::copy_from_slice(&bytes) })
}

/// The name of an object's type, for errors.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string())
}

/// A new `bytes` object that is filled without the interpreter, and shown to Python when it is full.
pub(crate) struct NewBytes {
    object: Py<PyBytes>,
    start: *mut u8,
    len: usize,
    filled: usize,
}

// SAFETY: nobody else knows the object before `into_object`, so that its memory belongs to whoever has this value.
#[allow(unsafe_code)]
unsafe impl Send for NewBytes {}

impl NewBytes {
    /// A new object of `len` bytes; of none when there is not so much memory.
    pub(crate) fn new(len: usize) -> Self {
        Python::attach(|py| Self::allocate(py, len).unwrap_or_else(|_| Self::empty(py)))
    }

    fn empty(py: Python<'_>) -> Self {
        Self {
            object: PyBytes::new(py, &[]).unbind(),
            start: std::ptr::NonNull::dangling().as_ptr(),
            len: 0,
            filled: 0,
        }
    }

    #[allow(unsafe_code)]
    fn allocate(py: Python<'_>, len: usize) -> PyResult<Self> {
        let size = ffi::Py_ssize_t::try_from(len)?;
        // SAFETY: with a null pointer, Python makes an object whose bytes are for the caller to fill, or answers null with
        // an exception set. They stay where they are while the object lives.
        let object =
            unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size)) }?;
        let start = unsafe { ffi::PyBytes_AsString(object.as_ptr()) };
        Ok(Self { object: object.cast_into::<PyBytes>()?.unbind(), start: start.cast(), len, filled: 0 })
    }

    /// The object, which must be full.
    pub(crate) fn into_object(self) -> Py<PyBytes> {
        assert_eq!(self.filled, self.len, "an object of bytes is full before Python sees it");
        self.object
    }
}

// SAFETY: what `chunk_mut` gives is memory of the object, which lives as long as this value, from the first byte that was
// not filled to the end; `advance_mut` never goes beyond it.
#[allow(unsafe_code)]
unsafe impl BufMut for NewBytes {
    fn remaining_mut(&self) -> usize {
        self.len - self.filled
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        assert!(count <= self.remaining_mut(), "no more bytes than there are");
        self.filled += count;
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        unsafe { UninitSlice::from_raw_parts_mut(self.start.add(self.filled), self.remaining_mut()) }
    }
}
