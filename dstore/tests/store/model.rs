//! Random operations on a store and on a simple model of one: they always agree, also after the store was opened again.

use std::collections::BTreeMap;

use dstore::merkle::BLOCK_LEN;
use dstore::rt::Timestamp;
use dstore::store::{DiskStore, MemoryStore, ShardState, ShardStore, StoreError};
use dstore::testing::conformance::store::{NOW, bytes, check_whole, key, root};
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::{config, open};

/// Shards that the operations are about.
const SHARDS: u32 = 4;

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Stores a small shard whole.
    Small {
        seed: u32,
    },
    /// Begins a shard of 3 or 4 blocks, or goes on with it, up to so many of them, and ends there.
    Stream {
        seed: u32,
        longer: bool,
        upto: usize,
    },
    Renew {
        seed: u32,
        until: u64,
    },
    Retire {
        seed: u32,
        free_at: u64,
    },
    Sweep {
        now: u64,
        lease_floor: u64,
        open_too: bool,
    },
    OpenAgain,
}

fn op() -> impl Strategy<Value = Op> {
    let seed = || 0..SHARDS;
    prop_oneof![
        1 => seed().prop_map(|seed| Op::Small { seed }),
        4 => (seed(), any::<bool>(), 0..=4_usize).prop_map(|(seed, longer, upto)| Op::Stream { seed, longer, upto }),
        1 => (seed(), 0..100_u64).prop_map(|(seed, until)| Op::Renew { seed, until }),
        2 => (seed(), 0..100_u64).prop_map(|(seed, free_at)| Op::Retire { seed, free_at }),
        1 => (0..100_u64, 0..100_u64, any::<bool>())
            .prop_map(|(now, lease_floor, open_too)| Op::Sweep { now, lease_floor, open_too }),
        1 => Just(Op::OpenAgain),
    ]
}

/// What a shard is, as far as the port shows.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Open { longer: bool, blocks: usize },
    Stored { data: Vec<u8>, lease: u64, free_at: Option<u64> },
}

#[derive(Debug, Default)]
struct Model(BTreeMap<u32, Held>);

/// The lease of everything that is stored.
const LEASE: u64 = 50;

fn streamed(seed: u32, longer: bool) -> Vec<u8> {
    bytes(100 + 2 * seed + u32::from(longer), (3 + usize::from(longer)) * BLOCK_LEN)
}

impl Model {
    /// Whether a put may begin.
    fn is_free(&self, seed: u32) -> bool {
        !matches!(self.0.get(&seed), Some(Held::Stored { .. }))
    }

    fn store(&mut self, seed: u32, data: Vec<u8>) {
        self.0.insert(seed, Held::Stored { data, lease: LEASE, free_at: None });
    }

    fn sweep(&mut self, now: u64, lease_floor: u64, open_too: bool) {
        self.0.retain(|_, held| match held {
            Held::Open { .. } => !open_too,
            Held::Stored { free_at: Some(at), .. } => *at > now,
            Held::Stored { lease, .. } => *lease >= lease_floor,
        });
    }
}

fn millis(time: u64) -> Timestamp {
    Timestamp::from_millis(time)
}

async fn stream(store: &dyn ShardStore, model: &mut Model, seed: u32, longer: bool, upto: usize) {
    let data = streamed(seed, longer);
    let begun = store.begin(key(seed), Some(data.len() as u64), NOW).await;
    if !model.is_free(seed) {
        assert!(matches!(begun, Err(StoreError::Exists(_))));
        return;
    }
    let mut writer = begun.expect("it begins");
    let held = match model.0.get(&seed) {
        Some(Held::Open { longer: before, blocks }) if *before == longer => *blocks,
        _ => 0,
    };
    assert_eq!(writer.len(), (held * BLOCK_LEN) as u64);
    assert_eq!(writer.root(), root(&data[..held * BLOCK_LEN]));
    let total = data.len() / BLOCK_LEN;
    let upto = upto.clamp(held, total);
    for block in data[held * BLOCK_LEN..upto * BLOCK_LEN].chunks(BLOCK_LEN) {
        writer.append(block.to_vec()).await.expect("appends");
    }
    if upto == total {
        writer.finish(root(&data), millis(LEASE)).await.expect("finishes");
        model.store(seed, data);
    } else {
        drop(writer);
        model.0.remove(&seed);
        if upto > 0 {
            model.0.insert(seed, Held::Open { longer, blocks: upto });
        }
    }
}

async fn act(store: &dyn ShardStore, model: &mut Model, op: Op) {
    match op {
        Op::Small { seed } => {
            let data = bytes(seed, 1000);
            let stored = store.put_small(key(seed), root(&data), millis(LEASE), data.clone()).await;
            match model.is_free(seed) {
                true => {
                    stored.expect("stores");
                    model.store(seed, data);
                }
                false => assert!(matches!(stored, Err(StoreError::Exists(_)))),
            }
        }
        Op::Stream { seed, longer, upto } => stream(store, model, seed, longer, upto).await,
        Op::Renew { seed, until } => {
            let renewed = store.renew(key(seed).id, millis(until)).await;
            match model.0.get_mut(&seed) {
                Some(Held::Stored { lease, free_at: None, .. }) => {
                    *lease = until.max(*lease);
                    assert_eq!(renewed.expect("renews").lease_until, millis(*lease));
                }
                _ => assert!(matches!(renewed, Err(StoreError::NotFound))),
            }
        }
        Op::Retire { seed, free_at: time } => {
            let retired = store.retire(key(seed).id, millis(time)).await;
            match model.0.get_mut(&seed) {
                None => assert!(matches!(retired, Err(StoreError::NotFound))),
                Some(Held::Stored { free_at, .. }) => {
                    retired.expect("retires");
                    free_at.get_or_insert(time);
                }
                Some(Held::Open { .. }) => {
                    retired.expect("discards");
                    model.0.remove(&seed);
                }
            }
        }
        Op::Sweep { now, lease_floor, open_too } => {
            let open_floor = if open_too { u64::MAX } else { 0 };
            while store.sweep(millis(now), millis(lease_floor), millis(open_floor)).await.expect("sweeps") > 0 {}
            model.sweep(now, lease_floor, open_too);
        }
        Op::OpenAgain => {}
    }
}

/// Everything that the port shows is what the model says.
async fn compare(store: &dyn ShardStore, model: &Model) {
    let (mut used, mut shards, mut is_open) = (0, 0, 0);
    for seed in 0..SHARDS {
        let id = key(seed).id;
        let (stat, open) = (store.stat(id).await, store.open_shard(id).await.expect("looks"));
        match model.0.get(&seed) {
            None => assert!(matches!(stat, Err(StoreError::NotFound)) && open.is_none(), "{seed}: {stat:?} {open:?}"),
            Some(Held::Open { blocks, .. }) => {
                let held = (blocks * BLOCK_LEN) as u64;
                assert!(matches!(stat, Err(StoreError::NotFound)));
                assert_eq!(open.map(|open| (open.held, open.reserved)), Some((held, held)));
                (used, is_open) = (used + held, is_open + 1);
            }
            Some(Held::Stored { data, lease, free_at }) => {
                let state = free_at.map_or(ShardState::Live, |at| ShardState::Retired(millis(at)));
                let stat = stat.expect("is there");
                assert_eq!((stat.state, stat.root, stat.len), (state, root(data), data.len() as u64));
                assert_eq!(stat.lease_until, millis(*lease));
                check_whole(store, seed, data).await;
                (used, shards) = (used + data.len() as u64, shards + 1);
            }
        }
    }
    let usage = store.usage().await.expect("counts");
    assert_eq!((usage.used, usage.shards, usage.open), (used, shards, is_open));
}

fn run(ops: &[Op], first: Box<dyn ShardStore>, again: impl Fn(Box<dyn ShardStore>) -> Box<dyn ShardStore>) {
    let (mut store, mut model) = (first, Model::default());
    for op in ops {
        if matches!(op, Op::OpenAgain) {
            store = again(store);
        }
        block_on(async {
            act(&*store, &mut model, *op).await;
            compare(&*store, &model).await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_store_in_memory_does_what_the_model_does(ops in prop::collection::vec(op(), 1..40)) {
        run(&ops, Box::new(MemoryStore::new(1 << 30)), |store| store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_store_on_a_disk_does_what_the_model_does(ops in prop::collection::vec(op(), 1..25)) {
        let dir = tempfile::tempdir().expect("a folder");
        let again = |store: Box<dyn ShardStore>| {
            drop(store);
            Box::new(open(dir.path())) as Box<dyn ShardStore>
        };
        run(&ops, Box::new(open(dir.path())), again);
    }
}

#[test]
fn the_model_is_about_small_shards_in_rows_and_streamed_ones_in_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = block_on(DiskStore::open(dir.path(), config().inline_max(1000), dstore::rt::Rt::default()));
    let store = store.expect("opens");
    let mut model = Model::default();
    block_on(async {
        act(&store, &mut model, Op::Small { seed: 0 }).await;
        act(&store, &mut model, Op::Stream { seed: 1, longer: false, upto: 4 }).await;
        compare(&store, &model).await;
    });
    let files = |id: dstore::id::ShardId| super::data_file(dir.path(), id).exists();
    assert_eq!((files(key(0).id), files(key(1).id)), (false, true));
}
