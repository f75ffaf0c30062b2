//! `put`: stores a file, a folder, or what comes from standard input.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blocking::Unblock;
use clap::ValueEnum;
use dstore::config::Key;
use dstore::{Client, Committed, Error, FilePath, PutMode, Source};

use super::{folder, preview};
use crate::args::{Mode, Put};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::Channel;
use crate::progress::{FileMeter, Meter};
use crate::shape::ResultEvent;
use crate::text;

/// Stores what was named.
pub(crate) async fn run(context: &Context, args: Put) -> Result {
    let mode = mode(context)?;
    if args.src == Path::new("-") && args.dry_run {
        return Err(Failure::usage("standard input is read once: --dry-run is for files and folders"));
    }
    if args.src == Path::new("-") {
        let path = args.path.ok_or_else(|| {
            Failure::usage("standard input has no name: say where to store it").hint("dstore-cli put - PATH")
        })?;
        let path = FilePath::new(path)?;
        if stdin_is_closed() {
            return Err(Failure::usage("standard input is closed: there is nothing to store")
                .hint("to store an empty file: dstore-cli put - PATH </dev/null"));
        }
        return one(context, Source::reader(Unblock::new(io::stdin())), path, None, mode).await;
    }
    // In a thread of its own: a disk that hangs must not keep a signal from ending us.
    let src = args.src.clone();
    let metadata = blocking::unblock(move || fs::metadata(src)).await.map_err(|error| unreadable(&args.src, error))?;
    if metadata.is_dir() {
        if matches!(mode, PutMode::Update(_)) {
            return Err(Failure::usage("a folder has no version: --if-version and --mode update are for one file"));
        }
        if args.dry_run {
            return preview::folder(context, &args.src, args.path, mode).await;
        }
        return folder::put(context, &args.src, args.path, mode).await;
    }
    if !metadata.is_file() {
        // Opening a pipe waits for its writer, and reading a device may never end.
        let src = args.src.display().to_string();
        return Err(Failure::usage(format!("{} is no regular file", text::harmless(&src)))
            .hint(format!("cat {} | dstore-cli put - PATH", text::shell_quoted(&src))));
    }
    let path = FilePath::new(match args.path {
        Some(path) => path,
        None => name_of(&args.src)?,
    })?;
    if args.dry_run {
        return preview::file(context, Source::file(&args.src), path, mode).await;
    }
    one(context, Source::file(&args.src), path, Some(metadata.len()).filter(known), mode).await
}

async fn one(context: &Context, source: Source, path: FilePath, total: Option<u64>, mode: PutMode) -> Result {
    let client = context.storing_client().await?;
    let out = &context.out;
    let meter = Meter::start(out, "put", path.as_str(), total, Channel::Out);
    let committed = transfer(&client, source, &path, mode, meter.file(path.as_str(), total)).await?;
    let elapsed = meter.elapsed();
    drop(meter);
    if out.json {
        out.event(Channel::Out, &ResultEvent::put(&committed, elapsed.as_secs_f64()));
    }
    let head = &committed.head;
    let (name, amount) = (text::harmless(path.as_str()), text::amount(head.size, elapsed));
    let nodes = text::count(node_count(&committed), "node");
    let resumed = match committed.resumed {
        0 => String::new(),
        held => format!(" ({} % of it was there already)", held.saturating_mul(100) / committed.stored.max(1)),
    };
    out.note(&format!("stored {name}: version {}, {amount}, on {nodes}{resumed}", head.version));
    Ok(())
}

/// One put, followed by `meter`.
pub(super) async fn transfer(
    client: &Client,
    source: Source,
    path: &FilePath,
    mode: PutMode,
    meter: FileMeter,
) -> Result<Committed> {
    let warned = meter.clone();
    let put = client.put(path.as_str(), source).mode(mode);
    let put = put.progress(move |progress| meter.progress(progress)).warnings(move |warning| warned.warning(&warning));
    outcome(put.await, mode)
}

/// What became of a put or a copy, or of a look at what one would do.
pub(super) fn outcome<T>(ended: dstore::Result<T>, mode: PutMode) -> Result<T> {
    match (ended, mode) {
        // The user named the version: nobody need have been faster.
        (Err(Error::VersionConflict { path, actual, .. }), PutMode::Update(named)) => {
            Err(Failure::new("version_conflict", format!("{path:?} is at version {actual}, not at {named}"))
                .hint(format!("nothing was changed; to replace what is there: --if-version {actual}")))
        }
        (ended, _) => Ok(ended?),
    }
}

fn node_count(committed: &Committed) -> usize {
    let mut nodes: Vec<_> = committed.head.shards.iter().map(|shard| shard.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.len()
}

/// Files of `/proc` and the like say that they have no bytes, and do have some.
pub(super) fn known(len: &u64) -> bool {
    *len > 0
}

/// Whether there was no standard input when this process began. The runtime has put `/dev/null` in its place, for
/// reading and writing; who names `/dev/null` as an input opens it for reading.
fn stdin_is_closed() -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};
    let stdin = io::stdin();
    let writable = fcntl_getfl(&stdin).is_ok_and(|flags| flags.contains(OFlags::RDWR));
    let device = fstat(&stdin).map(|found| found.st_rdev);
    writable && device.is_ok_and(|device| device != 0 && stat("/dev/null").is_ok_and(|null| null.st_rdev == device))
}

pub(super) fn mode(context: &Context) -> Result<PutMode> {
    let config = &context.config;
    let version = config.parsed(&Key::IF_VERSION, str::parse::<u32>)?;
    let named = config.value(&Key::MODE).filter(|mode| mode.origin != dstore::config::Origin::Default);
    let mode = config.parsed(&Key::MODE, |text| Mode::from_str(text, false))?;
    match (mode, version) {
        (Some(Mode::Update), Some(version)) => Ok(PutMode::Update(version)),
        (_, Some(version)) if named.is_none() => Ok(PutMode::Update(version)),
        (_, Some(_)) => Err(Failure::usage("--if-version goes with --mode update, and with no other")),
        (Some(Mode::Update), None) => Err(Failure::usage("--mode update needs --if-version N: the version to replace")),
        (Some(Mode::Create), None) => Ok(PutMode::Create),
        (Some(Mode::Overwrite) | None, None) => Ok(PutMode::Overwrite),
    }
}

/// The last part of a local name.
pub(super) fn name_of(src: &Path) -> Result<String> {
    let name = src.file_name().map(PathBuf::from).or_else(|| {
        let full = fs::canonicalize(src).ok()?;
        full.file_name().map(PathBuf::from)
    });
    let name = name.ok_or_else(|| Failure::usage(format!("{} has no name: say where to store it", src.display())))?;
    match name.to_str() {
        Some(name) => Ok(name.to_owned()),
        None => Err(Failure::new("invalid_path", format!("the name {} is not UTF-8: give a PATH", name.display()))),
    }
}

fn unreadable(src: &Path, error: io::Error) -> Failure {
    Failure::io(format!("cannot read {}", src.display()), error)
}
