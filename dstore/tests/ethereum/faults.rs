//! Providers that fail: each failure is its own clear error, within bounds, and nothing is lost or done twice.

use std::sync::LazyLock;
use std::time::Duration;

use dstore::error::{ChainProblem, Error};
use dstore::id::ContractId;
use dstore::ledger::{Chain, EthereumConfig, EventKind, Ledger, LedgerError, Written, file_id};
use futures_lite::future::block_on;
use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::anvil::Anvil;
use crate::kit::{address, config, deploy, id, ledger, owner, salt, through};
use crate::proxy::{Call, Fault, Proxy};

/// A chain with one file, at its second version, and a provider before it.
struct Stage {
    anvil: Anvil,
    contract: ContractId,
    proxy: Proxy,
}

fn stage() -> Stage {
    let anvil = Anvil::start();
    let contract = deploy(&anvil);
    let ledger = ledger(config(&anvil.url), contract);
    block_on(async {
        ledger.put(id(), salt(1), 0, vec![1; 640]).await.expect("written");
        ledger.put(id(), salt(1), 1, vec![2; 640]).await.expect("written");
    });
    let proxy = Proxy::honest(&anvil);
    Stage { anvil, contract, proxy }
}

impl Stage {
    fn config(&self) -> EthereumConfig {
        config(&self.proxy.url)
    }

    fn get(&self, config: EthereumConfig) -> Result<Vec<u8>, LedgerError> {
        let got = block_on(ledger(config, self.contract).get(file_id(id(), salt(1))));
        got.map(|entry| entry.expect("it is there").record)
    }

    /// What reading says when the provider obeys this, and whether it is read once the provider works again.
    fn refusal(&self, config: EthereumConfig, rule: impl FnMut(&Call) -> Fault + Send + 'static) -> String {
        self.proxy.obey(rule);
        let error = self.get(config).expect_err("it fails");
        self.proxy.obey(|_| Fault::None);
        assert_eq!(self.get(self.config()).expect("it works again"), vec![2; 640]);
        let text = error.to_string();
        assert!(!text.contains("/v2/"), "{text}");
        let public = error.about("x");
        assert!(matches!(public, Error::Peer { .. } | Error::Chain { .. }), "{public:?}");
        text
    }
}

#[test]
fn a_provider_that_is_busy_is_asked_again() {
    let stage = stage();
    for status in [429, 503] {
        let mut refused = 0;
        stage.proxy.obey(move |_| {
            refused += 1;
            if refused % 3 == 0 { Fault::None } else { Fault::Status(status) }
        });
        assert_eq!(stage.get(stage.config()).expect("read"), vec![2; 640]);
    }
}

#[test]
fn what_a_gateway_says_is_told_without_the_key_that_it_repeats() {
    let stage = stage();
    let keyed = || format!("{}/v2/hunter2", stage.proxy.url);
    for answer in [
        r#"{"error":"invalid key hunter2"}"#,
        r#"{"error":{"code":1,"message":"no hunter2 here"}}"#,
        r#"{"result":"hunter2"}"#,
    ] {
        stage.proxy.obey(move |_| Fault::Raw(answer.into()));
        let error = stage.get(config(&keyed())).expect_err("it fails").about("x");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn a_provider_that_is_asked_too_much_at_once_is_not() {
    let stage = stage();
    let ledger = ledger(stage.config(), stage.contract);
    let gets = (0..100).map(|n| ledger.get(file_id(id(), salt(n))));
    for (n, got) in block_on(join_all(gets)).into_iter().enumerate() {
        assert_eq!(got.expect("read").is_some(), n == 1);
    }
    assert!(stage.proxy.most_at_once() <= 8, "{}", stage.proxy.most_at_once());
}

#[test]
fn a_provider_that_stays_busy_is_named_with_what_it_says() {
    let stage = stage();
    let text = stage.refusal(stage.config(), |_| Fault::Status(429));
    assert!(text.contains("127.0.0.1") && text.contains("429"), "{text}");
}

#[test]
fn a_provider_that_does_not_take_a_key_says_what_to_look_at() {
    let stage = stage();
    for status in [401, 403, 404] {
        let text = stage.refusal(stage.config(), move |_| Fault::Status(status));
        assert!(text.contains(&status.to_string()) && text.contains("ALCHEMY_API_KEY"), "{text}");
    }
}

#[test]
fn a_provider_that_answers_garbage_is_named() {
    let stage = stage();
    for garbage in [&b"<html>hello</html>"[..], b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", b"[]", b""] {
        let text = stage.refusal(stage.config(), |_| Fault::Raw(garbage.to_vec()));
        assert!(text.contains("not JSON-RPC"), "{text}");
    }
    let text = stage.refusal(stage.config(), |call| match &call.method[..] {
        "eth_getBlockByNumber" => Fault::Raw(b"{\"message\":\"Unauthorized\"}".to_vec()),
        _ => Fault::None,
    });
    assert!(text.contains("neither a result nor an error"), "{text}");
    let call = |call: &Call| match &call.method[..] {
        "eth_call" => Fault::Changed(|_| json!("0x1234")),
        _ => Fault::None,
    };
    let text = stage.refusal(stage.config(), call);
    assert!(text.contains("contracts see other block numbers") || text.contains("something else"), "{text}");
}

#[test]
fn an_answer_of_ten_megabytes_is_not_read() {
    let stage = stage();
    let text = stage.refusal(stage.config(), |_| Fault::Raw(vec![b' '; 10 << 20]));
    assert!(text.contains("longer than 8 MiB"), "{text}");
}

#[test]
fn a_provider_that_says_nothing_is_given_up_in_time() {
    let stage = stage();
    let quick = || stage.config().timeout(Duration::from_secs(1));
    let text = stage.refusal(quick(), |_| Fault::Silence);
    assert!(text.contains("did not answer in time"), "{text}");
    let text = stage.refusal(quick(), |_| Fault::Closed);
    assert!(text.contains("127.0.0.1"), "{text}");
}

#[test]
fn a_provider_whose_newest_block_is_old_is_not_believed() {
    let stage = stage();
    let public = through(Chain::with_id(31337), &[&stage.proxy.url]).poll(Duration::from_millis(10));
    let text = stage.refusal(public, |call| match &call.method[..] {
        "eth_getBlockByNumber" => Fault::Changed(|mut block| {
            block["timestamp"] = json!("0x5f000000");
            block
        }),
        _ => Fault::None,
    });
    assert!(text.contains("newest block is") && text.contains("use another one"), "{text}");
}

#[test]
fn a_provider_of_another_chain_is_never_believed() {
    let stage = stage();
    let other = through(Chain::with_id(5), &[&stage.proxy.url]);
    let error = stage.get(other).expect_err("another chain").about("x");
    assert_eq!(error.code(), "wrong_chain");
    assert!(error.to_string().contains("serves chain 31337, not 5"), "{error}");
}

#[test]
fn an_address_without_the_contract_is_told_from_one_with_another() {
    let stage = stage();
    let nothing = ContractId::new([9; 20]);
    let error = block_on(ledger(stage.config(), nothing).health()).expect_err("nothing is there").about("");
    assert_eq!(error.code(), "wrong_contract");
    assert!(error.to_string().contains("no contract"), "{error}");

    stage.anvil.ask("anvil_setCode", &json!([format!("0x{nothing}"), "0x6001600101"]));
    let error = block_on(ledger(stage.config(), nothing).put(id(), salt(1), 0, vec![1])).expect_err("another code");
    let error = error.about("");
    assert_eq!(error.code(), "wrong_contract");
    assert!(error.to_string().contains("another one"), "{error}");
}

#[test]
fn providers_that_contradict_each_other_are_both_named() {
    let stage = stage();
    let liar = Proxy::new(&stage.anvil, |call| match (&call.method[..], &call.params[0]["to"]) {
        // An older state of the same file.
        ("eth_call", Value::String(_)) => Fault::Changed(|answer| {
            let text = answer.as_str().expect("hex").to_owned();
            json!(text.replacen("00000002", "00000001", 1))
        }),
        _ => Fault::None,
    });
    let both = through(Chain::LOCAL, &[&stage.proxy.url, &liar.url]);
    let error = stage.get(both).expect_err("they differ").about("x");
    assert!(matches!(error, Error::Chain { problem: ChainProblem::RpcDisagree, .. }), "{error:?}");
    for url in [&stage.proxy.url, &liar.url] {
        assert!(error.to_string().contains(&url[7..]), "{error}");
    }
}

#[test]
fn a_provider_that_is_gone_is_replaced_by_another() {
    let stage = stage();
    let gone = Proxy::new(&stage.anvil, |_| Fault::Closed);
    let both = through(Chain::LOCAL, &[&gone.url, &stage.proxy.url]);
    assert_eq!(stage.get(both.clone()).expect("read"), vec![2; 640]);
    let ledger = ledger(both, stage.contract);
    assert_eq!(block_on(ledger.put(id(), salt(2), 0, vec![3; 640])).expect("written").version, 1);
    let asked = gone.count("eth_chainId");
    assert_eq!(block_on(ledger.put(id(), salt(3), 0, vec![3; 640])).expect("written").version, 1);
    assert_eq!(gone.count("eth_chainId"), asked, "it is left alone for a while");
}

/// A provider that says of every block that it is another one.
fn at(number: &'static str, timestamp: Option<&'static str>) -> impl FnMut(&Call) -> Fault + Send + 'static {
    move |call| match (&call.method[..], number, timestamp) {
        ("eth_getBlockByNumber", "0x1", Some(_)) => Fault::Changed(|mut block| {
            (block["number"], block["timestamp"]) = (json!("0x1"), json!("0x5f000000"));
            block
        }),
        ("eth_getBlockByNumber", "0x1", None) => Fault::Changed(|mut block| {
            block["number"] = json!("0x1");
            block
        }),
        ("eth_getBlockByNumber", ..) => Fault::Changed(|mut block| {
            block["number"] = json!("0xffff");
            block
        }),
        _ => Fault::None,
    }
}

#[test]
fn a_provider_that_has_stopped_is_left_out() {
    let stage = stage();
    stage.anvil.mine(40);
    let behind = Proxy::new(&stage.anvil, at("0x1", Some("old")));
    let public = through(Chain::with_id(31337), &[&behind.url, &stage.proxy.url]).poll(Duration::from_millis(10));
    assert_eq!(stage.get(public).expect("read"), vec![2; 640]);
}

/// Neither one that claims to be ahead nor one that claims to be behind speaks for the others.
#[test]
fn a_provider_at_another_height_is_told_and_not_followed() {
    let stage = stage();
    stage.anvil.mine(40);
    for number in ["0x1", "0xffff"] {
        let liar = Proxy::new(&stage.anvil, at(number, None));
        let both = through(Chain::LOCAL, &[&liar.url, &stage.proxy.url]);
        let error = stage.get(both).expect_err("they differ").about("x");
        assert!(matches!(error, Error::Chain { problem: ChainProblem::RpcDisagree, .. }), "{error:?}");
        for url in [&stage.proxy.url, &liar.url] {
            assert!(error.to_string().contains(&url[7..]), "{error}");
        }
    }
}

/// Another record, another file, a removal instead of a put: told, not believed.
#[test]
fn a_provider_that_rewrites_events_is_noticed_by_the_others_or_by_the_contract() {
    fn rewritten(mut logs: Value, from: &str, to: &str) -> Value {
        for log in logs.as_array_mut().expect("logs") {
            for field in ["data", "topics"] {
                let text = log[field].to_string().replace(from, to);
                log[field] = serde_json::from_str(&text).expect("JSON");
            }
        }
        logs
    }
    let stage = stage();
    let rewrites: [fn(Value) -> Value; 2] =
        [|logs| rewritten(logs, "02020202", "03030303"), |logs| rewritten(logs, &FILE, &"9".repeat(64))];
    for rewrite in rewrites {
        stage.proxy.obey(move |call| if call.method == "eth_getLogs" { Fault::Changed(rewrite) } else { Fault::None });
        let both = through(Chain::LOCAL, &[&stage.proxy.url, &stage.anvil.url]);
        let list = |config| block_on(ledger(config, stage.contract).list(id(), None));
        assert!(list(both.clone()).is_err());
        match stage.get(both) {
            Ok(record) => assert_eq!(record, vec![2; 640]),
            Err(error) => assert!(error.to_string().contains("contradict"), "{error}"),
        }
    }
    // The last rewrite names a file that the contract does not know: one provider alone cannot hide one so.
    assert!(block_on(ledger(stage.config(), stage.contract).list(id(), None)).is_err());
}

/// The file of these tests, in hex.
static FILE: LazyLock<String> = LazyLock::new(|| file_id(id(), salt(1)).to_string());

#[test]
fn a_provider_of_several_nodes_of_which_one_is_a_block_behind_is_asked_again() {
    let stage = stage();
    let mut calls = 0;
    stage.proxy.obey(move |call| {
        calls += usize::from(call.method == "eth_call");
        if call.method == "eth_call" && calls % 3 != 0 { Fault::Refusal("header not found") } else { Fault::None }
    });
    assert_eq!(stage.get(stage.config()).expect("read"), vec![2; 640]);
}

#[test]
fn a_record_that_no_provider_gives_out_is_missing_and_not_overlooked() {
    let stage = stage();
    let no_logs = |call: &Call| match &call.method[..] {
        "eth_getLogs" => Fault::Changed(|_| json!([])),
        _ => Fault::None,
    };
    stage.proxy.obey(no_logs);
    let missing =
        |error: &LedgerError| matches!(error, LedgerError::RecordMissing { version: 2, kind: EventKind::Put });
    let error = stage.get(stage.config()).expect_err("it has no record");
    assert!(missing(&error), "{error}");
    let ledger = ledger(stage.config(), stage.contract);
    assert!(missing(&block_on(ledger.history(file_id(id(), salt(1)))).expect_err("nor these")));
    let written = Written::new(file_id(id(), salt(1)), 2, &[2; 640]);
    assert!(missing(&block_on(ledger.settled(written)).expect_err("nobody tells whose it is")));
    let error = block_on(ledger.list(id(), None)).expect_err("it has no records");
    assert!(error.to_string().contains("records"), "{error}");

    // Another provider that has them is enough.
    let both = through(Chain::LOCAL, &[&stage.proxy.url, &stage.anvil.url]);
    assert_eq!(stage.get(both.clone()).expect("read"), vec![2; 640]);
    let ledger = crate::kit::ledger(both, stage.contract);
    assert_eq!(block_on(ledger.list(id(), None)).expect("listed").entries.len(), 1);
}

#[test]
fn a_provider_that_searches_one_block_only_lists_everything() {
    let stage = stage();
    let narrow = |call: &Call| {
        let filter = &call.params[0];
        let is_wide = call.method == "eth_getLogs" && filter["fromBlock"] != filter["toBlock"];
        if is_wide { Fault::Refusal("query exceeds max block range 1") } else { Fault::None }
    };
    stage.anvil.mine(5);
    block_on(ledger(config(&stage.anvil.url), stage.contract).put(id(), salt(2), 0, vec![3; 640])).expect("written");
    stage.proxy.obey(narrow);
    let ledger = ledger(stage.config(), stage.contract);
    let page = block_on(ledger.list(id(), None)).expect("listed");
    assert_eq!(page.entries.len(), 2);
    let history = block_on(ledger.history(file_id(id(), salt(1)))).expect("read");
    assert_eq!(history.iter().map(|entry| entry.version).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(history[1].record, vec![1; 640]);
}

#[test]
fn a_provider_that_leaves_out_records_is_noticed() {
    let stage = stage();
    // The first of two is left out, also when one block is asked for.
    stage.proxy.obey(|call| match &call.method[..] {
        "eth_getLogs" => Fault::Changed(|logs| {
            let logs = logs.as_array().expect("logs").iter();
            Value::Array(
                logs.filter(|log| log["data"].as_str().is_some_and(|data| data.contains("0202"))).cloned().collect(),
            )
        }),
        _ => Fault::None,
    });
    let ledger = ledger(stage.config(), stage.contract);
    let error = block_on(ledger.list(id(), None)).expect_err("one is missing");
    assert!(error.to_string().contains("records"), "{error}");
    assert!(block_on(ledger.history(file_id(id(), salt(1)))).is_err());
}

#[test]
fn a_write_whose_answer_is_lost_happens_once() {
    let stage = stage();
    let before = stage.anvil.sent(&address(&owner()));
    let mut lost = false;
    stage.proxy.obey(move |call| {
        let is_first = call.method == "eth_sendRawTransaction" && !std::mem::replace(&mut lost, true);
        if is_first { Fault::Lost } else { Fault::None }
    });
    let ledger = ledger(stage.config(), stage.contract);
    let written = block_on(ledger.put(id(), salt(2), 0, vec![5; 640])).expect("written");
    assert_eq!(written.version, 1);
    assert_eq!(stage.anvil.sent(&address(&owner())), before + 1, "one transaction");
}

/// Gateways fail after they have passed a transaction on, and say so in many words.
#[test]
fn a_failure_after_a_transaction_was_taken_is_no_refusal() {
    let stage = stage();
    let ledger = ledger(stage.config(), stage.contract);
    let mut salts = 2..;
    for failure in ["internal error", "request timed out", "rate limit exceeded", "no healthy upstream"] {
        let (url, before) = (stage.anvil.url.clone(), stage.anvil.sent(&address(&owner())));
        stage.proxy.obey(move |call| {
            if call.method != "eth_sendRawTransaction" {
                return Fault::None;
            }
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": call.method, "params": call.params}).to_string();
            drop(ureq::post(&url).header("content-type", "application/json").send(body));
            Fault::Refusal(failure)
        });
        let written = block_on(ledger.put(id(), salt(salts.next().expect("many")), 0, vec![5; 640])).expect("written");
        assert_eq!(written.version, 1, "{failure}");
        assert_eq!(stage.anvil.sent(&address(&owner())), before + 1, "{failure}: one transaction");
    }
}

#[test]
fn a_write_that_cannot_be_sent_says_that_nobody_knows() {
    let stage = stage();
    let ledger = ledger(stage.config(), stage.contract);
    for fault in [|| Fault::Closed, || Fault::Refusal("internal error"), || Fault::Status(503)] {
        stage.proxy.obey(move |call| if call.method == "eth_sendRawTransaction" { fault() } else { Fault::None });
        let error = block_on(ledger.put(id(), salt(2), 0, vec![5; 640])).expect_err("it cannot be sent");
        assert!(matches!(error, LedgerError::Unknown { .. }), "{error}");
        stage.proxy.obey(|_| Fault::None);
        assert!(block_on(ledger.get(file_id(id(), salt(2)))).expect("asked").is_none());
    }
    assert_eq!(block_on(ledger.put(id(), salt(2), 0, vec![5; 640])).expect("written").version, 1);
}

#[test]
fn a_transaction_that_can_be_in_no_block_is_refused_for_what_it_is() {
    let stage = stage();
    let ledger = ledger(stage.config(), stage.contract);
    for (said, code) in
        [("max fee per gas less than block base fee", "chain"), ("insufficient funds for gas", "insufficient_funds")]
    {
        stage.proxy.obey(
            move |call| {
                if call.method == "eth_sendRawTransaction" { Fault::Refusal(said) } else { Fault::None }
            },
        );
        let error = block_on(ledger.put(id(), salt(2), 0, vec![5; 640])).expect_err("refused").about("x");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// A transaction that is in a block, and of which the provider knows nothing for a while.
#[test]
fn a_write_whose_receipt_stays_away_is_found_by_what_the_contract_shows() {
    let stage = stage();
    let ledger = ledger(stage.config(), stage.contract);
    let before = stage.anvil.sent(&address(&owner()));
    stage.proxy.obey(|call| match &call.method[..] {
        "eth_getTransactionReceipt" => Fault::Changed(|_| Value::Null),
        _ => Fault::None,
    });
    let written = block_on(ledger.put(id(), salt(2), 0, vec![5; 640])).expect("it is there");
    assert_eq!((written.version, stage.anvil.sent(&address(&owner()))), (1, before + 1));
}

/// What one plan or node does not offer, another one may.
#[test]
fn a_provider_that_refuses_a_question_is_replaced_by_another() {
    let stage = stage();
    let poor = Proxy::new(&stage.anvil, |call| match &call.method[..] {
        "eth_feeHistory" | "eth_estimateGas" | "eth_getTransactionCount" => Fault::Refusal("not on your plan"),
        _ => Fault::None,
    });
    let both = through(Chain::LOCAL, &[&poor.url, &stage.proxy.url]);
    let written = block_on(ledger(both, stage.contract).put(id(), salt(2), 0, vec![3; 640])).expect("written");
    assert_eq!(written.version, 1);
}

#[test]
fn a_provider_without_pending_blocks_or_tips_is_enough() {
    let stage = stage();
    stage.proxy.obey(|call| match &call.method[..] {
        "eth_estimateGas" if call.params[1] == "pending" => Fault::Refusal("pending block is not available"),
        "eth_feeHistory" => Fault::Changed(|mut history| {
            history["reward"] = Value::Null;
            history
        }),
        _ => Fault::None,
    });
    let ledger = ledger(stage.config(), stage.contract);
    assert_eq!(block_on(ledger.put(id(), salt(2), 0, vec![3; 640])).expect("written").version, 1);
}

#[test]
fn a_write_that_no_block_takes_in_time_may_still_come() {
    let stage = stage();
    stage.anvil.mine_on_demand();
    let limit = Duration::from_millis(300);
    let ledger = ledger(stage.config().inclusion_timeout(limit), stage.contract);
    let error = block_on(ledger.put(id(), salt(2), 0, vec![5; 640])).expect_err("no block");
    assert!(matches!(&error, LedgerError::Unknown { what, .. } if what.contains("0x")), "{error}");
    stage.anvil.mine(1);
    let error = block_on(ledger.put(id(), salt(2), 0, vec![5; 640])).expect_err("it has come");
    assert!(matches!(error, LedgerError::VersionConflict { expected: 0, actual: 1 }), "{error}");
}

/// Numbers, lengths and texts that no honest provider sends: a refusal or the right version, and no panic.
#[test]
fn answers_that_are_changed_at_random_end_no_client() {
    let stage = stage();
    let mut runner = TestRunner::new_with_rng(
        RunnerConfig { cases: 150, failure_persistence: None, max_shrink_iters: 0, ..RunnerConfig::default() },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let change =
        (0..12_usize, any::<Index>(), any::<Index>(), prop_oneof!["[0-9a-f]{1,20}", "\\PC{0,3}", "[\"{}\\[\\],]"]);
    let ran = runner.run(&change, |(which, at, end, text)| {
        let url = stage.anvil.url.clone();
        let mut calls = 0;
        stage.proxy.obey(move |call| {
            calls += 1;
            if calls != which + 1 {
                return Fault::None;
            }
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": call.method, "params": call.params}).to_string();
            let asked = ureq::post(&url).header("content-type", "application/json").send(body);
            let mut answer = asked.expect("answered").body_mut().read_to_string().expect("a text");
            let at = at.index(answer.len());
            let end = at + end.index((answer.len() - at).min(20));
            answer.replace_range(at..end, &text);
            Fault::Raw(answer.into_bytes())
        });
        let quick = stage.config().poll(Duration::from_millis(1)).timeout(Duration::from_secs(5));
        let ledger = ledger(quick, stage.contract);
        block_on(async {
            if let Ok(Some(entry)) = ledger.get(file_id(id(), salt(1))).await {
                assert!(entry.version <= 2, "{entry:?}");
            }
            drop(ledger.list(id(), None).await);
            drop(ledger.history(file_id(id(), salt(1))).await);
            drop(ledger.cost(id(), salt(9), 0, 640).await);
        });
        Ok(())
    });
    ran.expect("no panic");
}
