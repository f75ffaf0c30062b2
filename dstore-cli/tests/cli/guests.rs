//! Nodes that take shards of those they know only.

use super::network::{Net, bytes, text};

const INVITE_ONLY: &[&str] = &["--invite-only"];

#[test]
fn a_node_that_does_not_know_a_client_says_which_key_its_operator_needs_and_an_invite_lets_it_in() {
    let mut net = Net::with_options(&[INVITE_ONLY; 3]);
    let file = net.file("a.bin", &bytes(100_000)).display().to_string();
    let error = net.run(["put", &file, "--json"]).with(5).error();
    assert_eq!(error["code"], "not_enough_nodes");
    let hint = text(&error["hint"]);
    let denied = net.nodes.iter().find(|node| hint.contains(&format!("wallet transport-key {}", node.id)));
    assert!(denied.is_some(), "{hint}");

    // One node allows the key, the others sign invites.
    let key = net.run(["wallet", "transport-key", &net.nodes[0].id]).with(0).text();
    net.nodes[0].allow(key.trim());
    net.restart_node(0);
    let mut invites = Vec::new();
    for node in 1..3 {
        let dir = net.nodes[node].dir.display().to_string();
        let printed = net.run(["node", "invite", "--expires", "1h", "--dir", &dir, "--json"]).with(0).json();
        assert_eq!(printed["schema"], "dstore.invite/1");
        invites.push(text(&printed["invite"]));
    }
    net.run(["put", &file, "--invite", &invites.join(",")]).with(0);
    assert!(net.cat("a.bin") == bytes(100_000));

    // They remember their guest, and the client need not show the invite again.
    net.restart_node(1);
    net.restart_node(2);
    net.run(["put", &file, "b.bin"]).with(0);

    // Another client comes too late.
    let other = ["--dir", "other"];
    net.run(["init", "--registry", &net.address, "--invite", &invites.join(",")].iter().chain(&other)).with(0);
    net.run(["put", &file, "c.bin"].iter().chain(&other)).with(5);
}

#[test]
fn a_wallet_shows_its_address_and_a_key_for_each_node_that_differs() {
    let net = Net::start(2);
    let address = net.run(["wallet", "address"]).with(0).text();
    assert!(address.starts_with("0x") && address.trim().len() == 42, "{address}");
    let key = |node: usize| net.run(["wallet", "transport-key", &net.nodes[node].id, "--json"]).with(0).json();
    assert_eq!((&key(0)["schema"], &key(0)["address"]), (&"dstore.keys/1".into(), &address.trim().into()));
    assert_ne!(key(0)["transport_key"], key(1)["transport_key"]);
    assert_eq!(text(&key(0)["transport_key"]).len(), 64);
}

#[test]
fn who_may_store_is_checked_where_it_is_written() {
    let net = Net::start(0);
    net.run(["node", "run", "--open", "--invite-only"]).with(2);
    net.run(["node", "run", "--allow", "me"]).with(2);
    net.run(["put", "x", "--invite", "dsi1:nonsense"]).with(2);
    net.run(["node", "invite", "--dir", "nowhere"]).with(4);
    let file = net.file("allowed", b"# mine\nnonsense\n").display().to_string();
    let error = net.run(["node", "run", "--dir", "n", "--allow-file", &file, "--registry", &net.address, "--json"]);
    assert!(text(&error.with(8).error()["message"]).contains("allowed:2"));
}
