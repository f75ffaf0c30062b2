//! How a content is cut: segments, stripes and shards as numbers (docs/format.md sections 4 to 6).
//!
//! Invariant: [`Shape`] is the only place that computes a length or a count of them.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::merkle::BLOCK_LEN;

/// Bytes that sealing adds to a segment: the synthetic IV in front.
pub const SIV_LEN: usize = 16;

/// The most shards of a file.
pub const MAX_SHARDS: usize = 32;

/// The most segments of a content (2^40).
pub const MAX_SEGMENTS: u64 = 1 << 40;

/// Block lengths are multiples of this: the erasure code works on units of it.
const BLOCK_UNIT: usize = 64;

/// Data and parity shards: any `data` of all shards rebuild a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)", into = "(u8, u8)")]
pub struct Scheme {
    data: u8,
    parity: u8,
}

impl Scheme {
    /// 4 + 2: half as much again on disk, one of three nodes may vanish. The default.
    pub const STANDARD: Self = Self { data: 4, parity: 2 };
    /// 2 + 4: three times the bytes on disk, any two of three nodes may vanish.
    pub const HIGH: Self = Self { data: 2, parity: 4 };

    /// `data` + `parity` shards, each at least 1 and together at most [`MAX_SHARDS`].
    ///
    /// # Errors
    /// [`Error::Config`] outside these limits.
    pub fn new(data: u8, parity: u8) -> Result<Self, Error> {
        if data == 0 || parity == 0 || usize::from(data) + usize::from(parity) > MAX_SHARDS {
            return Err(Error::config(format!(
                "scheme {data}+{parity}: data and parity shards are at least 1 each and at most {MAX_SHARDS} together"
            )));
        }
        Ok(Self { data, parity })
    }

    /// Data shards (k).
    #[must_use]
    pub fn data(self) -> usize {
        usize::from(self.data)
    }

    /// Parity shards (m).
    #[must_use]
    pub fn parity(self) -> usize {
        usize::from(self.parity)
    }

    /// All shards.
    #[must_use]
    pub fn shards(self) -> usize {
        self.data() + self.parity()
    }

    /// Bytes of a full sealed segment: one block for each data shard.
    #[must_use]
    pub fn stripe_len(self) -> usize {
        self.data() * BLOCK_LEN
    }

    /// Plaintext bytes of a full segment.
    #[must_use]
    pub fn segment_len(self) -> usize {
        self.stripe_len() - SIV_LEN
    }
}

impl Default for Scheme {
    fn default() -> Self {
        Self::STANDARD
    }
}

impl std::fmt::Display for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl std::str::FromStr for Scheme {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "standard" => return Ok(Self::STANDARD),
            "high" => return Ok(Self::HIGH),
            _ => {}
        }
        let parts = text.split_once('+').and_then(|(k, m)| Some((k.trim().parse().ok()?, m.trim().parse().ok()?)));
        let (data, parity) =
            parts.ok_or_else(|| Error::config(format!("scheme {text:?}: write it like 4+2, or standard, or high")))?;
        Self::new(data, parity)
    }
}

impl TryFrom<(u8, u8)> for Scheme {
    type Error = Error;

    fn try_from((data, parity): (u8, u8)) -> Result<Self, Error> {
        Self::new(data, parity)
    }
}

impl From<Scheme> for (u8, u8) {
    fn from(scheme: Scheme) -> Self {
        (scheme.data, scheme.parity)
    }
}

/// How a content's length is hidden.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Padding {
    /// 0: not at all.
    None,
    /// 1: to one of few lengths, at most 12 % more (Padmé, Nikitin et al., PoPETs 2019). The default.
    #[default]
    Padme,
}

impl Padding {
    /// The length to which `len` bytes are padded with zeros.
    #[must_use]
    pub fn padded(self, len: u64) -> u64 {
        if self == Self::None || len < 2 {
            return len;
        }
        let exponent = u64::BITS - 1 - len.leading_zeros();
        let kept = u32::BITS - exponent.leading_zeros();
        let low = (1_u64 << (exponent - kept.min(exponent))) - 1;
        len.checked_add(low).map_or(len, |sum| sum & !low)
    }
}

/// The segments, stripes and shards of a content of a given padded length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    scheme: Scheme,
    padded: u64,
    segments: u64,
}

impl Shape {
    /// The shape of `padded` bytes; `None` above [`MAX_SEGMENTS`].
    #[must_use]
    pub fn new(scheme: Scheme, padded: u64) -> Option<Self> {
        let segments = padded.div_ceil(scheme.segment_len() as u64).max(1);
        (segments <= MAX_SEGMENTS).then_some(Self { scheme, padded, segments })
    }

    /// Its scheme.
    #[must_use]
    pub fn scheme(self) -> Scheme {
        self.scheme
    }

    /// Number of segments, and of stripes: at least 1.
    #[must_use]
    pub fn segments(self) -> u64 {
        self.segments
    }

    /// Plaintext bytes of segment `index`, padding included.
    #[must_use]
    pub fn plaintext_len(self, index: u64) -> usize {
        let full = self.scheme.segment_len();
        if index + 1 < self.segments {
            return full;
        }
        let before = (self.segments - 1) * full as u64;
        usize::try_from(self.padded - before).expect("the last segment is no longer than a full one")
    }

    /// Bytes of each block of stripe `index`.
    #[must_use]
    pub fn block_len(self, index: u64) -> usize {
        block_len(self.scheme, self.plaintext_len(index))
    }

    /// Bytes of each shard.
    #[must_use]
    pub fn shard_len(self) -> u64 {
        (self.segments - 1) * BLOCK_LEN as u64 + self.block_len(self.segments - 1) as u64
    }
}

/// Bytes of each block of a stripe made of `plaintext_len` bytes.
#[must_use]
pub fn block_len(scheme: Scheme, plaintext_len: usize) -> usize {
    (plaintext_len + SIV_LEN).div_ceil(scheme.data()).next_multiple_of(BLOCK_UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_segment_is_65520_bytes_and_an_empty_file_has_one_segment() {
        assert_eq!(Scheme::STANDARD.segment_len(), 65_520);
        let empty = Shape::new(Scheme::STANDARD, 0).expect("small");
        assert_eq!((empty.segments(), empty.plaintext_len(0), empty.shard_len()), (1, 0, 64));
    }

    #[test]
    fn padme_gives_the_lengths_of_the_paper() {
        for (len, padded) in
            [(0, 0), (1, 1), (2, 2), (9, 10), (100, 104), (1000, 1024), (65_521, 65_536), (1 << 30, 1 << 30)]
        {
            assert_eq!(Padding::Padme.padded(len), padded, "{len}");
        }
    }

    #[test]
    fn schemes_read_back_from_their_text() {
        for text in ["4+2", "1+1", "16+16"] {
            assert_eq!(text.parse::<Scheme>().expect(text).to_string(), text);
        }
        for bad in ["", "4", "0+2", "4+0", "20+13", "4+2+1", "-1+2", "256+1"] {
            assert!(bad.parse::<Scheme>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn padding_costs_at_most_12_percent_and_never_shortens(len in 0..=(u64::MAX >> 1)) {
            let padded = Padding::Padme.padded(len);
            prop_assert!(padded >= len && u128::from(padded) * 100 <= u128::from(len) * 112);
            prop_assert_eq!(Padding::Padme.padded(padded), padded);
        }

        #[test]
        fn segments_cover_the_content_and_blocks_hold_them(k in 1..=20_u8, m in 1..=12_u8, padded in 0..50_000_000_u64) {
            let scheme = Scheme::new(k, m).expect("within limits");
            let shape = Shape::new(scheme, padded).expect("small");
            let total: u64 = (0..shape.segments()).map(|i| shape.plaintext_len(i) as u64).sum();
            prop_assert_eq!(total, padded);
            let last = shape.segments() - 1;
            prop_assert!(shape.block_len(last) * scheme.data() >= shape.plaintext_len(last) + SIV_LEN);
            prop_assert!(shape.block_len(last) <= BLOCK_LEN && shape.block_len(last).is_multiple_of(64));
            prop_assert_eq!(crate::merkle::block_count(shape.shard_len()), shape.segments());
        }
    }
}
