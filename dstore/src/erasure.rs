//! Stripes: the Reed-Solomon code over sealed segments (docs/format.md section 6).
//!
//! Invariant: any `data` blocks of a stripe rebuild it; blocks of many stripes may be coded one after another.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::merkle::Leaf;
use crate::scheme::{Scheme, block_len};
use crate::seal::Sealed;

/// The Reed-Solomon code of the crate `reed-solomon-simd` 3, the only codec of version 1.
pub(crate) const CODEC_REED_SOLOMON: u8 = 1;

/// Consecutive stripes: the sealed segments, their parity, and the tree leaf of each block.
#[derive(Debug)]
pub struct Stripes {
    sealed: Sealed,
    /// For each stripe its parity blocks, one after another.
    parity: Vec<u8>,
    /// For each stripe the leaves of its data and parity blocks.
    leaves: Vec<Leaf>,
}

impl Stripes {
    /// Codes sealed segments and hashes every block.
    #[must_use]
    pub fn encode(sealed: Sealed) -> Self {
        let scheme = sealed.scheme();
        let mut stripes = Self {
            parity: Vec::with_capacity(sealed.count() * scheme.parity() * crate::merkle::BLOCK_LEN),
            leaves: Vec::with_capacity(sealed.count() * scheme.shards()),
            sealed,
        };
        let mut encoder: Option<(usize, ReedSolomonEncoder)> = None;
        for at in 0..stripes.count() {
            let block_len = stripes.block_len(at);
            let (_, encoder) = match &mut encoder {
                Some(ready) if ready.0 == block_len => ready,
                other => other.insert((block_len, new_encoder(scheme, block_len))),
            };
            for block in stripes.sealed.slot(at).chunks(block_len).take(scheme.data()) {
                encoder.add_original_shard(block).expect(LENGTHS);
            }
            for block in encoder.encode().expect(LENGTHS).recovery_iter() {
                stripes.parity.extend_from_slice(block);
            }
            let index = stripes.sealed.first() + at as u64;
            for shard in 0..scheme.shards() {
                let leaf = Leaf::new(index, stripes.block(at, shard));
                stripes.leaves.push(leaf);
            }
        }
        stripes
    }

    /// Number of stripes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sealed.count()
    }

    fn block_len(&self, at: usize) -> usize {
        block_len(self.sealed.scheme(), self.sealed.segment_len(at))
    }

    /// The block of shard `shard` in the stripe at `at`.
    #[must_use]
    pub fn block(&self, at: usize, shard: usize) -> &[u8] {
        let scheme = self.sealed.scheme();
        let len = self.block_len(at);
        match shard.checked_sub(scheme.data()) {
            None => &self.sealed.slot(at)[shard * len..(shard + 1) * len],
            Some(parity) => {
                let start = at * scheme.parity() * crate::merkle::BLOCK_LEN + parity * len;
                &self.parity[start..start + len]
            }
        }
    }

    /// The tree leaf of that block.
    #[must_use]
    pub fn leaf(&self, at: usize, shard: usize) -> Leaf {
        self.leaves[at * self.sealed.scheme().shards() + shard]
    }

    /// Bytes of one shard in these stripes.
    #[must_use]
    pub fn shard_bytes(&self) -> usize {
        (0..self.count()).map(|at| self.block_len(at)).sum()
    }
}

const LENGTHS: &str = "every block of a stripe has the same length, a multiple of 64";

fn new_encoder(scheme: Scheme, block_len: usize) -> ReedSolomonEncoder {
    ReedSolomonEncoder::new(scheme.data(), scheme.parity(), block_len).expect("a scheme has at most 32 shards")
}

/// Shard bytes that are decoded at once: fewer pay the constant 0.2 ms of a call too often, more fall out of the cache.
const DECODE_PIECE: usize = 512 * 1024;

/// Rebuilds the missing data shards of some consecutive stripes, whose bytes stand one after another in each shard.
///
/// `held[i]` is `Some` for each shard that is there, all of one length, at least `scheme.data()` of them.
/// Answers the data shards that were missing, in order of their index.
///
/// # Panics
/// If fewer are there, or lengths differ: callers count and check first.
#[must_use]
pub fn rebuild(scheme: Scheme, held: &[Option<&[u8]>]) -> Vec<(usize, Vec<u8>)> {
    let len = held.iter().flatten().map(|bytes| bytes.len()).next().expect("at least one shard is there");
    let missing: Vec<usize> = (0..scheme.data()).filter(|i| held[*i].is_none()).collect();
    let mut rebuilt: Vec<(usize, Vec<u8>)> = missing.iter().map(|i| (*i, Vec::with_capacity(len))).collect();
    if missing.is_empty() {
        return rebuilt;
    }
    for start in (0..len).step_by(DECODE_PIECE) {
        let piece = start..len.min(start + DECODE_PIECE);
        let mut decoder = ReedSolomonDecoder::new(scheme.data(), scheme.parity(), piece.len())
            .expect("a scheme has at most 32 shards");
        for (shard, bytes) in held.iter().enumerate() {
            let Some(bytes) = bytes else { continue };
            let bytes = &bytes[piece.clone()];
            match shard.checked_sub(scheme.data()) {
                None => decoder.add_original_shard(shard, bytes).expect(LENGTHS),
                Some(parity) => decoder.add_recovery_shard(parity, bytes).expect(LENGTHS),
            }
        }
        let result = decoder.decode().expect("at least as many shards as data shards are there");
        for (shard, out) in &mut rebuilt {
            out.extend_from_slice(result.restored_original(*shard).expect("a missing data shard is restored"));
        }
    }
    rebuilt
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::ContentKey;
    use crate::merkle::TreeBuilder;
    use crate::seal::{Plaintext, Sealer};

    fn stripes(scheme: Scheme, len: usize) -> Stripes {
        let mut plain = Plaintext::with_capacity(scheme, 0, len.div_ceil(scheme.segment_len()));
        let mut byte = 0_u8;
        while plain.len() < len {
            let left = len - plain.len();
            let space = plain.space().expect("room");
            let step = space.len().min(left);
            space[..step].fill_with(|| {
                byte = byte.wrapping_mul(31).wrapping_add(17);
                byte
            });
            plain.advance(step);
        }
        Stripes::encode(plain.seal(&Sealer::new(&ContentKey::new([5; 32])), true))
    }

    fn shards(stripes: &Stripes, scheme: Scheme) -> Vec<Vec<u8>> {
        (0..scheme.shards())
            .map(|shard| (0..stripes.count()).flat_map(|at| stripes.block(at, shard).to_vec()).collect())
            .collect()
    }

    /// Every way to lose as many shards as there is parity, over several stripes with a short last one:
    /// coded stripe by stripe, decoded concatenated.
    #[test]
    fn every_tolerated_loss_rebuilds_the_data_shards() {
        for scheme in
            [Scheme::STANDARD, Scheme::HIGH, Scheme::new(1, 1).expect("valid"), Scheme::new(3, 3).expect("valid")]
        {
            let shards = shards(&stripes(scheme, 2 * scheme.segment_len() + 1000), scheme);
            for lost in 0..1_u32 << scheme.shards() {
                if lost.count_ones() as usize != scheme.parity() {
                    continue;
                }
                let held: Vec<_> =
                    shards.iter().enumerate().map(|(i, s)| (lost >> i & 1 == 0).then_some(&s[..])).collect();
                for (index, bytes) in rebuild(scheme, &held) {
                    assert_eq!(bytes, shards[index], "{scheme} without {lost:b}");
                }
            }
        }
    }

    #[test]
    fn leaves_hash_to_the_roots_of_the_shards() {
        let scheme = Scheme::STANDARD;
        for len in [0, 100, scheme.segment_len(), 5 * scheme.segment_len() + 3] {
            let stripes = stripes(scheme, len);
            for (shard, bytes) in shards(&stripes, scheme).iter().enumerate() {
                let mut tree = TreeBuilder::new();
                (0..stripes.count()).for_each(|at| tree.push(stripes.leaf(at, shard), |_| ()));
                assert_eq!(tree.root().expect("has leaves").as_bytes(), blake3::hash(bytes).as_bytes());
            }
        }
    }
}
