//! The environment of one host in one of its lives: a host that was killed and started again has another one.
//!
//! Invariant: an environment of a life that is over does nothing, and what waits for it waits for ever.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::clock::Sleep;
use super::stream;
use super::world::World;
use crate::rt::{BoxFuture, Env, Job, Listener, Socket, Timestamp};

/// 1 January 2026: when every simulation starts.
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// How long a job may be held up.
const LONG_CPU: Duration = Duration::from_millis(3);
const LONG_DISK: Duration = Duration::from_millis(10);

/// The environment of a simulated host.
#[derive(Clone)]
pub(super) struct SimEnv {
    pub(super) world: Arc<World>,
    pub(super) host: usize,
    life: u64,
}

impl SimEnv {
    /// Starts a new life of `host`, if its last one is over.
    pub(super) fn new(world: &Arc<World>, host: usize) -> Self {
        let life = world.revive(host);
        Self { world: world.clone(), host, life }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.world.lock().is_alive(self.host, self.life)
    }

    pub(super) fn ip(&self) -> IpAddr {
        ip_of(self.host)
    }

    pub(super) fn sleep_for(&self, duration: Duration) -> Sleep {
        let state = self.world.lock();
        let until = state.is_alive(self.host, self.life).then(|| state.clock.now().saturating_add(duration));
        drop(state);
        Sleep::new(&self.world, until)
    }

    /// Sleeps for some time up to `longest`, every second time.
    pub(super) fn dawdle(&self, longest: Duration) -> Sleep {
        let pause = {
            let mut state = self.world.lock();
            if state.chance.one_in(2) { state.chance.time(longest) } else { Duration::ZERO }
        };
        self.sleep_for(pause)
    }
}

/// A private address, so that nodes take shards from it.
pub(super) fn ip_of(host: usize) -> IpAddr {
    let [.., high, low] = host.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

pub(super) fn host_of(ip: IpAddr) -> Option<usize> {
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            [10, 0, high, low] => Some(usize::from(u16::from_be_bytes([high, low]))),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

impl fmt::Debug for SimEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimEnv({})", self.ip())
    }
}

impl Env for SimEnv {
    fn now(&self) -> Timestamp {
        let state = self.world.lock();
        let skew = state.hosts[self.host].skew;
        let now = START.after(state.clock.now());
        let by = Duration::from_millis(skew.unsigned_abs());
        if skew < 0 { now.before(by) } else { now.after(by) }
    }

    fn uptime(&self) -> Duration {
        self.world.lock().clock.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.sleep_for(duration))
    }

    fn fill(&self, buffer: &mut [u8]) {
        self.world.lock().chance.fill(buffer);
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world.spawn(self.host, self.life, task);
    }

    fn cpu(&self, job: Job) {
        self.world.job(self.host, self.life, LONG_CPU, job);
    }

    fn blocking(&self, job: Job) {
        self.world.job(self.host, self.life, LONG_DISK, job);
    }

    fn cpu_threads(&self) -> usize {
        2
    }

    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Socket>> {
        let env = self.clone();
        Box::pin(async move {
            let to: SocketAddr = address.parse().map_err(|_| io::ErrorKind::NotFound)?;
            stream::dial(&env, to).await
        })
    }

    /// Listens at this host's own address, whatever host `address` names: only its port counts.
    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let env = self.clone();
        Box::pin(async move {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            let port: u16 = port.ok_or(io::ErrorKind::InvalidInput)?;
            if !env.is_alive() {
                std::future::pending::<()>().await;
            }
            stream::listen(&env, port)
        })
    }
}
