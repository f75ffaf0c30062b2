//! One node of a put dies, hangs, slows down or is cut off: with a spare one it succeeds, without one it ends in time.

use std::time::Duration;

use dstore::testing::{Sim, SimClient, SimHost, SimNet};
use dstore::{Committed, Result, Source};
use futures_lite::io::Cursor;

use super::{at_seeds, content, tell};

const LEN: usize = 3_000_000;
/// Bytes a second that a node takes.
const LINE: u64 = 1_000_000;
/// A step without progress, and what goes before and after it.
const DEADLINE: Duration = Duration::from_secs(30 + 15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Hung,
    Slow,
    Cut,
}

const FAULTS: [Fault; 4] = [Fault::Killed, Fault::Hung, Fault::Slow, Fault::Cut];

fn break_node(net: &SimNet, client: SimHost, node: SimHost, fault: Fault) {
    match fault {
        Fault::Killed => net.kill(node),
        Fault::Hung => net.hang(node),
        Fault::Slow => net.bandwidth(node, LINE / 20),
        Fault::Cut => net.link(client, node).cut(),
    }
}

fn heal(net: &SimNet, node: SimHost) {
    net.resume(node);
    net.bandwidth(node, LINE);
    net.restart(node);
}

/// One that can be read again, or one that cannot.
fn source(number: u64, is_reader: bool) -> Source {
    let bytes = content(number, LEN);
    if is_reader { Source::reader(Cursor::new(bytes)) } else { bytes.into() }
}

/// A put of content 2 over content 1, with a fault in the middle; how long it took from there, and what it said.
async fn broken(
    net: &SimNet,
    client: &SimClient,
    fault: Fault,
    is_reader: bool,
) -> (SimHost, Duration, Result<Committed>) {
    (0..net.nodes()).for_each(|node| net.bandwidth(SimHost::Node(node), LINE));
    let node = SimHost::Node(net.below(net.nodes()));
    let put = client.spawn(move |client| async move { client.put("a", source(2, is_reader)).await });
    // It takes one to two seconds.
    net.sleep(Duration::from_millis(net.below(900) as u64)).await;
    let start = net.elapsed();
    tell(net, (fault, node, is_reader));
    break_node(net, client.host(), node, fault);
    let answer = put.await.expect("its client lives");
    let took = net.elapsed() - start;
    tell(net, (took, answer.as_ref().map(|committed| committed.head.version)));
    (node, took, answer)
}

#[test]
fn a_put_with_a_spare_node_succeeds_whatever_becomes_of_one() {
    for (fault, is_reader) in FAULTS.into_iter().flat_map(|fault| [(fault, false), (fault, true)]) {
        at_seeds(2, |seed| {
            Sim::new(seed).nodes(4).run(async |net| {
                let client = net.client().await;
                client.put("a", &content(1, 1000)[..]).await.expect("stored");
                let (node, took, answer) = broken(&net, &client, fault, is_reader).await;
                let committed = answer.unwrap_or_else(|error| panic!("{fault:?}, reader {is_reader}: {error:?}"));
                assert!(took < DEADLINE, "{fault:?}, reader {is_reader}: {took:?}");
                assert_eq!(committed.head.version, 2);
                net.kill(node);
                assert!(client.get("a").bytes().await.expect("one node is tolerated") == content(2, LEN));
            });
        });
    }
}

#[test]
fn a_put_without_a_spare_node_ends_in_time_and_goes_on_when_that_node_is_back() {
    for (fault, is_reader) in FAULTS.into_iter().flat_map(|fault| [(fault, false), (fault, true)]) {
        at_seeds(2, |seed| {
            Sim::new(seed).nodes(3).run(async |net| {
                let client = net.client().await;
                client.put("a", &content(1, 1000)[..]).await.expect("stored");
                let (node, took, answer) = broken(&net, &client, fault, is_reader).await;
                assert!(took < DEADLINE, "{fault:?}, reader {is_reader}: {took:?}");
                let versions = match answer {
                    // What it replaced was not retired at that node: its notes are still there, and answer the same put.
                    Ok(committed) => committed.head.version..committed.head.version + 2,
                    Err(error) => {
                        let SimHost::Node(index) = node else { unreachable!("a node") };
                        let names_it = error.to_string().contains(&net.node_id(index).short().to_string());
                        let fair = error.code() == "not_enough_nodes" || error.is_retryable() && names_it;
                        assert!(fair, "{fault:?}, reader {is_reader}: {error:?}");
                        assert_eq!(client.head("a").await.expect("there").version, 1, "nothing is committed");
                        2..3
                    }
                };
                heal(&net, node);
                net.settled().await;
                let again = client.put("a", source(2, is_reader)).await.expect("all is well again");
                assert!(versions.contains(&again.head.version), "{fault:?}, reader {is_reader}: {again:?}");
                client.close().await;
                assert!(client.get("a").bytes().await.expect("read") == content(2, LEN));
            });
        });
    }
}
