//! What a client notes of an operation in its journal (docs/format.md section 3).
//!
//! Invariant: a note opens only for its owner, in the log and at the place where it was written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Shared;
use super::write::Write;
use crate::error::{Error, Result};
use crate::id::{FileId, LedgerId};
use crate::journal::{Journal, Log, LogId, Tag};
use crate::keys::{ContentKey, SivKey};
use crate::manifest::{Manifest, NodePlace};
use crate::path::FilePath;
use crate::proto::{decode, encode};
use crate::rt::Timestamp;
use crate::scheme::{Padding, Scheme};
use crate::seal::{open, seal};

/// One step of an operation. The order of variants is the format: append, never reorder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Note {
    /// 0: a content is on its way to nodes.
    Put(Begun),
    /// 1: shards are about to be offered to nodes.
    Offered(Vec<Offered>),
    /// 2: the ledger is about to be written.
    Writing(Writing),
    /// 3: the ledger was written, and what followed from it was done or has a log of its own.
    Written,
    /// 4: what is left was tried, and something still is.
    Tried(Timestamp),
    /// 5: the content of this put is of no use, and its shards are to be retired.
    GivenUp,
    /// 6: no record names the shards of this content any more.
    Retire {
        /// Since when.
        at: Timestamp,
        /// What the content is.
        manifest: Manifest,
    },
    /// 7: a content is on its way into a local file.
    Fetching(Fetching),
    /// 8: the ledger is about to be told of a rename.
    Renaming {
        /// Where the file is.
        from: FilePath,
        /// Its version there.
        expected: u32,
        /// What is written where it arrives.
        to: Writing,
    },
    /// 9: the write was confirmed and its caller told, and a reorg of this ledger may still undo it.
    Acknowledged {
        /// When.
        at: Timestamp,
        /// Which ledger: another one says nothing about it.
        ledger: LedgerId,
    },
}

/// A put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) path: FilePath,
    pub(super) at: Timestamp,
    pub(super) key: ContentKey,
    pub(super) scheme: Scheme,
    pub(super) padding: Padding,
    pub(super) attributes: Vec<(String, String)>,
    /// What tells whether a later source may be the same; `None` for one that cannot be read again.
    pub(super) source: Option<[u8; 32]>,
}

/// A shard that was offered to a node: it may be there, in part or whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Offered {
    pub(super) index: u8,
    pub(super) node: NodePlace,
    pub(super) generation: u32,
}

/// A save.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fetching {
    pub(super) at: Timestamp,
    /// The local file that it becomes.
    pub(super) to: String,
    /// Its name until it is whole.
    pub(super) part: String,
    pub(super) content_hash: [u8; 32],
}

/// A write to the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Writing {
    pub(super) path: FilePath,
    pub(super) at: Timestamp,
    pub(super) file: FileId,
    /// The version that is replaced.
    pub(super) expected: u32,
    /// The record that is written; `None`: the file is removed.
    pub(super) record: Option<Vec<u8>>,
    /// What no record names once that has happened.
    pub(super) replaced: Option<Manifest>,
}

/// The log of one operation.
pub(super) struct Notes {
    log: Box<dyn Log>,
    key: SivKey,
    count: u32,
}

impl Notes {
    /// Starts the log of an operation on `path`; `None` without a journal.
    pub(super) async fn begin(client: &Shared, path: &FilePath) -> Result<Option<Self>> {
        let Some(journal) = &client.settings.journal else { return Ok(None) };
        let log = journal.begin(Tag(client.owner.journal_tag(path))).await.map_err(failed)?;
        Ok(Some(Self { log, key: client.owner.journal_key(), count: 0 }))
    }

    /// Starts the log of a write that was made without one, and is watched: it may end with the process.
    pub(super) async fn begin_watched(client: &Shared, write: &Write) -> Result<Self> {
        let tag = Tag(client.owner.journal_tag(&write.writing.path));
        let log = client.watch.journal.begin(tag).await.map_err(failed)?;
        let mut notes = Self { log, key: client.owner.journal_key(), count: 0 };
        notes.add(&write.note()).await?;
        Ok(notes)
    }

    /// The logs that earlier operations left: of those on `path`, or all. What does not open is another owner's.
    pub(super) async fn claim(client: &Shared, path: Option<&FilePath>) -> Result<Vec<(Self, Vec<Note>)>> {
        let tag = path.map(|path| Tag(client.owner.journal_tag(path)));
        let mut found = Vec::new();
        for log in client.watch.journal.claim(tag).await.map_err(failed)? {
            let key = client.owner.journal_key();
            let sealed = log.notes().await.map_err(failed)?;
            let noted = sealed.len();
            let id = log.id();
            let opened = sealed.into_iter().zip(0..).map_while(|(note, at)| open_note(&key, id, at, note));
            let notes: Vec<Note> = opened.collect();
            if !notes.is_empty() || noted == 0 {
                let count = u32::try_from(noted).unwrap_or(u32::MAX);
                found.push((Self { log, key, count }, notes));
            }
        }
        Ok(found)
    }

    /// Adds a note; when this returns, it survives the end of the process.
    pub(super) async fn add(&mut self, note: &Note) -> Result<()> {
        let sealed = seal(&self.key, &context(self.log.id(), self.count), &encode(note));
        self.log.append(sealed).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput => Error::Internal { what: "a note is longer than a journal takes" },
            _ => failed(error),
        })?;
        self.count += 1;
        Ok(())
    }

    /// Removes the log: nothing is left to be done.
    pub(super) async fn remove(self) {
        if let Err(error) = self.log.remove().await {
            tracing::warn!(%error, "a finished log of the journal could not be removed: a later start will");
        }
    }
}

fn open_note(key: &SivKey, id: LogId, at: u32, sealed: Vec<u8>) -> Option<Note> {
    decode("note", &open(key, &context(id, at), sealed).ok()?).ok()
}

/// What a note is bound to: `"dstore/journal/v1"`, 3 zero bytes, tag, serial, place u32.
fn context(id: LogId, at: u32) -> Vec<u8> {
    [&b"dstore/journal/v1\0\0\0"[..], &id.tag.0, &id.serial, &at.to_be_bytes()].concat()
}

fn failed(error: std::io::Error) -> Error {
    Error::io("cannot use the journal of unfinished work", error)
}

/// The journal of a client, when it has one.
pub(super) type SharedJournal = Option<Arc<dyn Journal>>;
