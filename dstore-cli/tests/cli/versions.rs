//! Copies, and the versions of a file that were.

use super::network::{Net, bytes};

#[test]
fn a_copy_is_a_file_of_its_own() {
    let net = Net::start(3);
    net.put("a.bin", &bytes(2_000_000));
    let copied = net.run(["cp", "a.bin", "b/c.bin", "--json"]).with(0);
    let result = copied.events("result").remove(0);
    assert_eq!(
        (&result["schema"], &result["path"], &result["size"]),
        (&"dstore.cp/1".into(), &"b/c.bin".into(), &2_000_000.into())
    );
    let status = copied.events("status");
    assert!(status.iter().all(|event| event["op"] == "cp" && event["path"] == "b/c.bin"), "{status:?}");
    assert_eq!(status.last().expect("some")["bytes_durable"], 2_000_000);
    net.run(["rm", "a.bin"]).with(0);
    assert!(net.cat("b/c.bin") == bytes(2_000_000));
}

#[test]
fn a_copy_replaces_what_it_may_and_nothing_else() {
    let net = Net::start(3);
    net.put("a", b"one");
    net.put("b", b"two");
    assert_eq!(net.run(["cp", "a", "b", "--mode", "create", "--json"]).with(9).error()["code"], "already_exists");
    assert_eq!(net.run(["cp", "a", "b", "--if-version", "7", "--json"]).with(9).error()["code"], "version_conflict");
    assert_eq!(net.cat("b"), b"two");
    net.run(["cp", "a", "b", "--if-version", "1"]).with(0);
    assert_eq!(net.cat("b"), b"one");
    assert_eq!(net.run(["cp", "nope", "c", "--json"]).with(4).error()["code"], "not_found");
    assert_eq!(net.run(["cp", "a", "a", "--json"]).with(2).error()["code"], "invalid_path");
    assert_eq!(net.run(["cp", "a", "../c", "--json"]).with(2).error()["code"], "invalid_path");
}

#[test]
fn the_history_of_a_file_outlives_it() {
    let net = Net::start(3);
    net.put("a", b"one");
    net.put("a", b"second");
    net.run(["mv", "a", "b"]).with(0);
    net.run(["rm", "b"]).with(0);
    let document = net.run(["history", "a", "--json"]).with(0).json();
    assert_eq!((&document["schema"], &document["path"]), (&"dstore.history/1".into(), &"a".into()));
    let row = |item: &serde_json::Value| (item["version"].as_u64(), item["kind"].clone(), item["size"].as_u64());
    let rows: Vec<_> = document["items"].as_array().expect("a list").iter().map(row).collect();
    let expected =
        [(Some(3), "renamed_away".into(), None), (Some(2), "put".into(), Some(6)), (Some(1), "put".into(), Some(3))];
    assert_eq!(rows, expected);
    let shown = net.run(["history", "b"]).with(0).text();
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[0].starts_with("version   when") && lines.len() == 3, "{shown}");
    assert!(lines[1].ends_with("removed") && lines[2].contains("moved here") && lines[2].ends_with("6 B"), "{shown}");
    assert_eq!(net.run(["history", "never", "--json"]).with(4).error()["code"], "not_found");
}
