//! A peer that opens thousands of connections to a node of three, while honest clients put and get.

use std::fs;

use dstore::ServerIdentity;
use dstore::keys::network_id;
use dstore::noise::{Expected, Role};
use dstore::rt::Rt;

use super::attacker::{Attack, SOURCE};
use super::network::{Net, bytes};

const ATTEMPTS: usize = 10_000;
/// What the node may grow by.
const MEMORY: u64 = 64 << 20;
/// Connections that one private source may have in all (docs/wire.md section 9).
const PER_PRIVATE_SOURCE: usize = 512;

/// A field of `/proc/PID/status`, in bytes.
fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the node runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field is there");
    let kib: u64 = line.trim_start_matches(':').split_whitespace().next().expect("a number").parse().expect("a number");
    kib << 10
}

/// Connections of the attacker that the process at `port` has accepted or is about to.
fn held(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let from = format!("{:08X}:", u32::from_le_bytes(SOURCE.octets()));
    let lines = table.lines().skip(1).filter(|line| {
        let fields: Vec<_> = line.split_whitespace().take(4).collect();
        let [_, local, remote, state] = fields[..] else { return false };
        local.ends_with(&format!(":{port:04X}")) && remote.starts_with(&from) && state == ESTABLISHED
    });
    lines.count()
}

#[test]
#[cfg(target_os = "linux")]
fn ten_thousand_hostile_connections_cost_a_node_little_memory_and_honest_clients_nothing() {
    let mut net = Net::start(3);
    net.put("before.bin", &bytes(200_000));
    let node = &mut net.nodes[0];
    let identity = ServerIdentity::open_or_create(node.dir.join("identity.key"), &Rt::default()).expect("its identity");
    let expected = Expected {
        id: identity.id(),
        noise_key: identity.noise_key(),
        role: Role::Node,
        network: network_id("dstore"),
    };
    let target: std::net::SocketAddr = node.address.parse().expect("an address");
    let pid = node.process.child().id();
    let before = memory(pid, "VmRSS");

    let attack = Attack::start(target, expected, ATTEMPTS);
    let (mut puts, mut most) = (0, 0);
    while !attack.is_over() {
        let (name, content) = (format!("{puts}.bin"), bytes(20_000 + puts));
        net.put(&name, &content);
        assert!(net.cat(&name) == content);
        puts += 1;
        most = most.max(held(target.port()));
    }
    let tally = attack.finish();
    let grown = memory(pid, "VmHWM").saturating_sub(before);

    assert_eq!((tally.answered + tally.hung_up, tally.unconnected, tally.stuck), (ATTEMPTS, 0, 0), "{tally:?}");
    assert!(tally.members > 100, "{tally:?}");
    // Those that are being refused, and those that are on their way in, come on top.
    assert!(most <= PER_PRIVATE_SOURCE + 64 + 200, "{most} connections at once");
    assert!(puts > 0 && grown < MEMORY, "{puts} puts; it grew by {grown} bytes; {tally:?}");
    eprintln!("{puts} puts, {most} held at most, grown by {} KiB, {tally:?}", grown >> 10);
}
