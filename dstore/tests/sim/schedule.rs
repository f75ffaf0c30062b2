//! Clients of one owner do what they like, while one thing at a time goes wrong.

use std::time::Duration;

use dstore::testing::{Sim, SimClient, SimHost, SimNet};
use dstore::{Client, Error, Result, ShardHealth};
use futures_lite::{AsyncReadExt, future};

use super::at_seeds;
use super::model::{Model, PATHS, content};

const NODES: usize = 5;
const OPERATIONS: usize = 8;

/// What one client does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Put(&'static str),
    Get(&'static str),
    Remove(&'static str),
    Rename(&'static str, &'static str),
}

fn step(net: &SimNet) -> Step {
    let path = || PATHS[net.below(PATHS.len())];
    match net.below(8) {
        0..=3 => Step::Put(path()),
        4..=5 => Step::Get(path()),
        6 => Step::Remove(path()),
        _ => Step::Rename(path(), path()),
    }
}

/// Reads a file with its version.
async fn read(client: &Client, path: &str) -> Result<(u32, Vec<u8>)> {
    let mut reader = client.get(path).reader().await?;
    let version = reader.head().version;
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes).await {
        Ok(_) => Ok((version, bytes)),
        Err(error) => Err(*error.into_inner().expect("a cause").downcast::<Error>().expect("ours")),
    }
}

/// Every error here is one that a caller may see when one thing at a time goes wrong.
fn fair(step: Step, error: &Error) {
    let told = ["not_found", "already_exists", "version_conflict", "invalid_path"].contains(&error.code());
    assert!(told || error.is_retryable(), "{step:?}: {error:?}");
}

/// One client: operations one after another; a host that is killed is started again.
async fn work(net: &SimNet, client: &mut SimClient, model: &Model) {
    for _ in 0..OPERATIONS {
        let step = step(net);
        let judge = |answer: &Option<Result<dstore::Head>>| {
            if let Some(Err(error)) = answer {
                fair(step, error);
            }
        };
        let killed = match step {
            Step::Put(path) => {
                let number = model.number();
                let put = client.spawn(move |client| async move { client.put(path, content(number)).await });
                let answer = put.await.map(|answer| answer.map(|committed| committed.head));
                judge(&answer);
                let killed = answer.is_none();
                model.put(path, number, answer);
                killed
            }
            Step::Get(path) => {
                let newest = model.newest(path);
                let answer = client.spawn(move |client| async move { read(&client, path).await }).await;
                match &answer {
                    Some(Ok((version, bytes))) => model.read(path, newest, *version, bytes),
                    Some(Err(error)) => fair(step, error),
                    None => {}
                }
                answer.is_none()
            }
            Step::Remove(path) => {
                let answer = client.spawn(move |client| async move { client.remove(path).await }).await;
                judge(&answer);
                let killed = answer.is_none();
                model.removed(path, answer);
                killed
            }
            Step::Rename(from, to) => {
                let answer = client.spawn(move |client| async move { client.rename(from, to).await }).await;
                judge(&answer);
                let killed = answer.is_none();
                model.renamed(from, to, answer);
                killed
            }
        };
        if killed {
            client.restart().await;
        }
    }
}

/// One fault after another, never two at a time.
async fn harm(net: &SimNet, clients: usize) {
    loop {
        net.at_step(net.steps() + 1 + net.below(300) as u64).await;
        let index = net.below(NODES);
        let node = SimHost::Node(index);
        let other = SimHost::Client(net.below(clients));
        let long = Duration::from_millis(net.below(8_000) as u64);
        match net.below(11) {
            0 => {
                net.kill(node);
                net.sleep(long).await;
                net.restart(node);
                net.settled().await;
            }
            1 => {
                net.hang(node);
                net.sleep(long * 5).await;
                net.resume(node);
            }
            2 => {
                net.slow(node, Duration::from_millis(net.below(3_000) as u64));
                net.sleep(long).await;
                net.resume(node);
            }
            3 => {
                let ids = net.corrupt(index);
                net.sleep(long).await;
                ids.into_iter().for_each(|id| drop(net.store(index).flip(id, 0)));
            }
            4 => drop(net.link(other, node).cut()),
            5 => {
                let parted = if net.below(2) == 0 { net.link(other, node) } else { net.one_way(node, other) };
                let parted = parted.part();
                net.sleep(long).await;
                drop(parted.heal());
            }
            6 => {
                net.disk_full(index, true);
                net.sleep(long).await;
                net.disk_full(index, false);
            }
            7 => {
                let registry = SimHost::Registry(0);
                net.kill(registry);
                net.sleep(long).await;
                net.restart(registry);
            }
            8 => {
                net.ledger().delay(long / 4);
                net.sleep(long).await;
                net.ledger().heal();
            }
            9 => {
                net.ledger().lose_answers(true);
                net.sleep(long / 4).await;
                net.ledger().heal();
            }
            _ => net.kill(other),
        }
        // What was away has to be noticed as present before the next one goes.
        net.sleep(long).await;
    }
}

/// Every file as the model and the ledger have it, all of it there.
async fn audit(client: &Client, model: &Model) -> usize {
    let mut live = 0;
    for path in PATHS {
        match read(client, path).await {
            Ok((version, bytes)) => {
                model.read(path, model.newest(path), version, &bytes);
                let (_, shards) = client.check(path).await.expect("checked");
                let whole = shards.iter().filter(|shard| shard.state == ShardHealth::Ok).count();
                assert!(whole + 2 >= shards.len(), "{path}: {shards:?}");
                live += shards.len();
            }
            Err(error) => assert_eq!(error.code(), "not_found", "{path}: {error:?}"),
        }
    }
    model.check();
    live
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn what_was_acknowledged_stays_and_nothing_else_does() {
    at_seeds(24, |seed| {
        Sim::new(seed).nodes(NODES).run(async |net| {
            let model = Model::default();
            let mut first = net.client().await;
            let mut second = net.client().await;
            net.skew(second.host(), net.below(120_000) as i64 - 60_000);
            let busy = async {
                let (one, two) = (work(&net, &mut first, &model), work(&net, &mut second, &model));
                future::zip(one, two).await;
            };
            future::or(busy, harm(&net, 2)).await;
            heal(&net).await;
            let client = net.client().await;
            let live = audit(&client, &model).await;
            // Whatever no record names ends with its lease, 97 days after it was stored; reading renews the others.
            net.skip(61 * DAY).await;
            assert_eq!(audit(&client, &model).await, live);
            client.close().await;
            net.skip(37 * DAY).await;
            net.sleep(Duration::from_secs(5)).await;
            assert_eq!(audit(&client, &model).await, live);
            assert_eq!(net.shards().await.1, live, "a shard that no record names, or a record without one");
        });
    });
}

/// Ends every fault, and waits until a late write of the ledger has happened.
async fn heal(net: &SimNet) {
    net.ledger().heal();
    for index in 0..NODES {
        net.disk_full(index, false);
        net.resume(SimHost::Node(index));
        net.restart(SimHost::Node(index));
        for client in 0..2 {
            drop(net.link(SimHost::Node(index), SimHost::Client(client)).heal());
        }
    }
    net.restart(SimHost::Registry(0));
    net.settled().await;
    net.sleep(Duration::from_secs(60)).await;
}
