//! `demo`: the main job on one machine: store a file on three nodes, lose one, get the file back, compare.

mod chain;

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dstore::config::{self, Key, LedgerKind, Origin};
use dstore::{Client, Committed, FilePath, LocalLedger, Owner, PutMode, Source};
use futures_util::TryStreamExt;

use self::chain::DemoChain;
use super::{get, put};
use crate::args;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::local_network::{LocalNetwork, Places};
use crate::output::{Channel, Output};
use crate::progress::Meter;
use crate::settings_file::create_folder;
use crate::shape;
use crate::table::{Align, table};
use crate::text;

/// The label of the demo's network.
const NETWORK: &str = "dstore demo";
/// The least that a put needs, so that losing one is the worst that can be survived.
const NODES: usize = 3;
/// Length of the file that is made when none is named.
const MADE_LEN: u64 = 64 << 20;
/// Bytes that are compared or made at a time.
const STEP: usize = 1 << 20;

/// Shows it, in a folder that is removed at the end unless `--keep` names it.
pub(crate) async fn run(context: &Context, args: args::Demo) -> Result {
    let given = args.file.as_deref().map(check_file).transpose()?;
    let keep = context.config.value(&Key::KEEP).map(|dir| PathBuf::from(dir.text()));
    let Some(dir) = keep else {
        let dir = tempfile::Builder::new().prefix("dstore-demo-").tempdir();
        let dir = dir.map_err(|error| Failure::io("cannot make a temporary folder", error))?;
        let shown = show(context, dir.path(), given, None).await;
        let removed = dir.close().map_err(|error| Failure::io("cannot remove the temporary folder", error));
        return shown.and(removed);
    };
    check_empty(&dir)?;
    create_folder(&dir)?;
    show(context, &dir, given, Some(&dir)).await
}

fn check_file(file: &Path) -> Result<PathBuf> {
    let failed = |error| Failure::io(format!("cannot read {}", file.display()), error);
    let metadata = fs::metadata(file).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Failure::usage(format!("{} is not a file", file.display())));
    }
    File::open(file).map_err(failed)?;
    Ok(file.to_owned())
}

fn check_empty(dir: &Path) -> Result {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io(format!("cannot use {}", dir.display()), error)),
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new("already_exists", format!("{} is not empty", dir.display()))
            .hint("name a folder that is empty or does not exist yet")),
    }
}

/// What the demo found out.
struct Outcome {
    name: String,
    size: u64,
    committed: Committed,
    stopped: usize,
    put: Duration,
    get: Duration,
    /// What the put has cost, wei.
    paid: u128,
}

/// The demo's file on its way out and back.
struct Transfers<'a> {
    out: &'a Output,
    client: Client,
    path: FilePath,
    size: u64,
}

impl Transfers<'_> {
    async fn store(&self, original: &Path) -> Result<(Committed, Duration)> {
        let Self { out, client, path, size } = self;
        let meter = Meter::start(out, "put", path.as_str(), Some(*size), Channel::None);
        let file = meter.file(path.as_str(), Some(*size));
        let committed = put::transfer(client, Source::file(original), path, PutMode::Create, file).await?;
        Ok((committed, meter.elapsed()))
    }

    async fn fetch(&self, to: &Path) -> Result<Duration> {
        let Self { out, client, path, size } = self;
        let meter = Meter::start(out, "get", path.as_str(), Some(*size), Channel::None);
        get::save(client, path, to, meter.file(path.as_str(), Some(*size))).await?;
        Ok(meter.elapsed())
    }
}

/// Tells people what happens.
fn say(out: &Output, text: &str) -> Result {
    if out.json || out.quiet { Ok(()) } else { out.line(text) }
}

/// What the demo runs on.
struct Stage {
    network: LocalNetwork,
    chain: Option<DemoChain>,
    owner: Owner,
}

impl Stage {
    async fn start(context: &Context, dir: &Path) -> Result<Self> {
        let out = &context.out;
        let is_on_chain = is_on_chain(context)?;
        say(
            out,
            match is_on_chain {
                true => "\n1. Start a chain with a contract for records, a registry and three nodes.\n",
                false => "\n1. Start a registry and three storage nodes, each with its own folder.\n",
            },
        )?;
        let owner = new_owner(dir)?;
        let chain = if is_on_chain { Some(DemoChain::start(dir, &owner).await?) } else { None };
        let network = LocalNetwork::start(dir, &Places::free(NODES), NETWORK).await?;
        for line in chain.iter().flat_map(DemoChain::lines).chain(network_lines(&network)) {
            say(out, &line)?;
        }
        Ok(Self { network, chain, owner })
    }

    /// A client that knows nothing but what `dir` and the chain have.
    async fn client(&self, dir: &Path) -> Result<Client> {
        let registry = self.network.registry.registry_address();
        let client = Client::builder().registry(registry).owner(self.owner.clone()).network(NETWORK);
        let client = match &self.chain {
            Some(chain) => client.ledger(chain.ledger(&self.owner)),
            None => client.ledger(LocalLedger::open(dir.join("client").join(config::LEDGER_FILE))?),
        };
        Ok(client.connect().await?)
    }

    /// What the owner has paid so far, wei.
    async fn paid(&self) -> Result<u128> {
        match &self.chain {
            Some(chain) => chain.paid().await,
            None => Ok(0),
        }
    }

    /// Begins the way back. On a chain, with nothing but the key.
    async fn forget(&self, dir: &Path, file: &mut Transfers<'_>) -> Result {
        let remaining = text::count(NODES - 1, "node");
        if self.chain.is_none() {
            return say(file.out, &format!("\n4. Get the file back from the {remaining} that are left."));
        }
        say(file.out, "\n4. Forget everything but the key. Find the file on the chain, and get it back")?;
        say(file.out, &format!("   from the {remaining} that are left."))?;
        file.client.clone().close().await;
        file.client = self.client(dir).await?;
        let found: Vec<_> = file.client.list("").try_collect().await?;
        match found.iter().any(|head| head.path == file.path) {
            true => Ok(()),
            false => Err(Failure::new("not_found", "the chain does not list the file that was stored")),
        }
    }
}

async fn show(context: &Context, dir: &Path, given: Option<PathBuf>, keep: Option<&Path>) -> Result {
    let out = &context.out;
    let say = |text: &str| say(out, text);
    let original = match given {
        Some(file) => file,
        None => make_file(dir)?,
    };
    let name = put::name_of(&original)?;
    let path = FilePath::new(name.as_str())?;
    let size = fs::metadata(&original).map_err(|error| Failure::io("cannot read the file", error))?.len();
    say(&format!("Keeping {} ({}) on disks that could be anybody's.", text::harmless(&name), text::size(size)))?;

    let mut stage = Stage::start(context, dir).await?;

    say("\n2. Encrypt it and store it as 6 shards. Any 4 of them are enough to read it.\n")?;
    let before = stage.paid().await?;
    let mut file = Transfers { out, client: stage.client(dir).await?, path, size };
    let (committed, put) = file.store(&original).await?;
    for line in shard_lines(&stage.network, &committed) {
        say(&line)?;
    }
    say(&format!("\n   Stored {}.", text::amount(size, put)))?;
    say(&format!("   On the nodes' disks: {}, spare shards included.", text::size(committed.stored)))?;
    let paid = stage.paid().await?.saturating_sub(before);
    if stage.chain.is_some() {
        say(&format!("   On the chain: its sealed record, for {} at the fees there.", text::ether(paid)))?;
    }

    let first = committed.head.shards.first().map(|shard| shard.node);
    let stopped = stage.network.nodes.iter().position(|node| node.as_ref().map(|node| node.id()) == first).unwrap_or(0);
    let lost = committed.head.shards.iter().filter(|shard| Some(shard.node) == first);
    let lost: Vec<_> = lost.map(|shard| shard.index.to_string()).collect();
    say(&format!("\n3. Stop node {}. Shards {} are gone with it.", stopped + 1, lost.join(" and ")))?;
    // Dropped, not shut down: a node that fails does not say goodbye.
    drop(stage.network.nodes[stopped].take());

    stage.forget(dir, &mut file).await?;
    let back = dir.join("back");
    create_folder(&back)?;
    let back = back.join(&name);
    let get = file.fetch(&back).await?;
    say(&format!("\n   Got {}.", text::amount(size, get)))?;

    say("\n5. Compare it with the original, byte by byte.\n")?;
    let compared = compare(&original, &back)?;
    let outcome = Outcome { name, size, committed, stopped, put, get, paid };
    file.client.close().await;
    let document = out.json.then(|| document(&outcome, &stage, compared.is_none()));
    stage.network.shutdown().await;
    drop(stage.chain);
    if let Some(document) = document {
        out.document(&document)?;
    }
    if let Some(offset) = compared {
        return Err(Failure::new("integrity", format!("what came back differs from the original at byte {offset}")));
    }
    let all = if size == 0 { "both are empty".to_owned() } else { format!("all {} bytes", text::grouped(size)) };
    say(&format!("   Identical: {all}. The file survived the loss of a node."))?;
    match keep {
        Some(dir) => say(&format!("\nEverything is left in {}", dir.display())),
        None => say("\nThe demo's nodes and files have been removed."),
    }
}

fn make_file(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("random.bin");
    let made = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create_new(&path)?);
        let mut step = vec![0; STEP];
        for _ in 0..MADE_LEN / STEP as u64 {
            getrandom::fill(&mut step).map_err(|error| io::Error::other(error.to_string()))?;
            file.write_all(&step)?;
        }
        file.flush()
    };
    made().map_err(|error| Failure::io(format!("cannot make {}", path.display()), error))?;
    Ok(path)
}

/// What the command line asks for. A ledger that a file or a variable names is that of the user's own files.
fn is_on_chain(context: &Context) -> Result<bool> {
    let asked = context.config.value(&Key::LEDGER).is_some_and(|ledger| ledger.origin == Origin::Flag);
    Ok(asked && context.ledger_kind()? == LedgerKind::Ethereum)
}

fn new_owner(dir: &Path) -> Result<Owner> {
    let dir = dir.join("client");
    create_folder(&dir)?;
    Ok(Owner::create(dir.join(config::OWNER_FILE))?)
}

fn network_lines(network: &LocalNetwork) -> Vec<String> {
    let registry = format!("   registry   {}", network.registry.address());
    let nodes = network.nodes.iter().flatten().zip(1..);
    std::iter::once(registry).chain(nodes.map(|(node, i)| format!("   node {i}     {}", node.address()))).collect()
}

fn shard_lines(network: &LocalNetwork, committed: &Committed) -> Vec<String> {
    let scheme = committed.head.scheme;
    let row = |shard: &dstore::ShardHome| {
        let node = network.nodes.iter().flatten().position(|node| node.id() == shard.node);
        [
            shard.index.to_string(),
            if usize::from(shard.index) < scheme.data() { "data".to_owned() } else { "spare".to_owned() },
            node.map_or_else(|| shard.node.short(), |node| format!("node {}", node + 1)),
            shard.address.clone(),
            text::grouped(shard.bytes),
        ]
    };
    let rows: Vec<_> = committed.head.shards.iter().map(row).collect();
    let columns = [
        ("shard", Align::Left),
        ("kind", Align::Left),
        ("on", Align::Left),
        ("address", Align::Left),
        ("bytes", Align::Right),
    ];
    table(3, columns, &rows)
}

/// Where two files begin to differ; `None` when they are the same.
fn compare(a: &Path, b: &Path) -> Result<Option<u64>> {
    let open =
        |path: &Path| File::open(path).map_err(|error| Failure::io(format!("cannot read {}", path.display()), error));
    let (mut a_file, mut b_file) = (open(a)?, open(b)?);
    let (mut a_step, mut b_step) = (vec![0; STEP], vec![0; STEP]);
    let mut offset = 0;
    loop {
        let read = |file: &mut File, step: &mut [u8]| {
            read_full(file, step).map_err(|error| Failure::io("cannot compare the files", error))
        };
        let (a_len, b_len) = (read(&mut a_file, &mut a_step)?, read(&mut b_file, &mut b_step)?);
        let same = a_step[..a_len].iter().zip(&b_step[..b_len]).take_while(|(a, b)| a == b).count();
        offset += same as u64;
        if same < a_len.max(b_len) {
            return Ok(Some(offset));
        }
        if a_len == 0 {
            return Ok(None);
        }
    }
}

/// Fills `step` unless the file ends before.
fn read_full(file: &mut File, step: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < step.len() {
        match file.read(&mut step[len..])? {
            0 => break,
            more => len += more,
        }
    }
    Ok(len)
}

fn document(outcome: &Outcome, stage: &Stage, identical: bool) -> shape::Demo {
    let head = &outcome.committed.head;
    let shard = |shard: &dstore::ShardHome| shape::DemoShard {
        index: shard.index,
        node: shard.node.to_string(),
        address: shard.address.clone(),
        bytes: shard.bytes,
    };
    debug_assert!(stage.network.nodes[outcome.stopped].is_none());
    shape::Demo {
        schema: "dstore.demo/1",
        file: outcome.name.clone(),
        size: outcome.size,
        contract: stage.chain.as_ref().map(|chain| format!("0x{}", chain.contract())),
        wei: stage.chain.as_ref().map(|_| outcome.paid.to_string()),
        stored: outcome.committed.stored,
        shards: head.shards.iter().map(shard).collect(),
        stopped: head.shards.first().map(|shard| shard.node.to_string()).unwrap_or_default(),
        put_seconds: outcome.put.as_secs_f64(),
        get_seconds: outcome.get.as_secs_f64(),
        identical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_compared_to_their_ends() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).expect("written");
            path
        };
        let long = vec![7; STEP + 3];
        let mut other = long.clone();
        other[STEP + 1] = 8;
        let (a, same, flipped) = (file("a", &long), file("b", &long), file("c", &other));
        let (shorter, empty) = (file("d", &long[..STEP]), file("e", &[]));
        assert_eq!(compare(&a, &same).expect("readable"), None);
        assert_eq!(compare(&a, &flipped).expect("readable"), Some(STEP as u64 + 1));
        assert_eq!(compare(&a, &shorter).expect("readable"), Some(STEP as u64));
        assert_eq!(compare(&shorter, &a).expect("readable"), Some(STEP as u64));
        assert_eq!(compare(&empty, &a).expect("readable"), Some(0));
        assert_eq!(compare(&empty, &empty).expect("readable"), None);
    }

    #[test]
    fn a_folder_that_holds_something_is_not_used() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(check_empty(dir.path()).is_ok());
        assert!(check_empty(&dir.path().join("new")).is_ok());
        fs::write(dir.path().join("a"), "").expect("written");
        assert_eq!(check_empty(dir.path()).expect_err("refused").code, "already_exists");
    }
}
