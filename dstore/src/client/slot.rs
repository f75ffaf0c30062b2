//! A path's place on the ledger.

use super::{Shared, write};
use crate::copy::RecordCopy;
use crate::error::{Error, PeerProblem, Result};
use crate::id::{FileId, PathSalt};
use crate::ledger::{Entry, LedgerError, file_id};
use crate::manifest::{Manifest, RecordPlace, open_record, seal_record};
use crate::path::FilePath;

/// A path's place on the ledger, as it was when it was read.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) path: FilePath,
    pub(super) salt: PathSalt,
    pub(super) file_id: FileId,
    entry: Option<Entry>,
}

impl Slot {
    /// Reads the place of `path`. A record that the ledger does not give out is taken from the nodes.
    pub(super) async fn read(client: &Shared, path: FilePath) -> Result<Self> {
        let salt = client.owner.path_salt(&path);
        let file_id = file_id(client.owner.id(), salt);
        tracing::Span::current().record("file_id", tracing::field::display(file_id));
        let read = client.ledger.get(file_id);
        let entry = match client.rt.timeout(client.settings.timeout, read).await {
            Err(elapsed) => return Err(ledger_timeout(elapsed.0)),
            Ok(Err(LedgerError::RecordMissing { version, kind })) => {
                let place = RecordPlace { ledger: client.ledger.id(), file: file_id, version };
                let record = if kind.is_live() { client.find_record(place, &path).await? } else { Vec::new() };
                Some(Entry { record, ..Entry::without_record(file_id, client.owner.id(), version, kind) })
            }
            Ok(entry) => entry.map_err(|error| error.about(path.as_str()))?,
        };
        Ok(Self { path, salt, file_id, entry })
    }

    /// Whether nothing can undo the version that is there.
    pub(super) async fn is_final(&self, client: &Shared) -> bool {
        match &self.entry {
            Some(entry) => write::is_final(client, write::of(entry)).await,
            None => true,
        }
    }

    /// What is there.
    pub(super) fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// The version there, live or removed; 0 if there never was one.
    pub(super) fn version(&self) -> u32 {
        self.entry.as_ref().map_or(0, |entry| entry.version)
    }

    /// Whether a file is there.
    pub(super) fn is_live(&self) -> bool {
        self.entry.as_ref().is_some_and(Entry::is_live)
    }

    /// The manifest of the file that is there.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Integrity`] for a record that does not open.
    pub(super) fn manifest(&self, client: &Shared) -> Result<Manifest> {
        let entry = self.entry.as_ref().filter(|entry| entry.is_live());
        let entry = entry.ok_or_else(|| Error::NotFound { path: self.path.to_string() })?;
        let manifest = open_record(&client.owner, self.place(client, entry.version), &entry.record)?;
        if manifest.path != self.path {
            return Err(Error::Integrity { what: "record: path" });
        }
        Ok(manifest)
    }

    /// The version that is there, as nodes keep copies of it.
    pub(super) fn copy(&self, client: &Shared) -> Option<RecordCopy> {
        let Entry { version, kind, record, .. } = self.entry.clone()?;
        Some(RecordCopy { place: self.place(client, version), kind, record })
    }

    fn place(&self, client: &Shared, version: u32) -> RecordPlace {
        RecordPlace { ledger: client.ledger.id(), file: self.file_id, version }
    }

    /// Seals `manifest` as the version after `expected`.
    pub(super) fn seal(&self, client: &Shared, expected: u32, manifest: &Manifest) -> Result<Vec<u8>> {
        let version = expected.checked_add(1).ok_or(Error::TooLarge {
            what: "the version of this file",
            size: u64::from(expected) + 1,
            limit: u64::from(u32::MAX),
        })?;
        seal_record(&client.owner, self.place(client, version), manifest)
    }
}

pub(super) fn ledger_timeout(limit: std::time::Duration) -> Error {
    Error::Peer { peer: "the ledger".to_owned(), problem: PeerProblem::Timeout(limit), source: None }
}
