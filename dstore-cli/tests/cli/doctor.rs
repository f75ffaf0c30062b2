//! What `doctor` says in each situation, and what it tells one to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::network::{Net, bytes, empty_home, text};
use super::process::{Ended, run};

pub(super) const WRONG_KEY: &str =
    "dsr1:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The findings of one check that are in this state.
fn found(doctor: &Ended, check: &str, state: &str) -> Vec<Value> {
    let document = doctor.json();
    assert_eq!(document["schema"], "dstore.doctor/1");
    let checks = document["checks"].as_array().expect("a list").clone();
    checks.into_iter().filter(|finding| finding["check"] == check && finding["state"] == state).collect()
}

/// The one finding of this check in this state, which says what to do.
#[track_caller]
fn only(doctor: &Ended, check: &str, state: &str) -> Value {
    let mut findings = found(doctor, check, state);
    assert_eq!(findings.len(), 1, "{check} {state}: {}", doctor.text());
    let finding = findings.remove(0);
    assert!(!text(&finding["remedy"]).is_empty(), "{finding}");
    finding
}

fn states(doctor: &Ended, state: &str) -> usize {
    doctor.json()["checks"].as_array().expect("a list").iter().filter(|finding| finding["state"] == state).count()
}

#[test]
fn a_network_that_is_well_passes_every_check_and_nothing_is_changed() {
    let net = Net::with_options(&[&["--zone", "house"], &["--zone", "office"], &["--zone", "office"]]);
    let doctor = net.run(["doctor", "--json"]).with(0);
    assert_eq!((states(&doctor, "warn"), states(&doctor, "fail")), (0, 0), "{}", doctor.text());
    assert_eq!(doctor.json()["verdict"], "pass");
    for check in ["config", "key", "ledger", "disk", "journal", "limits", "registry", "nodes", "zones", "clock"] {
        assert_eq!(found(&doctor, check, "pass").len(), 1, "{check}");
    }
    let nodes: Vec<_> = found(&doctor, "node", "pass").iter().map(|finding| text(&finding["subject"])).collect();
    assert!(net.nodes.iter().all(|node| nodes.contains(&node.id)), "{nodes:?}");
    assert!(!net.home().join("client/ledger.db").exists(), "it made a ledger");
    net.put("a", b"one");
    let told = net.run(["doctor", "--color", "always"]).with(0);
    assert!(told.text().starts_with("\x1b[1;32mPASS\x1b[0m  config    settings from "), "{}", told.text());
    assert!(told.text().contains("ledger.db takes writes") && told.text().contains(", 1 file\n"), "{}", told.text());
    assert_eq!(told.stderr, "nothing is wrong\n");
}

#[test]
fn where_nothing_is_set_up_each_missing_thing_has_its_remedy() {
    let home = empty_home();
    let doctor = run(home.path(), ["doctor", "--json"]).with(8);
    assert_eq!(doctor.error()["code"], "config");
    assert!(text(&only(&doctor, "key", "fail")["remedy"]).contains("dstore-cli init"));
    assert!(text(&only(&doctor, "registry", "fail")["remedy"]).contains("DSTORE_REGISTRY"));
    let told = run(home.path(), ["doctor"]).with(8);
    assert!(told.text().lines().any(|line| line.starts_with("FAIL  key       ")), "{}", told.text());
    assert!(told.text().lines().any(|line| line.starts_with("                -> ")), "{}", told.text());
    assert!(!told.text().contains('\x1b'));
}

#[test]
fn settings_and_key_that_cannot_be_used_are_lines_too() {
    let net = Net::start(1);
    let client = net.home().join("client");
    let key = client.join("owner.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
    let open = only(&net.run(["doctor", "--json"]).with(8), "key", "fail");
    assert!(text(&open["message"]).contains("chmod 600"), "{open}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("ours");
    fs::write(net.home().join(".env"), format!("ETH_PRIVATE_KEY={}\n", "0a".repeat(32))).expect("written");
    fs::set_permissions(net.home().join(".env"), fs::Permissions::from_mode(0o644)).expect("ours");
    let doctor = net.run(["doctor", "--json"]).with(5);
    assert_eq!(only(&doctor, "config", "warn")["remedy"], "chmod 600 .env");
    assert!(!doctor.text().contains("0a0a"));
    fs::write(client.join("ledger.db"), "no ledger at all, but long enough to be a file").expect("written");
    let ledger = only(&net.run(["doctor", "--json"]).with(8), "ledger", "fail");
    assert!(text(&ledger["message"]).contains("ledger.db"), "{ledger}");
    fs::write(client.join("config.toml"), "regsitry = \"x\"\n").expect("written");
    let broken = only(&net.run(["doctor", "--json"]).with(8), "config", "fail");
    assert!(text(&broken["message"]).contains("did you mean \"registry\"?"), "{broken}");
}

#[test]
fn one_registry_that_answers_is_enough_and_each_other_one_is_explained() {
    let net = Net::start(3);
    let (key, place) = net.address.split_once('@').expect("an address");
    let all = format!("{},{key}@127.0.0.1:1,{WRONG_KEY}@{place}", net.address);
    let doctor = net.run(["doctor", "--json", "--registry", &all]).with(0);
    let warned = found(&doctor, "registry", "warn");
    assert_eq!((warned.len(), found(&doctor, "registry", "pass").len()), (2, 1));
    assert_eq!(warned[0]["subject"], "127.0.0.1:1");
    assert!(text(&warned[0]["message"]).contains("refused"), "{warned:?}");
    assert!(text(&warned[1]["remedy"]).contains("dsr1:"), "{warned:?}");
    let alone = net.run(["doctor", "--json", "--registry", &format!("{key}@127.0.0.1:1")]).with(5);
    assert_eq!(alone.error()["code"], "unavailable");
    assert!(text(&only(&alone, "registry", "fail")["remedy"]).contains("registry run"));
    let label = net.run(["doctor", "--json", "--network", "elsewhere"]).with(5);
    assert!(text(&only(&label, "registry", "fail")["remedy"]).contains("\"elsewhere\""));
}

#[test]
fn a_listed_node_that_is_gone_is_a_warning_until_too_few_are_left() {
    let mut net = Net::start(4);
    net.nodes[0].process.kill();
    let doctor = net.run(["doctor", "--json"]).with(0);
    let gone = only(&doctor, "node", "warn");
    assert_eq!(gone["subject"], net.nodes[0].id.as_str());
    assert!(text(&gone["message"]).contains("refused"), "{gone}");
    assert_eq!(found(&doctor, "node", "pass").len(), 3);
    net.nodes[1].process.kill();
    let doctor = net.run(["doctor", "--json"]).with(5);
    assert_eq!(doctor.error()["code"], "not_enough_nodes");
    assert_eq!(only(&doctor, "nodes", "fail")["code"], "not_enough_nodes");
}

#[test]
fn full_nodes_and_nodes_that_fail_together_are_named() {
    let mut net =
        Net::with_options(&[&["--zone", "attic"], &["--zone", "attic"], &["--zone", "attic", "--capacity", "1MiB"]]);
    let doctor = net.run(["doctor", "--json"]).with(5);
    assert_eq!(doctor.error()["code"], "no_space");
    assert_eq!(only(&doctor, "node", "warn")["subject"], net.nodes[2].id.as_str());
    assert!(text(&only(&doctor, "zones", "warn")["message"]).contains("attic"));
    net.add_node(&["--zone", "cellar"]);
    let doctor = net.run(["doctor", "--json"]).with(0);
    assert_eq!(states(&doctor, "warn"), 1);
    let wider = net.command().args(["doctor", "--json"]).env("DSTORE_SCHEME", "5+1").output().expect("it runs");
    assert_eq!(Ended::from(wider).with(5).error()["code"], "not_enough_nodes", "six nodes are needed for this");
}

#[test]
fn a_put_that_was_cut_short_is_a_warning_that_says_what_happens_next() {
    let mut net = Net::start(3);
    net.nodes[0].process.kill();
    let file = net.file("a.bin", &bytes(500_000)).display().to_string();
    net.run(["put", &file]).with(5);
    let doctor = net.run(["doctor", "--json"]).with(5);
    let journal = only(&doctor, "journal", "warn");
    assert!(text(&journal["message"]).starts_with("1 command ended before all was done"), "{journal}");
    assert!(text(&journal["remedy"]).contains("the same put, given again"), "{journal}");
}

#[test]
fn a_node_that_found_damage_on_its_disk_is_a_warning() {
    let mut net = Net::with_options(&[&["--inline-max", "0"][..]; 3]);
    net.put("a.bin", &bytes(500_000));
    net.nodes[0].corrupt();
    // A node looks at some of its shards when it starts.
    net.restart_node(0);
    let seen = |status: &Ended| status.json()["nodes"][0]["damaged"].as_u64() > Some(0);
    while !seen(&net.run(["node", "status", &net.nodes[0].id, "--json"]).with(0)) {}
    let warned = only(&net.run(["doctor", "--json"]).with(0), "node", "warn");
    assert!(text(&warned["message"]).contains("damaged on its disk"), "{warned}");
    assert_eq!(warned["subject"], net.nodes[0].id.as_str());
}
