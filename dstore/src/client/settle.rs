//! What earlier operations left: found in the journal, and finished, undone, or kept for the same put to go on with.
//!
//! Invariant: a shard is retired only when the ledger says that no record names it, and never on a guess.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::edit::Abandoned;
use super::note::{Begun, Fetching, Note, Notes, Offered, Writing};
use super::slot::Slot;
use super::source::OpenSource;
use super::upload::Order;
use super::write::{Fate, Write};
use super::{Reporter, Shared, watch};
use crate::error::Result;
use crate::id::LedgerId;
use crate::manifest::Manifest;
use crate::path::FilePath;
use crate::rt::Timestamp;

/// How long an unfinished put can be gone on with: a little less than nodes keep their parts of it (docs/wire.md 7.3).
const RESUMABLE: Duration = Duration::from_secs(23 * 3600);
/// How long what could not be finished is left alone before it is tried again.
pub(super) const REST: Duration = Duration::from_secs(600);
/// How often a client that runs on looks again.
const AGAIN: Duration = Duration::from_secs(3600);
/// How long it is tried at all: then its leases end.
pub(super) const HOPELESS: Duration = Duration::from_secs(8 * 24 * 3600);

/// What the notes of one operation say together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Left {
    pub(super) begun: Option<Begun>,
    pub(super) offered: Vec<Offered>,
    pub(super) write: Option<Write>,
    retire: Option<(Timestamp, Manifest)>,
    fetching: Option<Fetching>,
    tried: Option<Timestamp>,
    is_written: bool,
    is_given_up: bool,
    /// By which ledger, and that it may still be undone there.
    acknowledged: Option<LedgerId>,
}

impl Left {
    pub(super) fn of(notes: Vec<Note>) -> Self {
        let mut left = Self::default();
        for note in notes {
            match note {
                Note::Put(begun) => left.begun = Some(begun),
                Note::Offered(offered) => left.offered.extend(offered),
                Note::Writing(writing) => left.write = Some(Write { writing, from: None }),
                Note::Renaming { from, expected, to } => {
                    left.write = Some(Write { writing: to, from: Some((from, expected)) });
                }
                Note::Acknowledged { ledger, .. } => left.acknowledged = Some(ledger),
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
    pub(super) fn at(&self) -> Timestamp {
        let writing = self.write.as_ref().map(|write| write.writing.at);
        let retire = self.retire.as_ref().map(|(at, _)| *at);
        let fetching = self.fetching.as_ref().map(|fetching| fetching.at);
        self.begun.as_ref().map(|begun| begun.at).or(writing).or(retire).or(fetching).unwrap_or_default()
    }

    /// Whether somebody was told that it has happened: then the same put is another one.
    fn is_told(&self) -> bool {
        self.tried.is_some() || self.is_acknowledged()
    }

    /// Whether somebody was told while a reorg could still undo it.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.acknowledged.is_some()
    }

    /// Whether its end is for the ledger alone to decide, where that takes its time: it happened, or it was lost.
    pub(super) fn is_watched(&self) -> bool {
        self.write.is_some() && (self.is_acknowledged() || self.is_given_up)
    }

    /// Whether the ledger of this client is the one that was written.
    pub(super) fn is_about(&self, client: &Shared) -> bool {
        self.acknowledged.is_none_or(|ledger| ledger == client.ledger.id())
            && self.write.as_ref().is_none_or(|write| !write.is_foreign(client))
    }

    /// Whether it is left alone for a while.
    pub(super) fn rests(&self, now: Timestamp) -> bool {
        self.tried.is_some_and(|tried| now.since(tried) < REST)
    }

    /// Whether the same put may go on with it later, at `age`.
    fn is_resumable(&self, age: Duration) -> bool {
        let readable = self.begun.as_ref().is_some_and(|begun| begun.source.is_some());
        readable && age <= RESUMABLE && !self.is_given_up && !self.is_told()
    }

    /// What to do with what did not happen, where a ledger decides within `decided`.
    fn due(&self, fate: Fate, now: Timestamp, decided: Option<Duration>) -> Due {
        let age = now.since(self.at());
        match (fate, self.write.as_ref().map(|write| &write.writing)) {
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
    pub(super) fn own_shards(&self, client: &Shared) -> Vec<Abandoned> {
        let Some(begun) = &self.begun else {
            // A rename has no content of its own.
            let put = self.write.as_ref().filter(|write| write.from.is_none());
            return put.and_then(|put| put.manifest(client)).as_ref().map(Abandoned::all_of).unwrap_or_default();
        };
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

/// A put that another one goes on with.
pub(super) enum Earlier {
    /// It was committed, and nobody was told.
    Committed(Told),
    /// Some of its shards are at nodes.
    Begun(Unfinished),
}

/// A put that has happened: the file as it is.
pub(super) struct Told {
    pub(super) manifest: Manifest,
    pub(super) version: u32,
    /// The write, if a reorg may still undo it.
    pub(super) shown: Option<Write>,
    pub(super) notes: Notes,
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
    /// The record that `write` put after the version in `slot`.
    fn of(client: &Shared, slot: &Slot, write: &Write) -> Option<Self> {
        let record = write.writing.record.clone().filter(|_| write.writing.expected == slot.version())?;
        Some(Self { manifest: write.manifest(client)?, record })
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
    let now = client.rt.now();
    for (notes, left) in claim(client, &order.path).await? {
        let left = Left::of(left);
        if !left.fits(order, mark) || !left.is_resumable(now.since(left.at())) || !left.is_about(client) {
            continue;
        }
        let fate = match &left.write {
            Some(write) => write.fate(client).await?,
            None => Fate::Open,
        };
        match (fate, left.write) {
            (Fate::Happened | Fate::Shown, Some(write)) => {
                // It may have happened since the slot was read.
                let now = Slot::read(client, order.path.clone()).await?;
                if let Some((manifest, version)) = current(client, &now, &write)
                    && source.is(&client.rt, manifest.size, manifest.content_hash).await?
                {
                    if fate == Fate::Happened && !left.is_written {
                        follow(client, &write).await?;
                    }
                    if fate == Fate::Shown {
                        spread(client, &write);
                    }
                    let shown = (fate == Fate::Shown).then_some(write);
                    return Ok(Some(Earlier::Committed(Told { manifest, version, shown, notes })));
                }
            }
            (Fate::Open, write) => {
                let Some(begun) = left.begun else { continue };
                let undecided = write.as_ref().map(|write| Undecided::of(client, slot, write));
                let (offered, undecided) = match undecided {
                    None => (left.offered, None),
                    Some(Some(undecided)) => (undecided.offered(), Some(undecided)),
                    Some(None) => continue,
                };
                return Ok(Some(Earlier::Begun(Unfinished { begun, offered, undecided, notes })));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The logs that earlier operations on `path` left.
async fn claim(client: &Shared, path: &FilePath) -> Result<Vec<(Notes, Vec<Note>)>> {
    // A start of this client may be looking at the same logs, and so may whoever watches.
    let _ = client.settled.recv().await;
    let _turn = client.watch.turn.lock().await;
    Notes::claim(client, Some(path)).await
}

/// The saves of `path` that were cut off.
pub(super) async fn fetched(client: &Arc<Shared>, path: &FilePath) -> Result<Vec<(Notes, Fetching)>> {
    let found = claim(client, path).await?;
    Ok(found.into_iter().filter_map(|(notes, left)| Some((notes, Left::of(left).fetching?))).collect())
}

/// The manifest in the record of `write`, if that is what the slot holds now.
fn current(client: &Shared, slot: &Slot, write: &Write) -> Option<(Manifest, u32)> {
    let entry = slot.entry().filter(|entry| Some(&entry.record) == write.writing.record.as_ref())?;
    Some((write.manifest(client)?, entry.version))
}

/// Looks at everything that earlier operations left, but for what is watched. What needs nodes goes on in the background;
/// the rest is done when this returns.
pub(super) async fn run(client: &Arc<Shared>) {
    let found = {
        let _turn = client.watch.turn.lock().await;
        Notes::claim(client, None).await
    };
    let found = match found {
        Ok(found) => found.into_iter().map(|(notes, left)| (notes, Left::of(left))),
        Err(error) => return tracing::warn!(%error, "cannot look at what earlier operations left"),
    };
    // What others look at is let go first.
    let is_watched = |left: &Left| left.is_watched() && !client.ledger.is_final_at_once();
    let found: Vec<_> = found.filter(|(_, left)| !is_watched(left)).collect();
    for (notes, left) in found {
        if let Err(error) = settle(client, notes, left).await {
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
    if left.rests(now) {
        return Ok(());
    }
    if !left.is_about(client) {
        // A client of the ledger that was written may still come.
        if age > HOPELESS {
            notes.remove().await;
        }
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
    let fate = match &left.write {
        Some(_) if left.is_written => Fate::Happened,
        Some(write) => write.fate(client).await?,
        None => Fate::Open,
    };
    match (fate, &left.write) {
        (Fate::Happened, Some(write)) => {
            if !left.is_written {
                follow(client, write).await?;
                notes.add(&Note::Written).await?;
            }
            // Nobody was told of a put: until it is too old, the same put is told that it has happened.
            if left.begun.is_none() || left.is_told() || age > RESUMABLE {
                notes.remove().await;
            }
        }
        // What a reorg may still take, or bring back, is left as it is; the copies say what the ledger says.
        (Fate::Shown, Some(write)) if age <= HOPELESS => spread(client, write),
        (Fate::Shown | Fate::Contested, _) if age <= HOPELESS => {}
        (_, write) => match left.due(fate, now, client.ledger.decides_within()) {
            Due::Wait => {}
            Due::Abandon => match write {
                Some(write) if watch::is_named(client, write).await? => notes.remove().await,
                _ => client.abandon(left.own_shards(client), notes),
            },
            Due::Forget => notes.remove().await,
        },
    }
    Ok(())
}

/// What follows from a write that happened.
async fn follow(client: &Arc<Shared>, write: &Write) -> Result<()> {
    spread(client, write);
    retire_apart(client, &write.writing).await
}

/// Brings the copies of a record to their nodes, in the background: they may have some already.
pub(super) fn spread(client: &Arc<Shared>, write: &Write) {
    let manifest = write.manifest(client).or_else(|| write.writing.replaced.clone());
    let Some(manifest) = manifest else { return };
    let copies = write.copies(client);
    client.background(async move |client: Arc<Shared>| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::FileId;
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
        let writing = |after| Writing {
            path: path(),
            at: Timestamp::default().after(after),
            file: FileId::new([3; 32]),
            expected: 0,
            record: Some(vec![4]),
            replaced: None,
        };
        let write = written.map(|after| Write { writing: writing(after), from: None });
        Left { begun: Some(begun), write, ..Left::default() }
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
        let acknowledged = Left { acknowledged: Some(LedgerId::new([5; 32])), ..left(Some(HOUR)) };
        assert!(left(Some(HOUR)).is_resumable(HOUR));
        assert!(!told.is_resumable(HOUR) && !acknowledged.is_resumable(HOUR));
    }
}
