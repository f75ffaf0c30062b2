//! The folder of a disk store: names, temporary files, renames and what makes them durable.
//!
//! Invariant: one process at a time works in it, and every name comes from the hex of an id.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::id::ShardId;

/// A store's folder, locked.
pub(super) struct Folder {
    root: PathBuf,
    _lock: File,
}

/// What a shard has on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Length of the shard file.
    pub(super) data: Option<u64>,
    /// Length of the file beside it.
    pub(super) meta: Option<u64>,
}

impl Folder {
    /// Locks `root`, which is made if need be, and removes what was only half written.
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let failed = |error| Error::io(format!("opening the store {}", root.display()), error);
        for folder in [root, &root.join("shards"), &root.join("tmp")] {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(root.join("lock"));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { what: format!("the store {}", root.display()) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let folder = Self { root: root.to_owned(), _lock: lock };
        folder.prepare().map_err(failed)?;
        Ok(folder)
    }

    fn prepare(&self) -> io::Result<()> {
        // Made once here, so that storing a shard never has to make one durable.
        for prefix in 0..=u8::MAX {
            fs::create_dir_all(self.of(prefix))?;
        }
        for entry in fs::read_dir(self.root.join("tmp"))? {
            fs::remove_file(entry?.path())?;
        }
        sync(&self.root.join("shards"))?;
        sync(&self.root)
    }

    /// Writes a file, makes it durable, and removes it.
    pub(super) fn try_write(&self) -> io::Result<()> {
        let path = self.root.join("tmp").join("check");
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

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index.db")
    }

    pub(super) fn data(&self, id: ShardId) -> PathBuf {
        self.of(prefix(id)).join(id.to_string())
    }

    pub(super) fn meta(&self, id: ShardId) -> PathBuf {
        self.of(prefix(id)).join(format!("{id}.meta"))
    }

    fn of(&self, prefix: u8) -> PathBuf {
        self.root.join("shards").join(hex::encode([prefix]))
    }

    /// What is on the disk of one shard.
    pub(super) fn found(&self, id: ShardId) -> io::Result<Found> {
        Ok(Found { data: file_len(&self.data(id))?, meta: file_len(&self.meta(id))? })
    }

    /// The ids of all shards with this first byte of which something is on the disk.
    pub(super) fn ids(&self, first: u8) -> io::Result<BTreeSet<ShardId>> {
        let mut ids = BTreeSet::new();
        for entry in fs::read_dir(self.of(first))? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let stem = name.strip_suffix(".meta").unwrap_or(name);
            match stem.parse::<ShardId>() {
                Ok(id) if prefix(id) == first && id.to_string() == stem => {
                    ids.insert(id);
                }
                _ => tracing::warn!(name, "a file in the store is not ours: leaving it alone"),
            }
        }
        Ok(ids)
    }

    /// New files for a shard; `serial` tells apart writers of the same one.
    pub(super) fn create(&self, id: ShardId, serial: u64) -> io::Result<Temporary> {
        let data_path = self.root.join("tmp").join(format!("{id}.{serial}"));
        let meta_path = self.root.join("tmp").join(format!("{id}.{serial}.meta"));
        let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
        let data = create(&data_path)?;
        let meta = create(&meta_path).inspect_err(|_| drop(fs::remove_file(&data_path)))?;
        Ok(Temporary { data, meta, data_path, meta_path })
    }

    /// Gives the files their final names. Durable after [`Folder::sync`].
    pub(super) fn publish(&self, files: &Temporary, id: ShardId) -> io::Result<()> {
        fs::rename(&files.data_path, self.data(id))?;
        fs::rename(&files.meta_path, self.meta(id))
    }

    /// Makes the names of all shards with these first bytes durable.
    pub(super) fn sync(&self, prefixes: &BTreeSet<u8>) -> io::Result<()> {
        prefixes.iter().try_for_each(|prefix| sync(&self.of(*prefix)))
    }

    /// Removes what there is of a shard. Durable after [`Folder::sync`].
    pub(super) fn remove(&self, id: ShardId) -> io::Result<()> {
        remove(&self.data(id))?;
        remove(&self.meta(id))
    }
}

/// The first byte of an id, which names the folder it is in.
pub(super) fn prefix(id: ShardId) -> u8 {
    id.as_bytes()[0]
}

fn file_len(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some(file.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The files of a shard that is being written: removed when this is dropped, unless they were published.
pub(super) struct Temporary {
    pub(super) data: File,
    pub(super) meta: File,
    data_path: PathBuf,
    meta_path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing under these names. What fails here goes when the store is opened again.
        let _ = fs::remove_file(&self.data_path);
        let _ = fs::remove_file(&self.meta_path);
    }
}
