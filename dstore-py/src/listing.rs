//! The files of a listing, some at a time: `dstore.Listing` is over it.

use std::sync::{Arc, Mutex, PoisonError};

use dstore::{Error, Head, Result};
use futures_lite::StreamExt;
use futures_lite::future::poll_once;
use futures_util::stream::BoxStream;
use pyo3::prelude::*;

use crate::{error, run};

/// Files that are handed over at once, when they are there.
const BATCH: usize = 64;

struct Heads {
    stream: BoxStream<'static, Result<Head>>,
    /// What came after files that were still to be handed over.
    failed: Option<Error>,
}

/// Taken out while somebody reads, as for [`ByteBatches`](crate::get::ByteBatches).
type SharedHeads = Arc<Mutex<Option<Heads>>>;

/// Files, some at a time: `Listing` is over it.
#[pyclass(frozen, module = "dstore._dstore")]
pub(crate) struct HeadBatches(SharedHeads);

impl HeadBatches {
    pub(crate) fn new(stream: BoxStream<'static, Result<Head>>) -> Self {
        Self(Arc::new(Mutex::new(Some(Heads { stream, failed: None }))))
    }
}

#[pymethods]
impl HeadBatches {
    /// The next files; none at the end.
    fn next_batch(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, next_batch(self.0.clone()))
    }

    /// `next_batch`, for asyncio.
    fn next_batch_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, next_batch(self.0.clone()))
    }
}

/// The next files; none at the end.
async fn next_batch(shared: SharedHeads) -> Result<Vec<Head>> {
    let taken = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    let interrupted = || error::interrupted("the listing was interrupted, or another thread reads it: begin again");
    let mut heads = taken.ok_or_else(interrupted)?;
    if let Some(error) = heads.failed.take() {
        return Err(error);
    }
    let mut batch = Vec::new();
    let mut next = heads.stream.next().await;
    while let Some(head) = next {
        match head {
            Ok(head) => batch.push(head),
            Err(error) if batch.is_empty() => return Err(error),
            Err(error) => {
                heads.failed = Some(error);
                break;
            }
        }
        if batch.len() >= BATCH {
            break;
        }
        next = match poll_once(heads.stream.next()).await {
            Some(next) => next,
            None => break,
        };
    }
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(heads);
    Ok(batch)
}
