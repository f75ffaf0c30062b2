//! Accepting links: the responder's side of the handshake, admission, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, Either, select};
use futures_util::io::{AsyncReadExt, AsyncWriteExt};

use super::counts::{ServerCounts, cause};
use super::gate::{Admission, Gate};
use super::{Limits, Link, LinkError};
use crate::id::{NetworkId, NodeId};
use crate::keys::TransportKey;
use crate::noise::{FIRST_LEN, HandshakeError, PREAMBLE_LEN, Responder, Role, THIRD_LEN};
use crate::proto::{MAX_CONTROL_LEN, Refusal};
use crate::rt::{BoxFuture, Listener, Rt, Socket};

/// How long running requests may take to end after a shutdown began.
const DRAIN: Duration = Duration::from_secs(10);

/// Who serves.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) id: NodeId,
    pub(crate) transport: TransportKey,
    pub(crate) role: Role,
    pub(crate) network: NetworkId,
}

/// What is done with each link.
pub(crate) trait Service: Send + Sync + 'static {
    /// Serves requests until the link ends.
    fn serve(self: Arc<Self>, link: Link, serving: Serving) -> BoxFuture<'static, ()>;

    /// Where connections are counted. By default nobody reads that.
    fn counts(&self) -> ServerCounts {
        ServerCounts::default()
    }
}

/// A connection's view of its server.
pub(crate) struct Serving {
    admission: Admission,
    stop: Stop,
    idle_timeout: Duration,
}

impl Serving {
    /// The next request; `None` when the link or the server ends.
    pub(crate) async fn next(&self, link: &mut Link) -> Option<Vec<u8>> {
        self.admission.set_busy(false);
        if link.is_retired() {
            return None;
        }
        let next = async {
            let request = std::pin::pin!(link.reader.control(MAX_CONTROL_LEN, self.idle_timeout));
            match select(request, std::pin::pin!(link.writer.rest())).await {
                Either::Left((request, _)) => request,
                Either::Right(((), request)) => request.await,
            }
        };
        let request = match select(std::pin::pin!(next), std::pin::pin!(self.stop.requested())).await {
            Either::Left((Ok(request), _)) => request,
            Either::Left((Err(error), _)) => {
                if let LinkError::Protocol(what) = error {
                    tracing::debug!(remote = %link.remote, what, "a peer broke the protocol");
                }
                return None;
            }
            Either::Right(_) => return None,
        };
        self.admission.set_busy(true);
        Some(request)
    }
}

/// Closes when the server is to end.
#[derive(Debug, Clone)]
struct Stop(async_channel::Receiver<()>);

impl Stop {
    async fn requested(&self) {
        // Nothing is ever sent: the channel only closes.
        let _ = self.0.recv().await;
    }
}

/// A running registry or storage node. Dropping it stops it at once.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    id: NodeId,
    stop: async_channel::Sender<()>,
    closed: async_channel::Receiver<()>,
    rt: Rt,
    gate: Gate,
    /// Ends with the handle: the accepting task and whatever else the role runs.
    tasks: Vec<crate::rt::Task>,
}

impl ServerHandle {
    /// Where it listens; with port 0 asked for, the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.gate.connections()
    }

    /// Takes no new connection or request, and is ready when running ones have ended, at most 10 s later.
    pub async fn shutdown(self) {
        self.stop.close();
        let _ = self.rt.timeout(DRAIN, self.closed()).await;
    }

    /// Ready when the server has ended.
    pub async fn closed(&self) {
        let _ = self.closed.recv().await;
    }

    pub(crate) fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Ties a task's life to this handle's.
    pub(crate) fn adopt(&mut self, task: crate::rt::Task) {
        self.tasks.push(task);
    }
}

/// Serves `listener` until the handle is shut down or dropped.
pub(crate) fn start(
    rt: &Rt,
    listener: Box<dyn Listener>,
    identity: Identity,
    limits: Limits,
    service: Arc<dyn Service>,
) -> ServerHandle {
    let (stop, stopped) = async_channel::bounded(1);
    let (alive, closed) = async_channel::bounded(1);
    let address = listener.local_addr();
    let id = identity.id;
    let gate = Gate::new(limits.clone(), rt.cpu_threads());
    let acceptor = Acceptor {
        rt: rt.clone(),
        identity: Arc::new(identity),
        limits,
        gate: gate.clone(),
        counts: service.counts(),
        service,
        stop: Stop(stopped),
        alive,
        closed: closed.clone(),
    };
    let task = rt.spawn(acceptor.run(listener));
    ServerHandle { address, id, stop, closed, rt: rt.clone(), gate, tasks: vec![task] }
}

struct Acceptor {
    rt: Rt,
    identity: Arc<Identity>,
    limits: Limits,
    gate: Gate,
    counts: ServerCounts,
    service: Arc<dyn Service>,
    stop: Stop,
    /// Every connection holds a clone: when the last one is gone the server is closed.
    alive: async_channel::Sender<()>,
    closed: async_channel::Receiver<()>,
}

impl Acceptor {
    async fn run(self, listener: Box<dyn Listener>) {
        // Closes when this task ends or is ended, and with it every connection.
        let (kill, killed) = async_channel::bounded(1);
        loop {
            let accepted = match select(listener.accept(), std::pin::pin!(self.stop.requested())).await {
                Either::Left((accepted, _)) => accepted,
                Either::Right(_) => break,
            };
            match accepted {
                Ok(socket) => self.admit(socket, Stop(killed.clone())),
                Err(error) => {
                    // Out of descriptors, most likely: others must end before another can be accepted.
                    tracing::warn!(%error, "cannot accept a connection");
                    self.gate.shed();
                    self.rt.sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        let Self { alive, closed, .. } = self;
        drop(alive);
        let _ = closed.recv().await;
        drop(kill);
    }

    fn admit(&self, socket: Socket, killed: Stop) {
        let mut socket = self.counts.count(socket);
        let connection = Connection {
            rt: self.rt.clone(),
            identity: self.identity.clone(),
            limits: self.limits.clone(),
            counts: self.counts.clone(),
            service: self.service.clone(),
            stop: self.stop.clone(),
            _alive: self.alive.clone(),
        };
        let (abort, registration) = AbortHandle::new_pair();
        let admission = match self.gate.enter(socket.remote.ip(), self.rt.uptime(), abort) {
            Some(admission) => Ok(admission),
            None => match self.gate.refusal() {
                Some(leave) => Err(leave),
                None => return,
            },
        };
        let task = async move {
            match admission {
                Ok(admission) => connection.run(socket, admission).await,
                // Best effort, and bounded: the buffer of a new socket has room for six bytes.
                Err(_leave) => {
                    connection.counts.refused.add("limit");
                    refuse(&connection.rt, &mut socket, HandshakeError::Busy).await;
                }
            }
        };
        let task = Abortable::new(task, registration);
        self.rt.detach(async move {
            // The end comes first: what is killed answers no more.
            select(std::pin::pin!(killed.requested()), std::pin::pin!(task)).await;
        });
    }
}

/// How long a refusal may take; what the peer still sends meanwhile is read, since unread bytes could cost it the refusal.
const REFUSE: Duration = Duration::from_millis(200);
const REFUSE_LEN: usize = 4096;

/// Says why in the clear, if that can be written at once.
async fn refuse(rt: &Rt, socket: &mut Socket, error: HandshakeError) {
    let refusal = error.refusal();
    let say = async {
        socket.writer.write_all(&refusal).await?;
        socket.writer.close().await?;
        let mut rest = [0; 512];
        let mut left = REFUSE_LEN;
        while left > 0 {
            match socket.reader.read(&mut rest).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        io::Result::Ok(())
    };
    let _ = rt.timeout(REFUSE, say).await;
}

struct Connection {
    rt: Rt,
    identity: Arc<Identity>,
    limits: Limits,
    counts: ServerCounts,
    service: Arc<dyn Service>,
    stop: Stop,
    _alive: async_channel::Sender<()>,
}

impl Connection {
    async fn run(self, mut socket: Socket, admission: Admission) {
        let handshake = self.handshake(&mut socket, &admission);
        let (session, peer) = match self.rt.timeout(self.limits.handshake_timeout, handshake).await {
            Ok(Ok(Ok(authenticated))) => authenticated,
            Ok(Ok(Err(error))) => {
                self.counts.handshakes_failed.add(cause(&error));
                return refuse(&self.rt, &mut socket, error).await;
            }
            Ok(Err(_)) => return self.counts.handshakes_failed.add("broken"),
            Err(_) => return self.counts.handshakes_failed.add("timeout"),
        };
        self.counts.accepted.inc();
        let mut link = Link::new(self.rt.clone(), socket, session, peer).with_window(self.limits.progress_window);
        if !admission.authenticated(peer) {
            self.counts.refused.add("key_limit");
            link.writer.abort(Refusal::Busy);
            let _ = link.writer.flush().await;
            return;
        }
        let serving = Serving { admission, stop: self.stop, idle_timeout: self.limits.idle_timeout };
        self.service.clone().serve(link, serving).await;
    }

    /// The outer error is the stream's, the inner one the peer's.
    async fn handshake(
        &self,
        socket: &mut Socket,
        admission: &Admission,
    ) -> io::Result<Result<(crate::noise::Session, crate::id::NoiseKey), HandshakeError>> {
        let Identity { id, transport, role, network } = &*self.identity;
        let mut preamble = [0; PREAMBLE_LEN];
        socket.reader.read_exact(&mut preamble).await?;
        if let Err(error) = Responder::check(&preamble, *role) {
            return Ok(Err(error));
        }
        let Some(first) = read_message::<FIRST_LEN>(socket).await? else { return Ok(Err(HandshakeError::NotOurs)) };
        let me = (*id, *role, *network);
        let start = || Responder::start(transport, &self.rt.random(), me, &preamble, &first, self.rt.now());
        let started = admission.compute(start).await;
        let (responder, second) = match started {
            Ok(started) => started,
            Err(error) => return Ok(Err(error)),
        };
        socket.writer.write_all(&second).await?;
        let Some(third) = read_message::<THIRD_LEN>(socket).await? else { return Ok(Err(HandshakeError::NotOurs)) };
        Ok(admission.compute(|| responder.finish(&third)).await)
    }
}

/// A handshake message, if it has the one length that it can have.
async fn read_message<const N: usize>(socket: &mut Socket) -> io::Result<Option<[u8; N]>> {
    let mut len = [0; 2];
    socket.reader.read_exact(&mut len).await?;
    if usize::from(u16::from_be_bytes(len)) != N {
        return Ok(None);
    }
    let mut message = [0; N];
    socket.reader.read_exact(&mut message).await?;
    Ok(Some(message))
}
