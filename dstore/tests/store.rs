//! Both stores keep the rules of the port, and a disk store survives what disks, crashes and people do to it.

#[path = "store/crash.rs"]
mod crash;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/disk.rs"]
mod disk;
#[path = "store/model.rs"]
mod model;
#[path = "store/open_shard.rs"]
mod open_shard;
#[path = "store/rules.rs"]
mod rules;

use std::path::{Path, PathBuf};

use dstore::id::ShardId;
use dstore::rt::Rt;
use dstore::store::{DiskStore, DiskStoreConfig};
use futures_lite::future::block_on;

fn config() -> DiskStoreConfig {
    DiskStoreConfig::new().free_floor(0)
}

fn open(dir: &Path) -> DiskStore {
    block_on(DiskStore::open(dir, config(), Rt::default())).expect("opens")
}

fn data_file(dir: &Path, id: ShardId) -> PathBuf {
    let hex = id.to_string();
    dir.join("shards").join(&hex[..2]).join(hex)
}

fn meta_file(dir: &Path, id: ShardId) -> PathBuf {
    data_file(dir, id).with_extension("meta")
}

fn flip(path: &Path, offset: u64) {
    let mut bytes = std::fs::read(path).expect("is there");
    let at = usize::try_from(offset).expect("small");
    bytes[at] = !bytes[at];
    std::fs::write(path, bytes).expect("writes");
}
