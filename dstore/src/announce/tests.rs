//! An announcer and real registries over loopback. Registries are told to hear from nodes often, and nothing is
//! measured: every wait is for something that must happen.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_lite::future::block_on;

use super::*;
use crate::error::PeerProblem;
use crate::keys::{TransportKey, network_id};
use crate::net::{Identity, Limits, Link, ServerHandle, Service, Serving, start};
use crate::noise::Role;
use crate::proto::NodeState;
use crate::registry::{Registry, RegistryHandle};
use crate::rt::BoxFuture;

struct Silent;

impl Service for Silent {
    fn serve(self: Arc<Self>, mut link: Link, serving: Serving) -> BoxFuture<'static, ()> {
        Box::pin(async move { while serving.next(&mut link).await.is_some() {} })
    }
}

/// A node that answers nothing, and what it says of itself.
struct Node {
    rt: Rt,
    identity: ServerIdentity,
    server: ServerHandle,
    /// Whether it takes no new shards; it then names another zone too.
    draining: Arc<AtomicBool>,
}

impl Node {
    async fn new() -> Self {
        let rt = Rt::default();
        let identity = ServerIdentity::generate(&rt);
        let network = network_id("dstore");
        let me = Identity { id: identity.id(), transport: identity.transport().clone(), role: Role::Node, network };
        let listener = rt.listen("127.0.0.1:0").await.expect("a free port");
        let server = start(&rt, listener, me, Limits::default(), Arc::new(Silent));
        Self { rt, identity, server, draining: Arc::default() }
    }

    fn announce(&self, registries: &[RegistryAddr]) -> Announcer {
        let (endpoint, draining) = (self.server.address().to_string(), self.draining.clone());
        let describe = move || {
            let draining = draining.load(Ordering::SeqCst);
            let zone = if draining { "elsewhere" } else { "here" }.to_owned();
            NodeDescription {
                endpoints: vec![endpoint.clone()],
                capacity: 100,
                free: 70,
                used: 30,
                zone,
                draining,
                connections: 1,
            }
        };
        Announcer::start(&self.rt, &self.identity, network_id("dstore"), registries.to_vec(), describe)
    }
}

async fn registry() -> RegistryHandle {
    Registry::builder().heartbeat(Duration::from_millis(200)).start().await.expect("starts")
}

/// Waits until the registry shows the node so.
async fn until(registry: &RegistryHandle, state: Option<NodeState>) {
    while registry.nodes().first().map(|node| node.state) != state {
        futures_lite::future::yield_now().await;
    }
}

#[test]
fn a_node_is_registered_with_every_registry_and_leaves_each_in_order() {
    block_on(async {
        let (one, two) = (registry().await, registry().await);
        let node = Node::new().await;
        let announcer = node.announce(&[one.registry_address(), two.registry_address()]);
        announcer.registered().await;
        for registry in [&one, &two] {
            until(registry, Some(NodeState::Active)).await;
            assert_eq!(registry.nodes()[0].id, node.identity.id());
        }
        assert!(announcer.last_error().is_none());
        announcer.shutdown().await;
        assert!(one.nodes().is_empty() && two.nodes().is_empty());
    });
}

#[test]
fn a_change_is_announced_when_it_happens() {
    block_on(async {
        // With this interval a heartbeat would come too late to be seen here.
        let registry = Registry::builder().heartbeat(Duration::from_secs(3600)).start().await.expect("starts");
        let node = Node::new().await;
        let announcer = node.announce(&[registry.registry_address()]);
        announcer.registered().await;
        until(&registry, Some(NodeState::Active)).await;
        node.draining.store(true, Ordering::SeqCst);
        announcer.refresh();
        until(&registry, Some(NodeState::Draining)).await;
        assert_eq!(registry.nodes()[0].zone, "elsewhere", "the record is new, not the heartbeat alone");
    });
}

#[test]
fn a_node_that_a_registry_lost_registers_again() {
    block_on(async {
        let registry = registry().await;
        let node = Node::new().await;
        let announcer = node.announce(&[registry.registry_address()]);
        announcer.registered().await;
        announcer.shared.deregister(&registry.registry_address()).await;
        until(&registry, Some(NodeState::Active)).await;
    });
}

#[test]
fn one_registry_that_is_down_hinders_no_other_and_is_named() {
    block_on(async {
        let (up, down) = (registry().await, registry().await);
        let lost = down.registry_address();
        down.shutdown().await;
        let node = Node::new().await;
        let announcer = node.announce(&[lost.clone(), up.registry_address()]);
        announcer.registered().await;
        let error = loop {
            match announcer.last_error() {
                Some(error) => break error,
                None => futures_lite::future::yield_now().await,
            }
        };
        assert_eq!(error.code(), "unavailable");
        assert!(error.to_string().contains(&lost.endpoint), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    });
}

#[test]
fn a_node_that_cannot_be_reached_is_told_why_it_is_not_registered() {
    block_on(async {
        let registry = registry().await;
        let node = Node::new().await;
        let (rt, identity, address) = (node.rt.clone(), node.identity.clone(), node.server.address());
        node.server.shutdown().await;
        let announcer =
            Announcer::start(&rt, &identity, network_id("dstore"), vec![registry.registry_address()], move || {
                NodeDescription {
                    endpoints: vec![address.to_string()],
                    capacity: 1,
                    free: 1,
                    used: 0,
                    zone: String::new(),
                    draining: false,
                    connections: 0,
                }
            });
        let error = loop {
            match announcer.last_error() {
                Some(error) => break error,
                None => futures_lite::future::yield_now().await,
            }
        };
        assert!(matches!(error, Error::Peer { problem: PeerProblem::NoWayBack, .. }), "{error}");
    });
}

#[test]
fn a_node_whose_clock_was_set_back_goes_past_its_own_older_record() {
    block_on(async {
        let registry = registry().await;
        let node = Node::new().await;
        let before = node.announce(&[registry.registry_address()]);
        before.shared.pass(node.rt.now().as_millis() + 3_600_000);
        before.refresh();
        let ahead = before.shared.record().0;
        before.registered().await;
        while known_seq(&node, &registry).await != Some(ahead) {
            futures_lite::future::yield_now().await;
        }
        drop(before);
        let after = node.announce(&[registry.registry_address()]);
        after.registered().await;
        assert!(node.rt.now().as_millis() < ahead, "the clock alone would not have got there");
        assert!(after.shared.record().0 > ahead);
    });
}

/// A registry that refuses every record as too old, and shows the newest it was given.
struct NeverContent {
    asked: std::sync::atomic::AtomicUsize,
    newest: Mutex<Option<Signed<NodeRecord>>>,
}

impl Service for NeverContent {
    fn serve(self: Arc<Self>, mut link: Link, serving: Serving) -> BoxFuture<'static, ()> {
        use crate::proto::{ListedNode, decode, encode};
        Box::pin(async move {
            while let Some(request) = serving.next(&mut link).await {
                match decode("request", &request).expect("a node speaks well") {
                    RegistryRequest::Register(record) => {
                        self.asked.fetch_add(1, Ordering::SeqCst);
                        *lock(&self.newest) = Some(record);
                        link.writer.abort(Refusal::Expired);
                    }
                    _ => {
                        let record = lock(&self.newest).clone().expect("it registered first");
                        let heartbeat = Heartbeat::default();
                        let last_seen = Timestamp::default();
                        let nodes = vec![ListedNode { record, state: NodeState::Active, last_seen, heartbeat }];
                        link.writer.control(&encode(&RegistryReply::Nodes { nodes, required: 3 }));
                    }
                }
                if link.writer.flush().await.is_err() {
                    return;
                }
            }
        })
    }
}

#[test]
fn a_registry_that_is_never_content_does_not_make_a_node_sign_without_end_nor_leave_another() {
    block_on(async {
        let (good, node) = (registry().await, Node::new().await);
        let identity = ServerIdentity::generate(&node.rt);
        let me = Identity {
            id: identity.id(),
            transport: identity.transport().clone(),
            role: Role::Registry,
            network: network_id("dstore"),
        };
        let listener = node.rt.listen("127.0.0.1:0").await.expect("a free port");
        let never = Arc::new(NeverContent { asked: 0.into(), newest: Mutex::default() });
        let server = start(&node.rt, listener, me, Limits::default(), never.clone());
        let endpoint = server.address().to_string();
        let bad = RegistryAddr { id: identity.id(), noise_key: identity.noise_key(), endpoint };
        let announcer = node.announce(&[bad, good.registry_address()]);
        announcer.registered().await;
        until(&good, Some(NodeState::Active)).await;
        while announcer.last_error().is_none() {
            futures_lite::future::yield_now().await;
        }
        // Its record, and the one that went past it: then it waits.
        assert_eq!(never.asked.load(Ordering::SeqCst), 2);
        assert_eq!(good.nodes().len(), 1);
    });
}

/// The seq of the node's record, as the registry tells a client.
async fn known_seq(node: &Node, registry: &RegistryHandle) -> Option<u64> {
    let (dialer, key) = (Dialer::new(node.rt.clone(), DIAL_TIMEOUT), TransportKey::new(node.rt.random()));
    let network = network_id("dstore");
    let mut link = RegistryLink::open(&dialer, &key, network, &registry.registry_address()).await.expect("connects");
    match link.ask(&RegistryRequest::ListAll).await.expect("answers") {
        RegistryReply::Nodes { nodes, .. } => nodes.first()?.record.record(network).map(|record| record.seq),
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_are_signed_anew_only_when_old_or_no_longer_true_and_their_seq_goes_up() {
    block_on(async {
        let node = Node::new().await;
        let announcer = node.announce(&[]);
        let (first, record) = announcer.shared.record();
        assert_eq!(announcer.shared.record(), (first, record));
        node.draining.store(true, Ordering::SeqCst);
        let (second, record) = announcer.shared.record();
        assert!(second > first);
        let record = record.record(network_id("dstore")).expect("signed by its node");
        let is = (announcer.shared.describe)();
        let at = |after: Duration| holds(&record, &is, record.issued.after(after));
        assert!(at(Duration::ZERO) && at(RECORD_LIFE / 2 - Duration::from_millis(1)));
        assert!(!at(RECORD_LIFE / 2));
        assert!(!holds(&record, &is, record.issued.before(CLOCK_SKEW)), "the clock was set back");
        assert!(!holds(&record, &NodeDescription { zone: "here".into(), ..is }, record.issued));
    });
}

#[test]
fn pauses_double_from_one_second_to_thirty() {
    let seconds: Vec<_> = (0..7).map(|failures| pause(failures).as_secs()).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    let second = Duration::from_secs(1);
    assert_eq!(jitter(second, 0), Duration::from_millis(800));
    assert_eq!(jitter(second, JITTER_STEPS - 1), Duration::from_millis(1200));
}
