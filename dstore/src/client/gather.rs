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
    /// What is wrong with a shard: it is not asked again.
    faults: Vec<(usize, FaultKind)>,
    /// Shards that took too long: asked only when others do not suffice.
    slow: BTreeSet<usize>,
    lease_until: Option<Timestamp>,
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
        let held = self.shards_of(window).await?;
        let (shape, sealer) = (self.shape, self.sealer.clone());
        let opened = self.client.rt.cpu(move || open_window(shape, window, held, &sealer)).await;
        // Every block matched its root, so the roots themselves were made of other bytes.
        opened.ok_or(Error::Integrity { what: "a segment" })
    }

    /// The bytes of as many shards as rebuild the window.
    async fn shards_of(&self, window: Window) -> Result<Vec<Option<Vec<u8>>>> {
        let scheme = self.shape.scheme();
        let range = BlockRange::new(self.shape.shard_len(), window.first, window.count);
        let range = range.ok_or(Error::Internal { what: "a window lies within its content" })?;
        let mut held: Vec<Option<Vec<u8>>> = vec![None; scheme.shards()];
        let mut asked = BTreeSet::new();
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
                return Err(self.too_few(held, running).await);
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
                    self.note_trouble(shard, trouble);
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

    /// The best shard that was not asked: sound before slow, data before parity.
    fn next_shard(&self, asked: &BTreeSet<usize>) -> Option<usize> {
        let state = self.state();
        let faulty = |shard: &usize| state.faults.iter().any(|(of, _)| of == shard);
        let candidates = (0..self.shards.len()).filter(|shard| !asked.contains(shard) && !faulty(shard));
        candidates.min_by_key(|shard| (state.slow.contains(shard), *shard))
    }

    fn note_lease(&self, until: Timestamp) {
        let mut state = self.state();
        state.lease_until = Some(state.lease_until.map_or(until, |known| known.min(until)));
    }

    fn note_trouble(&self, shard: usize, trouble: Trouble) {
        let Trouble::Fault(kind) = trouble else { return };
        {
            let mut state = self.state();
            if state.faults.iter().any(|(of, _)| *of == shard) {
                return;
            }
            state.faults.push((shard, kind.clone()));
        }
        let code = match kind {
            FaultKind::Corrupt => WarningCode::BlockCorrupt,
            FaultKind::Missing => WarningCode::ShardMissing,
            FaultKind::Peer(PeerProblem::Timeout(_)) => WarningCode::NodeSlow,
            FaultKind::Peer(_) => WarningCode::NodeUnreachable,
        };
        self.warn(shard, code);
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

    /// Why a window cannot be had. What is still under way may add to what was found, or to what is wrong.
    async fn too_few<F>(&self, held: Vec<Option<Vec<u8>>>, mut running: FuturesUnordered<F>) -> Error
    where
        F: Future<Output = (usize, Result<Fetched, Trouble>)>,
    {
        let mut found = held.iter().flatten().count();
        let rest = async {
            while let Some((shard, result)) = running.next().await {
                match result {
                    Ok(_) => found += 1,
                    Err(trouble) => self.note_trouble(shard, trouble),
                }
            }
        };
        let _ = self.client.rt.timeout(self.client.settings.hedge_after, rest).await;
        let needed = self.shape.scheme().data();
        let mut faults = self.state().faults.clone();
        faults.sort_by_key(|(shard, _)| *shard);
        // A holder that may come back makes the difference, and so does one that has not answered yet.
        let hopeful = faults.iter().any(|(_, kind)| may_heal(kind)) || found + faults.len() < self.shards.len();
        let fault = |(shard, kind): (usize, FaultKind)| {
            let (node, address, index) = whom(&self.shards[shard].0);
            Fault::new(node, &address, Some(index), kind)
        };
        let faults = faults.into_iter().map(fault).collect();
        if hopeful {
            Error::NotEnoughShards { found, needed, missing: faults }
        } else {
            Error::Unrecoverable { found, needed, faults }
        }
    }
}

/// Puts the blocks of each stripe side by side, rebuilt where one is missing, and opens the segments.
fn open_window(shape: Shape, window: Window, mut held: Vec<Option<Vec<u8>>>, sealer: &Sealer) -> Option<Plaintext> {
    let scheme = shape.scheme();
    let shards: Vec<Option<&[u8]>> = held.iter().map(Option::as_deref).collect();
    for (shard, bytes) in rebuild(scheme, &shards) {
        held[shard] = Some(bytes);
    }
    let last = window.first + window.count == shape.segments();
    let mut len = 0;
    let mut slots = vec![0; usize::try_from(window.count).ok()? * scheme.stripe_len()];
    for (at, slot) in slots.chunks_mut(scheme.stripe_len()).enumerate() {
        let index = window.first + at as u64;
        len += shape.plaintext_len(index);
        interleave(scheme, at, shape.block_len(index), &held, slot)?;
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
