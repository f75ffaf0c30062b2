//! A get: one operation as a value, and the streams that it gives.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use tracing::Instrument;

use super::content::{Content, Opened};
use super::part::Part;
use super::ranges::{self, MAX_RANGES};
use super::reader::Reader;
use super::report::{Progress, Reporter, Warning};
use super::save::Save;
use super::{Client, Head};
use crate::error::{Error, Result};

/// Bytes that are written to a file at once.
const WRITE_LEN: usize = 1 << 20;
/// How often a get starts over when the file was replaced under it.
const RETRIES: usize = 3;

/// A get that has not started: take its bytes, stream or reader, or save it.
#[derive(Debug, Clone)]
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

    /// All bytes at once. Starts over when the file is replaced meanwhile. [`Bytes`] is that of the crate `bytes`, version 1.
    ///
    /// # Errors
    /// As [`Client::head`]; [`Error::NotEnoughShards`], [`Error::Unrecoverable`], [`Error::Integrity`], [`Error::Superseded`].
    pub async fn bytes(self) -> Result<Bytes> {
        Ok(self.bytes_into(Vec::with_capacity).await?.into())
    }

    /// As [`Get::bytes`], into memory of the caller's: `allocate` is told how many bytes come, and they are appended to what it
    /// gives. When the file is replaced meanwhile, that is dropped, and `allocate` called again. [`BufMut`] is that of the
    /// crate `bytes`, version 1.
    ///
    /// # Errors
    /// As [`Get::bytes`]; [`Error::TooLarge`] when what `allocate` gives has no room for so many bytes.
    pub async fn bytes_into<B: BufMut>(self, mut allocate: impl FnMut(usize) -> B) -> Result<B> {
        for _ in 1..RETRIES {
            match self.clone().collect(&mut allocate).await {
                Err(Error::Superseded { .. }) => {}
                result => return result,
            }
        }
        self.collect(&mut allocate).await
    }

    async fn collect<B: BufMut>(self, allocate: &mut impl FnMut(usize) -> B) -> Result<B> {
        let mut stream = self.stream().await?;
        let size = stream.len();
        let too_large =
            |limit: usize| Error::TooLarge { what: "the file (bytes), for memory", size, limit: limit as u64 };
        let len = usize::try_from(size).map_err(|_| too_large(usize::MAX))?;
        let mut bytes = allocate(len);
        if bytes.remaining_mut() < len {
            return Err(too_large(bytes.remaining_mut()));
        }
        while let Some(piece) = stream.next().await {
            bytes.put(piece?);
        }
        Ok(bytes)
    }

    /// The bytes in order, as they come. Every item was checked; a whole file that does not match its hash ends in an error.
    ///
    /// # Errors
    /// As [`Client::head`]; the stream's items fail like [`Get::bytes`].
    pub async fn stream(self) -> Result<ByteStream> {
        let content = self.open().await?;
        let range = content.clip(self.range);
        Ok(ByteStream { head: content.head(), range: range.clone(), pieces: pieces(content, range, 0) })
    }

    async fn open(&self) -> Result<Arc<Content>> {
        let span = tracing::info_span!("get", file_id = tracing::field::Empty);
        Content::open(&self.client.0, &self.path, &self.reporter).instrument(span).await
    }

    /// A reader that can seek, of the whole file or of the range that was given: position 0 is where that begins.
    /// The bytes are fetched as they are read, and further ahead the longer they are read in order.
    ///
    /// It reads the version that is current now, to its end: when the file is replaced meanwhile and the old shards are gone,
    /// reads fail with [`Error::Superseded`] in an [`std::io::Error`], and never give bytes of another version.
    ///
    /// # Errors
    /// As [`Client::head`].
    pub async fn reader(self) -> Result<Reader> {
        let content = self.open().await?;
        let range = content.clip(self.range);
        Ok(Reader::new(content, range))
    }

    /// Several ranges at once, in the order asked; of each what lies within the file, or within the range that was given before,
    /// from whose beginning they count. Ranges may overlap, touch and be empty: what several share or have close by is
    /// fetched once. Starts over when the file is replaced meanwhile.
    ///
    /// # Errors
    /// As [`Get::bytes`]; [`Error::TooLarge`] for more than 65,536 ranges, or more bytes together than the memory setting.
    pub async fn ranges(self, ranges: impl IntoIterator<Item = Range<u64>>) -> Result<Vec<Bytes>> {
        // One more than may be, to be refused.
        let asked: Vec<Range<u64>> = ranges.into_iter().take(MAX_RANGES + 1).collect();
        for _ in 1..RETRIES {
            match self.fetch_ranges(&asked).await {
                Err(Error::Superseded { .. }) => {}
                result => return result,
            }
        }
        self.fetch_ranges(&asked).await
    }

    async fn fetch_ranges(&self, asked: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let content = self.open().await?;
        let within = content.clip(self.range.clone());
        ranges::fetch(&content, &within, asked).await
    }

    /// Writes the bytes to the local file `to`, which appears, or is replaced, only when it is whole and durable.
    /// Starts over when the file is replaced meanwhile. Await it, or take its events.
    ///
    /// # Errors
    /// As [`Get::bytes`], and [`Error::Io`].
    pub fn save(self, to: impl AsRef<Path>) -> Save {
        let to = to.as_ref().to_owned();
        Save::new(self, to)
    }

    pub(super) fn reporter(&mut self) -> &mut Reporter {
        &mut self.reporter
    }

    pub(super) async fn save_to(self, to: &Path) -> Result<Head> {
        for _ in 1..RETRIES {
            match self.clone().write_to(to).await {
                Err(Error::Superseded { .. }) => {}
                result => return result,
            }
        }
        self.write_to(to).await
    }

    async fn write_to(self, to: &Path) -> Result<Head> {
        loop {
            let content = self.open().await?;
            let range = content.clip(self.range.clone());
            let whole = Some(&*content.manifest).filter(|manifest| range == (0..manifest.size));
            let mut part = Part::open(&self.client.0, to, whole).await?;
            if let Err(error) = fill(&mut part, &content, range).await {
                if !error.is_retryable() || matches!(error, Error::Superseded { .. }) {
                    part.forget().await;
                }
                return Err(error);
            }
            if part.finish(&content.manifest).await? {
                return Ok(content.head());
            }
            // What an earlier save left was not the beginning of this file: once more, from the start.
        }
    }
}

/// Fetches what is missing of `range`.
async fn fill(part: &mut Part, content: &Arc<Content>, range: Range<u64>) -> Result<()> {
    let mut stream = pieces(content.clone(), range.start + part.held()..range.end, part.held());
    loop {
        let mut batch = Vec::new();
        let mut len = 0;
        while len < WRITE_LEN
            && let Some(piece) = stream.next().await
        {
            let piece = piece?;
            len += piece.len();
            batch.push(piece);
        }
        if batch.is_empty() {
            return Ok(());
        }
        part.append(batch).await?;
    }
}

/// The bytes of `range`, piece by piece: windows are fetched ahead, as many as the memory setting allows. `held` bytes
/// before them are there already.
fn pieces(content: Arc<Content>, range: Range<u64>, held: u64) -> BoxStream<'static, Result<Bytes>> {
    let whole = range == (0..content.manifest.size);
    if range.is_empty() && !whole {
        return futures_util::stream::empty().boxed();
    }
    let by_window = content.clone();
    let fetched = futures_util::stream::iter(content.limits.windows(content.segments(&range)))
        .map(move |window| {
            let content = by_window.clone();
            async move { content.window(window).await }
        })
        .buffered(content.limits.ahead);
    let hasher = whole.then(blake3::Hasher::new);
    let pieces = Pieces { content, fetched: fetched.boxed(), ready: VecDeque::new(), hasher, range, held, done: 0 };
    futures_util::stream::try_unfold(Some(pieces), Pieces::next).boxed()
}

/// A content on its way out.
struct Pieces {
    content: Arc<Content>,
    fetched: BoxStream<'static, Result<Opened>>,
    ready: VecDeque<Bytes>,
    /// Of the bytes so far, when all of them are read.
    hasher: Option<blake3::Hasher>,
    range: Range<u64>,
    held: u64,
    done: u64,
}

impl Pieces {
    /// The next piece, and what comes after it; nothing comes after an error.
    async fn next(this: Option<Self>) -> Result<Option<(Bytes, Option<Self>)>> {
        let Some(mut this) = this else { return Ok(None) };
        loop {
            if let Some(piece) = this.ready.pop_front() {
                this.done += piece.len() as u64;
                if let Some(hasher) = &mut this.hasher {
                    hasher.update(&piece);
                }
                let total = this.held + (this.range.end - this.range.start);
                this.content.report(this.held + this.done, total);
                return Ok(Some((piece, Some(this))));
            }
            match this.fetched.next().await {
                Some(opened) => this.ready.extend(opened?.pieces(this.range.clone())),
                None => return this.finish().map(|()| None),
            }
        }
    }

    fn finish(&self) -> Result<()> {
        let manifest = &self.content.manifest;
        if let Some(hasher) = &self.hasher
            && (self.done != manifest.size || *hasher.finalize().as_bytes() != manifest.content_hash)
        {
            return Err(Error::Integrity { what: "the content of the file" });
        }
        Ok(())
    }
}

/// The bytes of a file in order.
pub struct ByteStream {
    head: Head,
    range: Range<u64>,
    pieces: BoxStream<'static, Result<Bytes>>,
}

impl ByteStream {
    /// The file that is read.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Bytes of the whole stream: those of the range that lie within the file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_next_unpin(cx)
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("head", &self.head).field("range", &self.range).finish_non_exhaustive()
    }
}
