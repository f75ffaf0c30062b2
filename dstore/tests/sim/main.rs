//! What the whole network promises when things go wrong, at many seeds of a simulation.
//!
//! `DSTORE_SIM_SEEDS=10000` runs so many seeds of each property, and `DSTORE_SIM_SEED=7` that one alone, telling what happens.

mod chain;
mod fault;
mod kit;
mod leftover;
mod loss;
mod model;
mod pace;
mod recovery;
mod registry;
mod restart;
mod schedule;
mod writers;

use std::ops::Range;

use dstore::testing::SimNet;

/// Runs `property` at `count` seeds, or at those that the environment asks for.
fn at_seeds(count: u64, property: impl Fn(u64)) {
    for seed in seeds(count) {
        let told = Told(seed);
        property(seed);
        drop(told);
    }
}

fn seeds(count: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    match number("DSTORE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DSTORE_SIM_SEEDS").unwrap_or(count),
    }
}

/// Says how to see a failure again.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}: run the same test again with DSTORE_SIM_SEED={0}", self.0);
        }
    }
}

/// Tells what happens, when one seed is looked at.
fn tell(net: &SimNet, what: impl std::fmt::Debug) {
    if std::env::var_os("DSTORE_SIM_SEED").is_some() {
        eprintln!("step {:>6}, {:>12?}: {what:?}", net.steps(), net.elapsed());
    }
}

/// Bytes that differ for every number, of a length of their own.
fn content(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// About `count` of the steps, evenly; all of them when many seeds are asked for.
fn every(steps: Range<u64>, count: u64) -> impl Iterator<Item = u64> {
    let all = std::env::var_os("DSTORE_SIM_SEEDS").is_some();
    let stride = if all { 1 } else { ((steps.end - steps.start) / count).max(1) };
    (steps.start..=steps.end).step_by(usize::try_from(stride).expect("small"))
}
