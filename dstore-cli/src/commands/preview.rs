//! `put --dry-run`: what would be stored, and what writing it down would cost. Nothing is sent.

use std::path::Path;

use dstore::client::Preview;
use dstore::ledger::Cost;
use dstore::{Client, FilePath, PutMode, Source};
use futures_util::StreamExt;

use super::{folder, put};
use crate::context::Context;
use crate::failure::Result;
use crate::shape::PutPreview;
use crate::text;

/// Files that are looked at at once.
const PARALLEL: usize = 16;

/// Shows it for one file.
pub(super) async fn file(context: &Context, source: Source, path: FilePath, mode: PutMode) -> Result {
    let client = context.storing_client().await?;
    let seen = look(&client, source, &path, mode).await?;
    told(context, &[seen])
}

/// Shows it for every regular file below `src`.
pub(super) async fn folder(context: &Context, src: &Path, prefix: Option<String>, mode: PutMode) -> Result {
    let prefix = folder::prefix_of(src, prefix)?;
    let items = folder::items(&context.out, src, &prefix).await;
    let client = context.storing_client().await?;
    let looks = items.into_iter().map(|item| {
        let client = &client;
        async move {
            let seen = match item.file {
                Ok((local, path, _)) => look(client, Source::file(&local), &path, mode).await,
                Err(failure) => Err(failure),
            };
            seen.map_err(|failure| (item.path, failure))
        }
    });
    let mut looks = futures_util::stream::iter(looks).buffered(PARALLEL);
    let (mut seen, mut tally) = (Vec::new(), super::Tally::default());
    while let Some(look) = looks.next().await {
        match look {
            Ok(preview) => {
                tally.done += 1;
                seen.push(preview);
            }
            Err((path, failure)) => {
                context.out.item_failure(&path, &failure);
                tally.failures.push(failure);
            }
        }
    }
    told(context, &seen)?;
    tally.finish("files")
}

async fn look(client: &Client, source: Source, path: &FilePath, mode: PutMode) -> Result<Preview> {
    put::outcome(client.put(path.as_str(), source).mode(mode).preview().await, mode)
}

fn told(context: &Context, seen: &[Preview]) -> Result {
    let out = &context.out;
    let total = seen.iter().filter_map(|preview| preview.cost).reduce(sum);
    if out.json {
        return out.document(&PutPreview::new(seen, total.as_ref()));
    }
    out.lines(&seen.iter().flat_map(lines).collect::<Vec<_>>())?;
    if seen.len() > 1 {
        let stored = text::size(seen.iter().filter_map(|preview| preview.stored).sum());
        let mut line = format!("in all: {}, {stored} on the nodes", text::count(seen.len(), "file"));
        if let Some(cost) = total {
            line.push_str(&format!("; one by one {}; up to 100 share a transaction, which is less", text::cost(&cost)));
        }
        out.line(&line)?;
    }
    out.note("nothing was sent");
    Ok(())
}

fn lines(preview: &Preview) -> Vec<String> {
    let size = preview.size.map_or_else(|| "of unknown size".to_owned(), text::size);
    let stored = preview.stored.map(|stored| format!(", {} on the nodes", text::size(stored))).unwrap_or_default();
    let name = text::harmless(preview.path.as_str());
    let mut lines = vec![format!("{name}: version {}, {size}{stored}", preview.version)];
    lines.extend(preview.cost.map(|cost| format!("  its record: {}", text::cost(&cost))));
    lines
}

fn sum(a: Cost, b: Cost) -> Cost {
    Cost::new(a.gas + b.gas, a.wei.saturating_add(b.wei), a.max_wei.saturating_add(b.max_wei))
}
