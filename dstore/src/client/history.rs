//! Every version of a file that the ledger remembers.

use super::slot::{Slot, ledger_timeout};
use super::{FileVersion, Head, Shared};
use crate::error::{Error, Result};
use crate::ledger::{Entry, LedgerError, file_id};
use crate::manifest::{RecordPlace, open_record};
use crate::path::FilePath;

/// The versions of the file at `path`, newest first.
pub(super) async fn history(client: &Shared, path: FilePath) -> Result<Vec<FileVersion>> {
    let file = file_id(client.owner.id(), client.owner.path_salt(&path));
    let read = client.rt.timeout(client.settings.timeout, client.ledger.history(file)).await;
    let entries = match read.map_err(|elapsed| ledger_timeout(elapsed.0))? {
        Err(error @ LedgerError::RecordMissing { .. }) => return Ok(vec![newest(client, path, error).await?]),
        entries => entries.map_err(|error| error.about(path.as_str()))?,
    };
    if entries.is_empty() {
        return Err(Error::NotFound { path: path.to_string() });
    }
    let mut versions: Vec<FileVersion> =
        entries.iter().map(|entry| version(client, &path, entry)).collect::<Result<_>>()?;
    // Nodes keep copies of the newest ones.
    if entries[0].lacks_record() {
        let slot = Slot::read(client, path).await?;
        if slot.version() == entries[0].version {
            versions[0].head = Some(Head::new(file, slot.version(), &slot.manifest(client)?));
        }
    }
    Ok(versions)
}

fn version(client: &Shared, path: &FilePath, entry: &Entry) -> Result<FileVersion> {
    let Entry { file_id: file, version, kind, written, .. } = *entry;
    let head = if entry.is_live() && !entry.lacks_record() {
        let place = RecordPlace { ledger: client.ledger.id(), file, version };
        let manifest = open_record(&client.owner, place, &entry.record)?;
        if manifest.path != *path {
            return Err(Error::Integrity { what: "record: path" });
        }
        Some(Head::new(file, version, &manifest))
    } else {
        None
    };
    Ok(FileVersion { version, kind, written, head })
}

/// The newest version alone, from a node that has a copy: the ledger tells of no other, and not when it took this one.
async fn newest(client: &Shared, path: FilePath, error: LedgerError) -> Result<FileVersion> {
    let about = path.to_string();
    let slot = Slot::read(client, path).await?;
    match slot.entry() {
        Some(entry) if entry.is_live() => {
            let head = Head::new(slot.file_id, entry.version, &slot.manifest(client)?);
            let (version, kind, written) = (entry.version, entry.kind, head.created);
            Ok(FileVersion { version, kind, written, head: Some(head) })
        }
        _ => Err(error.about(&about)),
    }
}
