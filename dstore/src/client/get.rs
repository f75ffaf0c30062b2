//! A get: one operation as a value.

use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::io::AsyncRead;

use super::report::{Progress, Reporter, Warning};
use super::{Client, Head};
use crate::error::{Error, Result};

/// A get that has not started: take its bytes, stream or reader, or save it.
#[derive(Debug)]
#[must_use = "a get does nothing until its bytes are asked for"]
pub struct Get {
    client: Client,
    path: String,
    range: Option<Range<u64>>,
    reporter: Reporter,
}

impl Get {
    pub(super) fn new(client: Client, path: &str) -> Self {
        Self { client, path: path.to_owned(), range: None, reporter: Reporter::default() }
    }

    /// Only these bytes; what lies beyond the end of the file is left out.
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.range = Some(range);
        self
    }

    /// Calls `call` now and then with how far the get is. It must return soon.
    pub fn progress(mut self, call: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.reporter.on_progress(call);
        self
    }

    /// Calls `call` with what did not stop the get but should be known.
    pub fn warnings(mut self, call: impl Fn(Warning) + Send + Sync + 'static) -> Self {
        self.reporter.on_warning(call);
        self
    }

    /// All bytes at once.
    ///
    /// # Errors
    /// As [`Client::head`]; [`Error::NotEnoughShards`], [`Error::Unrecoverable`], [`Error::Superseded`].
    pub async fn bytes(self) -> Result<Bytes> {
        Err(Error::Internal { what: "not built" })
    }

    /// The bytes in order, as they come. Every item was checked; a whole file that does not match its hash ends in an error.
    ///
    /// # Errors
    /// As [`Client::head`]; the stream's items fail like [`Get::bytes`].
    pub async fn stream(self) -> Result<ByteStream> {
        Err(Error::Internal { what: "not built" })
    }

    /// The bytes in order, as a reader.
    ///
    /// # Errors
    /// As [`Get::stream`].
    pub async fn reader(self) -> Result<Reader> {
        Err(Error::Internal { what: "not built" })
    }

    /// Writes the bytes to the local file `to`, which appears, or is replaced, only when it is whole and durable.
    ///
    /// # Errors
    /// As [`Get::bytes`], and [`Error::Io`].
    pub async fn save(self, to: impl AsRef<Path>) -> Result<Head> {
        let _ = to.as_ref();
        Err(Error::Internal { what: "not built" })
    }
}

/// The bytes of a file in order.
pub struct ByteStream {
    _todo: (),
}

impl ByteStream {
    /// The file that is read.
    #[must_use]
    pub fn head(&self) -> &Head {
        unreachable!()
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

/// The bytes of a file in order.
pub struct Reader {
    _todo: (),
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, _buf: &mut [u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(0))
    }
}
