//! A network in memory: an environment whose byte streams are pipes, with hosts that can hang.
//!
//! Clock, tasks and jobs are those of another environment. Invariant: a host that hangs says nothing and takes nothing.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncWrite};

use crate::rt::{AsyncStdEnv, BoxFuture, Env, Job, Listener, Socket, Timestamp};

/// Bytes that a direction of a stream holds before its writer waits.
const PIPE_LEN: usize = 256 * 1024;

/// The hosts of one network.
#[derive(Clone, Debug, Default)]
pub struct MemoryNet(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    hosts: u8,
    next_port: u16,
    listening: HashMap<SocketAddr, async_channel::Sender<Socket>>,
    hung: HashMap<IpAddr, Vec<Waker>>,
    /// How often each host was cut off: streams of before are dead.
    cuts: HashMap<IpAddr, u64>,
    /// What travelled since somebody began to listen in.
    overheard: Option<Vec<u8>>,
}

impl MemoryNet {
    /// A network without hosts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The environment of a new host, whose address is a private one; at most 254.
    ///
    /// # Panics
    /// At the 255th host.
    #[must_use]
    pub fn host(&self) -> HostEnv {
        self.host_in([10, 0, 0])
    }

    /// As [`MemoryNet::host`], with a public address.
    ///
    /// # Panics
    /// At the 255th host.
    #[must_use]
    pub fn public_host(&self) -> HostEnv {
        self.host_in([198, 51, 100])
    }

    fn host_in(&self, [a, b, c]: [u8; 3]) -> HostEnv {
        let mut state = self.state();
        state.hosts = state.hosts.checked_add(1).expect("a network has at most 254 hosts");
        let ip = IpAddr::V4(Ipv4Addr::new(a, b, c, state.hosts));
        HostEnv { machine: Arc::new(AsyncStdEnv::new()), net: self.clone(), ip }
    }

    /// Ends every port and stream of the host at `ip` at once, though its tasks may still be ending.
    pub fn cut(&self, ip: IpAddr) {
        let mut state = self.state();
        state.listening.retain(|address, _| address.ip() != ip);
        *state.cuts.entry(ip).or_default() += 1;
    }

    /// From now on the host at `ip` says nothing and takes nothing, and its streams stay open.
    pub fn hang(&self, ip: IpAddr) {
        self.state().hung.entry(ip).or_default();
    }

    /// Ends [`MemoryNet::hang`].
    pub fn resume(&self, ip: IpAddr) {
        let wakers = self.state().hung.remove(&ip);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Begins to listen in: from now on every byte that travels is kept.
    pub fn listen_in(&self) {
        self.state().overheard.get_or_insert_default();
    }

    /// Every byte that travelled, in the order in which the hosts wrote them, since [`MemoryNet::listen_in`].
    #[must_use]
    pub fn overheard(&self) -> Vec<u8> {
        self.state().overheard.clone().unwrap_or_default()
    }

    /// The ends of a new stream.
    fn ends(&self, hosts: [IpAddr; 2]) -> Ends {
        let state = self.state();
        hosts.map(|host| (host, state.cuts.get(&host).copied().unwrap_or(0)))
    }

    /// Pending while an end of a stream hangs, an error when one was cut off.
    fn poll_alive(&self, ends: Ends, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        for (host, cuts) in ends {
            if state.cuts.get(&host).copied().unwrap_or(0) != cuts {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if let Some(wakers) = state.hung.get_mut(&host) {
                wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    async fn alive(&self, hosts: [IpAddr; 2]) -> io::Result<()> {
        let ends = self.ends(hosts);
        std::future::poll_fn(|cx| self.poll_alive(ends, cx)).await
    }

    fn connect(&self, from: IpAddr, to: SocketAddr) -> io::Result<Socket> {
        let queue = self.state().listening.get(&to).cloned();
        let queue = queue.ok_or(io::ErrorKind::ConnectionRefused)?;
        let ends = self.ends([from, to.ip()]);
        let (there, from_here) = piper::pipe(PIPE_LEN);
        let (here, from_there) = piper::pipe(PIPE_LEN);
        let end = |reader, writer, remote| Socket {
            reader: Box::new(Piece { pipe: reader, net: self.clone(), ends }),
            writer: Box::new(Piece { pipe: writer, net: self.clone(), ends }),
            remote,
        };
        let accepted = end(there, from_there, SocketAddr::new(from, 1));
        queue.try_send(accepted).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(end(here, from_here, to))
    }
}

/// The environment of one host of a [`MemoryNet`].
#[derive(Clone, Debug)]
pub struct HostEnv {
    machine: Arc<AsyncStdEnv>,
    net: MemoryNet,
    ip: IpAddr,
}

impl HostEnv {
    /// The host's address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

impl Env for HostEnv {
    fn now(&self) -> Timestamp {
        self.machine.now()
    }

    fn uptime(&self) -> Duration {
        self.machine.uptime()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.machine.sleep(duration)
    }

    fn fill(&self, buffer: &mut [u8]) {
        self.machine.fill(buffer);
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.machine.spawn(task);
    }

    fn cpu(&self, job: Job) {
        self.machine.cpu(job);
    }

    fn blocking(&self, job: Job) {
        self.machine.blocking(job);
    }

    fn cpu_threads(&self) -> usize {
        self.machine.cpu_threads()
    }

    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Socket>> {
        let (net, from) = (self.net.clone(), self.ip);
        Box::pin(async move {
            let to: SocketAddr = address.parse().map_err(|_| io::ErrorKind::NotFound)?;
            net.alive([from, to.ip()]).await?;
            net.connect(from, to)
        })
    }

    /// Listens at this host's own address, whatever host `address` names: only its port counts.
    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (net, ip) = (self.net.clone(), self.ip);
        Box::pin(async move {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            let port: u16 = port.ok_or(io::ErrorKind::InvalidInput)?;
            let (queue, accepted) = async_channel::bounded(1024);
            let mut state = net.state();
            let port = if port == 0 {
                state.next_port += 1;
                10_000 + state.next_port
            } else {
                port
            };
            let local = SocketAddr::new(ip, port);
            if state.listening.contains_key(&local) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            state.listening.insert(local, queue.clone());
            drop(state);
            Ok(Box::new(Ear { net, local, queue: queue.downgrade(), accepted }) as Box<dyn Listener>)
        })
    }
}

struct Ear {
    net: MemoryNet,
    local: SocketAddr,
    queue: async_channel::WeakSender<Socket>,
    accepted: async_channel::Receiver<Socket>,
}

impl Listener for Ear {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Socket>> {
        Box::pin(async move { self.accepted.recv().await.map_err(|_| io::ErrorKind::NotConnected.into()) })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // Unless the port was closed and opened again meanwhile.
        let Some(own) = self.queue.upgrade() else { return };
        let mut state = self.net.state();
        if state.listening.get(&self.local).is_some_and(|queue| queue.same_channel(&own)) {
            state.listening.remove(&self.local);
        }
    }
}

/// One direction of a stream.
struct Piece<P> {
    pipe: P,
    net: MemoryNet,
    ends: Ends,
}

/// The two hosts of a stream, and how often each had been cut off before.
type Ends = [(IpAddr, u64); 2];

impl AsyncRead for Piece<piper::Reader> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.net.poll_alive(self.ends, cx))?;
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Piece<piper::Writer> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.net.poll_alive(self.ends, cx))?;
        let written = Pin::new(&mut self.pipe).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &written
            && let Some(overheard) = &mut self.net.state().overheard
        {
            overheard.extend_from_slice(&buf[..*count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_close(cx)
    }
}
