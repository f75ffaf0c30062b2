//! The Noise handshake and session over byte slices (docs/wire.md sections 2 to 4).
//!
//! Invariant: no I/O, and a nonce counter moves only when its frame was sealed or opened.

use std::sync::Arc;

use snow::{Builder, HandshakeState, StatelessTransportState};

use crate::id::{NetworkId, NodeId, NoiseKey};
use crate::keys::TransportKey;
use crate::rt::Timestamp;

const PATTERN: &str = "Noise_XK_25519_AESGCM_SHA256";
const MAGIC: &[u8; 4] = b"DSTR";
const PROLOGUE: &[u8; 15] = b"dstore-noise-v1";
/// The only version of the protocol so far.
pub const VERSION: u8 = 1;
/// AESGCM: the only suite so far.
const SUITE_AESGCM: u8 = 1;

/// Bytes of the preamble and of the three handshake messages.
pub const PREAMBLE_LEN: usize = 16;
/// `e, es`.
pub const FIRST_LEN: usize = 32 + 16;
/// `e, ee` and the responder's payload.
pub const SECOND_LEN: usize = 32 + PAYLOAD_LEN + 16;
/// `s, se` and the initiator's payload.
pub const THIRD_LEN: usize = 32 + 16 + PAYLOAD_LEN + 16;
/// Both payloads have this length, zero filled.
const PAYLOAD_LEN: usize = 32;
/// What a frame adds to its plaintext.
pub const TAG_LEN: usize = 16;
/// The longest frame, bytes on the wire without its length.
pub const MAX_FRAME_LEN: usize = 65_535;

/// What the other side of a connection is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A storage node.
    Node,
    /// A registry.
    Registry,
}

impl Role {
    const fn code(self) -> u8 {
        match self {
            Self::Node => 1,
            Self::Registry => 2,
        }
    }
}

/// Who is expected at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its identity.
    pub id: NodeId,
    /// Its transport key.
    pub noise_key: NoiseKey,
    /// What it serves as.
    pub role: Role,
    /// The network both belong to.
    pub network: NetworkId,
}

/// Why a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The other side has another key, or belongs to another network: the two look the same.
    #[error("the key is not the one expected, or the network differs")]
    KeyOrNetwork,
    /// It speaks other versions of the protocol, as it says unauthenticated.
    #[error("it speaks versions {min} to {max}")]
    Version {
        /// Its lowest.
        min: u8,
        /// Its highest.
        max: u8,
    },
    /// It speaks another cipher suite.
    #[error("it does not speak cipher suite {SUITE_AESGCM}")]
    Suite,
    /// It serves as something else.
    #[error("it serves another role")]
    Role,
    /// It is at one of its limits.
    #[error("it is busy")]
    Busy,
    /// The bytes are no handshake of this protocol.
    #[error("this is not the dstore protocol")]
    NotOurs,
}

/// A refusal in the clear, instead of the second message: 6 bytes, of which the first two are a zero length.
pub const REFUSAL_LEN: usize = 6;

impl HandshakeError {
    /// The refusal that a responder sends.
    #[must_use]
    pub fn refusal(self) -> [u8; REFUSAL_LEN] {
        let code = match self {
            Self::Version { .. } => 1,
            Self::Suite => 2,
            Self::Busy => 3,
            Self::KeyOrNetwork => 4,
            Self::Role => 5,
            Self::NotOurs => 6,
        };
        [0, 0, code, VERSION, VERSION, SUITE_AESGCM]
    }

    /// What a refusal says, after its two zero bytes. It is not authenticated: a hint for the error text, nothing more.
    #[must_use]
    pub fn from_refusal(refusal: [u8; REFUSAL_LEN - 2]) -> Self {
        match refusal[0] {
            1 => Self::Version { min: refusal[1], max: refusal[2] },
            2 => Self::Suite,
            3 => Self::Busy,
            5 => Self::Role,
            6 => Self::NotOurs,
            _ => Self::KeyOrNetwork,
        }
    }
}

fn preamble(role: Role) -> [u8; PREAMBLE_LEN] {
    let mut preamble = [0; PREAMBLE_LEN];
    preamble[..4].copy_from_slice(MAGIC);
    preamble[4..8].copy_from_slice(&[VERSION, VERSION, SUITE_AESGCM, role.code()]);
    preamble
}

fn state(
    local: &TransportKey,
    ephemeral: &[u8; 32],
    remote: Option<&NoiseKey>,
    preamble: &[u8; PREAMBLE_LEN],
    network: NetworkId,
    responder: NodeId,
) -> HandshakeState {
    let prologue = [&PROLOGUE[..], preamble, network.as_bytes(), responder.as_bytes()].concat();
    let params = PATTERN.parse().expect("a pattern that snow knows");
    // Randomness comes in as an argument, so that a seed decides everything in a simulation.
    let builder = Builder::new(params)
        .local_private_key(local.as_bytes())
        .and_then(|builder| builder.prologue(&prologue))
        .expect("set once each")
        .fixed_ephemeral_key_for_testing_only(ephemeral);
    match remote {
        Some(key) => builder.remote_public_key(key.as_bytes()).and_then(Builder::build_initiator),
        None => builder.build_responder(),
    }
    .expect("all keys of the pattern are there")
}

/// The side that dials, after its first message.
pub struct Initiator(HandshakeState);

impl Initiator {
    /// Starts a handshake: answers the bytes to send, preamble and first message.
    /// `ephemeral` is 32 fresh random bytes.
    #[must_use]
    pub fn start(local: &TransportKey, ephemeral: &[u8; 32], expected: &Expected) -> (Self, Vec<u8>) {
        let preamble = preamble(expected.role);
        let mut state = state(local, ephemeral, Some(&expected.noise_key), &preamble, expected.network, expected.id);
        let mut first = [0; FIRST_LEN];
        state.write_message(&[], &mut first).expect("the buffer fits the first message");
        let mut bytes = preamble.to_vec();
        push(&mut bytes, &first);
        (Self(state), bytes)
    }

    /// Reads the second message: answers the bytes of the third, the session and the responder's clock.
    ///
    /// # Errors
    /// [`HandshakeError::KeyOrNetwork`] if it does not come from whom was expected.
    pub fn finish(mut self, second: &[u8; SECOND_LEN]) -> Result<(Vec<u8>, Session, Timestamp), HandshakeError> {
        let mut ack = [0; PAYLOAD_LEN];
        self.0.read_message(second, &mut ack).map_err(|_| HandshakeError::KeyOrNetwork)?;
        if ack[0] != VERSION {
            return Err(HandshakeError::Version { min: ack[0], max: ack[0] });
        }
        let mut clock = [0; 8];
        clock.copy_from_slice(&ack[8..16]);
        let mut hello = [0; PAYLOAD_LEN];
        hello[0] = VERSION;
        let mut third = [0; THIRD_LEN];
        self.0.write_message(&hello, &mut third).expect("the buffer fits the third message");
        let mut bytes = Vec::with_capacity(2 + THIRD_LEN);
        push(&mut bytes, &third);
        Ok((bytes, Session::new(self.0), Timestamp::from_millis(u64::from_be_bytes(clock))))
    }
}

/// The side that listens, after its second message.
pub struct Responder(HandshakeState);

impl Responder {
    /// Reads preamble and first message: answers the bytes of the second.
    /// `ephemeral` is 32 fresh random bytes, `now` goes to the initiator.
    ///
    /// # Errors
    /// What the initiator is to be told with [`HandshakeError::refusal`].
    pub fn start(
        local: &TransportKey,
        ephemeral: &[u8; 32],
        me: (NodeId, Role, NetworkId),
        preamble: &[u8; PREAMBLE_LEN],
        first: &[u8; FIRST_LEN],
        now: Timestamp,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let (id, role, network) = me;
        Self::check(preamble, role)?;
        let mut state = state(local, ephemeral, None, preamble, network, id);
        state.read_message(first, &mut []).map_err(|_| HandshakeError::KeyOrNetwork)?;
        let mut ack = [0; PAYLOAD_LEN];
        ack[0] = VERSION;
        ack[8..16].copy_from_slice(&now.as_millis().to_be_bytes());
        let mut second = [0; SECOND_LEN];
        state.write_message(&ack, &mut second).expect("the buffer fits the second message");
        let mut bytes = Vec::with_capacity(2 + SECOND_LEN);
        push(&mut bytes, &second);
        Ok((Self(state), bytes))
    }

    /// Whether a preamble asks for something that `role` can serve.
    ///
    /// # Errors
    /// What the initiator is to be told.
    pub fn check(preamble: &[u8; PREAMBLE_LEN], role: Role) -> Result<(), HandshakeError> {
        if preamble[..4] != *MAGIC {
            return Err(HandshakeError::NotOurs);
        }
        if !(preamble[4]..=preamble[5]).contains(&VERSION) {
            return Err(HandshakeError::Version { min: VERSION, max: VERSION });
        }
        if preamble[6] != SUITE_AESGCM {
            return Err(HandshakeError::Suite);
        }
        if preamble[7] != role.code() {
            return Err(HandshakeError::Role);
        }
        Ok(())
    }

    /// Reads the third message: answers the session and the initiator's transport key.
    ///
    /// # Errors
    /// [`HandshakeError::KeyOrNetwork`] if it is not the third message of this handshake.
    pub fn finish(mut self, third: &[u8; THIRD_LEN]) -> Result<(Session, NoiseKey), HandshakeError> {
        let mut hello = [0; PAYLOAD_LEN];
        self.0.read_message(third, &mut hello).map_err(|_| HandshakeError::KeyOrNetwork)?;
        if hello[0] != VERSION {
            return Err(HandshakeError::NotOurs);
        }
        let remote = self.0.get_remote_static().and_then(|key| key.try_into().ok());
        let remote = NoiseKey::new(remote.expect("XK transmits the initiator's static key"));
        Ok((Session::new(self.0), remote))
    }
}

fn push(bytes: &mut Vec<u8>, message: &[u8]) {
    let len = u16::try_from(message.len()).expect("a handshake message is short");
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(message);
}

/// An authenticated connection's keys.
pub struct Session {
    state: StatelessTransportState,
    hash: [u8; 32],
}

impl Session {
    fn new(state: HandshakeState) -> Self {
        let hash = state.get_handshake_hash().try_into().expect("SHA-256 has 32 bytes");
        Self { state: state.into_stateless_transport_mode().expect("the handshake is complete"), hash }
    }

    /// The hash of the whole handshake: names this connection alone.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The keys of both directions.
    #[must_use]
    pub fn split(self) -> (FrameSealer, FrameOpener) {
        let state = Arc::new(self.state);
        (FrameSealer { state: state.clone(), nonce: 0 }, FrameOpener { state, nonce: 0 })
    }
}

/// The frame is not the next one of this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame was changed, repeated or left out")]
pub struct FrameError;

/// Seals the frames that go out.
pub struct FrameSealer {
    state: Arc<StatelessTransportState>,
    nonce: u64,
}

impl FrameSealer {
    /// Appends `u16 length || ciphertext` to `out`. `plaintext` has at most `MAX_FRAME_LEN - TAG_LEN` bytes.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let len = u16::try_from(plaintext.len() + TAG_LEN).expect("frames are cut to fit");
        out.extend_from_slice(&len.to_be_bytes());
        let start = out.len();
        out.resize(start + usize::from(len), 0);
        self.state.write_message(self.nonce, plaintext, &mut out[start..]).expect("the length was checked");
        self.nonce += 1;
    }

    /// Frames so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.nonce
    }
}

/// Opens the frames that come in.
pub struct FrameOpener {
    state: Arc<StatelessTransportState>,
    nonce: u64,
}

impl FrameOpener {
    /// Opens the next frame into `out`, which is replaced.
    ///
    /// # Errors
    /// [`FrameError`] if it is not the next frame of this connection.
    pub fn open(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let len = frame.len().checked_sub(TAG_LEN).ok_or(FrameError)?;
        out.resize(len, 0);
        self.state.read_message(self.nonce, frame, out).map_err(|_| FrameError)?;
        self.nonce += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId::new([7; 32]);
    const ID: NodeId = NodeId::new([3; 20]);

    fn keys() -> (TransportKey, TransportKey) {
        (TransportKey::new([1; 32]), TransportKey::new([2; 32]))
    }

    fn expected() -> Expected {
        Expected { id: ID, noise_key: keys().1.public_key(), role: Role::Node, network: NETWORK }
    }

    fn answer(bytes: &[u8], me: (NodeId, Role, NetworkId)) -> Result<(Responder, Vec<u8>), HandshakeError> {
        let preamble = bytes[..PREAMBLE_LEN].try_into().expect("whole");
        let first = bytes[PREAMBLE_LEN + 2..].try_into().expect("whole");
        Responder::start(&keys().1, &[9; 32], me, preamble, first, Timestamp::from_millis(5))
    }

    fn pair() -> (Session, Session) {
        let (initiator, bytes) = Initiator::start(&keys().0, &[8; 32], &expected());
        let (responder, second) = answer(&bytes, (ID, Role::Node, NETWORK)).expect("served");
        let (third, ours, clock) = initiator.finish(second[2..].try_into().expect("whole")).expect("expected");
        assert_eq!(clock, Timestamp::from_millis(5));
        let (theirs, remote) = responder.finish(third[2..].try_into().expect("whole")).expect("third");
        assert_eq!(remote, keys().0.public_key());
        (ours, theirs)
    }

    #[test]
    fn both_sides_share_a_session_after_three_messages() {
        let (ours, theirs) = pair();
        assert_eq!(ours.hash(), theirs.hash());
        let (mut sealer, _) = ours.split();
        let (_, mut opener) = theirs.split();
        for text in [&b"one"[..], b"", &[7; 49_153]] {
            let mut frame = vec![];
            sealer.seal(text, &mut frame);
            let mut out = vec![];
            opener.open(&frame[2..], &mut out).expect("in order");
            assert_eq!(out, text);
        }
    }

    #[test]
    fn another_key_network_identity_or_role_ends_the_handshake() {
        let (_, bytes) = Initiator::start(&keys().0, &[8; 32], &expected());
        let fails = |bytes: &[u8], me| answer(bytes, me).err();
        let other = NetworkId::new([8; 32]);
        assert_eq!(fails(&bytes, (ID, Role::Node, other)), Some(HandshakeError::KeyOrNetwork));
        assert_eq!(fails(&bytes, (NodeId::new([4; 20]), Role::Node, NETWORK)), Some(HandshakeError::KeyOrNetwork));
        assert_eq!(fails(&bytes, (ID, Role::Registry, NETWORK)), Some(HandshakeError::Role));
        let wrong = Expected { noise_key: NoiseKey::new([9; 32]), ..expected() };
        let (_, bytes) = Initiator::start(&keys().0, &[8; 32], &wrong);
        assert_eq!(fails(&bytes, (ID, Role::Node, NETWORK)), Some(HandshakeError::KeyOrNetwork));
    }

    #[test]
    fn a_preamble_changed_on_the_way_breaks_the_handshake() {
        let (_, bytes) = Initiator::start(&keys().0, &[8; 32], &expected());
        for at in 0..PREAMBLE_LEN {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(answer(&changed, (ID, Role::Node, NETWORK)).is_err(), "byte {at}");
        }
        let mut unknown = bytes.clone();
        unknown[4..6].copy_from_slice(&[2, 3]);
        let refused = answer(&unknown, (ID, Role::Node, NETWORK)).err();
        assert_eq!(refused, Some(HandshakeError::Version { min: 1, max: 1 }));
    }

    #[test]
    fn repeated_changed_or_left_out_frames_are_refused_and_the_counter_stays() {
        let (ours, theirs) = pair();
        let (mut sealer, _) = ours.split();
        let (_, mut opener) = theirs.split();
        let mut seal = |text: &[u8]| {
            let mut frame = vec![];
            sealer.seal(text, &mut frame);
            frame.split_off(2)
        };
        let (first, second) = (seal(b"first"), seal(b"second"));
        let mut out = vec![];
        assert_eq!(opener.open(&second, &mut out), Err(FrameError), "left out");
        let mut changed = first.clone();
        changed[0] ^= 1;
        assert_eq!(opener.open(&changed, &mut out), Err(FrameError), "changed");
        assert_eq!(opener.open(&first[..10], &mut out), Err(FrameError), "cut");
        opener.open(&first, &mut out).expect("errors did not move the counter");
        assert_eq!(opener.open(&first, &mut out), Err(FrameError), "repeated");
        opener.open(&second, &mut out).expect("in order");
    }

    #[test]
    fn a_replayed_handshake_gives_another_session() {
        let (initiator, bytes) = Initiator::start(&keys().0, &[8; 32], &expected());
        drop(initiator);
        let first = bytes[PREAMBLE_LEN + 2..].try_into().expect("whole");
        let preamble = bytes[..PREAMBLE_LEN].try_into().expect("whole");
        let me = (ID, Role::Node, NETWORK);
        let start =
            |e| Responder::start(&keys().1, &[e; 32], me, preamble, first, Timestamp::default()).expect("served").1;
        assert_ne!(start(9), start(10), "the responder's own key is fresh, so the third message cannot be replayed");
    }

    #[test]
    fn every_refusal_reads_back() {
        use HandshakeError::*;
        for error in [KeyOrNetwork, Version { min: 1, max: 1 }, Suite, Role, Busy, NotOurs] {
            let [0, 0, rest @ ..] = error.refusal() else { panic!("a refusal starts with a zero length") };
            assert_eq!(HandshakeError::from_refusal(rest), error);
        }
    }
}
