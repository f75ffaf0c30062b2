//! `get` and `cat`: a file, or all files below a prefix, back to this machine.

use std::io;
use std::path::{Path, PathBuf};

use blocking::Unblock;
use dstore::{Client, FilePath, Head};
use futures_lite::{AsyncWriteExt, StreamExt};

use super::folder;
use crate::args::Get;
use crate::context::Context;
use crate::destination;
use crate::failure::{Failure, Result};
use crate::output::Channel;
use crate::progress::{FileMeter, Meter};
use crate::shape::ResultEvent;
use crate::text;

/// Gets what was named.
pub(crate) async fn run(context: &Context, args: Get) -> Result {
    let to_stdout = args.dst.as_deref() == Some(Path::new("-"));
    if let Some(prefix) = args.path.strip_suffix('/') {
        if to_stdout {
            return Err(Failure::usage("several files cannot go to standard output: name a folder"));
        }
        return all(context, prefix, args.dst).await;
    }
    if to_stdout {
        return self::to_stdout(context, args.path).await;
    }
    let path = FilePath::new(args.path)?;
    let local = local_file(&path, args.dst)?;
    one(context, &path, &local).await
}

async fn all(context: &Context, prefix: &str, dst: Option<PathBuf>) -> Result {
    if prefix.is_empty() {
        let dst = dst.ok_or_else(|| Failure::usage("say to which folder all files are to go"))?;
        return folder::get(context, "", &dst).await;
    }
    let path = FilePath::new(prefix)?;
    let dst = match dst {
        Some(dst) => dst,
        None => destination::below(Path::new(""), &last_part(&path)).or_else(|failure| {
            // That the folder exists is fine.
            if Path::new(last_part(&path).as_str()).is_dir() {
                Ok(last_part(&path).as_str().into())
            } else {
                Err(failure)
            }
        })?,
    };
    folder::get(context, &format!("{prefix}/"), &dst).await
}

/// The file that `dst` means: a folder takes the file under its own name.
fn local_file(path: &FilePath, dst: Option<PathBuf>) -> Result<PathBuf> {
    let Some(dst) = dst else { return destination::below(Path::new(""), &last_part(path)) };
    let named_as_folder = dst.as_os_str().as_encoded_bytes().last() == Some(&b'/');
    if dst.is_dir() || named_as_folder {
        std::fs::create_dir_all(&dst)
            .map_err(|error| Failure::io(format!("cannot make the folder {}", dst.display()), error))?;
        return destination::below(&dst, &last_part(path));
    }
    destination::check_replaceable(&dst)?;
    Ok(dst)
}

fn last_part(path: &FilePath) -> FilePath {
    let name = path.as_str().rsplit('/').next().unwrap_or(path.as_str());
    FilePath::new(name).expect("every part of a path is a path")
}

async fn one(context: &Context, path: &FilePath, local: &Path) -> Result {
    let client = context.client().await?;
    let out = &context.out;
    let meter = Meter::start(out, "get", path.as_str(), None, Channel::Out);
    let got = save(&client, path, local, meter.file(path.as_str(), None)).await;
    let head = match got {
        Err(failure) => return Err(hint_at_folder(&client, path, failure).await),
        Ok(head) => head,
    };
    let elapsed = meter.elapsed();
    drop(meter);
    if out.json {
        let result = ResultEvent::get(&head, elapsed.as_secs_f64(), Some(local.display().to_string()));
        out.event(Channel::Out, &result);
    }
    let amount = text::amount(head.size, elapsed);
    out.note(&format!(
        "got {}: version {}, {amount}, to {}",
        text::harmless(path.as_str()),
        head.version,
        local.display()
    ));
    Ok(())
}

/// Where there is no file, there may be files below.
async fn hint_at_folder(client: &Client, path: &FilePath, failure: Failure) -> Failure {
    let below = format!("{path}/");
    if failure.code != "not_found" || !matches!(client.list(&below).next().await, Some(Ok(_))) {
        return failure;
    }
    let hint = format!("files are below it: dstore-cli get {}", text::shell_quoted(&below));
    Failure { hints: vec![hint], ..failure }
}

/// One get to a local file, followed by `meter`.
pub(super) async fn save(client: &Client, path: &FilePath, local: &Path, meter: FileMeter) -> Result<Head> {
    let warned = meter.clone();
    let get = client.get(path.as_str());
    let get = get.progress(move |progress| meter.progress(progress)).warnings(move |warning| warned.warning(&warning));
    Ok(get.save(local).await?)
}

/// Writes a file to standard output as it comes; every byte was checked before.
pub(crate) async fn to_stdout(context: &Context, path: String) -> Result {
    let path = FilePath::new(path)?;
    let client = context.client().await?;
    let out = &context.out;
    let meter = Meter::start(out, "get", path.as_str(), None, Channel::Err);
    let file = meter.file(path.as_str(), None);
    let warned = file.clone();
    let get = client.get(path.as_str());
    let get = get.progress(move |progress| file.progress(progress)).warnings(move |warning| warned.warning(&warning));
    let mut stream = match get.stream().await {
        Err(error) => return Err(hint_at_folder(&client, &path, error.into()).await),
        Ok(stream) => stream,
    };
    let head = stream.head().clone();
    // In a thread of its own: a reader that stops reading must not keep a signal from ending us.
    let mut stdout = Unblock::new(io::stdout());
    while let Some(bytes) = stream.next().await {
        if let Err(error) = stdout.write_all(&bytes?).await {
            // The writing thread is gone, and has left what it met.
            return Err(Failure::stdout(stdout.flush().await.err().unwrap_or(error)));
        }
    }
    stdout.flush().await.map_err(Failure::stdout)?;
    let seconds = meter.elapsed().as_secs_f64();
    drop(meter);
    if out.json {
        out.event(Channel::Err, &ResultEvent::get(&head, seconds, None));
    }
    Ok(())
}
