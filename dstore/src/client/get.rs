//! A get: one operation as a value, and the streams that it gives.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::io::AsyncRead;
use futures_util::stream::{BoxStream, IntoAsyncRead};
use futures_util::{Stream, StreamExt, TryStreamExt};
use tracing::Instrument;

use super::gather::{Gather, Window};
use super::report::{Progress, Reporter, Warning};
use super::save::Save;
use super::slot::Slot;
use super::{Client, Head, Shared};
use crate::error::{Error, FaultKind, Result};
use crate::manifest::Manifest;
use crate::path::FilePath;
use crate::proto::MAX_LEASE;
use crate::seal::Plaintext;

/// Plaintext bytes of a window: what is fetched and opened together.
const WINDOW_LEN: usize = 2 << 20;
/// What a window costs while it is under way, in windows: its blocks, its slots, and what is held until its turn.
const WINDOW_COST: usize = 3;
/// Bytes that are written to a file at once.
const WRITE_LEN: usize = 1 << 20;
/// A file that is read gets new leases when less than two thirds of one are left.
const RENEW_BELOW: Duration = Duration::from_secs(MAX_LEASE.as_secs() * 2 / 3);
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

    /// All bytes at once. Starts over when the file is replaced meanwhile.
    ///
    /// # Errors
    /// As [`Client::head`]; [`Error::NotEnoughShards`], [`Error::Unrecoverable`], [`Error::Integrity`], [`Error::Superseded`].
    pub async fn bytes(self) -> Result<Bytes> {
        for _ in 1..RETRIES {
            match self.clone().collect().await {
                Err(Error::Superseded { .. }) => {}
                result => return result,
            }
        }
        self.collect().await
    }

    async fn collect(self) -> Result<Bytes> {
        let mut stream = self.stream().await?;
        let len = usize::try_from(stream.len()).map_err(|_| Error::TooLarge {
            what: "the file (bytes), for memory",
            size: stream.len(),
            limit: usize::MAX as u64,
        })?;
        let mut bytes = Vec::with_capacity(len);
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes.into())
    }

    /// The bytes in order, as they come. Every item was checked; a whole file that does not match its hash ends in an error.
    ///
    /// # Errors
    /// As [`Client::head`]; the stream's items fail like [`Get::bytes`].
    pub async fn stream(self) -> Result<ByteStream> {
        let span = tracing::info_span!("get", file_id = tracing::field::Empty);
        self.open().instrument(span).await
    }

    async fn open(self) -> Result<ByteStream> {
        let client = self.client.0;
        let slot = Slot::read(&client, FilePath::new(self.path)?).await?;
        let manifest = slot.manifest(&client)?;
        let head = Head::new(slot.file_id, slot.version(), &manifest);
        let wanted = self.range.unwrap_or(0..manifest.size);
        let end = wanted.end.min(manifest.size);
        let range = wanted.start.min(end)..end;
        tracing::debug!(version = slot.version(), bytes = range.end - range.start, "a version to read was found");
        let pieces = pieces(&client, manifest, &slot, range.clone(), self.reporter);
        Ok(ByteStream { head, range, pieces })
    }

    /// The bytes in order, as a reader.
    ///
    /// # Errors
    /// As [`Get::stream`].
    pub async fn reader(self) -> Result<Reader> {
        let stream = self.stream().await?;
        let head = stream.head.clone();
        let pieces: BoxStream<'static, std::io::Result<Bytes>> = stream.map_err(std::io::Error::from).boxed();
        Ok(Reader { head, pieces: pieces.into_async_read() })
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
        let rt = self.client.0.rt.clone();
        let mut stream = self.stream().await?;
        let failed = |error| Error::io(format!("cannot write {}", to.display()), error);
        let folder = folder_of(to);
        let in_folder = folder.clone();
        let mut file = rt.blocking(move || tempfile::NamedTempFile::new_in(in_folder)).await.map_err(failed)?;
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
                break;
            }
            let written = rt.blocking(move || {
                let result = batch.iter().try_for_each(|piece| file.write_all(piece));
                (file, result)
            });
            let (back, result) = written.await;
            file = back;
            result.map_err(failed)?;
        }
        let target = to.to_owned();
        rt.blocking(move || persist(file, &target, &folder)).await.map_err(failed)?;
        Ok(stream.head)
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn persist(file: tempfile::NamedTempFile, to: &Path, folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is private; what a user saves has the rights of the file that it replaces, or the usual ones.
        let mode = std::fs::metadata(to).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    file.as_file().sync_all()?;
    file.persist(to).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

/// The windows that cover the segments `first..end`.
fn windows(first: u64, end: u64, window: u64) -> impl Iterator<Item = Window> {
    let step = usize::try_from(window).unwrap_or(usize::MAX);
    (first..end).step_by(step).map(move |first| Window { first, count: window.min(end - first) })
}

/// The bytes of `range`, piece by piece: windows are fetched ahead, as many as the memory setting allows.
fn pieces(
    client: &Arc<Shared>,
    manifest: Manifest,
    slot: &Slot,
    range: Range<u64>,
    reporter: Reporter,
) -> BoxStream<'static, Result<Bytes>> {
    let whole = range == (0..manifest.size);
    if range.is_empty() && !whole {
        return futures_util::stream::empty().boxed();
    }
    let segment = manifest.scheme.segment_len() as u64;
    let first = range.start / segment;
    let end = range.end.div_ceil(segment).max(first + 1);
    let window = (WINDOW_LEN as u64 / segment).max(1);
    let ahead = (client.settings.memory / (WINDOW_COST * WINDOW_LEN)).max(2);
    let gather = Arc::new(Gather::new(client, &manifest, reporter.clone()));
    let by_window = gather.clone();
    let fetched = futures_util::stream::iter(windows(first, end, window))
        .map(move |window| {
            let gather = by_window.clone();
            async move { (window, gather.window(window).await) }
        })
        .buffered(ahead);
    let pieces = Pieces {
        client: client.clone(),
        slot: slot.clone(),
        gather,
        fetched: fetched.boxed(),
        ready: VecDeque::new(),
        hasher: whole.then(blake3::Hasher::new),
        started: client.rt.uptime(),
        done: 0,
        segment,
        range,
        manifest,
        reporter,
    };
    futures_util::stream::try_unfold(Some(pieces), Pieces::next).boxed()
}

/// A content on its way out.
struct Pieces {
    client: Arc<Shared>,
    slot: Slot,
    manifest: Manifest,
    gather: Arc<Gather>,
    reporter: Reporter,
    fetched: BoxStream<'static, (Window, Result<Plaintext>)>,
    ready: VecDeque<Bytes>,
    /// Of the bytes so far, when all of them are read.
    hasher: Option<blake3::Hasher>,
    range: Range<u64>,
    segment: u64,
    done: u64,
    started: Duration,
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
                this.report();
                return Ok(Some((piece, Some(this))));
            }
            match this.fetched.next().await {
                Some((window, Ok(plain))) => this.cut(window, plain),
                Some((_, Err(error))) => return Err(explain(&this.client, &this.slot, error).await),
                None => return this.finish().map(|()| None),
            }
        }
    }

    /// Takes the part of a window that was asked for.
    fn cut(&mut self, window: Window, plain: Plaintext) {
        let texts: Vec<Range<usize>> = (0..plain.count()).map(|at| plain.text_range(at)).collect();
        let bytes = Bytes::from(plain.into_bytes());
        for (text, index) in texts.into_iter().zip(window.first..) {
            let offset = index * self.segment;
            let clip = |position: u64| {
                usize::try_from(position.saturating_sub(offset)).map_or(text.len(), |at| at.min(text.len()))
            };
            let wanted = text.start + clip(self.range.start)..text.start + clip(self.range.end);
            if !wanted.is_empty() {
                self.ready.push_back(bytes.slice(wanted));
            }
        }
    }

    fn report(&self) {
        let elapsed = self.client.rt.uptime().saturating_sub(self.started);
        let total = Some(self.range.end - self.range.start);
        let progress = Progress { bytes_done: self.done, bytes_durable: self.done, bytes_total: total, elapsed };
        self.reporter.progress(progress);
    }

    fn finish(&self) -> Result<()> {
        if let Some(hasher) = &self.hasher
            && (self.done != self.manifest.size || *hasher.finalize().as_bytes() != self.manifest.content_hash)
        {
            return Err(Error::Integrity { what: "the content of the file" });
        }
        if self.gather.lease_until().is_some_and(|until| until < self.client.rt.now().after(RENEW_BELOW)) {
            self.client.renew(self.manifest.clone());
            self.client.renew_copies(&self.slot, &self.manifest);
        }
        Ok(())
    }
}

/// A shard that is gone may be one of a version that was replaced meanwhile.
async fn explain(client: &Shared, slot: &Slot, error: Error) -> Error {
    let faults = match &error {
        Error::NotEnoughShards { missing, .. } => missing,
        Error::Unrecoverable { faults, .. } => faults,
        _ => return error,
    };
    if !faults.iter().any(|fault| fault.kind == FaultKind::Missing) {
        return error;
    }
    match Slot::read(client, slot.path.clone()).await {
        Ok(now) if now.version() != slot.version() => Error::Superseded { path: now.path.to_string() },
        _ => error,
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

/// The bytes of a file in order, for `AsyncRead`.
pub struct Reader {
    head: Head,
    pieces: IntoAsyncRead<BoxStream<'static, std::io::Result<Bytes>>>,
}

impl Reader {
    /// The file that is read.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.pieces).poll_read(cx, buf)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("head", &self.head).finish_non_exhaustive()
    }
}
