//! How fast each node answers, as all gets of a client have measured it together.
//!
//! Invariant: only sums over times and bytes that are handed in, so that a test can play any network.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::id::NodeId;

/// Nodes that are remembered; at more, those that no get uses are forgotten.
const REMEMBERED: usize = 2048;
/// After this long without a measurement one get tries a node again as if nothing were known: it may have healed.
const DOUBT: Duration = Duration::from_secs(5);
/// A rate is one after so many bytes, or so long.
const SAMPLE: u64 = 128 * 1024;
const SAMPLE_TIME: Duration = Duration::from_millis(100);
/// What came before so many bytes counts half.
const HISTORY: u64 = 8 << 20;
/// From this rate on, bytes per second, it is not the node that holds up a get but this machine.
const FAST: u64 = 128 << 20;
/// Waits of one latency that a new connection costs: to connect, and to shake hands.
const RECONNECT: u32 = 4;

/// The nodes of one client.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<HashMap<NodeId, Arc<Track>>>);

impl Pace {
    /// What is known of `node`, and where more is noted.
    pub(super) fn track(&self, node: NodeId) -> Arc<Track> {
        let mut tracks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tracks.len() >= REMEMBERED {
            tracks.retain(|_, track| Arc::strong_count(track) > 1);
        }
        tracks.entry(node).or_default().clone()
    }
}

/// One node. Times are of [`Rt::uptime`](crate::rt::Rt).
#[derive(Debug, Default)]
pub(super) struct Track(Mutex<Measured>);

#[derive(Debug, Default)]
struct Measured {
    latency: Option<Duration>,
    /// When it was last measured, or doubted.
    at: Duration,
    /// What is known is old: the next measurement counts alone.
    doubted: bool,
    /// Bytes that were asked for and have not come.
    queued: u64,
    /// Bodies that are arriving.
    bodies: usize,
    /// When a byte last came, while bodies were arriving.
    last: Duration,
    /// Bytes that came, and the time in which they did, the newest ones counted most.
    bytes: u64,
    busy: Duration,
}

impl Measured {
    fn rate(&self) -> Option<u64> {
        if self.busy.is_zero() || (self.bytes < SAMPLE && self.busy < SAMPLE_TIME) {
            return None;
        }
        let rate = u128::from(self.bytes) * 1_000_000_000 / self.busy.as_nanos();
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

/// What is expected of a node. `None`: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Estimate {
    /// From a request to the first byte of its answer.
    pub(super) latency: Option<Duration>,
    /// Bytes per second, of all links together.
    pub(super) rate: Option<u64>,
    /// Bytes that it was asked for and has not sent.
    pub(super) queued: u64,
}

impl Estimate {
    /// How long `len` bytes take when they move; nothing when the rate is not known, or no concern.
    pub(super) fn transfer(&self, len: u64) -> Duration {
        self.rate.filter(|rate| *rate < FAST).map_or(Duration::ZERO, |rate| {
            let nanos = u128::from(len) * 1_000_000_000 / u128::from(rate.max(1));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        })
    }

    /// Whether `left` bytes that nobody wants come sooner than a new connection.
    pub(super) fn is_worth_draining(&self, left: u64) -> bool {
        let is_quick = self.rate.is_some() || left < SAMPLE;
        is_quick && self.latency.is_some_and(|latency| self.transfer(left) <= latency * RECONNECT)
    }
}

impl Track {
    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to expect at `now`. When all is old, one caller learns nothing and so tries the node, and others wait for what that shows.
    pub(super) fn estimate(&self, now: Duration) -> Estimate {
        let mut measured = self.measured();
        let queued = measured.queued;
        if measured.latency.is_some() && now.saturating_sub(measured.at) > DOUBT {
            (measured.at, measured.doubted) = (now, true);
            return Estimate { latency: None, rate: None, queued };
        }
        Estimate { latency: measured.latency, rate: measured.rate(), queued }
    }

    /// As [`Track::estimate`], by one who does not ask the node for more.
    pub(super) fn known(&self) -> Estimate {
        let measured = self.measured();
        Estimate { latency: measured.latency, rate: measured.rate(), queued: measured.queued }
    }

    /// The first byte of an answer came `latency` after its request.
    pub(super) fn answered(&self, now: Duration, latency: Duration) {
        let mut measured = self.measured();
        measured.latency = Some(match measured.latency {
            Some(known) if !measured.doubted => (known * 3 + latency) / 4,
            _ => latency,
        });
        (measured.at, measured.doubted) = (now, false);
    }

    /// The first byte of an answer came `latency` after its request, and behind those of others: the way takes no longer.
    pub(super) fn answered_behind_others(&self, latency: Duration) {
        let mut measured = self.measured();
        measured.latency = measured.latency.map(|known| known.min(latency));
    }

    /// No answer came within `wait`.
    pub(super) fn kept_waiting(&self, now: Duration, wait: Duration) {
        let mut measured = self.measured();
        measured.latency = Some(measured.latency.map_or(wait, |known| known.max(wait)));
        (measured.at, measured.doubted) = (now, false);
    }

    /// A body begins to arrive, until what is returned is dropped.
    pub(super) fn body(self: &Arc<Self>, now: Duration) -> Arriving {
        let mut measured = self.measured();
        if measured.bodies == 0 {
            measured.last = now;
        }
        measured.bodies += 1;
        Arriving(self.clone())
    }
}

/// A body that is arriving.
#[derive(Debug)]
pub(super) struct Arriving(Arc<Track>);

impl Arriving {
    /// The next `len` bytes are there.
    pub(super) fn add(&self, now: Duration, len: u64) {
        let mut measured = self.0.measured();
        let since = now.saturating_sub(measured.last);
        measured.busy += since;
        measured.last = now;
        measured.bytes += len;
        measured.at = now;
        if measured.bytes > HISTORY {
            (measured.bytes, measured.busy) = (measured.bytes / 2, measured.busy / 2);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.measured().bodies -= 1;
    }
}

/// Bytes that are to come from a node: they count in its queue and in the get's budget until they are there, or given up.
#[derive(Debug)]
pub(super) struct Load {
    track: Arc<Track>,
    budget: Arc<Budget>,
    left: u64,
}

impl Load {
    pub(super) fn new(track: &Arc<Track>, budget: &Arc<Budget>, len: u64) -> Self {
        track.measured().queued += len;
        budget.sums().taken += len;
        Self { track: track.clone(), budget: budget.clone(), left: len }
    }

    /// Bytes that have not come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next `len` bytes are there.
    pub(super) fn arrived(&mut self, len: u64) {
        let len = len.min(self.left);
        self.left -= len;
        self.track.measured().queued -= len;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.track.measured().queued -= self.left;
        self.budget.sums().taken -= self.left;
    }
}

/// What a get may ask for beyond what it needs: a quarter, so that hedging never doubles the load.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    needed: u64,
    /// Bytes that came or may still come.
    taken: u64,
}

impl Budget {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many more bytes are needed.
    pub(super) fn need(&self, len: u64) {
        self.sums().needed += len;
    }

    /// Whether `len` bytes more may be asked for; up to `least` they always may.
    pub(super) fn allows(&self, len: u64, least: u64) -> bool {
        let sums = self.sums();
        sums.taken + len <= sums.needed + least.max(sums.needed / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_one_get_measured_the_next_one_knows() {
        let pace = Pace::default();
        let node = NodeId::new([1; 20]);
        pace.track(node).answered(ms(50), ms(40));
        assert_eq!(pace.track(node).estimate(ms(60)).latency, Some(ms(40)));
        assert_eq!(pace.track(NodeId::new([2; 20])).estimate(ms(60)).latency, None);
    }

    #[test]
    fn a_rate_counts_the_time_in_which_bodies_arrive_and_no_other() {
        let track = Arc::<Track>::default();
        for start in [0, 10_000, 20_000] {
            let body = track.body(ms(start));
            for part in 1..=4 {
                body.add(ms(start + 10 * part), 100_000);
            }
        }
        assert_eq!(track.known().rate, Some(10_000_000));
    }

    #[test]
    fn the_rate_of_a_node_is_that_of_its_links_together() {
        let track = Arc::<Track>::default();
        let links = [track.body(ms(0)), track.body(ms(0))];
        for part in 1..=8 {
            links[part % 2].add(ms(10 * part as u64), 100_000);
        }
        assert_eq!(track.known().rate, Some(10_000_000));
    }

    #[test]
    fn a_node_that_was_slow_is_tried_by_one_get_after_a_while_and_believed_at_once() {
        let track = Arc::<Track>::default();
        track.answered(ms(0), ms(20));
        track.kept_waiting(ms(100), ms(900));
        assert_eq!(track.estimate(ms(200)).latency, Some(ms(900)));
        let later = ms(200) + DOUBT;
        assert_eq!(track.estimate(later).latency, None, "one tries");
        assert_eq!(track.estimate(later).latency, Some(ms(900)), "others do not, meanwhile");
        track.answered(later, ms(30));
        assert_eq!(track.estimate(later).latency, Some(ms(30)));
    }

    #[test]
    fn a_node_that_drips_is_known_by_it() {
        let track = Arc::<Track>::default();
        let body = track.body(ms(0));
        (1..=20).for_each(|at| body.add(ms(at * 5), 1));
        assert_eq!(track.known().rate, Some(200));
    }

    #[test]
    fn a_burst_after_a_hiccup_does_not_make_a_node_fast() {
        let track = Arc::<Track>::default();
        let body = track.body(ms(0));
        (1..=100).for_each(|at| body.add(ms(at * 10), 100_000));
        body.add(ms(1100), 1000);
        (1..=10).for_each(|_| body.add(ms(1101), 100_000));
        let rate = track.known().rate.expect("measured");
        assert!((9_000_000..11_000_000).contains(&rate), "{rate}");
    }

    #[test]
    fn an_answer_that_came_sooner_than_a_node_was_thought_to_take_corrects_that() {
        let track = Arc::<Track>::default();
        track.kept_waiting(ms(500), ms(500));
        track.answered_behind_others(ms(60));
        assert_eq!(track.known().latency, Some(ms(60)));
        track.answered_behind_others(ms(300));
        assert_eq!(track.known().latency, Some(ms(60)), "the others took their time, not the way");
    }

    #[test]
    fn what_is_given_up_leaves_the_queue_and_the_budget() {
        let (track, budget) = (Arc::<Track>::default(), Arc::<Budget>::default());
        budget.need(1000);
        let mut load = Load::new(&track, &budget, 1000);
        assert!(budget.allows(250, 0) && !budget.allows(251, 0) && budget.allows(300, 300));
        load.arrived(400);
        assert_eq!(track.known().queued, 600);
        assert!(!budget.allows(251, 0), "what came counts");
        drop(load);
        assert_eq!(track.known().queued, 0);
        assert!(budget.allows(850, 0) && !budget.allows(851, 0), "what never came does not");
    }

    #[test]
    fn what_nobody_wants_is_waited_for_only_when_a_new_connection_would_take_longer() {
        let far = Estimate { latency: Some(ms(300)), rate: Some(12_500_000), queued: 0 };
        assert!(far.is_worth_draining(4 << 20) && !far.is_worth_draining(64 << 20));
        let near = Estimate { latency: Some(ms(1)), rate: Some(12_500_000), queued: 0 };
        assert!(near.is_worth_draining(16 << 10) && !near.is_worth_draining(1 << 20));
        let unknown = Estimate { rate: None, ..near };
        assert!(unknown.is_worth_draining(16 << 10) && !unknown.is_worth_draining(1 << 20));
        assert!(!Estimate::default().is_worth_draining(1), "nothing is known");
    }

    #[test]
    fn the_memory_of_nodes_is_bounded() {
        let pace = Pace::default();
        let kept = pace.track(NodeId::new([9; 20]));
        for number in 0..5000_u32 {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&number.to_be_bytes());
            pace.track(NodeId::new(id)).answered(ms(1), ms(1));
        }
        kept.answered(ms(1), ms(7));
        assert_eq!(pace.track(NodeId::new([9; 20])).known().latency, Some(ms(7)), "one that is in use stays");
        assert!(pace.0.lock().expect("no panic").len() <= REMEMBERED);
    }
}
