//! What a put would store and cost, and that a ledger knows of puts that are on their way.

use std::sync::{Arc, Mutex};

use dstore::ledger::{Coming, Cost, Ledger, LedgerError, MemoryLedger, Written};
use dstore::rt::BoxFuture;
use dstore::testing::{Cluster, HookedLedger, LedgerHooks, LedgerWrite};
use dstore::{Client, PutMode, Source};
use futures_lite::future::{self, block_on};

use super::noise;

/// Held by puts, and not by clones of the ledger.
#[derive(Debug, Default)]
struct OnTheirWay(Arc<()>);

/// A ledger that has a price, and that waits until every put that is on its way has arrived.
#[derive(Debug, Clone, Default)]
struct Batching {
    coming: Arc<OnTheirWay>,
    arrived: Arc<Mutex<usize>>,
    /// How many there were each time that all had arrived.
    batches: Arc<Mutex<Vec<usize>>>,
}

type BatchingLedger = HookedLedger<MemoryLedger, Batching>;

impl Batching {
    fn coming_now(&self) -> usize {
        Arc::strong_count(&self.coming.0) - 1
    }
}

impl LedgerHooks for Batching {
    fn write<'a>(&'a self, ledger: &'a dyn Ledger, write: LedgerWrite) -> BoxFuture<'a, Result<Written, LedgerError>> {
        Box::pin(async move {
            *self.arrived.lock().expect("fine") += 1;
            while *self.arrived.lock().expect("fine") < self.coming_now() {
                future::yield_now().await;
            }
            self.batches.lock().expect("fine").push(self.coming_now());
            write.make(ledger).await
        })
    }

    fn coming(&self) -> Option<Coming> {
        Some(Coming::new(&self.coming.0))
    }

    fn cost(&self, expected: u32, len: usize) -> Option<Cost> {
        Some(Cost::new(len as u64, 7, u128::from(expected)))
    }
}

async fn start(nodes: usize) -> (Cluster, BatchingLedger) {
    let cluster = Cluster::start(nodes).await.expect("a cluster");
    (cluster, HookedLedger::around(MemoryLedger::default(), Batching::default()))
}

async fn client_of(cluster: &Cluster, ledger: &BatchingLedger) -> Client {
    cluster.client_builder().ledger(ledger.clone()).connect().await.expect("a client")
}

#[test]
fn a_preview_tells_what_the_put_then_stores_and_stores_nothing() {
    block_on(async {
        let (cluster, ledger) = start(4).await;
        let client = client_of(&cluster, &ledger).await;
        for len in [0, 5_000, 1_000_000] {
            let content = noise(len);
            let told = client.put("x", &content[..]).attribute("a", "b").preview().await.expect("told");
            assert!(client.get("x").bytes().await.map_or(true, |there| there != content), "nothing is written");
            let before = client.history("x").await.map_or(0, |versions| versions[0].version);
            assert_eq!(told.version, before + 1);
            let committed = client.put("x", &content[..]).attribute("a", "b").await.expect("stored");
            let head = &committed.head;
            assert_eq!((told.version, told.size, told.padded), (head.version, Some(head.size), Some(head.padded)));
            assert_eq!((told.stored, told.shards), (Some(committed.stored), head.shards.len()));
            let nodes: std::collections::BTreeSet<_> = head.shards.iter().map(|shard| shard.node).collect();
            assert_eq!(told.nodes, nodes.len());
            let entry = ledger.get(head.file_id).await.expect("read").expect("there");
            assert!([0, 128].contains(&(told.record_len - entry.record.len())), "{told:?}");
            assert_eq!(told.cost, Some(Cost::new(told.record_len as u64, 7, u128::from(before))));
        }
        client.close().await;
        assert_eq!(cluster.live_shards().await, 6, "of the last put alone");
    });
}

#[test]
fn a_preview_of_a_source_of_unknown_length_tells_of_the_record_alone() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let client = cluster.client().await.expect("a client");
        let reader = Source::reader(futures_lite::io::Cursor::new(noise(9)));
        let told = client.put("x", reader).preview().await.expect("told");
        assert_eq!((told.size, told.padded, told.stored, told.cost), (None, None, None, None));
        assert!(told.record_len > 0 && told.record_len.is_multiple_of(128));
        assert_eq!(cluster.live_shards().await, 0);
    });
}

#[test]
fn a_preview_fails_as_the_put_would() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let client = cluster.client().await.expect("a client");
        client.put("x", &b"there"[..]).await.expect("stored");
        let preview = |mode| client.put("x", &b"new"[..]).mode(mode).preview();
        assert_eq!(preview(PutMode::Create).await.expect_err("there").code(), "already_exists");
        assert_eq!(preview(PutMode::Update(7)).await.expect_err("another").code(), "version_conflict");
        assert_eq!(preview(PutMode::Update(1)).await.expect("that one").version, 2);
        let alone = Cluster::start(1).await.expect("a cluster");
        let client = alone.client().await.expect("a client");
        let error = client.put("x", &b"new"[..]).preview().await.expect_err("too few");
        assert_eq!(error.code(), "not_enough_nodes");
    });
}

#[test]
fn a_ledger_knows_of_puts_that_are_on_their_way_until_their_records_are_written() {
    block_on(async {
        let (cluster, ledger) = start(3).await;
        let client = client_of(&cluster, &ledger).await;
        // More than upload at once.
        let puts = (0..8).map(|number| {
            let client = client.clone();
            async move { client.put(format!("x{number}"), &noise(100_000 * number)[..]).await.map(drop) }
        });
        let stored = futures_util::future::join_all(puts).await;
        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
        assert_eq!(ledger.hooks().batches.lock().expect("fine")[0], 8, "the first one waits for all");
        client.put("bad\0path", &b""[..]).await.expect_err("no path");
        client.close().await;
        assert_eq!(ledger.hooks().coming_now(), 0);
        let owner = cluster.client().await.expect("a client").owner();
        assert_eq!(ledger.list(owner, None).await.expect("listed").entries.len(), 8);
    });
}
