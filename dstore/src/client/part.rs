//! A local file that a save fills: under another name until it is whole, and gone on with after an interruption.
//!
//! Invariant: what gets the final name is whole, durable, and has the hash that the manifest names.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::Shared;
use super::note::{Fetching, Note, Notes};
use super::settle;
use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// Files below this many bytes are fetched anew: they are there before their beginning was compared.
const WORTH_KEEPING: u64 = 4 << 20;
const COMPARED: usize = 1 << 20;

/// A file that is not whole yet.
pub(super) struct Part {
    client: Arc<Shared>,
    to: PathBuf,
    /// `None` while a job has it.
    file: Option<File>,
    /// Its name until it is whole.
    name: PathBuf,
    /// Of its bytes, when an earlier save wrote some of them.
    hasher: Option<blake3::Hasher>,
    /// Bytes that an earlier save wrote.
    held: u64,
    notes: Option<Notes>,
}

impl Part {
    /// A new file beside `to`, or the one that an earlier save of `whole` left.
    pub(super) async fn open(client: &Arc<Shared>, to: &Path, whole: Option<&Manifest>) -> Result<Self> {
        let to = std::path::absolute(to).map_err(|error| failed(to, error))?;
        let kept = whole.filter(|manifest| client.settings.resume && manifest.size >= WORTH_KEEPING);
        if let Some(manifest) = kept
            && let Some(part) = Self::earlier(client, &to, manifest).await?
        {
            return Ok(part);
        }
        let folder = to.parent().unwrap_or(Path::new("/")).to_owned();
        let made = client.rt.blocking(move || Ok(tempfile::NamedTempFile::new_in(folder)?.keep()?)).await;
        let (file, name) = made.map_err(|error: io::Error| failed(&to, error))?;
        let (client, file) = (client.clone(), Some(file));
        let mut part = Self { client, to, file, name, hasher: None, held: 0, notes: None };
        if let Some((manifest, fetching)) = kept.and_then(|manifest| Some((manifest, part.fetching(manifest)?))) {
            part.notes = Notes::begin(&part.client, &manifest.path).await?;
            if let Some(notes) = &mut part.notes {
                notes.add(&Note::Fetching(fetching)).await?;
            }
        }
        Ok(part)
    }

    /// What is noted of it; `None` for names that are no text.
    fn fetching(&self, manifest: &Manifest) -> Option<Fetching> {
        let [to, part] = [&self.to, &self.name].map(|path| path.to_str().map(str::to_owned));
        Some(Fetching { at: self.client.rt.now(), to: to?, part: part?, content_hash: manifest.content_hash })
    }

    async fn earlier(client: &Arc<Shared>, to: &Path, manifest: &Manifest) -> Result<Option<Self>> {
        for (notes, fetching) in settle::fetched(client, &manifest.path).await? {
            if Path::new(&fetching.to) != to || fetching.content_hash != manifest.content_hash {
                continue;
            }
            let (name, size) = (PathBuf::from(fetching.part), manifest.size);
            let open = name.clone();
            match client.rt.blocking(move || compare(&open, size)).await {
                Ok((file, hasher, held)) => {
                    let (client, to, notes) = (client.clone(), to.to_owned(), Some(notes));
                    return Ok(Some(Self { client, to, file: Some(file), name, hasher: Some(hasher), held, notes }));
                }
                // It is gone, or not ours any more.
                Err(_) => notes.remove().await,
            }
        }
        Ok(None)
    }

    /// Bytes that need not be fetched.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Adds bytes at its end.
    pub(super) async fn append(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        let (mut file, mut hasher) = (self.take()?, self.hasher.take());
        let written = self.client.rt.blocking(move || {
            let written = pieces.iter().try_for_each(|piece| file.write_all(piece));
            if let Some(hasher) = &mut hasher {
                for piece in &pieces {
                    hasher.update(piece);
                }
            }
            (file, hasher, written)
        });
        let (file, hasher, written) = written.await;
        (self.file, self.hasher) = (Some(file), hasher);
        written.map_err(|error| failed(&self.to, error))
    }

    fn take(&mut self) -> Result<File> {
        self.file.take().ok_or(Error::Internal { what: "a part of a file is written by one task" })
    }

    /// Makes it durable and gives it its name. False: what an earlier save wrote was something else; it is gone now.
    pub(super) async fn finish(mut self, whole: &Manifest) -> Result<bool> {
        let hash = self.hasher.as_ref().map(|hasher| *hasher.finalize().as_bytes());
        if hash.is_some_and(|hash| hash != whole.content_hash) {
            self.forget().await;
            return Ok(false);
        }
        let (file, name, to) = (self.take()?, self.name.clone(), self.to.clone());
        let persisted = self.client.rt.blocking(move || persist(&file, &name, &to)).await;
        persisted.map_err(|error| failed(&self.to, error))?;
        if let Some(notes) = self.notes.take() {
            notes.remove().await;
        }
        Ok(true)
    }

    /// Removes it, and the note of it.
    pub(super) async fn forget(mut self) {
        let notes = self.notes.take();
        drop(self);
        if let Some(notes) = notes {
            notes.remove().await;
        }
    }
}

/// Without a note nobody would find it again. After it got its final name nothing is under the old one.
impl Drop for Part {
    fn drop(&mut self) {
        if self.notes.is_none() {
            let _ = std::fs::remove_file(&self.name);
        }
    }
}

fn failed(to: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot write {}", to.display()), error)
}

/// Opens a part, and hashes what is there.
fn compare(name: &Path, size: u64) -> io::Result<(File, blake3::Hasher, u64)> {
    if !std::fs::symlink_metadata(name)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = File::options().read(true).write(true).open(name)?;
    if file.metadata()?.len() > size {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let (mut hasher, mut held) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; COMPARED];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                held += read as u64;
            }
        }
    }
    file.seek(SeekFrom::Start(held))?;
    Ok((file, hasher, held))
}

fn persist(file: &File, name: &Path, to: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A part is private; what a user saves has the rights of the file that it replaces, or the usual ones.
        let mode = std::fs::metadata(to).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    file.sync_all()?;
    std::fs::rename(name, to)?;
    File::open(to.parent().unwrap_or(Path::new("/")))?.sync_all()
}
