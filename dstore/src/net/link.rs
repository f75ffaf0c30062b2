//! Messages over an authenticated stream (docs/wire.md section 4).
//!
//! Invariant: every message has an explicit end, so a cut connection is an error and never a shorter message;
//! nothing waits for a peer without a bound.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::LinkError;
use crate::id::NoiseKey;
use crate::merkle::BLOCK_LEN;
use crate::noise::{FrameOpener, FrameSealer, MAX_FRAME_LEN, Session, TAG_LEN};
use crate::proto::{MAX_CONTROL_LEN, Refusal};
use crate::rt::{Rt, Socket};

/// The most data in one frame: three blocks.
pub(crate) const MAX_DATA_LEN: usize = 3 * BLOCK_LEN;
const MAX_CONTROL_PART: usize = MAX_FRAME_LEN - TAG_LEN - 1;
/// In each window of this length, while a message is under way, at least [`MIN_PROGRESS`] bytes arrive, or are taken; a setting of servers.
pub(crate) const PROGRESS_WINDOW: Duration = Duration::from_secs(10);
const MIN_PROGRESS: usize = 64 * 1024;
/// A buffer grows with what arrives, from this to that, so that a quiet connection costs little.
const FIRST_READ_BUFFER: usize = 4 * 1024;
const READ_BUFFER: usize = 128 * 1024;
/// A connection that is quiet for so long between two messages gives its buffers back.
const REST: Duration = Duration::from_secs(1);
/// Frames are gathered to this size before they are written.
const WRITE_BUFFER: usize = 256 * 1024;
/// After so many frames or so long a connection is not used for another request.
const RETIRE_FRAMES: u64 = 1 << 20;
const RETIRE_AGE: Duration = Duration::from_secs(3600);
/// How long what a peer said before it hung up may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The last byte of a frame's plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    ControlPart = 0,
    ControlEnd = 1,
    Data = 2,
    DataEnd = 3,
    Abort = 4,
    Pad = 5,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::ControlPart,
            1 => Self::ControlEnd,
            2 => Self::Data,
            3 => Self::DataEnd,
            4 => Self::Abort,
            5 => Self::Pad,
            _ => return None,
        })
    }
}

/// An authenticated connection.
pub(crate) struct Link {
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
    /// The handshake hash: names this connection alone.
    pub(crate) session: [u8; 32],
    /// The other side's transport key.
    pub(crate) peer: NoiseKey,
    /// The other side's address.
    pub(crate) remote: SocketAddr,
    /// How far the clock of a peer that was dialled was ahead of ours, seconds.
    pub(crate) clock_ahead: f64,
    opened: Duration,
}

impl Link {
    pub(crate) fn new(rt: Rt, socket: Socket, session: Session, peer: NoiseKey) -> Self {
        let hash = session.hash();
        let (sealer, opener) = session.split();
        let opened = rt.uptime();
        Self {
            reader: LinkReader {
                rt: rt.clone(),
                io: socket.reader,
                opener,
                buffer: vec![0; FIRST_READ_BUFFER],
                start: 0,
                end: 0,
                plain: Vec::new(),
                window: PROGRESS_WINDOW,
                body: None,
            },
            writer: LinkWriter {
                rt,
                io: socket.writer,
                sealer,
                out: Vec::new(),
                plain: Vec::new(),
                window: PROGRESS_WINDOW,
            },
            session: hash,
            peer,
            remote: socket.remote,
            clock_ahead: 0.0,
            opened,
        }
    }

    /// Sets the window of the rule of progress, both ways.
    pub(crate) fn with_window(mut self, window: Duration) -> Self {
        (self.reader.window, self.writer.window) = (window, window);
        self
    }

    /// Whether it is too old to be used for another request.
    pub(crate) fn is_retired(&self) -> bool {
        self.writer.sealer.count() > RETIRE_FRAMES || self.reader.rt.uptime().saturating_sub(self.opened) > RETIRE_AGE
    }

    /// Sends one control message and waits at most `wait` for the answer to begin.
    pub(crate) async fn call(&mut self, request: &[u8], limit: usize, wait: Duration) -> Result<Vec<u8>, LinkError> {
        self.writer.control(request);
        match self.writer.flush().await {
            Ok(()) => self.reader.control(limit, wait).await,
            Err(error) => Err(self.last_words(error).await),
        }
    }

    /// A peer that refuses says why before it hangs up: that explains a write that failed with `error`.
    pub(crate) async fn last_words(&mut self, error: LinkError) -> LinkError {
        match self.reader.control(MAX_CONTROL_LEN, LAST_WORDS).await {
            Err(refused @ LinkError::Refused(_)) => refused,
            _ => error,
        }
    }
}

/// A piece of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// More follows.
    More,
    /// That was the last piece.
    End,
}

/// What comes in.
pub(crate) struct LinkReader {
    rt: Rt,
    io: Box<dyn AsyncRead + Send + Sync + Unpin>,
    opener: FrameOpener,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    plain: Vec<u8>,
    window: Duration,
    /// The rule of progress holds for a body as a whole, however many frames it has.
    body: Option<Patience>,
}

/// How long one side may still wait for the other.
struct Patience {
    until: Duration,
    bytes: usize,
    window: Duration,
    /// For a message that has not begun: when the wait for it ends, and how long it was. Nothing extends it.
    deadline: Option<(Duration, Duration)>,
}

impl Patience {
    /// A message is to come within `wait`.
    fn new(now: Duration, wait: Duration, window: Duration) -> Self {
        let end = now.saturating_add(wait);
        Self { until: end, bytes: 0, window, deadline: Some((end, wait)) }
    }

    /// A message is under way already.
    fn begun(now: Duration, window: Duration) -> Self {
        Self { until: now.saturating_add(window), bytes: 0, window, deadline: None }
    }

    /// Between two frames before the message only the deadline counts; a frame that has begun must be whole in a window too.
    fn frame(&mut self, now: Duration, has_begun: bool) {
        if let Some((end, _)) = self.deadline {
            self.until = if has_begun { end.min(now.saturating_add(self.window)) } else { end };
        }
    }

    /// Starts the next window if enough moved in this one.
    fn renew(&mut self, now: Duration) -> bool {
        let enough = self.deadline.is_none() && self.bytes >= MIN_PROGRESS;
        if enough {
            (self.until, self.bytes) = (now.saturating_add(self.window), 0);
        }
        enough
    }

    /// The error when it is at its end.
    fn over(&self) -> LinkError {
        LinkError::Stalled(match self.deadline {
            Some((end, wait)) if self.until == end => wait,
            _ => self.window,
        })
    }
}

impl LinkReader {
    /// The next whole control message, at most `limit` bytes; its first frame is there within `wait`, whatever comes before.
    pub(crate) async fn control(&mut self, limit: usize, wait: Duration) -> Result<Vec<u8>, LinkError> {
        self.body = None;
        let mut message = Vec::new();
        let mut patience = Patience::new(self.rt.uptime(), wait, self.window);
        loop {
            let kind = self.frame(&mut patience, message.is_empty()).await?;
            match kind {
                Kind::ControlPart | Kind::ControlEnd => {
                    if message.len() + self.plain.len() > limit {
                        return Err(LinkError::Protocol("a control message is too long"));
                    }
                    if kind == Kind::ControlPart && self.plain.is_empty() {
                        return Err(LinkError::Protocol("an empty part of a control message"));
                    }
                    if message.is_empty() {
                        patience = Patience::begun(self.rt.uptime(), self.window);
                    }
                    message.extend_from_slice(&self.plain);
                    if kind == Kind::ControlEnd {
                        return Ok(message);
                    }
                }
                Kind::Abort => return Err(self.refusal()),
                Kind::Pad => {}
                Kind::Data | Kind::DataEnd => return Err(LinkError::Protocol("data where a control message is due")),
            }
        }
    }

    /// Appends the next piece of a body to `out`.
    pub(crate) async fn data(&mut self, out: &mut Vec<u8>) -> Result<Body, LinkError> {
        let mut patience = self.body.take().unwrap_or_else(|| Patience::begun(self.rt.uptime(), self.window));
        let kind = self.frame(&mut patience, false).await?;
        if kind != Kind::DataEnd {
            self.body = Some(patience);
        }
        match kind {
            Kind::Data | Kind::DataEnd => {
                if self.plain.len() > MAX_DATA_LEN || (kind == Kind::Data && self.plain.is_empty()) {
                    return Err(LinkError::Protocol("a data frame of the wrong length"));
                }
                out.extend_from_slice(&self.plain);
                Ok(if kind == Kind::Data { Body::More } else { Body::End })
            }
            Kind::Abort => Err(self.refusal()),
            // A paused source says with pads that it is still there.
            Kind::Pad => Ok(Body::More),
            Kind::ControlPart | Kind::ControlEnd => Err(LinkError::Protocol("a control message inside a body")),
        }
    }

    fn refusal(&self) -> LinkError {
        match self.plain.as_slice().try_into() {
            Ok(code) => LinkError::Refused(Refusal::from(u16::from_be_bytes(code))),
            Err(_) => LinkError::Protocol("an abort without a code"),
        }
    }

    /// Opens the next frame into `plain`, without its kind.
    async fn frame(&mut self, patience: &mut Patience, between: bool) -> Result<Kind, LinkError> {
        let has_begun = self.start != self.end;
        patience.frame(self.rt.uptime(), has_begun);
        self.fill(2, patience, between && !has_begun).await?;
        let len = usize::from(u16::from_be_bytes([self.buffer[self.start], self.buffer[self.start + 1]]));
        if len <= TAG_LEN {
            return Err(LinkError::Protocol("a frame without a kind"));
        }
        self.fill(2 + len, patience, false).await?;
        let frame = &self.buffer[self.start + 2..self.start + 2 + len];
        self.opener.open(frame, &mut self.plain).map_err(|_| LinkError::Protocol("a frame does not open"))?;
        self.start += 2 + len;
        self.plain.pop().and_then(Kind::parse).ok_or(LinkError::Protocol("a frame of an unknown kind"))
    }

    /// Reads until `need` bytes are there.
    async fn fill(&mut self, need: usize, patience: &mut Patience, mut between: bool) -> Result<(), LinkError> {
        if self.buffer.len() - self.start < need {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < need {
            let now = self.rt.uptime();
            if now >= patience.until && !patience.renew(now) {
                return Err(patience.over());
            }
            let mut left = patience.until.saturating_sub(now);
            let rests = between && self.buffer.len() + self.plain.capacity() > 2 * FIRST_READ_BUFFER;
            if rests {
                left = left.min(REST);
            }
            let read = self.rt.timeout(left, self.io.read(&mut self.buffer[self.end..])).await;
            match read {
                Ok(Ok(0)) if between => return Err(LinkError::Closed),
                Ok(Ok(0)) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                Ok(Ok(count)) => {
                    if between {
                        patience.frame(self.rt.uptime(), true);
                        between = false;
                    }
                    self.end += count;
                    patience.bytes += count;
                    if self.end == self.buffer.len() {
                        self.buffer.resize(READ_BUFFER.min(2 * self.end).max(self.end), 0);
                    }
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_) if rests => {
                    (self.buffer, self.plain) = (vec![0; FIRST_READ_BUFFER], Vec::new());
                    (self.start, self.end) = (0, 0);
                }
                // The window is over: the next turn judges it.
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// What goes out. Messages gather until [`LinkWriter::flush`].
pub(crate) struct LinkWriter {
    rt: Rt,
    io: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    sealer: FrameSealer,
    out: Vec<u8>,
    plain: Vec<u8>,
    window: Duration,
}

impl LinkWriter {
    /// Adds one control message.
    pub(crate) fn control(&mut self, message: &[u8]) {
        let mut parts = message.chunks(MAX_CONTROL_PART).peekable();
        if parts.peek().is_none() {
            self.frame(&[], Kind::ControlEnd);
        }
        while let Some(part) = parts.next() {
            self.frame(&[part], if parts.peek().is_some() { Kind::ControlPart } else { Kind::ControlEnd });
        }
    }

    /// Adds one data frame made of `pieces`, at most [`MAX_DATA_LEN`] bytes together.
    pub(crate) fn data(&mut self, pieces: &[&[u8]], body: Body) {
        self.frame(pieces, if body == Body::End { Kind::DataEnd } else { Kind::Data });
    }

    /// Adds a whole body.
    pub(crate) async fn body(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let mut pieces = bytes.chunks(MAX_DATA_LEN).peekable();
        if pieces.peek().is_none() {
            self.data(&[], Body::End);
        }
        while let Some(piece) = pieces.next() {
            self.data(&[piece], if pieces.peek().is_some() { Body::More } else { Body::End });
            self.flush_if_full().await?;
        }
        Ok(())
    }

    /// Adds a refusal, in place of an answer or of the rest of a body.
    pub(crate) fn abort(&mut self, refusal: Refusal) {
        self.frame(&[&u16::from(refusal).to_be_bytes()], Kind::Abort);
    }

    /// Adds a frame that says only that this side is still there; inside a body it counts as progress.
    pub(crate) fn pad(&mut self) {
        self.frame(&[&[0; MAX_DATA_LEN]], Kind::Pad);
    }

    fn frame(&mut self, pieces: &[&[u8]], kind: Kind) {
        self.plain.clear();
        pieces.iter().for_each(|piece| self.plain.extend_from_slice(piece));
        self.plain.push(kind as u8);
        self.sealer.seal(&self.plain, &mut self.out);
    }

    /// Writes once enough has gathered.
    pub(crate) async fn flush_if_full(&mut self) -> Result<(), LinkError> {
        if self.out.len() + MAX_FRAME_LEN > WRITE_BUFFER { self.flush().await } else { Ok(()) }
    }

    /// Writes everything that was added. In each window the peer takes [`MIN_PROGRESS`] bytes, or all that is left.
    pub(crate) async fn flush(&mut self) -> Result<(), LinkError> {
        let mut patience = Patience::begun(self.rt.uptime(), self.window);
        let mut written = 0;
        while written < self.out.len() {
            let left = patience.until.saturating_sub(self.rt.uptime());
            match self.rt.timeout(left, self.io.write(&self.out[written..])).await {
                Ok(Ok(0)) => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
                Ok(Ok(count)) => {
                    written += count;
                    patience.bytes += count;
                }
                Ok(Err(error)) => return Err(error.into()),
                // The window is over: it is judged below.
                Err(_) => {}
            }
            let now = self.rt.uptime();
            if written < self.out.len() && now >= patience.until && !patience.renew(now) {
                return Err(patience.over());
            }
        }
        self.out.clear();
        Ok(())
    }

    /// Gives the buffers back when nothing was sent for a while. To be dropped when there is something to send.
    pub(crate) async fn rest(&mut self) {
        self.rt.sleep(REST).await;
        if self.out.is_empty() {
            (self.out, self.plain) = (Vec::new(), Vec::new());
        }
    }
}

#[cfg(test)]
mod tests;
