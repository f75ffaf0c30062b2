//! Clients of one owner do what they like, while one thing at a time goes wrong.

use std::cell::Cell;
use std::time::Duration;

use dstore::testing::{Sim, SimClient, SimHost, SimNet};
use dstore::{Client, Error, Result, ShardHealth};
use futures_lite::{AsyncReadExt, future};

use super::model::{Model, PATHS, content};
use super::{at_seeds, tell};

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
        net.sleep(some_time(net) / 4).await;
        let step = step(net);
        tell(net, (client.host(), step));
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

/// What goes wrong, one thing at a time.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Kill,
    Hang,
    Slow,
    Rot,
    Cut,
    Part,
    PartOneWay,
    Full,
    NoRegistry,
    SlowLedger,
    NoLedger,
    LostAnswers,
    KillClient,
}

const HARMS: [Harm; 13] = [
    Harm::Kill,
    Harm::Hang,
    Harm::Slow,
    Harm::Rot,
    Harm::Cut,
    Harm::Part,
    Harm::PartOneWay,
    Harm::Full,
    Harm::NoRegistry,
    Harm::SlowLedger,
    Harm::NoLedger,
    Harm::LostAnswers,
    Harm::KillClient,
];

/// Some time: most often about that of an operation, sometimes long enough for every time limit.
fn some_time(net: &SimNet) -> Duration {
    let most = [20, 20, 400, 400, 5_000, 40_000][net.below(6)];
    Duration::from_millis(net.below(most) as u64)
}

/// One fault after another, never two at a time, as long as `going` holds.
async fn harm(net: &SimNet, clients: usize, going: &Cell<bool>) {
    while going.get() {
        net.at_step(net.steps() + 1 + net.below(200) as u64).await;
        let harm = HARMS[net.below(HARMS.len())];
        let (index, client) = (net.below(NODES), net.below(clients));
        let long = some_time(net);
        tell(net, (harm, index, client, long));
        one_harm(net, harm, (index, SimHost::Client(client)), long).await;
        // What was away is to be seen to be back before the next one goes.
        net.settled().await;
        net.sleep(some_time(net)).await;
    }
}

async fn one_harm(net: &SimNet, harm: Harm, (index, client): (usize, SimHost), long: Duration) {
    let (node, registry, ledger) = (SimHost::Node(index), SimHost::Registry(0), net.ledger());
    let mut rotten = Vec::new();
    match harm {
        Harm::Kill => net.kill(node),
        Harm::Hang => net.hang(node),
        Harm::Slow => net.slow(node, Duration::from_millis(net.below(3_000) as u64)),
        Harm::Rot => rotten = net.corrupt(index),
        Harm::Cut => net.link(client, node).cut(),
        Harm::Part => net.link(client, node).part(),
        Harm::PartOneWay => net.one_way(node, client).part(),
        Harm::Full => net.disk_full(index, true),
        Harm::NoRegistry => net.kill(registry),
        Harm::SlowLedger => ledger.delay(long / 2),
        Harm::NoLedger => ledger.refuse(true),
        Harm::LostAnswers => ledger.lose_answers(true),
        Harm::KillClient => net.kill(client),
    }
    net.sleep(long).await;
    match harm {
        Harm::Kill => net.restart(node),
        Harm::Hang | Harm::Slow => net.resume(node),
        Harm::Rot => rotten.into_iter().for_each(|id| _ = net.store(index).flip(id, 0)),
        Harm::Part | Harm::PartOneWay => net.link(client, node).heal(),
        Harm::Full => net.disk_full(index, false),
        Harm::NoRegistry => net.restart(registry),
        Harm::SlowLedger | Harm::NoLedger | Harm::LostAnswers => ledger.heal(),
        Harm::Cut | Harm::KillClient => {}
    }
}

/// Every file as it was acknowledged, with all its shards; answers how many these are.
async fn audit(net: &SimNet, client: &Client, model: &Model) -> usize {
    let mut live = 0;
    for path in PATHS {
        match read(client, path).await {
            Ok((version, bytes)) => {
                model.read(path, model.newest(path), version, &bytes);
                let (_, shards) = client.check(path).await.expect("checked");
                tell(net, (path, version, shards.iter().map(|shard| shard.state).collect::<Vec<_>>()));
                // One that was found rotten while it was, is given up when its lease ends: nobody repairs yet.
                let held = shards.iter().filter(|shard| shard.state != ShardHealth::Missing).count();
                assert!(held + 2 >= shards.len(), "{path}: {shards:?}");
                assert!(shards.iter().all(|shard| shard.state != ShardHealth::Unreachable), "{path}: {shards:?}");
                live += held;
            }
            Err(error) => {
                assert_eq!(error.code(), "not_found", "{path}: {error:?}");
                model.gone(path);
            }
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
            let going = Cell::new(true);
            let busy = async {
                let (one, two) = (work(&net, &mut first, &model), work(&net, &mut second, &model));
                future::zip(one, two).await;
                going.set(false);
            };
            future::zip(busy, harm(&net, 2, &going)).await;
            // A write of the ledger without an answer may come late.
            net.sleep(Duration::from_secs(60)).await;
            let client = net.client().await;
            let live = audit(&net, &client, &model).await;
            // Whatever no record names ends with its lease, 97 days after it was stored; reading renews the others.
            net.skip(61 * DAY).await;
            assert_eq!(audit(&net, &client, &model).await, live);
            client.close().await;
            net.skip(37 * DAY).await;
            net.sleep(Duration::from_secs(5)).await;
            let left = audit(&net, &client, &model).await;
            assert_eq!(net.shards().await.1, left, "a shard that no record names, or a record without one");
        });
    });
}
