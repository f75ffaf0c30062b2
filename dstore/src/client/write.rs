//! A write to the ledger as a value: made, looked for, and made again as it was when a chain went on without it.
//!
//! Invariant: the same write is the same bytes under the same expected versions, over the very versions that it replaced:
//! made twice it takes effect once.

use std::sync::Arc;

use super::Shared;
use super::edit::Abandoned;
use super::note::{Note, Writing};
use super::slot::{Slot, ledger_timeout};
use crate::copy::RecordCopy;
use crate::error::{Error, Result};
use crate::id::FileId;
use crate::ledger::{Coming, Entry, EventKind, Finality, LedgerError, Written, file_id};
use crate::manifest::{Manifest, RecordPlace, open_record};
use crate::path::FilePath;
use crate::rt::BoxFuture;

/// How often a write that a reorg took back is made again while its caller waits.
const ATTEMPTS: usize = 5;

/// A put, a remove or a rename, as the ledger is told of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    /// What it does at its path; of a rename, where the file arrives.
    pub(super) writing: Writing,
    /// Where a rename takes the file from, and which version.
    pub(super) from: Option<(FilePath, u32)>,
}

/// What became of a write that did not simply succeed.
pub(super) enum Refused {
    /// It did not happen, and will not: what it would have named is of no use.
    Never(Error),
    /// Another write is there instead. On a chain that may still change.
    Lost(Error),
    /// Nobody knows yet.
    Unknown(Error),
}

impl Refused {
    pub(super) fn error(self) -> Error {
        match self {
            Self::Never(error) | Self::Lost(error) | Self::Unknown(error) => error,
        }
    }
}

/// What became of a write to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is there, or was, and nothing can undo it.
    Happened,
    /// It is there, and a reorg may undo it.
    Shown,
    /// Another one took its place for good.
    Lost,
    /// Another one has its place, and a reorg may undo that.
    Contested,
    /// It is not there, and may still come.
    Open,
    /// The ledger no longer tells.
    Forgotten,
}

/// What a write that is not there would meet if it was made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// The versions that it replaces, as they were.
    Ready,
    /// An older version: what it was made upon is not there either.
    Behind,
    /// What another writer has put there; whether for good.
    Taken(bool),
}

impl Write {
    /// A put of `record` over the version `expected`, or with none a removal; `replaced` is what no record names then.
    pub(super) fn new(
        client: &Shared,
        slot: &Slot,
        expected: u32,
        record: Option<Vec<u8>>,
        replaced: Option<Manifest>,
    ) -> Self {
        let (path, at, file) = (slot.path.clone(), client.rt.now(), slot.file_id);
        Self { writing: Writing { path, at, file, expected, record, replaced }, from: None }
    }

    /// The move of the file in `old` to `new`, where `record` is written.
    pub(super) fn rename(client: &Shared, old: &Slot, new: &Slot, record: Vec<u8>) -> Self {
        let from = Some((old.path.clone(), old.version()));
        Self { from, ..Self::new(client, new, new.version(), Some(record), None) }
    }

    pub(super) fn note(&self) -> Note {
        match self.from.clone() {
            Some((from, expected)) => Note::Renaming { from, expected, to: self.writing.clone() },
            None => Note::Writing(self.writing.clone()),
        }
    }

    /// Whether it changes the file at `path`.
    pub(super) fn concerns(&self, path: &FilePath) -> bool {
        self.writing.path == *path || self.from.as_ref().is_some_and(|(from, _)| from == path)
    }

    /// The file and the version that it must be made upon, twice for a rename.
    pub(super) fn upon(&self, client: &Shared) -> Vec<(FileId, u32)> {
        let file = |path| file_id(client.owner.id(), client.owner.path_salt(path));
        let from = self.from.iter().map(|(path, version)| (file(path), *version));
        from.chain([(self.writing.file, self.writing.expected)]).collect()
    }

    /// The files and versions that it makes.
    pub(super) fn makes(&self, client: &Shared) -> Vec<(FileId, u32)> {
        self.upon(client).into_iter().map(|(file, version)| (file, version.saturating_add(1))).collect()
    }

    /// Whether it was made upon what `other` makes, and not upon another write of the same version.
    pub(super) fn is_upon(&self, client: &Shared, other: &Self) -> bool {
        let made = other.makes(client);
        let left = |at: &(FileId, u32)| match made.iter().rposition(|made| made == at) {
            Some(last) if last + 1 == made.len() => Some(other.manifest(client)),
            // It has moved away.
            Some(_) => Some(None),
            None => None,
        };
        let upon = self.upon(client);
        let is_here = upon.last().and_then(left).is_some_and(|left| left == self.writing.replaced);
        let moved = self.from.as_ref().and_then(|_| left(upon.first()?)?);
        let moved = moved.map(|moved| Manifest { path: self.writing.path.clone(), ..moved });
        is_here || (moved.is_some() && moved == self.manifest(client))
    }

    /// The answer of a ledger that took it.
    pub(super) fn written(&self) -> Written {
        let Writing { file, expected, record, .. } = &self.writing;
        Written::new(*file, expected.saturating_add(1), record.as_deref().unwrap_or_default())
    }

    /// The manifest in its record, if that is one of this client's owner and ledger.
    pub(super) fn manifest(&self, client: &Shared) -> Option<Manifest> {
        let Written { file_id: file, version, .. } = self.written();
        let place = RecordPlace { ledger: client.ledger.id(), file, version };
        open_record(&client.owner, place, self.writing.record.as_ref()?).ok()
    }

    /// Whether it may have been made for another ledger: then this one says nothing about it.
    pub(super) fn is_foreign(&self, client: &Shared) -> bool {
        self.writing.record.is_some() && self.manifest(client).is_none()
    }

    /// The shards that no record names once nothing can undo it.
    pub(super) fn replaced(&self) -> Vec<Abandoned> {
        self.writing.replaced.as_ref().map(Abandoned::all_of).unwrap_or_default()
    }

    /// The copies that nodes keep of it, in the order in which they are written: a file that moves is found twice
    /// between the two, and never not at all.
    pub(super) fn copies(&self, client: &Shared) -> Vec<RecordCopy> {
        let ledger = client.ledger.id();
        let kind = match (&self.writing.record, &self.from) {
            (None, _) => EventKind::Removed,
            (_, None) => EventKind::Put,
            (_, Some(_)) => EventKind::RenamedHere,
        };
        let copy =
            |(file, version), kind, record| RecordCopy { place: RecordPlace { ledger, file, version }, kind, record };
        let mut made = self.makes(client).into_iter().rev();
        let here = made.next().map(|made| copy(made, kind, self.writing.record.clone().unwrap_or_default()));
        let left = made.next().map(|made| copy(made, EventKind::RenamedAway, Vec::new()));
        here.into_iter().chain(left).collect()
    }

    /// Whether `entry`, which has its version, is what it made; `None` when the ledger does not give out what tells.
    /// Only the owner's key seals a record: one that does not open here was made up by whoever gave it out.
    fn is_ours(&self, client: &Shared, entry: &Entry) -> Option<bool> {
        let place = RecordPlace { ledger: client.ledger.id(), file: entry.file_id, version: entry.version };
        match &self.writing.record {
            Some(_) if entry.lacks_record() => None,
            Some(record) if entry.record == *record => Some(true),
            Some(_) if entry.is_live() => open_record(&client.owner, place, &entry.record).ok().map(|_| false),
            Some(_) => Some(false),
            None => Some(entry.kind == EventKind::Removed),
        }
    }

    fn issue<'a>(&self, client: &'a Shared) -> BoxFuture<'a, Result<Written, LedgerError>> {
        let (owner, ledger) = (client.owner.id(), &client.ledger);
        let salt = client.owner.path_salt(&self.writing.path);
        let expected = self.writing.expected;
        match (self.writing.record.clone(), &self.from) {
            (None, _) => ledger.remove(owner, salt, expected),
            (Some(record), None) => ledger.put(owner, salt, expected, record),
            (Some(record), Some((from, expected_from))) => {
                ledger.rename(owner, client.owner.path_salt(from), *expected_from, salt, expected, record)
            }
        }
    }

    /// Makes it, and waits until it is as settled as the ledger's configuration asks. `coming` is held until the ledger
    /// has answered for the first time.
    pub(super) async fn make(&self, client: &Arc<Shared>, coming: Coming) -> Result<Written, Refused> {
        let mut answer = self.issue(client).await;
        drop(coming);
        let mut was_taken = false;
        for _ in 0..ATTEMPTS {
            let written = match answer {
                Ok(written) => written,
                Err(LedgerError::VersionConflict { .. } | LedgerError::Unknown { .. }) => {
                    self.look_for(client, was_taken).await?
                }
                Err(LedgerError::Reorged) => {
                    was_taken = true;
                    answer = self.again(client).await?;
                    continue;
                }
                // What was taken once may come back.
                Err(error) if was_taken => return Err(Refused::Unknown(self.unknown(error))),
                Err(error) => return Err(Refused::Never(error.about(self.writing.path.as_str()))),
            };
            was_taken = true;
            answer = match client.ledger.wait(written, Finality::Confirmed).await {
                Ok(()) => return Ok(written),
                Err(LedgerError::Reorged) => self.again(client).await?,
                Err(error @ LedgerError::VersionConflict { .. }) => Err(error),
                Err(error) => return Err(Refused::Unknown(self.unknown(error))),
            };
        }
        Err(Refused::Unknown(self.unknown(LedgerError::Reorged)))
    }

    /// Makes it once more, unless it would fall upon what it was not made for.
    async fn again(&self, client: &Arc<Shared>) -> Result<Result<Written, LedgerError>, Refused> {
        tracing::debug!(file = %self.writing.file, "the chain went on without a write: it is made again");
        let expected = self.writing.expected;
        match self.ground(client).await.map_err(Refused::Unknown)? {
            Ground::Ready => Ok(self.issue(client).await),
            Ground::Taken(_) => Ok(Err(LedgerError::VersionConflict { expected, actual: expected })),
            Ground::Behind => Err(Refused::Unknown(self.unknown(LedgerError::Reorged))),
        }
    }

    /// Makes it again, and waits until the ledger shows it.
    pub(super) async fn bring_back(&self, client: &Shared) -> Result<(), LedgerError> {
        let written = self.issue(client).await?;
        client.ledger.wait(written, Finality::Included).await
    }

    /// After a conflict or without an answer: our own version there is our own success.
    async fn look_for(&self, client: &Arc<Shared>, was_taken: bool) -> Result<Written, Refused> {
        let (path, expected) = (self.writing.path.clone(), self.writing.expected);
        let get = |file| async move {
            let read = newest(client, file).await;
            read.map_err(|error| Refused::Unknown(self.unknown(error)))
        };
        // Where it comes from first: what shows there that it has left shows here that it has arrived.
        let source = match &self.from {
            Some((from, _)) => get(file_id(client.owner.id(), client.owner.path_salt(from))).await?,
            None => None,
        };
        let now = get(self.writing.file).await?;
        let actual = now.as_ref().map_or(0, |entry| entry.version);
        if actual > expected.saturating_add(1) {
            // Ours may have been there, and been replaced or moved since: then its shards are no longer ours to retire.
            let history = client.ledger.history(self.writing.file).await;
            let history = history.map_err(|error| Refused::Unknown(self.unknown(error)))?;
            let then = history.iter().find(|entry| entry.version <= expected + 1);
            if then.is_none() {
                return Err(self.lost_sight("the ledger no longer tells what came of the write"));
            }
            if let Some(there) = self.there(client, then)? {
                return Ok(there);
            }
        }
        if let Some(there) = self.there(client, now.as_ref())? {
            return Ok(there);
        }
        match now {
            // What it was made upon is gone as well, and may come back with it.
            _ if actual < expected && was_taken => Err(self.lost_sight("the chain went on without it")),
            _ if actual != expected => {
                Err(Refused::Lost(Error::VersionConflict { path: path.to_string(), expected, actual }))
            }
            // Its target is as it was, so it may be its source that another writer changed.
            _ => match (&self.from, source) {
                (Some((from, expected)), source) if source.as_ref().map_or(0, |entry| entry.version) != *expected => {
                    let (path, expected) = (from.to_string(), *expected);
                    let actual = source.map_or(0, |entry| entry.version);
                    if actual < expected && was_taken {
                        return Err(self.lost_sight("the chain went on without it"));
                    }
                    Err(Refused::Lost(Error::VersionConflict { path, expected, actual }))
                }
                _ => Err(self.lost_sight("the write is not there, and may still come")),
            },
        }
    }

    /// Its answer if `entry` is what it made.
    fn there(&self, client: &Shared, entry: Option<&Entry>) -> Result<Option<Written>, Refused> {
        let written = self.written();
        let Some(entry) = entry.filter(|entry| entry.version == written.version) else { return Ok(None) };
        match self.is_ours(client, entry) {
            Some(is_ours) => Ok(is_ours.then_some(written)),
            None => Err(self.lost_sight("the ledger does not give out the record that tells whose write is there")),
        }
    }

    fn lost_sight(&self, what: &str) -> Refused {
        Refused::Unknown(self.unknown(LedgerError::Unknown { what: what.to_owned(), source: None }))
    }

    fn unknown(&self, error: LedgerError) -> Error {
        Error::UnknownOutcome { path: self.writing.path.to_string(), source: Some(Box::new(error)) }
    }

    /// What became of it.
    pub(super) async fn fate(&self, client: &Shared) -> Result<Fate> {
        let is_final_at_once = client.ledger.is_final_at_once();
        let (written, path) = (self.written(), &self.writing.path);
        let settled = if is_final_at_once {
            Some(Finality::Final)
        } else {
            match within(client, client.ledger.settled(written)).await? {
                Err(LedgerError::VersionConflict { .. }) => None,
                settled => settled.map_err(|error| error.about(path.as_str()))?,
            }
        };
        let there = if settled == Some(Finality::Final) { Fate::Happened } else { Fate::Shown };
        // A record is that of one write alone. That a file is gone is not: it may have been moved away.
        if !is_final_at_once && settled.is_some() && self.writing.record.is_some() {
            return Ok(there);
        }
        let failed = |error: LedgerError| error.about(path.as_str());
        let now = within(client, newest(client, written.file_id)).await?.map_err(failed)?;
        let entry = match now {
            Some(entry) if entry.version == written.version => entry,
            Some(entry) if entry.version > written.version => {
                let history = within(client, client.ledger.history(written.file_id)).await?.map_err(failed)?;
                let entry = history.into_iter().find(|entry| entry.version == written.version);
                let Some(entry) = entry else { return Ok(Fate::Forgotten) };
                entry
            }
            _ => return Ok(Fate::Open),
        };
        match self.is_ours(client, &entry) {
            Some(true) => return Ok(there),
            Some(false) => {}
            None => return Err(failed(LedgerError::RecordMissing { version: entry.version, kind: entry.kind })),
        }
        Ok(if is_final(client, of(&entry)).await { Fate::Lost } else { Fate::Contested })
    }

    /// What it would meet if it was made again.
    pub(super) async fn ground(&self, client: &Shared) -> Result<Ground> {
        let here = Slot::read(client, self.writing.path.clone()).await?;
        let (mut slots, mut is_same) = (vec![(here.clone(), self.writing.expected)], true);
        match &self.from {
            None => is_same = here.manifest(client).ok() == self.writing.replaced,
            Some((from, expected)) => {
                let old = Slot::read(client, from.clone()).await?;
                let moved = old.manifest(client).ok();
                let moved = moved.map(|moved| Manifest { path: self.writing.path.clone(), ..moved });
                is_same = is_same && !here.is_live() && moved == self.manifest(client);
                slots.push((old, *expected));
            }
        }
        if slots.iter().any(|(slot, expected)| slot.version() < *expected) {
            return Ok(Ground::Behind);
        }
        let mut blocking = slots.iter().filter(|(slot, expected)| slot.version() > *expected);
        if let Some((slot, _)) = blocking.next() {
            return Ok(Ground::Taken(slot.is_final(client).await));
        }
        if is_same {
            return Ok(Ground::Ready);
        }
        let mut all_final = true;
        for (slot, _) in &slots {
            all_final &= slot.is_final(client).await;
        }
        Ok(Ground::Taken(all_final))
    }
}

/// The newest version of a file, without its record where the ledger does not give that out.
async fn newest(client: &Shared, file: FileId) -> Result<Option<Entry>, LedgerError> {
    match client.ledger.get(file).await {
        Err(LedgerError::RecordMissing { version, kind }) => {
            Ok(Some(Entry::without_record(file, client.owner.id(), version, kind)))
        }
        entry => entry,
    }
}

/// The write that made `entry`.
pub(super) fn of(entry: &Entry) -> Written {
    Written::new(entry.file_id, entry.version, &entry.record)
}

/// Whether nothing can undo `written` any more. A ledger that does not say so has not said it.
pub(super) async fn is_final(client: &Shared, written: Written) -> bool {
    if client.ledger.is_final_at_once() {
        return true;
    }
    matches!(within(client, client.ledger.settled(written)).await, Ok(Ok(Some(Finality::Final))))
}

/// What the ledger says. Puts wait for whoever looks at what was left: it must not wait for ever.
async fn within<T>(client: &Shared, asking: impl Future<Output = T>) -> Result<T> {
    let answer = client.rt.timeout(client.settings.timeout, asking).await;
    answer.map_err(|elapsed| ledger_timeout(elapsed.0))
}
