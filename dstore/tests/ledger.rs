//! Both ledgers of the library keep the rules, and behave as a map that remembers every version.

use std::collections::HashMap;
use std::sync::Arc;

use dstore::id::{OwnerId, PathSalt};
use dstore::ledger::{Entry, EventKind, Ledger, LedgerError, LocalLedger, MemoryLedger, file_id};
use dstore::testing::conformance;
use futures_lite::future::block_on;
use futures_util::future::join_all;
use proptest::prelude::*;

const OWNERS: [OwnerId; 2] = [OwnerId::new([1; 20]), OwnerId::new([2; 20])];

#[test]
fn the_memory_ledger_keeps_every_rule() {
    block_on(conformance::ledger::run(Arc::new(MemoryLedger::default()), OWNERS[0], OWNERS[1]));
}

#[test]
fn the_local_ledger_keeps_every_rule() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = LocalLedger::open(folder.path().join("ledger.db")).unwrap();
    block_on(conformance::ledger::run(Arc::new(ledger), OWNERS[0], OWNERS[1]));
}

#[test]
fn every_rule_holds_alone_on_a_fresh_ledger() {
    for (_, rule) in conformance::ledger::RULES {
        let ledger = Arc::new(MemoryLedger::default());
        let subject = conformance::ledger::Subject { ledger, owner: OWNERS[0], stranger: OWNERS[1] };
        block_on(rule(&subject));
    }
}

#[test]
fn memory_ledgers_have_ids_of_their_own_and_clones_share_one() {
    let ledger = MemoryLedger::default();
    assert_ne!(ledger.id(), MemoryLedger::default().id());
    let clone = ledger.clone();
    block_on(ledger.put(OWNERS[0], PathSalt::new([1; 32]), 0, vec![1])).unwrap();
    assert!(block_on(clone.get(file_id(OWNERS[0], PathSalt::new([1; 32])))).unwrap().is_some());
    assert_eq!(clone.id(), ledger.id());
}

#[test]
fn a_long_history_is_cut_to_its_newest_4096_versions() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalLedger::open(folder.path().join("ledger.db")).unwrap();
    let ledgers: [&dyn Ledger; 2] = [&local, &MemoryLedger::default()];
    for ledger in ledgers {
        let puts = (0..4100).map(|version| ledger.put(OWNERS[0], salt(1), version, vec![1]));
        assert!(block_on(join_all(puts)).iter().all(Result::is_ok));
        let history = block_on(ledger.history(file_id(OWNERS[0], salt(1)))).unwrap();
        assert!(history.iter().map(|entry| entry.version).eq((5..=4100).rev()));
    }
}

#[test]
fn what_a_ledger_refuses_is_an_error_of_the_library_by_a_question_mark() {
    let ledger = MemoryLedger::default();
    let refused: dstore::Result<()> = block_on(async { Ok(ledger.remove(OWNERS[0], salt(1), 0).await.map(drop)?) });
    assert_eq!(refused.expect_err("nothing there").code(), "not_found");
}

/// One step of a random history. `off` is added to the version that the model has.
#[derive(Debug, Clone)]
enum Step {
    Put { owner: usize, salt: u8, off: i8, len: usize },
    Remove { owner: usize, salt: u8, off: i8 },
    Rename { owner: usize, from: u8, off_from: i8, to: u8, off_to: i8, len: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let owner = || 0..OWNERS.len();
    let salt = || 0..4_u8;
    let off = || prop_oneof![6 => Just(0_i8), 1 => -2..3_i8];
    let len = || prop_oneof![8 => 1..64_usize, 1 => Just(4096), 1 => Just(4097), 1 => Just(0)];
    prop_oneof![
        4 => (owner(), salt(), off(), len()).prop_map(|(owner, salt, off, len)| Step::Put { owner, salt, off, len }),
        2 => (owner(), salt(), off()).prop_map(|(owner, salt, off)| Step::Remove { owner, salt, off }),
        3 => (owner(), salt(), off(), salt(), off(), len()).prop_map(|(owner, from, off_from, to, off_to, len)| {
            Step::Rename { owner, from, off_from, to, off_to, len }
        }),
    ]
}

/// What a version should be: its number, its kind, its `seq` and its record.
type Version = (u32, EventKind, u64, Vec<u8>);

/// The rules once more, written as plainly as possible.
#[derive(Default)]
struct Model {
    files: HashMap<(usize, u8), Vec<Version>>,
    seqs: HashMap<usize, u64>,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Done(u32),
    Conflict(u32, u32),
    NotFound,
    Length,
    Same,
}

impl Model {
    fn newest(&self, owner: usize, salt: u8) -> (u32, bool) {
        let newest = self.files.get(&(owner, salt)).and_then(|versions| versions.last());
        newest.map_or((0, false), |(version, kind, ..)| (*version, kind.is_live()))
    }

    fn expected(&self, owner: usize, salt: u8, off: i8) -> u32 {
        self.newest(owner, salt).0.saturating_add_signed(off.into())
    }

    fn push(&mut self, owner: usize, salt: u8, kind: EventKind, record: Vec<u8>) -> Outcome {
        let seq = self.seqs.entry(owner).or_default();
        *seq += 1;
        let versions = self.files.entry((owner, salt)).or_default();
        let version = u32::try_from(versions.len()).expect("few versions") + 1;
        versions.push((version, kind, *seq, record));
        Outcome::Done(version)
    }

    fn run(&mut self, step: &Step, n: u8) -> Outcome {
        let current = |owner, salt, off| {
            let (actual, live) = self.newest(owner, salt);
            let expected = self.expected(owner, salt, off);
            if expected == actual { Ok(live) } else { Err(Outcome::Conflict(expected, actual)) }
        };
        match *step {
            Step::Put { len, .. } | Step::Rename { len, .. } if len == 0 || len > 4096 => Outcome::Length,
            Step::Rename { from, to, .. } if from == to => Outcome::Same,
            Step::Put { owner, salt, off, len } => match current(owner, salt, off) {
                Err(conflict) => conflict,
                Ok(_) => self.push(owner, salt, EventKind::Put, vec![n; len]),
            },
            Step::Remove { owner, salt, off } => match current(owner, salt, off) {
                Err(conflict) => conflict,
                Ok(false) => Outcome::NotFound,
                Ok(true) => self.push(owner, salt, EventKind::Removed, Vec::new()),
            },
            Step::Rename { owner, from, off_from, to, off_to, len } => {
                match (current(owner, from, off_from), current(owner, to, off_to)) {
                    (Err(conflict), _) | (Ok(true), Err(conflict)) => conflict,
                    (Ok(false), _) => Outcome::NotFound,
                    (Ok(true), Ok(_)) => {
                        self.push(owner, from, EventKind::RenamedAway, Vec::new());
                        self.push(owner, to, EventKind::RenamedHere, vec![n; len])
                    }
                }
            }
        }
    }
}

fn salt(n: u8) -> PathSalt {
    PathSalt::new([n; 32])
}

fn apply(ledger: &dyn Ledger, model: &Model, step: &Step, n: u8) -> Outcome {
    let result = block_on(match *step {
        Step::Put { owner, salt: at, off, len } => {
            ledger.put(OWNERS[owner], salt(at), model.expected(owner, at, off), vec![n; len])
        }
        Step::Remove { owner, salt: at, off } => ledger.remove(OWNERS[owner], salt(at), model.expected(owner, at, off)),
        Step::Rename { owner, from, off_from, to, off_to, len } => {
            let expected = (model.expected(owner, from, off_from), model.expected(owner, to, off_to));
            ledger.rename(OWNERS[owner], salt(from), expected.0, salt(to), expected.1, vec![n; len])
        }
    });
    match result {
        Ok(written) => Outcome::Done(written.version),
        Err(LedgerError::VersionConflict { expected, actual }) => Outcome::Conflict(expected, actual),
        Err(LedgerError::NotFound) => Outcome::NotFound,
        Err(LedgerError::RecordLength(_)) => Outcome::Length,
        Err(LedgerError::SamePath) => Outcome::Same,
        Err(other) => panic!("{step:?}: {other}"),
    }
}

fn assert_same(ledger: &dyn Ledger, model: &Model) {
    let version = |entry: Entry| (entry.version, entry.kind, entry.seq, entry.record);
    for (owner, id) in OWNERS.into_iter().enumerate() {
        let mut live = Vec::new();
        for at in 0..4 {
            let mut expected = model.files.get(&(owner, at)).cloned().unwrap_or_default();
            expected.reverse();
            let file = file_id(id, salt(at));
            let history: Vec<_> =
                block_on(ledger.history(file)).expect("it answers").into_iter().map(version).collect();
            assert_eq!(history, expected);
            assert_eq!(block_on(ledger.get(file)).expect("it answers").map(version), expected.first().cloned());
            live.extend(expected.first().filter(|newest| newest.1.is_live()).map(|newest| (file, newest.0)));
        }
        live.sort_unstable();
        let page = block_on(ledger.list(id, None)).expect("it answers");
        assert_eq!(page.entries.iter().map(|entry| (entry.file_id, entry.version)).collect::<Vec<_>>(), live);
        assert_eq!(page.next, None);
        // From each of them on, itself included.
        for (at, (file, _)) in live.iter().enumerate() {
            let page = block_on(ledger.list(id, Some(*file))).expect("it answers");
            assert!(page.entries.iter().map(|entry| entry.file_id).eq(live[at..].iter().map(|(file, _)| *file)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_are_those_of_a_map(
        steps in prop::collection::vec(step(), 1..40), restart in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut local = LocalLedger::open(folder.path().join("ledger.db")).unwrap();
        let memory = MemoryLedger::default();
        let mut model = Model::default();
        let restart = restart.index(steps.len());
        for (n, step) in (1..).zip(&steps) {
            if usize::from(n) == restart {
                drop(local);
                local = LocalLedger::open(folder.path().join("ledger.db")).unwrap();
            }
            let outcomes = [apply(&local, &model, step, n), apply(&memory, &model, step, n)];
            let expected = model.run(step, n);
            prop_assert!(outcomes.iter().all(|outcome| *outcome == expected), "{outcomes:?}, not {expected:?}");
        }
        assert_same(&local, &model);
        assert_same(&memory, &model);
    }
}
