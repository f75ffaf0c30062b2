//! `check`: whether files can be read, as their nodes say or as reading them shows. Changes nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use dstore::config::Key;
use dstore::{Client, Head, ShardCheck, ShardHealth, WarningCode};
use futures_util::{StreamExt, TryStreamExt};

use crate::args::Check;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::Channel;
use crate::progress::{FileMeter, Meter};
use crate::shape::{Checked, CheckedFile};
use crate::text;
use crate::verdict::{Health, Verdict};

/// Files at once.
const PARALLEL: usize = 4;
/// Memory for reading each.
const MEMORY_EACH: usize = 16 << 20;

/// What was found of one file.
struct Found {
    head: Head,
    shards: Vec<ShardCheck>,
    health: Health,
    /// The worse of what the nodes say and of what reading shows.
    verdict: Verdict,
    message: Option<String>,
}

/// Checks every file whose path starts with the prefix.
pub(crate) async fn run(context: &Context, args: Check) -> Result {
    let read_data = context.config.is_on(&Key::READ_DATA)?;
    let client = context.client_with(|builder| builder.memory(MEMORY_EACH)).await?;
    let mut files: Vec<Head> = client.list(&args.prefix).try_collect().await?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let out = &context.out;
    let total = read_data.then(|| files.iter().map(|head| head.size).sum());
    let meter = Meter::start(out, "check", &text::count(files.len(), "file"), total, Channel::None);
    let work = files.iter().map(|head| {
        let (client, meter) = (&client, &meter);
        let read = read_data.then(|| meter.file(head.path.as_str(), Some(head.size)));
        async move { check(client, head, read).await }
    });
    let found: Vec<Option<Found>> = futures_util::stream::iter(work).buffered(PARALLEL).try_collect().await?;
    drop(meter);
    let found: Vec<Found> = found.into_iter().flatten().collect();
    if out.json {
        let items = found.iter().map(|one| {
            let Found { head, shards, health, verdict, message } = one;
            CheckedFile::new(head, shards, *health, *verdict, message.clone())
        });
        let worst = found.iter().map(|one| one.verdict).max().unwrap_or(Verdict::Ok);
        out.document(&Checked { schema: "dstore.check/1", verdict: worst.as_str(), items: items.collect() })?;
    } else {
        out.lines(&found.iter().flat_map(lines).chain([summary(&found)]).collect::<Vec<_>>())?;
    }
    ended(&found)
}

/// `None`: the file is gone since it was listed.
async fn check(client: &Client, head: &Head, read: Option<FileMeter>) -> Result<Option<Found>> {
    let path = head.path.as_str();
    let (head, shards) = match client.check(path).await {
        Err(dstore::Error::NotFound { .. }) => return Ok(None),
        checked => checked?,
    };
    let health = Health::new(&head, &shards);
    let (shown, message) = match read {
        // Reading could tell no more, and would wait for nodes that do not answer.
        Some(meter) if health.verdict < Verdict::Unreadable => read_back(client, path, meter).await?,
        _ => (Verdict::Ok, None),
    };
    Ok(Some(Found { verdict: health.verdict.max(shown), head, shards, health, message }))
}

/// What reading every byte shows, and what it failed with.
async fn read_back(client: &Client, path: &str, meter: FileMeter) -> Result<(Verdict, Option<String>)> {
    let damaged = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = damaged.clone();
    let get = client.get(path).progress(move |progress| meter.progress(progress)).warnings(move |warning| {
        if matches!(warning.code, WarningCode::BlockCorrupt | WarningCode::ShardMissing) {
            seen.lock().unwrap_or_else(PoisonError::into_inner).insert(warning.to_string());
        }
    });
    let read = async {
        let mut stream = get.stream().await?;
        while let Some(piece) = stream.next().await {
            piece?;
        }
        Ok(())
    };
    let ended = read.await;
    let damaged = Vec::from_iter(std::mem::take(&mut *damaged.lock().unwrap_or_else(PoisonError::into_inner)));
    let verdict = match ended {
        Ok(()) if !damaged.is_empty() => return Ok((Verdict::Degraded, Some(damaged.join("; ")))),
        Ok(()) => Verdict::Ok,
        Err(error @ (dstore::Error::Unrecoverable { .. } | dstore::Error::Integrity { .. })) => {
            return Ok((Verdict::Unrecoverable, Some(error.to_string())));
        }
        Err(error @ dstore::Error::NotEnoughShards { .. }) => {
            return Ok((Verdict::Unreadable, Some(error.to_string())));
        }
        // Replaced or removed while it was read: what was read was sound.
        Err(dstore::Error::Superseded { .. } | dstore::Error::NotFound { .. }) => Verdict::Ok,
        Err(error) => return Err(error.into()),
    };
    Ok((verdict, None))
}

/// Nothing of a file that is well.
fn lines(found: &Found) -> Vec<String> {
    if found.verdict == Verdict::Ok {
        return Vec::new();
    }
    let Found { head, shards, health, verdict, message } = found;
    let counted = format!("{} of {} shards answer", health.answering, shards.len());
    let path = text::harmless(head.path.as_str());
    let mut lines = vec![format!("{:<13}  {path}: {counted}", verdict.as_str())];
    for shard in shards.iter().filter(|shard| shard.state != ShardHealth::Ok) {
        let (state, home) = (shard.state.as_str(), &shard.home);
        lines.push(format!("{:15}shard {} {state}: node {} at {}", "", home.index, home.node.short(), home.address));
    }
    lines.extend(message.iter().map(|message| format!("{:15}{message}", "")));
    lines
}

fn summary(found: &[Found]) -> String {
    let verdicts = [Verdict::Ok, Verdict::Degraded, Verdict::Unreadable, Verdict::Unrecoverable];
    let counted = verdicts.iter().filter_map(|verdict| match count(found, *verdict) {
        0 => None,
        number => Some(format!("{number} {}", verdict.as_str())),
    });
    match found.len() {
        0 => "no files".to_owned(),
        files => format!("{}: {}", text::count(files, "file"), counted.collect::<Vec<_>>().join(", ")),
    }
}

fn count(found: &[Found], verdict: Verdict) -> usize {
    found.iter().filter(|one| one.verdict == verdict).count()
}

/// The worst decides.
fn ended(found: &[Found]) -> Result {
    let worst = found.iter().map(|one| one.verdict).max().unwrap_or(Verdict::Ok);
    let files = text::count(count(found, worst), "file");
    Err(match worst {
        Verdict::Ok => return Ok(()),
        Verdict::Degraded => {
            Failure::new("degraded", format!("{files} with shards missing or damaged, which can still be read"))
                .hint("bring their nodes back, or store the files again: dstore-cli get, then put")
        }
        Verdict::Unreadable => Failure {
            retryable: true,
            ..Failure::new("not_enough_shards", format!("{files} cannot be read now"))
                .hint("they read again once enough of their nodes are back: dstore-cli doctor")
        },
        Verdict::Unrecoverable => Failure::new("unrecoverable", format!("{files} lost: too few shards are left"))
            .hint("an older version may still be there for a day: dstore-cli history PATH"),
    })
}
