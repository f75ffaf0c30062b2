//! Bytes that do not compress, batches of segments, and both ends of a Noise session.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use dstore::Scheme;
use dstore::id::{NetworkId, NodeId};
use dstore::keys::{ContentKey, TransportKey, network_id};
use dstore::noise::{Expected, Initiator, PREAMBLE_LEN, Responder, Role, Session};
use dstore::rt::Timestamp;
use dstore::seal::{Plaintext, Sealer};

/// Segments of a batch of about a megabyte, as the client cuts them.
pub const BATCH_SEGMENTS: usize = 16;

/// `len` bytes that do not compress, the same each time.
#[must_use]
pub fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Writes `len` such bytes to a file.
///
/// # Errors
/// Those of the disk.
pub fn write_file(path: &Path, len: u64) -> io::Result<()> {
    let mut source = blake3::Hasher::new().finalize_xof().take(len);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    io::copy(&mut source, &mut file)?;
    file.flush()
}

/// Whether two files hold the same bytes.
///
/// # Errors
/// Those of the disk.
pub fn same_files(one: &Path, other: &Path) -> io::Result<bool> {
    let hash = |path| io::Result::Ok(blake3::Hasher::new().update_reader(File::open(path)?)?.finalize());
    Ok(hash(one)? == hash(other)?)
}

/// The keys of some content.
#[must_use]
pub fn sealer() -> Sealer {
    Sealer::new(&ContentKey::new([5; 32]))
}

/// A full batch whose first segment is `first`.
#[must_use]
pub fn batch(first: u64) -> Plaintext {
    let mut batch = Plaintext::with_capacity(Scheme::STANDARD, first, BATCH_SEGMENTS);
    while let Some(space) = batch.space() {
        let len = space.len();
        space.fill(7);
        batch.advance(len);
    }
    batch
}

/// The network of the samples.
#[must_use]
pub fn network() -> NetworkId {
    network_id("bench")
}

/// Both ends of a session.
///
/// # Panics
/// If the handshake is broken.
#[must_use]
pub fn sessions() -> (Session, Session) {
    let (ours, theirs) = (TransportKey::new([1; 32]), TransportKey::new([2; 32]));
    let id = NodeId::new([3; 20]);
    let expected = Expected { id, noise_key: theirs.public_key(), role: Role::Node, network: network() };
    let (initiator, bytes) = Initiator::start(&ours, &[8; 32], &expected);
    let (preamble, first) = bytes.split_at(PREAMBLE_LEN);
    let (responder, second) = Responder::start(
        &theirs,
        &[9; 32],
        (id, Role::Node, network()),
        preamble.try_into().expect("a preamble"),
        first[2..].try_into().expect("a first message"),
        Timestamp::from_millis(0),
    )
    .expect("the handshake begins");
    let (third, near, _) = initiator.finish(second[2..].try_into().expect("a second message")).expect("goes on");
    let (far, _) = responder.finish(third[2..].try_into().expect("a third message")).expect("ends");
    (near, far)
}
