//! The simulation itself: the same seed is the same run, time is virtual, and faults are what they say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dstore::testing::{Sim, SimHost, SimLink, SimNet};

use super::{at_seeds, content};

/// A day with a bit of everything.
fn day(seed: u64) -> (u64, u64, Duration) {
    Sim::new(seed).nodes(4).run(async |net| {
        let mut client = net.client().await;
        let other = net.client().await;
        net.skew(other.host(), 20_000);
        client.put("a", &content(1, 300_000)[..]).await.expect("stored");
        let fault = SimHost::Node(net.below(4));
        let put = client.spawn(|client| async move { client.put("a", &content(2, 1_000_000)[..]).await });
        let also = other.spawn(|client| async move { client.put("b", &content(3, 10_000)[..]).await });
        net.at_step(net.steps() + 40 + net.below(400) as u64).await;
        match net.below(3) {
            0 => net.kill(fault),
            1 => net.hang(fault),
            _ => net.slow(fault, Duration::from_secs(2)),
        }
        let _ = put.await;
        let _ = also.await;
        net.ledger().lose_answers(true);
        let _ = client.remove("b").await;
        net.ledger().heal();
        net.resume(fault);
        net.restart(fault);
        net.restart(SimHost::Registry(0));
        client.restart().await;
        client.get("a").bytes().await.expect("read");
        net.skip(Duration::from_secs(26 * 3600)).await;
        (net.trace(), net.steps(), net.elapsed())
    })
}

#[test]
fn the_same_seed_is_the_same_run() {
    at_seeds(6, |seed| {
        let first = day(seed);
        for _ in 0..2 {
            assert_eq!(day(seed), first, "something but the seed decides what happens");
        }
        assert_ne!(day(seed + 1_000_000).0, first.0);
    });
}

/// The text of the panic in which a simulation ends.
fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).err().expect("it ends in a panic");
    panic.downcast_ref::<String>().expect("a text").clone()
}

#[test]
fn a_failure_names_its_seed() {
    let said = panic_of(|| Sim::new(42).run(async |_| panic!("out of luck")));
    assert!(said.contains("out of luck") && said.contains("Sim::new(42)"), "{said}");
    let client = async |net: SimNet| net.client().await.spawn(async |_| panic!("far away")).await;
    let said = panic_of(|| Sim::new(43).run(client));
    assert!(said.contains("far away") && said.contains("Sim::new(43)"), "{said}");
}

#[test]
fn what_can_never_go_on_and_what_never_ends_are_failures() {
    let empty = |seed| Sim::new(seed).registries(0).nodes(0);
    let said = panic_of(|| empty(1).run(async |_| std::future::pending::<()>().await));
    assert!(said.contains("deadlock"), "{said}");
    let said = panic_of(|| {
        empty(1).max_steps(1000).run(async |net| {
            loop {
                net.sleep(Duration::from_millis(1)).await;
            }
        })
    });
    assert!(said.contains("has not ended after 1001 steps"), "{said}");
}

#[test]
fn a_year_passes_at_once() {
    Sim::new(1).registries(0).nodes(0).run(async |net| {
        let year = Duration::from_secs(365 * 24 * 3600);
        net.sleep(year).await;
        assert_eq!(net.elapsed(), year);
    });
}

#[test]
fn a_host_that_is_killed_does_nothing_more() {
    at_seeds(20, |seed| {
        Sim::new(seed).run(async |net| {
            let client = net.client().await;
            let count = Arc::new(AtomicUsize::new(0));
            let counted = count.clone();
            let running = client.spawn(async move |client| {
                for number in 0.. {
                    client.put("a", &content(number, 100)[..]).await.expect("stored");
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            });
            net.at_step(net.steps() + 500 + net.below(1000) as u64).await;
            client.kill();
            let (steps, at_its_end) = (net.steps(), count.load(Ordering::Relaxed));
            assert!(running.await.is_none());
            net.at_step(steps + 1000).await;
            assert_eq!(count.load(Ordering::Relaxed), at_its_end);
            let other = net.client().await;
            let version = other.head("a").await.expect("there").version as usize;
            assert!(version == at_its_end || version == at_its_end + 1, "{version}, {at_its_end}");
        });
    });
}

#[test]
fn links_take_the_time_that_they_are_told_to() {
    Sim::new(1).run(async |net| {
        let client = net.client().await;
        client.put("a", &content(1, 800_000)[..]).await.expect("stored");
        let get = async || {
            let before = net.elapsed();
            client.get("a").bytes().await.expect("read");
            net.elapsed() - before
        };
        assert!(get().await < Duration::from_millis(300));
        (0..3).for_each(|node| {
            drop(net.link(client.host(), SimHost::Node(node)).latency(Duration::from_millis(400)));
        });
        let slow = get().await;
        assert!(slow >= Duration::from_millis(800), "there and back: {slow:?}");
        net.bandwidth(client.host(), 100_000);
        let narrow = get().await;
        assert!(narrow >= Duration::from_secs(8) && narrow < Duration::from_secs(20), "{narrow:?}");
    });
}

#[test]
fn what_is_parted_waits_and_what_is_cut_is_dialled_again() {
    at_seeds(10, |seed| {
        Sim::new(seed).run(async |net| {
            let client = net.client().await;
            client.put("a", &content(1, 1000)[..]).await.expect("stored");
            let nodes = || (0..3).map(SimHost::Node);
            let links = || nodes().map(|node| net.link(node, client.host()));
            nodes().for_each(|node| net.one_way(node, client.host()).part());
            let get = client.spawn(async |client| client.get("a").bytes().await);
            net.sleep(Duration::from_secs(2)).await;
            links().for_each(SimLink::heal);
            get.await.expect("alive").expect("the answers were on their way");
            links().for_each(SimLink::cut);
            client.get("a").bytes().await.expect("read");
        });
    });
}

#[test]
fn a_full_disk_takes_nothing_and_loses_nothing() {
    at_seeds(10, |seed| {
        Sim::new(seed).nodes(4).run(async |net| {
            let client = net.client().await;
            client.put("a", &content(1, 1000)[..]).await.expect("stored");
            net.disk_full(net.below(4), true);
            client.put("b", &content(2, 300_000)[..]).await.expect("three others have room");
            (0..4).for_each(|node| net.disk_full(node, true));
            let error = client.put("a", &content(3, 1000)[..]).await.expect_err("no room");
            assert!(error.is_retryable(), "{error:?}");
            assert!(client.get("a").bytes().await.expect("read") == content(1, 1000));
        });
    });
}
