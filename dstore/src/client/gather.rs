//! Stripes from whichever shards serve: data shards first, parity where one is dead, slow or corrupt.
//!
//! Invariant: only proved blocks reach the decoder, and only opened segments leave it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::fetch::{Fetched, Fetcher, ShardAccess, Trouble, byte_len, may_heal, whom};
use super::{Reporter, Shared, Warning, WarningCode};
use crate::erasure::rebuild;
use crate::error::{Error, Fault, FaultKind, PeerProblem, Result};
use crate::manifest::Manifest;
use crate::merkle::BlockRange;
use crate::rt::Timestamp;
use crate::scheme::{Scheme, Shape};
use crate::seal::{Plaintext, Sealed, Sealer};

/// The shards of one content, being read.
pub(super) struct Gather {
    client: Arc<Shared>,
    shape: Shape,
    sealer: Sealer,
    shards: Vec<(ShardAccess, Fetcher)>,
    reporter: Reporter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Shards that failed before: asked only when others do not suffice, since what failed may serve again, or have other blocks that are sound.
    suspect: BTreeSet<usize>,
    /// Shards that took too long.
    slow: BTreeSet<usize>,
    lease_until: Option<Timestamp>,
}

/// Why the blocks of a window cannot be had.
struct TooFew {
    found: usize,
    failed: BTreeMap<usize, FaultKind>,
}

/// Consecutive stripes that are fetched together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Gather {
    pub(super) fn new(client: &Arc<Shared>, manifest: &Manifest, reporter: Reporter) -> Self {
        let shard = |index| {
            let access = ShardAccess::new(manifest, index);
            (access.clone(), Fetcher::start(client, access))
        };
        Self {
            client: client.clone(),
            shape: manifest.shape(),
            sealer: Sealer::new(&manifest.content_key),
            shards: (0..manifest.scheme.shards()).map(shard).collect(),
            reporter,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The earliest end of a lease that a node told.
    pub(super) fn lease_until(&self) -> Option<Timestamp> {
        self.state().lease_until
    }

    /// Fetches, rebuilds and opens one window.
    pub(super) async fn window(&self, window: Window) -> Result<Plaintext> {
        let stripes = match self.shards_of(window).await {
            Ok(held) => vec![(window, held)],
            // Shards that are damaged in one place each may still have enough sound blocks for every stripe.
            Err(few) if window.count > 1 && few.failed.values().any(|kind| *kind == FaultKind::Corrupt) => {
                let mut stripes = Vec::new();
                for first in window.first..window.first + window.count {
                    let stripe = Window { first, count: 1 };
                    stripes.push((stripe, self.shards_of(stripe).await.map_err(|few| self.error(few))?));
                }
                stripes
            }
            Err(few) => return Err(self.error(few)),
        };
        let (shape, sealer) = (self.shape, self.sealer.clone());
        let opened = self.client.rt.cpu(move || open_window(shape, window, stripes, &sealer)).await;
        // Every block matched its root, so the roots themselves were made of other bytes.
        opened.ok_or(Error::Integrity { what: "a segment" })
    }

    /// The bytes of as many shards as rebuild the window.
    async fn shards_of(&self, window: Window) -> Result<Held, TooFew> {
        let scheme = self.shape.scheme();
        let range = BlockRange::new(self.shape.shard_len(), window.first, window.count);
        let range = range.expect("windows are cut from the content's own segments");
        let mut held: Held = vec![None; scheme.shards()];
        let mut asked = BTreeSet::new();
        let mut failed = BTreeMap::new();
        let mut found = 0;
        let fetch = |shard: usize| async move { (shard, self.shards[shard].1.fetch(range).await) };
        let mut running = FuturesUnordered::new();
        let mut standing: BTreeMap<usize, u64> = BTreeMap::new();
        let mut replaced = BTreeSet::new();
        loop {
            // As many as are missing, and one more for each that stands still.
            let wanted = scheme.data() - found + replaced.len();
            while running.len() < wanted
                && let Some(shard) = self.next_shard(&asked)
            {
                asked.insert(shard);
                standing.insert(shard, self.shards[shard].1.progress());
                running.push(fetch(shard));
            }
            if running.len() + found < scheme.data() {
                return Err(self.too_few(found, failed, running).await);
            }
            let next = select(running.next(), self.client.rt.sleep(self.client.settings.hedge_after)).await;
            match next {
                Either::Left((Some((shard, Ok(Fetched { bytes, lease_until }))), _)) => {
                    self.note_lease(lease_until);
                    debug_assert_eq!(bytes.len(), byte_len(self.shape.shard_len(), range));
                    held[shard] = Some(bytes);
                    standing.remove(&shard);
                    found += 1;
                    if found == scheme.data() {
                        return Ok(held);
                    }
                }
                Either::Left((Some((shard, Err(trouble))), _)) => {
                    standing.remove(&shard);
                    replaced.remove(&shard);
                    failed.extend(self.note_trouble(shard, trouble));
                }
                Either::Left((None, _)) => {}
                Either::Right(_) => {
                    for (shard, seen) in &mut standing {
                        // A slow link is no reason to ask another node for the same: one that stands still is.
                        let progress = self.shards[*shard].1.progress();
                        if std::mem::replace(seen, progress) == progress && replaced.insert(*shard) {
                            self.note_slow(*shard);
                        }
                    }
                }
            }
        }
    }

    /// The best shard that was not asked: sound before slow before suspect, data before parity.
    fn next_shard(&self, asked: &BTreeSet<usize>) -> Option<usize> {
        let state = self.state();
        let candidates = (0..self.shards.len()).filter(|shard| !asked.contains(shard));
        candidates.min_by_key(|shard| (state.suspect.contains(shard), state.slow.contains(shard), *shard))
    }

    fn note_lease(&self, until: Timestamp) {
        let mut state = self.state();
        state.lease_until = Some(state.lease_until.map_or(until, |known| known.min(until)));
    }

    /// Remembers what a shard failed with, warns of it once, and answers it.
    fn note_trouble(&self, shard: usize, trouble: Trouble) -> Option<(usize, FaultKind)> {
        let Trouble::Fault(kind) = trouble else { return None };
        let code = match kind {
            FaultKind::Corrupt => WarningCode::BlockCorrupt,
            FaultKind::Missing => WarningCode::ShardMissing,
            FaultKind::Peer(PeerProblem::Timeout(_)) => WarningCode::NodeSlow,
            FaultKind::Peer(_) => WarningCode::NodeUnreachable,
        };
        if self.state().suspect.insert(shard) {
            self.warn(shard, code);
        }
        Some((shard, kind))
    }

    fn note_slow(&self, shard: usize) {
        if self.state().slow.insert(shard) {
            self.warn(shard, WarningCode::NodeSlow);
        }
    }

    fn warn(&self, shard: usize, code: WarningCode) {
        let (node, address, index) = whom(&self.shards[shard].0);
        self.reporter.warn(Warning { code, node, address, shard: Some(index) });
    }

    /// What a window lacks. What is still under way may add to what was found, or to what is wrong.
    async fn too_few<F>(
        &self,
        mut found: usize,
        mut failed: BTreeMap<usize, FaultKind>,
        mut running: FuturesUnordered<F>,
    ) -> TooFew
    where
        F: Future<Output = (usize, Result<Fetched, Trouble>)>,
    {
        let rest = async {
            while let Some((shard, result)) = running.next().await {
                match result {
                    Ok(_) => found += 1,
                    Err(trouble) => failed.extend(self.note_trouble(shard, trouble)),
                }
            }
        };
        let _ = self.client.rt.timeout(self.client.settings.hedge_after, rest).await;
        TooFew { found, failed }
    }

    fn error(&self, few: TooFew) -> Error {
        let TooFew { found, failed } = few;
        let needed = self.shape.scheme().data();
        // Only if holders that may come back, or have not answered yet, would make it enough.
        let silent = self.shards.len() - found - failed.len();
        let hopeful = failed.values().filter(|kind| may_heal(kind)).count() + silent;
        let fault = |(shard, kind): (usize, FaultKind)| {
            let (node, address, index) = whom(&self.shards[shard].0);
            Fault::new(node, &address, Some(index), kind)
        };
        let faults = failed.into_iter().map(fault).collect();
        if found + hopeful >= needed {
            Error::NotEnoughShards { found, needed, missing: faults }
        } else {
            Error::Unrecoverable { found, needed, faults }
        }
    }
}

/// The blocks of consecutive stripes, by shard.
type Held = Vec<Option<Vec<u8>>>;

/// Puts the blocks of each stripe side by side, rebuilt where one is missing, and opens the segments.
fn open_window(shape: Shape, window: Window, parts: Vec<(Window, Held)>, sealer: &Sealer) -> Option<Plaintext> {
    let scheme = shape.scheme();
    let last = window.first + window.count == shape.segments();
    let mut len = 0;
    let mut slots = vec![0; usize::try_from(window.count).ok()? * scheme.stripe_len()];
    let mut free = slots.chunks_mut(scheme.stripe_len());
    for (part, mut held) in parts {
        let shards: Vec<Option<&[u8]>> = held.iter().map(Option::as_deref).collect();
        for (shard, bytes) in rebuild(scheme, &shards) {
            held[shard] = Some(bytes);
        }
        for (at, index) in (part.first..part.first + part.count).enumerate() {
            len += shape.plaintext_len(index);
            interleave(scheme, at, shape.block_len(index), &held, free.next()?)?;
        }
    }
    Sealed::from_slots(scheme, window.first, slots, len, last).open(sealer).ok()
}

fn interleave(scheme: Scheme, at: usize, block_len: usize, held: &[Option<Vec<u8>>], slot: &mut [u8]) -> Option<()> {
    let start = at * crate::merkle::BLOCK_LEN;
    for (shard, block) in slot.chunks_mut(block_len).take(scheme.data()).enumerate() {
        block.copy_from_slice(held[shard].as_deref()?.get(start..start + block_len)?);
    }
    Some(())
}
