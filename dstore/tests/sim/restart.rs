//! A client that is killed at any step of a put, started again, and told to put the same.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use dstore::id::ShardId;
use dstore::journal::MemoryJournal;
use dstore::testing::{Sim, SimClient, SimNet};
use dstore::{Head, ShardHealth};

use super::{at_seeds, content, every, tell};

const NODES: usize = 4;

/// A put that is killed: over which version, and of how many bytes.
#[derive(Debug, Clone, Copy)]
struct Case {
    over: Option<usize>,
    len: usize,
}

/// Bytes that nodes have taken, by shard.
fn arrived(net: &SimNet) -> BTreeMap<ShardId, u64> {
    let mut sums = BTreeMap::new();
    (0..NODES).flat_map(|node| net.arrived(node)).for_each(|(id, bytes)| *sums.entry(id).or_default() += bytes);
    sums
}

/// The newest version reads back, its shards are live, and no others are.
async fn check_only(net: &SimNet, client: &SimClient, wanted: &[u8], version: Range<u32>) -> Head {
    let (head, shards) = client.check("a").await.expect("checked");
    assert!(version.contains(&head.version), "version {} is not among {version:?}", head.version);
    assert!(shards.iter().all(|shard| shard.state == ShardHealth::Ok), "{shards:?}");
    assert!(client.get("a").bytes().await.expect("read") == wanted);
    assert_eq!(net.shards().await.0, shards.len(), "a shard that no record names is live");
    head
}

/// Kills the client at step `at`, and puts the same again; answers the steps of a put that nothing disturbs.
fn killed(seed: u64, Case { over, len }: Case, at: Option<u64>) -> Range<u64> {
    Sim::new(seed).nodes(NODES).run(async |net| {
        let journal = MemoryJournal::default();
        let kept = journal.clone();
        let mut client = net.client_with(move |builder| builder.journal(kept.clone())).await;
        if let Some(old) = over {
            client.put("a", &content(1, old)[..]).await.expect("stored");
            client.close().await;
        }
        let (start, before) = (net.steps(), arrived(&net));
        let put = client.spawn(move |client| async move { client.put("a", &content(2, len)[..]).await });
        let Some(at) = at else {
            put.await.expect("alive").expect("stored");
            client.close().await;
            return start..net.steps();
        };
        net.at_step(at).await;
        client.restart().await;
        let told = put.await.map(|answer| answer.expect("nothing else goes wrong"));
        tell(&net, ("killed at", at, told.is_some()));
        client.put("a", &content(2, len)[..]).await.expect("stored");
        client.close().await;
        // Whoever was told of the first one has put twice.
        let version = 1 + u32::from(over.is_some());
        let head = check_only(&net, &client, &content(2, len), version..version + 1 + u32::from(told.is_some())).await;
        assert_eq!(journal.count(), 0, "nothing is left to be done");
        for (id, bytes) in arrived(&net) {
            let most = head.shards[0].bytes;
            assert!(before.contains_key(&id) || bytes <= most, "{bytes} bytes of a shard of {most} travelled");
        }
        client.close().await;
        net.skip(Duration::from_secs(26 * 3600)).await;
        net.sleep(Duration::from_secs(5)).await;
        client.restart().await;
        let later = check_only(&net, &client, &content(2, len), head.version..head.version + 1).await;
        assert_eq!(later, head);
        start..net.steps()
    })
}

fn killed_at_any_step(case: Case) {
    at_seeds(1, |seed| {
        for at in every(killed(seed, case, None), 16) {
            killed(seed, case, Some(at));
        }
    });
}

#[test]
fn a_first_small_put_that_was_killed_and_put_again_is_one_version() {
    killed_at_any_step(Case { over: None, len: 5_000 });
}

#[test]
fn a_small_put_over_another_that_was_killed_and_put_again_is_one_version() {
    killed_at_any_step(Case { over: Some(20_000), len: 5_000 });
}

#[test]
fn a_first_streamed_put_that_was_killed_and_put_again_is_one_version_and_sends_nothing_twice() {
    killed_at_any_step(Case { over: None, len: 600_000 });
}

#[test]
fn a_streamed_put_over_another_that_was_killed_and_put_again_is_one_version_and_sends_nothing_twice() {
    killed_at_any_step(Case { over: Some(400_000), len: 600_000 });
}
