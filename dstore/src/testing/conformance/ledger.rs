//! The rules of every [`Ledger`], each a small check whose name is the rule.
//!
//! Nothing is assumed about speed, or about what other owners do meanwhile.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::id::{FileId, OwnerId, PathSalt};
use crate::ledger::{Entry, EventKind, Finality, Ledger, LedgerError, MAX_PAGE_LEN, MAX_RECORD_LEN, Written, file_id};
use crate::rt::BoxFuture;

/// A ledger under test, and two owners who can write to it and have never done so.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Who the rules are checked for.
    pub owner: OwnerId,
    /// Another one.
    pub stranger: OwnerId,
}

/// A rule: its name, and a check that panics when the subject breaks it.
pub type Rule = (&'static str, fn(&Subject) -> BoxFuture<'_, ()>);

/// Checks every rule, one after the other.
///
/// # Panics
/// With the rule's name, at the first that is broken.
pub async fn run(ledger: Arc<dyn Ledger>, owner: OwnerId, stranger: OwnerId) {
    let subject = Subject { ledger, owner, stranger };
    for (name, rule) in RULES {
        if let Err(cause) = AssertUnwindSafe(rule(&subject)).catch_unwind().await {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
            panic!("{:?} breaks the rule {name}: {text}", subject.ledger);
        }
    }
}

macro_rules! rules {
    ($($rule:ident),* $(,)?) => { &[$((stringify!($rule), |subject| Box::pin($rule(subject)))),*] };
}

/// Every rule. Each uses paths of its own, and the last writes 300 files.
pub const RULES: &[Rule] = rules![
    a_ledger_that_works_is_healthy_and_keeps_its_id,
    a_file_that_never_existed_is_unknown_and_not_an_error,
    a_file_that_never_existed_cannot_be_removed_or_renamed,
    a_put_reads_back,
    every_put_names_the_version_that_it_replaces,
    repeating_a_put_is_a_conflict,
    versions_go_up_across_removal,
    a_removed_file_has_no_record_and_cannot_be_removed_again,
    one_of_many_writers_of_one_version_wins,
    one_of_many_creators_of_one_file_wins,
    a_remove_and_a_put_of_one_version_have_one_winner,
    nobody_reaches_the_files_of_another_owner,
    every_version_has_one_record_in_the_history,
    records_have_1_to_4096_bytes,
    a_rename_moves_the_record,
    a_rename_from_a_stale_version_changes_nothing,
    a_rename_to_a_stale_version_changes_nothing,
    a_rename_replaces_a_removed_target,
    a_rename_replaces_a_live_target_whose_version_it_names,
    a_rename_of_a_removed_file_finds_nothing,
    a_rename_back_and_forth_keeps_counting,
    a_rename_to_the_same_path_is_refused,
    one_of_many_renames_of_one_file_wins,
    the_writes_of_an_owner_are_numbered_without_gaps,
    a_write_that_returned_settles,
    a_list_has_live_files_of_one_owner_only,
    a_list_is_paged_in_the_order_of_ids,
];

/// The paths of one rule.
struct Paths<'a> {
    subject: &'a Subject,
    rule: &'static str,
}

impl Subject {
    fn paths(&self, rule: &'static str) -> Paths<'_> {
        Paths { subject: self, rule }
    }

    async fn put(&self, salt: PathSalt, expected: u32, record: &[u8]) -> Written {
        self.ledger.put(self.owner, salt, expected, record.to_vec()).await.expect("the put is allowed")
    }

    async fn remove(&self, salt: PathSalt, expected: u32) -> Written {
        self.ledger.remove(self.owner, salt, expected).await.expect("the remove is allowed")
    }

    async fn newest(&self, salt: PathSalt) -> Option<Entry> {
        self.ledger.get(file_id(self.owner, salt)).await.expect("the ledger answers")
    }

    async fn history(&self, salt: PathSalt) -> Vec<Entry> {
        self.ledger.history(file_id(self.owner, salt)).await.expect("the ledger answers")
    }

    async fn list(&self, owner: OwnerId) -> Vec<Entry> {
        let (mut entries, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.ledger.list(owner, cursor).await.expect("the ledger answers");
            assert!(page.entries.len() <= MAX_PAGE_LEN, "a page of {} files", page.entries.len());
            entries.extend(page.entries);
            let Some(next) = page.next else { return entries };
            assert!(entries.last().is_some_and(|last: &Entry| last.file_id < next), "the cursor does not move on");
            cursor = Some(next);
        }
    }
}

impl Paths<'_> {
    fn salt(&self, n: u32) -> PathSalt {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&n.to_be_bytes()).update(self.rule.as_bytes());
        PathSalt::new(*hasher.finalize().as_bytes())
    }

    /// A new file with `record` at version 1.
    async fn file(&self, n: u32, record: &[u8]) -> PathSalt {
        let salt = self.salt(n);
        assert_eq!(self.subject.put(salt, 0, record).await.version, 1);
        salt
    }
}

/// How often each of `results` won, and that the rest lost as they should.
fn winners(expected_by_all: u32, results: &[Result<Written, LedgerError>]) -> usize {
    for result in results {
        match result {
            Ok(written) => assert_eq!(written.version, expected_by_all + 1),
            Err(error) => assert_conflict(error, expected_by_all, expected_by_all + 1),
        }
    }
    results.iter().filter(|result| result.is_ok()).count()
}

fn assert_conflict(error: &LedgerError, was_expected: u32, is: u32) {
    match error {
        LedgerError::VersionConflict { expected, actual } => assert_eq!((*expected, *actual), (was_expected, is)),
        other => panic!("not a version conflict: {other}"),
    }
}

fn assert_not_found(result: Result<Written, LedgerError>) {
    assert!(matches!(result, Err(LedgerError::NotFound)), "{result:?} is not NotFound");
}

fn shape(entries: &[Entry]) -> Vec<(u32, EventKind, &[u8])> {
    entries.iter().map(|entry| (entry.version, entry.kind, &entry.record[..])).collect()
}

async fn a_ledger_that_works_is_healthy_and_keeps_its_id(subject: &Subject) {
    subject.ledger.health().await.expect("it is healthy");
    assert_eq!(subject.ledger.id(), subject.ledger.id());
}

async fn a_file_that_never_existed_is_unknown_and_not_an_error(subject: &Subject) {
    let salt = subject.paths("never existed").salt(0);
    assert_eq!(subject.newest(salt).await, None);
    assert_eq!(subject.history(salt).await, []);
}

async fn a_file_that_never_existed_cannot_be_removed_or_renamed(subject: &Subject) {
    let paths = subject.paths("no source");
    let (from, to) = (paths.salt(0), paths.salt(1));
    assert_not_found(subject.ledger.remove(subject.owner, from, 0).await);
    assert_not_found(subject.ledger.rename(subject.owner, from, 0, to, 0, b"record".to_vec()).await);
    assert_eq!((subject.newest(from).await, subject.newest(to).await), (None, None));
}

async fn a_put_reads_back(subject: &Subject) {
    let salt = subject.paths("read back").salt(0);
    let written = subject.put(salt, 0, b"record").await;
    assert_eq!((written.file_id, written.version), (file_id(subject.owner, salt), 1));
    let entry = subject.newest(salt).await.expect("it was put");
    assert_eq!((entry.file_id, entry.owner, entry.version), (written.file_id, subject.owner, 1));
    assert_eq!((entry.kind, entry.record.as_slice()), (EventKind::Put, &b"record"[..]));
    assert!(entry.is_live() && entry.seq > 0);
}

async fn every_put_names_the_version_that_it_replaces(subject: &Subject) {
    let salt = subject.paths("compare and set").salt(0);
    let ahead = subject.ledger.put(subject.owner, salt, 1, vec![1]).await.expect_err("nothing is there");
    assert_conflict(&ahead, 1, 0);
    assert_eq!(subject.put(salt, 0, b"one").await.version, 1);
    assert_eq!(subject.put(salt, 1, b"two").await.version, 2);
    for stale in [0, 1, 3, u32::MAX] {
        let error = subject.ledger.put(subject.owner, salt, stale, vec![1]).await.expect_err("not the version");
        assert_conflict(&error, stale, 2);
        let error = subject.ledger.remove(subject.owner, salt, stale).await.expect_err("not the version");
        assert_conflict(&error, stale, 2);
    }
    assert_eq!(shape(&subject.history(salt).await), [(2, EventKind::Put, &b"two"[..]), (1, EventKind::Put, b"one")]);
}

async fn repeating_a_put_is_a_conflict(subject: &Subject) {
    let salt = subject.paths("repeat").file(0, b"same").await;
    let error = subject.ledger.put(subject.owner, salt, 0, b"same".to_vec()).await.expect_err("it was written");
    assert_conflict(&error, 0, 1);
    assert_eq!(subject.history(salt).await.len(), 1);
}

async fn versions_go_up_across_removal(subject: &Subject) {
    let salt = subject.paths("across removal").file(0, b"one").await;
    assert_eq!(subject.remove(salt, 1).await.version, 2);
    for stale in [0, 1] {
        let error = subject.ledger.put(subject.owner, salt, stale, vec![1]).await.expect_err("it was removed at 2");
        assert_conflict(&error, stale, 2);
    }
    assert_eq!(subject.put(salt, 2, b"three").await.version, 3);
    let kinds = [EventKind::Put, EventKind::Removed, EventKind::Put];
    let history = subject.history(salt).await;
    assert_eq!(shape(&history), [(3, kinds[2], &b"three"[..]), (2, kinds[1], b""), (1, kinds[0], b"one")]);
}

async fn a_removed_file_has_no_record_and_cannot_be_removed_again(subject: &Subject) {
    let salt = subject.paths("removed").file(0, b"one").await;
    let removed = subject.remove(salt, 1).await;
    assert_eq!((removed.file_id, removed.version), (file_id(subject.owner, salt), 2));
    let entry = subject.newest(salt).await.expect("a removed file keeps its version");
    assert_eq!((entry.version, entry.kind, entry.record.len()), (2, EventKind::Removed, 0));
    assert!(!entry.is_live());
    assert_not_found(subject.ledger.remove(subject.owner, salt, 2).await);
    assert_eq!(subject.history(salt).await.len(), 2);
}

async fn one_of_many_writers_of_one_version_wins(subject: &Subject) {
    let salt = subject.paths("race").file(0, b"first").await;
    let results = join_all((0..8).map(|n| subject.ledger.put(subject.owner, salt, 1, vec![n; 8]))).await;
    assert_eq!(winners(1, &results), 1);
    let entry = subject.newest(salt).await.expect("somebody won");
    assert!(results[usize::from(entry.record[0])].is_ok(), "the record is that of a loser");
}

async fn one_of_many_creators_of_one_file_wins(subject: &Subject) {
    let salt = subject.paths("creation race").salt(0);
    let results = join_all((0..8).map(|n| subject.ledger.put(subject.owner, salt, 0, vec![n]))).await;
    assert_eq!(winners(0, &results), 1);
    assert_eq!(subject.history(salt).await.len(), 1);
}

async fn a_remove_and_a_put_of_one_version_have_one_winner(subject: &Subject) {
    let salt = subject.paths("remove race").file(0, b"first").await;
    let remove = subject.ledger.remove(subject.owner, salt, 1);
    let put = subject.ledger.put(subject.owner, salt, 1, b"second".to_vec());
    let results = join_all([remove, put]).await;
    assert_eq!(winners(1, &results), 1);
    let entry = subject.newest(salt).await.expect("it was put");
    assert_eq!((entry.version, entry.is_live()), (2, results[1].is_ok()));
}

async fn nobody_reaches_the_files_of_another_owner(subject: &Subject) {
    let salt = subject.paths("ownership").file(0, b"mine").await;
    let theirs = file_id(subject.stranger, salt);
    let put = subject.ledger.put(subject.stranger, salt, 0, b"theirs".to_vec()).await.expect("a file of their own");
    assert_eq!((put.file_id, put.version), (theirs, 1));
    subject.ledger.put(subject.stranger, salt, 1, b"more".to_vec()).await.expect("a file of their own");
    let removed = subject.ledger.remove(subject.stranger, salt, 2).await.expect("a file of their own");
    assert_eq!((removed.file_id, removed.version), (theirs, 3));
    let mine = subject.newest(salt).await.expect("still there");
    assert_eq!((mine.owner, mine.version, mine.record.as_slice()), (subject.owner, 1, &b"mine"[..]));
    let history = subject.ledger.history(theirs).await.expect("the ledger answers");
    assert!(history.len() == 3 && history.iter().all(|entry| entry.owner == subject.stranger));
}

async fn every_version_has_one_record_in_the_history(subject: &Subject) {
    let paths = subject.paths("history");
    let salt = paths.salt(0);
    let mut expected = Vec::new();
    for version in 1..=12 {
        let record = format!("version {version}");
        if version % 4 == 0 {
            subject.remove(salt, version - 1).await;
            expected.push((version, EventKind::Removed, String::new()));
        } else {
            subject.put(salt, version - 1, record.as_bytes()).await;
            expected.push((version, EventKind::Put, record));
        }
        paths.file(version, b"another file").await;
    }
    expected.reverse();
    let history = subject.history(salt).await;
    let expected: Vec<_> =
        expected.iter().map(|(version, kind, record)| (*version, *kind, record.as_bytes())).collect();
    assert_eq!(shape(&history), expected);
    assert!(history.iter().all(|entry| entry.file_id == file_id(subject.owner, salt)));
    assert!(history.is_sorted_by(|newer, older| newer.seq > older.seq));
    assert_eq!(subject.newest(salt).await.as_ref(), history.first());
}

async fn records_have_1_to_4096_bytes(subject: &Subject) {
    let paths = subject.paths("limits");
    let salt = paths.file(0, &[7]).await;
    let longest = vec![0xA5; MAX_RECORD_LEN];
    subject.put(salt, 1, &longest).await;
    for len in [0, MAX_RECORD_LEN + 1] {
        let refused = subject.ledger.put(subject.owner, salt, 2, vec![1; len]).await;
        assert!(matches!(refused, Err(LedgerError::RecordLength(told)) if told == len), "{len}: {refused:?}");
        let refused = subject.ledger.rename(subject.owner, salt, 2, paths.salt(1), 0, vec![1; len]).await;
        assert!(matches!(refused, Err(LedgerError::RecordLength(told)) if told == len), "{len}: {refused:?}");
    }
    assert_eq!(shape(&subject.history(salt).await), [(2, EventKind::Put, &longest[..]), (1, EventKind::Put, &[7])]);
    assert_eq!(subject.newest(paths.salt(1)).await, None);
}

async fn a_rename_moves_the_record(subject: &Subject) {
    let paths = subject.paths("rename");
    let (from, to) = (paths.file(0, b"one").await, paths.salt(1));
    subject.put(from, 1, b"two").await;
    let moved = subject.ledger.rename(subject.owner, from, 2, to, 0, b"moved".to_vec()).await.expect("it is allowed");
    assert_eq!((moved.file_id, moved.version), (file_id(subject.owner, to), 1));
    let (left, arrived) = (subject.history(from).await, subject.history(to).await);
    assert_eq!(shape(&left[..1]), [(3, EventKind::RenamedAway, &b""[..])]);
    assert_eq!((left.len(), shape(&arrived)), (3, vec![(1, EventKind::RenamedHere, &b"moved"[..])]));
    assert!(!left[0].is_live() && arrived[0].is_live());
    assert_eq!(arrived[0].seq, left[0].seq + 1, "a rename is two events, the departure first");
}

async fn a_rename_from_a_stale_version_changes_nothing(subject: &Subject) {
    let paths = subject.paths("stale source");
    let (from, to) = (paths.file(0, b"one").await, paths.file(1, b"other").await);
    subject.put(from, 1, b"two").await;
    let before = (subject.history(from).await, subject.history(to).await);
    for stale in [0, 1, 3] {
        let result = subject.ledger.rename(subject.owner, from, stale, to, 1, b"moved".to_vec()).await;
        assert_conflict(&result.expect_err("the source is at 2"), stale, 2);
    }
    assert_eq!((subject.history(from).await, subject.history(to).await), before);
}

async fn a_rename_to_a_stale_version_changes_nothing(subject: &Subject) {
    let paths = subject.paths("stale target");
    let (from, to) = (paths.file(0, b"one").await, paths.file(1, b"other").await);
    let before = (subject.history(from).await, subject.history(to).await);
    for stale in [0, 2] {
        let result = subject.ledger.rename(subject.owner, from, 1, to, stale, b"moved".to_vec()).await;
        assert_conflict(&result.expect_err("the target is at 1"), stale, 1);
    }
    assert_eq!((subject.history(from).await, subject.history(to).await), before);
    // The owner's numbering has no gap either: the next write is the next number.
    subject.put(from, 1, b"two").await;
    let (last, next) = (before.1[0].seq, subject.history(from).await[0].seq);
    assert_eq!(next, last + 1);
}

async fn a_rename_replaces_a_removed_target(subject: &Subject) {
    let paths = subject.paths("removed target");
    let (from, to) = (paths.file(0, b"one").await, paths.file(1, b"other").await);
    subject.remove(to, 1).await;
    let moved = subject.ledger.rename(subject.owner, from, 1, to, 2, b"moved".to_vec()).await.expect("it is allowed");
    assert_eq!(moved.version, 3);
    assert_eq!(shape(&subject.history(to).await[..1]), [(3, EventKind::RenamedHere, &b"moved"[..])]);
}

async fn a_rename_replaces_a_live_target_whose_version_it_names(subject: &Subject) {
    let paths = subject.paths("live target");
    let (from, to) = (paths.file(0, b"one").await, paths.file(1, b"other").await);
    let moved = subject.ledger.rename(subject.owner, from, 1, to, 1, b"moved".to_vec()).await.expect("it is allowed");
    assert_eq!(moved.version, 2);
    let history = subject.history(to).await;
    assert_eq!(shape(&history), [(2, EventKind::RenamedHere, &b"moved"[..]), (1, EventKind::Put, b"other")]);
}

async fn a_rename_of_a_removed_file_finds_nothing(subject: &Subject) {
    let paths = subject.paths("removed source");
    let (from, to) = (paths.file(0, b"one").await, paths.salt(1));
    subject.remove(from, 1).await;
    assert_not_found(subject.ledger.rename(subject.owner, from, 2, to, 0, b"moved".to_vec()).await);
    assert_eq!((subject.history(from).await.len(), subject.newest(to).await), (2, None));
}

async fn a_rename_back_and_forth_keeps_counting(subject: &Subject) {
    let paths = subject.paths("back and forth");
    let (here, there) = (paths.file(0, b"one").await, paths.salt(1));
    let rename = |from, expected_from, to, expected_to, record: &[u8]| {
        subject.ledger.rename(subject.owner, from, expected_from, to, expected_to, record.to_vec())
    };
    assert_eq!(rename(here, 1, there, 0, b"two").await.expect("it is allowed").version, 1);
    assert_not_found(rename(here, 2, there, 1, b"no").await);
    assert_eq!(rename(there, 1, here, 2, b"three").await.expect("it is allowed").version, 3);
    assert_eq!(subject.remove(here, 3).await.version, 4);
    let kinds = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.kind).collect::<Vec<_>>();
    assert_eq!(kinds(subject.history(there).await), [EventKind::RenamedAway, EventKind::RenamedHere]);
    let whole = [EventKind::Removed, EventKind::RenamedHere, EventKind::RenamedAway, EventKind::Put];
    assert_eq!(kinds(subject.history(here).await), whole);
}

async fn a_rename_to_the_same_path_is_refused(subject: &Subject) {
    let salt = subject.paths("same path").file(0, b"one").await;
    let refused = subject.ledger.rename(subject.owner, salt, 1, salt, 1, b"moved".to_vec()).await;
    assert!(matches!(refused, Err(LedgerError::SamePath)), "{refused:?}");
    assert_eq!(subject.history(salt).await.len(), 1);
}

async fn one_of_many_renames_of_one_file_wins(subject: &Subject) {
    let paths = subject.paths("rename race");
    let from = paths.file(0, b"one").await;
    let renames = (1..=6).map(|n| subject.ledger.rename(subject.owner, from, 1, paths.salt(n), 0, b"moved".to_vec()));
    let results = join_all(renames).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for (n, result) in (1..).zip(results) {
        match result {
            Ok(written) => assert_eq!(written.version, 1),
            Err(error) => assert_conflict(&error, 1, 2),
        }
        let arrived = subject.newest(paths.salt(n)).await;
        assert!(arrived.is_none_or(|entry| entry.kind == EventKind::RenamedHere && entry.record == b"moved"));
    }
    let arrivals = join_all((1..=6).map(|n| subject.newest(paths.salt(n)))).await;
    assert_eq!(arrivals.iter().flatten().count(), 1, "the file is at one place");
}

async fn the_writes_of_an_owner_are_numbered_without_gaps(subject: &Subject) {
    let paths = subject.paths("numbering");
    let (a, b) = (paths.file(0, b"a").await, paths.file(1, b"b").await);
    let first = subject.newest(a).await.expect("it was put").seq;
    subject.ledger.put(subject.owner, a, 7, vec![1]).await.expect_err("a refused write takes no number");
    subject.ledger.put(subject.stranger, a, 0, vec![1]).await.expect("nor does that of another owner");
    subject.put(b, 1, b"b2").await;
    subject.ledger.rename(subject.owner, a, 1, b, 2, b"b3".to_vec()).await.expect("it is allowed");
    subject.remove(b, 3).await;
    let results = join_all((2..8).map(|n| subject.ledger.put(subject.owner, paths.salt(n), 0, vec![1]))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let mut numbers = Vec::new();
    for n in 0..8 {
        numbers.extend(subject.history(paths.salt(n)).await.iter().map(|entry| entry.seq));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (first..first + 12).collect::<Vec<u64>>());
    let stranger = subject.list(subject.stranger).await;
    assert!(stranger.iter().any(|entry| entry.seq <= 4), "owners are numbered each for themselves");
}

async fn a_write_that_returned_settles(subject: &Subject) {
    let salt = subject.paths("settle").salt(0);
    let first = subject.put(salt, 0, b"one").await;
    subject.ledger.wait(first, Finality::Included).await.expect("it was written");
    let second = subject.remove(salt, 1).await;
    subject.ledger.wait(second, Finality::Confirmed).await.expect("it was written");
    // A write that was replaced since is settled all the same.
    subject.ledger.wait(first, Finality::Confirmed).await.expect("it was written");
}

async fn a_list_has_live_files_of_one_owner_only(subject: &Subject) {
    let paths = subject.paths("list");
    let (kept, removed, moved) =
        (paths.file(0, b"kept").await, paths.file(1, b"x").await, paths.file(2, b"moved").await);
    subject.put(kept, 1, b"newer").await;
    subject.remove(removed, 1).await;
    subject.ledger.rename(subject.owner, moved, 1, paths.salt(3), 0, b"here".to_vec()).await.expect("it is allowed");
    subject.ledger.put(subject.stranger, kept, 0, b"theirs".to_vec()).await.expect("a file of their own");
    let mine = subject.list(subject.owner).await;
    assert!(mine.iter().all(|entry| entry.owner == subject.owner && entry.is_live()));
    let found = |n| mine.iter().find(|entry| entry.file_id == file_id(subject.owner, paths.salt(n)));
    assert!(found(0).is_some_and(|entry| entry.version == 2 && entry.record == b"newer"));
    assert_eq!((found(1), found(2)), (None, None), "removed, or moved away");
    assert!(found(3).is_some_and(|entry| entry.kind == EventKind::RenamedHere && entry.record == b"here"));
    let theirs = subject.list(subject.stranger).await;
    assert!(theirs.iter().all(|entry| entry.owner == subject.stranger));
    assert!(theirs.iter().any(|entry| entry.record == b"theirs"));
    subject.put(removed, 2, b"again").await;
    let again = subject.list(subject.owner).await;
    assert!(again.iter().any(|entry| entry.record == b"again"), "a file that came back is listed");
}

async fn a_list_is_paged_in_the_order_of_ids(subject: &Subject) {
    let paths = subject.paths("pages");
    let written = join_all((0..300).map(|n| subject.ledger.put(subject.owner, paths.salt(n), 0, vec![1; 600]))).await;
    let mut expected: Vec<FileId> =
        written.into_iter().map(|result| result.expect("the put is allowed").file_id).collect();
    expected.sort_unstable();
    let first = subject.ledger.list(subject.owner, None).await.expect("the ledger answers");
    assert!(first.next.is_some() && !first.entries.is_empty(), "300 files are more than a page");
    let entries = subject.list(subject.owner).await;
    assert!(entries.is_sorted_by(|a, b| a.file_id < b.file_id), "each file once, in the order of their ids");
    let listed: Vec<FileId> = entries.iter().map(|entry| entry.file_id).collect();
    assert!(expected.iter().all(|id| listed.binary_search(id).is_ok()), "a file is missing");
    // From an id on, itself included.
    let from_last = subject.ledger.list(subject.owner, listed.last().copied()).await.expect("the ledger answers");
    assert_eq!((from_last.entries.len(), from_last.next), (1, None));
}
