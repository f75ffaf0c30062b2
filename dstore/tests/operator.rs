//! What an operator sees of nodes and registries: counters, health and readiness, in each state of the network.

use std::time::Duration;

use dstore::rt::{Env, Rt};
use dstore::store::MemoryStore;
use dstore::testing::{BrokenStore, Cluster, HostEnv};
use dstore::{NodeHandle, Registry, StorageNode};
use futures_lite::future::block_on;
use futures_util::io::{AsyncReadExt, AsyncWriteExt};

/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Status and body of a page.
async fn page(env: &HostEnv, admin: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut socket = env.dial(admin.to_string()).await.expect("it listens");
    socket.writer.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.reader.read_to_string(&mut answer).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head[9..12].parse().expect("a status"), body.to_owned())
}

/// The value of the sample with this name and these labels.
#[track_caller]
fn sample(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().expect("a number")
}

async fn node(
    cluster: &Cluster,
    store: impl dstore::store::ShardStore + dstore::store::CopyStore,
) -> (HostEnv, NodeHandle) {
    let env = cluster.net().host();
    let rt = Rt::new(env.clone());
    let node = StorageNode::builder()
        .identity(dstore::ServerIdentity::generate(&rt))
        .rt(rt)
        .listen(format!("{}:0", env.ip()))
        .store(store)
        .registry(cluster.registry_address().clone())
        .admin(format!("{}:0", env.ip()))
        .admin_public()
        .start();
    let node = node.await.expect("a node starts");
    node.registered().await;
    (env, node)
}

/// The page at `path`, once it has this status.
async fn page_with(env: &HostEnv, node: &NodeHandle, path: &str, status: u16) -> String {
    let admin = node.admin_address().expect("asked for");
    let end = env.uptime() + PATIENCE;
    loop {
        match page(env, admin, path).await {
            (found, body) if found == status => return body,
            (found, body) if env.uptime() > end => panic!("{path} stays {found}: {body}"),
            _ => futures_lite::future::yield_now().await,
        }
    }
}

#[test]
fn a_put_and_a_get_are_counted_at_the_nodes_that_served_them() {
    block_on(async {
        let cluster = Cluster::start(2).await.expect("it starts");
        let (env, third) = node(&cluster, MemoryStore::new(1 << 30)).await;
        let (_, bystander) = node(&cluster, MemoryStore::new(0)).await;
        let client = cluster.client().await.expect("a client");
        client.put("a.bin", vec![7; 300_000]).await.expect("stored");
        assert_eq!(client.get("a.bin").bytes().await.expect("read").len(), 300_000);

        let metrics = third.metrics();
        let scraped = page(&env, third.admin_address().expect("asked for"), "/metrics").await;
        assert_eq!(scraped.0, 200);
        assert!(sample(&scraped.1, "dstore_node_connections_total") >= 1.0);
        let puts = sample(&metrics, "dstore_node_requests_total{kind=\"put_begin\",outcome=\"ok\"}")
            + sample(&metrics, "dstore_node_requests_total{kind=\"put_small\",outcome=\"ok\"}");
        assert!((puts - 2.0).abs() < 0.1, "two of the six shards: {puts}");
        assert!(sample(&metrics, "dstore_node_received_bytes_total") > 2.0 * 65_000.0);
        assert!(sample(&metrics, "dstore_node_sent_bytes_total") > 0.0);
        assert!(sample(&metrics, "dstore_node_capacity_bytes") > 0.0);
        let registry = &cluster.registry_address().endpoint;
        assert!((sample(&metrics, &format!("dstore_node_registered{{registry=\"{registry}\"}}")) - 1.0).abs() < 0.1);
        let clock = sample(&metrics, &format!("dstore_node_clock_ahead_seconds{{registry=\"{registry}\"}}"));
        assert!(clock.abs() < 60.0, "{clock}");

        let metrics = bystander.metrics();
        assert!(sample(&metrics, "dstore_node_requests_total{kind=\"put_begin\",outcome=\"ok\"}").abs() < 0.1);
        assert!(sample(&metrics, "dstore_node_free_bytes").abs() < 0.1);
    });
}

#[test]
fn a_node_is_ready_only_while_it_can_take_shards_and_says_why_it_is_not() {
    block_on(async {
        let mut cluster = Cluster::start(0).await.expect("it starts");
        let store = BrokenStore::new(MemoryStore::new(1 << 20));
        let (env, node) = node(&cluster, store.clone()).await;
        assert_eq!(page_with(&env, &node, "/readyz", 200).await, "ready\n");

        node.drain(true);
        assert!(page_with(&env, &node, "/readyz", 503).await.starts_with("draining: "));
        assert_eq!(page_with(&env, &node, "/healthz", 200).await, "healthy\n");
        node.drain(false);
        page_with(&env, &node, "/readyz", 200).await;

        store.set_broken(true);
        assert!(page_with(&env, &node, "/readyz", 503).await.starts_with("store_failing: broken for a test; "));
        assert!(page_with(&env, &node, "/healthz", 503).await.starts_with("store_failing: "));
        store.set_broken(false);
        page_with(&env, &node, "/readyz", 200).await;
        page_with(&env, &node, "/healthz", 200).await;

        cluster.kill_registry();
        // It notices when it next has something to say.
        node.drain(true);
        node.drain(false);
        let why = page_with(&env, &node, "/readyz", 503).await;
        let registry = &cluster.registry_address().endpoint;
        assert!(why.contains("unregistered: ") && why.contains(registry.as_str()), "{why}");
        let listed = format!("dstore_node_registered{{registry=\"{registry}\"}}");
        assert!(sample(&node.metrics(), &listed).abs() < 0.1);
        assert_eq!(page_with(&env, &node, "/healthz", 200).await, "healthy\n", "a restart of the node would not help");
        cluster.restart_registry().await.expect("it starts");
        node.drain(false);
        page_with(&env, &node, "/readyz", 200).await;
        assert!((sample(&node.metrics(), &listed) - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_full_node_is_healthy_and_not_ready() {
    block_on(async {
        let cluster = Cluster::start(0).await.expect("it starts");
        let (env, node) = node(&cluster, MemoryStore::new(0)).await;
        assert!(page_with(&env, &node, "/readyz", 503).await.starts_with("no_space: "));
        assert_eq!(page_with(&env, &node, "/healthz", 200).await, "healthy\n");
    });
}

#[test]
fn damaged_shards_are_counted_and_told_to_whoever_asks_the_node() {
    block_on(async {
        use dstore::store::ShardStore;
        let cluster = Cluster::start(3).await.expect("it starts");
        let client = cluster.client().await.expect("a client");
        client.put("a.bin", vec![7; 300_000]).await.expect("stored");
        cluster.corrupt(0);
        while cluster.store(0).scrub(None, u64::MAX).await.expect("in memory").last.is_some() {}
        let info = client.node_info(cluster.node_id(0)).await.expect("it answers");
        assert_eq!((info.damaged, info.damaged == info.shards, info.draining), (info.shards, true, false));
        assert_eq!(client.node_info(cluster.node_id(1)).await.expect("it answers").damaged, 0);
    });
}

#[test]
fn a_registry_counts_its_nodes_and_reads_its_state() {
    block_on(async {
        let cluster = Cluster::start(0).await.expect("it starts");
        let env = cluster.net().host();
        let dir = tempfile::tempdir().expect("a folder");
        let registry = Registry::builder()
            .rt(Rt::new(env.clone()))
            .dir(dir.path())
            .listen(format!("{}:0", env.ip()))
            .admin(format!("{}:0", env.ip()))
            .admin_public()
            .start();
        let registry = registry.await.expect("it starts");
        let host = cluster.net().host();
        let rt = Rt::new(host.clone());
        let node = StorageNode::builder()
            .identity(dstore::ServerIdentity::generate(&rt))
            .rt(rt)
            .listen(format!("{}:0", host.ip()))
            .store(MemoryStore::new(1 << 20))
            .registry(registry.registry_address())
            .start();
        let node = node.await.expect("a node starts");
        node.registered().await;
        let admin = registry.admin_address().expect("asked for");
        let (_, metrics) = page(&env, admin, "/metrics").await;
        for (name, value) in [
            ("dstore_registry_nodes{state=\"active\"}", 1.0),
            ("dstore_registry_nodes{state=\"draining\"}", 0.0),
            ("dstore_registry_dial_backs_total{outcome=\"ok\"}", 1.0),
            ("dstore_registry_requests_total{kind=\"register\",outcome=\"ok\"}", 1.0),
            ("dstore_registry_required_nodes", 3.0),
        ] {
            assert!((sample(&metrics, name) - value).abs() < 0.1, "{name}\n{metrics}");
        }
        assert_eq!(page(&env, admin, "/readyz").await, (200, "ready\n".to_owned()));
        node.shutdown().await;
        assert!((sample(&registry.metrics(), "dstore_registry_nodes_left_total") - 1.0).abs() < 0.1);
        assert!(sample(&registry.metrics(), "dstore_registry_nodes{state=\"active\"}").abs() < 0.1);
    });
}
