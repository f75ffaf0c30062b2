//! Where a file of the store may be written on this machine: below the folder that was named, and nowhere else.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use dstore::FilePath;

use crate::failure::{Failure, Result};

/// The local file for `path` below `folder`. Makes the folders in between, and follows no symbolic link among them.
pub(crate) fn below(folder: &Path, path: &FilePath) -> Result<PathBuf> {
    let mut place = folder.to_owned();
    let mut parts = path.as_str().split('/').peekable();
    while let Some(part) = parts.next() {
        if !is_plain(part) {
            return Err(Failure::new("invalid_path", format!("{part:?} cannot be the name of a file here")));
        }
        place.push(part);
        if parts.peek().is_some() {
            make_folder(&place)?;
        }
    }
    check_replaceable(&place)?;
    Ok(place)
}

/// Refuses what a get would destroy without being a file: a folder, a device, a pipe.
pub(crate) fn check_replaceable(place: &Path) -> Result {
    let metadata = match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(|error| Failure::io(format!("cannot look at {}", place.display()), error))?,
    };
    let kind = metadata.file_type();
    if kind.is_file() || kind.is_symlink() {
        return Ok(());
    }
    let what = if kind.is_dir() { "a folder" } else { "no regular file" };
    Err(Failure::usage(format!("{} is {what}", place.display())))
}

/// Whether this platform too takes `part` as one name and not as a way to somewhere else.
fn is_plain(part: &str) -> bool {
    let mut components = Path::new(part).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(name)), None) if name == part)
}

fn make_folder(place: &Path) -> Result {
    let failed = |error| Failure::io(format!("cannot make the folder {}", place.display()), error);
    match fs::create_dir(place) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let kind = fs::symlink_metadata(place).map_err(failed)?.file_type();
            if kind.is_dir() {
                return Ok(());
            }
            let what = if kind.is_symlink() { "a symbolic link" } else { "a file" };
            Err(Failure::new("permission_denied", format!("{} is {what}, not a folder", place.display())))
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FilePath {
        FilePath::new(text).expect("a path")
    }

    #[test]
    fn folders_in_between_are_made() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = below(dir.path(), &path("a/b/我的 文件")).expect("allowed");
        assert_eq!(place, dir.path().join("a/b/我的 文件"));
        assert!(dir.path().join("a/b").is_dir());
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_on_the_way_is_refused() {
        let (dir, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        std::os::unix::fs::symlink(outside.path(), dir.path().join("a")).expect("linked");
        let failure = below(dir.path(), &path("a/b/c")).expect_err("refused");
        assert_eq!(failure.code, "permission_denied");
        assert_eq!(fs::read_dir(outside.path()).expect("readable").count(), 0);
    }

    #[test]
    fn folders_are_not_replaced_by_files_nor_files_by_folders() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("folder")).expect("made");
        fs::write(dir.path().join("file"), "").expect("written");
        assert!(below(dir.path(), &path("folder")).is_err());
        assert!(below(dir.path(), &path("file/a")).is_err());
        assert!(below(dir.path(), &path("file")).is_ok());
    }
}
