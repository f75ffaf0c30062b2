//! Dialling and listening: how two hosts come to a stream.

use std::io;
use std::net::SocketAddr;
use std::task::{Poll, Waker};

use super::{Accepted, Ear, Pipe, socket};
use crate::rt::{BoxFuture, Listener, Socket};
use crate::testing::sim::clock::Sleep;
use crate::testing::sim::host::{SimEnv, host_of};

/// Connections that wait to be accepted.
const BACKLOG: usize = 1024;

/// Ready when packets pass both ways.
async fn passable(env: &SimEnv, to: usize) {
    std::future::poll_fn(|cx| {
        let mut state = env.world.lock();
        if state.links.carries(env.host, to) && state.links.carries(to, env.host) {
            return Poll::Ready(());
        }
        state.streams.dialling.push(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

fn travel(env: &SimEnv, from: usize, to: usize) -> Sleep {
    let latency = {
        let mut guard = env.world.lock();
        let state = &mut *guard;
        state.links.latency(&mut state.chance, from, to)
    };
    env.sleep_for(latency)
}

/// Connects to whoever listens at `to`.
pub(in super::super) async fn dial(env: &SimEnv, to: SocketAddr) -> io::Result<Socket> {
    let known = env.world.lock().hosts.len();
    let there = host_of(to.ip()).filter(|host| *host < known).ok_or(io::ErrorKind::HostUnreachable)?;
    passable(env, there).await;
    travel(env, env.host, there).await;
    passable(env, there).await;
    let connected = connect(env, there, to);
    travel(env, there, env.host).await;
    passable(env, there).await;
    connected
}

fn connect(env: &SimEnv, there: usize, to: SocketAddr) -> io::Result<Socket> {
    let mut state = env.world.lock();
    let streams = &mut state.streams;
    if streams.ears.get(&to).is_none_or(|ear| ear.queue.len() >= BACKLOG) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let (here_there, there_here) = (streams.open(env.host, there), streams.open(there, env.host));
    let remote = SocketAddr::new(env.ip(), 1);
    let ear = streams.ears.get_mut(&to).expect("it was there a moment ago");
    ear.queue.push_back(Accepted { incoming: here_there, outgoing: there_here, remote });
    let waker = ear.waker.take();
    drop(state);
    waker.into_iter().for_each(Waker::wake);
    Ok(socket(&env.world, Accepted { incoming: there_here, outgoing: here_there, remote: to }))
}

/// Listens at a port of the host; port 0 chooses one.
pub(in super::super) fn listen(env: &SimEnv, port: u16) -> io::Result<Box<dyn Listener>> {
    let mut state = env.world.lock();
    let streams = &mut state.streams;
    let port = if port == 0 {
        streams.next_port += 1;
        10_000 + streams.next_port
    } else {
        port
    };
    let local = SocketAddr::new(env.ip(), port);
    if streams.ears.contains_key(&local) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    streams.ears.insert(local, Ear::default());
    drop(state);
    Ok(Box::new(Port { env: env.clone(), local }))
}

struct Port {
    env: SimEnv,
    local: SocketAddr,
}

impl Listener for Port {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Socket>> {
        Box::pin(std::future::poll_fn(|cx| {
            let mut state = self.env.world.lock();
            let Some(ear) = state.streams.ears.get_mut(&self.local) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            match ear.queue.pop_front() {
                Some(accepted) => {
                    drop(state);
                    Poll::Ready(Ok(socket(&self.env.world, accepted)))
                }
                None => {
                    ear.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // A host that was killed has lost its ports already, and may listen again.
        if !self.env.is_alive() {
            return;
        }
        let mut state = self.env.world.lock();
        let ear = state.streams.ears.remove(&self.local);
        let waiting = ear.into_iter().flat_map(|ear| ear.queue);
        let pipes: Vec<u64> = waiting.flat_map(|accepted| [accepted.incoming, accepted.outgoing]).collect();
        let broken = pipes.iter().filter_map(|id| state.streams.pipes.get_mut(id).map(Pipe::break_off));
        let wakers: Vec<Waker> = broken.collect::<Vec<_>>().into_iter().flatten().flatten().collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}
