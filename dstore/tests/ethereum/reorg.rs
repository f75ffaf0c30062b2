//! A chain that goes on without what it had: noticed, and written again as it was.

use std::time::Duration;

use dstore::id::ContractId;
use dstore::ledger::{Chain, EthereumLedger, Finality, Ledger, LedgerError, Written, file_id};
use futures_lite::future::{block_on, zip};
use serde_json::json;

use crate::anvil::Anvil;
use crate::kit::{deploy, id, ledger, salt, through};

/// A chain whose blocks are made on demand, where two confirm and none is final at once.
fn public(anvil: &Anvil, contract: ContractId) -> EthereumLedger {
    let config = through(Chain::with_id(31337), &[&anvil.url]).poll(Duration::from_millis(20));
    ledger(config, contract)
}

async fn put(anvil: &Anvil, ledger: &EthereumLedger, record: &[u8]) -> Written {
    let mine = async {
        anvil.await_waiting(1).await;
        anvil.mine(1);
    };
    let (written, ()) = zip(ledger.put(id(), salt(1), 0, record.to_vec()), mine).await;
    written.expect("written")
}

/// The last block never was.
fn roll_back(anvil: &Anvil) {
    anvil.ask("anvil_rollback", &json!([1]));
}

#[test]
fn a_write_is_confirmed_by_a_second_block() {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    anvil.mine_on_demand();
    let ledger = public(&anvil, contract);
    block_on(async {
        let written = put(&anvil, &ledger, &[1; 640]).await;
        assert_eq!(ledger.settled(written).await.expect("told"), Some(Finality::Included));
        let more = async {
            futures_lite::future::yield_now().await;
            anvil.mine(1);
        };
        let (waited, ()) = zip(ledger.wait(written, Finality::Confirmed), more).await;
        waited.expect("confirmed");
        assert!(ledger.settled(written).await.expect("told") >= Some(Finality::Confirmed));
        anvil.mine(100);
        ledger.wait(written, Finality::Final).await.expect("final");
    });
}

#[test]
fn a_write_that_the_chain_dropped_is_noticed_and_can_be_written_again() {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    anvil.mine_on_demand();
    let ledger = public(&anvil, contract);
    block_on(async {
        let written = put(&anvil, &ledger, &[1; 640]).await;
        roll_back(&anvil);
        // The chain goes on.
        anvil.mine(2);
        let waited = ledger.wait(written, Finality::Confirmed).await;
        assert!(matches!(waited, Err(LedgerError::Reorged)), "{waited:?}");
        assert_eq!(ledger.settled(written).await.expect("told"), None);
        assert!(ledger.get(file_id(id(), salt(1))).await.expect("told").is_none());

        let again = put(&anvil, &ledger, &[1; 640]).await;
        assert_eq!(again, written);
        anvil.mine(1);
        ledger.wait(again, Finality::Confirmed).await.expect("confirmed");
        assert_eq!(ledger.history(file_id(id(), salt(1))).await.expect("read").len(), 1);
    });
}

#[test]
fn another_write_that_took_the_place_of_a_dropped_one_is_a_conflict() {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    anvil.mine_on_demand();
    let (ledger, other) = (public(&anvil, contract), public(&anvil, contract));
    block_on(async {
        let written = put(&anvil, &ledger, &[1; 640]).await;
        roll_back(&anvil);
        put(&anvil, &other, &[2; 640]).await;
        anvil.mine(1);
        for conflict in [
            ledger.wait(written, Finality::Confirmed).await,
            ledger.settled(written).await.map(drop),
            ledger.put(id(), salt(1), 0, vec![1; 640]).await.map(drop),
        ] {
            assert!(matches!(conflict, Err(LedgerError::VersionConflict { expected: 0, actual: 1 })), "{conflict:?}");
        }
        let entry = ledger.get(file_id(id(), salt(1))).await.expect("read").expect("there");
        assert_eq!(entry.record, vec![2; 640]);
    });
}
