//! Byte streams between hosts.
//!
//! Invariant: bytes arrive in order and at the time that their link says, and a direction holds a bounded number of them.

mod port;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncWrite};

use super::clock::TimerId;
use super::host::host_of;
use super::world::World;
use crate::rt::Socket;

pub(super) use port::{dial, listen};

/// Bytes that a direction holds, on their way or not read yet, before its writer waits.
const WINDOW: usize = 4 * 1024 * 1024;

/// Every stream and listener.
#[derive(Default)]
pub(super) struct Streams {
    pipes: BTreeMap<u64, Pipe>,
    next_pipe: u64,
    ears: BTreeMap<SocketAddr, Ear>,
    next_port: u16,
    /// Those who dial somebody that cannot be reached now.
    dialling: Vec<Waker>,
}

/// One direction of a stream.
struct Pipe {
    from: usize,
    to: usize,
    pieces: VecDeque<Piece>,
    held: usize,
    last_arrival: Duration,
    reset: bool,
    ended: bool,
    /// Ends that are still held: reader and writer.
    open: [bool; 2],
    reader: Option<Waker>,
    writer: Option<Waker>,
    timer: Option<TimerId>,
}

/// Bytes that arrive together; none: the end.
struct Piece {
    arrives: Duration,
    bytes: Vec<u8>,
    taken: usize,
}

#[derive(Default)]
struct Ear {
    queue: VecDeque<Accepted>,
    waker: Option<Waker>,
}

struct Accepted {
    incoming: u64,
    outgoing: u64,
    remote: SocketAddr,
}

impl Pipe {
    fn break_off(&mut self) -> [Option<Waker>; 2] {
        self.reset = true;
        self.pieces.clear();
        self.held = 0;
        [self.reader.take(), self.writer.take()]
    }
}

impl Streams {
    fn open(&mut self, from: usize, to: usize) -> u64 {
        self.next_pipe += 1;
        let pipe = Pipe {
            from,
            to,
            pieces: VecDeque::new(),
            held: 0,
            last_arrival: Duration::ZERO,
            reset: false,
            ended: false,
            open: [true; 2],
            reader: None,
            writer: None,
            timer: None,
        };
        self.pipes.insert(self.next_pipe, pipe);
        self.next_pipe
    }

    fn cut(&mut self, hit: impl Fn(&Pipe) -> bool) -> Vec<Waker> {
        self.pipes.values_mut().filter(|pipe| hit(pipe)).flat_map(Pipe::break_off).flatten().collect()
    }

    /// Resets every stream of a host, and closes its listeners; answers whom to wake.
    pub(super) fn cut_host(&mut self, host: usize) -> Vec<Waker> {
        self.ears.retain(|address, _| host_of(address.ip()) != Some(host));
        self.cut(|pipe| pipe.from == host || pipe.to == host)
    }

    /// Resets every stream between two hosts; answers whom to wake.
    pub(super) fn cut_pair(&mut self, a: usize, b: usize) -> Vec<Waker> {
        self.cut(|pipe| (pipe.from, pipe.to) == (a, b) || (pipe.from, pipe.to) == (b, a))
    }

    /// Whom to wake when something can be reached again.
    pub(super) fn stirred(&mut self) -> Vec<Waker> {
        let readers = self.pipes.values_mut().filter_map(|pipe| pipe.reader.take());
        readers.chain(self.dialling.drain(..)).collect()
    }
}

impl World {
    fn poll_read(&self, id: u64, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let now = state.clock.now();
        let Some(pipe) = state.streams.pipes.get_mut(&id) else { return Poll::Ready(Ok(0)) };
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let arrived = pipe.pieces.front().map(|piece| piece.arrives);
        let carried = state.links.carries(pipe.from, pipe.to);
        match arrived {
            Some(at) if at <= now && carried => {}
            other => {
                pipe.reader = Some(cx.waker().clone());
                if let Some(at) = other.filter(|at| *at > now) {
                    let old = pipe.timer.take().and_then(|timer| state.clock.disarm(timer));
                    pipe.timer = Some(state.clock.arm(at, cx.waker().clone()));
                    drop(old);
                }
                return Poll::Pending;
            }
        }
        let mut count = 0;
        while let Some(piece) = pipe.pieces.front_mut().filter(|piece| piece.arrives <= now) {
            let rest = &piece.bytes[piece.taken..];
            if piece.bytes.is_empty() || count == buf.len() {
                break;
            }
            let step = rest.len().min(buf.len() - count);
            buf[count..count + step].copy_from_slice(&rest[..step]);
            piece.taken += step;
            count += step;
            if piece.taken == piece.bytes.len() {
                pipe.pieces.pop_front();
            }
        }
        pipe.held -= count;
        state.chance.note(id.rotate_left(32) ^ count as u64);
        let writer = pipe.writer.take();
        drop(guard);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&self, id: u64, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let now = state.clock.now();
        let Some(pipe) = state.streams.pipes.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !pipe.open[READER] || pipe.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.held >= WINDOW {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut count = buf.len().min(WINDOW - pipe.held);
        if count > 1 && state.chance.one_in(16) {
            count = 1 + state.chance.below(count - 1);
        }
        let arrives = state.links.arrival(&mut state.chance, now, (pipe.from, pipe.to), count).max(pipe.last_arrival);
        pipe.last_arrival = arrives;
        pipe.held += count;
        state.chance.note(id.rotate_left(32) ^ count as u64 ^ 1 << 63);
        pipe.pieces.push_back(Piece { arrives, bytes: buf[..count].to_vec(), taken: 0 });
        if let Some(reader) = pipe.reader.take() {
            pipe.timer = Some(state.clock.arm(arrives, reader));
        }
        Poll::Ready(Ok(count))
    }

    /// The writer sends no more.
    fn end_pipe(&self, id: u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let now = state.clock.now();
        let Some(pipe) = state.streams.pipes.get_mut(&id) else { return };
        if pipe.ended || pipe.reset {
            return;
        }
        pipe.ended = true;
        let arrives = state.links.arrival(&mut state.chance, now, (pipe.from, pipe.to), 0).max(pipe.last_arrival);
        pipe.pieces.push_back(Piece { arrives, bytes: Vec::new(), taken: 0 });
        if let Some(reader) = pipe.reader.take() {
            state.clock.arm(arrives, reader);
        }
    }

    /// An end of a pipe is dropped.
    fn leave_pipe(&self, id: u64, end: usize) {
        if end == WRITER {
            self.end_pipe(id);
        }
        let mut state = self.lock();
        let Some(pipe) = state.streams.pipes.get_mut(&id) else { return };
        pipe.open[end] = false;
        // Somebody who waits to write to nobody is told.
        let waiting = pipe.writer.take();
        let over = if pipe.open == [false; 2] { state.streams.pipes.remove(&id) } else { None };
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        drop(over);
    }
}

const READER: usize = 0;
const WRITER: usize = 1;

/// One end of a pipe.
struct End {
    world: Arc<World>,
    pipe: u64,
    end: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        self.world.leave_pipe(self.pipe, self.end);
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.world.poll_read(self.pipe, cx, buf)
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.world.poll_write(self.pipe, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.world.end_pipe(self.pipe);
        Poll::Ready(Ok(()))
    }
}

fn socket(world: &Arc<World>, Accepted { incoming, outgoing, remote }: Accepted) -> Socket {
    Socket {
        reader: Box::new(End { world: world.clone(), pipe: incoming, end: READER }),
        writer: Box::new(End { world: world.clone(), pipe: outgoing, end: WRITER }),
        remote,
    }
}
