//! What a chain refuses, and a chain that is not there: each its own error, and nothing lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::chain::Scene;
use super::network::{empty_home, text};
use super::process::{Ended, command};

/// How a put with these settings more fails.
#[track_caller]
fn refused(scene: &Scene, settings: &[(&str, &str)], exit: i32, code: &str, hint: &str) {
    let file = scene.net.file("refused", b"refused").display().to_string();
    let ended = scene.ended(scene.command().args(["put", &file, "--json"]).envs(settings.iter().copied())).with(exit);
    let error = ended.error();
    assert_eq!(error["code"], code, "{error}");
    assert!(text(&error["hint"]).contains(hint), "{error}");
    assert_eq!(error["retryable"], exit == 5, "{error}");
    let shown = format!("{} {}", ended.text(), ended.stderr);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn each_refusal_of_a_chain_is_an_error_of_its_own_and_nothing_is_lost() {
    let scene = Scene::start();
    scene.put("kept", b"kept");
    let sent = scene.transactions();

    refused(&scene, &[("DSTORE_CHAIN", "17000")], 10, "wrong_chain", "--chain");
    let nobody = format!("0x{}", "ab".repeat(20));
    refused(&scene, &[("DSTORE_CONTRACT", &nobody)], 10, "wrong_contract", "contract deploy");
    scene.ask("anvil_setCode", &json!([nobody, "0x600160015500"]));
    refused(&scene, &[("DSTORE_CONTRACT", &nobody)], 10, "wrong_contract", "contract deploy");
    refused(&scene, &[("DSTORE_MAX_FEE", "0.000000001")], 10, "fee_too_high", "--max-fee");
    refused(&scene, &[("ETH_RPC_URL", "http://127.0.0.1:1/v2/hunter2")], 5, "unavailable", "");
    scene.fund(1000);
    refused(&scene, &[], 10, "insufficient_funds", "wallet address");

    assert_eq!(scene.transactions(), sent, "nothing was sent");
    scene.fund(1_000_000_000_000_000_000);
    assert_eq!(scene.run(&["cat", "kept"]).with(0).stdout, b"kept");
    assert_eq!(scene.put("refused", b"refused"), 1);
}

#[test]
fn of_several_providers_one_that_answers_is_enough() {
    let scene = Scene::start();
    let urls = format!("http://127.0.0.1:1/v2/hunter2,{}", scene.chain.url());
    let mut balance = scene.command();
    balance.args(["wallet", "balance", "-v"]).env("ETH_RPC_URL", &urls);
    let ended = scene.ended(&mut balance).with(0);
    assert!(ended.text().starts_with("0.99"), "{}", ended.text());
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn the_demo_runs_on_a_chain_of_its_own_and_leaves_nothing_behind() {
    let home = empty_home();
    fs::create_dir(home.path().join("tmp")).expect("made");
    fs::write(home.path().join("a.txt"), "hello").expect("written");
    let demo = |arguments: &[&str]| -> Ended {
        let mut demo = command(home.path());
        demo.args(["demo", "--ledger", "ethereum", "a.txt"]).args(arguments).env("TMPDIR", home.path().join("tmp"));
        let anvil = concat!(env!("CARGO_MANIFEST_DIR"), "/../contracts/bin");
        demo.env("PATH", format!("{anvil}:{}", std::env::var("PATH").expect("a path")));
        demo.output().expect("it runs").into()
    };
    let shown = demo(&[]).with(0).text();
    for part in ["contract   0x", "Forget everything but the key", "for 0.", "Identical: all 5 bytes"] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let document = demo(&["--json"]).with(0).json();
    assert!(text(&document["contract"]).starts_with("0x") && document["identical"] == true, "{document}");
    assert_eq!(fs::read_dir(home.path().join("tmp")).expect("a folder").count(), 0, "something is left behind");
}

#[test]
fn without_anvil_the_demo_on_a_chain_says_how_to_get_it() {
    let home = empty_home();
    let program = home.path().join("anvil");
    // As the script of a checkout ends that has no packages yet.
    fs::write(&program, "#!/bin/sh\nexit 127\n").expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    let demo = command(home.path()).args(["demo", "--ledger", "ethereum", "--json"]).env("PATH", home.path()).output();
    let error = Ended::from(demo.expect("it runs")).with(8).error();
    assert!(text(&error["message"]).contains("anvil is not installed"), "{error}");
    assert!(text(&error["hint"]).contains("npm ci --prefix contracts"), "{error}");
}
