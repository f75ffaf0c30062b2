//! Where the bytes of a put come from, and how they become batches of segments.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncReadExt};

use crate::error::{Error, Result};
use crate::rt::Rt;
use crate::scheme::{Padding, Scheme};
use crate::seal::Plaintext;

/// Where the bytes of a put come from.
pub struct Source(Kind);

enum Kind {
    Bytes(Bytes),
    File(PathBuf),
    Reader(Box<dyn AsyncRead + Send + Unpin>),
}

impl Source {
    /// A local file. It must not change while it is stored.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self(Kind::File(path.to_owned()))
    }

    /// A reader, whose length is not known.
    #[must_use]
    pub fn reader(reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self(Kind::Reader(Box::new(reader)))
    }

    /// Opens it at its start.
    pub(super) async fn open(self, rt: &Rt) -> Result<OpenSource> {
        Ok(match self.0 {
            Kind::Bytes(bytes) => OpenSource::Bytes { at: 0, bytes },
            Kind::Reader(reader) => OpenSource::Reader(reader),
            Kind::File(path) => {
                let name = path.display().to_string();
                let opened = rt.blocking(move || open_file(&path)).await;
                let (file, len, mark) = opened.map_err(|error| Error::io(format!("cannot read {name}"), error))?;
                OpenSource::File { file: Some(file), len, name, mark }
            }
        })
    }
}

fn open_file(path: &Path) -> io::Result<(File, u64, [u8; 32])> {
    // Before it is opened: opening a pipe waits for its writer.
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata.len(), mark_of_file(&metadata)?))
}

/// Changes with every file, and with every change to one that its times show.
fn mark_of_file(metadata: &std::fs::Metadata) -> io::Result<[u8; 32]> {
    let changed = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut mark = blake3::Hasher::new();
    mark.update(b"file").update(&metadata.len().to_be_bytes()).update(&changed.as_nanos().to_be_bytes());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        mark.update(&metadata.dev().to_be_bytes()).update(&metadata.ino().to_be_bytes());
    }
    Ok(*mark.finalize().as_bytes())
}

/// Bytes at either end by which bytes in memory are told from others; all of them are compared while they are sent.
const MARK_LEN: usize = 64 * 1024;

fn mark_of_bytes(bytes: &[u8]) -> [u8; 32] {
    let mut mark = blake3::Hasher::new();
    mark.update(b"bytes").update(&(bytes.len() as u64).to_be_bytes());
    mark.update(&bytes[..bytes.len().min(MARK_LEN)]);
    mark.update(&bytes[bytes.len().saturating_sub(MARK_LEN)..]);
    *mark.finalize().as_bytes()
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }
}

impl From<&[u8]> for Source {
    fn from(bytes: &[u8]) -> Self {
        Self(Kind::Bytes(Bytes::copy_from_slice(bytes)))
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::file(path)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Bytes(bytes) => write!(f, "Source({} bytes)", bytes.len()),
            Kind::File(_) => f.write_str("Source(a file)"),
            Kind::Reader(_) => f.write_str("Source(a reader)"),
        }
    }
}

/// Segments that are read at once where a source is only compared.
const COMPARED_SEGMENTS: usize = 16;

/// An open source.
pub(super) enum OpenSource {
    Bytes { bytes: Bytes, at: usize },
    File { file: Option<File>, len: u64, name: String, mark: [u8; 32] },
    Reader(Box<dyn AsyncRead + Send + Unpin>),
}

impl OpenSource {
    /// Its length, where that is known beforehand.
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::Bytes { bytes, .. } => Some(bytes.len() as u64),
            // The files of /proc and the like say that they are empty and are not.
            Self::File { len, .. } => Some(*len).filter(|len| *len > 0),
            Self::Reader(_) => None,
        }
    }

    /// By what a later source can be told to be another one; `None` for one that cannot be read again.
    pub(super) fn mark(&self) -> Option<[u8; 32]> {
        match self {
            Self::Bytes { bytes, .. } => Some(mark_of_bytes(bytes)),
            Self::File { mark, .. } => Some(*mark),
            Self::Reader(_) => None,
        }
    }

    /// Reads it to its end, and goes back to the start: whether it has this length and BLAKE3 hash.
    pub(super) async fn is(&mut self, rt: &Rt, size: u64, hash: [u8; 32]) -> Result<bool> {
        if self.len() != Some(size) {
            return Ok(false);
        }
        let mut hasher = blake3::Hasher::new();
        loop {
            let batch = Plaintext::with_capacity(Scheme::STANDARD, 0, COMPARED_SEGMENTS);
            let (_, so_far, ended) = self.fill(rt, batch, hasher).await?;
            hasher = so_far;
            if ended {
                break;
            }
        }
        Ok(self.rewind() && *hasher.finalize().as_bytes() == hash)
    }

    /// Goes back to the start. False: that cannot be.
    pub(super) fn rewind(&mut self) -> bool {
        match self {
            Self::Bytes { at, .. } => {
                *at = 0;
                true
            }
            Self::File { file, .. } => file.as_mut().is_some_and(|file| file.rewind().is_ok()),
            Self::Reader(_) => false,
        }
    }

    /// Fills `batch` until it or the source ends, and hashes what was read. Answers whether the source ended.
    async fn fill(
        &mut self,
        rt: &Rt,
        mut batch: Plaintext,
        mut hasher: blake3::Hasher,
    ) -> Result<(Plaintext, blake3::Hasher, bool)> {
        match self {
            Self::Bytes { bytes, at } => {
                while let Some(space) = batch.space() {
                    let step = space.len().min(bytes.len() - *at);
                    if step == 0 {
                        return Ok((batch, hasher, true));
                    }
                    space[..step].copy_from_slice(&bytes[*at..*at + step]);
                    hasher.update(&space[..step]);
                    batch.advance(step);
                    *at += step;
                }
                Ok((batch, hasher, false))
            }
            Self::File { file, name, .. } => {
                let taken = file.take();
                let mut open = taken.ok_or(Error::Internal { what: "a source is read by one task" })?;
                let read = rt
                    .blocking(move || {
                        let read = fill_from(&mut open, batch, hasher);
                        (open, read)
                    })
                    .await;
                *file = Some(read.0);
                read.1.map_err(|error| Error::io(format!("cannot read {name}"), error))
            }
            Self::Reader(reader) => {
                while let Some(space) = batch.space() {
                    let read = reader.read(space).await;
                    match read.map_err(|error| Error::io("cannot read the source", error))? {
                        0 => return Ok((batch, hasher, true)),
                        step => {
                            hasher.update(&space[..step]);
                            batch.advance(step);
                        }
                    }
                }
                Ok((batch, hasher, false))
            }
        }
    }
}

fn fill_from(
    file: &mut File,
    mut batch: Plaintext,
    mut hasher: blake3::Hasher,
) -> io::Result<(Plaintext, blake3::Hasher, bool)> {
    while let Some(space) = batch.space() {
        match file.read(space) {
            Ok(0) => return Ok((batch, hasher, true)),
            Ok(step) => {
                hasher.update(&space[..step]);
                batch.advance(step);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((batch, hasher, false))
}

/// Cuts a source, and the zeros that pad it, into batches of segments.
pub(super) struct ContentReader<'a> {
    rt: &'a Rt,
    source: &'a mut OpenSource,
    scheme: Scheme,
    padding: Padding,
    batch_segments: usize,
    hasher: blake3::Hasher,
    /// Bytes of the source so far.
    size: u64,
    /// The source ended: this is the padded length.
    padded: Option<u64>,
    /// Bytes cut so far, padding included.
    cut: u64,
    next: u64,
    /// The batch that was read ahead: only the next one tells whether it is the last.
    ahead: Option<Plaintext>,
}

/// What a source turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) padded: u64,
    pub(super) hash: [u8; 32],
}

impl<'a> ContentReader<'a> {
    pub(super) fn new(
        rt: &'a Rt,
        source: &'a mut OpenSource,
        scheme: Scheme,
        padding: Padding,
        batch_segments: usize,
    ) -> Self {
        Self {
            rt,
            source,
            scheme,
            padding,
            batch_segments,
            hasher: blake3::Hasher::new(),
            size: 0,
            padded: None,
            cut: 0,
            next: 0,
            ahead: None,
        }
    }

    /// The next batch and whether it is the last; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<(Plaintext, bool)>> {
        let current = match self.ahead.take() {
            Some(batch) => batch,
            None if self.next == 0 => self.read().await?,
            None => return Ok(None),
        };
        let following = self.read().await?;
        let last = following.is_empty();
        if !last {
            self.ahead = Some(following);
        }
        Ok(Some((current, last)))
    }

    /// Bytes of the source that were read so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    async fn read(&mut self) -> Result<Plaintext> {
        let mut batch = Plaintext::with_capacity(self.scheme, self.next, self.batch_segments);
        if self.padded.is_none() {
            let (filled, hasher, ended) = self.source.fill(self.rt, batch, std::mem::take(&mut self.hasher)).await?;
            (batch, self.hasher) = (filled, hasher);
            self.size += batch.len() as u64;
            self.cut += batch.len() as u64;
            if ended {
                self.end_of_source()?;
            }
        }
        if let Some(padded) = self.padded {
            self.fill_with_zeros(&mut batch, padded);
        }
        // Even an empty content has a first segment, at index 0.
        self.next = batch.next().max(1);
        Ok(batch)
    }

    fn end_of_source(&mut self) -> Result<()> {
        if let Some(expected) = self.source.len()
            && expected != self.size
        {
            let error = io::Error::other(format!("it had {expected} bytes and now has {}", self.size));
            return Err(Error::io("the source changed while it was stored", error));
        }
        self.padded = Some(self.padding.padded(self.size));
        Ok(())
    }

    fn fill_with_zeros(&mut self, batch: &mut Plaintext, padded: u64) {
        while self.cut < padded {
            let Some(space) = batch.space() else { return };
            let step = usize::try_from(padded - self.cut).map_or(space.len(), |left| left.min(space.len()));
            space[..step].fill(0);
            batch.advance(step);
            self.cut += step as u64;
        }
    }

    /// What the source was, once it has ended.
    pub(super) fn content(&self) -> Option<Content> {
        let hash = *self.hasher.finalize().as_bytes();
        self.padded.map(|padded| Content { size: self.size, padded, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;

    const BATCH: usize = 4;

    fn batches(mut source: OpenSource, padding: Padding) -> (Vec<(u64, usize, bool)>, Content) {
        let rt = Rt::default();
        let mut reader = ContentReader::new(&rt, &mut source, Scheme::STANDARD, padding, BATCH);
        let mut cut = vec![];
        block_on(async {
            while let Some((batch, last)) = reader.next().await.expect("reads") {
                cut.push((batch.next(), batch.len(), last));
            }
        });
        let content = reader.content().expect("ended");
        (cut, content)
    }

    #[test]
    fn a_source_is_cut_at_every_border_and_only_the_last_batch_is_last() {
        let full = Scheme::STANDARD.segment_len();
        for len in [0, 1, full - 1, full, full + 1, BATCH * full - 1, BATCH * full, BATCH * full + 1, 3 * BATCH * full]
        {
            let bytes = vec![7; len];
            let (cut, content) = batches(OpenSource::Bytes { bytes: bytes.clone().into(), at: 0 }, Padding::None);
            assert_eq!(cut.iter().map(|(_, len, _)| len).sum::<usize>(), len);
            assert_eq!(cut.len(), len.div_ceil(BATCH * full).max(1), "{len}");
            assert!(cut.iter().rev().skip(1).all(|(_, _, last)| !last) && cut.last().is_some_and(|(_, _, last)| *last));
            assert_eq!(
                content,
                Content { size: len as u64, padded: len as u64, hash: *blake3::hash(&bytes).as_bytes() }
            );
            let (from_reader, _) =
                batches(OpenSource::Reader(Box::new(futures_util::io::Cursor::new(bytes))), Padding::None);
            assert_eq!(from_reader, cut, "a reader of unknown length gives the same");
        }
    }

    #[test]
    fn padding_is_cut_like_content_and_not_hashed() {
        let full = Scheme::STANDARD.segment_len();
        let len = 40 * full + 1;
        let (cut, content) = batches(OpenSource::Bytes { bytes: vec![7; len].into(), at: 0 }, Padding::Padme);
        let padded = Padding::Padme.padded(len as u64);
        assert!(padded > len as u64);
        assert_eq!(cut.iter().map(|(_, len, _)| *len as u64).sum::<u64>(), padded);
        assert_eq!(content.hash, *blake3::hash(&vec![7; len]).as_bytes());
    }

    #[test]
    fn a_file_that_grows_or_shrinks_while_it_is_stored_is_an_error() {
        let mut file = tempfile::tempfile().expect("a file");
        io::Write::write_all(&mut file, b"12345").expect("written");
        file.rewind().expect("a file");
        let mut source = OpenSource::File { file: Some(file), len: 6, name: "x".into(), mark: [0; 32] };
        let rt = Rt::default();
        let mut reader = ContentReader::new(&rt, &mut source, Scheme::STANDARD, Padding::None, BATCH);
        let error = block_on(reader.next()).expect_err("changed");
        assert!(error.to_string().contains("changed"), "{error}");
    }
}
