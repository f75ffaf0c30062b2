//! Registries come and go: whoever knows a file reads it.

use std::time::Duration;

use dstore::testing::{Sim, SimHost};

use super::{at_seeds, content};

#[test]
fn reads_go_on_when_a_registry_is_lost_in_any_way() {
    at_seeds(12, |seed| {
        Sim::new(seed).registries(2).run(async |net| {
            let client = net.client().await;
            client.put("a", &content(1, 30_000)[..]).await.expect("stored");
            for index in 0..2 {
                let registry = SimHost::Registry(index);
                match net.below(3) {
                    0 => net.kill(registry),
                    1 => net.hang(registry),
                    _ => net.link(registry, client.host()).part(),
                }
                let before = net.elapsed();
                assert!(client.get("a").bytes().await.expect("read") == content(1, 30_000));
                assert!(net.elapsed() - before < Duration::from_secs(2), "it waited for a registry");
            }
            client.put("b", &content(2, 30_000)[..]).await.expect_err("no registry");
            net.restart(SimHost::Registry(1));
            net.link(SimHost::Registry(1), client.host()).heal();
            net.resume(SimHost::Registry(1));
            net.sleep(Duration::from_secs(60)).await;
            client.put("b", &content(2, 30_000)[..]).await.expect("one of two registries is enough");
        });
    });
}

#[test]
fn a_registry_that_forgot_every_node_stops_no_upload() {
    at_seeds(12, |seed| {
        Sim::new(seed).registries(2).run(async |net| {
            let client = net.client().await;
            net.restart(SimHost::Registry(net.below(2)));
            client.put("a", &content(1, 30_000)[..]).await.expect("the other one knows the nodes");
            assert!(client.get("a").bytes().await.expect("read") == content(1, 30_000));
        });
    });
}

#[test]
fn a_node_that_moved_is_found_while_one_registry_is_there() {
    at_seeds(12, |seed| {
        Sim::new(seed).registries(2).run(async |net| {
            let client = net.client().await;
            client.put("a", &content(1, 30_000)[..]).await.expect("stored");
            net.hang(SimHost::Registry(net.below(2)));
            net.restart_elsewhere(net.below(3));
            net.settled().await;
            assert!(client.get("a").bytes().await.expect("read") == content(1, 30_000));
            let (_, shards) = client.check("a").await.expect("checked");
            assert!(shards.iter().all(|shard| shard.state == dstore::ShardHealth::Ok), "{shards:?}");
        });
    });
}
