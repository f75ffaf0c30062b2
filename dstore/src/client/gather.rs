//! Stripes from whichever shards serve: data shards first, parity where one is dead, slow or corrupt.
//!
//! Invariant: only proved blocks reach the decoder, and only opened segments leave it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::fetch::{Fetched, Fetcher, ShardAccess, Trouble, byte_len, may_heal};
use super::pace::{Budget, Estimate, Track};
use super::plan::{Candidate, Choice, Standing, choose};
use super::{Reporter, Shared, Warning, WarningCode};
use crate::erasure::rebuild;
use crate::error::{Error, Fault, FaultKind, PeerProblem, Result};
use crate::id::NodeId;
use crate::manifest::Manifest;
use crate::merkle::BlockRange;
use crate::rt::Timestamp;
use crate::scheme::{Scheme, Shape};
use crate::seal::{Plaintext, Sealed, Sealer};

/// How long a late demand is left alone after it was decided not to ask for another.
const AGAIN: Duration = Duration::from_millis(50);

/// The shards of one content, being read.
pub(super) struct Gather {
    client: Arc<Shared>,
    manifest: Arc<Manifest>,
    shape: Shape,
    sealer: Sealer,
    /// One for each shard, started when it is first needed.
    fetchers: Vec<OnceLock<Fetcher>>,
    /// One for each node of the manifest.
    tracks: Vec<Arc<Track>>,
    budget: Arc<Budget>,
    /// Windows that are opened at once.
    opening: async_lock::Semaphore,
    reporter: Reporter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Shards that failed before: asked only when others do not suffice, since what failed may serve again, or have other blocks that are sound.
    suspect: BTreeSet<usize>,
    /// Shards of which it was told that they took too long.
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

/// A demand for one shard's part of a window.
struct Demand {
    asked: Duration,
    expected: Option<Duration>,
    /// Bytes that had come from the shard when it was asked for; when that last changed, and when that was.
    began: u64,
    progress: u64,
    moved: Duration,
    /// When it is next asked whether it is late.
    retry: Duration,
    /// Another was asked for beside it.
    is_hedged: bool,
}

/// One window's shards: what came, what is under way, what failed.
struct Hunt {
    range: BlockRange,
    len: usize,
    held: Held,
    found: usize,
    /// The longest time that one of those took.
    slowest: Duration,
    open: BTreeMap<usize, Demand>,
    asked: BTreeSet<usize>,
    failed: BTreeMap<usize, FaultKind>,
}

impl Gather {
    pub(super) fn new(client: &Arc<Shared>, manifest: &Arc<Manifest>, opening: usize, reporter: Reporter) -> Self {
        Self {
            client: client.clone(),
            manifest: manifest.clone(),
            shape: manifest.shape(),
            sealer: Sealer::new(&manifest.content_key),
            fetchers: manifest.shards.iter().map(|_| OnceLock::new()).collect(),
            tracks: manifest.nodes.iter().map(|node| client.pace.track(node.id)).collect(),
            budget: Arc::default(),
            opening: async_lock::Semaphore::new(opening),
            reporter,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetcher(&self, shard: usize) -> &Fetcher {
        let start = || {
            let access = ShardAccess::new(&self.manifest, shard);
            Fetcher::start(&self.client, access, self.track(shard), &self.budget)
        };
        self.fetchers[shard].get_or_init(start)
    }

    fn track(&self, shard: usize) -> &Arc<Track> {
        &self.tracks[usize::from(self.manifest.shards[shard].node)]
    }

    /// Who is meant in a report about `shard`.
    fn whom(&self, shard: usize) -> (NodeId, String, u8) {
        let node = self.manifest.holder(shard);
        (node.id, node.hint.clone(), u8::try_from(shard).unwrap_or(u8::MAX))
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
        let turn = self.opening.acquire().await;
        let opened = self.client.rt.cpu(move || open_window(shape, window, stripes, &sealer)).await;
        drop(turn);
        // Every block matched its root, so the roots themselves were made of other bytes.
        opened.ok_or(Error::Integrity { what: "a segment" })
    }

    /// The bytes of as many shards as rebuild the window.
    async fn shards_of(&self, window: Window) -> Result<Held, TooFew> {
        let needed = self.shape.scheme().data();
        let range = BlockRange::new(self.shape.shard_len(), window.first, window.count);
        let range = range.expect("windows are cut from the content's own segments");
        let mut hunt = Hunt::new(range, byte_len(self.shape.shard_len(), range), self.fetchers.len());
        let fetch = |shard: usize, len: usize| async move { (shard, self.fetcher(shard).fetch(range, len).await) };
        let mut running = FuturesUnordered::new();
        self.budget.need((needed * hunt.len) as u64);
        loop {
            // As many as are missing, and one more for each beside which another was asked for.
            let hedged = hunt.open.values().filter(|demand| demand.is_hedged).count();
            let wanted = (needed - hunt.found + hedged).saturating_sub(running.len());
            for choice in self.next_shards(&hunt, wanted) {
                hunt.ask(choice, self.client.rt.uptime(), self.fetcher(choice.shard).progress());
                running.push(fetch(choice.shard, hunt.len));
            }
            if running.len() + hunt.found < needed {
                return Err(self.too_few(hunt, running).await);
            }
            let tick = self.next_look(&hunt).saturating_sub(self.client.rt.uptime());
            match select(running.next(), self.client.rt.sleep(tick)).await {
                Either::Left((Some((shard, Ok(fetched))), _)) => {
                    self.note_lease(fetched.lease_until);
                    hunt.found(shard, fetched.bytes, self.client.rt.uptime());
                    if hunt.found == needed {
                        hunt.open.iter().filter(|(_, demand)| demand.is_hedged).for_each(|(at, _)| self.note_slow(*at));
                        return Ok(hunt.held);
                    }
                }
                Either::Left((Some((shard, Err(trouble))), _)) => {
                    hunt.open.remove(&shard);
                    hunt.failed.extend(self.note_trouble(shard, trouble));
                }
                Either::Left((None, _)) => {}
                Either::Right(_) => self.look_for_late(&mut hunt),
            }
        }
    }

    /// The best `count` shards that were not asked.
    fn next_shards(&self, hunt: &Hunt, count: usize) -> Vec<Choice> {
        if count == 0 {
            return Vec::new();
        }
        let now = self.client.rt.uptime();
        let nodes: Vec<Estimate> = self.tracks.iter().map(|track| track.estimate(now)).collect();
        choose(count, &self.candidates(hunt), &nodes, hunt.len as u64)
    }

    /// The shard that would be asked beside a late one.
    fn other(&self, hunt: &Hunt) -> Option<Choice> {
        let nodes: Vec<Estimate> = self.tracks.iter().map(|track| track.known()).collect();
        choose(1, &self.candidates(hunt), &nodes, hunt.len as u64).pop()
    }

    fn candidates(&self, hunt: &Hunt) -> Vec<Candidate> {
        let data = self.shape.scheme().data();
        let state = self.state();
        let candidate = |shard| Candidate {
            shard,
            node: usize::from(self.manifest.shards[shard].node),
            is_data: shard < data,
            is_suspect: state.suspect.contains(&shard),
        };
        (0..self.fetchers.len()).filter(|shard| !hunt.asked.contains(shard)).map(candidate).collect()
    }

    /// When it is next to be asked whether a demand is late.
    fn next_look(&self, hunt: &Hunt) -> Duration {
        let limit = self.client.settings.hedge_after;
        let other = self.other(hunt);
        let standing = hunt.standing(self.shape.scheme().data());
        let due = |demand: &Demand| {
            let late = standing.late_after(demand.expected, other.and_then(|other| other.finish));
            let late = late.map(|after| (demand.asked + after).max(demand.retry));
            late.unwrap_or(Duration::MAX).min(demand.moved + limit)
        };
        let open = hunt.open.values().filter(|demand| !demand.is_hedged && other.is_some());
        open.map(due).min().unwrap_or(self.client.rt.uptime() + limit)
    }

    /// Decides beside which demands another shard is asked: those that are late beside their peers, as the budget
    /// allows, and those that stand still for as long as the setting says.
    fn look_for_late(&self, hunt: &mut Hunt) {
        let now = self.client.rt.uptime();
        let limit = self.client.settings.hedge_after;
        let scheme = self.shape.scheme();
        let (len, least) = (hunt.len as u64, (scheme.parity() * hunt.len) as u64);
        let standing = hunt.standing(scheme.data());
        let mut free = self.fetchers.len() - hunt.asked.len();
        let mut more = 0;
        let other = self.other(hunt).and_then(|other| other.finish);
        for (shard, demand) in hunt.open.iter_mut().filter(|(_, demand)| !demand.is_hedged) {
            demand.note_progress(self.fetcher(*shard).progress(), now);
            let waited = now.saturating_sub(demand.asked);
            let stands = now.saturating_sub(demand.moved) >= limit;
            let is_late = standing.late_after(demand.expected, other).is_some_and(|after| waited >= after);
            if stands || (is_late && (demand.progress - demand.began) * 8 < len) {
                let wait = if is_late { waited } else { now.saturating_sub(demand.moved) };
                self.track(*shard).kept_waiting(now, wait);
            }
            let is_worth_it =
                is_late && other.unwrap_or_default() < waited && self.budget.allows(len * (more + 1), least);
            if free > 0 && (is_worth_it || stands) {
                (free, more) = (free - 1, more + 1);
                demand.is_hedged = true;
            }
            demand.retry = now + AGAIN;
        }
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
        if let FaultKind::Peer(_) = kind {
            self.track(shard).kept_waiting(self.client.rt.uptime(), self.client.settings.hedge_after);
        }
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
        let (node, address, index) = self.whom(shard);
        self.reporter.warn(Warning { code, node, address, shard: Some(index) });
    }

    /// What a window lacks. What is still under way may add to what was found, or to what is wrong.
    async fn too_few<F>(&self, hunt: Hunt, mut running: FuturesUnordered<F>) -> TooFew
    where
        F: Future<Output = (usize, Result<Fetched, Trouble>)>,
    {
        let Hunt { mut found, mut failed, .. } = hunt;
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
        let silent = self.fetchers.len() - found - failed.len();
        let hopeful = failed.values().filter(|kind| may_heal(kind)).count() + silent;
        let fault = |(shard, kind): (usize, FaultKind)| {
            let (node, address, index) = self.whom(shard);
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

impl Hunt {
    fn new(range: BlockRange, len: usize, shards: usize) -> Self {
        Self {
            range,
            len,
            held: vec![None; shards],
            found: 0,
            slowest: Duration::ZERO,
            open: BTreeMap::new(),
            asked: BTreeSet::new(),
            failed: BTreeMap::new(),
        }
    }

    fn ask(&mut self, choice: Choice, now: Duration, progress: u64) {
        self.asked.insert(choice.shard);
        let demand = Demand {
            asked: now,
            expected: choice.finish,
            began: progress,
            progress,
            moved: now,
            retry: now,
            is_hedged: false,
        };
        self.open.insert(choice.shard, demand);
    }

    fn found(&mut self, shard: usize, bytes: Vec<u8>, now: Duration) {
        debug_assert_eq!(bytes.len(), self.len, "blocks {:?}", self.range);
        if let Some(demand) = self.open.remove(&shard) {
            self.slowest = self.slowest.max(now.saturating_sub(demand.asked));
        }
        self.held[shard] = Some(bytes);
        self.found += 1;
    }

    fn standing(&self, needed: usize) -> Standing {
        Standing { needed, found: self.found, slowest: self.slowest }
    }
}

impl Demand {
    /// A slow link is no reason to ask another node for the same: one that stands still is.
    fn note_progress(&mut self, progress: u64, now: Duration) {
        if self.progress != progress {
            (self.progress, self.moved) = (progress, now);
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
