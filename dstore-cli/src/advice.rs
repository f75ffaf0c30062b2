//! What is wrong with a network and its nodes, and what somebody can do about it, in sentences.

use dstore::client::Network;
use dstore::error::PeerProblem;
use dstore::proto::{NodeInfo, NodeState};
use dstore::rt::Timestamp;
use dstore::{Error, NodeStatus};

use crate::text;

/// How far clocks may differ before that is worth a sentence; at 120 s nothing works any more.
const CLOCK_MARGIN: u64 = 60;

/// A node with less room takes no shard of a file of any size.
pub(crate) const NO_ROOM: u64 = 16 << 20;

/// What is wrong with a network as the registries see it.
pub(crate) fn network(network: &Network) -> Vec<String> {
    let mut problems: Vec<_> = network.nodes.iter().flat_map(listed).collect();
    if network.active < network.required {
        problems.push(format!(
            "files can be read, but not stored: {} of {} nodes are active; start the others, or add one with \
             `dstore-cli node run`",
            network.active, network.required
        ));
    }
    problems
}

/// What is wrong with a node that was asked how it is, at `now` by our clock.
pub(crate) fn node(node: &NodeStatus, answer: &dstore::Result<NodeInfo>, now: Timestamp) -> Vec<String> {
    let name = name(node);
    let info = match answer {
        Ok(info) => info,
        Err(error) => {
            return vec![format!(
                "{name} does not answer: {}; see that it runs, and that its port can be reached",
                reason(error)
            )];
        }
    };
    let mut problems: Vec<_> = listed(node).into_iter().collect();
    if info.free < NO_ROOM && node.free >= NO_ROOM {
        problems.push(full(&name, info.free));
    }
    if info.damaged > 0 {
        problems.push(format!(
            "{name} found {} damaged; their files are read from other nodes: look at its disk and its log",
            text::count(usize::try_from(info.damaged).unwrap_or(usize::MAX), "shard")
        ));
    }
    if info.draining && node.state != NodeState::Draining {
        problems.push(draining(&name));
    }
    let (ahead, behind) = (info.time.since(now).as_secs(), now.since(info.time).as_secs());
    if ahead.max(behind) > CLOCK_MARGIN {
        let (seconds, way) = if ahead > 0 { (ahead, "ahead of") } else { (behind, "behind") };
        problems
            .push(format!("{name}: its clock is {seconds} s {way} ours; beyond 120 s nothing works: run NTP on both"));
    }
    problems
}

fn listed(node: &NodeStatus) -> Option<String> {
    let name = name(node);
    match node.state {
        NodeState::Suspect => Some(format!(
            "{name} is not heard by its registry since {}; see that it runs, and `/readyz` there",
            text::moment(node.last_seen)
        )),
        NodeState::Quarantined => Some(format!(
            "{name} came and went too often, and is not used for 10 minutes: look for restarts in its log"
        )),
        NodeState::Draining => Some(draining(&name)),
        NodeState::Active if node.free < NO_ROOM => Some(full(&name, node.free)),
        NodeState::Active => None,
    }
}

fn draining(name: &str) -> String {
    format!("{name} takes no new shards because its operator wants that")
}

fn full(name: &str, free: u64) -> String {
    let how = fullness(free);
    format!("{name} {how}: raise its --capacity, make room on its disk above --free-floor, or add a node")
}

/// How full a node is whose room is less than [`NO_ROOM`].
pub(crate) fn fullness(free: u64) -> String {
    match free {
        0 => "is full".to_owned(),
        free => format!("is almost full, with {} free", text::size(free)),
    }
}

/// Why a peer that is named before cannot be used: the system's own words where it could not be reached.
pub(crate) fn reason(error: &Error) -> String {
    match (error, cause(error)) {
        (Error::Peer { problem: problem @ PeerProblem::Unavailable, .. }, Some(cause)) => format!("{problem}: {cause}"),
        (Error::Peer { problem, .. }, _) => problem.to_string(),
        _ => error.to_string(),
    }
}

/// The innermost cause of an error.
pub(crate) fn cause(error: &Error) -> Option<String> {
    let mut innermost = std::error::Error::source(error)?;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    Some(innermost.to_string())
}

fn name(node: &NodeStatus) -> String {
    format!("node {} at {}", node.id.short(), node.address)
}
