//! An environment in one thread: tasks run when they can, time passes when none can, and streams end in a target's hands.
//!
//! Invariant: nothing but the input decides what happens, and when.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use dstore::rt::{BoxFuture, Env, Job, Listener, Rt, Socket, Timestamp};
use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::stream::{FuturesUnordered, StreamExt};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 4100);
const REMOTE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), 4200);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A target that panics is at its end anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What tasks share with whoever runs them.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    time: Duration,
    /// Started and not polled yet.
    tasks: Vec<BoxFuture<'static, ()>>,
    timers: Vec<(Duration, Waker)>,
    random: u64,
    /// Streams that wait to be accepted.
    queue: VecDeque<Socket>,
    listening: Option<Waker>,
    /// The answer to every dial.
    dialled: VecDeque<Peer>,
}

/// Runs tasks.
pub(super) struct World {
    machine: Machine,
    tasks: FuturesUnordered<BoxFuture<'static, ()>>,
    awake: Arc<Awake>,
}

#[derive(Default)]
struct Awake(AtomicBool);

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self { machine: Machine::default(), tasks: FuturesUnordered::new(), awake: Arc::default() }
    }

    pub(super) fn rt(&self) -> Rt {
        Rt::new(self.machine.clone())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.machine.now()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.machine.0)
    }

    /// Runs `future` and all tasks until it is ready; it waits for no time to pass.
    pub(super) fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let awake = Waker::from(self.awake.clone());
        for _ in 0..1000 {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&awake)) {
                return value;
            }
            self.settle();
        }
        panic!("it waits for something that never comes");
    }

    /// Whether `future` is ready without waiting.
    pub(super) fn is_ready(&mut self, future: impl Future) -> bool {
        self.settle();
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Runs all tasks until each of them waits.
    pub(super) fn settle(&mut self) {
        let waker = Waker::from(self.awake.clone());
        loop {
            self.awake.0.store(false, Ordering::Relaxed);
            let new = std::mem::take(&mut self.state().tasks);
            self.tasks.extend(new);
            while let Poll::Ready(Some(())) = self.tasks.poll_next_unpin(&mut Context::from_waker(&waker)) {}
            if self.state().tasks.is_empty() && !self.awake.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Lets `duration` pass, from timer to timer.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.state().time + duration;
        self.settle();
        loop {
            let mut state = self.state();
            let next = state.timers.iter().map(|(at, _)| *at).min().filter(|at| *at <= end);
            state.time = next.unwrap_or(end).max(state.time);
            let now = state.time;
            let (due, later) = std::mem::take(&mut state.timers).into_iter().partition(|(at, _)| *at <= now);
            state.timers = later;
            drop(state);
            let due: Vec<(Duration, Waker)> = due;
            due.into_iter().for_each(|(_, waker)| waker.wake());
            self.settle();
            if next.is_none() {
                return;
            }
        }
    }

    /// A peer that connects to the server of this world.
    pub(super) fn connect(&mut self) -> Peer {
        let peer = Peer::default();
        let mut state = self.state();
        state.queue.push_back(peer.socket());
        state.listening.take().into_iter().for_each(Waker::wake);
        drop(state);
        self.settle();
        peer
    }

    /// The peer that whoever dials next will reach; dialling fails when there is none.
    pub(super) fn expect_dial(&mut self) -> Peer {
        let peer = Peer::default();
        self.state().dialled.push_back(peer.clone());
        peer
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

impl Env for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000).after(self.uptime())
    }

    fn uptime(&self) -> Duration {
        locked(&self.0).time
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (machine, until) = (self.clone(), self.uptime().saturating_add(duration));
        Box::pin(poll_fn(move |cx| {
            let mut state = locked(&machine.0);
            if state.time >= until {
                return Poll::Ready(());
            }
            state.timers.retain(|(at, waker)| *at != until || !waker.will_wake(cx.waker()));
            state.timers.push((until, cx.waker().clone()));
            Poll::Pending
        }))
    }

    fn fill(&self, buffer: &mut [u8]) {
        let mut state = locked(&self.0);
        state.random += 1;
        blake3::Hasher::new().update(&state.random.to_be_bytes()).finalize_xof().fill(buffer);
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        locked(&self.0).tasks.push(task);
    }

    fn cpu(&self, job: Job) {
        job();
    }

    fn blocking(&self, job: Job) {
        job();
    }

    fn cpu_threads(&self) -> usize {
        1
    }

    fn dial(&self, _: String) -> BoxFuture<'static, io::Result<Socket>> {
        let peer = locked(&self.0).dialled.pop_front();
        Box::pin(async move { peer.map(|peer| peer.socket()).ok_or(io::ErrorKind::ConnectionRefused.into()) })
    }

    fn listen(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let machine = self.clone();
        Box::pin(async move { Ok(Box::new(machine) as Box<dyn Listener>) })
    }
}

impl Listener for Machine {
    fn local_addr(&self) -> SocketAddr {
        LOCAL
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Socket>> {
        Box::pin(poll_fn(|cx| {
            let mut state = locked(&self.0);
            let socket = state.queue.pop_front();
            if socket.is_none() {
                state.listening = Some(cx.waker().clone());
            }
            socket.map_or(Poll::Pending, |socket| Poll::Ready(Ok(socket)))
        }))
    }
}

/// The target's end of a stream.
#[derive(Clone, Default)]
pub(super) struct Peer {
    toward: Arc<Mutex<Toward>>,
    from: Arc<Mutex<From>>,
}

/// What the target sends.
#[derive(Default)]
struct Toward {
    /// Each read gets one of these, or its beginning.
    pieces: VecDeque<Vec<u8>>,
    ended: bool,
    reading: Option<Waker>,
}

/// What the target gets.
#[derive(Default)]
struct From {
    bytes: Vec<u8>,
    ended: bool,
}

impl Peer {
    fn socket(&self) -> Socket {
        let writer = Outgoing(self.from.clone());
        Socket { reader: Box::new(Incoming(self.toward.clone())), writer: Box::new(writer), remote: REMOTE }
    }

    /// Sends bytes that arrive in one piece.
    pub(super) fn send(&self, bytes: &[u8]) {
        let mut toward = locked(&self.toward);
        if !bytes.is_empty() {
            toward.pieces.push_back(bytes.to_vec());
        }
        toward.reading.take().into_iter().for_each(Waker::wake);
    }

    /// Sends bytes in pieces whose lengths `seed` decides, short ones first: all at once when it is 0.
    pub(super) fn send_split(&self, bytes: &[u8], seed: u8) {
        let mut rest = bytes;
        for step in 0..usize::from(seed % 32) {
            let (piece, next) = rest.split_at((usize::from(seed) * step % 61 + 1).min(rest.len()));
            self.send(piece);
            rest = next;
        }
        self.send(rest);
    }

    /// Sends no more.
    pub(super) fn end(&self) {
        let mut toward = locked(&self.toward);
        toward.ended = true;
        toward.reading.take().into_iter().for_each(Waker::wake);
    }

    /// Takes what arrived.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut locked(&self.from).bytes)
    }

    /// Whether the other side is done with this stream.
    pub(super) fn is_over(&self) -> bool {
        locked(&self.from).ended
    }
}

struct Incoming(Arc<Mutex<Toward>>);

impl AsyncRead for Incoming {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut toward = locked(&self.0);
        let Some(mut piece) = toward.pieces.pop_front() else {
            toward.reading = Some(cx.waker().clone());
            return if toward.ended { Poll::Ready(Ok(0)) } else { Poll::Pending };
        };
        let len = piece.len().min(buffer.len());
        buffer[..len].copy_from_slice(&piece[..len]);
        if len < piece.len() {
            piece.drain(..len);
            toward.pieces.push_front(piece);
        }
        Poll::Ready(Ok(len))
    }
}

struct Outgoing(Arc<Mutex<From>>);

impl AsyncWrite for Outgoing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut from = locked(&self.0);
        assert!(!from.ended, "something was written after the end");
        from.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        locked(&self.0).ended = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        locked(&self.0).ended = true;
    }
}
