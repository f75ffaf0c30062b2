//! Whole servers and clients of servers, with a peer that sends whatever the input says, split as it says.
//!
//! What holds: nothing panics, a peer without a handshake gets next to nothing, and every connection ends.

use std::time::Duration;

use dstore::id::ShardRoot;
use dstore::node::NodeHandle;
use dstore::noise::{
    Expected, FrameSealer, Initiator, MAX_FRAME_LEN, PREAMBLE_LEN, REFUSAL_LEN, Responder, Role, SECOND_LEN, TAG_LEN,
    THIRD_LEN,
};
use dstore::proto::{
    self, BlockRequest, CapabilityKey, Deletion, NodeRequest, PutEnd, PutOffer, RegistryReply, Rights, ShardName,
    Signed, Token,
};
use dstore::rt::Timestamp;
use dstore::signature::SecretKey;
use dstore::store::MemoryStore;
use dstore::{Registry, RegistryAddr, RegistryHandle, ServerIdentity, StorageNode};

use super::Accepted;
use super::input::Input;
use super::session::{changed, default_network, key};
use super::world::{Peer, World};

/// Longer than a handshake may take, and longer than a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(100);
/// Frames and statements that one input makes at most.
const MAX_STEPS: usize = 64;
/// What fits into a frame beside its kind.
const MAX_PAYLOAD: usize = MAX_FRAME_LEN - TAG_LEN - 1;
const CAPACITY: u64 = 8 << 20;

fn identity() -> ServerIdentity {
    ServerIdentity::from_secrets(&[0x55; 32], [0x66; 32]).expect("keys")
}

fn node(world: &mut World, store: MemoryStore) -> NodeHandle {
    let builder = StorageNode::builder().identity(identity()).store(store).capacity(CAPACITY);
    world.run(builder.rt(world.rt()).start()).expect("it starts")
}

fn registry(world: &mut World) -> RegistryHandle {
    world.run(Registry::builder().identity(identity()).rt(world.rt()).start()).expect("it starts")
}

fn expected(role: Role) -> Expected {
    Expected { id: identity().id(), noise_key: identity().noise_key(), role, network: default_network() }
}

/// A stranger to a node: bytes of its own, or an honest handshake with the input laid over one of its messages.
pub(super) fn handshake(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let (mode, seed) = (input.byte() % 4, input.byte());
    let mut world = World::new();
    let node = node(&mut world, MemoryStore::new(CAPACITY));
    let peer = world.connect();
    let (initiator, first) = Initiator::start(&key(1), &[8; 32], &expected(Role::Node));
    let mut is_honest = true;
    let mut sent = |honest: &[u8], is_due: bool, input: &mut Input<'_>| {
        let bytes = if is_due { changed(honest, input.rest()) } else { honest.to_vec() };
        is_honest &= bytes == honest;
        bytes
    };
    if mode == 0 {
        is_honest = false;
        peer.send_split(input.rest(), seed);
    } else {
        peer.send_split(&sent(&first, mode == 1, &mut input), seed);
        world.settle();
        let answer = peer.take();
        let second = answer.get(2..).and_then(|second| second.try_into().ok());
        match second.and_then(|second| initiator.finish(second).ok()) {
            Some((third, ..)) => peer.send_split(&sent(&third, mode == 2, &mut input), seed),
            None => assert!(!is_honest && answer.len() <= REFUSAL_LEN, "an honest first message was refused"),
        }
    }
    world.settle();
    assert_eq!(node.connections() == 1, is_honest, "who kept to the handshake is in, and nobody else");
    peer.send_split(input.rest(), seed);
    over(&mut world, &peer, 2 + SECOND_LEN + REFUSAL_LEN);
    assert_eq!(node.connections(), 0);
    is_honest.then_some(())
}

/// Whatever was sent, the connection ends by itself, and with it what it is worth to its peer.
fn over(world: &mut World, peer: &Peer, most: usize) {
    world.pass(PATIENCE);
    assert!(peer.is_over(), "a connection outlived its peer's silence");
    assert!(peer.take().len() <= most, "a stranger got more than it may");
}

/// An authenticated client that does what it wants.
struct Client {
    peer: Peer,
    sealer: FrameSealer,
    session: [u8; 32],
    seed: u8,
    /// The end of the last body, for a `PutEnd` that is true.
    body: Vec<u8>,
}

impl Client {
    fn connect(world: &mut World, role: Role, seed: u8) -> Self {
        let peer = world.connect();
        let (initiator, first) = Initiator::start(&key(1), &[8; 32], &expected(role));
        peer.send(&first);
        world.settle();
        let second = peer.take();
        let (third, session, _) = initiator.finish(second[2..].try_into().expect("whole")).expect("honest");
        peer.send(&third);
        world.settle();
        let hash = session.hash();
        Self { peer, sealer: session.split().0, session: hash, seed, body: Vec::new() }
    }

    fn frame(&mut self, payload: &[u8], kind: u8) {
        let mut frame = Vec::new();
        self.sealer.seal(&[payload, &[kind]].concat(), &mut frame);
        self.peer.send_split(&frame, self.seed);
    }

    /// `len` times the same byte: an input need not hold what it sends.
    fn data(&mut self, byte: u8, len: usize, kind: u8) {
        let bytes = vec![byte; len];
        self.body.extend_from_slice(&bytes);
        self.frame(&bytes, kind);
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (step, fill) = (input.byte(), input.byte());
        match step % 12 {
            // A frame of any kind and length, the kind missing or unknown included.
            0 => {
                let len = usize::from(fill);
                let payload = input.bytes(len).to_vec();
                self.frame(&payload, step / 12);
            }
            1 => {
                let len = usize::from(fill);
                let payload = input.bytes(len).to_vec();
                let mut frame = Vec::new();
                self.sealer.seal(&payload, &mut frame);
                self.peer.send_split(&frame, self.seed);
            }
            2 | 3 => self.data(fill, usize::from(u16::from_be_bytes(input.array())) % MAX_PAYLOAD, step % 2 + 2),
            4 => {
                let len = usize::from(u16::from_be_bytes(input.array())) % MAX_PAYLOAD;
                self.frame(&vec![fill; len], step / 12 % 6);
            }
            5 => {
                let root = if fill & 1 == 0 { ShardRoot::of(&self.body) } else { ShardRoot::new([fill; 32]) };
                self.frame(&proto::encode(&PutEnd { root }), 1);
                self.body.clear();
            }
            _ => {
                let len = usize::from(u16::from_be_bytes(input.array())) % MAX_PAYLOAD;
                let request = self.authorised(step % 12, (fill, len), input);
                self.frame(&proto::encode(&request), 1);
                self.body.clear();
                if step % 12 == 7 {
                    self.data(fill, len, 3);
                }
            }
        }
    }

    /// A request that the shard's own capability has signed; `len` bytes `fill` are what is put.
    fn authorised(&self, step: u8, (fill, len): (u8, usize), input: &mut Input<'_>) -> NodeRequest {
        let capability = SecretKey::new(&[1 + fill % 2; 32]).expect("a key");
        let name =
            ShardName { capability: CapabilityKey::new(capability.public_key()), index: fill % 3, generation: 0 };
        let (node, network, session) = (identity().id(), default_network(), self.session);
        let token = |rights| {
            let (not_before, not_after) = (Timestamp::default(), Timestamp::from_millis(u64::MAX));
            let token = Token { node, name, rights, holder: None, not_before, not_after };
            Signed::new(&token, &capability, network, &[])
        };
        let offer = PutOffer {
            node,
            name,
            len: (fill & 4 == 0).then_some(len as u64),
            lease: input.number(),
            root: (fill & 8 == 0).then(|| ShardRoot::of(&vec![fill; len])),
        };
        match step {
            6 => NodeRequest::PutBegin(Signed::new(&offer, &capability, network, &session)),
            7 => NodeRequest::PutSmall(Signed::new(&offer, &capability, network, &session)),
            8 | 9 => {
                let range = BlockRequest { token: token(Rights::Read), first: input.number(), count: input.number() };
                if step == 8 { NodeRequest::Hashes(range) } else { NodeRequest::Read(range) }
            }
            10 if fill & 1 == 0 => NodeRequest::Stat(token(Rights::Read)),
            10 => NodeRequest::Renew { token: token(Rights::Renew), lease: input.number() },
            _ => NodeRequest::Delete(Signed::new(&Deletion { node, name }, &capability, network, &session)),
        }
    }
}

/// An authenticated client of a node: frames, bodies and requests in any order.
pub(super) fn node_link(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let mut world = World::new();
    let store = MemoryStore::new(CAPACITY);
    let node = node(&mut world, store.clone());
    let mut client = Client::connect(&mut world, Role::Node, input.byte());
    assert_eq!(node.connections(), 1);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        client.step(&mut input);
        world.settle();
        drop(client.peer.take());
    }
    let is_stored = !store.ids().is_empty();
    over(&mut world, &client.peer, 2 * (1 << 16));
    assert_eq!(node.connections(), 0);
    is_stored.then_some(())
}

/// An authenticated client of a registry: messages in any number of parts, and frames of any kind.
pub(super) fn registry_link(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let mut world = World::new();
    let registry = registry(&mut world);
    let mut client = Client::connect(&mut world, Role::Registry, input.byte());
    let mut is_answered = false;
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        let (kind, len) = (input.byte(), usize::from(u16::from_be_bytes(input.array())));
        // Most of them are messages.
        let kind = if kind < 128 { 1 } else { kind % 8 };
        let payload = input.bytes(len.min(MAX_PAYLOAD)).to_vec();
        client.frame(&payload, kind);
        world.settle();
        // Longer than a frame with a refusal.
        is_answered |= client.peer.take().len() > 2 + 2 + 1 + TAG_LEN;
    }
    assert!(registry.nodes().is_empty(), "a node was listed that nobody could reach");
    over(&mut world, &client.peer, 2 * (1 << 16));
    assert_eq!(registry.connections(), 0);
    is_answered.then_some(())
}

/// A node whose registry is hostile: bytes of its own, a changed second message, or frames of any kind.
pub(super) fn dialled(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let (mode, seed) = (input.byte() % 3, input.byte());
    let mut world = World::new();
    let me = ServerIdentity::from_secrets(&[0x77; 32], [0x88; 32]).expect("keys");
    let peer = world.expect_dial();
    let address = RegistryAddr { id: me.id(), noise_key: me.noise_key(), endpoint: "10.0.0.2:4200".into() };
    let builder = StorageNode::builder().identity(identity()).store(MemoryStore::new(CAPACITY)).registry(address);
    let node = world.run(builder.rt(world.rt()).start()).expect("it starts");
    world.settle();
    if mode == 0 {
        peer.send_split(input.rest(), seed);
    } else {
        let first = peer.take();
        let (preamble, message) = first.split_first_chunk::<PREAMBLE_LEN>().expect("whole");
        let responder = (me.id(), Role::Registry, default_network());
        // The private half of `me`, clamped as a transport key is.
        let (responder, second) = Responder::start(
            &key(0x88),
            &[9; 32],
            responder,
            preamble,
            message[2..].try_into().expect("its length"),
            world.now(),
        )
        .expect("a node keeps to the protocol");
        let by = if mode == 1 { input.rest() } else { &[] };
        peer.send_split(&changed(&second, by), seed);
        world.settle();
        let third = peer.take();
        let third = third.get(2..2 + THIRD_LEN).and_then(|third| third.try_into().ok());
        assert_eq!(third.is_some(), by.iter().take(second.len()).all(|byte| *byte == 0));
        if let Some(Ok((session, _))) = third.map(|third| responder.finish(third)) {
            replies(&mut world, &peer, session.split().0, &mut input, seed);
        }
    }
    // The future of a node that was listed is ready at once.
    let is_listed = node.registration_error().is_none() && world.is_ready(node.registered());
    peer.end();
    world.pass(PATIENCE);
    if is_listed && !peer.is_over() {
        // It may have asked for an hour, a fifth more at most, between two heartbeats: until then nobody looks.
        world.pass(Duration::from_secs(2 * 3600));
    }
    assert!(peer.is_over(), "a node waits for a registry that hung up");
    is_listed.then_some(())
}

/// Whatever the input says as answers, some of them a registry's.
fn replies(world: &mut World, peer: &Peer, mut sealer: FrameSealer, input: &mut Input<'_>, seed: u8) {
    for _ in 0..MAX_STEPS {
        if input.is_empty() || peer.is_over() {
            return;
        }
        let (kind, len) = (input.byte(), usize::from(input.byte()));
        let payload = match kind {
            0..64 => proto::encode(&RegistryReply::Registered { heartbeat: input.number() }),
            64..96 => proto::encode(&RegistryReply::Alive { known: kind & 1 == 0 }),
            _ => input.bytes(len).to_vec(),
        };
        let mut frame = Vec::new();
        sealer.seal(&[&payload[..], &[if kind < 160 { 1 } else { kind % 8 }]].concat(), &mut frame);
        peer.send_split(&frame, seed);
        world.pass(Duration::from_secs(1));
    }
}
