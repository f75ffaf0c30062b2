//! How a content is cut, sealed, coded and proved: numbers and bytes of any kind.

use std::sync::LazyLock;

use blake3::hazmat::ChainingValue;
use dstore::erasure::{Stripes, rebuild};
use dstore::id::ShardRoot;
use dstore::keys::ContentKey;
use dstore::merkle::{BLOCK_LEN, BlockRange, Leaf, ProvedLeaves, TreeBuilder, block_count, prove};
use dstore::scheme::{MAX_SEGMENTS, SIV_LEN, Shape};
use dstore::seal::{Plaintext, Sealed, Sealer};
use dstore::{Padding, Scheme};

use super::Accepted;
use super::input::Input;

fn scheme(input: &mut Input<'_>) -> Scheme {
    let [data, parity] = input.array();
    Scheme::new(1 + data % 32, 1 + parity % 31).unwrap_or_default()
}

/// Lengths and counts agree with each other, whatever the size.
pub(super) fn shape(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let (scheme, size) = (scheme(&mut input), input.number());
    let padded = Padding::Padme.padded(size);
    assert!(padded >= size && padded - size <= size / 8, "padding {size} gives {padded}");
    assert_eq!(Padding::Padme.padded(padded), padded, "padding twice is padding once");
    let smaller = size.saturating_sub(input.number());
    assert!(Padding::Padme.padded(smaller) <= padded, "a larger content is not padded to less");
    assert_eq!(Padding::None.padded(size), size);
    let Some(shape) = Shape::new(scheme, padded) else {
        assert!(u128::from(padded) > u128::from(MAX_SEGMENTS) * scheme.segment_len() as u128);
        return None;
    };
    let last = shape.segments() - 1;
    let full = scheme.segment_len() as u64;
    assert_eq!(last * full + shape.plaintext_len(last) as u64, padded);
    assert_eq!(last * BLOCK_LEN as u64 + shape.block_len(last) as u64, shape.shard_len());
    let at = input.number() % shape.segments();
    assert!(shape.plaintext_len(at) as u64 <= full && shape.block_len(at) <= BLOCK_LEN);
    assert!(scheme.data() * shape.block_len(at) >= SIV_LEN + shape.plaintext_len(at), "a stripe holds its segment");
    assert_eq!(block_count(shape.shard_len()), shape.segments(), "a block of each shard for every stripe");
    Some(())
}

static SEALER: LazyLock<Sealer> = LazyLock::new(|| Sealer::new(&ContentKey::new([5; 32])));

/// Bytes that nobody sealed do not open; those that were sealed do, until one of them changes.
pub(super) fn segment(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let scheme = Scheme::new(1 + input.byte() % 3, 1).expect("valid");
    let (first, last) = (input.number() % MAX_SEGMENTS, input.byte() & 1 == 1);
    let (at, by) = (usize::from(u16::from_be_bytes(input.array())), input.byte());
    let text = input.bytes(2 * scheme.segment_len());
    let mut plain = Plaintext::with_capacity(scheme, first, 2);
    let mut rest = text;
    while let Some(space) = plain.space().filter(|_| !rest.is_empty()) {
        let len = space.len().min(rest.len());
        space[..len].copy_from_slice(&rest[..len]);
        rest = &rest[len..];
        plain.advance(len);
    }
    if text.is_empty() {
        return None;
    }
    let sealed = plain.seal(&SEALER, last);
    let count = sealed.count();
    let mut bytes: Vec<u8> = (0..count).flat_map(|at| sealed.slot(at)).copied().collect();
    let opened = sealed.open(&SEALER).expect("untouched");
    assert!(opened.segments().flatten().eq(text));

    let used = SIV_LEN + (text.len() - (count - 1) * scheme.segment_len());
    let covered = (count - 1) * scheme.stripe_len() + used;
    bytes[at % covered] ^= by;
    let reopened = Sealed::from_slots(scheme, first, bytes, text.len(), last).open(&SEALER);
    assert_eq!(reopened.is_ok(), by == 0, "a changed byte is noticed");
    Some(())
}

/// Any data blocks of a stripe rebuild it.
pub(super) fn erasure(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let scheme = scheme(&mut input);
    let lost = u32::from_be_bytes(input.array());
    let text = input.bytes(4096);
    let mut slot = text.to_vec();
    slot.resize(scheme.stripe_len(), 0);
    let sealed = Sealed::from_slots(scheme, 0, slot, text.len().min(scheme.segment_len()), true);
    let stripes = Stripes::encode(sealed);
    let mut held: Vec<_> = (0..scheme.shards()).map(|shard| Some(stripes.block(0, shard))).collect();
    let losses = (0..scheme.shards()).filter(|shard| lost >> shard & 1 == 1).take(scheme.parity());
    losses.for_each(|shard| held[shard] = None);
    let missing = (0..scheme.data()).filter(|shard| held[*shard].is_none());
    let rebuilt = rebuild(scheme, &held);
    assert!(rebuilt.iter().map(|(shard, _)| *shard).eq(missing));
    for (shard, bytes) in rebuilt {
        assert_eq!(bytes, stripes.block(0, shard), "shard {shard} of {scheme} without {lost:b}");
    }
    Some(())
}

/// A shard of one to nine blocks: its length, root, tree values, and a byte of which every block is made.
struct Tree {
    len: u64,
    root: ShardRoot,
    values: Vec<ChainingValue>,
}

const LAST_LEN: usize = 100;

fn block(index: u64, blocks: u64) -> Vec<u8> {
    let fill = u8::try_from(index % 251).expect("small");
    vec![fill; if index + 1 == blocks { LAST_LEN } else { BLOCK_LEN }]
}

static TREES: LazyLock<Vec<Tree>> = LazyLock::new(|| {
    let tree = |blocks: u64| {
        let (mut builder, mut values) = (TreeBuilder::new(), Vec::new());
        (0..blocks).for_each(|at| builder.push(Leaf::new(at, &block(at, blocks)), |value| values.push(*value)));
        let len = (blocks - 1) * BLOCK_LEN as u64 + LAST_LEN as u64;
        Tree { len, root: builder.root().expect("has leaves"), values }
    };
    (1..=9).map(tree).collect()
});

/// Of arbitrary proofs those that are accepted are the true ones; of arbitrary ranges no proof is long.
pub(super) fn proof(data: &[u8]) -> Accepted {
    let mut input = Input(data);
    let tree = &TREES[input.below(TREES.len())];
    let blocks = block_count(tree.len);
    let (first, count) = (u64::from(input.byte()) % 10, u64::from(input.byte()) % 11);
    let Some(range) = BlockRange::new(tree.len, first, count) else {
        assert!(count == 0 || first + count > blocks);
        return anything(input);
    };
    let Ok(good) = prove(&mut tree.values.as_slice(), range);
    assert!(good.len() as u64 <= range.max_proof());
    // The true proof, shorter or longer, with some of its bytes changed.
    let mut changed = good.clone();
    changed.resize((good.len() + usize::from(input.byte() % 3)).saturating_sub(1), [0; 32]);
    let steps = input.byte() % 3;
    for _ in 0..steps {
        let (at, within, by) = (input.byte(), input.byte(), input.byte());
        if let Some(value) = changed.get_mut(usize::from(at)) {
            value[usize::from(within) % 32] ^= by;
        }
    }
    let proved = ProvedLeaves::verify(tree.root, range, &changed);
    assert_eq!(proved.is_some(), changed == good, "one proof alone is accepted");
    let proved = proved?;
    let at = u64::from(input.byte()) % 11;
    let mut candidate = block(at, blocks);
    assert_eq!(proved.matches(at, &candidate), (first..first + count).contains(&at));
    candidate[input.below(LAST_LEN)] ^= 1;
    assert!(!proved.matches(at, &candidate), "a changed block is noticed");
    Some(())
}

/// Ranges of shards of any length, with a proof of whatever is left.
fn anything(mut input: Input<'_>) -> Accepted {
    let len = input.number();
    let range = BlockRange::new(len, input.number(), input.number())?;
    let root = ShardRoot::new(input.array());
    let proof: Vec<ChainingValue> = input.rest().chunks_exact(32).filter_map(|value| value.try_into().ok()).collect();
    // The root of a single block proves itself: there only the empty proof is one.
    let expected = block_count(len) == 1 && proof.is_empty();
    assert_eq!(ProvedLeaves::verify(root, range, &proof).is_some(), expected, "a hash was inverted");
    None
}
