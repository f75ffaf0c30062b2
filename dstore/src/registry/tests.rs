//! A registry over loopback, with nodes that are no more than a listener and a record.

mod state;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_lite::FutureExt;
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::*;
use crate::error::PeerProblem;
use crate::id::NoiseKey;
use crate::keys::TransportKey;
use crate::net::{Dialer, Link, LinkError, RegistryLink, Service, Serving};
use crate::noise::Expected;
use crate::proto::{
    Heartbeat, ListedNode, MAX_NODE_LIST_LEN, NodeRecord, Refusal, RegistryReply, RegistryRequest, Signed,
};
use crate::rt::{AsyncStdEnv, BoxFuture, Env, Job, Listener, Socket};

const PATIENCE: Duration = Duration::from_secs(20);

/// The real environment at a time of day that the test sets.
#[derive(Debug, Clone)]
struct SetClock {
    real: Arc<AsyncStdEnv>,
    millis: Arc<AtomicU64>,
}

impl SetClock {
    fn new() -> Self {
        Self { real: Arc::new(AsyncStdEnv::new()), millis: Arc::new(AtomicU64::new(1_800_000_000_000)) }
    }

    fn pass(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).expect("short");
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Env for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }
    fn uptime(&self) -> Duration {
        self.real.uptime()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.real.sleep(duration)
    }
    fn fill(&self, buffer: &mut [u8]) {
        self.real.fill(buffer);
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.real.spawn(task);
    }
    fn cpu(&self, job: Job) {
        self.real.cpu(job);
    }
    fn blocking(&self, job: Job) {
        self.real.blocking(job);
    }
    fn cpu_threads(&self) -> usize {
        self.real.cpu_threads()
    }
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Socket>> {
        self.real.dial(address)
    }
    fn resolve(&self, address: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.real.resolve(address)
    }
    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        self.real.listen(address)
    }
}

struct Silent;

impl Service for Silent {
    fn serve(self: Arc<Self>, mut link: Link, serving: Serving) -> BoxFuture<'static, ()> {
        Box::pin(async move { while serving.next(&mut link).await.is_some() {} })
    }
}

/// A network's clock and label, and how its parties are made.
struct World {
    clock: SetClock,
    rt: Rt,
    network: NetworkId,
}

impl World {
    fn new() -> Self {
        let clock = SetClock::new();
        Self { rt: Rt::new(clock.clone()), clock, network: network_id(DEFAULT_NETWORK) }
    }

    fn registry(&self) -> RegistryBuilder {
        Registry::builder().rt(self.rt.clone())
    }

    async fn start(&self) -> RegistryHandle {
        self.registry().start().await.expect("starts")
    }

    async fn start_in(&self, folder: &Path) -> RegistryHandle {
        self.registry().dir(folder).start().await.expect("starts")
    }

    async fn node(&self) -> Node {
        let identity = ServerIdentity::generate(&self.rt);
        let me = Identity {
            id: identity.id(),
            transport: identity.transport().clone(),
            role: Role::Node,
            network: self.network,
        };
        let listener = self.rt.listen("127.0.0.1:0").await.expect("a free port");
        let server = start(&self.rt, listener, me, Limits::default(), Arc::new(Silent));
        Node { rt: self.rt.clone(), network: self.network, identity, server }
    }

    async fn link(&self, registry: &RegistryHandle, key: &TransportKey) -> RegistryLink {
        let dialer = Dialer::new(self.rt.clone(), PATIENCE);
        RegistryLink::open(&dialer, key, self.network, &registry.registry_address()).await.expect("connects")
    }

    /// A link of somebody who is no node.
    async fn client(&self, registry: &RegistryHandle) -> RegistryLink {
        self.link(registry, &TransportKey::new(self.rt.random())).await
    }
}

struct Node {
    rt: Rt,
    network: NetworkId,
    identity: ServerIdentity,
    server: ServerHandle,
}

impl Node {
    fn record(&self, change: impl FnOnce(&mut NodeRecord)) -> Signed<NodeRecord> {
        let now = self.rt.now();
        let mut record = NodeRecord {
            id: self.identity.id(),
            noise_key: self.identity.noise_key(),
            endpoints: vec![self.server.address().to_string()],
            seq: now.as_millis(),
            issued: now,
            not_after: now.after(membership::RECORD_LIFE),
            capacity: 1000,
            free: 600,
            zone: "here".into(),
            draining: false,
        };
        change(&mut record);
        Signed::new(&record, self.identity.signing(), self.network, &[])
    }

    async fn link(&self, world: &World, registry: &RegistryHandle) -> RegistryLink {
        world.link(registry, self.identity.transport()).await
    }

    /// Registers on a new connection, which goes on.
    async fn join(&self, world: &World, registry: &RegistryHandle) -> RegistryLink {
        let mut link = self.link(world, registry).await;
        assert_eq!(register(&mut link, self.record(|_| {})).await, Ok(()));
        link
    }
}

/// A node's outcome: accepted, or the refusal.
async fn register(link: &mut RegistryLink, record: Signed<NodeRecord>) -> Result<(), Refusal> {
    match link.ask(&RegistryRequest::Register(record)).await {
        Ok(RegistryReply::Registered { heartbeat: 10_000 }) => Ok(()),
        Err(LinkError::Refused(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

async fn beat(link: &mut RegistryLink) -> bool {
    let heartbeat = Heartbeat { free: 5, used: 6, connections: 7, draining: false };
    match link.ask(&RegistryRequest::Heartbeat(heartbeat)).await {
        Ok(RegistryReply::Alive { known }) => known,
        other => panic!("{other:?}"),
    }
}

async fn list(link: &mut RegistryLink, request: RegistryRequest) -> Vec<ListedNode> {
    match link.ask(&request).await {
        Ok(RegistryReply::Nodes { nodes, required: 3 }) => nodes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_registers_is_listed_with_what_it_says_of_itself() {
    block_on(async {
        let world = World::new();
        let registry = world.start().await;
        let node = world.node().await;
        let mut link = node.join(&world, &registry).await;
        assert!(beat(&mut link).await);
        let mut client = world.client(&registry).await;
        let nodes = list(&mut client, RegistryRequest::ListAll).await;
        assert_eq!(nodes.len(), 1);
        assert!(nodes[0].record.is_same(&node.record(|_| {})));
        assert_eq!((nodes[0].state, nodes[0].last_seen), (NodeState::Active, world.rt.now()));
        assert_eq!((nodes[0].heartbeat.free, nodes[0].heartbeat.connections), (5, 7));
        let unknown = NodeId::new([9; 20]);
        assert_eq!(list(&mut client, RegistryRequest::Lookup(vec![unknown, node.identity.id()])).await, nodes);
        let seen = registry.nodes();
        assert_eq!((seen.len(), seen[0].id, &*seen[0].zone, seen[0].used), (1, node.identity.id(), "here", 6));
    });
}

#[test]
fn a_node_that_is_not_where_it_says_is_refused() {
    block_on(async {
        let world = World::new();
        let registry = world.start().await;
        let (node, other) = (world.node().await, world.node().await);
        let nobody = world.rt.listen("127.0.0.1:0").await.expect("a free port").local_addr().to_string();
        let mut link = node.link(&world, &registry).await;
        for endpoint in [nobody, other.server.address().to_string(), registry.address().to_string()] {
            let record = node.record(|record| record.endpoints = vec![endpoint.clone()]);
            assert_eq!(register(&mut link, record).await, Err(Refusal::Unreachable), "{endpoint}");
        }
        assert!(registry.nodes().is_empty());
        let own = node.server.address().to_string();
        let either = node.record(|record| record.endpoints = vec![other.server.address().to_string(), own]);
        assert_eq!(register(&mut link, either).await, Ok(()), "one true endpoint is enough");
    });
}

#[test]
fn a_name_is_resolved_and_link_local_addresses_are_never_dialled() {
    block_on(async {
        let world = World::new();
        let registry = world.start().await;
        let node = world.node().await;
        let mut link = node.link(&world, &registry).await;
        let port = node.server.address().port();
        let at = |host: &str| node.record(|record| record.endpoints = vec![format!("{host}:{port}")]);
        assert_eq!(register(&mut link, at("169.254.169.254")).await, Err(Refusal::Unreachable));
        assert_eq!(register(&mut link, at("0.0.0.0")).await, Err(Refusal::Unreachable));
        assert_eq!(register(&mut link, at("localhost")).await, Ok(()));
    });
}

#[test]
fn a_registry_that_serves_the_world_dials_no_private_address_unless_told_to() {
    block_on(async {
        let world = World::new();
        let node = world.node().await;
        let public = world.registry().listen("0.0.0.0:0").start().await.expect("starts");
        assert!(public.registry_address().endpoint.starts_with("127.0.0.1:"));
        let mut link = node.link(&world, &public).await;
        assert_eq!(register(&mut link, node.record(|_| {})).await, Err(Refusal::Unreachable));
        let told = world.registry().listen("0.0.0.0:0").private_endpoints().start().await.expect("starts");
        node.join(&world, &told).await;
    });
}

#[test]
fn nobody_registers_another_nodes_record() {
    block_on(async {
        let world = World::new();
        let registry = world.start().await;
        let (node, thief) = (world.node().await, world.node().await);
        let mut link = thief.link(&world, &registry).await;
        assert_eq!(register(&mut link, node.record(|_| {})).await, Err(Refusal::Denied), "not its session");
        let posing = thief.record(|record| record.id = node.identity.id());
        assert_eq!(register(&mut link, posing).await, Err(Refusal::Denied), "not its signature");
        let abroad = Node { network: network_id("another"), ..thief };
        assert_eq!(register(&mut link, abroad.record(|_| {})).await, Err(Refusal::Denied), "not this network");
        assert!(registry.nodes().is_empty());
    });
}

#[test]
fn a_record_that_is_known_needs_no_dial_and_one_with_a_new_address_does() {
    block_on(async {
        let world = World::new();
        let registry = world.start().await;
        let Node { rt, network, identity, server } = world.node().await;
        let address = server.address();
        let node = Node { rt, network, identity, server };
        let mut link = node.join(&world, &registry).await;
        let (same, newer) = (node.record(|_| {}), node.record(|record| record.seq += 1));
        let moved = node.record(|record| (record.seq, record.endpoints) = (record.seq + 2, vec![format!("[::1]:1")]));
        node.server.shutdown().await;
        assert!(world.rt.dial(&address.to_string()).await.is_err(), "nobody is there now");
        assert_eq!(register(&mut link, same).await, Ok(()));
        assert_eq!(register(&mut link, newer).await, Ok(()));
        assert_eq!(register(&mut link, moved).await, Err(Refusal::Unreachable));
    });
}

#[test]
fn an_unknown_node_is_told_to_register_and_one_that_leaves_is_gone_at_once() {
    block_on(async {
        let world = World::new();
        let registry = world.start().await;
        let node = world.node().await;
        let mut stranger = world.client(&registry).await;
        assert!(!beat(&mut stranger).await);
        let mut link = node.join(&world, &registry).await;
        assert!(beat(&mut link).await);
        assert_eq!(stranger.ask(&RegistryRequest::Deregister).await.expect("answers"), RegistryReply::Deregistered);
        assert_eq!(registry.nodes().len(), 1, "a stranger takes only itself off the list");
        assert_eq!(link.ask(&RegistryRequest::Deregister).await.expect("answers"), RegistryReply::Deregistered);
        assert!(registry.nodes().is_empty());
        assert!(!beat(&mut link).await);
    });
}

#[test]
fn an_upload_is_offered_nodes_only_when_three_are_active() {
    block_on(async {
        let world = World::new();
        let registry = world.start().await;
        let mut client = world.client(&registry).await;
        let mut links = Vec::new();
        let mut nodes = Vec::new();
        for active in 0..3 {
            let reply = client.ask(&RegistryRequest::ListForUpload).await.expect("answers");
            assert_eq!(reply, RegistryReply::NotEnough { active, required: 3 });
            let node = world.node().await;
            links.push(node.join(&world, &registry).await);
            nodes.push(node);
        }
        assert_eq!(list(&mut client, RegistryRequest::ListForUpload).await.len(), 3);
        world.clock.pass(Duration::from_secs(29));
        assert!(beat(&mut links[0]).await && beat(&mut links[1]).await);
        world.clock.pass(Duration::from_secs(1));
        let reply = client.ask(&RegistryRequest::ListForUpload).await.expect("answers");
        assert_eq!(reply, RegistryReply::NotEnough { active: 2, required: 3 }, "the third is suspect");
        assert_eq!(list(&mut client, RegistryRequest::ListAll).await.len(), 3);
    });
}

#[test]
fn a_folder_serves_one_registry_at_a_time_and_a_taken_address_is_named() {
    block_on(async {
        let world = World::new();
        let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let registry = world.start_in(folder.path()).await;
        let error = world.registry().dir(folder.path()).start().await.expect_err("refused");
        assert_eq!(error.code(), "locked", "{error}");
        let address = registry.address().to_string();
        let taken = world.registry().dir(other.path()).listen(&*address);
        let error = taken.clone().start().await.expect_err("refused");
        assert!(matches!(error, Error::Io { .. }) && error.to_string().contains(&address), "{error}");
        registry.shutdown().await;
        taken.start().await.expect("nothing of the failed start is left");
    });
}

#[test]
fn a_registry_can_be_started_and_stopped_from_any_thread() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    block_on(async {
        let registry = is_send(Registry::builder().start()).await.expect("starts");
        is_send(registry.closed()).or(async {}).await;
        is_send(registry.shutdown()).await;
    });
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    block_on(async {
        for wrong in [
            Registry::builder().heartbeat(Duration::ZERO),
            Registry::builder().min_nodes(0),
            Registry::builder().max_nodes(2),
            Registry::builder().public("no port"),
        ] {
            assert_eq!(wrong.start().await.expect_err("refused").code(), "config");
        }
        let public = Registry::builder().public("registry.example:4100").start().await.expect("starts");
        assert_eq!(public.registry_address().endpoint, "registry.example:4100");
        assert_eq!(public.registry_address().to_string().parse::<RegistryAddr>().expect("parses").id, public.id());
    });
}

/// A raw question, and what a registry says to it.
async fn raw(world: &World, registry: &RegistryHandle, request: &[u8]) -> Result<Vec<u8>, LinkError> {
    let RegistryAddr { id, noise_key, endpoint } = registry.registry_address();
    let expected = Expected { id, noise_key, role: Role::Registry, network: world.network };
    let key = TransportKey::new(world.rt.random());
    let mut link = Dialer::new(world.rt.clone(), PATIENCE).connect(&endpoint, &key, &expected).await?;
    link.call(request, MAX_NODE_LIST_LEN, PATIENCE).await
}

#[test]
fn messages_without_a_meaning_are_refused_and_the_registry_goes_on() {
    block_on(async {
        let world = World::new();
        let registry = world.start().await;
        let too_many = crate::proto::encode(&RegistryRequest::Lookup(vec![NodeId::new([1; 20]); MAX_LISTED + 1]));
        for (request, refusal) in [
            (&[][..], Refusal::Malformed),
            (&[6], Refusal::Unsupported),
            (&[255, 1, 2], Refusal::Unsupported),
            (&[0, 5, 1], Refusal::Malformed),
            (&[4, 0], Refusal::Malformed),
            (&too_many, Refusal::Malformed),
        ] {
            let answer = raw(&world, &registry, request).await;
            assert!(matches!(answer, Err(LinkError::Refused(r)) if r == refusal), "{request:?}: {answer:?}");
        }
        assert_eq!(raw(&world, &registry, &[4]).await.expect("answers"), [3, 0, 3]);
    });
}

#[test]
fn a_list_of_the_longest_records_fits_its_limit() {
    let rt = Rt::default();
    let identity = ServerIdentity::generate(&rt);
    let widest = Timestamp::from_millis(u64::MAX);
    let record = NodeRecord {
        id: identity.id(),
        noise_key: NoiseKey::new([255; 32]),
        endpoints: vec![format!("{}:1", "x".repeat(62)); 4],
        seq: u64::MAX,
        issued: widest,
        not_after: widest,
        capacity: u64::MAX,
        free: u64::MAX,
        zone: "z".repeat(64),
        draining: true,
    };
    let node = ListedNode {
        record: Signed::new(&record, identity.signing(), network_id("x"), &[]),
        state: NodeState::Draining,
        last_seen: widest,
        heartbeat: Heartbeat { free: u64::MAX, used: u64::MAX, connections: u32::MAX, draining: true },
    };
    let nodes = vec![node; 3000];
    let fitting = service::fitting(&nodes);
    let reply = |count| RegistryReply::Nodes { nodes: nodes[..count].to_vec(), required: u32::MAX };
    assert!(crate::proto::encode(&reply(fitting)).len() <= MAX_NODE_LIST_LEN);
    assert!(crate::proto::encode(&reply(fitting + 1)).len() > MAX_NODE_LIST_LEN, "no more is left out than must be");
    let short = ListedNode {
        record: Signed::new(
            &NodeRecord { endpoints: vec!["a:1".into()], ..record },
            identity.signing(),
            network_id("x"),
            &[],
        ),
        ..nodes[0].clone()
    };
    assert_eq!(service::fitting(&vec![short; 3000]), MAX_LISTED);
}

#[test]
fn a_node_that_cannot_be_reached_learns_so_in_words() {
    let error = LinkError::Refused(Refusal::Unreachable).at("registry r:1");
    assert!(matches!(error, Error::Peer { problem: PeerProblem::NoWayBack, .. }) && error.is_retryable());
    assert!(error.to_string().contains("cannot connect back"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_bytes_bring_a_registry_down(requests in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4)) {
        block_on(async {
            let world = World::new();
            let registry = world.start().await;
            for request in &requests {
                // Whatever it says, it says something.
                let answer = raw(&world, &registry, request).await;
                assert!(matches!(answer, Ok(_) | Err(LinkError::Refused(_))), "{answer:?}");
            }
            assert!(raw(&world, &registry, &[4]).await.is_ok());
        });
    }
}
