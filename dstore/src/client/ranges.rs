//! Several ranges of one file: what to fetch for all of them, and each one's bytes.
//!
//! Invariant: no stripe is fetched twice, and what comes back together is no larger than the memory setting.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt;

use super::content::Content;
use super::gather::Window;
use crate::error::{Error, Result};

/// Ranges of one call.
pub(super) const MAX_RANGES: usize = 65_536;
/// Stripes between two ranges that are fetched with them: one more block of each shard costs less than one more request.
const GAP: u64 = 1;
/// Windows under way when they are small.
const AT_ONCE: u64 = 64;

/// The bytes of each of `asked`, which count from the beginning of `within`.
pub(super) async fn fetch(content: &Content, within: &Range<u64>, asked: &[Range<u64>]) -> Result<Vec<Bytes>> {
    let wanted = clip(within, asked, content.client.settings.memory as u64)?;
    let limits = content.limits;
    let runs = merge(wanted.iter().filter(|range| !range.is_empty()).map(|range| content.segments(range)));
    let windows: Vec<Window> = runs.into_iter().flat_map(|run| limits.windows(run)).collect();
    let users = users(content, &windows, &wanted);
    let largest = windows.iter().map(|window| window.count).max().unwrap_or(1);
    let fits = (limits.ahead as u64 * limits.window / largest).min(AT_ONCE).max(limits.ahead as u64);
    let at_once = usize::try_from(fits).unwrap_or(limits.ahead);
    let mut buffers: Vec<Vec<u8>> = wanted.iter().map(|range| Vec::with_capacity(len(range))).collect();
    let mut opened = futures_util::stream::iter(windows)
        .map(|window| async move { (window.first, content.window(window).await) })
        .buffered(at_once);
    let total = wanted.iter().map(|range| len(range) as u64).sum();
    let mut done = 0;
    while let Some((first, opened)) = opened.next().await {
        let opened = opened?;
        for user in users.get(&first).into_iter().flatten() {
            for piece in opened.pieces(wanted[*user].clone()) {
                done += piece.len() as u64;
                buffers[*user].extend_from_slice(&piece);
            }
        }
        content.report(done, total);
    }
    Ok(buffers.into_iter().map(Bytes::from).collect())
}

fn len(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}

/// Where each of `asked` stands in the file; what lies outside of `within` is left out.
fn clip(within: &Range<u64>, asked: &[Range<u64>], memory: u64) -> Result<Vec<Range<u64>>> {
    if asked.len() > MAX_RANGES {
        let (size, limit) = (asked.len() as u64, MAX_RANGES as u64);
        return Err(Error::TooLarge { what: "the number of ranges of one get, or more,", size, limit });
    }
    let clip = |range: &Range<u64>| {
        let end = within.start.saturating_add(range.end).min(within.end);
        within.start.saturating_add(range.start).min(end)..end
    };
    let wanted: Vec<Range<u64>> = asked.iter().map(clip).collect();
    let size = wanted.iter().fold(0_u64, |sum, range| sum.saturating_add(range.end - range.start));
    if size > memory {
        let what = "the ranges of one get together (bytes; ask for fewer, or allow more memory)";
        return Err(Error::TooLarge { what, size, limit: memory });
    }
    Ok(wanted)
}

/// The segments of all ranges as runs in order: those that share a segment, touch, or nearly do, are one.
fn merge(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = ranges.collect();
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match runs.last_mut() {
            Some(run) if range.start <= run.end.saturating_add(GAP) => run.end = run.end.max(range.end),
            _ => runs.push(range),
        }
    }
    runs
}

/// By the first segment of each window, the ranges that take bytes of it.
fn users(content: &Content, windows: &[Window], wanted: &[Range<u64>]) -> BTreeMap<u64, Vec<usize>> {
    let mut users: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (user, range) in wanted.iter().enumerate().filter(|(_, range)| !range.is_empty()) {
        let segments = content.segments(range);
        let first = windows.partition_point(|window| window.first + window.count <= segments.start);
        for window in windows[first..].iter().take_while(|window| window.first < segments.end) {
            users.entry(window.first).or_default().push(user);
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_share_stripes_or_nearly_touch_are_fetched_together() {
        let merged = |ranges: &[Range<u64>]| merge(ranges.iter().cloned());
        assert_eq!(merged(&[]), []);
        assert_eq!(merged(&[7..9, 0..2, 1..3]), [0..3, 7..9]);
        assert_eq!(merged(&[0..1, 2..3, 5..6]), [0..3, 5..6], "one stripe between is no reason for a request");
        assert_eq!(merged(&[0..10, 2..3, 10..11, 20..21]), [0..11, 20..21]);
        assert_eq!(merged(&[0..1, u64::MAX - 1..u64::MAX]).len(), 2);
    }

    #[test]
    fn what_lies_outside_is_left_out_and_what_does_not_fit_is_refused() {
        let clipped = clip(&(100..200), &[0..10, 90..110, 300..400, 5..5, 0..u64::MAX], 1000).expect("it fits");
        assert_eq!(clipped, [100..110, 190..200, 200..200, 105..105, 100..200]);
        #[expect(clippy::reversed_empty_ranges, reason = "callers can get it wrong")]
        let reversed = clip(&(0..200), &[9..3, 1..2], 1000).expect("nothing");
        assert!(reversed[0].is_empty());
        let error = clip(&(0..200), &[0..60, 0..60], 100).expect_err("too much");
        assert!(matches!(error, Error::TooLarge { size: 120, limit: 100, .. }), "{error}");
        let error = clip(&(0..200), &vec![0..0; MAX_RANGES + 1], 100).expect_err("too many");
        assert_eq!(error.code(), "too_large");
    }
}
