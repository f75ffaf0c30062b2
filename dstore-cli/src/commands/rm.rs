//! `rm`: removes files.

use dstore::{Client, FilePath, Head};
use futures_util::TryStreamExt;

use super::Tally;
use crate::args::Rm;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::shape::Changed;
use crate::text;

/// Removes the files that were named, those that can be.
pub(crate) async fn run(context: &Context, args: Rm) -> Result {
    let named = args.paths.iter().map(|path| check(path, args.recursive)).collect::<Result<Vec<_>>>()?;
    let client = context.client().await?;
    let paths = if args.recursive { below(&client, &named).await? } else { named };
    let out = &context.out;
    let (mut removed, mut tally, several) = (Vec::new(), Tally::default(), paths.len() > 1);
    for path in &paths {
        match client.remove(path.as_str()).await {
            Ok(head) => {
                if !args.recursive {
                    out.note(&format!("removed {} (version {})", text::harmless(path.as_str()), head.version));
                }
                removed.push(head);
                tally.done += 1;
            }
            Err(error) => {
                let failure = Failure::from(error);
                if several {
                    out.item_failure(path.as_str(), &failure);
                }
                tally.failures.push(failure);
            }
        }
    }
    if args.recursive && tally.done > 0 {
        out.note(&format!("removed {}", text::count(tally.done, "file")));
    }
    if out.json && !removed.is_empty() {
        out.document(&Changed::new("dstore.rm/1", &removed))?;
    }
    tally.finish("files")
}

fn check(path: &str, recursive: bool) -> Result<FilePath> {
    match path.strip_suffix('/').filter(|folder| !folder.is_empty()) {
        Some(folder) if recursive => Ok(FilePath::new(folder)?),
        Some(_) => {
            let failure = Failure::from(FilePath::new(path).expect_err("no path ends with a slash"));
            let all = format!("dstore-cli rm -r {}", text::shell_quoted(path));
            Err(failure.hint(format!("rm takes files; to remove every file below it: {all}")))
        }
        None => Ok(FilePath::new(path)?),
    }
}

/// Each of `named` that is a file, and every file below one of them.
async fn below(client: &Client, named: &[FilePath]) -> Result<Vec<FilePath>> {
    let mut paths = Vec::new();
    for named in named {
        let files: Vec<Head> = client.list(named.as_str()).try_collect().await?;
        let files = files.into_iter().map(|head| head.path);
        let is_below = |path: &FilePath| {
            path.as_str().strip_prefix(named.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let before = paths.len();
        paths.extend(files.filter(is_below));
        if paths.len() == before {
            return Err(Failure::new("not_found", format!("no file at or below {:?}", named.as_str()))
                .hint("`dstore-cli ls` lists the files that are there"));
        }
    }
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}
