//! What earlier operations left: found in the journal, and finished, undone, or kept for the same put to go on with.
//!
//! Invariant: a shard is retired only when the ledger says that no record names it, and never on a guess.

use std::sync::Arc;
use std::time::Duration;

use super::edit::Abandoned;
use super::note::{Begun, Note, Notes, Offered, Writing};
use super::slot::Slot;
use super::source::OpenSource;
use super::upload::Order;
use super::{Reporter, Shared};
use crate::error::Result;
use crate::id::FileId;
use crate::ledger::{Entry, EventKind};
use crate::manifest::{Manifest, RecordPlace, open_record};
use crate::rt::Timestamp;

/// How long an unfinished put can be gone on with: a little less than nodes keep their parts of it (docs/wire.md 7.3).
const RESUMABLE: Duration = Duration::from_secs(23 * 3600);
/// How long what could not be finished is left alone before it is tried again.
const REST: Duration = Duration::from_secs(600);
/// How long it is tried at all: then its leases end.
const HOPELESS: Duration = Duration::from_secs(8 * 24 * 3600);

/// What the notes of one operation say together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Left {
    pub(super) begun: Option<Begun>,
    pub(super) offered: Vec<Offered>,
    writing: Option<Writing>,
    written: Option<u32>,
    tried: Option<Timestamp>,
}

impl Left {
    fn of(notes: Vec<Note>) -> Self {
        let mut left = Self::default();
        for note in notes {
            match note {
                Note::Put(begun) => left.begun = Some(begun),
                Note::Offered(offered) => left.offered.extend(offered),
                Note::Writing(writing) => left.writing = Some(writing),
                Note::Written { version } => left.written = Some(version),
                Note::Tried(at) => left.tried = Some(at),
            }
        }
        left
    }

    /// When the operation began.
    fn at(&self) -> Timestamp {
        let writing = self.writing.as_ref().map(|writing| writing.at);
        self.begun.as_ref().map(|begun| begun.at).or(writing).unwrap_or_default()
    }

    /// The shards of its own content, each once for every node that it was offered to.
    fn own_shards(&self) -> Vec<Abandoned> {
        let Some(begun) = &self.begun else { return Vec::new() };
        self.offered.iter().map(|offered| Abandoned::offered(&begun.key, offered)).collect()
    }

    /// Whether a put of `order` from a source with this mark may go on with it.
    fn fits(&self, order: &Order, mark: [u8; 32]) -> bool {
        self.begun.as_ref().is_some_and(|begun| {
            begun.source == Some(mark)
                && begun.path == order.path
                && (begun.scheme, begun.padding) == (order.scheme, order.padding)
                && begun.attributes == order.attributes
        })
    }
}

/// What became of a write to the ledger.
enum Fate {
    /// It is there, or was.
    Happened,
    /// Another one took its place.
    Lost,
    /// It is not there, and may still come.
    Open,
    /// The ledger no longer tells.
    Forgotten,
}

async fn fate(client: &Shared, writing: &Writing) -> Result<Fate> {
    let ours = |entry: &Entry| match &writing.record {
        Some(record) => entry.record == *record,
        None => entry.kind == EventKind::Removed,
    };
    let judge = |entry: &Entry| if ours(entry) { Fate::Happened } else { Fate::Lost };
    let version = writing.expected.saturating_add(1);
    let unreadable = |error| super::slot::ledger_failed(error, Some(&writing.path));
    let now = client.ledger.get(writing.file).await.map_err(unreadable)?;
    Ok(match &now {
        Some(entry) if entry.version == version => judge(entry),
        Some(entry) if entry.version > version => {
            let history = client.ledger.history(writing.file).await.map_err(unreadable)?;
            history.iter().find(|entry| entry.version == version).map_or(Fate::Forgotten, judge)
        }
        _ => Fate::Open,
    })
}

/// A put that another one goes on with.
pub(super) enum Earlier {
    /// It was committed, and nobody was told: the file as it is.
    Committed(Manifest, u32, Notes),
    /// Some of its shards are at nodes.
    Begun(Begun, Vec<Offered>, Notes),
}

/// What an earlier put of `order` from this very source left.
pub(super) async fn earlier(
    client: &Arc<Shared>,
    order: &Order,
    slot: &Slot,
    source: &mut OpenSource,
) -> Result<Option<Earlier>> {
    let Some(mark) = source.mark().filter(|_| client.settings.resume) else { return Ok(None) };
    // A start of this client may be looking at the same logs.
    let _ = client.settled.recv().await;
    let now = client.rt.now();
    for (notes, left) in Notes::claim(client, Some(&order.path)).await? {
        let left = Left::of(left);
        if !left.fits(order, mark) || now.since(left.at()) > RESUMABLE {
            continue;
        }
        let fate = match &left.writing {
            Some(writing) => fate(client, writing).await?,
            None => Fate::Open,
        };
        match fate {
            Fate::Happened => {
                let record = left.writing.as_ref().and_then(|writing| writing.record.as_ref());
                if let Some((manifest, version)) = record.and_then(|record| current(client, slot, record))
                    && source.is(&client.rt, manifest.size, manifest.content_hash).await?
                {
                    return Ok(Some(Earlier::Committed(manifest, version, notes)));
                }
            }
            Fate::Open => {
                if let Some(begun) = left.begun {
                    return Ok(Some(Earlier::Begun(begun, left.offered, notes)));
                }
            }
            Fate::Lost | Fate::Forgotten => {}
        }
    }
    Ok(None)
}

/// The manifest in `record`, if that is what the slot holds now.
fn current(client: &Shared, slot: &Slot, record: &[u8]) -> Option<(Manifest, u32)> {
    let entry = slot.entry().filter(|entry| entry.record == record)?;
    let place = RecordPlace { ledger: client.ledger.id(), file: slot.file_id, version: entry.version };
    Some((open_record(&client.owner, place, record).ok()?, entry.version))
}

/// Looks at everything that earlier operations left. What needs nodes goes on in the background; the rest is done when
/// this returns.
pub(super) async fn run(client: &Arc<Shared>) {
    let found = match Notes::claim(client, None).await {
        Ok(found) => found,
        Err(error) => return tracing::warn!(%error, "cannot look at what earlier operations left"),
    };
    for (notes, left) in found {
        if let Err(error) = settle(client, notes, Left::of(left)).await {
            tracing::warn!(%error, "cannot tell what became of an earlier operation: a later start will");
        }
    }
}

async fn settle(client: &Arc<Shared>, mut notes: Notes, left: Left) -> Result<()> {
    let now = client.rt.now();
    let age = now.since(left.at());
    let resting = left.tried.is_some_and(|tried| now.since(tried) < REST);
    let old = age > RESUMABLE;
    let retire = |shards, notes| client.retire(shards, Reporter::default(), Some(notes));
    let fate = match (&left.writing, left.written) {
        (Some(_), Some(_)) => Fate::Happened,
        (Some(writing), None) => fate(client, writing).await?,
        (None, _) => Fate::Open,
    };
    match (fate, left.writing.as_ref()) {
        _ if resting => {}
        _ if age > HOPELESS => notes.remove().await,
        (Fate::Happened, Some(writing)) => {
            if left.written.is_none() {
                // The same put may be asked for again, since nobody was told: its log stays for a while.
                notes.add(&Note::Written { version: writing.expected.saturating_add(1) }).await?;
                let replaced = writing.replaced.as_ref().map(Abandoned::all_of).unwrap_or_default();
                client.retire(replaced, Reporter::default(), None);
            }
            if old || writing.record.is_none() {
                notes.remove().await;
            }
        }
        (Fate::Lost, _) => retire(left.own_shards(), notes),
        (Fate::Open, _) => {
            let resumable = left.begun.as_ref().is_some_and(|begun| begun.source.is_some()) && !old;
            let waits = left.writing.is_some() && !old;
            if !(resumable || waits) {
                retire(left.own_shards(), notes);
            }
        }
        (Fate::Happened | Fate::Forgotten, _) => notes.remove().await,
    }
    Ok(())
}

/// What is noted before the ledger is written.
pub(super) fn writing(
    client: &Shared,
    slot: &Slot,
    expected: u32,
    record: Option<Vec<u8>>,
    replaced: Option<Manifest>,
) -> Note {
    let file: FileId = slot.file_id;
    Note::Writing(Writing { path: slot.path.clone(), at: client.rt.now(), file, expected, record, replaced })
}
