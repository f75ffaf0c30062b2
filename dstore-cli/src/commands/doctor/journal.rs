//! What the client's journal holds of earlier commands: counted by its files alone, for their notes are sealed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::shape::Finding;
use crate::text;

/// The folder of the journal in that of the client.
const FOLDER: &str = "journal";
/// Logs that are looked at.
const MAX_SEEN: usize = 10_000;

/// The logs of one folder.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Of commands that run.
    held: usize,
    /// Of commands that ended before they were through.
    left: usize,
    /// How long ago the oldest of those was written to.
    oldest: Duration,
}

/// What commands that were cut short have left to finish, or to clear away.
pub(super) fn unfinished(dir: &Path) -> Finding {
    let folder = dir.join(FOLDER);
    let seen = match look(&folder, SystemTime::now()) {
        Ok(seen) => seen,
        Err(error) => {
            let text = format!("cannot look at {}: {error}; a put that is cut short starts over", folder.display());
            return Finding::warn("journal", text, "make the folder yours again (chown), with chmod u+rwx");
        }
    };
    let running = match seen.held {
        0 => String::new(),
        held => format!("; {} at work now", text::count(held, "command")),
    };
    if seen.left == 0 {
        return Finding::pass("journal", format!("nothing was left unfinished{running}"));
    }
    let oldest = if seen.left == 1 { "" } else { "the oldest " };
    let left = text::count(seen.left, "command");
    let text = format!("{left} ended before all was done, {oldest}{} ago{running}", text::age(seen.oldest));
    let remedy = "nothing must be done: the same put, given again, goes on where it ended; if it is not, the first \
                  command after 23 hours clears it away";
    Finding::warn("journal", text, remedy)
}

fn look(folder: &Path, now: SystemTime) -> io::Result<Seen> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::default()),
        entries => entries?,
    };
    let mut seen = Seen::default();
    let logs = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_log));
    for entry in logs.take(MAX_SEEN) {
        // One that is gone has just been finished.
        let (Ok(file), Ok(metadata)) = (File::open(entry.path()), entry.metadata()) else { continue };
        // Let go at once: the same put may just be looking for it.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => seen.held += 1,
            Ok(()) | Err(TryLockError::Error(_)) => {
                seen.left += 1;
                let age = now.duration_since(metadata.modified()?).unwrap_or_default();
                seen.oldest = seen.oldest.max(age);
            }
        }
    }
    Ok(seen)
}

/// Whether a file is named as logs are: 32 hex digits, a hyphen, 16 more.
fn is_log(name: &str) -> bool {
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    name.split_once('-').is_some_and(|(tag, serial)| hex(tag, 32) && hex(serial, 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_that_nobody_holds_are_counted_with_the_age_of_the_oldest() {
        let dir = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        assert_eq!(look(&dir.path().join("none"), now).expect("nothing there"), Seen::default());
        let log = |serial: &str, hours: u64| {
            let file = File::create(dir.path().join(format!("{}-{}", "1f".repeat(16), serial.repeat(16))));
            let file = file.expect("created");
            file.set_modified(now - Duration::from_secs(hours * 3600)).expect("ours");
            file
        };
        drop((log("a", 1), log("b", 5)));
        let held = log("c", 9);
        held.lock().expect("free");
        for other in ["README", "1f-a", &format!("{}-{}.new", "1f".repeat(16), "d".repeat(16))] {
            fs::write(dir.path().join(other), b"x").expect("written");
        }
        let seen = look(dir.path(), now).expect("looked");
        assert_eq!(seen, Seen { held: 1, left: 2, oldest: Duration::from_secs(5 * 3600) });
    }
}
