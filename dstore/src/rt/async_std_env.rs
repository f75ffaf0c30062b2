//! The real environment, on async-std: the only file that names that crate (docs/dependencies.md).

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_std::net::{TcpListener, TcpStream, ToSocketAddrs};

use super::{BoxFuture, Env, Job, Listener, Socket, Timestamp};

/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;

/// System clock, operating system entropy, async-std tasks and TCP, and a pool of threads for CPU jobs.
#[derive(Debug)]
pub struct AsyncStdEnv {
    started: Instant,
    cpu_threads: usize,
    pool: OnceLock<async_channel::Sender<Job>>,
}

impl Default for AsyncStdEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl AsyncStdEnv {
    /// One CPU thread per core. Threads start with the first job, not here.
    #[must_use]
    pub fn new() -> Self {
        Self::with_cpu_threads(thread::available_parallelism().map_or(1, usize::from))
    }

    /// With so many CPU threads (at least one).
    #[must_use]
    pub fn with_cpu_threads(cpu_threads: usize) -> Self {
        Self { started: Instant::now(), cpu_threads: cpu_threads.max(1), pool: OnceLock::new() }
    }

    fn pool(&self) -> &async_channel::Sender<Job> {
        self.pool.get_or_init(|| {
            let (sender, receiver) = async_channel::unbounded::<Job>();
            for n in 0..self.cpu_threads {
                let receiver = receiver.clone();
                let started = thread::Builder::new().name(format!("dstore-cpu-{n}")).spawn(move || {
                    while let Ok(job) = receiver.recv_blocking() {
                        job();
                    }
                });
                if let Err(error) = started {
                    tracing::error!(%error, "cannot start a CPU thread");
                }
            }
            sender
        })
    }
}

impl Env for AsyncStdEnv {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::default().after(since_epoch)
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async_std::task::sleep(duration))
    }

    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system has entropy: without it no key can be made");
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        async_std::task::spawn(task);
    }

    fn cpu(&self, job: Job) {
        if let Err(refused) = self.pool().try_send(job) {
            // No CPU thread could be started: slow is better than lost.
            self.blocking(refused.into_inner());
        }
    }

    fn blocking(&self, job: Job) {
        async_std::task::spawn_blocking(job);
    }

    fn cpu_threads(&self) -> usize {
        self.cpu_threads
    }

    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Socket>> {
        Box::pin(async move { socket(TcpStream::connect(address).await?) })
    }

    fn resolve(&self, address: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(address.to_socket_addrs().await?.collect()) })
    }

    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let addresses: Vec<_> = address.to_socket_addrs().await?.collect();
            let listener = std::net::TcpListener::bind(&addresses[..])?;
            // The default of 128 is full after a burst of newcomers, and whoever is dropped then tries again after a second.
            rustix::net::listen(&listener, BACKLOG)?;
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from(listener);
            let local = listener.local_addr()?;
            Ok(Box::new(Tcp { listener: Arc::new(listener), local }) as Box<dyn Listener>)
        })
    }
}

struct Tcp {
    listener: Arc<TcpListener>,
    local: SocketAddr,
}

impl Listener for Tcp {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Socket>> {
        Box::pin(async move { socket(self.listener.accept().await?.0) })
    }
}

fn socket(stream: TcpStream) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    let remote = stream.peer_addr()?;
    Ok(Socket { reader: Box::new(stream.clone()), writer: Box::new(stream), remote })
}
