//! What is left of a get that nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::{block_on, yield_now};
use futures_util::StreamExt;

use crate::testing::Cluster;

fn content() -> Vec<u8> {
    let mut bytes = vec![0; 40 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn a_get_that_is_dropped_leaves_no_task_and_nothing_that_is_waited_for() {
    block_on(async {
        let cluster = Cluster::start(4).await.expect("a cluster starts");
        // Only what is given up ends: nothing times out.
        let client = cluster.client_builder().timeout(Duration::from_secs(1 << 20)).connect().await.expect("a client");
        let content = content();
        let committed = client.put("x", &content[..]).await.expect("stored");
        let tracks: Vec<_> = committed.head.shards.iter().map(|shard| client.0.pace.track(shard.node)).collect();
        for hangs in [None, Some(0), Some(1)] {
            let mut stream = client.get("x").stream().await.expect("a stream");
            stream.next().await.expect("more").expect("read");
            hangs.into_iter().for_each(|node| cluster.hang(node));
            drop(stream);
            // The client and this test hold them: whoever else does is a task that goes on.
            let of_ours = |track| tracks.iter().filter(|other| Arc::ptr_eq(other, track)).count();
            while tracks.iter().any(|track| Arc::strong_count(track) > 1 + of_ours(track)) {
                yield_now().await;
            }
            assert!(tracks.iter().all(|track| track.known().queued == 0));
            hangs.into_iter().for_each(|node| cluster.resume(node));
        }
        assert!(client.get("x").bytes().await.expect("read") == content, "and the client goes on");
    });
}
