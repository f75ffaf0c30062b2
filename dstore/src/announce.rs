//! Keeping a node registered with several registries at once (docs/wire.md section 8).
//!
//! Invariant: all registries are given the same record, and the seq of a node's records only goes up.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use crate::address::RegistryAddr;
use crate::error::{BoxError, Error};
use crate::id::NetworkId;
use crate::identity::ServerIdentity;
use crate::net::{Dialer, LinkError, RegistryLink};
use crate::proto::{CLOCK_SKEW, Heartbeat, NodeRecord, Refusal, RegistryReply, RegistryRequest, Signed};
use crate::rt::{Rt, Task, Timestamp};

/// How long a record counts. At half of it the next one is signed.
const RECORD_LIFE: Duration = Duration::from_secs(24 * 3600);
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
const SHUTDOWN: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What a registry may ask for as an interval of heartbeats.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);

/// What a node says of itself at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeDescription {
    /// `host:port`, 1 to 4 of them.
    pub(crate) endpoints: Vec<String>,
    /// Bytes offered in all.
    pub(crate) capacity: u64,
    /// Bytes that are free.
    pub(crate) free: u64,
    /// Bytes of shards held.
    pub(crate) used: u64,
    /// The operator's label for what fails together.
    pub(crate) zone: String,
    /// Whether it takes no new shards.
    pub(crate) draining: bool,
    /// Connections that are open.
    pub(crate) connections: u32,
}

/// Keeps a node registered. Dropping it ends that without a word; [`Announcer::shutdown`] says goodbye.
pub(crate) struct Announcer {
    tasks: Vec<Task>,
    shared: Arc<Shared>,
    registries: Vec<Arc<Mutex<Standing>>>,
    /// Ends when the first registry accepted.
    accepted: async_channel::Receiver<()>,
    wake: Vec<async_channel::Sender<()>>,
}

impl Announcer {
    /// Registers with every one of `registries`, each on its own; `describe` is asked before every message.
    pub(crate) fn start(
        rt: &Rt,
        identity: &ServerIdentity,
        network: NetworkId,
        registries: Vec<RegistryAddr>,
        describe: impl Fn() -> NodeDescription + Send + Sync + 'static,
    ) -> Self {
        let (first, accepted) = async_channel::bounded(1);
        let shared = Arc::new(Shared {
            rt: rt.clone(),
            identity: identity.clone(),
            network,
            dialer: Dialer::new(rt.clone(), DIAL_TIMEOUT),
            describe: Box::new(describe),
            current: Mutex::new(Current { seq: 0, record: None }),
            first,
        });
        let mut announcer = Self { tasks: Vec::new(), shared, registries: Vec::new(), accepted, wake: Vec::new() };
        for address in registries {
            let standing = Arc::new(Mutex::new(Standing::new(address.clone())));
            let (wake, woken) = async_channel::bounded(1);
            let registration =
                Registration { shared: announcer.shared.clone(), address, standing: standing.clone(), woken };
            announcer.tasks.push(rt.spawn(registration.run()));
            announcer.registries.push(standing);
            announcer.wake.push(wake);
        }
        announcer
    }

    /// Ready when at least one registry has accepted the node.
    pub(crate) async fn registered(&self) {
        // Nothing is ever sent: the channel only closes.
        let _ = self.accepted.recv().await;
    }

    /// Why a registry does not list the node at the moment; `None` if none is known to have a reason.
    pub(crate) fn last_error(&self) -> Option<Error> {
        self.registries.iter().find_map(|standing| lock(standing).error())
    }

    /// How the node stands with each registry, now and later.
    pub(crate) fn standings(&self) -> Standings {
        Standings(self.registries.clone())
    }

    /// Tells the registries at once what `describe` says now, rather than with the next heartbeat.
    pub(crate) fn refresh(&self) {
        // Full means that a call is pending already.
        for wake in &self.wake {
            let _ = wake.try_send(());
        }
    }

    /// Takes the node off every registry's list; at most 2 s.
    pub(crate) async fn shutdown(self) {
        let Self { shared, registries, tasks, .. } = self;
        drop(tasks);
        let asked = registries.iter().map(|standing| lock(standing)).filter(|standing| standing.asked);
        let addresses: Vec<_> = asked.map(|standing| standing.address.clone()).collect();
        // On connections of their own: those of the tasks may have an answer under way.
        let goodbyes = join_all(addresses.iter().map(|address| shared.deregister(address)));
        let _ = shared.rt.timeout(SHUTDOWN, goodbyes).await;
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").field("registries", &self.registries).finish_non_exhaustive()
    }
}

/// How the node stands with one registry.
#[derive(Debug)]
struct Standing {
    address: RegistryAddr,
    /// Whether it was ever asked to list the node.
    asked: bool,
    /// Whether it listed the node, as far as is known.
    listed: bool,
    /// When it last said so, in time since the start.
    heard: Option<Duration>,
    /// How far its clock was ahead of ours, seconds.
    clock_ahead: f64,
    error: Option<Arc<LinkError>>,
}

impl Standing {
    fn new(address: RegistryAddr) -> Self {
        Self { address, asked: false, listed: false, heard: None, clock_ahead: 0.0, error: None }
    }

    fn error(&self) -> Option<Error> {
        let error = self.error.clone()?;
        let peer = format!("registry {}", self.address.endpoint);
        let problem = error.problem();
        Some(Error::Peer { peer, problem, source: Some(Box::new(error) as BoxError) })
    }
}

/// How a node stands with its registries.
#[derive(Debug)]
pub(crate) struct Standings(Vec<Arc<Mutex<Standing>>>);

/// How it stands with one of them.
#[derive(Debug)]
pub(crate) struct Registered {
    /// `host:port` of the registry.
    pub(crate) registry: String,
    pub(crate) listed: bool,
    /// When it last said so, in time since the start.
    pub(crate) heard: Option<Duration>,
    /// How far its clock was ahead of ours, seconds.
    pub(crate) clock_ahead: f64,
    /// Why it does not list the node.
    pub(crate) error: Option<Error>,
}

impl Standings {
    pub(crate) fn each(&self) -> Vec<Registered> {
        let read = |standing: &Arc<Mutex<Standing>>| {
            let standing = lock(standing);
            let Standing { listed, heard, clock_ahead, .. } = *standing;
            let (registry, error) = (standing.address.endpoint.clone(), standing.error());
            Registered { registry, listed, heard, clock_ahead, error }
        };
        self.0.iter().map(read).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Shared {
    rt: Rt,
    identity: ServerIdentity,
    network: NetworkId,
    dialer: Dialer,
    describe: Box<dyn Fn() -> NodeDescription + Send + Sync>,
    current: Mutex<Current>,
    first: async_channel::Sender<()>,
}

/// The record that counts now.
struct Current {
    seq: u64,
    record: Option<(NodeRecord, Signed<NodeRecord>)>,
}

impl Shared {
    /// The node's record, a new one if the last is old or no longer true.
    fn record(&self) -> (u64, Signed<NodeRecord>) {
        let (now, is) = (self.rt.now(), (self.describe)());
        let mut current = lock(&self.current);
        if let Some((record, signed)) = &current.record
            && holds(record, &is, now)
        {
            return (record.seq, signed.clone());
        }
        current.seq = now.as_millis().max(current.seq.saturating_add(1));
        let record = NodeRecord {
            id: self.identity.id(),
            noise_key: self.identity.noise_key(),
            endpoints: is.endpoints,
            seq: current.seq,
            issued: now,
            not_after: now.after(RECORD_LIFE),
            capacity: is.capacity,
            free: is.free,
            zone: is.zone,
            draining: is.draining,
        };
        let signed = Signed::new(&record, self.identity.signing(), self.network, &[]);
        let seq = record.seq;
        current.record = Some((record, signed.clone()));
        (seq, signed)
    }

    fn heartbeat(&self) -> Heartbeat {
        let is = (self.describe)();
        Heartbeat { free: is.free, used: is.used, connections: is.connections, draining: is.draining }
    }

    /// The next record has a seq above `seq`.
    fn pass(&self, seq: u64) {
        let mut current = lock(&self.current);
        if seq >= current.seq {
            (current.seq, current.record) = (seq, None);
        }
    }

    async fn connect(&self, address: &RegistryAddr) -> Result<RegistryLink, LinkError> {
        RegistryLink::open(&self.dialer, self.identity.transport(), self.network, address).await
    }

    async fn deregister(&self, address: &RegistryAddr) {
        let gone = async { self.connect(address).await?.ask(&RegistryRequest::Deregister).await };
        if let Err(error) = gone.await {
            tracing::debug!(registry = %address.endpoint, %error, "cannot deregister");
        }
    }
}

/// Whether a record is still true and young enough.
fn holds(record: &NodeRecord, is: &NodeDescription, now: Timestamp) -> bool {
    // A record from before the clock was set back would be refused as one from the future.
    let young = now.since(record.issued) < RECORD_LIFE / 2 && record.issued <= now.after(CLOCK_SKEW / 2);
    young && record.endpoints == is.endpoints && record.zone == is.zone && record.draining == is.draining
}

/// The task of one registry.
struct Registration {
    shared: Arc<Shared>,
    address: RegistryAddr,
    standing: Arc<Mutex<Standing>>,
    woken: async_channel::Receiver<()>,
}

impl Registration {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let Err(error) = self.stay(&mut failures).await;
            self.report(error);
            let pause = jitter(pause(failures), self.shared.rt.below(JITTER_STEPS));
            failures += 1;
            self.wait(pause).await;
        }
    }

    /// Registers and stays registered until something fails.
    async fn stay(&self, failures: &mut u32) -> Result<std::convert::Infallible, LinkError> {
        let mut link = self.shared.connect(&self.address).await?;
        // Once: a registry that is never content must not make the node sign without end.
        let mut may_look_ahead = true;
        loop {
            let (seq, record) = self.shared.record();
            lock(&self.standing).asked = true;
            let interval = match link.ask(&RegistryRequest::Register(record)).await {
                Ok(RegistryReply::Registered { heartbeat }) => {
                    Duration::from_millis(heartbeat).clamp(*INTERVALS.start(), *INTERVALS.end())
                }
                Ok(_) => return Err(LinkError::Protocol("another answer to Register")),
                Err(LinkError::Refused(Refusal::Expired)) => {
                    if std::mem::take(&mut may_look_ahead) && self.look_ahead(&mut link, seq).await? {
                        continue;
                    }
                    return Err(LinkError::Refused(Refusal::Expired));
                }
                Err(error) => return Err(error),
            };
            *failures = 0;
            self.accept(link.clock_ahead());
            loop {
                self.wait(jitter(interval, self.shared.rt.below(JITTER_STEPS))).await;
                if link.is_retired() {
                    link = self.shared.connect(&self.address).await?;
                }
                if self.shared.record().0 != seq {
                    break;
                }
                match link.ask(&RegistryRequest::Heartbeat(self.shared.heartbeat())).await? {
                    RegistryReply::Alive { known: true } => self.hear(),
                    RegistryReply::Alive { known: false } => break,
                    _ => return Err(LinkError::Protocol("another answer to Heartbeat")),
                }
            }
        }
    }

    /// A clock that was set back makes records that are older than what the registry knows: the next one goes past it.
    /// False: that was not why `refused` was refused.
    async fn look_ahead(&self, link: &mut RegistryLink, refused: u64) -> Result<bool, LinkError> {
        let me = self.shared.identity.id();
        let reply = link.ask(&RegistryRequest::Lookup(vec![me])).await?;
        let RegistryReply::Nodes { nodes, .. } = reply else {
            return Err(LinkError::Protocol("another answer to Lookup"));
        };
        // Only what this node signed itself moves it.
        let records = nodes.iter().filter_map(|node| node.record.record(self.shared.network));
        let highest = records.filter(|record| record.id == me).map(|record| record.seq).max();
        let ahead = highest.filter(|seq| *seq >= refused);
        ahead.into_iter().for_each(|seq| self.shared.pass(seq));
        Ok(ahead.is_some())
    }

    fn hear(&self) {
        lock(&self.standing).heard = Some(self.shared.rt.uptime());
    }

    fn accept(&self, clock_ahead: f64) {
        self.hear();
        let mut standing = lock(&self.standing);
        (standing.error, standing.clock_ahead) = (None, clock_ahead);
        if !std::mem::replace(&mut standing.listed, true) {
            tracing::info!(registry = %self.address.endpoint, "registered");
        }
        self.shared.first.close();
    }

    /// Logs a failure unless the last one was of the same kind.
    fn report(&self, error: LinkError) {
        let mut standing = lock(&self.standing);
        let known = standing.error.as_ref().is_some_and(|last| last.problem() == error.problem());
        if !known {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(registry = %self.address.endpoint, %error, cause = cause.as_deref(), "not registered: trying again");
        }
        (standing.listed, standing.error) = (false, Some(Arc::new(error)));
    }

    /// Waits for `pause`, or until [`Announcer::refresh`].
    async fn wait(&self, pause: Duration) {
        let _ = self.shared.rt.timeout(pause, self.woken.recv()).await;
    }
}

/// How long to wait after so many failures before this one: 1 s, doubling to 30 s.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
}

const JITTER_STEPS: usize = 401;

/// `duration` ± 20 %, by a random `step` below [`JITTER_STEPS`], so that nodes do not speak all at once.
fn jitter(duration: Duration, step: usize) -> Duration {
    let permille = u32::try_from(800 + step.min(JITTER_STEPS - 1)).unwrap_or(1000);
    duration.saturating_mul(permille) / 1000
}

#[cfg(test)]
mod tests;
