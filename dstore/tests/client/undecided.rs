//! A write to the ledger that is late: whatever is done meanwhile, what it names is there when it arrives.

use std::sync::{Arc, Mutex};

use dstore::Client;
use dstore::journal::MemoryJournal;
use dstore::ledger::{Ledger, LedgerError, MemoryLedger, Written};
use dstore::rt::BoxFuture;
use dstore::testing::{Cluster, Defect, HookedLedger, LedgerHooks, LedgerWrite};
use futures_lite::future::block_on;

use super::noise;

/// A ledger that takes so many writes without telling, early or late.
#[derive(Debug, Clone)]
struct Late {
    /// Writes that are not answered any more.
    left: Arc<Mutex<usize>>,
    /// Whether those take effect at once, or just before the next one that is answered.
    at_once: bool,
    held: Arc<Mutex<Vec<LedgerWrite>>>,
    /// Reads that fail.
    blind: Arc<Mutex<usize>>,
}

type LateLedger = HookedLedger<MemoryLedger, Late>;

fn late_ledger(ledger: &MemoryLedger, count: usize, at_once: bool) -> LateLedger {
    let left = Arc::new(Mutex::new(count));
    HookedLedger::around(ledger.clone(), Late { left, at_once, held: Arc::default(), blind: Arc::default() })
}

impl Late {
    /// What was held back takes effect.
    async fn arrive(&self, ledger: &dyn Ledger) {
        let held = std::mem::take(&mut *self.held.lock().expect("fine"));
        for write in held {
            drop(write.make(ledger).await);
        }
    }
}

impl LedgerHooks for Late {
    fn write<'a>(&'a self, ledger: &'a dyn Ledger, write: LedgerWrite) -> BoxFuture<'a, Result<Written, LedgerError>> {
        Box::pin(async move {
            let answered = {
                let mut left = self.left.lock().expect("fine");
                let answered = *left == 0;
                *left = left.saturating_sub(1);
                answered
            };
            if answered {
                self.arrive(ledger).await;
                return write.make(ledger).await;
            }
            self.held.lock().expect("fine").push(write);
            if self.at_once {
                self.arrive(ledger).await;
                *self.blind.lock().expect("fine") = 1;
            }
            Err(LedgerError::Unknown { what: "late for a test".to_owned(), source: None })
        })
    }

    fn read(&self) -> Result<(), LedgerError> {
        let mut blind = self.blind.lock().expect("fine");
        if *blind == 0 {
            return Ok(());
        }
        *blind -= 1;
        Err(LedgerError::Unavailable { what: "blind for a test".to_owned(), source: None })
    }
}

async fn client_of(cluster: &Cluster, journal: &MemoryJournal, ledger: &LateLedger) -> Client {
    let builder = cluster.client_builder().journal(journal.clone()).ledger(ledger.clone());
    builder.connect().await.expect("a client")
}

/// The same put again, while the first write of it is under way; then every write arrives.
async fn late(unanswered: usize, len: usize) {
    let cluster = Cluster::start(3).await.expect("a cluster");
    let (journal, content) = (MemoryJournal::default(), noise(len));
    let ledger = late_ledger(cluster.ledger(), unanswered, false);
    for _ in 0..unanswered {
        let client = client_of(&cluster, &journal, &ledger).await;
        let error = client.put("x", &content[..]).await.expect_err("no answer");
        assert_eq!(error.code(), "unknown_outcome");
        client.close().await;
    }
    let client = client_of(&cluster, &journal, &ledger).await;
    let committed = client.put("x", &content[..]).await.expect("it is there, whichever write came first");
    assert_eq!(committed.head.version, 1);
    client.close().await;
    // Another start looks at what is left.
    client_of(&cluster, &journal, &ledger).await.close().await;
    assert_eq!(cluster.live_shards().await, 6, "{unanswered} unanswered, {len} bytes");
    let reader = cluster.client().await.expect("a client");
    assert!(reader.get("x").bytes().await.expect("read") == content);
    assert_eq!(journal.count(), 0);
}

#[test]
fn a_write_that_arrives_while_the_same_put_is_made_again_keeps_its_shards() {
    block_on(async {
        late(1, 5_000).await;
        late(1, 3_000_000).await;
    });
}

#[test]
fn a_put_that_was_made_again_without_an_answer_either_time_keeps_its_shards() {
    block_on(late(2, 300_000));
}

#[test]
fn a_late_write_keeps_its_shards_when_the_same_put_is_made_again_and_the_ledger_is_down() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let (journal, content) = (MemoryJournal::default(), noise(300_000));
        let ledger = late_ledger(cluster.ledger(), 1, false);
        client_of(&cluster, &journal, &ledger).await.put("x", &content[..]).await.expect_err("no answer");
        let down = dstore::testing::BrokenLedger::new(cluster.ledger().clone());
        let client = cluster.client_builder().journal(journal.clone()).ledger(down).connect().await.expect("a client");
        let error = client.put("x", &content[..]).await.expect_err("it is down");
        assert_eq!(error.code(), "unavailable");
        client.close().await;
        ledger.hooks().arrive(cluster.ledger()).await;
        assert_eq!(cluster.live_shards().await, 6);
        let reader = cluster.client().await.expect("a client");
        assert!(reader.get("x").bytes().await.expect("read") == content);
    });
}

#[test]
fn a_late_write_keeps_its_shards_when_the_same_put_is_made_again_and_a_node_is_gone() {
    block_on(async {
        let mut cluster = Cluster::start(4).await.expect("a cluster");
        let (journal, content) = (MemoryJournal::default(), noise(300_000));
        let ledger = late_ledger(cluster.ledger(), 1, false);
        let client = client_of(&cluster, &journal, &ledger).await;
        client.put("x", &content[..]).await.expect_err("no answer");
        client.close().await;
        cluster.kill(0);
        let client = client_of(&cluster, &journal, &ledger).await;
        let error = client.put("x", &content[..]).await.expect_err("the first write was faster");
        assert_eq!(error.code(), "version_conflict");
        client.close().await;
        cluster.restart(0).await.expect("restarted");
        client_of(&cluster, &journal, &ledger).await.close().await;
        let reader = cluster.client().await.expect("a client");
        assert!(reader.get("x").bytes().await.expect("read") == content);
        assert!(cluster.live_shards().await >= 6, "all that the record names");
    });
}

#[test]
fn a_put_of_which_nobody_was_told_retires_what_it_replaced_when_it_is_made_again() {
    block_on(async {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let (journal, content) = (MemoryJournal::default(), noise(300_000));
        let ledger = late_ledger(cluster.ledger(), 0, true);
        let client = client_of(&cluster, &journal, &ledger).await;
        client.put("x", &noise(5)[..]).await.expect("stored");
        *ledger.hooks().left.lock().expect("fine") = 1;
        let error = client.put("x", &content[..]).await.expect_err("no answer");
        assert_eq!(error.code(), "unknown_outcome");
        let committed = client.put("x", &content[..]).await.expect("it is there");
        assert_eq!(committed.head.version, 2);
        client.close().await;
        assert_eq!(cluster.live_shards().await, 6);
        assert_eq!(journal.count(), 0);
        let empty = MemoryLedger::default();
        let found = cluster.client_builder().ledger(empty).connect().await.expect("a client").recover().await;
        let versions: Vec<u32> = found.expect("found").ledgers[0].files.iter().map(|file| file.head.version).collect();
        assert_eq!(versions, [2], "its copies are at the nodes");
    });
}

#[test]
fn a_put_goes_on_with_fewer_shards_at_each_node_when_more_losses_are_to_be_tolerated() {
    block_on(async {
        let mut cluster = Cluster::start(3).await.expect("a cluster");
        let (journal, content) = (MemoryJournal::default(), noise(20_000_000));
        let client = cluster.client_builder().journal(journal.clone()).connect().await.expect("a client");
        super::resume::interrupt(&client, &content).await;
        client.close().await;
        for _ in 0..3 {
            cluster.add_node(1 << 30).await.expect("a node");
        }
        let careful = cluster.client_builder().journal(journal.clone()).tolerate(2);
        let careful = careful.connect().await.expect("a client");
        let committed = careful.put("x", &content[..]).await.expect("six nodes are enough");
        let nodes: std::collections::BTreeSet<_> = committed.head.shards.iter().map(|shard| shard.node).collect();
        assert_eq!(nodes.len(), 6);
        careful.close().await;
        assert_eq!(cluster.live_shards().await, 6, "what the first one left is gone");
    });
}

#[test]
fn the_ledger_of_a_cluster_fails_as_it_is_told_and_works_again() {
    block_on(async {
        let (cluster, client) = super::cluster_of(3).await;
        client.put("old", &b"text"[..]).await.expect("stored");
        for (defect, put, head) in [
            (Defect::Refuses, "unavailable", None),
            (Defect::Loses, "unknown_outcome", None),
            (Defect::IsMute, "unknown_outcome", Some("unavailable")),
        ] {
            cluster.ledger_fault(Some(defect));
            let before = client.head("x").await.map_or(0, |head| head.version);
            let error = client.put("x", &b"one"[..]).await.expect_err("it fails");
            assert_eq!(error.code(), put, "{defect:?}");
            assert_eq!(client.head("old").await.err().map(|error| error.code()), head, "{defect:?}");
            cluster.ledger().health().await.expect("it fails for clients alone");
            cluster.ledger_fault(None);
            let taken = u32::from(defect == Defect::IsMute);
            let stored = client.put("x", &b"two"[..]).await.expect("it works again");
            assert_eq!(stored.head.version, before + taken + 1, "{defect:?}");
        }
    });
}
