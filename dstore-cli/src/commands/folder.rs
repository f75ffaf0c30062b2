//! Folders: every regular file below one is put, or every file below a prefix is got, a few at a time.

use std::path::{Path, PathBuf};

use dstore::config::{Key, LedgerKind};
use dstore::{Client, FilePath, Head, PutMode, Source};
use futures_util::StreamExt;
use futures_util::TryStreamExt;

use super::{Tally, get, put};
use crate::context::Context;
use crate::destination;
use crate::failure::{Failure, Result};
use crate::output::{Channel, Output};
use crate::progress::Meter;
use crate::shape::{ErrorEvent, ResultEvent, WarningEvent};
use crate::text;

/// Transfers at once.
const PARALLEL: usize = 4;
/// Puts at once where a hundred records share a transaction: all that are on their way wait for each other there, so that
/// with fewer, no transaction would ever be full, and with twice as many the next one fills while the first is confirmed.
/// It costs little: of these, a client uploads five, and the others wait with nothing or a record in their hands.
const PARALLEL_ON_CHAIN: usize = 200;
/// How long the first put of a transaction waits for the last: as long as five uploads take that bring a hundred files.
const BATCH_WAIT: &str = "60s";
/// Memory of each, so that all together take what one big transfer would.
const MEMORY_EACH: usize = 16 << 20;

/// A local file to be stored, or why it cannot be.
pub(super) struct Item {
    pub(super) path: String,
    pub(super) file: Result<(PathBuf, FilePath, u64)>,
}

/// Stores every regular file below `src` at paths that start with `prefix`, or else with the folder's name.
pub(super) async fn put(context: &Context, src: &Path, prefix: Option<String>, mode: PutMode) -> Result {
    let prefix = prefix_of(src, prefix)?;
    context.required_registries()?;
    let context = &context.or(&Key::BATCH_WAIT, BATCH_WAIT);
    let parallel = if context.ledger_kind()? == LedgerKind::Ethereum { PARALLEL_ON_CHAIN } else { PARALLEL };
    let out = &context.out;
    let items = items(out, src, &prefix).await;
    let client = context.client_with(|builder| builder.memory(MEMORY_EACH)).await?;
    let total = items.iter().filter_map(|item| item.file.as_ref().ok()).map(|(_, _, len)| len).sum();
    let label = text::count(items.len(), "file");
    let meter = Meter::start(out, "put", &label, Some(total), Channel::Out);
    let work = items.into_iter().map(|item| {
        let (client, meter) = (&client, &meter);
        async move {
            let stored = match item.file {
                Ok((local, path, len)) => put_one(client, meter, out, &local, &path, len, mode).await,
                Err(failure) => Err(failure),
            };
            stored.map_err(|failure| (item.path, failure))
        }
    });
    let tally = run_all(out, work, parallel).await;
    let (done, elapsed) = (tally.done, meter.elapsed());
    drop(meter);
    if done == 0 && tally.failures.is_empty() {
        out.note(&format!("{} has no files: nothing was stored", src.display()));
    } else if done > 0 {
        let below = if prefix.is_empty() { String::new() } else { format!(" below {}/", text::harmless(&prefix)) };
        out.note(&format!("stored {}{below} in {}", text::count(done, "file"), text::seconds(elapsed)));
    }
    tally.finish("files")
}

/// What the paths of the files of a folder start with.
pub(super) fn prefix_of(src: &Path, named: Option<String>) -> Result<String> {
    let prefix = match named {
        Some(prefix) => prefix.strip_suffix('/').unwrap_or(&prefix).to_owned(),
        None => put::name_of(src)?,
    };
    if !prefix.is_empty() {
        FilePath::new(prefix.as_str())?;
    }
    Ok(prefix)
}

/// The regular files below `src`. In a thread of its own: a disk that hangs must not keep a signal from ending us.
pub(super) async fn items(out: &Output, src: &Path, prefix: &str) -> Vec<Item> {
    let (out, src, prefix) = (out.clone(), src.to_owned(), prefix.to_owned());
    blocking::unblock(move || walk(&out, &src, &prefix)).await
}

async fn put_one(
    client: &Client,
    meter: &Meter,
    out: &Output,
    local: &Path,
    path: &FilePath,
    len: u64,
    mode: PutMode,
) -> Result {
    let started = meter.elapsed();
    let file = meter.file(path.as_str(), Some(len).filter(put::known));
    let committed = put::transfer(client, Source::file(local), path, mode, file).await?;
    if out.json {
        let seconds = meter.elapsed().saturating_sub(started).as_secs_f64();
        out.event(Channel::Out, &ResultEvent::put(&committed, seconds));
    }
    Ok(())
}

/// The regular files below `src`. Links and special files are left out, with a warning.
fn walk(out: &Output, src: &Path, prefix: &str) -> Vec<Item> {
    let mut items = Vec::new();
    for entry in walkdir::WalkDir::new(src).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(src).display().to_string();
                let failure = Failure::io(format!("cannot read {path}"), error.into());
                items.push(Item { path, file: Err(failure) });
                continue;
            }
        };
        let kind = entry.file_type();
        if kind.is_dir() {
            continue;
        }
        let shown = entry.path().display().to_string();
        if !kind.is_file() {
            let what = if kind.is_symlink() { "a symbolic link" } else { "no regular file" };
            skipped(out, &shown, what);
            continue;
        }
        let file = item(src, prefix, &entry);
        let path = file.as_ref().map_or(shown, |(_, path, _)| path.to_string());
        items.push(Item { path, file });
    }
    items
}

fn skipped(out: &Output, path: &str, what: &str) {
    if out.json {
        out.event(Channel::Out, &WarningEvent::skipped(path, &format!("{what}: skipped")));
    } else {
        out.warning("skipped", &format!("{}: {what}: skipped", text::harmless(path)));
    }
}

fn item(src: &Path, prefix: &str, entry: &walkdir::DirEntry) -> Result<(PathBuf, FilePath, u64)> {
    let below = entry.path().strip_prefix(src).unwrap_or(entry.path());
    let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
    let parts = parts
        .ok_or_else(|| Failure::new("invalid_path", format!("the name {} is not UTF-8", entry.path().display())))?;
    let below = parts.join("/");
    let path = FilePath::new(if prefix.is_empty() { below } else { format!("{prefix}/{below}") })?;
    let metadata = entry
        .metadata()
        .map_err(|error| Failure::io(format!("cannot read {}", entry.path().display()), error.into()))?;
    Ok((entry.path().to_owned(), path, metadata.len()))
}

/// Gets every file whose path starts with `prefix` (which ends with `/`, or is empty) to below `dst`.
pub(super) async fn get(context: &Context, prefix: &str, dst: &Path) -> Result {
    let out = &context.out;
    let client = context.client_with(|builder| builder.memory(MEMORY_EACH)).await?;
    let mut files: Vec<Head> = client.list(prefix).try_collect().await?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if files.is_empty() {
        let text =
            if prefix.is_empty() { "there are no files".to_owned() } else { format!("no file below {prefix:?}") };
        return Err(Failure::new("not_found", text).hint("`dstore-cli ls` lists the files that are there"));
    }
    std::fs::create_dir_all(dst)
        .map_err(|error| Failure::io(format!("cannot make the folder {}", dst.display()), error))?;
    let total = files.iter().map(|head| head.size).sum();
    let meter = Meter::start(out, "get", &text::count(files.len(), "file"), Some(total), Channel::Out);
    let work = files.into_iter().map(|head| {
        let (client, meter) = (&client, &meter);
        async move {
            let got = get_one(client, meter, out, &head, prefix, dst).await;
            got.map_err(|failure| (head.path.to_string(), failure))
        }
    });
    let tally = run_all(out, work, PARALLEL).await;
    let (done, elapsed) = (tally.done, meter.elapsed());
    drop(meter);
    if done > 0 {
        let files = text::count(done, "file");
        out.note(&format!("got {files} to {} in {}", dst.display(), text::seconds(elapsed)));
    }
    tally.finish("files")
}

async fn get_one(client: &Client, meter: &Meter, out: &Output, head: &Head, prefix: &str, dst: &Path) -> Result {
    let started = meter.elapsed();
    let below = head.path.as_str().strip_prefix(prefix).unwrap_or(head.path.as_str());
    let local = destination::below(dst, &FilePath::new(below)?)?;
    let file = meter.file(head.path.as_str(), Some(head.size));
    let head = get::save(client, &head.path, &local, file).await?;
    if out.json {
        let seconds = meter.elapsed().saturating_sub(started).as_secs_f64();
        out.event(Channel::Out, &ResultEvent::get(&head, seconds, Some(local.display().to_string())));
    }
    Ok(())
}

/// Does all the work, so many items at a time, and tells of each that fails.
async fn run_all<F: Future<Output = Result<(), (String, Failure)>>>(
    out: &Output,
    work: impl Iterator<Item = F>,
    parallel: usize,
) -> Tally {
    // Of one item, the end of the command tells.
    let only = work.size_hint() == (1, Some(1));
    let mut results = futures_util::stream::iter(work).buffer_unordered(parallel);
    let mut tally = Tally::default();
    while let Some(result) = results.next().await {
        match result {
            Ok(()) => tally.done += 1,
            Err((path, failure)) => {
                if out.json {
                    out.event(Channel::Out, &ErrorEvent::new(&path, &failure));
                } else if !only {
                    out.item_failure(&path, &failure);
                }
                tally.failures.push(failure);
            }
        }
    }
    tally
}
