//! Registries that are busy, hang or lie.

use futures_lite::future::{block_on, zip};
use futures_util::future::{Either, join_all, select};
use futures_util::io::AsyncWriteExt;

use super::*;
use crate::client::ClientBuilder;
use crate::id::NoiseKey;
use crate::identity::ServerIdentity;
use crate::keys::network_id;
use crate::net::{Identity, Limits, Link, ServerHandle, Service, Serving, start};
use crate::noise::{HandshakeError, Role};
use crate::proto::{self, Heartbeat};
use crate::registry::Registry;
use crate::rt::{BoxFuture, Timestamp};
use crate::testing::{Cluster, MemoryNet};

fn directory(net: &MemoryNet, registries: Vec<RegistryAddr>, timeout: Duration) -> Directory {
    let settings = Settings { registries, timeout, ..ClientBuilder::default().settings };
    let owner = Owner::from_secret(&[0x11; 32]).expect("valid");
    Directory::new(&Rt::new(net.host()), &settings, &owner)
}

fn address(endpoint: String) -> RegistryAddr {
    RegistryAddr { id: NodeId::new([1; 20]), noise_key: NoiseKey::new([9; 32]), endpoint }
}

#[test]
fn a_registry_that_hangs_costs_all_who_ask_its_time_once() {
    block_on(async {
        let net = MemoryNet::new();
        let there = Rt::new(net.host());
        let listener = there.listen("10.0.0.2:0").await.expect("listens");
        let hung = address(listener.local_addr().to_string());
        let directory = directory(&net, vec![hung], Duration::from_millis(20));
        let mut sockets = Vec::new();
        let accept = async {
            loop {
                sockets.push(listener.accept().await.expect("accepted"));
            }
        };
        let ask = async {
            join_all((0..5).map(|_| directory.look_up(NodeId::new([7; 20])))).await;
            directory.upload_nodes(1).await.expect_err("nobody answers")
        };
        let Either::Right((error, accept)) = select(Box::pin(accept), Box::pin(ask)).await;
        drop(accept);
        assert_eq!(sockets.len(), 1);
        assert!(matches!(error, Error::Peer { problem: crate::error::PeerProblem::Timeout(_), .. }), "{error}");
    });
}

#[test]
fn a_busy_registry_is_asked_again() {
    block_on(async {
        let net = MemoryNet::new();
        let there = Rt::new(net.host());
        let listener = there.listen("10.0.0.2:0").await.expect("listens");
        let busy = address(listener.local_addr().to_string());
        let directory = directory(&net, vec![busy], Duration::from_secs(20));
        let refuse = async {
            for _ in 0..3 {
                let mut socket = listener.accept().await.expect("accepted");
                let _ = socket.writer.write_all(&HandshakeError::Busy.refusal()).await;
                let _ = socket.writer.close().await;
            }
        };
        let asked = select(Box::pin(refuse), Box::pin(directory.look_up(NodeId::new([7; 20])))).await;
        assert!(matches!(asked, Either::Left(_)), "it gave up");
    });
}

#[test]
fn a_registry_that_hangs_does_not_hold_up_the_answer_of_another() {
    block_on(async {
        let net = MemoryNet::new();
        let there = Rt::new(net.host());
        let listener = there.listen("10.0.0.2:0").await.expect("listens");
        let hung = address(listener.local_addr().to_string());
        let good = Registry::builder().rt(Rt::new(net.host())).start().await.expect("starts");
        let directory = directory(&net, vec![hung, good.registry_address()], Duration::from_secs(30));
        let started = directory.rt.uptime();
        let (socket, network) = zip(listener.accept(), directory.network()).await;
        let took = directory.rt.uptime().saturating_sub(started);
        assert!(socket.is_ok() && took < CONNECT / 2, "{took:?}");
        let network = network.expect("one answered");
        assert_eq!((network.unreachable.len(), network.required), (1, 3));
    });
}

#[test]
fn a_registry_that_asks_for_absurdly_many_nodes_does_not_stop_uploads() {
    assert_eq!(required(2, &[u32::MAX, 3]), 3);
    assert_eq!(required(4, &[3, 3]), 4);
    assert_eq!(required(4, &[]), 4);
    assert_eq!(required(2, &[u32::MAX]), 256);
}

/// A registry that says what it likes.
struct Liar<F>(F);

impl<F: Fn(&RegistryRequest) -> Option<RegistryReply> + Send + Sync + 'static> Service for Liar<F> {
    fn serve(self: Arc<Self>, mut link: Link, serving: Serving) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some(request) = serving.next(&mut link).await {
                let request = proto::decode("request", &request).expect("a client speaks well");
                match (self.0)(&request) {
                    Some(reply) => link.writer.control(&proto::encode(&reply)),
                    // Not even a message.
                    None => link.writer.control(&[0xff; 900_000]),
                }
                if link.writer.flush().await.is_err() {
                    return;
                }
            }
        })
    }
}

async fn liar(
    net: &MemoryNet,
    say: impl Fn(&RegistryRequest) -> Option<RegistryReply> + Send + Sync + 'static,
) -> (ServerHandle, RegistryAddr) {
    let env = net.host();
    let (ip, rt) = (env.ip(), Rt::new(env));
    let identity = ServerIdentity::generate(&rt);
    let network = network_id("dstore");
    let me = Identity { id: identity.id(), transport: identity.transport().clone(), role: Role::Registry, network };
    let listener = rt.listen(&format!("{ip}:0")).await.expect("listens");
    let server = start(&rt, listener, me, Limits::default(), Arc::new(Liar(say)));
    let endpoint = server.address().to_string();
    let address = RegistryAddr { id: identity.id(), noise_key: identity.noise_key(), endpoint };
    (server, address)
}

/// The record of a node that does not exist, at `endpoint`.
fn ghost(rt: &Rt, endpoint: &str) -> ListedNode {
    let identity = ServerIdentity::generate(rt);
    let record = NodeRecord {
        id: identity.id(),
        noise_key: identity.noise_key(),
        endpoints: vec![endpoint.to_owned()],
        seq: 1,
        issued: rt.now(),
        not_after: rt.now().after(Duration::from_secs(3600)),
        capacity: 1 << 40,
        free: 1 << 40,
        zone: String::new(),
        draining: false,
    };
    listed(Signed::new(&record, identity.signing(), network_id("dstore"), &[]))
}

fn listed(record: Signed<NodeRecord>) -> ListedNode {
    let heartbeat = Heartbeat { free: 1 << 40, ..Heartbeat::default() };
    ListedNode { record, state: NodeState::Active, last_seen: Timestamp::from_millis(u64::MAX >> 16), heartbeat }
}

/// What the cluster's own registry lists.
async fn genuine(cluster: &Cluster) -> Vec<ListedNode> {
    let directory = directory(cluster.net(), vec![cluster.registry_address().clone()], CONNECT);
    let registry = &directory.registries[0];
    match directory.ask(registry, &RegistryRequest::ListAll).await.expect("answers") {
        RegistryReply::Nodes { nodes, .. } => nodes,
        other => panic!("{other:?}"),
    }
}

/// A put and a get by a client with the cluster's registry and this one; answers how long they took.
async fn put_and_get(cluster: &Cluster, other: RegistryAddr) -> Duration {
    let client = cluster.client_builder().registry(other).connect().await.expect("a client");
    let rt = Rt::new(cluster.net().host());
    let started = rt.uptime();
    client.put("a", vec![7; 300_000]).await.expect("stored");
    assert_eq!(client.get("a").bytes().await.expect("read"), vec![7; 300_000]);
    rt.uptime().saturating_sub(started)
}

#[test]
fn one_honest_registry_is_enough_whatever_another_one_says() {
    block_on(async {
        let cluster = Cluster::start(4).await.expect("starts");
        let net = cluster.net();
        let rt = Rt::new(net.host());
        let nodes = |nodes: Vec<ListedNode>, required| {
            move |_: &RegistryRequest| Some(RegistryReply::Nodes { nodes: nodes.clone(), required })
        };
        let gone: Vec<_> = (0..100).map(|_| ghost(&rt, "10.0.0.250:1")).collect();
        let forged: Vec<_> = gone
            .windows(2)
            .map(|pair| {
                let (mut bytes, other) = (proto::encode(&pair[0]), proto::encode(&pair[1]));
                let at = bytes.len().min(other.len()) - 40;
                bytes[at] ^= 1;
                proto::decode("listed node", &bytes).unwrap_or_else(|_| pair[0].clone())
            })
            .collect();
        let mut suspects = genuine(&cluster).await;
        suspects.iter_mut().for_each(|node| node.state = NodeState::Suspect);
        let none = |active, required| move |_: &RegistryRequest| Some(RegistryReply::NotEnough { active, required });
        let endless: Vec<_> = gone.iter().cycle().take(2_000).cloned().collect();
        let liars = [
            ("hides", liar(net, nodes(vec![], 0)).await),
            ("calls all suspect", liar(net, nodes(suspects, 3)).await),
            ("lists nodes that are gone", liar(net, nodes(gone, 3)).await),
            ("forges", liar(net, nodes(forged, 3)).await),
            ("lists without end", liar(net, nodes(endless, 3)).await),
            ("asks for too many", liar(net, nodes(vec![], u32::MAX)).await),
            ("claims that there are too few", liar(net, none(0, 3)).await),
            ("claims that a million are needed", liar(net, none(999_999, 1_000_000)).await),
            ("says something else", liar(net, |_| Some(RegistryReply::Deregistered)).await),
            ("says nonsense", liar(net, |_| None).await),
        ];
        for (how, (_server, address)) in liars {
            let took = put_and_get(&cluster, address).await;
            assert!(took < CONNECT / 2, "{how}: {took:?}");
        }
        let down = address("10.0.0.251:1".to_owned());
        assert!(put_and_get(&cluster, down).await < CONNECT / 2, "down");
    });
}

#[test]
fn nodes_that_are_listed_and_silent_cost_a_put_no_time_out_and_the_next_one_nothing() {
    block_on(async {
        let cluster = Cluster::start(6).await.expect("starts");
        let client = cluster.client().await.expect("a client");
        (0..3).for_each(|index| cluster.hang(index));
        let rt = Rt::new(cluster.net().host());
        for path in ["a", "b"] {
            let started = rt.uptime();
            let head = client.put(path, vec![7; 300_000]).await.expect("stored").head;
            let took = rt.uptime().saturating_sub(started);
            assert!(took < CONNECT / 2, "{path}: {took:?}");
            let hung = (0..3).map(|index| cluster.node_id(index));
            assert!(hung.clone().all(|id| head.shards.iter().all(|shard| shard.node != id)), "{head:?}");
        }
        let offered = client.0.directory.upload_nodes(3).await.expect("listed");
        let last: Vec<_> = offered[3..].iter().map(|node| cluster.index_of(node.place.id).expect("ours")).collect();
        assert!(last.iter().all(|index| *index < 3), "those that were silent are the last choice: {last:?}");
    });
}

#[test]
fn the_slowest_registry_is_waited_for_as_long_as_the_others_do_not_say_enough() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("starts");
        let (_server, hides) = liar(cluster.net(), |_| Some(RegistryReply::Nodes { nodes: vec![], required: 0 })).await;
        let ip = cluster.registry_address().endpoint.rsplit_once(':').expect("a port").0.parse().expect("an address");
        let slow = async {
            cluster.net().hang(ip);
            Rt::new(cluster.net().host()).sleep(2 * GRACE).await;
            cluster.net().resume(ip);
        };
        let registries = vec![hides, cluster.registry_address().clone()];
        let directory = directory(cluster.net(), registries, Duration::from_secs(30));
        let (nodes, ()) = zip(directory.upload_nodes(3), slow).await;
        assert_eq!(nodes.expect("the slow one listed them").len(), 3);
    });
}

#[test]
fn an_old_record_that_a_registry_replays_does_not_replace_a_newer_one() {
    block_on(async {
        let mut cluster = Cluster::start(3).await.expect("starts");
        let old = genuine(&cluster).await;
        cluster.restart_elsewhere(0).await.expect("starts");
        let (_server, replays) =
            liar(cluster.net(), move |_| Some(RegistryReply::Nodes { nodes: old.clone(), required: 3 })).await;
        for registries in
            [[replays.clone(), cluster.registry_address().clone()], [cluster.registry_address().clone(), replays]]
        {
            let directory = directory(cluster.net(), registries.to_vec(), CONNECT);
            directory.upload_nodes(3).await.expect("listed");
            let now = genuine(&cluster).await;
            for node in directory.upload_nodes(3).await.expect("listed") {
                let is = |listed: &&ListedNode| {
                    listed.record.record(network_id("dstore")).expect("genuine").id == node.place.id
                };
                let record = now.iter().find(is).expect("there").record.record(network_id("dstore")).expect("genuine");
                assert_eq!(node.place.hint, record.endpoints[0]);
            }
            assert!(put_and_get(&cluster, registries[0].clone()).await < CONNECT / 2);
        }
    });
}

#[test]
fn pinned_nodes_alone_take_new_shards_whoever_lists_others() {
    block_on(async {
        let cluster = Cluster::start(6).await.expect("starts");
        let pins: Vec<_> = (0..3).map(|index| cluster.node_id(index)).collect();
        let client = cluster.client_builder().pin(pins.clone()).connect().await.expect("a client");
        let head = client.put("a", vec![7; 300_000]).await.expect("stored").head;
        assert!(head.shards.iter().all(|shard| pins.contains(&shard.node)), "{head:?}");
        let client = cluster.client_builder().pin(pins[..1].to_vec()).connect().await.expect("a client");
        let error = client.put("b", vec![7; 300_000]).await.expect_err("one is too few");
        assert!(matches!(error, Error::NotEnoughNodes { active: 1, .. }), "{error}");
    });
}

#[test]
fn what_was_heard_last_counts_and_who_is_active_at_one_registry_is_active() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("starts");
        let mut stale = genuine(&cluster).await;
        for node in &mut stale {
            (node.state, node.last_seen) = (NodeState::Quarantined, Timestamp::from_millis(u64::MAX >> 16));
        }
        stale.push(ghost(&Rt::new(cluster.net().host()), "10.0.0.250:1"));
        let mut forged = proto::encode(&stale[3].record);
        let last = forged.len() - 2;
        forged[last] ^= 1;
        stale[3].record = proto::decode("record", &forged).expect("a record of the same form");
        let (_server, other) =
            liar(cluster.net(), move |_| Some(RegistryReply::Nodes { nodes: stale.clone(), required: 3 })).await;
        let directory = directory(cluster.net(), vec![cluster.registry_address().clone(), other.clone()], CONNECT);
        let network = directory.network().await.expect("both answer");
        assert_eq!((network.nodes.len(), network.active, network.unreachable.len()), (3, 3, 0));
        assert!(network.nodes.iter().all(|node| node.last_seen == Timestamp::from_millis(u64::MAX >> 16)));
        assert_eq!(network.odd.len(), 1);
        assert!(network.odd[0].0 == other.to_string() && network.odd[0].1.starts_with("1 of the nodes"), "{network:?}");
    });
}

#[test]
fn lists_take_turns_and_those_that_failed_lately_come_last() {
    block_on(async {
        let net = MemoryNet::new();
        let rt = Rt::new(net.host());
        let node = |number: u8| {
            let id = NodeId::new([number; 20]);
            let place = NodePlace { id, noise_key: NoiseKey::new([0; 32]), seq: 1, hint: String::new() };
            UploadNode { place, free: 0, zone: String::new() }
        };
        let lists = vec![(1..=9).map(node).collect(), vec![node(20), node(1), node(21)]];
        let order: Vec<_> = take_turns(lists).iter().map(|node| node.place.id.as_bytes()[0]).collect();
        assert_eq!(order[..5], [1, 20, 2, 21, 3]);
        assert_eq!(order.len(), 11);

        let directory = directory(&net, vec![], CONNECT);
        let id = NodeId::new([1; 20]);
        directory.avoid(id);
        directory.avoid(id);
        assert!(directory.is_avoided(id));
        let until = directory.avoided.lock().expect("no panic")[&id].until;
        assert!(until <= rt.uptime() + AVOIDED + Duration::from_secs(60), "attempts at one time count once");
        directory.trust(id);
        assert!(!directory.is_avoided(id));
    });
}
