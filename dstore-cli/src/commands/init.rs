//! `init`: fills a client's folder with a key and a config, and asks nothing.

use std::path::Path;

use dstore::config::{self, OwnerKey};
use dstore::{Owner, RegistryAddr};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::settings_file::{create_folder, write};
use crate::shape::Init;

/// Sets up the client in the folder of `context`.
pub(crate) fn run(context: &Context) -> Result {
    let registries = context.required_registries()?;
    let dir = &context.dir;
    if dir.join(config::CONFIG_FILE).exists() {
        return Err(Failure::new("already_exists", format!("{} is set up already", dir.display()))
            .hint(format!("change {}, or use another folder with --dir", dir.join(config::CONFIG_FILE).display())));
    }
    let owner = set_up(context, dir, &registries)?;
    let out = &context.out;
    let owner = format!("0x{}", owner.id());
    if out.json {
        let registry = registries.iter().map(ToString::to_string).collect();
        let dir = dir.display().to_string();
        return out.document(&Init { schema: "dstore.init/1", dir, owner, registry });
    }
    out.note(&format!("set up {} for owner {owner}", dir.display()));
    out.note(&format!("keep a copy of {}: without it nobody, you included, can read your files", config::OWNER_FILE));
    out.note("with it and the registry's address, dstore-cli recover finds them all again");
    out.note("try it: dstore-cli put README.md");
    Ok(())
}

/// Writes the key first and the config last, so that an init that was cut short can be run again.
pub(super) fn set_up(context: &Context, dir: &Path, registries: &[RegistryAddr]) -> Result<Owner> {
    create_folder(dir)?;
    let path = dir.join(config::OWNER_FILE);
    let owner = match (config::owner_key(&context.config, dir)?, config::owner(&context.config, dir)?) {
        (OwnerKey::Folder(_), Some(owner)) => owner,
        (_, None) => Owner::create(&path)?,
        (_, Some(owner)) => {
            if path.exists() && Owner::open(&path)?.id() != owner.id() {
                return Err(Failure::new("already_exists", format!("{} holds another key", path.display()))
                    .hint("use another folder with --dir, or unset the key in the environment"));
            }
            if !path.exists() {
                owner.save(&path)?;
            }
            owner
        }
    };
    let mut settings = toml::Table::new();
    let registries = registries.iter().map(|address| toml::Value::String(address.to_string())).collect();
    settings.insert("registry".to_owned(), toml::Value::Array(registries));
    let network = context.config.value(&config::Key::NETWORK);
    if let Some(network) = network.filter(|network| network.origin != config::Origin::Default) {
        settings.insert("network".to_owned(), toml::Value::String(network.text().to_owned()));
    }
    for key in [&config::Key::INVITE, &config::Key::PIN] {
        if let Some(value) = context.config.value(key) {
            settings.insert(key.name.to_owned(), toml::Value::String(value.text().to_owned()));
        }
    }
    write(&dir.join(config::CONFIG_FILE), &settings)?;
    Ok(owner)
}
