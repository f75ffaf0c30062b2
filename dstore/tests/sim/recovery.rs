//! A lost ledger: whatever happened before, the owner's key and a registry find every file, without any one node.

use std::time::Duration;

use dstore::journal::MemoryJournal;
use dstore::testing::{Sim, SimClient, SimHost, SimNet};
use dstore::{Client, Result};
use futures_lite::{StreamExt, future};

use super::model::{PATHS, content};
use super::{at_seeds, tell};

const NODES: usize = 4;
const OPERATIONS: usize = 10;

async fn listed(client: &Client) -> Vec<(String, u32)> {
    let heads: Vec<Result<_>> = client.list("").collect().await;
    let heads = heads.into_iter().map(|head| head.expect("listed"));
    let mut files: Vec<_> = heads.map(|head| (head.path.to_string(), head.version)).collect();
    files.sort();
    files
}

/// One operation, whatever becomes of it, while a node or the client may be lost.
async fn operate(net: &SimNet, client: &mut SimClient, number: u64) {
    let path = PATHS[net.below(PATHS.len())];
    let other = PATHS[net.below(PATHS.len())];
    let kind = net.below(8);
    let node = SimHost::Node(net.below(NODES));
    let harm = net.below(4);
    let after = Duration::from_millis(net.below(60) as u64);
    tell(net, (number, ["put", "remove", "rename"][kind.saturating_sub(4).min(2)], path, other, harm, node));
    let work = client.spawn(move |client| async move {
        match kind {
            0..=4 => drop(client.put(path, content(number)).await),
            5 => drop(client.remove(path).await),
            _ => drop(client.rename(path, other).await),
        }
    });
    let host = client.host();
    let harm = async {
        net.sleep(after).await;
        match harm {
            0 => net.kill(node),
            1 => net.hang(node),
            2 => net.kill(host),
            _ => {}
        }
    };
    let (lived, ()) = future::zip(work, harm).await;
    net.resume(node);
    net.restart(node);
    net.settled().await;
    if lived.is_none() {
        client.restart().await;
    }
}

#[test]
fn after_any_schedule_a_lost_ledger_is_found_again_without_any_one_node() {
    at_seeds(12, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let journal = MemoryJournal::default();
            let mut client = net.client_with(move |builder| builder.journal(journal.clone())).await;
            for number in 1..=OPERATIONS as u64 {
                operate(&net, &mut client, number).await;
            }
            client.restart().await;
            client.close().await;
            let files = listed(&client).await;
            tell(&net, &files);
            for dead in [None, Some(net.below(NODES))] {
                dead.into_iter().for_each(|node| net.kill(SimHost::Node(node)));
                let ledger = net.new_ledger();
                let stranger = net.client_with(move |builder| builder.ledger(ledger.clone())).await;
                let found = stranger.recover().await.expect("a registry is there");
                let of_ledgers = found.ledgers.iter().flat_map(|ledger| &ledger.files);
                let found: Vec<_> = of_ledgers.clone().map(|f| (f.head.path.to_string(), f.head.version)).collect();
                assert_eq!(found, files, "without node {dead:?}");
                assert!(of_ledgers.clone().all(|file| file.is_readable()), "without node {dead:?}");
            }
        });
    });
}
