//! Frames of a session, and both ends of a handshake against a peer that keeps to it or not.

use dstore::id::{NetworkId, NodeId};
use dstore::keys::{TransportKey, network_id};
use dstore::noise::{
    Expected, FIRST_LEN, FrameOpener, FrameSealer, HandshakeError, Initiator, PREAMBLE_LEN, Responder, Role,
    SECOND_LEN, Session,
};
use dstore::proto::Refusal;
use dstore::rt::Timestamp;

use super::Accepted;
use super::input::Input;

/// What is in the clear in place of a message; nothing of it is authenticated.
pub(super) fn refusal(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let [0, 0, rest @ ..] = HandshakeError::from_refusal(input.array()).refusal() else {
        panic!("a refusal starts with a zero length")
    };
    let _ = HandshakeError::from_refusal(rest);
    let code = u16::from_be_bytes(input.array());
    assert_eq!(u16::from(Refusal::from(code)), code, "every code reads back");
    Some(())
}

const NETWORK: NetworkId = NetworkId::new([7; 32]);
const RESPONDER: (NodeId, Role, NetworkId) = (NodeId::new([3; 20]), Role::Node, NETWORK);

pub(super) fn key(byte: u8) -> TransportKey {
    TransportKey::new([byte; 32])
}

fn started() -> (Initiator, Vec<u8>) {
    let (id, role, network) = RESPONDER;
    Initiator::start(&key(1), &[8; 32], &Expected { id, noise_key: key(2).public_key(), role, network })
}

fn answer(first: &[u8]) -> Option<(Responder, Vec<u8>)> {
    let (preamble, message) = first.split_first_chunk::<PREAMBLE_LEN>()?;
    let message: &[u8; FIRST_LEN] = message.get(2..)?.try_into().ok()?;
    Responder::start(&key(2), &[9; 32], RESPONDER, preamble, message, Timestamp::default()).ok()
}

/// `good`, with the input laid over it.
pub(super) fn changed(good: &[u8], by: &[u8]) -> Vec<u8> {
    good.iter().zip(by.iter().chain(std::iter::repeat(&0))).map(|(good, by)| good ^ by).collect()
}

/// Each message arrives as it was sent but for the input; only what was not changed is accepted.
pub(super) fn handshake_messages(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let which = input.byte() % 3;
    let (initiator, first) = started();
    let mut change = |at: u8, good: &[u8]| if at == which { changed(good, input.rest()) } else { good.to_vec() };
    let arrived = change(0, &first);
    // The length in front is the stream's matter.
    let same = |sent: &[u8], arrived: &[u8], from: usize| sent[from..] == arrived[from..];
    let is_same = first[..PREAMBLE_LEN] == arrived[..PREAMBLE_LEN] && same(&first, &arrived, PREAMBLE_LEN + 2);
    let Some((responder, second)) = answer(&arrived) else {
        assert!(!is_same, "an honest first message was refused");
        return None;
    };
    assert!(is_same, "a changed first message was accepted");
    let arrived = change(1, &second);
    let message: &[u8; SECOND_LEN] = arrived[2..].try_into().expect("its length");
    let Ok((third, ours, _)) = initiator.finish(message) else {
        assert!(!same(&second, &arrived, 2), "an honest second message was refused");
        return None;
    };
    assert!(same(&second, &arrived, 2), "a changed second message was accepted");
    let arrived = change(2, &third);
    let finished = responder.finish(arrived[2..].try_into().expect("its length"));
    assert_eq!(finished.is_ok(), same(&third, &arrived, 2), "the third message arrived as it was sent, or not");
    let (theirs, initiator) = finished.ok()?;
    assert_eq!((theirs.hash(), initiator), (ours.hash(), key(1).public_key()));
    Some(())
}

fn sessions() -> (Session, Session) {
    let (initiator, first) = started();
    let (responder, second) = answer(&first).expect("honest");
    let (third, ours, _) = initiator.finish(second[2..].try_into().expect("its length")).expect("honest");
    (ours, responder.finish(third[2..].try_into().expect("its length")).expect("honest").0)
}

/// True frames among changed, cut and made-up ones: each true one opens in its turn, and nothing else ever.
pub(super) fn frames(data: &[u8]) -> Accepted {
    let (ours, theirs) = sessions();
    let ((mut sealer, _), (_, mut opener)): ((FrameSealer, _), (_, FrameOpener)) = (ours.split(), theirs.split());
    let (mut input, mut out, mut frame) = (Input(data), Vec::new(), Vec::new());
    while !input.is_empty() {
        let (kind, len) = (input.byte(), input.byte());
        let bytes = input.bytes(usize::from(len));
        frame.clear();
        if kind % 4 == 0 {
            assert!(opener.open(bytes, &mut out).is_err(), "a made-up frame opened");
            continue;
        }
        sealer.seal(bytes, &mut frame);
        let (at, by) = (usize::from(kind >> 2), kind % 4);
        if by > 1 {
            let mut wrong = frame[2..].to_vec();
            let at = at % wrong.len();
            wrong[at] ^= by;
            assert!(opener.open(&wrong, &mut out).is_err(), "a changed frame opened");
            assert!(opener.open(&frame[2..2 + at], &mut out).is_err(), "a cut frame opened");
        }
        opener.open(&frame[2..], &mut out).expect("the next frame");
        assert_eq!(out, bytes);
        assert!(opener.open(&frame[2..], &mut out).is_err(), "a repeated frame opened");
    }
    Some(())
}

/// The network that servers belong to unless told otherwise.
pub(super) fn default_network() -> NetworkId {
    network_id("dstore")
}
