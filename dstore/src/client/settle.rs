//! What earlier operations left: found in the journal, and finished, undone, or kept for the same put to go on with.
//!
//! Invariant: a shard is retired only when the ledger says that no record names it, and never on a guess.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::edit::Abandoned;
use super::note::{Begun, Note, Notes, Offered, Writing};
use super::slot::Slot;
use super::source::OpenSource;
use super::upload::Order;
use super::{Reporter, Shared};
use crate::copy::RecordCopy;
use crate::error::Result;
use crate::id::FileId;
use crate::ledger::{Entry, EventKind};
use crate::manifest::{Manifest, RecordPlace, open_record};
use crate::rt::Timestamp;

/// How long an unfinished put can be gone on with: a little less than nodes keep their parts of it (docs/wire.md 7.3).
const RESUMABLE: Duration = Duration::from_secs(23 * 3600);
/// How long what could not be finished is left alone before it is tried again.
const REST: Duration = Duration::from_secs(600);
/// How often a client that runs on looks again.
const AGAIN: Duration = Duration::from_secs(3600);
/// How long it is tried at all: then its leases end.
const HOPELESS: Duration = Duration::from_secs(8 * 24 * 3600);

/// What the notes of one operation say together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Left {
    pub(super) begun: Option<Begun>,
    pub(super) offered: Vec<Offered>,
    writing: Option<Writing>,
    retire: Option<(Timestamp, Manifest)>,
    tried: Option<Timestamp>,
    is_written: bool,
    is_given_up: bool,
}

impl Left {
    fn of(notes: Vec<Note>) -> Self {
        let mut left = Self::default();
        for note in notes {
            match note {
                Note::Put(begun) => left.begun = Some(begun),
                Note::Offered(offered) => left.offered.extend(offered),
                Note::Writing(writing) => left.writing = Some(writing),
                Note::Written => left.is_written = true,
                Note::Tried(at) => left.tried = Some(at),
                Note::GivenUp => left.is_given_up = true,
                Note::Retire { at, manifest } => left.retire = Some((at, manifest)),
            }
        }
        left
    }

    /// When the operation began.
    fn at(&self) -> Timestamp {
        let writing = self.writing.as_ref().map(|writing| writing.at);
        let retire = self.retire.as_ref().map(|(at, _)| *at);
        self.begun.as_ref().map(|begun| begun.at).or(writing).or(retire).unwrap_or_default()
    }

    /// Whether the same put may go on with it later, at `age`.
    fn is_resumable(&self, age: Duration) -> bool {
        let readable = self.begun.as_ref().is_some_and(|begun| begun.source.is_some());
        readable && age <= RESUMABLE && !self.is_given_up
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

/// A record that is written, or was and nobody knows what became of it.
pub(super) struct Sealed {
    pub(super) manifest: Manifest,
    /// The version that is replaced.
    pub(super) expected: u32,
    pub(super) record: Vec<u8>,
    /// What no record names once it is there.
    pub(super) replaced: Option<Manifest>,
    /// Whether it was written before: then a refusal of today does not tell what becomes of it.
    pub(super) again: bool,
}

/// A put that another one goes on with.
pub(super) enum Earlier {
    /// It was committed, and nobody was told: the file as it is.
    Committed(Manifest, u32, Notes),
    /// All of its shards are at nodes, and its record may reach the ledger yet: no other record may name this content.
    Sealed(Box<Sealed>, Notes),
    /// Some of its shards are at nodes.
    Begun(Begun, Vec<Offered>, Notes),
}

/// What an earlier put of `order` from this very source left.
pub(super) async fn earlier(
    client: &Arc<Shared>,
    order: &Order,
    slot: &mut Slot,
    source: &mut OpenSource,
) -> Result<Option<Earlier>> {
    let Some(mark) = source.mark().filter(|_| client.settings.resume) else { return Ok(None) };
    // A start of this client may be looking at the same logs.
    let _ = client.settled.recv().await;
    let now = client.rt.now();
    for (notes, left) in Notes::claim(client, Some(&order.path)).await? {
        let left = Left::of(left);
        if !left.fits(order, mark) || !left.is_resumable(now.since(left.at())) {
            continue;
        }
        let Some(writing) = &left.writing else {
            return Ok(left.begun.map(|begun| Earlier::Begun(begun, left.offered, notes)));
        };
        let fate = fate(client, writing).await?;
        // It may have happened since this put looked.
        *slot = Slot::read(client, slot.path.clone()).await?;
        let Some((manifest, record)) = sealed(client, writing) else { continue };
        if !source.is(&client.rt, manifest.size, manifest.content_hash).await? {
            continue;
        }
        match (fate, slot.entry()) {
            (_, Some(entry)) if entry.record == record => {
                let version = entry.version;
                if !left.is_written {
                    spread(client, writing);
                    retire_apart(client, writing).await?;
                }
                return Ok(Some(Earlier::Committed(manifest, version, notes)));
            }
            (Fate::Open, _) => {
                let (expected, replaced) = (writing.expected, writing.replaced.clone());
                let sealed = Sealed { manifest, expected, record, replaced, again: true };
                return Ok(Some(Earlier::Sealed(Box::new(sealed), notes)));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// What a write of a record was to name.
fn sealed(client: &Shared, writing: &Writing) -> Option<(Manifest, Vec<u8>)> {
    let record = writing.record.clone()?;
    let version = writing.expected.saturating_add(1);
    let place = RecordPlace { ledger: client.ledger.id(), file: writing.file, version };
    Some((open_record(&client.owner, place, &record).ok()?, record))
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

/// Looks again, in the background, when the last time is long ago.
pub(super) fn run_again(client: &Arc<Shared>) {
    let now = client.rt.uptime().as_secs();
    let last = client.looked.load(Ordering::Relaxed);
    let due = client.settings.journal.is_some() && now.saturating_sub(last) >= AGAIN.as_secs();
    if due && client.looked.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        client.background(async move |client| run(&client).await);
    }
}

async fn settle(client: &Arc<Shared>, mut notes: Notes, left: Left) -> Result<()> {
    let now = client.rt.now();
    let age = now.since(left.at());
    if left.tried.is_some_and(|tried| now.since(tried) < REST) {
        return Ok(());
    }
    if let Some((_, manifest)) = left.retire.as_ref().filter(|_| age < HOPELESS) {
        client.retire(Abandoned::all_of(manifest), Reporter::default(), Some(notes));
        return Ok(());
    }
    let fate = match &left.writing {
        Some(_) if left.is_written => Fate::Happened,
        Some(writing) => fate(client, writing).await?,
        None => Fate::Open,
    };
    match (fate, left.writing.as_ref()) {
        (Fate::Happened, Some(writing)) => {
            if !left.is_written {
                spread(client, writing);
                retire_apart(client, writing).await?;
                notes.add(&Note::Written).await?;
            }
            // Nobody was told of a put: until it is too old, the same put is told that it has happened.
            if writing.record.is_none() || age > RESUMABLE {
                notes.remove().await;
            }
        }
        (Fate::Open, _) if left.is_resumable(age) || (left.writing.is_some() && age <= RESUMABLE) => {}
        (Fate::Lost | Fate::Open, _) if age <= HOPELESS => client.abandon(left.own_shards(), notes),
        _ => notes.remove().await,
    }
    Ok(())
}

/// Brings the copies of a record to their nodes, in the background: they may have some already.
fn spread(client: &Arc<Shared>, writing: &Writing) {
    let version = writing.expected.saturating_add(1);
    let place = RecordPlace { ledger: client.ledger.id(), file: writing.file, version };
    let (kind, record, manifest) = match &writing.record {
        Some(record) => (EventKind::Put, record.clone(), open_record(&client.owner, place, record).ok()),
        None => (EventKind::Removed, Vec::new(), writing.replaced.clone()),
    };
    let Some(manifest) = manifest else { return };
    client.background(async move |client: Arc<Shared>| {
        let copies = vec![RecordCopy { place, kind, record }];
        client.spread(copies, &manifest, None, &Reporter::default()).await;
    });
}

/// Gives the retiring of what a write has replaced a log of its own.
async fn retire_apart(client: &Arc<Shared>, writing: &Writing) -> Result<()> {
    let Some(replaced) = &writing.replaced else { return Ok(()) };
    if let Some(mut notes) = Notes::begin(client, &writing.path).await? {
        notes.add(&Note::Retire { at: client.rt.now(), manifest: replaced.clone() }).await?;
        client.retire(Abandoned::all_of(replaced), Reporter::default(), Some(notes));
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
