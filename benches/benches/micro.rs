//! Each kind of work alone: `cargo bench -p dstore-bench --bench micro`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dstore::erasure::{Stripes, rebuild};
use dstore::id::{FileId, LedgerId, NodeId, NoiseKey, ShardRoot};
use dstore::keys::{ContentKey, Owner};
use dstore::manifest::{Manifest, NodePlace, RecordPlace, ShardPlace, open_record, seal_record};
use dstore::merkle::{BLOCK_LEN, Leaf, TreeBuilder};
use dstore::placement::{Candidate, deal, redeal};
use dstore::proto::{CapabilityKey, Rights, ShardName, Signed, Token};
use dstore::rt::Timestamp;
use dstore::scheme::Shape;
use dstore::{FilePath, Padding, Scheme};
use dstore_bench::sample;

/// Bytes of a shard in a megabyte batch.
const SHARD_PIECE: usize = sample::BATCH_SEGMENTS * BLOCK_LEN;
/// Plaintext of a data frame.
const FRAME: usize = 3 * BLOCK_LEN + 1;

fn contents(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("content");
    let (plain, sealer) = (sample::batch(0), sample::sealer());
    group.throughput(Throughput::Bytes(plain.len() as u64));
    group.bench_function("seal 1 MiB", |bencher| {
        bencher.iter_batched(|| plain.clone(), |batch| batch.seal(&sealer, false), BatchSize::LargeInput);
    });
    let sealed = plain.seal(&sealer, false);
    group.bench_function("open 1 MiB", |bencher| {
        bencher.iter_batched(|| sealed.clone(), |batch| batch.open(&sealer), BatchSize::LargeInput);
    });
    group.bench_function("encode and hash 1 MiB", |bencher| {
        bencher.iter_batched(|| sealed.clone(), Stripes::encode, BatchSize::LargeInput);
    });
    let shards: Vec<Vec<u8>> = shards_of(&Stripes::encode(sealed));
    for lost in 1..=2 {
        let held: Vec<Option<&[u8]>> =
            shards.iter().enumerate().map(|(index, shard)| (index >= lost).then_some(shard.as_slice())).collect();
        group.bench_function(format!("rebuild 1 MiB, {lost} data shards lost"), |bencher| {
            bencher.iter(|| rebuild(Scheme::STANDARD, black_box(&held)));
        });
    }
    group.finish();
}

fn shards_of(stripes: &Stripes) -> Vec<Vec<u8>> {
    let shard = |shard| (0..stripes.count()).flat_map(|at| stripes.block(at, shard)).copied().collect();
    (0..Scheme::STANDARD.shards()).map(shard).collect()
}

fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("block");
    let bytes = sample::bytes(SHARD_PIECE);
    group.throughput(Throughput::Bytes(BLOCK_LEN as u64));
    group.bench_function("leaf", |bencher| bencher.iter(|| Leaf::new(1, black_box(&bytes[..BLOCK_LEN]))));
    group.throughput(Throughput::Bytes(SHARD_PIECE as u64));
    group.bench_function("tree of 16", |bencher| {
        bencher.iter(|| {
            let mut tree = TreeBuilder::new();
            bytes.chunks(BLOCK_LEN).zip(0..).for_each(|(block, index)| tree.push(Leaf::new(index, block), |_| ()));
            tree.root()
        });
    });
    let frame = sample::bytes(FRAME);
    group.throughput(Throughput::Bytes(FRAME as u64));
    group.bench_function("Noise frame, sealed and opened", |bencher| {
        let (near, far) = sample::sessions();
        let ((mut sealer, _), (_, mut opener)) = (near.split(), far.split());
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        bencher.iter(|| {
            sealed.clear();
            sealer.seal(black_box(&frame), &mut sealed);
            opener.open(&sealed[2..], &mut opened)
        });
    });
    group.finish();
}

fn authority(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("authority");
    let node = NodeId::new([3; 20]);
    group.bench_function("handshake, both ends", |bencher| bencher.iter(sample::sessions));
    let content = ContentKey::new([5; 32]);
    group.bench_function("capability", |bencher| bencher.iter(|| content.capability(black_box(node)).public_key()));
    let capability = content.capability(node);
    let token = Token {
        node,
        name: ShardName { capability: CapabilityKey::new(capability.public_key()), index: 0, generation: 1 },
        rights: Rights::Read,
        holder: Some(NoiseKey::new([4; 32])),
        not_before: Timestamp::from_millis(0),
        not_after: Timestamp::from_millis(1),
    };
    let sign = || Signed::new(&token, &capability, sample::network(), &[]);
    group.bench_function("token signed", |bencher| bencher.iter(sign));
    let signed = sign();
    group.bench_function("token verified", |bencher| bencher.iter(|| signed.token(sample::network())));
    group.finish();
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let owner = Owner::from_secret(&[7; 32]).expect("a valid secret");
    let place = RecordPlace { ledger: LedgerId::new([1; 32]), file: FileId::new([2; 32]), version: 1 };
    let manifest = manifest();
    group.bench_function("seal", |bencher| bencher.iter(|| seal_record(&owner, place, &manifest)));
    let record = seal_record(&owner, place, &manifest).expect("fits");
    group.bench_function("open", |bencher| bencher.iter(|| open_record(&owner, place, black_box(&record))));
    group.finish();
}

fn manifest() -> Manifest {
    let size = 1 << 30;
    let node = |index: u8| NodePlace {
        id: NodeId::new([index; 20]),
        noise_key: NoiseKey::new([index; 32]),
        seq: 1,
        hint: "127.0.0.1:4100".to_owned(),
    };
    let shard = |index: u8| ShardPlace { root: ShardRoot::new([index; 32]), node: index % 3, generation: 1 };
    Manifest {
        content_key: ContentKey::new([5; 32]),
        size,
        padded: size,
        suite: 1,
        codec: 1,
        scheme: Scheme::STANDARD,
        padding: Padding::Padme,
        shard_len: Shape::new(Scheme::STANDARD, size).expect("a size that can be").shard_len(),
        shards: (0..6).map(shard).collect(),
        nodes: (0..3).map(node).collect(),
        content_hash: [6; 32],
        created: Timestamp::from_millis(0),
        path: FilePath::new("folder/file").expect("a valid path"),
        attributes: Vec::new(),
    }
}

struct Anywhere;

impl Candidate for Anywhere {
    fn zone(&self) -> Option<&str> {
        None
    }
}

fn placement(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("placement");
    for nodes in [3, 1000] {
        let candidates: Vec<Anywhere> = (0..nodes).map(|_| Anywhere).collect();
        group.bench_function(format!("deal to {nodes} nodes"), |bencher| {
            bencher.iter(|| deal(Scheme::STANDARD, 1, black_box(&candidates)));
        });
    }
    let dealt = [Some(0), None, Some(2), Some(0), None, Some(2)];
    group.bench_function("deal again after one refused", |bencher| {
        bencher.iter(|| redeal(Scheme::STANDARD, 1, black_box(&dealt), &[0, 2, 3]));
    });
    group.finish();
}

criterion_group!(all, contents, blocks, authority, records, placement);
criterion_main!(all);
