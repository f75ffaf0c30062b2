//! A node or the client is lost at every single step of a put and of a get.

use std::time::Duration;

use dstore::testing::{Sim, SimHost, SimNet};
use dstore::{Committed, Result};

use super::{at_seeds, content, every};

const OLD: usize = 20_000;

/// How a node is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Dead,
    Silent,
}

fn lose(net: &SimNet, node: usize, loss: Loss) {
    match loss {
        Loss::Dead => net.kill(SimHost::Node(node)),
        Loss::Silent => net.hang(SimHost::Node(node)),
    }
}

/// The steps at which a put of `len` bytes over an old version runs, if nothing goes wrong.
fn steps_of_a_put(seed: u64, nodes: usize, len: usize) -> std::ops::Range<u64> {
    put_with(seed, nodes, len, async |_| std::future::pending().await).1
}

/// Puts a new version while `harm` goes on; answers what the put said, the steps, and what is read when all is well again.
fn put_with(
    seed: u64,
    nodes: usize,
    len: usize,
    harm: impl AsyncFnOnce(SimNet),
) -> (Option<Result<Committed>>, std::ops::Range<u64>, Vec<u8>) {
    Sim::new(seed).nodes(nodes).run(async |net| {
        let client = net.client().await;
        client.put("a", &content(1, OLD)[..]).await.expect("stored");
        client.close().await;
        let start = net.steps();
        let put = client.spawn(move |client| async move { client.put("a", &content(2, len)[..]).await });
        let harm = async {
            harm(net.clone()).await;
            std::future::pending().await
        };
        let answer = futures_lite::future::or(put, harm).await;
        let end = net.steps();
        // What a client sent to the ledger before it was killed may still arrive.
        net.sleep(Duration::from_secs(1)).await;
        let reader = net.client().await;
        let read = reader.get("a").bytes().await.expect("one of the two versions is there");
        (0..nodes).for_each(|node| {
            net.resume(SimHost::Node(node));
            net.restart(SimHost::Node(node));
        });
        net.settled().await;
        let later = reader.get("a").bytes().await.expect("still there");
        // A client that was killed may have asked the ledger for a write that it takes only now.
        assert!(later == read || (answer.is_none() && later == content(2, len)));
        (answer, start..end, read.to_vec())
    })
}

fn judge(answer: Result<Committed>, read: &[u8], len: usize, at: u64) {
    match answer {
        Ok(_) => assert!(read == content(2, len), "acknowledged, and not there: step {at}"),
        Err(error) => {
            assert!(error.is_retryable(), "step {at}: {error:?}");
            assert!(read == content(1, OLD), "failed, and there: step {at}");
        }
    }
}

#[test]
fn a_put_that_loses_a_node_at_any_step_is_whole_or_nothing() {
    for (len, loss) in [(5_000, Loss::Dead), (400_000, Loss::Dead), (5_000, Loss::Silent), (400_000, Loss::Silent)] {
        at_seeds(1, |seed| {
            let steps = steps_of_a_put(seed, 4, len);
            for at in every(steps, 24) {
                let node = usize::try_from(at % 4).expect("small");
                let (answer, _, read) = put_with(seed, 4, len, async |net| {
                    net.at_step(at).await;
                    lose(&net, node, loss);
                });
                judge(answer.expect("its client lives"), &read, len, at);
            }
        });
    }
}

#[test]
fn a_client_that_is_killed_at_any_step_of_a_put_leaves_one_version_whole() {
    for len in [5_000, 400_000] {
        at_seeds(1, |seed| {
            let steps = steps_of_a_put(seed, 4, len);
            for at in every(steps, 24) {
                let (answer, _, read) = put_with(seed, 4, len, async |net| {
                    net.at_step(at).await;
                    net.kill(SimHost::Client(0));
                });
                match answer {
                    Some(answer) => judge(answer, &read, len, at),
                    None => assert!(read == content(1, OLD) || read == content(2, len), "step {at}"),
                }
            }
        });
    }
}

/// Reads a file while `harm` goes on.
fn get_with(seed: u64, len: usize, harm: impl AsyncFnOnce(SimNet)) -> std::ops::Range<u64> {
    Sim::new(seed).nodes(4).run(async |net| {
        let client = net.client().await;
        client.put("a", &content(1, len)[..]).await.expect("stored");
        let start = net.steps();
        let get = client.spawn(move |client| async move { client.get("a").bytes().await });
        let harm = async {
            harm(net.clone()).await;
            std::future::pending().await
        };
        let read = futures_lite::future::or(get, harm).await.expect("its client lives");
        assert!(read.expect("one node is tolerated") == content(1, len), "wrong bytes");
        start..net.steps()
    })
}

#[test]
fn a_get_that_loses_a_node_at_any_step_reads_on() {
    for (len, loss) in [(5_000, Loss::Dead), (400_000, Loss::Dead), (5_000, Loss::Silent), (400_000, Loss::Silent)] {
        at_seeds(1, |seed| {
            let steps = get_with(seed, len, async |_| ());
            for at in every(steps, 24) {
                let node = usize::try_from(at % 4).expect("small");
                get_with(seed, len, async |net| {
                    net.at_step(at).await;
                    lose(&net, node, loss);
                });
            }
        });
    }
}

#[test]
fn a_node_that_rots_or_slows_down_at_any_step_of_a_get_costs_no_byte() {
    at_seeds(1, |seed| {
        let steps = get_with(seed, 400_000, async |_| ());
        for at in every(steps, 24) {
            let node = usize::try_from(at % 4).expect("small");
            get_with(seed, 400_000, async |net| {
                net.at_step(at).await;
                match at % 2 {
                    0 => drop(net.corrupt(node)),
                    _ => net.slow(SimHost::Node(node), Duration::from_secs(20)),
                }
            });
        }
    });
}
