//! Reads stored shards: blocks, proofs, and whole shards to see whether they are intact.
//!
//! Invariant: what is cut short or missing is `Damaged`, never a panic; changed bytes are left to whoever checks them.

use std::io;
use std::path::Path;

use blake3::hazmat::ChainingValue;

use super::failure;
use super::files::DiskFile;
use super::folder::Folder;
use super::index::{Index, Indexed, Place};
use super::meta::{self, HEADER_LEN, VALUE_LEN};
use crate::merkle::{self, BLOCK_LEN, BlockRange, TreeValues, position};
use crate::store::intake::Intake;
use crate::store::{ProvedBlocks, StoreError, StoredShard, block_bytes};

/// What to read of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The proof alone.
    Proof,
    /// The proof and the blocks.
    Blocks,
}

/// Reads `range` of a shard that is in the index.
pub(super) fn read(
    folder: &Folder,
    index: &Index,
    found: &Indexed,
    range: BlockRange,
    wanted: Wanted,
) -> Result<ProvedBlocks, StoreError> {
    let shard = &found.shard;
    shard.check_readable(range)?;
    if let Place::Row(row) = found.place {
        return read_small(&small(index, shard, row)?, range, wanted);
    }
    let bytes = match wanted {
        Wanted::Proof => Vec::new(),
        Wanted::Blocks => {
            let data = open(folder, &folder.data(shard.key.id), shard.len)?;
            let start = range.first() * BLOCK_LEN as u64;
            let end = (start + range.count() * BLOCK_LEN as u64).min(shard.len);
            read_at(&*data, start, end - start)?
        }
    };
    let meta = open(folder, &folder.meta(shard.key.id), meta::file_len(shard.len))?;
    let proof = merkle::prove(&mut TreeFile::open(meta, range)?, range)?;
    Ok(ProvedBlocks { proof, bytes })
}

fn read_small(shard: &[u8], range: BlockRange, wanted: Wanted) -> Result<ProvedBlocks, StoreError> {
    let (mut intake, mut values) = (Intake::new(None), Vec::new());
    intake.take(shard, &mut values);
    intake.close(&mut values);
    let Ok(proof) = merkle::prove(&mut values.as_slice(), range);
    let bytes = match wanted {
        Wanted::Proof => Vec::new(),
        Wanted::Blocks => block_bytes(shard, range).to_vec(),
    };
    Ok(ProvedBlocks { proof, bytes })
}

fn small(index: &Index, shard: &StoredShard, row: i64) -> Result<Vec<u8>, StoreError> {
    let bytes = match index.bytes(row) {
        Err(error) if failure::is_damage(&error) => return Err(StoreError::Damaged),
        bytes => bytes.map_err(failure::of_index)?,
    };
    bytes.filter(|bytes| bytes.len() as u64 == shard.len).ok_or(StoreError::Damaged)
}

/// Whether the bytes of a shard still have its root, and its files say so. `Damaged` if not.
pub(super) fn check(folder: &Folder, index: &Index, found: &Indexed) -> Result<(), StoreError> {
    let shard = &found.shard;
    if let Place::Row(row) = found.place {
        let intact = Intake::whole(shard.root, &small(index, shard, row)?);
        return intact.map(drop).map_err(|_| StoreError::Damaged);
    }
    let data = open(folder, &folder.data(shard.key.id), shard.len)?;
    let meta = open(folder, &folder.meta(shard.key.id), meta::file_len(shard.len))?;
    let mut header = [0; HEADER_LEN];
    meta.read_at(&mut header, 0).map_err(of_shard)?;
    let described = meta::decode(&header).is_ok_and(|described| {
        described.key == shard.key && described.root == shard.root && described.len == shard.len
    });
    if !described {
        return Err(StoreError::Damaged);
    }
    let mut intake = Intake::new(Some(shard.len));
    let mut values = Vec::new();
    let mut piece = vec![0; PIECE_LEN];
    let mut values_at = meta::value_offset(0);
    loop {
        let left = usize::try_from(shard.len - intake.len()).map_or(PIECE_LEN, |left| left.min(PIECE_LEN));
        data.read_at(&mut piece[..left], intake.len()).map_err(of_shard)?;
        intake.take(&piece[..left], &mut values);
        if intake.len() == shard.len {
            intake.finish(shard.root, &mut values).map_err(|_| StoreError::Damaged)?;
        }
        let expected: &[u8] = values.as_flattened();
        let stored = &mut piece[..expected.len()];
        meta.read_at(stored, values_at).map_err(of_shard)?;
        values_at += expected.len() as u64;
        if stored != expected {
            return Err(StoreError::Damaged);
        }
        values.clear();
        if intake.len() == shard.len {
            return Ok(());
        }
    }
}

fn of_shard(error: io::Error) -> StoreError {
    failure::of_shard("reading a stored shard", error)
}

fn open(folder: &Folder, path: &Path, expected_len: u64) -> Result<Box<dyn DiskFile>, StoreError> {
    let file = folder.files().open(path, false).map_err(of_shard)?;
    let len = file.len().map_err(of_shard)?;
    if len == expected_len { Ok(file) } else { Err(StoreError::Damaged) }
}

fn read_at(file: &dyn DiskFile, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
    let len = usize::try_from(len).map_err(|_| StoreError::Mismatch)?;
    let mut bytes = vec![0; len];
    file.read_at(&mut bytes, offset).map_err(of_shard)?;
    Ok(bytes)
}

/// The tree values in a `.meta` file: those of the range are read at once, the few beside it one by one.
struct TreeFile {
    meta: Box<dyn DiskFile>,
    start: u64,
    window: Vec<u8>,
}

impl TreeFile {
    fn open(meta: Box<dyn DiskFile>, range: BlockRange) -> Result<Self, StoreError> {
        let start = position(range.first(), 0);
        let end = position(range.first() + range.count() - 1, 0) + 1;
        let window = read_at(&*meta, meta::value_offset(start), (end - start) * VALUE_LEN as u64)?;
        Ok(Self { meta, start, window })
    }
}

impl TreeValues for TreeFile {
    type Error = StoreError;

    fn value(&mut self, position: u64) -> Result<ChainingValue, StoreError> {
        let (window, _) = self.window.as_chunks::<VALUE_LEN>();
        let at = position.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        if let Some(value) = at.and_then(|at| window.get(at)) {
            return Ok(*value);
        }
        let mut value = [0; VALUE_LEN];
        self.meta.read_at(&mut value, meta::value_offset(position)).map_err(of_shard)?;
        Ok(value)
    }
}

const PIECE_LEN: usize = 64 * BLOCK_LEN;
