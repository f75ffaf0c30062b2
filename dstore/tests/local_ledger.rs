//! The ledger file: durable, shared by processes, and refused with a clear error when it is not whole.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use dstore::Error;
use dstore::id::{FileId, OwnerId, PathSalt};
use dstore::ledger::{Ledger, LedgerError, LocalLedger, Written, file_id};
use futures_lite::future::{block_on, poll_once};
use rusqlite::Connection;

const OWNER: OwnerId = OwnerId::new([7; 20]);

fn salt(n: u8) -> PathSalt {
    PathSalt::new([n; 32])
}

fn file(n: u8) -> FileId {
    file_id(OWNER, salt(n))
}

fn put(ledger: &LocalLedger, n: u8, expected: u32, record: &[u8]) -> Result<Written, LedgerError> {
    block_on(ledger.put(OWNER, salt(n), expected, record.to_vec()))
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.db");
    (folder, path)
}

/// The text of the error that opening `path` ends with.
fn refusal(path: &Path) -> String {
    let error = LocalLedger::open(path).expect_err("this is no ledger");
    assert!(matches!(error, Error::Config { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&*path.to_string_lossy()), "the text names the file: {text}");
    text
}

#[test]
fn a_ledger_survives_reopening() {
    let (_folder, path) = place();
    let ledger = LocalLedger::open(&path).unwrap();
    put(&ledger, 1, 0, b"one").unwrap();
    put(&ledger, 1, 1, b"two").unwrap();
    let (id, before) = (ledger.id(), block_on(ledger.history(file(1))).unwrap());
    drop(ledger);
    let again = LocalLedger::open(&path).unwrap();
    assert_eq!(again.id(), id);
    assert_eq!(block_on(again.history(file(1))).unwrap(), before);
    assert_eq!(before.len(), 2);
    assert_ne!(LocalLedger::open(path.with_extension("other")).unwrap().id(), id);
}

#[test]
fn two_instances_see_each_others_writes() {
    let (_folder, path) = place();
    let (one, two) = (LocalLedger::open(&path).unwrap(), LocalLedger::open(&path).unwrap());
    for version in 0..10 {
        let (writer, reader) = if version % 2 == 0 { (&one, &two) } else { (&two, &one) };
        put(writer, 1, version, b"record").unwrap();
        assert_eq!(block_on(reader.get(file(1))).unwrap().unwrap().version, version + 1);
        assert!(matches!(put(reader, 1, version, b"x"), Err(LedgerError::VersionConflict { .. })));
    }
}

#[cfg(unix)]
#[test]
fn the_file_and_its_log_are_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = place();
    let ledger = LocalLedger::open(&path).unwrap();
    put(&ledger, 1, 0, b"one").unwrap();
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3, "the file, its log and the index of that: {files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn reads_do_not_wait_for_a_writer() {
    let (_folder, path) = place();
    let ledger = LocalLedger::open(&path).unwrap();
    put(&ledger, 1, 0, b"one").unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM event").unwrap();
    assert_eq!(block_on(ledger.get(file(1))).unwrap().unwrap().record, b"one");
    assert_eq!(block_on(ledger.list(OWNER, None)).unwrap().entries.len(), 1);
}

#[test]
fn writes_that_waited_together_are_all_done_and_a_dropped_one_never_is() {
    let (_folder, path) = place();
    let ledger = LocalLedger::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    block_on(async {
        let mut waiting: Vec<_> = (0..200).map(|n| ledger.put(OWNER, salt(n), 0, vec![n; 600])).map(Box::pin).collect();
        for write in &mut waiting {
            assert!(poll_once(write).await.is_none(), "the other connection holds the file");
        }
        drop(waiting.remove(100));
        other.execute_batch("ROLLBACK").unwrap();
        for write in waiting {
            write.await.unwrap();
        }
    });
    assert_eq!(block_on(ledger.get(file(100))).unwrap(), None);
    assert_eq!(block_on(ledger.list(OWNER, None)).unwrap().entries.len(), 199);
}

#[test]
fn threads_with_connections_of_their_own_have_one_winner_a_version() {
    let (_folder, path) = place();
    LocalLedger::open(&path).unwrap();
    let racers: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || race(&LocalLedger::open(path).unwrap()))
        })
        .collect();
    assert_one_winner_each(&path, racers.into_iter().map(|racer| racer.join().unwrap()).collect());
}

const VERSIONS: u32 = 30;

/// Tries to write every version in turn, and returns those that this racer wrote.
fn race(ledger: &LocalLedger) -> Vec<u32> {
    let won = |version: &u32| match put(ledger, 1, *version, b"record") {
        Ok(_) => true,
        Err(LedgerError::VersionConflict { actual, .. }) if actual > *version => false,
        Err(other) => panic!("{other}"),
    };
    (0..VERSIONS).filter(won).collect()
}

fn assert_one_winner_each(path: &Path, won: Vec<Vec<u32>>) {
    let mut all = won.concat();
    all.sort_unstable();
    assert_eq!(all, (0..VERSIONS).collect::<Vec<u32>>());
    let history = block_on(LocalLedger::open(path).expect("it opens").history(file(1))).expect("it answers");
    assert_eq!(history.len(), all.len());
    assert!(history.iter().all(|entry| entry.seq == u64::from(entry.version)));
}

const FILE_OF_CHILD: &str = "DSTORE_TEST_LEDGER";

/// This test binary again, as a process that runs the one test `name`.
fn child(name: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this test runs"))
        .args(["--exact", name, "--nocapture"])
        .env(FILE_OF_CHILD, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs again")
}

fn say(text: &str) {
    println!("\nsaid {text}");
}

fn said(line: &str) -> Option<&str> {
    line.strip_prefix("said ")
}

#[test]
fn child_that_races() {
    let Some(path) = std::env::var_os(FILE_OF_CHILD) else { return };
    std::io::stdin().read_exact(&mut [0]).unwrap();
    // Nobody made the file before: all of them try to.
    let ledger = LocalLedger::open(path).unwrap();
    say(&ledger.id().to_string());
    race(&ledger).iter().for_each(|version| say(&version.to_string()));
}

#[test]
fn processes_create_one_ledger_and_have_one_winner_a_version() {
    let (_folder, path) = place();
    let mut children: Vec<Child> = (0..4).map(|_| child("child_that_races", &path)).collect();
    for child in &mut children {
        child.stdin.take().unwrap().write_all(&[1]).unwrap();
    }
    let (mut ids, mut won) = (Vec::new(), Vec::new());
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines().filter_map(said);
        ids.push(lines.next().unwrap().to_owned());
        won.push(lines.map(|line| line.parse().unwrap()).collect());
    }
    ids.dedup();
    assert_eq!(ids, [LocalLedger::open(&path).unwrap().id().to_string()]);
    assert_one_winner_each(&path, won);
}

#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(FILE_OF_CHILD) else { return };
    let ledger = LocalLedger::open(path).unwrap();
    for version in 0.. {
        put(&ledger, 1, version, &[1; 3000]).unwrap();
        say(&(version + 1).to_string());
    }
}

#[test]
fn a_killed_process_loses_no_write_that_returned() {
    let (_folder, path) = place();
    let mut child = child("child_that_writes_until_it_is_killed", &path);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = lines.filter_map(|line| said(&line).map(|version| version.parse::<u32>().unwrap()));
    assert_eq!(told.by_ref().nth(39), Some(40));
    child.kill().unwrap();
    let last = told.last().unwrap_or(40);
    child.wait().unwrap();
    let ledger = LocalLedger::open(&path).unwrap();
    let history = block_on(ledger.history(file(1))).unwrap();
    let newest = history[0].version;
    assert!(newest == last || newest == last + 1, "{last} was the last to return, {newest} is there");
    assert!((1..=newest).rev().eq(history.iter().map(|entry| entry.version)));
    put(&ledger, 1, newest, b"more").unwrap();
}

#[test]
fn a_folder_in_place_of_the_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).contains("not a file"));
}

#[test]
fn a_missing_folder_is_named() {
    let (_folder, path) = place();
    let below = path.join("ledger.db");
    assert!(refusal(&below).contains("does not exist"));
    assert!(!path.exists());
}

#[test]
fn a_file_of_something_else_is_refused_and_left_alone() {
    let (_folder, path) = place();
    fs::write(&path, vec![b'x'; 10_000]).unwrap();
    assert!(refusal(&path).contains("not a dstore ledger"));
    assert_eq!(fs::read(&path).unwrap(), vec![b'x'; 10_000]);
    fs::write(&path, b"short").unwrap();
    assert!(refusal(&path).contains("not a dstore ledger"));
}

#[test]
fn an_empty_file_is_not_taken_for_a_new_ledger() {
    let (_folder, path) = place();
    fs::write(&path, b"").unwrap();
    assert!(refusal(&path).contains("is empty"));
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn another_application_and_a_newer_format_are_refused() {
    let (_folder, path) = place();
    drop(LocalLedger::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert!(refusal(&path).contains("format 2"));
    Connection::open(&path).unwrap().pragma_update(None, "application_id", 9).unwrap();
    assert!(refusal(&path).contains("not a dstore ledger"));
}

#[test]
fn the_log_of_a_lost_file_is_not_replayed_into_a_new_one() {
    let (_folder, path) = place();
    fs::write(path.with_extension("db-wal"), b"frames").unwrap();
    let error = LocalLedger::open(&path).expect_err("the file is gone");
    assert!(error.to_string().contains("ledger.db-wal"), "{error}");
    assert!(!path.exists());
}

#[cfg(unix)]
#[test]
fn a_write_to_a_file_that_was_replaced_is_refused() {
    let (_folder, path) = place();
    let ledger = LocalLedger::open(&path).unwrap();
    put(&ledger, 1, 0, b"one").unwrap();
    fs::rename(&path, path.with_extension("moved")).unwrap();
    for _ in 0..2 {
        assert!(matches!(put(&ledger, 1, 1, b"two"), Err(LedgerError::Unavailable { .. })));
        assert!(matches!(block_on(ledger.health()), Err(LedgerError::Unavailable { .. })));
        fs::copy(path.with_extension("moved"), &path).unwrap();
    }
}

#[test]
fn rows_that_no_ledger_writes_are_damage() {
    let damages = [
        "UPDATE event SET record = zeroblob(4097)",
        "UPDATE event SET record = x''",
        "UPDATE event SET kind = 9",
        "UPDATE event SET kind = 2",
        "UPDATE event SET file_id = x'FF'; UPDATE live SET file_id = x'FF'",
        "UPDATE event SET owner = x'00'",
        "UPDATE event SET version = 4294967296; UPDATE live SET version = 4294967296",
        "UPDATE event SET version = -1; UPDATE live SET version = -1",
        "UPDATE event SET seq = -1",
        "DELETE FROM event",
        "DROP TABLE event",
    ];
    for damage in damages {
        let (_folder, path) = place();
        let ledger = LocalLedger::open(&path).unwrap();
        put(&ledger, 1, 0, b"one").unwrap();
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let listed = block_on(ledger.list(OWNER, Some(FileId::new([0; 32]))));
        let read = block_on(ledger.history(file(1)));
        let damaged = |error: &LedgerError| matches!(error, LedgerError::Damaged { .. });
        assert!(
            listed.as_ref().is_err_and(damaged) || read.as_ref().is_err_and(damaged),
            "{damage}: {listed:?} {read:?}"
        );
    }
}

#[test]
fn no_damage_to_the_file_makes_it_panic() {
    let (_folder, path) = place();
    let ledger = LocalLedger::open(&path).unwrap();
    for n in 0..6 {
        put(&ledger, n, 0, &[n; 4096]).unwrap();
        put(&ledger, n, 1, &[n; 100]).unwrap();
    }
    drop(ledger);
    let whole = fs::read(&path).unwrap();
    let damaged = path.with_extension("damaged");
    for at in (0..whole.len()).step_by(1024) {
        let garbled = |byte: u8| {
            let mut bytes = whole.clone();
            bytes[at..][..100].fill(byte);
            bytes
        };
        for bytes in [whole[..at].to_vec(), garbled(0), garbled(0xFF), garbled(0x0D)] {
            fs::write(&damaged, &bytes).unwrap();
            use_all(&damaged);
            for leftover in ["damaged-wal", "damaged-shm"] {
                drop(fs::remove_file(path.with_extension(leftover)));
            }
        }
    }
}

/// Every call: a file that opens answers what was written or reports damage.
fn use_all(path: &Path) {
    let Ok(ledger) = LocalLedger::open(path) else { return };
    for n in 0..6 {
        if let Ok(history) = block_on(ledger.history(file(n))) {
            assert!(history.iter().all(|entry| entry.file_id == file(n) && entry.record.len() <= 4096));
        }
        drop(block_on(ledger.get(file(n))));
        drop(put(&ledger, n, 2, &[9; 4096]));
        drop(block_on(ledger.rename(OWNER, salt(n), 3, salt(n + 100), 0, vec![1])));
        drop(block_on(ledger.remove(OWNER, salt(n), 2)));
    }
    drop(block_on(ledger.list(OWNER, None)));
    drop(block_on(ledger.health()));
}
