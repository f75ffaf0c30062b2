//! What storage nodes can do to files: die, come back elsewhere, lie, be full.

use std::fs;

use super::network::{Net, bytes, files_below, text};

const IN_FILES: &[&str] = &["--inline-max", "0"];

#[test]
fn get_survives_kill_nine_of_any_one_node_and_nodes_that_come_back_at_another_port() {
    let mut net = Net::start(3);
    let content = bytes(700_000);
    net.put("a.bin", &content);
    for node in 0..3 {
        net.nodes[node].process.kill();
        assert!(net.cat("a.bin") == content, "without node {node}");
        let old = net.nodes[node].address.clone();
        net.restart_node(node);
        assert_ne!(net.nodes[node].address, old);
    }
    assert!(net.cat("a.bin") == content);
}

#[test]
fn a_fourth_node_changes_nothing_for_files_that_exist() {
    let mut net = Net::start(3);
    net.put("a.bin", &bytes(100_000));
    let before = net.run(["stat", "a.bin", "--json"]).with(0).json();
    net.add_node(&[]);
    net.put("b.bin", &bytes(100_000));
    assert_eq!(net.run(["stat", "a.bin", "--json"]).with(0).json(), before);
    assert!(net.cat("a.bin") == bytes(100_000));
}

#[test]
fn two_dead_nodes_end_a_get_with_what_was_found_and_what_is_missing_where() {
    let mut net = Net::start(3);
    net.put("a.bin", &bytes(100_000));
    let dead: Vec<_> = net.nodes[..2].iter().map(|node| node.address.clone()).collect();
    for node in &mut net.nodes[..2] {
        node.process.kill();
    }
    let ended = net.run(["get", "a.bin", "back.bin", "--json"]).with(5);
    let error = ended.error();
    assert_eq!((&error["code"], &error["retryable"]), (&"not_enough_shards".into(), &true.into()));
    let message = text(&error["message"]);
    assert!(message.contains("found 2 shards of the 4 needed"), "{message}");
    assert!(dead.iter().all(|address| message.contains(address.as_str())), "{message}");
    assert!(!net.home().join("back.bin").exists());
    assert!(!net.run(["cat", "a.bin"]).with(5).text().contains("partial"));
}

#[test]
fn damaged_shards_of_one_node_are_repaired_on_the_way_and_the_node_is_named() {
    let net = Net::with_options(&[IN_FILES; 3]);
    let content = bytes(500_000);
    net.put("a.bin", &content);
    let bad = net.holder("a.bin", 0);
    net.nodes[bad].corrupt();
    let ended = net.run(["get", "a.bin", "back.bin", "--json"]).with(0);
    assert!(fs::read(net.home().join("back.bin")).expect("got") == content);
    let warnings = ended.events("warning");
    let corrupt: Vec<_> = warnings.iter().filter(|warning| warning["code"] == "block_corrupt").collect();
    assert!(!corrupt.is_empty(), "{warnings:?}");
    assert!(corrupt.iter().all(|warning| warning["node"] == net.nodes[bad].id.as_str()), "{warnings:?}");
    let spoken = net.run(["get", "a.bin", "back.bin"]).with(0);
    assert!(spoken.stderr.contains("warning: a.bin: "), "{}", spoken.stderr);
}

#[test]
fn more_damage_than_tolerated_is_an_error_and_never_a_file() {
    let net = Net::with_options(&[IN_FILES; 3]);
    net.put("a.bin", &bytes(500_000));
    net.nodes[0].corrupt();
    net.nodes[1].corrupt();
    let old = net.file("back.bin", b"what was there");
    let error = net.run(["get", "a.bin", "back.bin", "--json"]).with(6).error();
    assert_eq!(error["code"], "unrecoverable");
    assert_eq!(fs::read(old).expect("still there"), b"what was there");
    let left: Vec<_> =
        fs::read_dir(net.home()).expect("a folder").map(|entry| entry.expect("readable").file_name()).collect();
    let known = ["registry", "client", "node-0", "node-1", "node-2", "sources", "back.bin"];
    assert!(left.iter().all(|name| known.iter().any(|known| name == known)), "{left:?}");
}

#[test]
fn fewer_than_three_nodes_refuse_a_put_and_say_how_many_there_are() {
    let net = Net::start(2);
    let file = net.file("a.bin", &bytes(10_000));
    let error = net.run(["put", &file.display().to_string(), "--json"]).with(5).error();
    assert_eq!(error["code"], "not_enough_nodes");
    let message = text(&error["message"]);
    assert!(message.contains('2') && message.contains('3'), "{message}");
    assert!(text(&error["hint"]).contains("dstore-cli node run"));
    assert!(net.nodes.iter().all(|node| node.shard_files().is_empty()));
    assert!(net.paths().is_empty());
}

#[test]
fn without_the_registry_known_files_are_read_and_puts_fail_clearly() {
    let mut net = Net::start(3);
    net.put("a.bin", &bytes(100_000));
    net.registry.kill();
    assert!(net.cat("a.bin") == bytes(100_000));
    let file = net.file("b.bin", &bytes(1000));
    let error = net.run(["put", &file.display().to_string(), "--timeout", "2s", "--json"]).with(5).error();
    assert_eq!(error["code"], "unavailable");
    assert!(text(&error["message"]).contains("registry"), "{error}");
    let status = net.run(["status", "--json", "--timeout", "2s"]).with(5);
    assert_eq!(status.json()["registry"][0]["reachable"], false);
    assert_eq!(net.paths(), ["a.bin"]);
}

#[test]
fn a_full_node_is_passed_over_when_there_is_another_one() {
    let full = &["--capacity", "4096"][..];
    let net = Net::with_options(&[&[], &[], full, &[]]);
    let content = bytes(300_000);
    net.put("a.bin", &content);
    assert!(net.cat("a.bin") == content);
    let stat = net.run(["stat", "a.bin", "--json"]).with(0).json();
    let holders = stat["shards"].as_array().expect("a list");
    assert!(holders.iter().all(|shard| shard["node"] != net.nodes[2].id.as_str()), "{holders:?}");
}

#[test]
fn a_full_node_without_another_one_fails_the_put_as_a_whole() {
    let net = Net::with_options(&[&[], &[], &["--capacity", "4096"]]);
    let file = net.file("a.bin", &bytes(300_000));
    let error = net.run(["put", &file.display().to_string(), "--json"]).with(5).error();
    assert!(["not_enough_nodes", "no_space"].iter().any(|code| error["code"] == *code), "{error}");
    assert!(net.paths().is_empty());
}

#[test]
fn nothing_on_a_nodes_disk_can_be_read() {
    let net = Net::with_options(&[IN_FILES, IN_FILES, &[]]);
    let (marker, path) = ("a marker that nobody else may see", "letters/to-nobody.txt");
    net.put(path, marker.repeat(5000).as_bytes());
    for node in &net.nodes {
        let files = files_below(&node.dir);
        assert!(!files.is_empty());
        for file in files {
            let found = fs::read(&file).expect("readable");
            for secret in [marker, path, "to-nobody"] {
                let shown = found.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!shown, "{secret:?} is in {}", file.display());
            }
        }
    }
}

#[test]
fn nodes_and_registries_end_with_zero_on_sigterm_and_sigint() {
    let mut net = Net::start(2);
    let node = net.nodes.pop().expect("two").process;
    node.signal("TERM");
    assert_eq!(node.end().with(0).text(), "");
    let node = net.nodes.pop().expect("one").process;
    node.signal("INT");
    node.end().with(0);
    let Net { registry, .. } = net;
    registry.signal("TERM");
    registry.end().with(0);
}

#[test]
fn nodes_are_listed_with_their_state_and_asked_how_they_are() {
    let net = Net::start(3);
    net.put("a.bin", &bytes(100_000));
    for arguments in [&["registry", "nodes", "--json"][..], &["node", "status", "--json"]] {
        let nodes = net.run(arguments).with(0).json();
        assert_eq!(
            (&nodes["schema"], &nodes["required"], &nodes["active"]),
            (&"dstore.nodes/1".into(), &3.into(), &3.into())
        );
        for node in nodes["nodes"].as_array().expect("a list") {
            assert!(
                net.nodes
                    .iter()
                    .any(|known| node["id"] == known.id.as_str() && node["address"] == known.address.as_str())
            );
            assert_eq!(node["state"], "active");
            assert!(node["capacity"].as_u64() >= node["free"].as_u64());
            assert!(text(&node["last_seen"]).ends_with('Z'));
        }
    }
    let one = net.run(["node", "status", &net.nodes[1].id, "--json"]).with(0).json();
    assert_eq!(one["nodes"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["nodes"][0]["reachable"], true);
    assert!(one["nodes"][0]["shards"].as_u64() > Some(0));
    net.run(["node", "status", &"00".repeat(20)]).with(4);
    let status = net.run(["status", "--json"]).with(0).json();
    assert_eq!((&status["schema"], &status["active"]), (&"dstore.status/1".into(), &3.into()));
    assert_eq!(status["registry"][0]["address"], net.address.as_str());
    assert_eq!(status["ledger"]["kind"], "local");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn servers_say_on_standard_error_what_their_address_is_for() {
    let home = super::network::empty_home();
    let start = |arguments: &[&str]| {
        let mut command = super::process::command(home.path());
        super::process::Running::start(command.args(arguments).args(["--listen", "127.0.0.1:0"]))
    };
    let mut registry = start(&["registry", "run", "--dir", "r"]);
    let address = registry.line();
    let mut node = start(&["node", "run", "--dir", "n", "--registry", address.trim()]);
    assert!(node.line().starts_with("127.0.0.1:"));
    for (server, said) in [(node, "stores shards until Ctrl-C"), (registry, "DSTORE_REGISTRY")] {
        server.signal("INT");
        let ended = server.end().with(0);
        assert_eq!(ended.text(), "");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
