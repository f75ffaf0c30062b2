//! `registry run` and `registry nodes`.

use std::future::Future;
use std::net::SocketAddr;
use std::str::FromStr;

use bytesize::ByteSize;
use dstore::Registry;
use dstore::config::{self, Key};
use futures_lite::future::or;

use super::status::{node_table, nodes_document};
use crate::advice;
use crate::context::Context;
use crate::descriptors;
use crate::failure::Result;
use crate::interrupt::Interrupt;
use crate::settings_file::create_folder;
use crate::shape::Ready;
use crate::text;

/// Runs a registry until a signal comes.
pub(crate) async fn run(context: &Context, interrupt: &mut Interrupt) -> Result {
    let config = &context.config;
    create_folder(&context.dir)?;
    let listen = config.value(&Key::LISTEN).map_or("127.0.0.1:4100".to_owned(), |listen| listen.text().to_owned());
    let mut registry = Registry::builder().listen(listen).dir(&context.dir);
    if let Some(network) = config.value(&Key::NETWORK) {
        registry = registry.network(network.text());
    }
    if let Some(public) = config.value(&Key::PUBLIC) {
        registry = registry.public(public.text());
    }
    if let Some(heartbeat) = config.duration(&Key::HEARTBEAT)? {
        registry = registry.heartbeat(heartbeat);
    }
    if config.is_on(&Key::PRIVATE_NODES)? {
        registry = registry.private_endpoints();
    }
    if let Some(admin) = config.value(&Key::ADMIN) {
        registry = registry.admin(admin.text());
    }
    if config.is_on(&Key::ADMIN_PUBLIC)? {
        registry = registry.admin_public();
    }
    let limits = descriptors::prepare(config::limits(config)?, &context.out);
    let registry = config::registry_limits(config, registry.limits(limits))?.start().await?;
    admin_note(context, registry.admin_address());
    let address = registry.registry_address().to_string();
    if context.out.json {
        let ready = Ready::new("registry", address, Some(registry.id().to_string()));
        context.out.document(&ready.with_admin(registry.admin_address()))?;
    } else {
        context.out.note(
            "the registry runs until Ctrl-C; nodes and clients need its address, as DSTORE_REGISTRY or --registry:",
        );
        context.out.line(&address)?;
    }
    or(
        async {
            interrupt.next().await;
        },
        registry.closed(),
    )
    .await;
    serve_until(registry.shutdown(), interrupt).await;
    Ok(())
}

/// Says where the operator's pages are, if they are served.
pub(super) fn admin_note(context: &Context, admin: Option<SocketAddr>) {
    if let Some(admin) = admin {
        context.out.note(&format!("for monitoring: http://{admin}/metrics, /healthz and /readyz"));
    }
}

/// Waits for an orderly end, unless a second signal asks for a quick one.
pub(super) async fn serve_until(shutdown: impl Future<Output = ()>, interrupt: &mut Interrupt) {
    or(shutdown, async {
        interrupt.next().await;
    })
    .await;
}

/// A number of bytes, such as `10GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    match ByteSize::from_str(text) {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => Err(format!("{text:?} is not a size: write it like 10GiB or 4096")),
    }
}

/// Lists the nodes that the registries know.
pub(crate) async fn nodes(context: &Context) -> Result {
    let client = context.asking_client().await?;
    let network = client.network().await?;
    for (address, why) in &network.unreachable {
        context.out.warning("registry_unreachable", &format!("registry {address}: {why}"));
    }
    if context.out.json {
        let (active, required) = (network.active, network.required);
        let problems = advice::network(&network);
        return context.out.document(&nodes_document("dstore.nodes/1", &network.nodes, (active, required), problems));
    }
    if network.nodes.is_empty() {
        context.out.note("no node is listed");
        return Ok(());
    }
    context.out.lines(&node_table(&network.nodes))?;
    let active = text::count(network.active, "active node");
    context.out.note(&format!("{active}, {} needed to store files", network.required));
    advice::network(&network).iter().for_each(|problem| context.out.warning("network", problem));
    Ok(())
}
