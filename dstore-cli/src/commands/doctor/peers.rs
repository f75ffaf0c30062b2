//! Registries and nodes: which can be reached, what they say, and whether that is enough.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use dstore::client::Probe;
use dstore::config::Key;
use dstore::error::PeerProblem;
use dstore::placement::nodes_needed;
use dstore::proto::{CLOCK_SKEW, NodeInfo, NodeState};
use dstore::{Client, Error, Network, NodeStatus, Scheme};
use futures_util::StreamExt;
use futures_util::future::join_all;

use crate::advice::{self, NO_ROOM};
use crate::context::Context;
use crate::failure::Failure;
use crate::shape::{Finding, State};
use crate::text;

/// Nodes that are asked, and how many of them at once.
const MAX_ASKED: usize = 64;
const AT_ONCE: usize = 16;

/// A clock that was seen: whose, and how many milliseconds it is ahead of ours.
struct Clock {
    whose: String,
    ahead: i64,
}

/// What one node answered.
struct Answer<'a> {
    node: &'a NodeStatus,
    info: Result<Info, Error>,
}

struct Info {
    state: NodeInfo,
    connected: Duration,
    round_trip: Duration,
    ahead: i64,
}

/// Asks everybody.
pub(super) async fn check(context: &Context) -> Vec<Finding> {
    let registries = match context.required_registries() {
        Ok(registries) => registries,
        Err(failure) => {
            let remedy = failure.hints.join("; ");
            return vec![Finding::fail("registry", failure.code, failure.message, remedy)];
        }
    };
    let client = match context.asking_client().await {
        Ok(client) => client,
        Err(failure) => return vec![Finding::fail("registry", failure.code, failure.message, "correct this setting")],
    };
    let label = context.config.value(&Key::NETWORK).map_or_else(String::new, |label| label.to_string());
    let probes = join_all(registries.iter().map(|address| client.probe_registry(address))).await;
    let mut clocks = Vec::new();
    let any = probes.iter().any(Result::is_ok);
    let mut findings: Vec<_> = registries
        .iter()
        .zip(probes)
        .map(|(address, probe)| {
            registry(&address.endpoint, probe, any, &label, &mut clocks).of(address.endpoint.as_str())
        })
        .collect();
    if any {
        match client.network().await {
            Ok(network) => findings.extend(nodes(context, &client, &network, &mut clocks).await),
            Err(error) => {
                let failure = Failure::from(error);
                findings.push(Finding::fail("nodes", failure.code, failure.message, "try again in a moment"));
            }
        }
    }
    findings.extend(judge(&clocks));
    findings
}

fn registry(endpoint: &str, probe: Result<Probe, Error>, any: bool, label: &str, clocks: &mut Vec<Clock>) -> Finding {
    match probe {
        Ok(probe) => {
            let ahead = ahead(probe.clock.as_millis(), probe.here.as_millis());
            clocks.push(Clock { whose: format!("the registry at {endpoint}"), ahead });
            Finding::pass("registry", format!("{endpoint} is the right one, connected in {}", short(probe.took)))
        }
        Err(error) => {
            let (code, remedy) = (error.code(), remedy(&error, "registry", label));
            let message = format!("{endpoint} {}", advice::reason(&error));
            // One that answers is enough.
            if any {
                Finding::warn("registry", message, remedy)
            } else {
                Finding::fail("registry", code, message, remedy)
            }
        }
    }
}

/// Whether enough nodes can be used, and each of them.
async fn nodes(context: &Context, client: &Client, network: &Network, clocks: &mut Vec<Clock>) -> Vec<Finding> {
    let asked = network.nodes.iter().take(MAX_ASKED).map(|node| ask(client, node));
    let answers: Vec<Answer<'_>> = futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await;
    for Answer { node, info } in &answers {
        if let Ok(info) = info {
            clocks.push(Clock { whose: format!("node {} at {}", node.id.short(), node.address), ahead: info.ahead });
        }
    }
    let scheme = context.config.parsed(&Key::SCHEME, str::parse::<Scheme>);
    let needed = match scheme {
        Ok(scheme) => scheme.and_then(|scheme| nodes_needed(scheme, 1)).unwrap_or(0).max(network.required),
        Err(error) => return vec![Finding::fail("nodes", "config", error.to_string(), "write it like 4+2")],
    };
    let mut findings = vec![enough(network, &answers, needed)];
    findings.extend(zones(network));
    for answer in &answers {
        findings.extend(each(answer).into_iter().map(|finding| finding.of(answer.node.id.to_string())));
    }
    if network.nodes.len() > MAX_ASKED {
        let text = format!("{} nodes are listed; {MAX_ASKED} of them were asked", network.nodes.len());
        findings.push(Finding::pass("nodes", text));
    }
    findings
}

async fn ask<'a>(client: &Client, node: &'a NodeStatus) -> Answer<'a> {
    let info = async {
        let started = Instant::now();
        client.node_info(node.id).await?;
        let connected = started.elapsed();
        let started = Instant::now();
        let state = client.node_info(node.id).await?;
        let round_trip = started.elapsed();
        let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let ahead = ahead(state.time.as_millis(), u64::try_from(here).unwrap_or(u64::MAX));
        Ok(Info { state, connected, round_trip, ahead })
    };
    Answer { node, info: info.await }
}

fn ahead(theirs: u64, ours: u64) -> i64 {
    let apart = i64::try_from(theirs.abs_diff(ours)).unwrap_or(i64::MAX);
    if theirs >= ours { apart } else { -apart }
}

fn enough(network: &Network, answers: &[Answer<'_>], needed: usize) -> Finding {
    let active = network.nodes.iter().filter(|node| node.state == NodeState::Active).count();
    let of_active = || answers.iter().filter(|answer| answer.node.state == NodeState::Active);
    // Those that were not asked are taken at their registry's word.
    let unasked = active - of_active().count();
    let reached = unasked + of_active().filter(|answer| answer.info.is_ok()).count();
    let roomy = |answer: &&Answer<'_>| answer.info.as_ref().is_ok_and(|info| info.state.free >= NO_ROOM);
    let with_room = unasked + of_active().filter(roomy).count();
    let free: u64 = network.nodes.iter().map(|node| node.free).sum();
    let counted = text::count(active, "active node");
    if active < needed {
        let text = format!("{counted} of the {needed} that a put needs are listed");
        let remedy = "wait until they are back, or start more: dstore-cli node run --registry ADDRESS; files that are \
                      stored may still read";
        Finding::fail("nodes", "not_enough_nodes", text, remedy)
    } else if reached < needed {
        let text = format!("{counted}, but only {reached} of the {needed} that a put needs can be reached from here");
        Finding::fail(
            "nodes",
            "not_enough_nodes",
            text,
            "see what is said of each below, and of this machine's network",
        )
    } else if with_room < needed {
        let text = format!("{counted}, but only {with_room} of the {needed} that a put needs have room");
        let remedy = "add a node, or give those that are full more: dstore-cli node run --capacity SIZE";
        Finding::fail("nodes", "no_space", text, remedy)
    } else {
        Finding::pass("nodes", format!("{counted}, {needed} needed to store files, {} free", text::size(free)))
    }
}

/// Nothing where nobody has named a zone.
fn zones(network: &Network) -> Option<Finding> {
    let active = || network.nodes.iter().filter(|node| node.state == NodeState::Active);
    let zones: BTreeSet<&str> = active().map(|node| node.zone.as_str()).collect();
    let unnamed = zones.contains("");
    match zones.into_iter().collect::<Vec<_>>()[..] {
        [] | [""] => None,
        [zone] => Some(Finding::warn(
            "zones",
            format!("all active nodes are in zone {zone:?}: what strikes that takes all of them"),
            "add nodes in another zone",
        )),
        ref zones => {
            let named = zones.iter().filter(|zone| !zone.is_empty()).copied().collect::<Vec<_>>().join(", ");
            let rest = if unnamed { ", and nodes without one" } else { "" };
            Some(Finding::pass("zones", format!("{named}{rest}")))
        }
    }
}

/// What there is to say of one node.
fn each(answer: &Answer<'_>) -> Vec<Finding> {
    let Answer { node, info } = answer;
    let name = format!("{} at {}", node.id.short(), node.address);
    let info = match info {
        Ok(info) => info,
        Err(error) => {
            let listed = format!("listed as {}, last heard of {}", node.state.as_str(), text::moment(node.last_seen));
            let cause = advice::cause(error).unwrap_or_else(|| error.to_string());
            let remedy = "if it is yours, see that it runs and that its port is open to here; what is stored reads \
                          without it while enough others answer: dstore-cli check";
            return vec![Finding::warn("node", format!("{name} cannot be used from here: {cause} ({listed})"), remedy)];
        }
    };
    let mut findings = Vec::new();
    let mut warn = |text: String, remedy: &str| findings.push(Finding::warn("node", format!("{name} {text}"), remedy));
    match node.state {
        NodeState::Active => {}
        NodeState::Draining => warn(
            "is draining: it takes no new shards".to_owned(),
            "its operator takes it out of service; nothing to do",
        ),
        NodeState::Suspect => {
            warn("answers here, but not its registry".to_owned(), "wait a minute; if it stays so, restart it")
        }
        NodeState::Quarantined => {
            warn("came and went too often, and takes no new shards for now".to_owned(), "look at its log and its link")
        }
    }
    if info.state.free < NO_ROOM {
        warn(advice::fullness(info.state.free), "give it more with --capacity, or add a node");
    }
    if info.state.damaged > 0 {
        let shards = text::count(usize::try_from(info.state.damaged).unwrap_or(usize::MAX), "shard");
        let remedy = "their files read from the other nodes: dstore-cli check names them, and a put of the same makes \
                      them whole; its operator must look at its disk";
        warn(format!("found {shards} damaged on its disk"), remedy);
    }
    if findings.is_empty() {
        let Info { state, connected, round_trip, .. } = info;
        let free = format!("{} of {} free", text::size(state.free), text::size(state.capacity));
        let times = format!("connected in {}, answers in {}", short(*connected), short(*round_trip));
        findings.push(Finding::pass("node", format!("{name}: {times}, {free}, dstore {}", state.version)));
    }
    findings
}

/// Ours is compared with what most others show; then each with that.
fn judge(clocks: &[Clock]) -> Vec<Finding> {
    let limit = i64::try_from(CLOCK_SKEW.as_millis()).unwrap_or(i64::MAX);
    let mut sorted: Vec<i64> = clocks.iter().map(|clock| clock.ahead).collect();
    sorted.sort_unstable();
    let Some(&most) = sorted.get(sorted.len() / 2) else { return Vec::new() };
    let mut findings = Vec::new();
    if most.abs() > limit {
        let way = if most > 0 { "behind" } else { "ahead of" };
        let text = format!("this machine's clock is {} {way} those of the servers", long(most));
        let remedy = "set it (timedatectl set-ntp true): what nodes are asked counts for two minutes only";
        findings.push(Finding::fail("clock", "config", text, remedy));
    }
    for clock in clocks.iter().filter(|clock| (clock.ahead - most).abs() > limit) {
        let off = clock.ahead - most;
        let way = if off > 0 { "ahead of" } else { "behind" };
        let text = format!("the clock of {} is {} {way} the others", clock.whose, long(off));
        findings.push(Finding::warn("clock", text, "its operator must set it: until then it refuses what it is asked"));
    }
    if findings.iter().all(|finding| finding.state == State::Pass) {
        let most = clocks.iter().map(|clock| clock.ahead.abs()).max().unwrap_or(0);
        let text = format!("agrees with {} to within {}", text::count(clocks.len(), "server"), long(most.max(1000)));
        findings.push(Finding::pass("clock", text));
    }
    findings
}

fn remedy(error: &Error, what: &str, label: &str) -> String {
    let Error::Peer { problem, .. } = error else { return "correct its address".to_owned() };
    match problem {
        PeerProblem::WrongKeyOrNetwork => {
            format!(
                "compare what follows dsr1: with what the {what} printed when it started, and the label, which is {label:?} here, with its own"
            )
        }
        PeerProblem::Version(..) => "update dstore, here or there".to_owned(),
        PeerProblem::Busy => "try again in a moment".to_owned(),
        PeerProblem::Timeout(_) => {
            format!(
                "it is too slow or hangs, or something on the way drops the connection: look at the {what} and the network"
            )
        }
        _ => format!(
            "see that the {what} runs and that host and port are right; its operator starts it with dstore-cli {what} run"
        ),
    }
}

/// `0.4 ms`
fn short(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// `5m 3s`
fn long(millis: i64) -> String {
    humantime::format_duration(Duration::from_secs(millis.unsigned_abs() / 1000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(ahead: &[i64]) -> Vec<Finding> {
        let clock = |(at, ahead): (usize, &i64)| Clock { whose: format!("node {at}"), ahead: *ahead };
        judge(&ahead.iter().enumerate().map(clock).collect::<Vec<_>>())
    }

    #[test]
    fn one_clock_that_is_off_is_named_and_ours_is_when_all_others_agree() {
        assert!(clocks(&[]).is_empty());
        let fine = clocks(&[30, -1200, 90_000]);
        assert!(matches!(&fine[..], [Finding { state: State::Pass, .. }]), "{fine:?}");
        let one = clocks(&[10, 300_000, -20, 5]);
        assert!(matches!(&one[..], [Finding { state: State::Warn, .. }]), "{one:?}");
        assert!(one[0].message.contains("node 1 is 4m 59s ahead of"), "{one:?}");
        let ours = clocks(&[-300_000, -300_100, -299_900]);
        assert!(matches!(&ours[..], [Finding { state: State::Fail, code: Some("config"), .. }]), "{ours:?}");
        assert!(ours[0].message.contains("5m ahead of those of the servers"), "{ours:?}");
    }
}
