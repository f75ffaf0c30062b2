//! Operations as values: their events, copies, and the versions that stay on the ledger.

use std::path::Path;

use dstore::ledger::EventKind;
use dstore::{Client, Error, Event, Events, PutMode, Source, WarningCode};
use futures_lite::StreamExt;
use futures_lite::future::block_on;

use super::{cluster_of, noise};

async fn all<T>(events: Events<T>) -> Vec<Event<T>> {
    events.collect().await
}

#[test]
fn the_last_event_of_a_put_carries_the_result_and_progress_comes_before_it() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let told = all(client.put("x", &noise(5_000_000)[..]).events()).await;
        let Some((Event::Done(Ok(committed)), before)) = told.split_last() else { panic!("{told:?}") };
        assert_eq!((committed.head.version, committed.head.size), (1, 5_000_000));
        let durable: Vec<_> = before
            .iter()
            .map(|event| match event {
                Event::Progress(progress) => progress.bytes_durable,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(durable.is_sorted() && durable.last() == Some(&5_000_000), "{durable:?}");
        let failed = all(client.put("x", &b""[..]).mode(PutMode::Create).events()).await;
        assert!(matches!(failed[..], [Event::Done(Err(Error::AlreadyExists { .. }))]), "{failed:?}");
    });
}

#[test]
fn events_and_callbacks_are_told_the_same() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let (sender, called) = std::sync::mpsc::channel();
        let put =
            client.put("x", &noise(3_000_000)[..]).progress(move |progress| sender.send(progress).expect("heard"));
        let told = all(put.events()).await;
        let last = called.iter().last().expect("called");
        assert!(matches!(told[told.len() - 2], Event::Progress(progress) if progress == last));
    });
}

#[test]
fn a_put_whose_events_are_dropped_stores_nothing_and_keeps_nothing_on_the_nodes() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let mut events = client.put("x", Source::reader(futures_lite::io::repeat(7))).events();
        for _ in 0..3 {
            assert!(matches!(events.next().await, Some(Event::Progress(_))));
        }
        drop(events);
        client.clone().close().await;
        assert!(matches!(client.head("x").await, Err(Error::NotFound { .. })));
        assert_eq!(cluster.live_shards().await, 0);
    });
}

#[test]
fn a_save_tells_of_nodes_that_failed_it_and_ends_with_the_head() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        client.put("x", &noise(3_000_000)[..]).await.expect("stored");
        cluster.corrupt(0);
        let dir = tempfile::tempdir().expect("a folder");
        let told = all(client.get("x").save(dir.path().join("back")).events()).await;
        let corrupt =
            |event: &Event<_>| matches!(event, Event::Warning(warning) if warning.code == WarningCode::BlockCorrupt);
        assert!(told.iter().any(corrupt), "{told:?}");
        assert!(matches!(told.last(), Some(Event::Done(Ok(head))) if head.size == 3_000_000), "{told:?}");
        assert!(std::fs::read(dir.path().join("back")).expect("saved") == noise(3_000_000));
        let missing = all(client.get("nope").save(Path::new("/nowhere")).events()).await;
        assert!(matches!(missing[..], [Event::Done(Err(Error::NotFound { .. }))]), "{missing:?}");
    });
}

#[test]
fn a_copy_is_a_content_of_its_own_with_the_same_bytes_and_attributes() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let content = noise(1_000_000);
        let first = client.put("a", &content[..]).attribute("kind", "noise").await.expect("stored").head;
        let copy = client.copy("a", "b").await.expect("copied").head;
        assert_eq!((copy.version, copy.content_hash), (1, first.content_hash));
        assert_eq!(copy.attributes, first.attributes);
        client.remove("a").await.expect("removed");
        client.clone().close().await;
        assert!(client.get("b").bytes().await.expect("read") == content, "no shard of the source is needed");
    });
}

#[test]
fn a_copy_refuses_what_a_put_and_a_get_refuse() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        client.put("a", &b"one"[..]).await.expect("stored");
        client.put("b", &b"two"[..]).await.expect("stored");
        assert!(matches!(client.copy("nope", "c").await, Err(Error::NotFound { path }) if path == "nope"));
        assert!(matches!(client.copy("a", "a").await, Err(Error::InvalidPath { .. })));
        let created = client.copy("a", "b").mode(PutMode::Create).await;
        assert!(matches!(created, Err(Error::AlreadyExists { .. })));
        assert_eq!(client.get("b").bytes().await.expect("read"), &b"two"[..]);
        let told = all(client.copy("a", "b").events()).await;
        assert!(matches!(told.last(), Some(Event::Done(Ok(committed))) if committed.head.version == 2), "{told:?}");
    });
}

#[test]
fn a_copy_of_what_cannot_be_read_fails_like_the_get_and_leaves_nothing() {
    block_on(async {
        let (mut cluster, client) = cluster_of(6).await;
        client.put("a", &noise(3_000_000)[..]).await.expect("stored");
        (0..3).for_each(|node| cluster.kill(node));
        let error = client.copy("a", "b").await.expect_err("half of the shards are away");
        assert_eq!(error.code(), "not_enough_shards", "{error}");
        assert!(matches!(client.head("b").await, Err(Error::NotFound { .. })));
    });
}

async fn kinds(client: &Client, path: &str) -> Vec<(u32, EventKind, Option<u64>)> {
    let versions = client.history(path).await.expect("known");
    versions.into_iter().map(|one| (one.version, one.kind, one.head.map(|head| head.size))).collect()
}

#[test]
fn the_history_has_every_version_with_its_kind_newest_first() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        client.put("a", &b"one"[..]).await.expect("stored");
        client.put("a", &b"second"[..]).await.expect("stored");
        client.rename("a", "b").await.expect("renamed");
        client.remove("b").await.expect("removed");
        client.put("b", &b"again!!"[..]).await.expect("stored");
        let (put, gone) = (EventKind::Put, EventKind::RenamedAway);
        assert_eq!(kinds(&client, "a").await, [(3, gone, None), (2, put, Some(6)), (1, put, Some(3))]);
        let (here, removed) = (EventKind::RenamedHere, EventKind::Removed);
        assert_eq!(kinds(&client, "b").await, [(3, put, Some(7)), (2, removed, None), (1, here, Some(6))]);
        assert!(matches!(client.history("c").await, Err(Error::NotFound { .. })));
    });
}

#[test]
fn a_registry_shows_its_clock_to_whoever_looks_for_what_is_wrong() {
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        let address = cluster.registry_address().clone();
        let probe = client.probe_registry(&address).await.expect("reached");
        let apart = probe.here.since(probe.clock).max(probe.clock.since(probe.here));
        assert!(apart < dstore::proto::CLOCK_SKEW, "{probe:?}");
        let elsewhere = cluster.client_builder().network("elsewhere").connect().await.expect("a client");
        assert!(elsewhere.probe_registry(&address).await.is_err());
        cluster.kill_registry();
        assert!(matches!(client.probe_registry(&address).await, Err(Error::Peer { .. })));
    });
}
