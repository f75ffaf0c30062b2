//! `node run` and `node status`.

use std::time::Duration;

use dstore::config::{self, Key};
use dstore::id::{NodeId, NoiseKey};
use dstore::rt::Rt;
use dstore::{Admission, NodeHandle, StorageNode, StorageNodeBuilder};
use futures_lite::future::or;
use futures_util::future::join_all;

use super::registry::{admin_note, serve_until, size};
use crate::advice;
use crate::context::Context;
use crate::descriptors;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::settings_file::create_folder;
use crate::shape::{Info, InviteDocument, Node, Nodes, Ready};
use crate::table::{Align, table};
use crate::text;

/// How long a node waits for a registry before it says that it does.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs a storage node until a signal comes.
pub(crate) async fn run(context: &Context, interrupt: &mut Interrupt) -> Result {
    let draining = context.config.is_on(&Key::DRAIN)?;
    let node = builder(context)?.start().await?;
    node.drain(draining);
    let public = context.config.value(&Key::PUBLIC).map(|public| public.text().to_owned());
    let address = public.unwrap_or_else(|| node.address().to_string());
    context.out.note(&format!("node {} listens at {}; waiting for a registry", node.id().short(), node.address()));
    admin_note(context, node.admin_address());
    let registered = async {
        registered(context, &node).await;
        true
    };
    let ready = or(registered, async {
        interrupt.next().await;
        false
    })
    .await;
    if ready {
        if context.out.json {
            let ready = Ready::new("node", address, Some(node.id().to_string()));
            context.out.document(&ready.with_admin(node.admin_address()))?;
        } else {
            let does = if draining { "serves what it has, and takes nothing new," } else { "stores shards" };
            context.out.note(&format!("a registry has accepted the node; it {does} until Ctrl-C, at"));
            context.out.line(&address)?;
        }
        or(
            async {
                interrupt.next().await;
            },
            node.closed(),
        )
        .await;
    }
    serve_until(node.shutdown(), interrupt).await;
    Ok(())
}

/// A node with these settings.
fn builder(context: &Context) -> Result<StorageNodeBuilder> {
    let config = &context.config;
    let registries = context.required_registries()?;
    create_folder(&context.dir)?;
    let listen = config.value(&Key::LISTEN).map_or("127.0.0.1:4200".to_owned(), |listen| listen.text().to_owned());
    let mut node = StorageNode::builder().listen(listen).dir(&context.dir);
    for registry in registries {
        node = node.registry(registry);
    }
    if let Some(network) = config.value(&Key::NETWORK) {
        node = node.network(network.text());
    }
    if let Some(public) = config.value(&Key::PUBLIC) {
        node = node.public(public.text());
    }
    if let Some(bytes) = config.parsed(&Key::CAPACITY, size)? {
        node = node.capacity(bytes);
    }
    if let Some(bytes) = config.parsed(&Key::FREE_FLOOR, size)? {
        node = node.free_floor(bytes);
    }
    if let Some(bytes) = config.parsed(&Key::INLINE_MAX, size)? {
        node = node.inline_max(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if let Some(zone) = config.value(&Key::ZONE) {
        node = node.zone(zone.text());
    }
    if let Some(admin) = config.value(&Key::ADMIN) {
        node = node.admin(admin.text());
    }
    if config.is_on(&Key::ADMIN_PUBLIC)? {
        node = node.admin_public();
    }
    node = node.admission(match (config.is_on(&Key::OPEN)?, config.is_on(&Key::INVITE_ONLY)?) {
        (true, true) => return Err(Failure::new("config", "open and invite_only are both set: keep one")),
        (true, false) => Admission::Open,
        (false, true) => Admission::Invited,
        (false, false) => Admission::Private,
    });
    for key in allowed(context)? {
        node = node.allow(key);
    }
    let limits = descriptors::prepare(config::limits(config)?, &context.out);
    Ok(config::node_limits(config, node.limits(limits))?)
}

/// The keys that are allowed, by name and in the file.
fn allowed(context: &Context) -> Result<Vec<NoiseKey>> {
    let mut keys = context.config.list(&Key::ALLOW, str::parse)?;
    let Some(path) = context.config.value(&Key::ALLOW_FILE) else { return Ok(keys) };
    let path = path.text();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io(format!("cannot read {path}"), error))?;
    for (number, line) in text.lines().enumerate() {
        // What follows the key is the operator's note.
        let Some(word) = line.split_whitespace().next().filter(|word| !word.starts_with('#')) else { continue };
        let key = word.parse().map_err(|_| {
            Failure::new("config", format!("{path}:{}: not a transport key: 64 hex digits", number + 1))
                .hint("`dstore-cli wallet transport-key NODE` prints it to its owner")
        })?;
        keys.push(key);
    }
    Ok(keys)
}

/// Prints an invite by the node in the folder.
pub(crate) async fn invite(context: &Context, expires: String) -> Result {
    let lasts = humantime::parse_duration(&expires).map_err(|error| Failure::usage(error.to_string()))?;
    let mut node = StorageNode::builder().dir(&context.dir);
    if let Some(network) = context.config.value(&Key::NETWORK) {
        node = node.network(network.text());
    }
    let invite = node.invite(lasts).await.map_err(|error| {
        Failure::from(error).hint("name the folder of a node that has run with --dir: dstore-cli node run makes one")
    })?;
    if context.out.json {
        return context.out.document(&InviteDocument { schema: "dstore.invite/1", invite: invite.to_string() });
    }
    context.out.note(&format!("whoever presents it first, within {expires}, may store shards here from then on:"));
    context.out.line(&invite.to_string())
}

/// Ready when a registry lists the node. Until then, says now and then why none does.
async fn registered(context: &Context, node: &NodeHandle) {
    let (rt, mut told) = (Rt::default(), None);
    loop {
        let listed = async {
            node.registered().await;
            true
        };
        let waited = async {
            rt.env().sleep(PATIENCE).await;
            false
        };
        if or(listed, waited).await {
            return;
        }
        let why = node.registration_error().map(|error| error.to_string());
        if let Some(why) = why.as_ref().filter(|_| why != told) {
            context.out.warning("unregistered", &format!("no registry has accepted this node yet: {why}"));
        }
        told = why;
    }
}

/// Asks one node, or all that the registries list.
pub(crate) async fn status(context: &Context, id: Option<String>) -> Result {
    let client = context.asking_client().await?;
    let network = client.network().await?;
    let is_meant = |node: &NodeId| id.as_ref().is_none_or(|id| node.to_string().starts_with(id));
    let chosen: Vec<_> = network.nodes.iter().filter(|node| is_meant(&node.id)).collect();
    if let (Some(id), true) = (&id, chosen.is_empty()) {
        return Err(Failure::new("not_found", format!("no registry lists a node {id}"))
            .hint("`dstore-cli registry nodes --json` lists them with their ids"));
    }
    let answers = join_all(chosen.iter().map(|node| client.node_info(node.id))).await;
    let now = Rt::default().env().now();
    let problems: Vec<_> =
        chosen.iter().zip(&answers).flat_map(|(node, answer)| advice::node(node, answer, now)).collect();
    if context.out.json {
        let info = |answer: &dstore::Result<dstore::proto::NodeInfo>| match answer {
            Ok(info) => Info {
                reachable: true,
                used: Some(info.used),
                shards: Some(info.shards),
                version: Some(info.version.clone()),
                damaged: Some(info.damaged),
                draining: Some(info.draining),
            },
            Err(_) => Info::default(),
        };
        let nodes = chosen.iter().zip(&answers).map(|(node, answer)| Node::new(node, Some(info(answer)))).collect();
        let (required, active) = (network.required, network.active);
        context.out.document(&Nodes { schema: "dstore.nodes/1", nodes, required, active, problems })?;
    } else {
        let ours = env!("CARGO_PKG_VERSION");
        let odd = answers.iter().flatten().any(|info| info.version != ours);
        let rows: Vec<_> = chosen.iter().zip(&answers).map(|(node, answer)| row(node, answer, odd)).collect();
        let columns = [
            ("node", Align::Left),
            ("address", Align::Left),
            ("state", Align::Left),
            ("shards", Align::Right),
            ("used", Align::Right),
            ("free", Align::Right),
            // Eighty columns have no room for what all have in common.
            (if odd { "version" } else { "" }, Align::Left),
        ];
        context.out.lines(&table(0, columns, &rows))?;
        problems.iter().for_each(|problem| context.out.warning("network", problem));
    }
    match (id, answers.into_iter().next()) {
        (Some(_), Some(Err(error))) => Err(error.into()),
        _ => Ok(()),
    }
}

fn row(node: &dstore::NodeStatus, answer: &dstore::Result<dstore::proto::NodeInfo>, odd: bool) -> [String; 7] {
    let version = |version: &str| if odd { text::harmless(version) } else { String::new() };
    let (id, address) = (node.id.short(), node.address.clone());
    match answer {
        Ok(info) => [
            id,
            address,
            node.state.as_str().to_owned(),
            info.shards.to_string(),
            text::size(info.used),
            text::size(info.free),
            version(&info.version),
        ],
        Err(_) => [id, address, "unreachable".into(), "-".into(), "-".into(), "-".into(), version("-")],
    }
}
