//! Where a client notes what it has begun, so that a later one can finish or undo it: the port under resume.
//!
//! Invariant: a log has one holder at a time, and whoever holds it sees every note whose append returned, in order.
//! What a note says is the client's matter: a journal keeps bytes that were sealed before they came here.

mod disk;
mod memory;

use std::fmt;
use std::io;

use crate::rt::BoxFuture;

pub use disk::DiskJournal;
pub use memory::MemoryJournal;

/// The longest note, bytes.
pub const MAX_NOTE_LEN: usize = 16 * 1024;
/// The most notes of a log that are read; a client writes about a dozen.
pub const MAX_NOTES: usize = 4096;
/// The most logs that one call of [`Journal::claim`] gives.
pub const MAX_CLAIMED: usize = 1024;

/// What the logs of operations on one path have in common: a number that says nothing to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; 16]);

/// The notes of one operation, held by whoever has this value: dropping it lets the log go, and leaves it there.
pub trait Log: Send + Sync {
    /// A name that no other log of the journal has, or had.
    fn id(&self) -> LogId;

    /// All notes so far, in order. One that was cut short by a crash is left out, and so is what follows it.
    ///
    /// # Errors
    /// Those of the disk.
    fn notes(&self) -> BoxFuture<'_, io::Result<Vec<Vec<u8>>>>;

    /// Adds a note of at most [`MAX_NOTE_LEN`] bytes. When this returns, it survives the end of the process; after a
    /// power loss it may be missing.
    ///
    /// # Errors
    /// Those of the disk; `InvalidInput` for a longer one.
    fn append(&mut self, note: Vec<u8>) -> BoxFuture<'_, io::Result<()>>;

    /// Removes the log.
    ///
    /// # Errors
    /// Those of the disk.
    fn remove(self: Box<Self>) -> BoxFuture<'static, io::Result<()>>;
}

/// The name of a log: its tag, and a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// What it has in common with others.
    pub tag: Tag,
    /// What it has alone.
    pub serial: [u8; 8],
}

/// Where a client keeps the logs of its operations.
pub trait Journal: fmt::Debug + Send + Sync + 'static {
    /// Starts a log, held by the caller.
    ///
    /// # Errors
    /// Those of the disk.
    fn begin(&self, tag: Tag) -> BoxFuture<'_, io::Result<Box<dyn Log>>>;

    /// Takes hold of the logs that nobody holds: those with `tag`, or all, oldest first, at most [`MAX_CLAIMED`].
    ///
    /// # Errors
    /// Those of the disk.
    fn claim(&self, tag: Option<Tag>) -> BoxFuture<'_, io::Result<Vec<Box<dyn Log>>>>;
}

fn check_len(note: &[u8]) -> io::Result<()> {
    if note.len() > MAX_NOTE_LEN { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;
    use crate::rt::Rt;

    fn journals() -> (Vec<Box<dyn Journal>>, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = DiskJournal::new(dir.path().join("journal"), Rt::default());
        (vec![Box::new(MemoryJournal::default()), Box::new(disk)], dir)
    }

    const TAG: Tag = Tag([1; 16]);

    #[test]
    fn what_was_noted_is_there_for_the_next_holder_and_for_no_other() {
        let (journals, _dir) = journals();
        for journal in journals {
            block_on(async {
                let mut log = journal.begin(TAG).await.expect("begun");
                log.append(b"one".to_vec()).await.expect("noted");
                log.append(vec![2; MAX_NOTE_LEN]).await.expect("noted");
                assert!(journal.claim(None).await.expect("claimed").is_empty(), "it is held");
                let id = log.id();
                drop(log);
                let mut found = journal.claim(Some(TAG)).await.expect("claimed");
                assert_eq!(found.iter().map(|log| log.id()).collect::<Vec<_>>(), [id]);
                assert!(journal.claim(Some(TAG)).await.expect("claimed").is_empty(), "held again");
                let mut log = found.pop().expect("one");
                log.append(b"three".to_vec()).await.expect("noted");
                let notes = log.notes().await.expect("read");
                assert_eq!(notes, [b"one".to_vec(), vec![2; MAX_NOTE_LEN], b"three".to_vec()]);
            });
        }
    }

    #[test]
    fn a_log_that_was_removed_is_gone_and_others_stay() {
        let (journals, _dir) = journals();
        for journal in journals {
            block_on(async {
                let gone = journal.begin(TAG).await.expect("begun");
                let other = journal.begin(Tag([2; 16])).await.expect("begun").id();
                gone.remove().await.expect("removed");
                assert!(journal.claim(Some(TAG)).await.expect("claimed").is_empty());
                let left = journal.claim(None).await.expect("claimed");
                assert_eq!(left.iter().map(|log| log.id()).collect::<Vec<_>>(), [other]);
            });
        }
    }

    #[test]
    fn a_note_that_is_too_long_is_refused() {
        let (journals, _dir) = journals();
        for journal in journals {
            block_on(async {
                let mut log = journal.begin(TAG).await.expect("begun");
                let refused = log.append(vec![0; MAX_NOTE_LEN + 1]).await.expect_err("too long");
                assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
                assert!(log.notes().await.expect("read").is_empty());
            });
        }
    }
}
