//! The environment that every role is given: clock, timer, entropy, tasks, jobs and byte streams.
//!
//! Nothing else in the library asks the operating system for time, randomness, threads or sockets, so
//! whoever implements [`Env`] decides what they are. [`AsyncStdEnv`] is the real one.

mod async_std_env;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Either, abortable, select};
use futures_util::io::{AsyncRead, AsyncWrite};
use serde::{Deserialize, Serialize};

pub use async_std_env::AsyncStdEnv;

/// A future on the heap that any thread may poll.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A piece of work for [`Env::cpu`] or [`Env::blocking`].
pub type Job = Box<dyn FnOnce() + Send + 'static>;

/// Milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment so many milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment plus `duration`, at most the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This moment less `duration`, at least the epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long ago `earlier` was; zero when it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339, UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Times come from peers too: past the year 9999 the formatter would fail.
        let shown = self.0.min(253_402_300_799_000);
        let moment = std::time::UNIX_EPOCH + Duration::from_millis(shown);
        humantime::format_rfc3339_seconds(moment).fmt(f)
    }
}

/// A connected byte stream, already split.
pub struct Socket {
    /// What the other side sends.
    pub reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
    /// What we send. Not buffered, never delayed.
    pub writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    /// The other side's address.
    pub remote: SocketAddr,
}

/// Accepts byte streams.
pub trait Listener: Send + Sync {
    /// The address others can dial: with port 0 in [`Env::listen`], the port that was chosen.
    fn local_addr(&self) -> SocketAddr;

    /// The next stream. An error concerns that stream only.
    fn accept(&self) -> BoxFuture<'_, io::Result<Socket>>;
}

/// Everything that a role needs from the machine it runs on.
pub trait Env: fmt::Debug + Send + Sync + 'static {
    /// The time of day. May jump.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment. Never goes back.
    fn uptime(&self) -> Duration;

    /// Ready after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Fills `buffer` with random bytes fit for keys.
    fn fill(&self, buffer: &mut [u8]);

    /// Runs a task until it ends.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs a job that only computes (about 0.1 to 10 ms). Jobs that do not fit the cores wait.
    fn cpu(&self, job: Job);

    /// Runs a job that may wait for a disk.
    fn blocking(&self, job: Job);

    /// How many CPU jobs run at once.
    fn cpu_threads(&self) -> usize;

    /// Opens a byte stream to `host:port`.
    ///
    /// # Errors
    /// Those of name look-up and connection.
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Socket>>;

    /// The addresses that `host:port` stands for.
    ///
    /// Unless overridden, only addresses written as numbers are known.
    ///
    /// # Errors
    /// Those of name look-up.
    fn resolve(&self, address: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let parsed = address.parse().map(|address| vec![address]);
        Box::pin(async move { parsed.map_err(|_| io::Error::from(io::ErrorKind::Unsupported)) })
    }

    /// Listens at `host:port`; port 0 chooses a free one.
    ///
    /// # Errors
    /// Those of name look-up and binding, `AddrInUse` among them.
    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;
}

/// A shared [`Env`], with the conveniences that generics allow.
#[derive(Clone, Debug)]
pub struct Rt(Arc<dyn Env>);

impl Default for Rt {
    /// The machine's own clock, randomness, tasks and sockets.
    fn default() -> Self {
        Self::new(AsyncStdEnv::new())
    }
}

impl Rt {
    /// Shares `env`.
    #[must_use]
    pub fn new(env: impl Env) -> Self {
        Self(Arc::new(env))
    }

    /// The environment itself.
    #[must_use]
    pub fn env(&self) -> &dyn Env {
        &*self.0
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.now()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.uptime()
    }

    pub(crate) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(duration)
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A random number below `bound`, which is not 0. Biased by less than `bound / 2^64`.
    pub(crate) fn below(&self, bound: usize) -> usize {
        let wide = u64::from_be_bytes(self.random());
        usize::try_from(wide % (bound as u64)).unwrap_or(0)
    }

    /// Starts a task that ends when the returned value is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        let (task, handle) = abortable(task);
        self.0.spawn(Box::pin(async move {
            let _ = task.await;
        }));
        Task(Some(handle))
    }

    /// Starts a task that nobody waits for.
    pub(crate) fn detach(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(Box::pin(task));
    }

    /// Starts a job that only computes, at once; the future is its result.
    pub(crate) fn cpu<T, F>(&self, job: F) -> impl Future<Output = T> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (job, result) = with_result(job);
        self.0.cpu(job);
        result
    }

    /// Starts a job that may wait for a disk, at once; the future is its result.
    pub(crate) fn blocking<T, F>(&self, job: F) -> impl Future<Output = T> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (job, result) = with_result(job);
        self.0.blocking(job);
        result
    }

    /// `future`, or `Err(Elapsed)` when it takes longer than `limit`.
    pub(crate) async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        let future = std::pin::pin!(future);
        match select(future, self.sleep(limit)).await {
            Either::Left((value, _)) => Ok(value),
            Either::Right(((), _)) => Err(Elapsed(limit)),
        }
    }

    pub(crate) fn cpu_threads(&self) -> usize {
        self.0.cpu_threads()
    }

    pub(crate) async fn dial(&self, address: &str) -> io::Result<Socket> {
        self.0.dial(address.to_owned()).await
    }

    pub(crate) async fn resolve(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        self.0.resolve(address.to_owned()).await
    }

    pub(crate) async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.0.listen(address.to_owned()).await
    }
}

/// A job, and the future of what it returns. A panic of the job goes on in whoever waits for it.
fn with_result<T, F>(job: F) -> (Job, impl Future<Output = T> + Send + use<T, F>)
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = futures_channel::oneshot::channel();
    let job = Box::new(move || {
        let _ = sender.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
    });
    let result = async move {
        match receiver.await {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("an environment runs every job that it takes"),
        }
    };
    (job, result)
}

/// A running task: dropping it ends the task at its next wait.
#[derive(Debug)]
#[must_use = "dropping a task ends it"]
pub(crate) struct Task(Option<AbortHandle>);

impl Task {
    /// Lets it run on, until it ends by itself.
    pub(crate) fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// A time limit passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no progress for {0:?}")]
pub(crate) struct Elapsed(pub(crate) Duration);
