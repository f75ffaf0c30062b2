//! One version of a file, open for reading: its manifest and its shards, and what of it is asked for at once.
//!
//! Invariant: everything that comes out is of the one version that was current when it was opened.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::gather::{Gather, Window};
use super::report::{Progress, Reporter};
use super::slot::Slot;
use super::{Head, Shared};
use crate::error::{Error, FaultKind, Result};
use crate::manifest::Manifest;
use crate::path::FilePath;
use crate::proto::MAX_LEASE;
use crate::seal::Plaintext;

/// Plaintext bytes of a window: what is fetched and opened together.
const WINDOW_LEN: usize = 2 << 20;
/// A file that is read gets new leases when less than two thirds of one are left.
const RENEW_BELOW: Duration = Duration::from_secs(MAX_LEASE.as_secs() * 2 / 3);

/// How much is asked for at once: of the memory a quarter is for windows that are being opened, each twice there,
/// and the rest for those that arrive or wait for their turn, with a quarter of them again for what is hedged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Segments of a window.
    pub(super) window: u64,
    /// Windows under way.
    pub(super) ahead: usize,
    /// Windows that are opened at once.
    opening: usize,
}

impl Limits {
    fn new(memory: usize, segment: u64) -> Self {
        let opening = (memory / 4 / (2 * WINDOW_LEN)).max(1);
        let ahead = (memory / 4 * 3 / (WINDOW_LEN / 4 * 5)).max(2);
        Self { window: (WINDOW_LEN as u64 / segment).max(1), ahead, opening }
    }

    /// The windows that cover the segments `first..end`.
    pub(super) fn windows(self, segments: Range<u64>) -> impl Iterator<Item = Window> {
        let step = usize::try_from(self.window).unwrap_or(usize::MAX);
        let end = segments.end;
        segments.step_by(step).map(move |first| Window { first, count: self.window.min(end - first) })
    }
}

/// A file that is being read.
pub(super) struct Content {
    pub(super) client: Arc<Shared>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) limits: Limits,
    pub(super) segment: u64,
    slot: Slot,
    gather: Gather,
    reporter: Reporter,
    started: Duration,
    is_renewed: AtomicBool,
}

impl Content {
    /// Opens the version of `path` that is current now. Nothing is asked of nodes yet.
    pub(super) async fn open(client: &Arc<Shared>, path: &str, reporter: &Reporter) -> Result<Arc<Self>> {
        let slot = Slot::read(client, FilePath::new(path)?).await?;
        let manifest = Arc::new(slot.manifest(client)?);
        tracing::debug!(version = slot.version(), "a version to read was found");
        let segment = manifest.scheme.segment_len() as u64;
        let limits = Limits::new(client.settings.memory, segment);
        let gather = Gather::new(client, &manifest, limits.opening, reporter.clone());
        Ok(Arc::new(Self {
            client: client.clone(),
            manifest,
            limits,
            segment,
            slot,
            gather,
            reporter: reporter.clone(),
            started: client.rt.uptime(),
            is_renewed: AtomicBool::new(false),
        }))
    }

    pub(super) fn head(&self) -> Head {
        Head::new(self.slot.file_id, self.slot.version(), &self.manifest)
    }

    /// The part of `wanted` that lies within the file.
    pub(super) fn clip(&self, wanted: Option<Range<u64>>) -> Range<u64> {
        let size = self.manifest.size;
        let wanted = wanted.unwrap_or(0..size);
        let end = wanted.end.min(size);
        wanted.start.min(end)..end
    }

    /// The segments that hold `bytes`; never none.
    pub(super) fn segments(&self, bytes: &Range<u64>) -> Range<u64> {
        let first = bytes.start / self.segment;
        first..bytes.end.div_ceil(self.segment).max(first + 1)
    }

    /// Fetches and opens one window.
    ///
    /// # Errors
    /// [`Error::NotEnoughShards`], [`Error::Unrecoverable`], [`Error::Integrity`], [`Error::Superseded`].
    pub(super) async fn window(&self, window: Window) -> Result<Opened> {
        match self.gather.window(window).await {
            Ok(plain) => {
                self.renew_if_due();
                Ok(Opened::new(window.first * self.segment, self.segment, plain))
            }
            Err(error) => Err(self.explain(error).await),
        }
    }

    /// Gives the file new leases when the first of them ends in less than two thirds of one.
    fn renew_if_due(&self) {
        let soon = self.client.rt.now().after(RENEW_BELOW);
        if self.gather.lease_until().is_some_and(|until| until < soon) && !self.is_renewed.swap(true, Ordering::Relaxed)
        {
            self.client.renew(Manifest::clone(&self.manifest));
            self.client.renew_copies(&self.slot, &self.manifest);
        }
    }

    /// A shard that is gone may be one of a version that was replaced meanwhile.
    async fn explain(&self, error: Error) -> Error {
        let faults = match &error {
            Error::NotEnoughShards { missing, .. } => missing,
            Error::Unrecoverable { faults, .. } => faults,
            _ => return error,
        };
        if !faults.iter().any(|fault| fault.kind == FaultKind::Missing) {
            return error;
        }
        match Slot::read(&self.client, self.slot.path.clone()).await {
            Ok(now) if now.version() != self.slot.version() => Error::Superseded { path: now.path.to_string() },
            _ => error,
        }
    }

    /// Reports that `done` bytes of `total` were handed out.
    pub(super) fn report(&self, done: u64, total: u64) {
        let elapsed = self.client.rt.uptime().saturating_sub(self.started);
        let progress = Progress { bytes_done: done, bytes_durable: done, bytes_total: Some(total), elapsed };
        self.reporter.progress(progress);
    }
}

/// A window of the file in the clear.
pub(super) struct Opened {
    /// Where it begins in the file.
    start: u64,
    segment: u64,
    texts: Vec<Range<usize>>,
    bytes: Bytes,
}

impl Opened {
    fn new(start: u64, segment: u64, plain: Plaintext) -> Self {
        let texts = (0..plain.count()).map(|at| plain.text_range(at)).collect();
        Self { start, segment, texts, bytes: plain.into_bytes().into() }
    }

    /// The parts of it that lie in `wanted`, in order: no bytes are copied.
    pub(super) fn pieces(&self, wanted: Range<u64>) -> impl Iterator<Item = Bytes> {
        let starts = (self.start..).step_by(usize::try_from(self.segment).unwrap_or(usize::MAX));
        self.texts.iter().zip(starts).filter_map(move |(text, offset)| {
            let clip = |position: u64| {
                usize::try_from(position.saturating_sub(offset)).map_or(text.len(), |at| at.min(text.len()))
            };
            let part = text.start + clip(wanted.start)..text.start + clip(wanted.end);
            (!part.is_empty()).then(|| self.bytes.slice(part))
        })
    }

    /// The bytes from `position` on, up to the end of their segment.
    pub(super) fn at(&self, position: u64) -> &[u8] {
        let within = position.saturating_sub(self.start);
        let text = usize::try_from(within / self.segment).ok().and_then(|at| self.texts.get(at)).cloned();
        let text = text.unwrap_or_default();
        let skip = usize::try_from(within % self.segment).unwrap_or(usize::MAX).min(text.len());
        &self.bytes[text.start + skip..text.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_fits_in_the_memory_that_is_allowed() {
        for memory in [16 << 20, 48 << 20, 1 << 30] {
            let limits = Limits::new(memory, 65_520);
            let arriving = limits.ahead * WINDOW_LEN * 5 / 4;
            let opening = limits.opening * 2 * WINDOW_LEN;
            assert!(arriving + opening <= memory, "{limits:?}");
        }
        assert_eq!(Limits::new(48 << 20, 65_520), Limits { window: 32, ahead: 14, opening: 3 });
    }
}
