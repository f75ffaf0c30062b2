//! What a server counts of its connections, whatever they are about.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};

use crate::metrics::{Counter, Sheet, Tally};
use crate::noise::HandshakeError;
use crate::rt::Socket;

/// Counters of one server.
#[derive(Debug, Clone)]
pub(crate) struct ServerCounts {
    pub(super) accepted: Counter,
    pub(super) refused: Tally,
    pub(super) handshakes_failed: Tally,
    received: Counter,
    sent: Counter,
}

impl ServerCounts {
    pub(crate) fn new(sheet: &mut Sheet) -> Self {
        let reasons = ("reason", &["limit", "key_limit"][..]);
        let causes = (
            "cause",
            &["wrong_key_or_network", "version", "suite", "role", "busy", "not_dstore", "broken", "timeout"][..],
        );
        Self {
            accepted: sheet.counter("connections", "Connections whose handshake succeeded"),
            refused: sheet.tally(
                "connections_refused",
                "Connections refused at a limit of docs/wire.md section 9: `limit` before the handshake, `key_limit` one \
                 client with too many. Steady growth is an attack, or limits that are too low",
                reasons,
            ),
            handshakes_failed: sheet.tally(
                "handshakes_failed",
                "Handshakes that failed. `wrong_key_or_network`: peers with an old address or another --network; \
                 `not_dstore`, `broken` and `timeout`: scanners, or a proxy in between",
                causes,
            ),
            received: sheet.counter("received_bytes", "Bytes received, handshakes included"),
            sent: sheet.counter("sent_bytes", "Bytes sent, handshakes included"),
        }
    }

    /// The same stream, with its bytes counted.
    pub(super) fn count(&self, socket: Socket) -> Socket {
        let Socket { reader, writer, remote } = socket;
        let reader = Box::new(Counted { stream: reader, bytes: self.received.clone() });
        let writer = Box::new(Counted { stream: writer, bytes: self.sent.clone() });
        Socket { reader, writer, remote }
    }
}

impl Default for ServerCounts {
    fn default() -> Self {
        Self::new(&mut Sheet::new("unread"))
    }
}

/// The word for why a handshake failed.
pub(super) fn cause(error: &HandshakeError) -> &'static str {
    match error {
        HandshakeError::KeyOrNetwork => "wrong_key_or_network",
        HandshakeError::Version { .. } => "version",
        HandshakeError::Suite => "suite",
        HandshakeError::Role => "role",
        HandshakeError::Busy => "busy",
        HandshakeError::NotOurs => "not_dstore",
    }
}

struct Counted<S> {
    stream: S,
    bytes: Counter,
}

impl<S> Counted<S> {
    fn note(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = polled {
            self.bytes.inc_by(count as u64);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        self.note(polled)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_read_vectored(cx, into);
        self.note(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
