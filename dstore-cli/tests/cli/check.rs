//! Whether files can be read, as `check` and `stat` tell it.

use super::network::{Net, bytes, text};

#[test]
fn a_check_of_files_that_are_well_says_so_and_changes_nothing() {
    let net = Net::start(3);
    assert_eq!(net.run(["check"]).with(0).text(), "no files\n");
    net.put("a/x", &bytes(300_000));
    net.put("b", b"small");
    for arguments in [&["check"][..], &["check", "--read-data"]] {
        assert_eq!(net.run(arguments).with(0).text(), "2 files: 2 ok\n");
    }
    let one = net.run(["check", "a/", "--json"]).with(0).json();
    assert_eq!((&one["schema"], &one["verdict"]), (&"dstore.check/1".into(), &"ok".into()));
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    assert_eq!((&one["items"][0]["path"], &one["items"][0]["spare_nodes"]), (&"a/x".into(), &1.into()));
    assert_eq!(net.run(["stat", "b", "--json"]).with(0).json()["verdict"], "ok");
}

#[test]
fn nodes_that_are_away_make_a_file_degraded_and_then_unreadable() {
    let mut net = Net::start(3);
    net.put("a", &bytes(300_000));
    net.nodes[0].process.kill();
    let degraded = net.run(["check", "--json"]).with(11);
    assert_eq!(degraded.error()["code"], "degraded");
    assert_eq!(degraded.json()["verdict"], "degraded");
    assert_eq!(degraded.json()["items"][0]["spare_nodes"], 0);
    let stat = net.run(["stat", "a", "--json"]).with(0).json();
    assert_eq!((&stat["verdict"], &stat["spare_nodes"]), (&"degraded".into(), &0.into()));
    let read = net.run(["check", "--read-data"]).with(11);
    assert!(
        read.text().contains("unreachable: node") && read.text().ends_with("1 file: 1 degraded\n"),
        "{}",
        read.text()
    );
    net.nodes[1].process.kill();
    let unreadable = net.run(["check", "--json"]).with(5);
    assert_eq!(unreadable.error()["code"], "not_enough_shards");
    assert_eq!(net.run(["stat", "a", "--json"]).with(0).json()["verdict"], "unreadable");
}

#[test]
fn rot_that_no_node_has_seen_yet_shows_when_the_data_is_read() {
    let net = Net::with_options(&[&["--inline-max", "0"][..]; 3]);
    net.put("a", &bytes(3_000_000));
    let holder = net.holder("a", 0);
    net.nodes[holder].corrupt();
    let read = net.run(["check", "--read-data", "--json"]).with(11);
    assert_eq!(read.json()["items"][0]["verdict"], "degraded");
    let message = text(&read.json()["items"][0]["message"]);
    assert!(message.starts_with("shard ") && message.contains(&net.nodes[holder].address), "{message}");
    let variable = net.command().args(["check"]).env("DSTORE_READ_DATA", "1").output().expect("it runs");
    assert_eq!(variable.status.code(), Some(11));
    let other = (holder + 1) % 3;
    net.nodes[other].corrupt();
    let lost = net.run(["check", "--read-data", "--json"]).with(6);
    assert_eq!((&lost.error()["code"], &lost.json()["verdict"]), (&"unrecoverable".into(), &"unrecoverable".into()));
}
