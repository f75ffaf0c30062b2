//! What honest clients notice of a peer that attacks one of three nodes: times of puts and gets without it and with it.
//!
//! `cargo bench -p dstore-bench --bench hostile [-- --quick]`

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dstore::ServerIdentity;
use dstore::keys::network_id;
use dstore::noise::{Expected, Role};
use dstore::rt::Rt;
use dstore_bench::attacker::Attack;
use dstore_bench::network::{self, Network};
use dstore_bench::sample;
use futures_lite::future::block_on;

type Failure = Box<dyn std::error::Error>;

const LEN: usize = 64 << 10;
const ATTEMPTS: usize = 10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match network::play_role(&arguments) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => run(arguments.iter().any(|argument| argument == "--quick")),
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The times of puts and of gets.
#[derive(Default)]
struct Times {
    puts: Vec<Duration>,
    gets: Vec<Duration>,
}

impl Times {
    /// One put and one get, every fourth time by a client that has no connection yet.
    fn once(&mut self, network: &Network, kept: &dstore::Client, number: usize) -> Result<(), Failure> {
        let fresh = if number.is_multiple_of(4) { Some(network.client()?) } else { None };
        let client = fresh.as_ref().unwrap_or(kept);
        let content = sample::bytes(LEN);
        let started = Instant::now();
        block_on(client.put("hostile", content.clone()).into_future())?;
        self.puts.push(started.elapsed());
        let started = Instant::now();
        let back = block_on(client.get("hostile").bytes())?;
        self.gets.push(started.elapsed());
        if back[..] == content[..] { Ok(()) } else { Err("other bytes came back".into()) }
    }
}

fn run(quick: bool) -> Result<(), Failure> {
    let network = Network::start(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let client = network.client()?;
    let (target, folder) = network.node(0)?;
    let identity = ServerIdentity::open_or_create(folder.join("identity.key"), &Rt::default())?;
    let label = network_id("dstore");
    let expected = Expected { id: identity.id(), noise_key: identity.noise_key(), role: Role::Node, network: label };
    let (mut alone, mut attacked) = (Times::default(), Times::default());
    for number in 0..20 {
        Times::default().once(&network, &client, number)?;
    }
    for number in 0..if quick { 50 } else { 300 } {
        alone.once(&network, &client, number)?;
    }
    let (before, attack) = (network.node_memory(0), Attack::start(target, expected, ATTEMPTS));
    let started = Instant::now();
    let mut number = 0;
    while !attack.is_over() {
        attacked.once(&network, &client, number)?;
        number += 1;
    }
    let took = started.elapsed();
    let tally = attack.finish();
    println!("{ATTEMPTS} connections of one peer in {:.1} s: {tally:?}", took.as_secs_f64());
    println!("the node's memory grew by {} KiB", network.node_memory(0).1.saturating_sub(before.0) >> 10);
    println!("what   n alone/attacked    p50 alone  attacked  ratio    p99 alone  attacked  ratio");
    for (what, alone, attacked) in [("put", alone.puts, attacked.puts), ("get", alone.gets, attacked.gets)] {
        print!("{what}    {:>5} /{:>5}    ", alone.len(), attacked.len());
        for percent in [50, 99] {
            let (one, other) = (percentile(&alone, percent), percentile(&attacked, percent));
            let ratio = other.as_secs_f64() / one.as_secs_f64();
            print!("    {:>6.2} ms {:>6.2} ms {ratio:>6.2}", one.as_secs_f64() * 1e3, other.as_secs_f64() * 1e3);
        }
        println!();
    }
    Ok(())
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}
