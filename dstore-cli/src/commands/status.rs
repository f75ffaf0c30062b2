//! `status`: the network, the registries and the ledger, as seen from here.

use dstore::client::{Network, NodeStatus, Probe};
use dstore::config::{self, Key, LedgerKind};
use dstore::proto::NodeState;
use dstore::{Client, RegistryAddr};
use futures_util::future::join_all;

use crate::advice;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::shape::{LedgerState, Node, Nodes, RegistryState, Status};
use crate::table::{Align, table};
use crate::text;

/// Shows how everything is.
pub(crate) async fn run(context: &Context) -> Result {
    let registries = context.required_registries()?;
    let client = context.asking_client().await?;
    let ledger = ledger(context)?;
    let (network, failure) = match client.network().await {
        Ok(network) => (Some(network), None),
        Err(error) => (None, Some(Failure::from(error))),
    };
    let unreachable = match &network {
        None => each_alone(&client, &registries).await,
        Some(network) => network.unreachable.clone(),
    };
    let registry: Vec<_> = registries
        .iter()
        .map(|address| {
            let address = address.to_string();
            let message = unreachable.iter().find(|(name, _)| *name == address).map(|(_, why)| why.clone());
            let odd = network.iter().flat_map(|network| &network.odd).find(|(name, _)| *name == address);
            let reachable = message.is_none();
            RegistryState { address, reachable, message: message.or(odd.map(|(_, what)| what.clone())) }
        })
        .collect();
    let (nodes, active, required) = match &network {
        Some(network) => (network.nodes.clone(), network.active, network.required),
        None => (Vec::new(), 0, 0),
    };
    if context.out.json {
        let problems = network.as_ref().map(advice::network).unwrap_or_default();
        let nodes = nodes_document("dstore.status/1", &nodes, (active, required), problems);
        context.out.document(&Status { nodes, registry, ledger, version: env!("CARGO_PKG_VERSION") })?;
    } else {
        context.out.lines(&lines(&registry, &ledger, network.as_ref()))?;
        for problem in network.iter().flat_map(advice::network) {
            context.out.warning("network", &problem);
        }
    }
    failure.map_or(Ok(()), Err)
}

/// What is wrong with each registry, when none has said anything of use.
async fn each_alone(client: &Client, registries: &[RegistryAddr]) -> Vec<(String, String)> {
    let probes = join_all(registries.iter().map(|address| client.probe_registry(address))).await;
    let wrong = |(address, probe): (&RegistryAddr, dstore::Result<Probe>)| {
        Some((address.to_string(), advice::reason(&probe.err()?)))
    };
    registries.iter().zip(probes).filter_map(wrong).collect()
}

fn ledger(context: &Context) -> Result<LedgerState> {
    let kind = context.ledger_kind()?;
    let on_chain = |key| context.config.value(key).filter(|_| kind == LedgerKind::Ethereum);
    Ok(LedgerState {
        kind: kind.as_str(),
        path: (kind == LedgerKind::Local).then(|| context.dir.join(config::LEDGER_FILE).display().to_string()),
        chain: on_chain(&Key::CHAIN).map(|chain| chain.to_string()),
        contract: on_chain(&Key::CONTRACT).map(|contract| contract.to_string()),
    })
}

pub(super) fn nodes_document(
    schema: &'static str,
    nodes: &[NodeStatus],
    (active, required): (usize, usize),
    problems: Vec<String>,
) -> Nodes {
    Nodes { schema, nodes: nodes.iter().map(|node| Node::new(node, None)).collect(), required, active, problems }
}

fn lines(registries: &[RegistryState], ledger: &LedgerState, network: Option<&Network>) -> Vec<String> {
    let mut lines = Vec::new();
    for registry in registries {
        let place = registry.address.rsplit('@').next().unwrap_or(&registry.address);
        let state = match &registry.message {
            None => "ok".to_owned(),
            Some(why) => {
                let named = format!("registry at {place}: ");
                format!("unreachable: {}", text::harmless(why.strip_prefix(&named).unwrap_or(why)))
            }
        };
        lines.push(format!("registry   {place}   {state}"));
    }
    let place = match (&ledger.path, &ledger.chain) {
        (Some(path), _) => path.clone(),
        (None, Some(chain)) => {
            let contract = ledger.contract.as_deref().unwrap_or("not set: dstore-cli contract deploy");
            format!("{chain}, contract {contract}")
        }
        (None, None) => "in memory".to_owned(),
    };
    lines.push(format!("ledger     {}   {place}", ledger.kind));
    if let Some(network) = network {
        let roomy = |node: &&NodeStatus| node.state == NodeState::Active && node.free >= advice::NO_ROOM;
        let enough = match network.nodes.iter().filter(roomy).count() {
            _ if network.active < network.required => "not enough to store files",
            roomy if roomy < network.required => "too few of them with room to store files",
            _ => "enough to store files",
        };
        let active = text::count(network.active, "active node");
        lines.push(format!("nodes      {active}, {enough} ({} needed)", network.required));
        if !network.nodes.is_empty() {
            lines.push(String::new());
            lines.extend(node_table(&network.nodes));
        }
    }
    lines
}

/// The nodes of a network as a table.
pub(super) fn node_table(nodes: &[NodeStatus]) -> Vec<String> {
    let row = |node: &NodeStatus| {
        [
            node.id.short(),
            node.address.clone(),
            node.state.as_str().to_owned(),
            text::size(node.free),
            text::size(node.capacity),
            text::harmless(&node.zone),
        ]
    };
    let rows: Vec<_> = nodes.iter().map(row).collect();
    let columns = [
        ("node", Align::Left),
        ("address", Align::Left),
        ("state", Align::Left),
        ("free", Align::Right),
        ("capacity", Align::Right),
        (if nodes.iter().any(|node| !node.zone.is_empty()) { "zone" } else { "" }, Align::Left),
    ];
    table(0, columns, &rows)
}
