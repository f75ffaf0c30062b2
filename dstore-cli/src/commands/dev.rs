//! `dev`: a registry and four nodes in the foreground, and a client's folder that knows them.

use std::path::Path;

use dstore::NodeHandle;
use dstore::config::{self, ConfigFile, Key};
use futures_lite::future::or;

use super::init;
use super::registry::serve_until;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::local_network::{LocalNetwork, Places};
use crate::settings_file::{create_folder, write};
use crate::shape::Ready;
use crate::text;

/// One more than a put needs, so that one may be stopped.
const NODES: usize = 4;

/// Runs until a signal comes. A later run on the same folder has the same keys, ports and files.
pub(crate) async fn run(context: &Context, interrupt: &mut Interrupt) -> Result {
    create_folder(&context.dir)?;
    let dir = std::fs::canonicalize(&context.dir)
        .map_err(|error| Failure::io(format!("cannot use the folder {}", context.dir.display()), error))?;
    let places = places(&dir)?;
    let label = context.config.value(&Key::NETWORK).map_or("dstore".to_owned(), |label| label.text().to_owned());
    let started = async { LocalNetwork::start(&dir, &places, &label).await.map(Some) };
    let started = or(started, async {
        interrupt.next().await;
        Ok(None)
    });
    let Some(network) = started.await? else { return Ok(()) };
    remember(&dir, &network)?;
    let client = dir.join("client");
    let registry = network.registry.registry_address();
    let fresh = !client.join(config::CONFIG_FILE).exists();
    if fresh || !names(&client, &registry.to_string())? {
        init::set_up(context, &client, std::slice::from_ref(&registry))?;
    }
    let out = &context.out;
    let client = client.display().to_string();
    out.note(&format!("registry   {}", network.registry.address()));
    for (node, number) in network.nodes.iter().flatten().zip(1..) {
        out.note(&format!("node {number}     {}   {}", node.address(), node.id().short()));
    }
    out.note("\nIn another terminal, do this, and then for example: dstore-cli put README.md\n");
    if out.json {
        let id = Some(network.registry.id().to_string());
        out.document(&Ready { dir: Some(client), ..Ready::new("dev", registry.to_string(), id) })?;
    } else {
        out.line(&format!("export DSTORE_DIR={}", text::shell_quoted(&client)))?;
    }
    out.note(&format!("\nCtrl-C stops it. What is stored stays in {}", dir.display()));
    interrupt.next().await;
    serve_until(network.shutdown(), interrupt).await;
    Ok(())
}

/// The places of the last run, or free ones.
fn places(dir: &Path) -> Result<Places> {
    let mut places = Places::free(NODES);
    if let Some(place) = remembered(&dir.join("registry"))? {
        places.registry = place;
    }
    for (place, number) in places.nodes.iter_mut().zip(1..) {
        if let Some(known) = remembered(&dir.join(format!("node-{number}")))? {
            *place = known;
        }
    }
    Ok(places)
}

fn remembered(folder: &Path) -> Result<Option<String>> {
    let file = ConfigFile::open(folder.join(config::CONFIG_FILE))?;
    Ok(file.and_then(|file| file.setting(&Key::LISTEN).map(ToOwned::to_owned)))
}

/// Notes where everybody listens, in the config files that `node run` and `registry run` would read too.
fn remember(dir: &Path, network: &LocalNetwork) -> Result {
    let place = |key: &Key, value: String| (key.name.to_owned(), toml::Value::String(value));
    let save = |folder: &str, settings: toml::Table| write(&dir.join(folder).join(config::CONFIG_FILE), &settings);
    save("registry", [place(&Key::LISTEN, network.registry.address().to_string())].into_iter().collect())?;
    let registry = network.registry.registry_address().to_string();
    let listens = network.nodes.iter().flatten().map(NodeHandle::address);
    for (listen, number) in listens.zip(1..) {
        let settings = [place(&Key::LISTEN, listen.to_string()), place(&Key::REGISTRY, registry.clone())];
        save(&format!("node-{number}"), settings.into_iter().collect())?;
    }
    Ok(())
}

/// Whether the client's config names the registry that runs.
fn names(client: &Path, registry: &str) -> Result<bool> {
    let file = ConfigFile::open(client.join(config::CONFIG_FILE))?;
    Ok(file
        .is_some_and(|file| file.setting(&Key::REGISTRY).is_some_and(|known| known.split(',').any(|r| r == registry))))
}
