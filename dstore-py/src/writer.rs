//! A stream of pieces that is stored when it is finished: `dstore.Writer`, and puts of iterators, are over it.
//!
//! Invariant: nothing is stored unless `finish` was asked for and reached: whatever else ends a writer, the put fails.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender};
use bytes::{Bytes, BytesMut};
use dstore::rt::{BoxFuture, Env};
use dstore::{Client, Committed, Error, Result, Source};
use futures_util::TryStreamExt;
use futures_util::future::{AbortHandle, abortable};
use futures_util::stream::try_unfold;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::report::Report;
use crate::run::{self, ENV};
use crate::transfer::PutOptions;
use crate::{buffer, error, gate};

/// Pieces that wait for the put. Together with what it reads ahead itself, this is all that a writer holds.
const WAITING: usize = 4;
/// Smaller pieces are put together.
const SMALL: usize = 64 << 10;
/// Larger ones are sent in parts of this length, each of them a part of the same memory.
const LARGE: usize = 1 << 20;

enum Piece {
    Bytes(Bytes),
    End,
}

/// A put that is written to: `Writer` is over it.
#[pyclass(frozen, module = "dstore._dstore")]
pub(crate) struct RawWriter {
    pieces: Mutex<Pieces>,
    result: Receiver<Result<Committed>>,
    put: AbortHandle,
    report: Arc<Report>,
}

struct Pieces {
    sender: Sender<Piece>,
    /// Small pieces, put together.
    small: BytesMut,
    /// The put, until there is something to send: a client makes few puts at once, and this one would hold up others.
    waiting: Option<BoxFuture<'static, ()>>,
}

impl RawWriter {
    pub(crate) fn start(py: Python<'_>, client: Client, path: &str, options: PutOptions) -> PyResult<Self> {
        let pass = gate::enter(py)?;
        let (sender, receiver) = async_channel::bounded(WAITING);
        let (tell, result) = async_channel::bounded(1);
        let report = options.report.clone();
        let put = options.apply(client.put(path, Source::reader(Box::pin(read(receiver)))));
        let (put, handle) = abortable(put.into_future());
        let waiting: BoxFuture<'static, ()> = Box::pin(async move {
            let closing = async {
                gate::closing().await;
                Err(futures_util::future::Aborted)
            };
            if let Ok(result) = futures_lite::future::or(put, closing).await {
                let _ = tell.send(result).await;
            }
            drop(pass);
        });
        let pieces = Mutex::new(Pieces { sender, small: BytesMut::new(), waiting: Some(waiting) });
        Ok(Self { pieces, result, put: handle, report })
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `bytes`, when they and what waits are enough to be sent.
    fn sending(&self, bytes: Bytes) -> impl Future<Output = Result<()>> + Send + 'static {
        let mut pieces = self.pieces();
        let mut ready = Vec::new();
        if bytes.len() < SMALL {
            pieces.small.extend_from_slice(&bytes);
        }
        if bytes.len() >= SMALL || pieces.small.len() >= SMALL {
            ready.extend(pieces.take_small());
        }
        if bytes.len() >= SMALL {
            let starts = (0..bytes.len()).step_by(LARGE);
            ready.extend(starts.map(|start| Piece::Bytes(bytes.slice(start..bytes.len().min(start + LARGE)))));
        }
        if !ready.is_empty() {
            pieces.begin();
        }
        let (sender, result, guard) = (pieces.sender.clone(), self.result.clone(), Guard(Some(self.put.clone())));
        let is_dead = self.put.is_aborted();
        async move {
            if is_dead {
                return Err(discarded());
            }
            let sent = send(&sender, ready, &result).await;
            // After a failure, nothing more can be written all the same.
            guard.disarm();
            sent
        }
    }

    fn finishing(&self) -> impl Future<Output = Result<Committed>> + Send + 'static {
        let mut pieces = self.pieces();
        let mut ready: Vec<Piece> = pieces.take_small().into_iter().collect();
        ready.push(Piece::End);
        pieces.begin();
        let (sender, result, guard) = (pieces.sender.clone(), self.result.clone(), Guard(Some(self.put.clone())));
        async move {
            send(&sender, ready, &result).await?;
            let committed = result.recv().await.map_err(|_| discarded())?;
            guard.disarm();
            committed
        }
    }

    fn discarding(&self) -> impl Future<Output = Result<()>> + Send + 'static {
        self.put.abort();
        drop(self.pieces().waiting.take());
        let result = self.result.clone();
        async move {
            // Ready when the put is gone: until then it might hold memory of the caller's.
            while result.recv().await.is_ok() {}
            Ok(())
        }
    }
}

impl Pieces {
    /// Starts the put, unless that was done.
    fn begin(&mut self) {
        if let Some(put) = self.waiting.take() {
            ENV.spawn(put);
        }
    }

    fn take_small(&mut self) -> Option<Piece> {
        (!self.small.is_empty()).then(|| Piece::Bytes(self.small.split().freeze()))
    }
}

/// What a caller wrote, as a reader. It ends well only with [`Piece::End`].
fn read(pieces: Receiver<Piece>) -> impl futures_util::AsyncRead + Send {
    let bytes = try_unfold(pieces, |pieces| async move {
        match pieces.recv().await {
            Ok(Piece::Bytes(bytes)) => Ok(Some((bytes, pieces))),
            Ok(Piece::End) => Ok(None),
            Err(_) => Err(io::Error::new(io::ErrorKind::Interrupted, "the writer was given up")),
        }
    });
    Box::pin(bytes).into_async_read()
}

async fn send(sender: &Sender<Piece>, ready: Vec<Piece>, result: &Receiver<Result<Committed>>) -> Result<()> {
    for piece in ready {
        if sender.send(piece).await.is_err() {
            // The put has ended before its source has.
            return match result.recv().await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(_)) => Err(Error::Internal { what: "a put reads its source to the end" }),
                Err(_) => Err(discarded()),
            };
        }
    }
    Ok(())
}

fn discarded() -> Error {
    error::interrupted("this writer has failed, or was discarded: nothing was stored")
}

/// Ends the put when a wait for it is cancelled: what had been sent of a piece by then, nobody knows.
struct Guard(Option<AbortHandle>);

impl Guard {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(put) = &self.0 {
            put.abort();
        }
    }
}

impl Drop for RawWriter {
    fn drop(&mut self) {
        self.put.abort();
    }
}

#[pymethods]
impl RawWriter {
    /// Takes all of `data`; says how many bytes that is.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let bytes = buffer::take(data)?;
        let len = bytes.len();
        run::block_with(py, &self.report, self.sending(bytes))?;
        Ok(len)
    }

    /// `write`, for asyncio.
    fn write_async(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let bytes = buffer::take(data)?;
        let len = bytes.len() as u64;
        let sending = self.sending(bytes);
        run::spawn_with(py, &self.report, async move { sending.await.map(|()| len) })
    }

    /// Stores what was written.
    fn finish(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block_with(py, &self.report, self.finishing())
    }

    /// `finish`, for asyncio.
    fn finish_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn_with(py, &self.report, self.finishing())
    }

    /// `discard`, without waiting.
    fn abandon(&self) {
        self.put.abort();
        drop(self.pieces().waiting.take());
    }

    // A listener may hold the writer that it listens to: without this, nobody would find that nobody else does.
    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        self.report.traverse(&visit)
    }

    /// Stores nothing, and waits until the put is gone.
    fn discard(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::block(py, self.discarding())
    }

    /// `discard`, for asyncio.
    fn discard_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run::spawn(py, self.discarding())
    }
}
