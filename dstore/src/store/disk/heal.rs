//! Opens a store as a crash may have left it: finishes or undoes what was half done, and rebuilds a lost index.
//!
//! Invariant: a shard that was acknowledged is live afterwards, or quarantined; its cost grows with the number
//! of shards and not with their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::is_damage;
use super::folder::{Folder, Found};
use super::index::{Age, Index, Indexed, Place};
use super::meta::{self, HEADER_LEN, Unreadable};
use crate::error::Error;
use crate::id::ShardId;
use crate::rt::Timestamp;
use crate::store::{ShardState, StoredShard};

/// Opens the index of `folder`, so that it agrees with the files. `now` is used when the index must be made again.
pub(super) fn open(folder: &Folder, now: Timestamp) -> Result<Index, Error> {
    match attempt(folder, now) {
        Err(Problem::Index(error)) if is_damage(&error) => {
            set_aside(folder, now, &error).map_err(|error| failed(folder, error))?;
            attempt(folder, now).map_err(|problem| problem.into_error(folder))
        }
        result => result.map_err(|problem| problem.into_error(folder)),
    }
}

enum Problem {
    Index(rusqlite::Error),
    Files(io::Error),
    Future,
}

impl Problem {
    fn into_error(self, folder: &Folder) -> Error {
        match self {
            Self::Index(error) => failed(folder, io::Error::other(error)),
            Self::Files(error) => failed(folder, error),
            Self::Future => {
                let root = folder.root().display();
                Error::config(format!("the store {root} was made by a later version of dstore: use that one"))
            }
        }
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Files(error)
    }
}

fn failed(folder: &Folder, error: io::Error) -> Error {
    Error::io(format!("opening the store {}", folder.root().display()), error)
}

/// The database is evidence, and may still give up small shards to a specialist: it is renamed, not removed.
fn set_aside(folder: &Folder, now: Timestamp, error: &rusqlite::Error) -> io::Result<()> {
    let index = folder.index();
    let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", index.display()));
    let aside = with(&format!(".damaged-{}", now.as_millis()));
    tracing::error!(
        %error, kept_as = %aside.display(),
        "the index is damaged: it is made again from the shard files, but the small shards and record copies that it held are lost"
    );
    for suffix in ["", "-wal", "-shm"] {
        match fs::rename(with(suffix), PathBuf::from(format!("{}{suffix}", aside.display()))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::open(folder.root())?.sync_all()
}

fn attempt(folder: &Folder, now: Timestamp) -> Result<Index, Problem> {
    let (index, age) = Index::open(&folder.index())?;
    // Leases that were extended since are known to no file: nothing may be freed before they can have ended.
    let least_lease = match age {
        Age::New => now.after(LONGEST_LEASE),
        Age::Old => Timestamp::default(),
        Age::Future => return Err(Problem::Future),
    };
    index.check_pages()?;
    let mut healing = Healing { folder, index: &index, least_lease, restored: 0 };
    for first in 0..=u8::MAX {
        healing.heal_prefix(first)?;
    }
    if healing.restored > 0 && age == Age::New {
        tracing::error!(shards = healing.restored, "the index was lost, and was made again from the shard files");
    }
    File::open(folder.root())?.sync_all()?;
    Ok(index)
}

struct Healing<'a> {
    folder: &'a Folder,
    index: &'a Index,
    least_lease: Timestamp,
    restored: u64,
}

/// What is done to one shard.
enum Remedy {
    Restore(StoredShard),
    Quarantine(StoredShard),
    RemoveFiles(ShardId),
}

impl Healing<'_> {
    fn heal_prefix(&mut self, first: u8) -> Result<(), Problem> {
        let rows = self.index.with_prefix(first)?;
        let rows: BTreeMap<ShardId, Indexed> = rows.into_iter().map(|row| (row.shard.key.id, row)).collect();
        let mut ids = self.folder.ids(first)?;
        ids.extend(rows.values().filter(|row| row.place == Place::File).map(|row| row.shard.key.id));
        let mut remedies = Vec::new();
        for id in ids {
            remedies.extend(self.remedy(id, rows.get(&id))?);
        }
        let freed = self.index.freed_with_prefix(first)?;
        if remedies.is_empty() && freed.is_empty() {
            return Ok(());
        }
        for remedy in &remedies {
            if let Remedy::RemoveFiles(id) = remedy {
                self.folder.remove(*id)?;
            }
        }
        self.folder.sync(&BTreeSet::from([first]))?;
        self.index.run("BEGIN IMMEDIATE")?;
        for remedy in remedies {
            self.apply(remedy)?;
        }
        freed.into_iter().try_for_each(|id| self.index.forget_freed(id))?;
        Ok(self.index.run("COMMIT")?)
    }

    fn apply(&mut self, remedy: Remedy) -> rusqlite::Result<()> {
        match remedy {
            Remedy::Restore(shard) => {
                self.restored += 1;
                self.index.insert(&shard, None)
            }
            Remedy::Quarantine(shard) => {
                tracing::error!(id = %shard.key.id, "the files of a shard are missing or cut short: it is quarantined");
                self.index.update(&shard.quarantined())
            }
            Remedy::RemoveFiles(_) => Ok(()),
        }
    }

    fn remedy(&self, id: ShardId, row: Option<&Indexed>) -> Result<Option<Remedy>, Problem> {
        let found = self.folder.found(id)?;
        let Some(row) = row else { return self.unknown(id, found) };
        Ok(match row.place {
            Place::File if row.shard.state == ShardState::Quarantined || found == complete(&row.shard) => None,
            Place::File => Some(Remedy::Quarantine(row.shard)),
            Place::Row(_) if found == Found::default() => None,
            Place::Row(_) => Some(Remedy::RemoveFiles(id)),
        })
    }

    /// Files that the index does not know: a crash came before the commit of a put, or in the middle of a sweep.
    fn unknown(&self, id: ShardId, found: Found) -> Result<Option<Remedy>, Problem> {
        if self.index.is_freed(id)? {
            return Ok(Some(Remedy::RemoveFiles(id)));
        }
        match self.header(id, found)? {
            Ok(mut shard) if shard.key.id == id && found == complete(&shard) => {
                shard.lease_until = shard.lease_until.max(self.least_lease);
                Ok(Some(Remedy::Restore(shard)))
            }
            Err(Unreadable::Foreign) if found.data.is_some() => {
                tracing::error!(%id, "another version wrote this shard: its files are left alone");
                Ok(None)
            }
            _ => {
                tracing::warn!(%id, "removing the files of a shard that was never completely stored");
                Ok(Some(Remedy::RemoveFiles(id)))
            }
        }
    }

    fn header(&self, id: ShardId, found: Found) -> io::Result<Result<StoredShard, Unreadable>> {
        if found.meta.is_none_or(|len| len < HEADER_LEN as u64) {
            return Ok(Err(Unreadable::Damaged));
        }
        let mut header = [0; HEADER_LEN];
        self.folder.files().open(&self.folder.meta(id), false)?.read_at(&mut header, 0)?;
        Ok(meta::decode(&header))
    }
}

fn complete(shard: &StoredShard) -> Found {
    Found { data: Some(shard.len), meta: Some(meta::file_len(shard.len)) }
}

/// No node promises more than this at a time (docs/wire.md, leases).
const LONGEST_LEASE: Duration = Duration::from_secs(90 * 24 * 3600);
