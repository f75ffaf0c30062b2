//! Every version of a file that the ledger remembers.

use super::Shared;
use super::slot::{ledger_failed, ledger_timeout};
use super::{FileVersion, Head};
use crate::error::{Error, Result};
use crate::ledger::{Entry, file_id};
use crate::manifest::{RecordPlace, open_record};
use crate::path::FilePath;

/// The versions of the file at `path`, newest first.
pub(super) async fn history(client: &Shared, path: FilePath) -> Result<Vec<FileVersion>> {
    let file = file_id(client.owner.id(), client.owner.path_salt(&path));
    let read = client.rt.timeout(client.settings.timeout, client.ledger.history(file)).await;
    let entries = read.map_err(|elapsed| ledger_timeout(elapsed.0))?;
    let entries = entries.map_err(|error| ledger_failed(error, Some(&path)))?;
    if entries.is_empty() {
        return Err(Error::NotFound { path: path.to_string() });
    }
    entries.iter().map(|entry| version(client, &path, entry)).collect()
}

fn version(client: &Shared, path: &FilePath, entry: &Entry) -> Result<FileVersion> {
    let Entry { file_id: file, version, kind, written, .. } = *entry;
    // A ledger may have lost the record of a version that it lists.
    let head = if entry.is_live() && !entry.record.is_empty() {
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
