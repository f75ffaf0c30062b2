//! The ledger is lost: the key and the registry's address find everything again.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::network::{Net, bytes, text};
use super::process::{Ended, command};

fn client(net: &Net) -> std::path::PathBuf {
    net.home().join("client")
}

/// Three files, of which one is moved, and one more that is removed; then everything but the key goes.
fn scene(nodes: usize) -> (Net, String) {
    let net = Net::start(nodes);
    net.put("a.txt", b"one");
    net.put("a.txt", b"two");
    net.put("docs/b.bin", &bytes(100_000));
    net.put("c", &bytes(5));
    net.put("d", b"gone");
    net.run(["mv", "c", "docs/c"]).with(0);
    net.run(["rm", "d"]).with(0);
    let key = fs::read_to_string(client(&net).join("owner.key")).expect("there").trim().to_owned();
    fs::remove_dir_all(client(&net)).expect("lost");
    (net, key)
}

/// A command with nothing but the key and the registry.
fn alone(net: &Net, key: &str, dir: &Path) -> Command {
    let mut command = command(net.home());
    command.env("ETH_PRIVATE_KEY", key).env("DSTORE_REGISTRY", &net.address).env("DSTORE_DIR", dir);
    command
}

fn run(net: &Net, key: &str, arguments: &[&str]) -> Ended {
    let mut command = alone(net, key, &client(net));
    command.args(arguments).output().expect("the binary runs").into()
}

fn files(document: &Value) -> Vec<(String, u64, String)> {
    let files = document["files"].as_array().expect("a list").iter();
    files.map(|file| (text(&file["path"]), file["version"].as_u64().expect("a number"), text(&file["state"]))).collect()
}

#[test]
fn with_the_key_and_the_registry_alone_every_file_is_got_again() {
    let (net, key) = scene(3);
    let dry = run(&net, &key, &["recover", "--dry-run", "--json"]).with(0).json();
    assert_eq!(
        (&dry["schema"], &dry["dry_run"], &dry["ledger"]),
        (&"dstore.recover/1".into(), &true.into(), &Value::Null)
    );
    let expected = [("a.txt", 2), ("docs/b.bin", 1), ("docs/c", 1)];
    assert_eq!(files(&dry), expected.map(|(path, version)| (path.to_owned(), version, "ok".to_owned())));
    assert_eq!((&dry["gone"], dry["nodes"].as_array().map(Vec::len)), (&2.into(), Some(3)));
    assert!(!client(&net).exists(), "a dry run writes nothing");

    let ended = run(&net, &key, &["recover"]).with(0);
    assert!(ended.text().contains("docs/b.bin") && ended.stderr.contains("found 3 files"), "{}", ended.stderr);
    run(&net, &key, &["init"]).with(0);
    run(&net, &key, &["get", "/", "back"]).with(0);
    for (path, content) in [("a.txt", b"two".to_vec()), ("docs/b.bin", bytes(100_000)), ("docs/c", bytes(5))] {
        assert!(fs::read(net.home().join("back").join(path)).expect("got") == content, "{path}");
    }
    run(&net, &key, &["cat", "d"]).with(4);
    let again = run(&net, &key, &["recover", "--json"]).with(0).json();
    assert_eq!(again["added"], 0);
    let file = net.file("d", b"new").display().to_string();
    let put = run(&net, &key, &["put", &file, "--json"]).with(0).events("result").remove(0);
    assert_eq!(put["version"], 3, "no version repeats");
}

#[test]
fn with_a_node_down_everything_is_found_and_the_exit_code_says_that_it_may_be_partial() {
    let (mut net, key) = scene(3);
    net.nodes[1].process.kill();
    let ended = run(&net, &key, &["recover", "--json"]).with(3);
    assert_eq!(ended.error()["code"], "partial");
    let document = ended.json();
    assert_eq!(files(&document).len(), 3);
    assert!(document["files"].as_array().expect("a list").iter().all(|file| file["may_be_older"] == true));
    let silent = document["nodes"].as_array().expect("a list").iter().filter(|node| !node["problem"].is_null()).count();
    assert_eq!(silent, 1);
    run(&net, &key, &["get", "docs/b.bin", "back"]).with(0);
    net.nodes[2].process.kill();
    fs::remove_dir_all(client(&net)).expect("lost again");
    let ended = run(&net, &key, &["recover", "--json"]).with(3);
    assert!(files(&ended.json()).iter().all(|(_, _, state)| state == "unreachable"), "{}", ended.text());
}

#[test]
fn another_ledger_that_is_there_is_left_alone() {
    let (net, key) = scene(3);
    assert_eq!(run(&net, &key, &["ls"]).with(0).text(), "", "this makes a new ledger");
    let before = fs::read(client(&net).join("ledger.db")).expect("there");
    let ended = run(&net, &key, &["recover", "--json"]).with(9);
    assert_eq!(ended.error()["code"], "already_exists");
    let text = run(&net, &key, &["recover"]).with(9).stderr;
    assert!(text.contains("move it away"), "{text}");
    assert!(fs::read(client(&net).join("ledger.db")).expect("there") == before);
    fs::rename(client(&net).join("ledger.db"), client(&net).join("ledger.db.other")).expect("moved");
    run(&net, &key, &["recover"]).with(0);
    assert_eq!(run(&net, &key, &["cat", "a.txt"]).with(0).stdout, b"two");
}

#[test]
fn of_several_ledgers_the_one_that_is_named_is_made_again() {
    let (net, key) = scene(3);
    let file = net.file("e", b"elsewhere").display().to_string();
    run(&net, &key, &["put", &file]).with(0);
    fs::remove_dir_all(client(&net)).expect("lost again");
    let ended = run(&net, &key, &["recover"]).with(8);
    assert!(
        ended.stderr.contains("3 files: --ledger-id") && ended.stderr.contains("1 file: --ledger-id"),
        "{}",
        ended.stderr
    );
    let line = ended.stderr.lines().find(|line| line.contains("1 file: ")).expect("a hint");
    let id = line.rsplit(' ').next().expect("an id");
    let document = run(&net, &key, &["recover", "--ledger-id", id, "--json"]).with(0).json();
    assert_eq!(files(&document), [("e".to_owned(), 1, "ok".to_owned())]);
    assert_eq!(document["other_ledgers"][0]["files"], 3);
    assert_eq!(run(&net, &key, &["cat", "e"]).with(0).stdout, b"elsewhere");
}

#[test]
fn a_key_without_files_finds_none_and_no_key_is_an_error() {
    let (net, _) = scene(3);
    let ended = run(&net, &"11".repeat(32), &["recover", "--json"]).with(4);
    assert_eq!(ended.error()["code"], "not_found");
    let mut without = command(net.home());
    let ended: Ended = without.args(["recover", "--registry", &net.address]).output().expect("the binary runs").into();
    assert!(ended.with(8).stderr.contains("ETH_PRIVATE_KEY"));
}
