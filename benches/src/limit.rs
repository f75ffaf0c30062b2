//! The least that a put and a get can take: each kind of work alone, on this machine, now.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use dstore::Scheme;
use dstore::erasure::Stripes;
use dstore::merkle::{BLOCK_LEN, Leaf, TreeBuilder};
use dstore::seal::{Plaintext, Sealed};

use crate::{sample, usage};

/// Plaintext bytes that each kind of work is measured with, about.
const SAMPLE: usize = 32 << 20;
/// Bytes on their way through a socket at once.
const SOCKET_PIECE: usize = 256 << 10;
/// Plaintext of a data frame: three blocks and the kind.
const FRAME: usize = 3 * BLOCK_LEN + 1;

/// Processor time for each kind of work, for each GiB of a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limit {
    seal: Duration,
    open: Duration,
    /// Reed-Solomon, and the hash of every block at the client.
    encode: Duration,
    /// BLAKE3 over as many bytes as the file has.
    hash: Duration,
    /// Noise at both ends over as many bytes as the file has.
    noise: Duration,
    /// A loopback connection, both ends.
    tcp: Duration,
}

impl Limit {
    /// Measures every kind of work alone: the least of three, as whatever else runs only adds.
    #[must_use]
    pub fn measure() -> Self {
        let runs = [(); 3].map(|()| Self::measure_once());
        let least = |part: fn(&Self) -> Duration| runs.iter().map(part).min().unwrap_or_default();
        Self {
            seal: least(|run| run.seal),
            open: least(|run| run.open),
            encode: least(|run| run.encode),
            hash: least(|run| run.hash),
            noise: least(|run| run.noise),
            tcp: least(|run| run.tcp),
        }
    }

    fn measure_once() -> Self {
        let sealer = sample::sealer();
        let step = sample::BATCH_SEGMENTS as u64;
        let mut plain: Vec<Plaintext> = (0..SAMPLE as u64 >> 20).map(|at| sample::batch(at * step)).collect();
        let len = plain.iter().map(Plaintext::len).sum();
        let mut sealed: Vec<Sealed> = Vec::with_capacity(plain.len());
        let seal = usage::measure(|| sealed.extend(plain.drain(..).map(|batch| batch.seal(&sealer, false))));
        let to_open = sealed.clone();
        let open = usage::measure(|| {
            for batch in to_open {
                black_box(batch.open(&sealer).is_ok());
            }
        });
        let encode = usage::measure(|| {
            for batch in sealed {
                black_box(Stripes::encode(batch));
            }
        });
        let bytes = sample::bytes(SAMPLE);
        Self {
            seal: per_gib(seal, len),
            open: per_gib(open, len),
            encode: per_gib(encode, len),
            hash: per_gib(usage::measure(|| hash(&bytes)), SAMPLE),
            noise: per_gib(usage::measure(|| noise(&bytes)), SAMPLE),
            tcp: per_gib(loopback(), SAMPLE),
        }
    }

    /// What a put of `bytes` takes at least, all cores at work. The client hashes content and blocks, nodes the blocks.
    #[must_use]
    pub fn put(&self, bytes: u64) -> Duration {
        let stored = |work: Duration| work.mul_f64(expansion());
        let whole = self.seal + self.encode + self.hash + stored(self.hash) + stored(self.noise) + stored(self.tcp);
        share(whole, bytes)
    }

    /// What a get of `bytes` takes at least, all cores at work. The client hashes blocks and content; nodes kept their hashes.
    #[must_use]
    pub fn get(&self, bytes: u64) -> Duration {
        share(self.open + self.hash * 2 + self.noise + self.tcp, bytes)
    }

    /// What was measured, for one line each.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, Duration); 6] {
        [
            ("seal", self.seal),
            ("open", self.open),
            ("encode and hash", self.encode),
            ("hash", self.hash),
            ("Noise, both ends", self.noise),
            ("loopback TCP, both ends", self.tcp),
        ]
    }
}

/// Bytes stored for each byte of a file.
#[must_use]
pub fn expansion() -> f64 {
    let count = |shards: usize| u32::try_from(shards).map_or(0.0, f64::from);
    count(Scheme::STANDARD.shards()) / count(Scheme::STANDARD.data())
}

/// Cores of this machine.
#[must_use]
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn share(per_gib: Duration, bytes: u64) -> Duration {
    per_gib.mul_f64(bytes as f64 / f64::from(1 << 30)) / cores()
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn per_gib(time: Duration, bytes: usize) -> Duration {
    time.mul_f64(f64::from(1 << 30) / bytes as f64)
}

fn hash(bytes: &[u8]) {
    let mut tree = TreeBuilder::new();
    for block in bytes.chunks(BLOCK_LEN) {
        tree.push(Leaf::new(tree.count().max(1), block), |_| ());
    }
    black_box(tree.count());
}

fn noise(bytes: &[u8]) {
    let (near, far) = sample::sessions();
    let ((mut sealer, _), (_, mut opener)) = (near.split(), far.split());
    let (mut sealed, mut opened) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(FRAME) {
        sealed.clear();
        sealer.seal(piece, &mut sealed);
        opener.open(&sealed[2..], &mut opened).expect("frames in order");
        black_box(&opened);
    }
}

/// Processor time of both ends of a loopback connection.
fn loopback() -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback address");
    let address = listener.local_addr().expect("a bound address");
    let reading = std::thread::spawn(move || {
        usage::measure(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut piece = vec![0; SOCKET_PIECE];
            while stream.read(&mut piece).expect("a loopback connection holds") > 0 {}
        })
    });
    let mut stream = TcpStream::connect(address).expect("a loopback connection");
    let piece = sample::bytes(SOCKET_PIECE);
    let writing = usage::measure(|| {
        for _ in 0..SAMPLE / SOCKET_PIECE {
            stream.write_all(&piece).expect("a loopback connection holds");
        }
        drop(stream);
    });
    writing + reading.join().expect("the reader does not panic")
}
