//! Two clients that are killed and whose ledger fails, at one path: in the end nothing is left but what records name.

use std::time::Duration;

use dstore::journal::MemoryJournal;
use dstore::testing::{Sim, SimClient, SimNet};
use dstore::{Client, Result};
use futures_lite::future;

use super::model::content;
use super::{at_seeds, tell};

const OPERATIONS: usize = 8;
/// The one path, and where it is moved.
const PATHS: [&str; 2] = ["a", "b"];

async fn client(net: &SimNet) -> (SimClient, MemoryJournal) {
    let journal = MemoryJournal::default();
    let kept = journal.clone();
    (net.client_with(move |builder| builder.journal(kept.clone())).await, journal)
}

async fn write(client: Client, kind: usize, number: u64) -> Result<()> {
    match kind {
        0..=3 => client.put("a", content(number)).await.map(drop),
        4 => client.remove("a").await.map(drop),
        5 => client.rename("a", "b").await.map(drop),
        6 => client.rename("b", "a").await.map(drop),
        _ => client.remove("b").await.map(drop),
    }
}

/// Operations of one client, which is killed in the middle of some, or started again between two.
async fn work(net: &SimNet, client: &mut SimClient, first: u64) {
    for number in first..first + OPERATIONS as u64 {
        net.sleep(Duration::from_millis(net.below(200) as u64)).await;
        net.ledger().lose_answers(net.below(2) == 0);
        // The same content again now and then: it may go on with what was left of it.
        let (kind, number) = (net.below(8), first + net.below(3) as u64 + number / 4);
        tell(net, (client.host(), kind, number));
        let work = client.spawn(move |client| write(client, kind, number));
        let killed = net.below(3) == 0;
        if killed {
            net.at_step(net.steps() + net.below(600) as u64).await;
            client.restart().await;
        }
        match work.await {
            Some(Err(error)) => {
                tell(net, (client.host(), error.code()));
                let told = ["not_found", "already_exists", "version_conflict"].contains(&error.code());
                assert!(told || error.is_retryable(), "{error:?}");
            }
            Some(Ok(())) => tell(net, (client.host(), "done")),
            None => tell(net, (client.host(), "killed")),
        }
    }
}

#[test]
fn what_two_clients_that_are_killed_leave_is_settled_when_the_ledger_answers_again() {
    at_seeds(16, |seed| {
        Sim::new(seed).nodes(3).run(async |net| {
            let ((mut one, first), (mut two, second)) = (client(&net).await, client(&net).await);
            future::zip(work(&net, &mut one, 10), work(&net, &mut two, 30)).await;
            net.ledger().heal();
            // A write without an answer may come late.
            net.sleep(Duration::from_secs(60)).await;
            for later in [Duration::ZERO, Duration::from_secs(26 * 3600)] {
                net.skip(later).await;
                for client in [&mut one, &mut two] {
                    client.restart().await;
                    client.close().await;
                }
            }
            assert_eq!((first.count(), second.count()), (0, 0), "nothing is left to be done");
            let mut named = 0;
            for path in PATHS {
                match one.get(path).bytes().await {
                    Ok(_) => named += 6,
                    Err(error) => assert_eq!(error.code(), "not_found", "{error:?}"),
                }
            }
            assert_eq!(net.shards().await.0, named, "what is live is what records name");
        });
    });
}

#[test]
fn a_write_that_comes_late_names_a_content_that_is_still_there() {
    at_seeds(24, |seed| {
        Sim::new(seed).nodes(3).run(async |net| {
            let (client, journal) = client(&net).await;
            client.put("a", content(1)).await.expect("stored");
            client.close().await;
            net.ledger().lose_answers(true);
            let mut last = client.put("a", content(2)).await.map(|committed| committed.head.version);
            for _ in 0..3 {
                if last.is_ok() {
                    break;
                }
                net.sleep(Duration::from_millis(net.below(15_000) as u64)).await;
                net.ledger().lose_answers(net.below(2) == 0);
                last = client.put("a", content(2)).await.map(|committed| committed.head.version);
            }
            tell(&net, &last);
            net.ledger().heal();
            net.sleep(Duration::from_secs(60)).await;
            let committed = client.put("a", content(2)).await.expect("stored");
            assert!((2..4).contains(&committed.head.version), "{committed:?}");
            client.close().await;
            assert!(client.get("a").bytes().await.expect("read") == content(2));
            assert_eq!((net.shards().await.0, journal.count()), (6, 0));
        });
    });
}
