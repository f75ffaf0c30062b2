//! A file as `AsyncRead` and `AsyncSeek`: fetched as it is read, further ahead the longer it is read in order.
//!
//! Invariant: what is held and under way stays within the memory setting, and all of it is of one version.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncSeek, SeekFrom};

use super::Head;
use super::content::{Content, Opened};
use super::gather::Window;
use crate::error::{Error, Result};
use crate::rt::BoxFuture;

/// How many times further ahead is fetched when a window was read to its end.
const GROWTH: u64 = 4;

/// A file, or a range of one, that can be read from any position; [`Get::reader`](super::Get::reader) makes one.
///
/// A read fetches the stripes that it needs, 64 KiB each; while one read follows another, four times as much ahead each time,
/// up to the memory setting. A seek costs nothing by itself, and nothing at all within what is there already; beyond that,
/// reading ahead begins anew. A whole file that is read in order from its beginning to its end is compared with its hash.
/// For several places at once open several readers.
pub struct Reader {
    head: Head,
    content: Arc<Content>,
    /// What can be read, in the file.
    range: Range<u64>,
    /// Where the next byte is read, from the start of the range.
    position: u64,
    /// Windows one after another, around the position.
    runs: VecDeque<Run>,
    /// How many segments from the position on are asked for.
    ahead: u64,
    /// Of all bytes so far, while none was left out.
    hasher: Option<blake3::Hasher>,
    hashed: u64,
}

struct Run {
    window: Window,
    state: State,
}

enum State {
    Fetching(BoxFuture<'static, Result<Opened>>),
    Here(Opened),
}

impl Run {
    fn end(&self) -> u64 {
        self.window.first + self.window.count
    }
}

impl Reader {
    pub(super) fn new(content: Arc<Content>, range: Range<u64>) -> Self {
        let hasher = (range == (0..content.manifest.size)).then(blake3::Hasher::new);
        Self { head: content.head(), content, range, position: 0, runs: VecDeque::new(), ahead: 0, hasher, hashed: 0 }
    }

    /// The file that is read.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Bytes that can be read: of the file, or of the range that was asked for as far as it lies in the file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Where the next byte is read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Asks for what a read of `len` bytes needs, and for what reading on will.
    fn ask(&mut self, len: usize) {
        let at = self.range.start + self.position;
        let segment = at / self.content.segment;
        let last = self.content.segments(&self.range).end;
        let passed = self.runs.iter().take_while(|run| run.end() <= segment).count();
        if passed > 0 {
            self.runs.drain(..passed);
            self.ahead = (self.ahead * GROWTH).min(self.content.limits.window * self.content.limits.ahead as u64);
        }
        if self.runs.front().is_none_or(|run| run.window.first > segment) {
            self.runs.clear();
            let needed = self.content.segments(&(at..at.saturating_add(len as u64).min(self.range.end)));
            self.ahead = (needed.end - needed.start).min(self.content.limits.window);
        }
        let asked = self.runs.back().map_or(segment, Run::end);
        let wanted = (segment + self.ahead).min(last);
        // Not a sliver with each segment that is read: a window, or all that is ahead when that is less.
        let step = self.ahead.div_ceil(2).min(self.content.limits.window);
        if asked < wanted && (self.runs.is_empty() || wanted - asked >= step || wanted == last) {
            for window in self.content.limits.windows(asked..wanted) {
                let content = self.content.clone();
                let state = State::Fetching(Box::pin(async move { content.window(window).await }));
                self.runs.push_back(Run { window, state });
            }
        }
    }

    /// Moves on whatever is under way; ready when the window at the position is there.
    fn poll_runs(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        for run in &mut self.runs {
            if let State::Fetching(fetching) = &mut run.state
                && let Poll::Ready(opened) = fetching.as_mut().poll(cx)
            {
                match opened {
                    Ok(opened) => run.state = State::Here(opened),
                    Err(error) => {
                        // Another read tries again.
                        self.runs.clear();
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
        match self.runs.front() {
            Some(Run { state: State::Here(_), .. }) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// At the end: whether a file that was read whole is what it should be.
    fn check(&mut self) -> Result<()> {
        let Some(hasher) = &self.hasher else { return Ok(()) };
        let manifest = &self.content.manifest;
        if self.hashed == manifest.size && *hasher.finalize().as_bytes() != manifest.content_hash {
            return Err(Error::Integrity { what: "the content of the file" });
        }
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Some(hasher) if self.hashed == self.position => {
                hasher.update(bytes);
                self.hashed += bytes.len() as u64;
            }
            // Read again, or out of order: it cannot be the whole in order any more.
            hasher => *hasher = None,
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.position >= this.len() {
            return Poll::Ready(this.check().map(|()| 0).map_err(Into::into));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.ask(buf.len());
        std::task::ready!(this.poll_runs(cx))?;
        let Some(Run { state: State::Here(opened), .. }) = this.runs.front() else { return Poll::Pending };
        let at = this.range.start + this.position;
        let there = opened.at(at);
        let left = usize::try_from(this.range.end - at).unwrap_or(usize::MAX);
        let count = buf.len().min(there.len()).min(left);
        buf[..count].copy_from_slice(&there[..count]);
        this.hash(&buf[..count]);
        this.position += count as u64;
        this.content.report(this.position, this.len());
        Poll::Ready(Ok(count))
    }
}

impl AsyncSeek for Reader {
    /// Beyond the end is allowed, as for files: reads there give nothing. Before the beginning is an error.
    fn poll_seek(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: SeekFrom) -> Poll<io::Result<u64>> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
        };
        let Some(target) = target else { return Poll::Ready(Err(io::ErrorKind::InvalidInput.into())) };
        self.position = target;
        Poll::Ready(Ok(target))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("head", &self.head)
            .field("range", &self.range)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
