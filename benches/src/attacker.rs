//! A peer at 127.0.0.2 that opens thousands of connections to a node and does no good on any of them.
//!
//! Invariant: each attempt is counted once, by how it ended; a fixed number of sockets is open at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dstore::keys::TransportKey;
use dstore::noise::{Expected, Initiator, SECOND_LEN};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// Where it comes from.
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Threads, and sockets that each has open at a time.
const THREADS: usize = 2;
const WINDOW: usize = 400;
/// Attempts of each thread that go through the handshake first of all, a few at a time so that the node lets them in.
const MEMBERS: usize = 300;
const MEMBERS_A_ROUND: usize = 20;
/// How often sockets are looked at: seldom, so that it is the node's time that is used up.
const ROUND: Duration = Duration::from_millis(50);
/// An attempt that the node has not ended by then is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// What it does on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Nothing.
    Silence,
    /// Writes bytes that mean nothing.
    Garbage,
    /// Writes the first message of a handshake over and over, so that the node computes.
    Replay,
    /// Writes the first message a byte a second.
    Drip,
    /// Completes the handshake under a new key, announces a long frame, and drips that.
    Member,
}

const MANNERS: [Manner; 5] = [Manner::Silence, Manner::Garbage, Manner::Replay, Manner::Drip, Manner::Member];

/// How the attempts ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// The node said something, a refusal for instance, before it hung up.
    pub answered: usize,
    /// It hung up without a word.
    pub hung_up: usize,
    /// No connection came about.
    pub unconnected: usize,
    /// It was still open at the end.
    pub stuck: usize,
    /// Connections that were through the handshake.
    pub members: usize,
}

/// An attack under way.
#[derive(Debug)]
pub struct Attack(Vec<JoinHandle<Tally>>);

impl Attack {
    /// Starts `attempts` connections to `target`, which is `expected`, as fast as the window of sockets allows.
    #[must_use]
    pub fn start(target: SocketAddr, expected: Expected, attempts: usize) -> Self {
        let each = attempts / THREADS;
        Self((0..THREADS).map(|_| thread::spawn(move || attack(target, &expected, each))).collect())
    }

    /// Whether every attempt has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If a thread of it did.
    #[must_use]
    pub fn finish(self) -> Tally {
        let tallies = self.0.into_iter().map(|thread| thread.join().expect("the attacker does not panic"));
        tallies.fold(Tally::default(), |sum, one| Tally {
            answered: sum.answered + one.answered,
            hung_up: sum.hung_up + one.hung_up,
            unconnected: sum.unconnected + one.unconnected,
            stuck: sum.stuck + one.stuck,
            members: sum.members + one.members,
        })
    }
}

struct Attempt {
    stream: TcpStream,
    manner: Manner,
    since: Instant,
    answer: Vec<u8>,
    initiator: Option<Initiator>,
    drips: u64,
}

fn attack(target: SocketAddr, expected: &Expected, attempts: usize) -> Tally {
    let mut tally = Tally::default();
    let mut open: Vec<Attempt> = Vec::new();
    let mut left = attempts;
    while left > 0 || !open.is_empty() {
        let (goal, mut begun) = (attempts.saturating_sub(MEMBERS), 0);
        while left > 0 && open.len() < WINDOW && (left <= goal || begun < MEMBERS_A_ROUND) {
            begun += 1;
            let manner = if left > goal { Manner::Member } else { MANNERS[left % MANNERS.len()] };
            match Attempt::begin(target, expected, manner) {
                Ok(attempt) => open.push(attempt),
                Err(_) => tally.unconnected += 1,
            }
            left -= 1;
        }
        open.retain_mut(|attempt| {
            let ended = attempt.go_on(&mut tally);
            match (ended, attempt.answer.is_empty()) {
                (false, _) if attempt.since.elapsed() < PATIENCE => return true,
                (false, _) => tally.stuck += 1,
                (true, true) => tally.hung_up += 1,
                (true, false) => tally.answered += 1,
            }
            false
        });
        thread::sleep(ROUND);
    }
    tally
}

impl Attempt {
    fn begin(target: SocketAddr, expected: &Expected, manner: Manner) -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(SOURCE, 0))?;
        connect(&socket, &target)?;
        let mut stream = TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        // Another key each time.
        let seed = *blake3::hash(format!("{:?}", stream.local_addr()?).as_bytes()).as_bytes();
        let (initiator, first) = Initiator::start(&TransportKey::new(seed), &[8; 32], expected);
        // What it does not take now is no loss.
        let _ = match manner {
            Manner::Silence => Ok(0),
            Manner::Garbage => stream.write(&[0xa5; 4096]),
            Manner::Replay | Manner::Member => stream.write(&first),
            Manner::Drip => stream.write(&first[..1]),
        };
        Ok(Self { stream, manner, since: Instant::now(), answer: Vec::new(), initiator: Some(initiator), drips: 1 })
    }

    /// Looks at the answer and does the next evil thing. True: the node has hung up.
    fn go_on(&mut self, tally: &mut Tally) -> bool {
        let mut bytes = [0; 256];
        match self.stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(count) => self.answer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return true,
        }
        if self.manner == Manner::Member
            && let Some(second) = self.answer.get(2..2 + SECOND_LEN)
            && let Some(initiator) = self.initiator.take()
            && let Ok((third, ..)) = initiator.finish(second.try_into().expect("its length"))
        {
            tally.members += 1;
            let _ = self.stream.write(&[&third[..], &[0xff, 0xff]].concat());
        }
        if matches!(self.manner, Manner::Drip | Manner::Member) && self.since.elapsed().as_secs() >= self.drips {
            self.drips += 1;
            let _ = self.stream.write(b"D");
        }
        false
    }
}
