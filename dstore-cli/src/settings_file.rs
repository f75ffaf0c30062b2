//! Writing a config file that the next start reads.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::failure::{Failure, Result};

/// A folder that only this user can read, with all folders above it.
pub(crate) fn create_folder(dir: &Path) -> Result {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| Failure::io(format!("cannot make the folder {}", dir.display()), error))
}

/// Writes the settings whole or not at all, over what is there.
pub(crate) fn write(path: &Path, settings: &toml::Table) -> Result {
    let failed = |error| Failure::io(format!("cannot write {}", path.display()), error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(settings.to_string().as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}
