//! The `.meta` file beside each shard file: what the shard is, then the values of its hash tree.
//!
//! Invariant: with its shard file it holds all that the index knew when the shard was stored.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | `dstrmeta` |
//! | 8 | 1 | version, 1 |
//! | 9 | 1 | index of the shard in its file |
//! | 10 | 33 | capability key |
//! | 43 | 4 | generation |
//! | 47 | 32 | id |
//! | 79 | 32 | account |
//! | 111 | 32 | root |
//! | 143 | 8 | length of the shard |
//! | 151 | 8 | end of the lease when it was stored, ms since the epoch |
//! | 159 | 1 | state when it was stored: 0 = live, 1 = open |
//! | 160 | 32 | BLAKE3 of bytes 0 to 159 |
//! | 192 | 32 each | tree values in post-order, two for nearly every 16 KiB |
//!
//! Numbers are big endian. The index alone knows later leases and states. Of an open shard root and lease are zeros, and the
//! length is the one that was announced, 2^64 - 1 if none was.

use std::io;

use super::files::DiskFile;
use crate::id::{NoiseKey, ShardId, ShardRoot};
use crate::merkle::{block_count, position};
use crate::rt::Timestamp;
use crate::store::{ShardKey, ShardState, StoredShard};

/// Bytes before the tree values.
pub(super) const HEADER_LEN: usize = 192;

/// Bytes of one tree value.
pub(super) const VALUE_LEN: usize = 32;

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Another version wrote them, or they are something else.
    Foreign,
    /// They are damaged.
    Damaged,
}

/// The length of the whole file, for a shard of `len` bytes.
pub(super) fn file_len(len: u64) -> u64 {
    value_offset(position(block_count(len), 0))
}

/// Where the value at `position` stands in the file.
pub(super) fn value_offset(position: u64) -> u64 {
    HEADER_LEN as u64 + position * VALUE_LEN as u64
}

/// What is known of an open shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenHeader {
    pub(super) key: ShardKey,
    /// The length, if it was announced.
    pub(super) announced: Option<u64>,
}

impl OpenHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let (root, lease_until) = (ShardRoot::new([0; 32]), Timestamp::default());
        let len = self.announced.unwrap_or(UNKNOWN_LEN);
        fields(&StoredShard { key: self.key, root, len, lease_until, state: ShardState::Live }, STATE_OPEN)
    }

    /// What `file` starts with. A shard that was being stored when its writer ended is an open one.
    pub(super) fn read(file: &dyn DiskFile) -> io::Result<Self> {
        let mut header = [0; HEADER_LEN];
        file.read_at(&mut header, 0)?;
        let (shard, state) = parse(&header).map_err(|_| io::ErrorKind::InvalidData)?;
        let is_unknown = state == STATE_OPEN && shard.len == UNKNOWN_LEN;
        Ok(Self { key: shard.key, announced: (!is_unknown).then_some(shard.len) })
    }
}

pub(super) fn encode(shard: &StoredShard) -> [u8; HEADER_LEN] {
    fields(shard, STATE_LIVE)
}

pub(super) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<StoredShard, Unreadable> {
    match parse(bytes)? {
        (shard, STATE_LIVE) => Ok(shard),
        _ => Err(Unreadable::Foreign),
    }
}

fn fields(shard: &StoredShard, state: u8) -> [u8; HEADER_LEN] {
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[VERSION, shard.key.index]);
    bytes.extend_from_slice(&shard.key.cap_pk);
    bytes.extend_from_slice(&shard.key.generation.to_be_bytes());
    bytes.extend_from_slice(shard.key.id.as_bytes());
    bytes.extend_from_slice(shard.key.account.as_bytes());
    bytes.extend_from_slice(shard.root.as_bytes());
    bytes.extend_from_slice(&shard.len.to_be_bytes());
    bytes.extend_from_slice(&shard.lease_until.as_millis().to_be_bytes());
    bytes.push(state);
    bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
    bytes.try_into().expect("the fields above are HEADER_LEN bytes long")
}

fn parse(bytes: &[u8; HEADER_LEN]) -> Result<(StoredShard, u8), Unreadable> {
    let mut rest = Fields(bytes);
    if &rest.take::<8>()? != MAGIC || rest.take::<1>()? != [VERSION] {
        return Err(Unreadable::Foreign);
    }
    let (fields, checksum) = bytes.split_at(HEADER_LEN - 32);
    if blake3::hash(fields).as_bytes() != checksum {
        return Err(Unreadable::Damaged);
    }
    let [index] = rest.take()?;
    let cap_pk = rest.take()?;
    let generation = u32::from_be_bytes(rest.take()?);
    let id = ShardId::new(rest.take()?);
    let account = NoiseKey::new(rest.take()?);
    let key = ShardKey { id, cap_pk, index, generation, account };
    let root = ShardRoot::new(rest.take()?);
    let len = u64::from_be_bytes(rest.take()?);
    let lease_until = Timestamp::from_millis(u64::from_be_bytes(rest.take()?));
    let [state] = rest.take()?;
    if state > STATE_OPEN {
        return Err(Unreadable::Foreign);
    }
    Ok((StoredShard { key, root, len, lease_until, state: ShardState::Live }, state))
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(*field)
    }
}

const MAGIC: &[u8; 8] = b"dstrmeta";
const VERSION: u8 = 1;
const STATE_LIVE: u8 = 0;
const STATE_OPEN: u8 = 1;
const UNKNOWN_LEN: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shard() -> StoredShard {
        let key = ShardKey {
            id: ShardId::new([1; 32]),
            cap_pk: [2; 33],
            index: 3,
            generation: 4,
            account: NoiseKey::new([5; 32]),
        };
        let lease_until = Timestamp::from_millis(7);
        StoredShard { key, root: ShardRoot::new([6; 32]), len: 16_385, lease_until, state: ShardState::Live }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        assert_eq!(decode(&encode(&shard())), Ok(shard()));
        assert_eq!(file_len(0), 192 + 32);
        assert_eq!(file_len(16_385), 192 + 3 * 32);
    }

    #[test]
    fn no_changed_byte_of_a_header_goes_unnoticed() {
        for at in 0..HEADER_LEN {
            let mut bytes = encode(&shard());
            bytes[at] ^= 1;
            let expected = if at < 9 { Unreadable::Foreign } else { Unreadable::Damaged };
            assert_eq!(decode(&bytes), Err(expected), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn whatever_fields_a_true_checksum_covers_what_decodes_has_one_encoding(
            fields in prop::collection::vec(any::<u8>(), HEADER_LEN - 32), is_ours in prop::bool::weighted(0.8),
        ) {
            let mut fields = fields;
            if is_ours {
                fields[..9].copy_from_slice(&[&MAGIC[..], &[VERSION]].concat());
                fields[159] %= 2;
            }
            let checksum = blake3::hash(&fields);
            fields.extend_from_slice(checksum.as_bytes());
            let header: [u8; HEADER_LEN] = fields.try_into().expect("its length");
            match decode(&header) {
                Ok(shard) => {
                    prop_assert_eq!(encode(&shard), header);
                    prop_assert!(file_len(shard.len) > HEADER_LEN as u64);
                }
                Err(why) => prop_assert_eq!(why, Unreadable::Foreign),
            }
        }
    }
}
