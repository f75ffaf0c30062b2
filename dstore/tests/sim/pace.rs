//! A get beside a far node: what is fast enough without it must not wait for it.

use std::time::Duration;

use dstore::testing::{Sim, SimHost, SimNet};

use super::{at_seeds, content};

/// 100 Mbit/s.
const LINE: u64 = 12_500_000;
const NODES: usize = 4;

/// Bytes of the file that is read: many times what travels in a second when many seeds are asked for.
fn len() -> usize {
    if std::env::var_os("DSTORE_SIM_SEEDS").is_some() { 64 << 20 } else { 16 << 20 }
}

/// How long a get takes on warm connections, with one of the nodes `far` away, there or back, and with none. Every link
/// has its own line; so has the client, if it `shares` one.
fn get_beside(seed: u64, near: u64, far: Option<u64>, shares: bool) -> Duration {
    Sim::new(seed).nodes(NODES).max_steps(5_000_000).run(async |net| {
        let client = net.client().await;
        client.put("a", content(seed, len())).await.expect("stored");
        client.close().await;
        let link = |net: &SimNet, node, latency| {
            let link = net.link(client.host(), SimHost::Node(node)).latency(Duration::from_millis(latency));
            drop(link.bandwidth(LINE));
        };
        (0..NODES).for_each(|node| link(&net, node, near));
        if shares {
            net.bandwidth(client.host(), LINE);
        }
        if let Some(far) = far {
            link(&net, net.below(NODES), far);
        }
        client.get("a").bytes().await.expect("read");
        let start = net.elapsed();
        assert!(client.get("a").bytes().await.expect("read").len() == len());
        net.elapsed() - start
    })
}

#[test]
fn a_get_beside_one_far_node_takes_at_most_three_tenths_longer() {
    at_seeds(1, |seed| {
        for (near, far, shares) in [(10, 150, true), (20, 300, true), (10, 150, false)] {
            let (without, with) = (get_beside(seed, near, None, shares), get_beside(seed, near, Some(far), shares));
            let ratio = with.as_secs_f64() / without.as_secs_f64();
            eprintln!("{near} and {far} ms, {shares}: {without:?} without, {with:?} with, {ratio:.2} times");
            // Of a file that is fetched in less time than the far node takes to begin, nothing can be said.
            let is_long = without > Duration::from_secs(1);
            assert!(ratio <= 1.3 || !is_long, "{near} and {far} ms: {without:?} without, {with:?} with");
        }
    });
}
