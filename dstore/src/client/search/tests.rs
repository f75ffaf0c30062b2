//! Nodes that lie about what they keep: they cost little and change nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::future::block_on;

use super::{MAX_STRANGE, Search, is_overdue};
use crate::client::RecoveryNode;
use crate::copy::RecordCopy;
use crate::error::PeerProblem;
use crate::id::{CopyId, FileId, LedgerId};
use crate::identity::ServerIdentity;
use crate::keys::network_id;
use crate::ledger::EventKind;
use crate::manifest::{NodePlace, RecordPlace};
use crate::net::{self, Identity, Limits, Link, Service, Serving};
use crate::noise::Role;
use crate::proto::{CopyItem, NodeReply, encode};
use crate::rt::{BoxFuture, Rt};
use crate::testing::Cluster;

/// A node that answers everything with what `page` makes of the number of the question.
struct Liar {
    page: fn(u32) -> NodeReply,
    asked: AtomicUsize,
}

impl Service for Liar {
    fn serve(self: Arc<Self>, mut link: Link, serving: Serving) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while serving.next(&mut link).await.is_some() {
                let number = self.asked.fetch_add(1, Ordering::Relaxed);
                let reply = (self.page)(u32::try_from(number).unwrap_or(u32::MAX));
                link.writer.control(&encode(&reply));
                if link.writer.flush().await.is_err() {
                    return;
                }
            }
        })
    }
}

fn id(number: u32) -> CopyId {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    CopyId::new(id)
}

fn garbage(number: u32) -> CopyItem {
    CopyItem { id: id(number), version: 1, body: vec![1; 128] }
}

/// What a client makes of a node that answers with `page`, and how often it asked.
fn asking(page: fn(u32) -> NodeReply) -> (RecoveryNode, usize) {
    block_on(async {
        let cluster = Cluster::start(0).await.expect("a cluster starts");
        let client = cluster.client().await.expect("a client");
        let rt = Rt::new(cluster.net().host());
        let identity = ServerIdentity::generate(&rt);
        let listener = rt.listen("127.0.0.1:0").await.expect("a port");
        let (address, network) = (listener.local_addr(), network_id("dstore"));
        let (id, transport) = (identity.id(), identity.transport().clone());
        let liar = Arc::new(Liar { page, asked: AtomicUsize::new(0) });
        let me = Identity { id, transport, role: Role::Node, network };
        let _server = net::start(&rt, listener, me, Limits::default(), liar.clone());
        let place = NodePlace { id, noise_key: identity.noise_key(), seq: 1, hint: address.to_string() };
        let search = Search::new(&client.0);
        let told = search.ask(place).await;
        assert!(search.found().is_empty());
        (told, liar.asked.load(Ordering::Relaxed))
    })
}

#[test]
fn the_highest_version_counts_in_whatever_order_nodes_answer() {
    block_on(async {
        let cluster = Cluster::start(0).await.expect("a cluster starts");
        let client = cluster.client().await.expect("a client");
        let place = |version| RecordPlace { ledger: LedgerId::new([1; 32]), file: FileId::new([2; 32]), version };
        let copy = |version| RecordCopy { place: place(version), kind: EventKind::Removed, record: vec![] };
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let search = Search::new(&client.0);
            order.into_iter().for_each(|version| search.admit(copy(version)));
            let found: Vec<u32> = search.found().values().map(|copy| copy.place.version).collect();
            assert_eq!(found, [3], "{order:?}");
        }
    });
}

#[test]
fn a_node_that_drips_its_copies_is_not_waited_for() {
    let (limit, more) = (Duration::from_secs(30), Duration::from_millis(1));
    for (items, allowed) in [(0, 1), (1_023, 1), (1_024, 2), (10_240, 11)] {
        assert!(!is_overdue(limit * allowed, items, limit), "{items} items");
        assert!(is_overdue(limit * allowed + more, items, limit), "{items} items");
    }
    assert!(!is_overdue(Duration::MAX, usize::MAX, Duration::MAX));
}

#[test]
fn a_node_that_lists_garbage_without_end_is_left_after_a_while() {
    let (told, _) = asking(|page| {
        let items: Vec<_> = (0..100).map(|at| garbage(page * 100 + at)).collect();
        NodeReply::Copies { next: items.last().map(|last| last.id), items }
    });
    assert_eq!((told.copies, told.strange, told.problem), (0, MAX_STRANGE + 1, Some(PeerProblem::Protocol)));
}

#[test]
fn a_node_that_goes_round_in_circles_or_nowhere_is_asked_twice_at_most() {
    let lies: [fn(u32) -> NodeReply; 5] = [
        |_| NodeReply::Copies { items: vec![garbage(1)], next: Some(id(1)) },
        |_| NodeReply::Copies { items: vec![], next: Some(id(1)) },
        |_| NodeReply::Copies { items: vec![garbage(2), garbage(1)], next: None },
        |_| NodeReply::Copies { items: vec![garbage(1), garbage(1)], next: None },
        |_| NodeReply::Deleted,
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let (told, asked) = asking(lie);
        assert_eq!(told.problem, Some(PeerProblem::Protocol), "lie {number}");
        assert!(asked <= 2, "lie {number}");
    }
}
