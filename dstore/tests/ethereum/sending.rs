//! Transactions: what shares one, what they cost at most, and what happens when several programs sign with one key.

use std::time::Duration;

use dstore::ledger::{EthereumAccount, EthereumLedger, Ledger, LedgerError, file_id};
use dstore::{Error, Owner};
use futures_lite::future::{block_on, zip};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::anvil::Anvil;
use crate::kit::{address, config, deploy, id, ledger, owner, salt};

const GWEI: u128 = 1_000_000_000;

async fn salts(ledger: &EthereumLedger) -> Vec<u8> {
    let page = ledger.list(id(), None).await.expect("listed");
    let mut salts: Vec<u8> =
        (0..=255).filter(|n| page.entries.iter().any(|entry| entry.file_id == file_id(id(), salt(*n)))).collect();
    assert_eq!(salts.len(), page.entries.len());
    salts.sort_unstable();
    salts
}

#[test]
fn three_writes_of_one_owner_in_one_block_are_all_listed() {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    anvil.mine_on_demand();
    let folder = tempfile::tempdir().expect("a folder");
    // As three processes: each has a queue of its own.
    let ledgers: Vec<_> = (0..3).map(|_| ledger(config(&anvil.url).lock_folder(folder.path()), contract)).collect();
    let puts = ledgers.iter().zip(1..).map(|(ledger, n)| ledger.put(id(), salt(n), 0, vec![n; 640]));
    let (written, ()) = block_on(zip(join_all(puts), async {
        anvil.await_waiting(3).await;
        anvil.mine(1);
    }));
    let blocks: Vec<_> = written.into_iter().map(|written| written.expect("written")).collect();
    assert_eq!(blocks.len(), 3);
    let logs = anvil.ask("eth_getLogs", &json!([{"fromBlock": "0x0", "toBlock": "latest"}]));
    let numbers: Vec<&Value> = logs.as_array().expect("logs").iter().map(|log| &log["blockNumber"]).collect();
    assert!(numbers.len() == 3 && numbers.iter().all(|number| *number == numbers[0]), "one block: {numbers:?}");
    assert_eq!(block_on(salts(&ledgers[0])), [1, 2, 3]);
}

#[test]
fn a_hundred_puts_that_are_on_their_way_together_are_one_transaction() {
    let anvil = Anvil::start();
    let ledger = ledger(config(&anvil.url).batch_wait(Duration::from_secs(60)), deploy(&anvil));
    let before = anvil.sent(&address(&owner()));
    block_on(async {
        let puts = (0..100).map(|n| {
            let coming = ledger.coming();
            let ledger = &ledger;
            async move {
                // They do not arrive at once.
                for _ in 0..n {
                    futures_lite::future::yield_now().await;
                }
                let written = ledger.put(id(), salt(n), 0, vec![n | 1; 640]).await;
                drop(coming);
                written
            }
        });
        for written in join_all(puts).await {
            assert_eq!(written.expect("written").version, 1);
        }
        assert_eq!(anvil.sent(&address(&owner())), before + 1, "one transaction");
        assert_eq!(salts(&ledger).await, (0..100).collect::<Vec<_>>());
        let versions = ledger.history(file_id(id(), salt(42))).await.expect("read");
        assert_eq!((versions.len(), versions[0].record[0]), (1, 43));
    });
}

#[test]
fn a_stale_put_is_taken_out_of_its_batch() {
    let anvil = Anvil::start();
    let ledger = ledger(config(&anvil.url).batch_wait(Duration::from_secs(60)), deploy(&anvil));
    block_on(async {
        ledger.put(id(), salt(2), 0, vec![1; 640]).await.expect("written");
        let before = anvil.sent(&address(&owner()));
        let held: Vec<_> = (0..5).map(|_| ledger.coming()).collect();
        let puts = (0..5).map(|n| ledger.put(id(), salt(n), 0, vec![9; 640]));
        let written = join_all(puts).await;
        drop(held);
        for (n, written) in written.into_iter().enumerate() {
            match written {
                Err(LedgerError::VersionConflict { expected: 0, actual: 1 }) => assert_eq!(n, 2),
                written => assert!(written.is_ok() && n != 2, "{n}: {written:?}"),
            }
        }
        assert_eq!(anvil.sent(&address(&owner())), before + 1, "one transaction");
    });
}

#[test]
fn programs_that_share_a_key_and_no_folder_all_succeed() {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    let ledgers: Vec<_> = (0..4).map(|_| ledger(config(&anvil.url), contract)).collect();
    let puts = (0..20).map(|n| ledgers[usize::from(n) % 4].put(id(), salt(n), 0, vec![1; 640]));
    for written in block_on(join_all(puts)) {
        assert_eq!(written.expect("written").version, 1);
    }
    assert_eq!(block_on(salts(&ledgers[0])).len(), 20);
}

#[test]
fn a_transaction_that_is_forgotten_is_offered_again_for_more_after_six_blocks() {
    let anvil = Anvil::start();
    let ledger = ledger(config(&anvil.url), deploy(&anvil));
    anvil.mine_on_demand();
    let fee = |transaction: &Value| {
        let text = transaction["maxFeePerGas"].as_str().expect("a fee");
        u128::from_str_radix(&text[2..], 16).expect("a fee")
    };
    let put = ledger.put(id(), salt(1), 0, vec![1; 640]);
    let (written, offered) = block_on(zip(put, async {
        anvil.await_waiting(1).await;
        let pool = anvil.ask("txpool_content", &json!([]));
        let mut of_all = pool["pending"].as_object().expect("accounts").values();
        let offered = fee(of_all.find_map(|of_one| of_one.as_object()?.values().next()).expect("a transaction"));
        anvil.ask("anvil_dropAllTransactions", &json!([]));
        // The last block before this test had the contract.
        while anvil.sent(&address(&owner())) == 1 {
            anvil.mine(1);
            futures_lite::future::yield_now().await;
        }
        offered
    }));
    assert_eq!(written.expect("written").version, 1);
    let logs = anvil.ask("eth_getLogs", &json!([{"fromBlock": "0x0", "toBlock": "latest"}]));
    let paid = fee(&anvil.ask("eth_getTransactionByHash", &json!([logs[0]["transactionHash"]])));
    assert_eq!(paid, offered * 1125 / 1000 + 1);
}

#[test]
fn gas_that_costs_more_than_the_limit_is_not_bought() {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    anvil.ask("anvil_setNextBlockBaseFeePerGas", &json!([format!("{:#x}", 50 * GWEI)]));
    anvil.mine(1);
    let ledger = ledger(config(&anvil.url).max_fee(20 * GWEI), contract);
    let before = anvil.sent(&address(&owner()));
    for refused in block_on(refusals(&ledger)) {
        let refused: Error = refused.about("x");
        assert_eq!(refused.code(), "fee_too_high");
        assert!(refused.to_string().contains("20 that --max-fee allows"), "{refused}");
    }
    assert_eq!(anvil.sent(&address(&owner())), before);
}

async fn refusals(ledger: &EthereumLedger) -> [LedgerError; 2] {
    let put = ledger.put(id(), salt(1), 0, vec![1; 640]).await.expect_err("too dear");
    [put, ledger.cost(id(), salt(1), 0, 640).await.expect_err("too dear")]
}

#[test]
fn an_account_without_ether_is_told_which_it_is_and_what_it_needs() {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    let poor = Owner::from_secret(&[8; 32]).expect("a key");
    let ledger = EthereumAccount::new(config(&anvil.url), &poor).ledger(contract);
    let refused = block_on(ledger.put(poor.id(), salt(1), 0, vec![1; 640])).expect_err("it has none").about("x");
    assert_eq!(refused.code(), "insufficient_funds");
    assert!(refused.to_string().contains(&address(&poor)) && refused.to_string().contains("ETH"), "{refused}");
    anvil.fund(&address(&poor), 10_u128.pow(18));
    assert_eq!(block_on(ledger.put(poor.id(), salt(1), 0, vec![1; 640])).expect("written").version, 1);
}

#[test]
fn what_a_put_costs_is_known_before_it_is_sent() {
    let anvil = Anvil::start();
    let ledger = ledger(config(&anvil.url), deploy(&anvil));
    block_on(async {
        let cost = ledger.cost(id(), salt(1), 0, 640).await.expect("told").expect("it costs");
        assert!((80_000..=95_000).contains(&cost.gas), "the first file of an owner: {cost:?}");
        assert!(cost.wei > 0 && cost.max_wei >= cost.wei, "{cost:?}");
        let balance = || EthereumAccount::new(config(&anvil.url), &owner());
        let before = balance().balance().await.expect("told");
        ledger.put(id(), salt(1), 0, vec![1; 640]).await.expect("written");
        let paid = before - balance().balance().await.expect("told");
        assert!(paid <= cost.max_wei, "{paid} {cost:?}");
        let stale = ledger.cost(id(), salt(1), 0, 640).await;
        assert!(matches!(stale, Err(LedgerError::VersionConflict { expected: 0, actual: 1 })), "{stale:?}");
    });
}
