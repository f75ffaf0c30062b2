//! The conformance suite, on both stores.

use std::path::Path;
use std::sync::Arc;

use dstore::rt::Rt;
use dstore::store::{DiskStore, MemoryStore, ShardStore};
use dstore::testing::conformance::copies;
use dstore::testing::conformance::store::{Subject, run};
use futures_lite::future::block_on;

#[test]
fn the_memory_store_keeps_the_rules() {
    block_on(run(async |capacity| {
        let memory = MemoryStore::new(capacity);
        let store = Arc::new(memory.clone());
        let flip = Box::new(move |id, offset| assert!(memory.flip(id, offset)));
        Subject { store, inline_max: 48 << 10, flip, keep: Box::new(()) }
    }));
}

async fn disk(inline_max: usize, capacity: u64) -> Subject {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().to_owned();
    let config = super::config().capacity(capacity).inline_max(inline_max);
    let store: Arc<dyn ShardStore> = Arc::new(DiskStore::open(&path, config, Rt::default()).await.expect("opens"));
    let flip = Box::new(move |id, offset| super::flip(&super::data_file(Path::new(&path), id), offset));
    Subject { store, inline_max, flip, keep: Box::new(dir) }
}

#[test]
fn the_disk_store_keeps_the_rules() {
    block_on(run(|capacity| disk(48 << 10, capacity)));
}

#[test]
fn the_disk_store_keeps_the_rules_with_a_file_for_nearly_every_shard() {
    block_on(run(|capacity| disk(1, capacity)));
}

#[test]
fn the_memory_store_keeps_the_rules_of_copies() {
    block_on(copies::run(async |capacity| {
        let store = Arc::new(MemoryStore::new(capacity));
        copies::Subject { copies: store.clone(), shards: store, keep: Box::new(()) }
    }));
}

#[test]
fn the_disk_store_keeps_the_rules_of_copies() {
    block_on(copies::run(async |capacity| {
        let dir = tempfile::tempdir().expect("a folder");
        let opened = DiskStore::open(dir.path(), super::config().capacity(capacity), Rt::default()).await;
        let store = Arc::new(opened.expect("opens"));
        copies::Subject { copies: store.clone(), shards: store, keep: Box::new(dir) }
    }));
}
