//! What the benchmarks share: sample data, processor time, the limit of the hardware, and a network of processes.

pub mod attacker;
pub mod limit;
pub mod network;
pub mod sample;
pub mod table;
pub mod usage;

use std::time::Duration;

/// The middle one of `times`; zero when there are none.
#[must_use]
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
