//! Logs as files of one folder, each locked by the process that holds it.
//!
//! Invariant: a file under its final name was locked before it got that name, so nobody can take it for left over.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Journal, Log, LogId, MAX_CLAIMED, MAX_NOTE_LEN, MAX_NOTES, Tag, check_len};
use crate::rt::{BoxFuture, Rt};

/// Keeps each log in a file of a folder, which is made with the first one. Several processes may use it at once.
#[derive(Debug, Clone)]
pub struct DiskJournal {
    dir: PathBuf,
    rt: Rt,
}

impl DiskJournal {
    /// The journal in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, rt: Rt) -> Self {
        Self { dir: dir.into(), rt }
    }
}

impl Journal for DiskJournal {
    fn begin(&self, tag: Tag) -> BoxFuture<'_, io::Result<Box<dyn Log>>> {
        let (dir, rt) = (self.dir.clone(), self.rt.clone());
        let id = LogId { tag, serial: self.rt.random() };
        Box::pin(self.rt.blocking(move || {
            let file = create(&dir, id)?;
            Ok(Box::new(DiskLog { path: dir.join(name(id)), id, file: Arc::new(file), rt }) as Box<dyn Log>)
        }))
    }

    fn claim(&self, tag: Option<Tag>) -> BoxFuture<'_, io::Result<Vec<Box<dyn Log>>>> {
        let (dir, rt) = (self.dir.clone(), self.rt.clone());
        Box::pin(self.rt.blocking(move || {
            let claimed = claim(&dir, tag)?.into_iter();
            let log = |(id, file)| {
                Box::new(DiskLog { path: dir.join(name(id)), id, file: Arc::new(file), rt: rt.clone() }) as Box<dyn Log>
            };
            Ok(claimed.map(log).collect())
        }))
    }
}

fn create(dir: &Path, id: LogId) -> io::Result<File> {
    fs::create_dir_all(dir)?;
    let (path, unlocked) = (dir.join(name(id)), dir.join(format!("{}.new", name(id))));
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&unlocked)?;
    let named = file.lock().and_then(|()| fs::rename(&unlocked, path));
    named.inspect_err(|_| drop(fs::remove_file(&unlocked)))?;
    Ok(file)
}

fn claim(dir: &Path, tag: Option<Tag>) -> io::Result<Vec<(LogId, File)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(parse);
        let Some(id) = id.filter(|id| tag.is_none_or(|tag| tag == id.tag)) else { continue };
        // Removed since: its holder has finished.
        let Ok(metadata) = entry.metadata() else { continue };
        found.push((metadata.modified()?, id));
    }
    found.sort_unstable();
    let mut claimed = Vec::new();
    for (_, id) in found {
        if claimed.len() == MAX_CLAIMED {
            break;
        }
        if let Some(file) = take_hold(&dir.join(name(id)))? {
            claimed.push((id, file));
        }
    }
    Ok(claimed)
}

/// The locked file, unless somebody else holds it, or has just removed it.
fn take_hold(path: &Path) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Its holder may have removed it between the two steps above.
    if !path.exists() {
        return Ok(None);
    }
    // What is added must not stand behind a note that a crash cut short.
    let whole: u64 = read(&file)?.iter().map(|note| 4 + note.len() as u64).sum();
    file.set_len(whole)?;
    Ok(Some(file))
}

/// 32 hex digits of the tag, a hyphen, 16 of the serial number.
fn name(id: LogId) -> String {
    format!("{}-{}", hex::encode(id.tag.0), hex::encode(id.serial))
}

fn parse(name: &str) -> Option<LogId> {
    let (tag, serial) = name.split_once('-')?;
    let (mut id, mut number) = ([0; 16], [0; 8]);
    hex::decode_to_slice(tag, &mut id).ok()?;
    hex::decode_to_slice(serial, &mut number).ok()?;
    Some(LogId { tag: Tag(id), serial: number })
}

struct DiskLog {
    path: PathBuf,
    id: LogId,
    /// Locked while this is open.
    file: Arc<File>,
    rt: Rt,
}

impl Log for DiskLog {
    fn id(&self) -> LogId {
        self.id
    }

    fn notes(&self) -> BoxFuture<'_, io::Result<Vec<Vec<u8>>>> {
        let file = self.file.clone();
        Box::pin(self.rt.blocking(move || read(&file)))
    }

    fn append(&mut self, note: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        let file = self.file.clone();
        Box::pin(async move {
            check_len(&note)?;
            let len = u32::try_from(note.len()).map_err(io::Error::other)?;
            let framed = [&len.to_be_bytes()[..], &note].concat();
            self.rt.blocking(move || (&*file).write_all(&framed)).await
        })
    }

    fn remove(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        let rt = self.rt.clone();
        Box::pin(rt.blocking(move || {
            // Unlocked only afterwards.
            let removed = fs::remove_file(&self.path);
            drop(self);
            removed
        }))
    }
}

/// The notes of a file: 4 bytes with the length, big endian, then the note.
fn read(file: &File) -> io::Result<Vec<Vec<u8>>> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut notes = Vec::new();
    let mut reader = io::BufReader::new(file);
    while notes.len() < MAX_NOTES {
        let mut len = [0; 4];
        if reader.read_exact(&mut len).is_err() {
            break;
        }
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > MAX_NOTE_LEN {
            break;
        }
        let mut note = vec![0; len];
        if reader.read_exact(&mut note).is_err() {
            break;
        }
        notes.push(note);
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn a_note_that_a_crash_cut_short_is_left_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = DiskJournal::new(dir.path(), Rt::default());
        block_on(async {
            let mut log = journal.begin(Tag([7; 16])).await.expect("begun");
            log.append(b"whole".to_vec()).await.expect("noted");
            let path = dir.path().join(name(log.id()));
            drop(log);
            let mut file = OpenOptions::new().append(true).open(path).expect("there");
            file.write_all(&[0, 0, 0, 9, 1, 2]).expect("written");
            let mut log = journal.claim(None).await.expect("claimed").pop().expect("one");
            assert_eq!(log.notes().await.expect("read"), [b"whole"]);
            log.append(b"more".to_vec()).await.expect("noted");
            assert_eq!(log.notes().await.expect("read"), [&b"whole"[..], b"more"]);
        });
    }

    #[test]
    fn other_files_in_the_folder_are_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["README", "zz-zz", &format!("{}-{}.new", "11".repeat(16), "22".repeat(8))] {
            fs::write(dir.path().join(name), b"x").expect("written");
        }
        let journal = DiskJournal::new(dir.path(), Rt::default());
        assert!(block_on(journal.claim(None)).expect("claimed").is_empty());
    }
}
