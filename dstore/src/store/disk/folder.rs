//! The folder of a disk store: names, renames and what makes them durable.
//!
//! Invariant: one process at a time works in it, and every name comes from the hex of an id.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_channel::{Receiver, Sender};

use super::files::{DiskFile, Files};
use crate::error::Error;
use crate::id::ShardId;

/// A store's folder, locked.
pub(super) struct Folder {
    root: PathBuf,
    files: Arc<dyn Files>,
    _lock: File,
    /// After the lock, so that the channel closes when that is free. Nothing is ever sent.
    _held: Sender<()>,
    /// Closes when the folder is free.
    pub(super) released: Receiver<()>,
}

/// What a shard has on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Length of the shard file.
    pub(super) data: Option<u64>,
    /// Length of the file beside it.
    pub(super) meta: Option<u64>,
}

/// The two files of a shard.
pub(super) struct Pair {
    pub(super) data: Box<dyn DiskFile>,
    pub(super) meta: Box<dyn DiskFile>,
}

impl Folder {
    /// Locks `root`, which is made if need be.
    pub(super) fn open(root: &Path, files: Arc<dyn Files>) -> Result<Self, Error> {
        let failed = |error| Error::io(format!("opening the store {}", root.display()), error);
        fs::create_dir_all(root).map_err(failed)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(root.join("lock"));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { what: format!("the store {}", root.display()) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let (held, released) = async_channel::bounded(1);
        let folder = Self { root: root.to_owned(), files, _lock: lock, _held: held, released };
        folder.prepare().map_err(failed)?;
        Ok(folder)
    }

    fn prepare(&self) -> io::Result<()> {
        self.files.make_folder(&self.root.join("open"))?;
        // Made once here, so that storing a shard never has to make one durable.
        for prefix in 0..=u8::MAX {
            self.files.make_folder(&self.of(prefix))?;
        }
        self.files.sync_folder(&self.root.join("shards"))?;
        self.files.sync_folder(&self.root)
    }

    /// Writes a file, makes it durable, and removes it.
    pub(super) fn try_write(&self) -> io::Result<()> {
        let path = self.root.join("open").join("check");
        let mut file = File::create(&path)?;
        file.write_all(b"dstore")?;
        file.sync_all()?;
        match fs::remove_file(&path) {
            // Another check has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn files(&self) -> &dyn Files {
        &*self.files
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index.db")
    }

    pub(super) fn data(&self, id: ShardId) -> PathBuf {
        self.of(prefix(id)).join(id.to_string())
    }

    pub(super) fn meta(&self, id: ShardId) -> PathBuf {
        self.of(prefix(id)).join(format!("{id}.meta"))
    }

    pub(super) fn open_data(&self, id: ShardId) -> PathBuf {
        self.root.join("open").join(id.to_string())
    }

    pub(super) fn open_meta(&self, id: ShardId) -> PathBuf {
        self.root.join("open").join(format!("{id}.meta"))
    }

    fn of(&self, prefix: u8) -> PathBuf {
        self.root.join("shards").join(hex::encode([prefix]))
    }

    /// What is on the disk of one shard.
    pub(super) fn found(&self, id: ShardId) -> io::Result<Found> {
        Ok(Found { data: self.len(&self.data(id))?, meta: self.len(&self.meta(id))? })
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        match self.files.len(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            len => len.map(Some),
        }
    }

    /// The ids of all shards with this first byte of which something is on the disk.
    pub(super) fn ids(&self, first: u8) -> io::Result<BTreeSet<ShardId>> {
        let mut ids = BTreeSet::new();
        for name in self.files.names(&self.of(first))? {
            match parse(&name) {
                Some(id) if prefix(id) == first => drop(ids.insert(id)),
                _ => tracing::warn!(name, "a file in the store is not ours: leaving it alone"),
            }
        }
        Ok(ids)
    }

    /// The ids of all open shards; what else is beside them is removed.
    pub(super) fn open_ids(&self) -> io::Result<BTreeSet<ShardId>> {
        let mut ids = BTreeSet::new();
        for name in self.files.names(&self.root.join("open"))? {
            match parse(&name) {
                Some(id) => drop(ids.insert(id)),
                None => self.remove_file(&self.root.join("open").join(name))?,
            }
        }
        Ok(ids)
    }

    /// Empty files for an open shard.
    pub(super) fn create(&self, id: ShardId) -> io::Result<Pair> {
        let data = self.files.create(&self.open_data(id))?;
        Ok(Pair { data, meta: self.files.create(&self.open_meta(id))? })
    }

    /// The files of an open shard, as they are.
    pub(super) fn take_up(&self, id: ShardId) -> io::Result<Pair> {
        let data = self.files.open(&self.open_data(id), true)?;
        Ok(Pair { data, meta: self.files.open(&self.open_meta(id), true)? })
    }

    /// Gives the files of an open shard their final names. Durable after [`Folder::sync`].
    pub(super) fn publish(&self, id: ShardId) -> io::Result<()> {
        self.files.rename(&self.open_data(id), &self.data(id))?;
        self.files.rename(&self.open_meta(id), &self.meta(id))
    }

    /// Makes the names of all shards with these first bytes durable.
    pub(super) fn sync(&self, prefixes: &BTreeSet<u8>) -> io::Result<()> {
        prefixes.iter().try_for_each(|prefix| self.files.sync_folder(&self.of(*prefix)))
    }

    /// Removes what there is of a shard. Durable after [`Folder::sync`].
    pub(super) fn remove(&self, id: ShardId) -> io::Result<()> {
        self.remove_file(&self.data(id))?;
        self.remove_file(&self.meta(id))
    }

    /// Removes what there is of an open shard. Never durable: what comes back is open again, or nothing.
    pub(super) fn discard(&self, id: ShardId) -> io::Result<()> {
        self.remove_file(&self.open_data(id))?;
        self.remove_file(&self.open_meta(id))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        match self.files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The first byte of an id, which names the folder it is in.
pub(super) fn prefix(id: ShardId) -> u8 {
    id.as_bytes()[0]
}

/// The shard that a file of this name belongs to.
fn parse(name: &str) -> Option<ShardId> {
    let stem = name.strip_suffix(".meta").unwrap_or(name);
    stem.parse::<ShardId>().ok().filter(|id| id.to_string() == stem)
}
