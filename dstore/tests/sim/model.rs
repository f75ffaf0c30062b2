//! What the files of an owner may be, by what was asked and answered.
//!
//! Every content has a number that it begins with, so that whatever is read tells which put it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use dstore::{Error, Head, Result};

/// The paths that clients use.
pub(super) const PATHS: [&str; 4] = ["a", "b/c", "d", "e"];

/// The content with this number: mostly small, some large enough to be streamed.
pub(super) fn content(number: u64) -> Vec<u8> {
    let mut hash = blake3::Hasher::new();
    hash.update(&number.to_be_bytes());
    let [size, low, high, ..] = *hash.finalize().as_bytes();
    let len = match size % 16 {
        0 => 8,
        1 => 250_000 + 1000 * usize::from(low),
        _ => 8 + 128 * usize::from(low) + usize::from(high),
    };
    let mut bytes = vec![0; len];
    hash.finalize_xof().fill(&mut bytes);
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The number of a content that was read; fails on any wrong byte.
pub(super) fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_be_bytes(bytes[..8].try_into().expect("a content has 8 bytes or more"));
    assert!(number < 1_000_000 && bytes == content(number), "wrong bytes, {} of them", bytes.len());
    number
}

/// What was asked and answered so far.
#[derive(Clone, Default)]
pub(super) struct Model(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    /// Contents whose put did certainly not happen.
    failed: BTreeSet<u64>,
    /// Contents that somebody has read.
    seen: BTreeSet<u64>,
    /// Paths whose file somebody may have removed or moved, for all that was answered.
    may_go: BTreeSet<&'static str>,
    /// The acknowledged versions of each path; `None` for one that is gone.
    acknowledged: BTreeMap<(&'static str, u32), Option<u64>>,
}

impl Model {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }

    /// A number for a content that is about to be put.
    pub(super) fn number(&self) -> u64 {
        let mut state = self.state();
        state.next += 1;
        state.next
    }

    /// The newest version of `path` that was acknowledged.
    pub(super) fn newest(&self, path: &'static str) -> u32 {
        let state = self.state();
        state.acknowledged.range((path, 0)..=(path, u32::MAX)).next_back().map_or(0, |((_, version), _)| *version)
    }

    fn acknowledge(&self, path: &'static str, version: u32, content: Option<u64>) {
        let before = self.state().acknowledged.insert((path, version), content);
        assert!(before.is_none(), "version {version} of {path} was acknowledged twice: {before:?}, {content:?}");
    }

    /// A put was answered, or its client was killed.
    pub(super) fn put(&self, path: &'static str, number: u64, answer: Option<Result<Head>>) {
        match answer {
            Some(Ok(head)) => self.acknowledge(path, head.version, Some(number)),
            Some(Err(error)) if !maybe(&error) => _ = self.state().failed.insert(number),
            Some(Err(_)) | None => {}
        }
    }

    /// A remove was answered: `head` is what was removed.
    pub(super) fn removed(&self, path: &'static str, answer: Option<Result<Head>>) {
        match answer {
            Some(Ok(head)) => self.acknowledge(path, head.version + 1, None),
            Some(Err(error)) if !maybe(&error) => {}
            Some(Err(_)) | None => _ = self.state().may_go.insert(path),
        }
    }

    /// A file was read after `newest` was the newest version acknowledged.
    pub(super) fn read(&self, path: &'static str, newest: u32, version: u32, bytes: &[u8]) {
        assert!(version >= newest, "{path} was read at version {version}, and {newest} was acknowledged");
        let number = number_of(bytes);
        let mut state = self.state();
        if let Some(acknowledged) = state.acknowledged.get(&(path, version)) {
            assert_eq!(*acknowledged, Some(number), "version {version} of {path}");
        }
        state.seen.insert(number);
    }

    /// What holds when nothing is under way any more.
    pub(super) fn check(&self) {
        let state = self.state();
        let ghosts: Vec<_> = state.seen.intersection(&state.failed).collect();
        assert!(ghosts.is_empty(), "puts that failed were read: {ghosts:?}");
    }

    /// `path` is not there, though nothing is under way.
    pub(super) fn gone(&self, path: &'static str) {
        let newest = self.newest(path);
        let state = self.state();
        let there = matches!(state.acknowledged.get(&(path, newest)), Some(Some(_)));
        assert!(!there || state.may_go.contains(path), "{path} is gone, and version {newest} was acknowledged");
    }

    /// A rename was answered: what was at `from` is at `to`. Which version that was is not told.
    pub(super) fn renamed(&self, from: &'static str, to: &'static str, answer: Option<Result<Head>>) {
        let mut state = self.state();
        match &answer {
            Some(Err(error)) if !maybe(error) => {}
            _ => _ = state.may_go.insert(from),
        }
        if let Some(Ok(head)) = answer {
            let before = state.acknowledged.get(&(to, head.version));
            assert!(before.is_none(), "version {} of {to} was acknowledged twice", head.version);
        }
    }
}

/// Whether what failed so may have happened.
fn maybe(error: &Error) -> bool {
    error.code() == "unknown_outcome"
}
