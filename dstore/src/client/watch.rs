//! Writes that were acknowledged and that a reorg may still undo: watched until nothing can.
//!
//! Invariant: what such a write replaced is retired only when nothing can undo it, and what a reorg took is written again
//! as it was, after what it was made upon. Nothing is remembered here: the notes say what is watched.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::note::{Note, Notes, SharedJournal};
use super::settle::{HOPELESS, Left, REST};
use super::slot::Slot;
use super::write::{Fate, Ground, Write};
use super::{Reporter, Shared};
use crate::error::Result;
use crate::journal::{Journal, MemoryJournal};
use crate::ledger::LedgerError;
use crate::manifest::{Manifest, RecordPlace, open_record};
use crate::path::FilePath;

/// How often somebody looks.
const LOOK: Duration = Duration::from_secs(30);
/// For how long that often: what is not settled by then is looked at after each [`REST`].
const SOON: Duration = Duration::from_secs(3600);
/// Writes that the ledger is asked about at once.
const AT_ONCE: usize = 16;

/// Where a client notes what it watches, and whether it does.
#[derive(Debug)]
pub(super) struct Watch {
    /// That of the client; of a client without one, one that ends with it.
    pub(super) journal: Arc<dyn Journal>,
    /// Held while logs are looked at, so that nobody takes those for gone. Not `async_lock`'s, which asks the system
    /// for the time.
    pub(super) turn: futures_util::lock::Mutex<()>,
    task: Mutex<Task>,
}

/// The task that looks from time to time.
#[derive(Debug, Default)]
struct Task {
    runs: bool,
    /// Whether there is something new since it looked.
    is_wanted: bool,
}

impl Watch {
    pub(super) fn new(journal: &SharedJournal) -> Self {
        let journal = journal.clone().unwrap_or_else(|| Arc::new(MemoryJournal::default()));
        Self { journal, turn: futures_util::lock::Mutex::default(), task: Mutex::default() }
    }

    fn task(&self) -> MutexGuard<'_, Task> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write that is watched, and its log.
struct Watched {
    notes: Notes,
    left: Left,
    write: Write,
}

impl Shared {
    /// What follows from a write that was confirmed: what it replaced is retired, at once or when nothing can undo it.
    /// When this returns, its end is taken care of whatever becomes of this process.
    pub(super) async fn acknowledge(self: &Arc<Self>, write: &Write, notes: Option<Notes>, reporter: Reporter) {
        if super::write::is_final(self, write.written()).await {
            return self.retire(write.replaced(), reporter, notes);
        }
        let note = Note::Acknowledged { at: self.rt.now(), ledger: self.ledger.id() };
        self.watch_with(write, notes, note).await;
    }

    /// What follows from a put that another writer's was faster than: its shards are retired, at once or when that is sure.
    pub(super) async fn yield_to(
        self: &Arc<Self>,
        write: &Write,
        manifest: &Manifest,
        notes: Option<Notes>,
        reporter: Reporter,
    ) {
        match notes {
            _ if !self.ledger.is_final_at_once() => self.watch_with(write, notes, Note::GivenUp).await,
            Some(notes) => self.abandon(super::edit::Abandoned::all_of(manifest), notes),
            None => self.retire(super::edit::Abandoned::all_of(manifest), reporter, None),
        }
    }

    /// Notes why a write is watched, and watches it.
    async fn watch_with(self: &Arc<Self>, write: &Write, notes: Option<Notes>, note: Note) {
        let noted = async {
            let mut notes = match notes {
                Some(notes) => notes,
                None => Notes::begin_watched(self, write).await?,
            };
            notes.add(&note).await
        };
        if let Err(error) = noted.await {
            tracing::warn!(%error, file = %write.writing.file, "a write that can still be undone is not watched");
        }
        start(self);
    }

    /// Sees to it that what this client was told of the files in `slots`, and of others that came from there, is there
    /// before one of them is written: what a reorg took is written again, and nothing else before it. Answers whether something was written, so that the slots
    /// must be read again.
    pub(super) async fn uphold(self: &Arc<Self>, slots: &[&Slot]) -> Result<bool> {
        if self.ledger.is_final_at_once() {
            return Ok(false);
        }
        let _turn = self.watch.turn.lock().await;
        let (watched, others) = claim(self).await?;
        let concerned = concerned(self, slots, &watched, &others);
        let mut is_gone = false;
        for Watched { left, write, .. } in &watched {
            if left.is_acknowledged() && concerned.contains(write) {
                is_gone |= write.fate(self).await? == Fate::Open;
            }
        }
        if !is_gone {
            return Ok(false);
        }
        let mut gone = Vec::new();
        for watched in watched {
            if watched.left.is_acknowledged() && watched.write.fate(self).await? == Fate::Open {
                gone.push(watched);
            }
        }
        let (still, is_written) = bring_back(self, gone, others).await;
        let (mut is_missing, mut is_possible) = (false, false);
        for write in still.iter().filter_map(|left| left.write.as_ref()) {
            if write.fate(self).await? == Fate::Open {
                is_missing |= concerned.contains(write);
                is_possible |= write.ground(self).await? == Ground::Ready;
            }
        }
        // What cannot come back in any way holds nobody up.
        if is_missing && is_possible {
            let what = "the chain went on without an earlier write of this file, which could not be made again yet";
            return Err(LedgerError::Unavailable { what: what.to_owned(), source: None }.into());
        }
        Ok(is_written)
    }
}

/// The writes that change the files in `slots`, and those that were made upon them, at whatever paths.
fn concerned(client: &Shared, slots: &[&Slot], watched: &[Watched], others: &[Watched]) -> Vec<Write> {
    let all = watched.iter().chain(others).map(|watched| &watched.write);
    let is_here = |write: &Write| slots.iter().any(|slot| write.concerns(&slot.path));
    let (mut concerned, mut rest): (Vec<&Write>, Vec<&Write>) = all.partition(|write| is_here(write));
    let mut at = 0;
    while let Some(made) = concerned.get(at).copied() {
        let (upon, not): (Vec<_>, Vec<_>) = rest.into_iter().partition(|write| write.is_upon(client, made));
        concerned.extend(upon);
        (rest, at) = (not, at + 1);
    }
    concerned.into_iter().cloned().collect()
}

/// Looks from time to time, until nothing is left to be watched or the client is gone.
fn start(client: &Arc<Shared>) {
    let mut task = client.watch.task();
    task.is_wanted = true;
    if std::mem::replace(&mut task.runs, true) {
        return;
    }
    drop(task);
    let (watcher, rt) = (Arc::downgrade(client), client.rt.clone());
    client.rt.detach(async move {
        let mut pause = LOOK;
        loop {
            rt.sleep(pause).await;
            let Some(client) = watcher.upgrade() else { return };
            client.watch.task().is_wanted = false;
            let next = look(&client).await;
            let mut task = client.watch.task();
            if next.is_none() && !task.is_wanted {
                task.runs = false;
                return;
            }
            pause = next.unwrap_or(LOOK);
        }
    });
}

/// Looks at what earlier clients were told, and goes on watching it.
pub(super) async fn take_over(client: &Arc<Shared>) {
    if !client.ledger.is_final_at_once() && look(client).await.is_some() {
        start(client);
    }
}

/// The logs of writes that are watched, in the order in which the writes were made, and of those that are not.
async fn claim(client: &Shared) -> Result<(Vec<Watched>, Vec<Watched>)> {
    let found = Notes::claim(client, None).await?.into_iter();
    let found = found.filter_map(|(notes, left)| {
        let left = Left::of(left);
        let write = left.write.clone().filter(|_| left.is_about(client))?;
        Some(Watched { notes, left, write })
    });
    let mut found: Vec<Watched> = found.collect();
    found.sort_by_key(|watched| (watched.write.writing.at, watched.write.writing.expected));
    Ok(found.into_iter().partition(|watched| watched.left.is_watched()))
}

/// Looks once. Answers when to look again; `None` when nothing is left to be watched.
async fn look(client: &Arc<Shared>) -> Option<Duration> {
    let _turn = client.watch.turn.lock().await;
    let (watched, others) = match claim(client).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot look at what can still be undone");
            return Some(REST);
        }
    };
    let now = client.rt.now();
    let mut next = None;
    let mut later = |left: &Left| {
        let pause = if now.since(left.at()) < SOON { LOOK } else { REST };
        next = Some(next.map_or(pause, |next: Duration| next.min(pause)));
    };
    let (rests, due): (Vec<_>, Vec<_>) = watched.into_iter().partition(|watched| watched.left.rests(now));
    rests.iter().for_each(|watched| later(&watched.left));
    let fates = stream::iter(due).map(|watched| async move { (watched.write.fate(client).await, watched) });
    let fates: Vec<_> = fates.buffered(AT_ONCE).collect().await;
    let mut gone = Vec::new();
    for (fate, watched) in fates {
        let Watched { left, write, .. } = &watched;
        let is_hopeless = now.since(left.at()) > HOPELESS;
        match fate {
            Ok(Fate::Happened) if !is_hopeless => conclude(client, watched),
            Ok(Fate::Lost) => {
                if let Err(watched) = lose(client, watched).await {
                    later(&watched.left);
                }
            }
            Ok(Fate::Happened | Fate::Forgotten) => watched.notes.remove().await,
            _ if is_hopeless => {
                tracing::warn!(file = %write.writing.file, version = write.written().version, "a write that can still be undone is not watched any more");
                watched.notes.remove().await;
            }
            Ok(Fate::Open) if left.is_acknowledged() => gone.push(watched),
            Ok(Fate::Open | Fate::Shown | Fate::Contested) => later(left),
            Err(error) => {
                tracing::debug!(%error, "cannot tell what became of a write that can still be undone");
                later(left);
            }
        }
    }
    let (still, _) = bring_back(client, gone, others).await;
    still.iter().for_each(later);
    next
}

/// Nothing can undo it any more: what it replaced is retired, and then its log removed.
fn conclude(client: &Arc<Shared>, Watched { notes, left, write }: Watched) {
    if !left.is_acknowledged() {
        super::settle::spread(client, &write);
    }
    client.retire(write.replaced(), Reporter::default(), Some(notes));
}

/// Another writer has taken its place for good. Gives it back when nobody can tell what its content is of use for.
async fn lose(client: &Arc<Shared>, watched: Watched) -> Result<(), Watched> {
    let Watched { left, write, .. } = &watched;
    if left.is_acknowledged() {
        tracing::warn!(
            file = %write.writing.file,
            version = write.written().version,
            code = "version_conflict",
            "a write that was acknowledged is lost: the chain went on without it, and another writer took its place"
        );
    }
    match is_named(client, write).await {
        Ok(false) => client.abandon(watched.left.own_shards(client), watched.notes),
        Ok(true) => watched.notes.remove().await,
        Err(error) => {
            tracing::debug!(%error, "cannot tell whether a content is of use elsewhere");
            return Err(watched);
        }
    }
    Ok(())
}

/// Whether a record of the ledger names the content of a put that was lost: whoever saw it there may have moved it.
pub(super) async fn is_named(client: &Shared, write: &Write) -> Result<bool> {
    if client.ledger.is_final_at_once() || write.from.is_some() {
        return Ok(false);
    }
    let Some(lost) = write.manifest(client) else { return Ok(false) };
    let mut cursor = None;
    loop {
        let page = client.ledger.list(client.owner.id(), cursor).await?;
        for entry in page.entries {
            let place = RecordPlace { ledger: client.ledger.id(), file: entry.file_id, version: entry.version };
            let named = open_record(&client.owner, place, &entry.record)?;
            if named.content_key.content_id() == lost.content_key.content_id() {
                return Ok(true);
            }
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(false),
        }
    }
}

/// Writes again what a reorg took, each after what it was made upon; `others` are writes that nobody was told of, and
/// that are made again only where another one was made upon them. Answers what is watched on, and whether anything was written.
async fn bring_back(client: &Arc<Shared>, mut gone: Vec<Watched>, mut others: Vec<Watched>) -> (Vec<Left>, bool) {
    let (mut watched, mut was_written) = (Vec::new(), false);
    while !gone.is_empty() {
        let grounds = stream::iter(gone).map(|gone| async move { (gone.write.ground(client).await, gone) });
        let grounds: Vec<_> = grounds.buffered(AT_ONCE).collect().await;
        let (mut ready, mut behind) = (Vec::new(), Vec::new());
        for (ground, gone) in grounds {
            match ground {
                Ok(Ground::Ready) => ready.push(gone),
                Ok(Ground::Behind) => behind.push(gone),
                Ok(Ground::Taken(true)) if gone.left.is_acknowledged() => {
                    watched.extend(lose(client, gone).await.err().map(|gone| gone.left));
                }
                Ok(Ground::Taken(_)) => watched.push(gone.left),
                Err(error) => {
                    tracing::debug!(%error, "cannot tell whether a write can be made again");
                    watched.push(gone.left);
                }
            }
        }
        // What those that are behind were made upon, if a reorg took it too.
        let is_needed = |other: &Watched| behind.iter().any(|behind| behind.write.is_upon(client, &other.write));
        let (more, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(is_needed);
        others = rest;
        let (is_more, mut is_written) = (!more.is_empty(), false);
        let made = stream::iter(ready).map(|gone| async move { (gone.write.bring_back(client).await, gone) });
        let made: Vec<_> = made.buffered(AT_ONCE).collect().await;
        for (made, gone) in made {
            let file = gone.write.writing.file;
            match made {
                Ok(()) => {
                    tracing::info!(%file, "a write that the chain went on without was made again");
                    is_written = true;
                }
                Err(LedgerError::VersionConflict { .. }) => is_written = true,
                Err(error) => {
                    tracing::warn!(%file, error = &error as &dyn std::error::Error, "a write that the chain went on without could not be made again yet");
                }
            }
            watched.push(gone.left);
        }
        was_written |= is_written;
        gone = behind;
        gone.extend(more);
        if !is_written && !is_more {
            break;
        }
    }
    watched.extend(gone.into_iter().map(|gone| gone.left));
    (watched, was_written)
}

impl Shared {
    /// The place of `path` for a write: with all that this client was told of it.
    pub(super) async fn slot_to_write(self: &Arc<Self>, path: FilePath) -> Result<Slot> {
        let slot = Slot::read(self, path).await?;
        if !self.uphold(&[&slot]).await? {
            return Ok(slot);
        }
        Slot::read(self, slot.path).await
    }
}
