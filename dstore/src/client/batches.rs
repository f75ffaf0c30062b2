//! The batches of a content that is stored: from its source, or from those of its shards that are durable already.

use std::sync::Arc;

use super::gather::{Gather, Window};
use super::source::{Content, ContentReader};
use super::{Reporter, Shared};
use crate::error::Result;
use crate::manifest::Manifest;
use crate::seal::Plaintext;

/// Plaintext bytes that are read back at once.
const WINDOW_LEN: usize = 1 << 20;

/// Consecutive segments of a content, batch after batch.
#[expect(clippy::large_enum_variant, reason = "there is one for each pass over a content")]
pub(super) enum Batches<'a> {
    /// As its source gives them.
    Source(ContentReader<'a>),
    /// As nodes give them back, each block proved by the roots that were computed when it was sent.
    Stored(Stored),
}

/// A content that is read back.
pub(super) struct Stored {
    gather: Gather,
    content: Content,
    segments: u64,
    window: u64,
    next: u64,
}

impl Batches<'_> {
    /// The content of `manifest`, in which the shards that are not durable have roots that nothing matches.
    pub(super) fn stored(client: &Arc<Shared>, manifest: &Manifest, content: Content) -> Self {
        let gather = Gather::new(client, &Arc::new(manifest.clone()), 1, Reporter::default());
        let window = (WINDOW_LEN / manifest.scheme.segment_len()).max(1) as u64;
        let segments = manifest.shape().segments();
        Self::Stored(Stored { gather, content, segments, window, next: 0 })
    }

    /// The next batch and whether it is the last; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<(Plaintext, bool)>> {
        match self {
            Self::Source(reader) => reader.next().await,
            Self::Stored(stored) => stored.next().await,
        }
    }

    /// Bytes of the source that were read so far.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Source(reader) => reader.size(),
            Self::Stored(stored) => stored.content.size,
        }
    }

    /// What it was, once it has ended.
    pub(super) fn content(&self) -> Option<Content> {
        match self {
            Self::Source(reader) => reader.content(),
            Self::Stored(stored) => Some(stored.content),
        }
    }
}

impl Stored {
    async fn next(&mut self) -> Result<Option<(Plaintext, bool)>> {
        let count = self.window.min(self.segments - self.next);
        if count == 0 {
            return Ok(None);
        }
        let plain = self.gather.window(Window { first: self.next, count }).await?;
        self.next += count;
        Ok(Some((plain, self.next == self.segments)))
    }
}
