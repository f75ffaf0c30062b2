//! The contract compared with a ledger in memory: random operations on both give the same answers and the same files.

use dstore::id::OwnerId;
use dstore::ledger::{Entry, Ledger, LedgerError, MemoryLedger, Written, file_id};
use dstore::rt::Rt;
use futures_lite::future::block_on;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::anvil::Anvil;
use crate::kit::{config, deploy, owner, salt, stranger};
use crate::rules::both;

/// An operation; `off` is added to the version that is right.
#[derive(Debug, Clone)]
enum Operation {
    Put { salt: u8, off: u32, len: usize },
    Remove { salt: u8, off: u32 },
    Rename { from: u8, to: u8, off: (u32, u32), len: usize },
}

/// Mostly none.
fn off() -> impl Strategy<Value = u32> {
    prop_oneof![6 => Just(0_u32), 1 => Just(1), 1 => Just(u32::MAX)]
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1_usize..700, 1 => Just(0), 1 => Just(4096), 1 => Just(4097)]
}

fn operation() -> impl Strategy<Value = (bool, Operation)> {
    let salt = || 0_u8..4;
    let put = (salt(), off(), len()).prop_map(|(salt, off, len)| Operation::Put { salt, off, len });
    let remove = (salt(), off()).prop_map(|(salt, off)| Operation::Remove { salt, off });
    let rename = (salt(), salt(), (off(), off()), len()).prop_map(|(from, to, off, len)| Operation::Rename {
        from,
        to,
        off,
        len,
    });
    (any::<bool>(), prop_oneof![4 => put, 2 => remove, 3 => rename])
}

async fn run(
    ledger: &dyn Ledger,
    owner: OwnerId,
    operation: &Operation,
    versions: &[u32; 4],
    n: u8,
) -> Result<Written, LedgerError> {
    let version = |salt: u8, off: u32| versions[usize::from(salt)].wrapping_add(off);
    match *operation {
        Operation::Put { salt: at, off, len } => ledger.put(owner, salt(at), version(at, off), vec![n; len]).await,
        Operation::Remove { salt: at, off } => ledger.remove(owner, salt(at), version(at, off)).await,
        Operation::Rename { from, to, off, len } => {
            let expected = (version(from, off.0), version(to, off.1));
            ledger.rename(owner, salt(from), expected.0, salt(to), expected.1, vec![n; len]).await
        }
    }
}

/// What two ledgers say of one entry, but for the time.
fn told(entry: Entry) -> (u32, u8, u64, Vec<u8>) {
    (entry.version, entry.kind as u8, entry.seq, entry.record)
}

async fn files(ledger: &dyn Ledger, owner: OwnerId) -> Vec<Vec<(u32, u8, u64, Vec<u8>)>> {
    let mut files = Vec::new();
    for n in 0..4 {
        let history = ledger.history(file_id(owner, salt(n))).await.expect("read");
        files.push(history.into_iter().map(told).collect());
    }
    let page = ledger.list(owner, None).await.expect("listed");
    files.push(page.entries.into_iter().map(told).collect());
    files
}

#[test]
fn the_contract_does_what_the_model_does() {
    let anvil = Anvil::start();
    let stranger = stranger(&anvil);
    let chain = both(&config(&anvil.url), deploy(&anvil), &owner(), &stranger);
    let owners = [crate::kit::id(), chain.other.0];
    let model = MemoryLedger::new(Rt::default());
    // One chain for all cases: each goes on where the last one ended.
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 6, failure_persistence: None, max_shrink_iters: 0, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let ran = runner.run(&proptest::collection::vec(operation(), 20), |operations| {
        block_on(async {
            for (n, (is_other, operation)) in operations.iter().enumerate() {
                let owner = owners[usize::from(*is_other)];
                let mut versions = [0; 4];
                for (at, version) in (0..).zip(&mut versions) {
                    let newest = model.get(file_id(owner, salt(at))).await.expect("read");
                    *version = newest.map_or(0, |entry| entry.version);
                }
                let n = u8::try_from(n + 1).expect("few");
                let (expected, got) = (
                    run(&model, owner, operation, &versions, n).await,
                    run(&chain, owner, operation, &versions, n).await,
                );
                match (&expected, &got) {
                    (Ok(expected), Ok(got)) => assert_eq!(expected, got, "{operation:?}"),
                    (Err(expected), Err(got)) => assert_eq!(expected.to_string(), got.to_string(), "{operation:?}"),
                    _ => panic!("{operation:?} on {versions:?}: the model says {expected:?}, the chain {got:?}"),
                }
            }
            for owner in owners {
                assert_eq!(files(&model, owner).await, files(&chain, owner).await);
            }
        });
        Ok(())
    });
    ran.expect("they agree");
}
