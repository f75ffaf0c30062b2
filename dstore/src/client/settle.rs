//! What earlier operations left: found in the journal, and finished, undone, or kept for the same put to go on with.
//!
//! Invariant: a shard is retired only when the ledger says that no record names it, and never on a guess.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::edit::Abandoned;
use super::note::{Begun, Fetching, Note, Notes, Offered, Writing};
use super::slot::{Slot, ledger_failed, ledger_timeout};
use super::source::OpenSource;
use super::upload::Order;
use super::{Reporter, Shared};
use crate::copy::RecordCopy;
use crate::error::Result;
use crate::id::FileId;
use crate::ledger::{Entry, EventKind, LedgerError};
use crate::manifest::{Manifest, RecordPlace, open_record};
use crate::path::FilePath;
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
    fetching: Option<Fetching>,
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
                Note::Fetching(fetching) => left.fetching = Some(fetching),
                Note::Retire { at, manifest } => left.retire = Some((at, manifest)),
            }
        }
        left
    }

    /// When the operation began.
    fn at(&self) -> Timestamp {
        let writing = self.writing.as_ref().map(|writing| writing.at);
        let retire = self.retire.as_ref().map(|(at, _)| *at);
        let fetching = self.fetching.as_ref().map(|fetching| fetching.at);
        self.begun.as_ref().map(|begun| begun.at).or(writing).or(retire).or(fetching).unwrap_or_default()
    }

    /// Whether somebody was told that it has happened: then the same put is another one.
    fn is_told(&self) -> bool {
        self.tried.is_some()
    }

    /// Whether the same put may go on with it later, at `age`.
    fn is_resumable(&self, age: Duration) -> bool {
        let readable = self.begun.as_ref().is_some_and(|begun| begun.source.is_some());
        readable && age <= RESUMABLE && !self.is_given_up && !self.is_told()
    }

    /// What to do with what did not happen, where a ledger decides within `decided`.
    fn due(&self, fate: Fate, now: Timestamp, decided: Option<Duration>) -> Due {
        let age = now.since(self.at());
        match (fate, &self.writing) {
            (Fate::Open, _) if self.is_resumable(age) => Due::Wait,
            // It never comes.
            (Fate::Open, Some(writing)) if decided.is_some_and(|decided| now.since(writing.at) > decided) => {
                Due::Abandon
            }
            // It may still come, and name the shards.
            (Fate::Open, Some(writing)) if now.since(writing.at) <= HOPELESS => Due::Wait,
            (Fate::Lost, _) | (Fate::Open, None) if age <= HOPELESS => Due::Abandon,
            _ => Due::Forget,
        }
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

/// What is done about an operation that is not known to have happened.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Nothing yet.
    Wait,
    /// Its shards are retired.
    Abandon,
    /// It is forgotten: what it left ends with its leases.
    Forget,
}

/// What became of a write to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    let now = read(client, writing, client.ledger.get(writing.file)).await?;
    Ok(match &now {
        Some(entry) if entry.version == version => judge(entry),
        Some(entry) if entry.version > version => {
            let history = read(client, writing, client.ledger.history(writing.file)).await?;
            history.iter().find(|entry| entry.version == version).map_or(Fate::Forgotten, judge)
        }
        _ => Fate::Open,
    })
}

/// What the ledger says. Puts wait for whoever looks at what was left: it must not wait for ever.
async fn read<T>(
    client: &Shared,
    writing: &Writing,
    reading: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T> {
    match client.rt.timeout(client.settings.timeout, reading).await {
        Ok(read) => read.map_err(|error| ledger_failed(error, Some(&writing.path))),
        Err(elapsed) => Err(ledger_timeout(elapsed.0)),
    }
}

/// A put that another one goes on with.
pub(super) enum Earlier {
    /// It was committed, and nobody was told: the file as it is.
    Committed(Manifest, u32, Notes),
    /// Some of its shards are at nodes.
    Begun(Unfinished),
}

/// A put that was begun.
pub(super) struct Unfinished {
    pub(super) begun: Begun,
    pub(super) offered: Vec<Offered>,
    pub(super) undecided: Option<Undecided>,
    pub(super) notes: Notes,
}

/// A record that was written, is not there, and may still come. Another record of the same content would make its
/// writer take it for somebody else's, and retire the shards of both: so it is written again as it is, or not at all.
pub(super) struct Undecided {
    pub(super) record: Vec<u8>,
    pub(super) manifest: Manifest,
}

impl Undecided {
    /// The record that `writing` put after the version in `slot`.
    fn of(client: &Shared, slot: &Slot, writing: &Writing) -> Option<Self> {
        let record = writing.record.clone().filter(|_| writing.expected == slot.version())?;
        let version = writing.expected.checked_add(1)?;
        let place = RecordPlace { ledger: client.ledger.id(), file: slot.file_id, version };
        let manifest = open_record(&client.owner, place, &record).ok()?;
        Some(Self { record, manifest })
    }

    /// Where its shards are.
    fn offered(&self) -> Vec<Offered> {
        let shards = self.manifest.shards.iter().enumerate().zip(0..);
        let offered = shards.map(|((at, shard), index)| Offered {
            index,
            node: self.manifest.holder(at).clone(),
            generation: shard.generation,
        });
        offered.collect()
    }

    /// Whether `manifest` names the same shards at the same nodes.
    pub(super) fn names(&self, manifest: &Manifest) -> bool {
        let shards = |manifest: &Manifest| -> Vec<_> {
            let shards = manifest.shards.iter().enumerate();
            shards.map(|(at, shard)| (manifest.holder(at).id, shard.root, shard.generation)).collect()
        };
        let content = |manifest: &Manifest| (manifest.content_hash, manifest.size, manifest.padded);
        shards(&self.manifest) == shards(manifest) && content(&self.manifest) == content(manifest)
    }
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
        if !left.fits(order, mark) || !left.is_resumable(now.since(left.at())) {
            continue;
        }
        let fate = match &left.writing {
            Some(writing) => fate(client, writing).await?,
            None => Fate::Open,
        };
        match fate {
            Fate::Happened => {
                let record = left.writing.as_ref().and_then(|writing| writing.record.as_ref());
                // It may have happened since the slot was read.
                let now = Slot::read(client, order.path.clone()).await?;
                if let Some((manifest, version)) = record.and_then(|record| current(client, &now, record))
                    && source.is(&client.rt, manifest.size, manifest.content_hash).await?
                {
                    if let Some(writing) = left.writing.as_ref().filter(|_| !left.is_written) {
                        follow(client, writing).await?;
                    }
                    return Ok(Some(Earlier::Committed(manifest, version, notes)));
                }
            }
            Fate::Open => {
                let Some(begun) = left.begun else { continue };
                let undecided = left.writing.as_ref().map(|writing| Undecided::of(client, slot, writing));
                let (offered, undecided) = match undecided {
                    None => (left.offered, None),
                    Some(Some(undecided)) => (undecided.offered(), Some(undecided)),
                    Some(None) => continue,
                };
                return Ok(Some(Earlier::Begun(Unfinished { begun, offered, undecided, notes })));
            }
            Fate::Lost | Fate::Forgotten => {}
        }
    }
    Ok(None)
}

/// The saves of `path` that were cut off.
pub(super) async fn fetched(client: &Arc<Shared>, path: &FilePath) -> Result<Vec<(Notes, Fetching)>> {
    let _ = client.settled.recv().await;
    let found = Notes::claim(client, Some(path)).await?;
    Ok(found.into_iter().filter_map(|(notes, left)| Some((notes, Left::of(left).fetching?))).collect())
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
    if let Some(Fetching { part, .. }) = left.fetching {
        if age > RESUMABLE {
            // Gone already, or not to be removed: it is no more than a file that its user sees.
            let removed = client.rt.blocking(move || std::fs::remove_file(part)).await;
            tracing::debug!(was_there = removed.is_ok(), "a part of a local file was given up");
            notes.remove().await;
        }
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
    match left.writing.as_ref() {
        Some(writing) if fate == Fate::Happened => {
            if !left.is_written {
                follow(client, writing).await?;
                notes.add(&Note::Written).await?;
            }
            // Nobody was told of a put: until it is too old, the same put is told that it has happened.
            if writing.record.is_none() || left.is_told() || age > RESUMABLE {
                notes.remove().await;
            }
        }
        _ => match left.due(fate, now, client.ledger.decides_within()) {
            Due::Wait => {}
            Due::Abandon => client.abandon(left.own_shards(), notes),
            Due::Forget => notes.remove().await,
        },
    }
    Ok(())
}

/// What follows from a write that happened.
async fn follow(client: &Arc<Shared>, writing: &Writing) -> Result<()> {
    spread(client, writing);
    retire_apart(client, writing).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::ContentKey;
    use crate::path::FilePath;
    use crate::scheme::{Padding, Scheme};

    const HOUR: Duration = Duration::from_secs(3600);

    fn path() -> FilePath {
        FilePath::new("x").expect("a path")
    }

    /// A put that was begun at the start of time, and written, if it was, so much later.
    fn left(written: Option<Duration>) -> Left {
        let begun = Begun {
            path: path(),
            at: Timestamp::default(),
            key: ContentKey::new([1; 32]),
            scheme: Scheme::STANDARD,
            padding: Padding::None,
            attributes: Vec::new(),
            source: Some([2; 32]),
        };
        let writing = written.map(|after| Writing {
            path: path(),
            at: Timestamp::default().after(after),
            file: FileId::new([3; 32]),
            expected: 0,
            record: Some(vec![4]),
            replaced: None,
        });
        Left { begun: Some(begun), writing, ..Left::default() }
    }

    #[test]
    fn shards_of_a_write_that_may_still_come_are_never_retired() {
        for (written, now) in [(25, 25), (0, 24), (0, 8 * 24), (22, 9 * 24), (0, 100 * 24)] {
            let due = left(Some(HOUR * written)).due(Fate::Open, Timestamp::default().after(HOUR * now), None);
            assert_ne!(due, Due::Abandon, "written after {written} h, looked at after {now}");
        }
    }

    #[test]
    fn shards_that_no_record_can_name_are_retired_when_nobody_can_go_on_with_them() {
        let due = |written, fate, now| left(written).due(fate, Timestamp::default().after(HOUR * now), None);
        let decided = |now| left(Some(HOUR)).due(Fate::Open, Timestamp::default().after(HOUR * now), Some(HOUR));
        assert_eq!(decided(22), Due::Wait, "the same put may go on");
        assert_eq!(decided(24), Due::Abandon, "such a write never comes");
        assert_eq!(due(None, Fate::Open, 22), Due::Wait);
        assert_eq!(due(None, Fate::Open, 24), Due::Abandon);
        assert_eq!(due(Some(HOUR), Fate::Lost, 2), Due::Abandon);
        assert_eq!(due(Some(HOUR), Fate::Forgotten, 2), Due::Forget);
    }

    #[test]
    fn a_put_that_was_told_is_not_gone_on_with() {
        let told = Left { tried: Some(Timestamp::default()), ..left(Some(HOUR)) };
        assert!(left(Some(HOUR)).is_resumable(HOUR) && !told.is_resumable(HOUR));
    }
}
