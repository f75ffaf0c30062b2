//! The whole system as processes on this machine: times of puts and gets beside the limit of the same bytes.
//!
//! `cargo bench -p dstore-bench --bench system -- [--quick | --small] [--tmpfs | --disk]`

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dstore::Client;
use dstore_bench::limit::{self, Limit};
use dstore_bench::network::{self, NODES, Network};
use dstore_bench::table::{MIB, rate, ratio, size, time};
use dstore_bench::{median, sample};
use futures_lite::future::block_on;
use futures_util::StreamExt;

type Failure = Box<dyn std::error::Error>;

/// Bytes from which on a file is put from a file, and got into one too.
const FROM_FILE: u64 = 16 * MIB;
/// Bytes and runs.
const FULL: [(u64, usize); 4] = [(4 << 10, 30), (MIB, 10), (64 * MIB, 5), (1024 * MIB, 3)];
/// For work on latency.
const SMALL: [(u64, usize); 2] = [(4 << 10, 200), (MIB, 100)];
const QUICK: [(u64, usize); 4] = [(4 << 10, 10), (MIB, 5), (16 * MIB, 3), (128 * MIB, 1)];
/// What a client may grow by, and the small times that are aimed at.
const MEMORY_TARGET: u64 = 64 * MIB;
const SMALL_PUT: Duration = Duration::from_millis(15);
const SMALL_GET: Duration = Duration::from_millis(8);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match network::play_role(&arguments) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => run(&arguments),
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

fn run(arguments: &[String]) -> Result<(), Failure> {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let sizes: &[(u64, usize)] = match () {
        () if has("--small") => &SMALL,
        () if has("--quick") => &QUICK,
        () => &FULL,
    };
    let shared_memory = Path::new("/dev/shm");
    if !has("--disk") && shared_memory.is_dir() {
        measure("tmpfs", shared_memory, sizes)?;
    }
    if !has("--tmpfs") {
        measure("disk", Path::new(env!("CARGO_TARGET_TMPDIR")), sizes)?;
    }
    Ok(())
}

fn measure(name: &str, medium: &Path, sizes: &[(u64, usize)]) -> Result<(), Failure> {
    let limit = Limit::measure();
    print_limit(name, &limit);
    println!();
    println!("size     what   n      time   MB/s      CPU    limit  time/  CPU/    write");
    println!("                                                      limit  limit");
    for (bytes, runs) in sizes {
        let network = Network::start(medium)?;
        let bench = Bench::new(&network, *bytes)?;
        bench.once()?;
        let results = (0..*runs).map(|_| bench.once()).collect::<Result<Vec<_>, _>>()?;
        print_rows(*bytes, &results, &limit);
    }
    let (largest, _) = sizes.iter().max().ok_or("no sizes")?;
    print_memory(medium, *largest)
}

/// One put and its gets.
struct Run {
    put: Step,
    get: Step,
    save: Option<Step>,
}

/// Time and processor time of one operation, and the time in which its bytes can be written and synced.
#[derive(Clone, Copy)]
struct Step {
    time: Duration,
    processor: Duration,
    write: Option<Duration>,
}

struct Bench<'a> {
    network: &'a Network,
    client: Client,
    content: Vec<u8>,
    source: PathBuf,
    bytes: u64,
}

impl<'a> Bench<'a> {
    fn new(network: &'a Network, bytes: u64) -> Result<Self, Failure> {
        let source = network.dir().join("source");
        let content = if bytes < FROM_FILE { sample::bytes(usize::try_from(bytes)?) } else { Vec::new() };
        if bytes >= FROM_FILE {
            sample::write_file(&source, bytes)?;
        }
        Ok(Self { network, client: network.client()?, content, source, bytes })
    }

    /// Puts and gets, checks what came back, and removes it.
    fn once(&self) -> Result<Run, Failure> {
        let from_file = self.bytes >= FROM_FILE;
        let put = self.step(async {
            if from_file {
                self.client.upload(&self.source, "file").await?;
            } else {
                self.client.put("file", self.content.clone()).await?;
            }
            Ok(())
        })?;
        let stored = stored_bytes(self.bytes);
        let put = Step { write: from_file.then(|| self.write(stored, 2 * NODES)).transpose()?, ..put };
        let get = self.step(async {
            let mut stream = self.client.get("file").stream().await?;
            let mut len = 0;
            while let Some(piece) = stream.next().await {
                len += piece?.len() as u64;
            }
            if len == self.bytes { Ok(()) } else { Err("a get gave another length".into()) }
        })?;
        let save = if from_file {
            let target = self.network.dir().join("target");
            let step = self.step(async {
                self.client.get("file").save(&target).await?;
                Ok(())
            })?;
            if !sample::same_files(&self.source, &target)? {
                return Err("WRONG BYTES: what was saved is not what was put".into());
            }
            std::fs::remove_file(&target)?;
            Some(Step { write: Some(self.write(self.bytes, 1)?), ..step })
        } else {
            if block_on(self.client.get("file").bytes())? != self.content {
                return Err("WRONG BYTES: what came back is not what was put".into());
            }
            None
        };
        Ok(Run { put, get, save })
    }

    fn step(&self, work: impl Future<Output = Result<(), Failure>>) -> Result<Step, Failure> {
        let (started, before) = (Instant::now(), self.network.processor_time());
        block_on(work)?;
        let time = started.elapsed();
        let processor = self.network.processor_time().saturating_sub(before) / limit::cores();
        Ok(Step { time, processor, write: None })
    }

    /// Writes and syncs `bytes` as `files` files, one after another.
    fn write(&self, bytes: u64, files: usize) -> Result<Duration, Failure> {
        let piece = sample::bytes(1 << 20);
        let path = self.network.dir().join("written");
        let started = Instant::now();
        for _ in 0..files {
            let mut file = File::create(&path)?;
            for _ in 0..(bytes / files as u64).div_ceil(MIB) {
                file.write_all(&piece)?;
            }
            file.sync_all()?;
        }
        let time = started.elapsed();
        std::fs::remove_file(&path)?;
        Ok(time)
    }
}

fn stored_bytes(bytes: u64) -> u64 {
    bytes + bytes / 2
}

fn print_limit(name: &str, limit: &Limit) {
    println!("\n{name}: {NODES} nodes, {} cores; processor time for 1 GiB, each alone:", limit::cores());
    for (part, spent) in limit.parts() {
        println!("  {part:<24} {:>9}   {:>6} MB/s", time(spent), rate(1 << 30, spent));
    }
    println!("limit: the sum for a put or get of the bytes, divided by the cores");
    println!("CPU:   what client, nodes and registry used, divided by the cores");
    println!("write: the stored (put) or saved bytes written and synced alone");
}

fn print_rows(bytes: u64, runs: &[Run], limit: &Limit) {
    let put = middle(runs.iter().map(|run| run.put));
    let get = middle(runs.iter().map(|run| run.get));
    print_row(bytes, "put", runs.len(), put, limit.put(bytes));
    print_row(bytes, "get", runs.len(), get, limit.get(bytes));
    if runs.iter().any(|run| run.save.is_some()) {
        let save = middle(runs.iter().filter_map(|run| run.save));
        print_row(bytes, "save", runs.len(), save, limit.get(bytes));
    }
    if bytes == 4 << 10 {
        println!("         target: put {}, get {}", time(SMALL_PUT), time(SMALL_GET));
    }
}

fn middle(steps: impl Iterator<Item = Step> + Clone) -> Step {
    let writes: Vec<Duration> = steps.clone().filter_map(|step| step.write).collect();
    Step {
        time: median(steps.clone().map(|step| step.time).collect()),
        processor: median(steps.map(|step| step.processor).collect()),
        write: (!writes.is_empty()).then(|| median(writes)),
    }
}

fn print_row(bytes: u64, what: &str, runs: usize, step: Step, least: Duration) {
    // Processor time is counted in hundredths of a second: too coarse for little work.
    let counted = step.processor >= Duration::from_millis(100);
    // And little work takes as long as its messages do.
    let comparable = least >= Duration::from_millis(1);
    let only = |shown: bool, text: String| if shown { text } else { "-".to_owned() };
    println!(
        "{:<8} {what:<4} {runs:>3} {:>9} {:>6} {:>8} {:>8} {:>6} {:>6} {:>8}",
        size(bytes),
        time(step.time),
        rate(bytes, step.time),
        only(counted, time(step.processor)),
        time(least),
        only(comparable, ratio(step.time, least)),
        only(counted, ratio(step.processor, least)),
        step.write.map_or_else(|| "-".to_owned(), time),
    );
}

fn print_memory(medium: &Path, bytes: u64) -> Result<(), Failure> {
    let network = Network::start(medium)?;
    let source = network.dir().join("source");
    sample::write_file(&source, bytes)?;
    println!("memory of a client, limit {}:", size(MEMORY_TARGET));
    for what in ["put", "get"] {
        let grown = network.client_memory(what, &source)?;
        println!("  {what} of {} grows it by {} MiB", size(bytes), grown.div_ceil(MIB));
    }
    Ok(())
}
