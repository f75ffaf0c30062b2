//! `init`: fills a client's folder with a key and a config, and asks nothing.

use std::path::Path;

use dstore::config::{self, Key, LedgerKind, OwnerKey};
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
    for line in advice(context, &owner)? {
        out.note(&line);
    }
    Ok(())
}

/// What the key is, what losing it means, and what to do next.
fn advice(context: &Context, owner: &str) -> Result<Vec<String>> {
    let key = match config::owner_key(&context.config, &context.dir)? {
        OwnerKey::Keystore(path, _) => path,
        _ => context.dir.join(config::OWNER_FILE),
    };
    let mut lines = vec![
        format!("{} is the key to all of your files, and there is no other one:", key.display()),
        "  whoever has it can read, replace and remove them, and pay from its account".to_owned(),
        "  without it nobody can read them ever again, you included: nobody can reset it".to_owned(),
        "keep a copy of it elsewhere, for example on paper in a safe".to_owned(),
    ];
    if context.ledger_kind()? != LedgerKind::Ethereum {
        lines.push("with it and the registry's address, dstore-cli recover finds them all again".to_owned());
        lines.push("try it: dstore-cli put README.md".to_owned());
        return Ok(lines);
    }
    let chain = context.config.value(&Key::CHAIN).map_or_else(String::new, |chain| chain.to_string());
    lines.push("with it and the contract's address, dstore-cli recover finds them all again".to_owned());
    lines.push(format!("writing to {chain} costs gas: send some ETH of that chain to {owner}"));
    lines.push(match config::contract(&context.config)? {
        Some(_) => "try it: dstore-cli put README.md --dry-run".to_owned(),
        None => "then put a contract of your own there: dstore-cli contract deploy".to_owned(),
    });
    Ok(lines)
}

/// Writes the key first and the config last, so that an init that was cut short can be run again.
pub(super) fn set_up(context: &Context, dir: &Path, registries: &[RegistryAddr]) -> Result<Owner> {
    create_folder(dir)?;
    let path = dir.join(config::OWNER_FILE);
    // Of `dev`, the folder is another one than that of the context.
    let owner = if dir == context.dir { context.owner()? } else { config::owner(&context.config, dir)? };
    let owner = match (config::owner_key(&context.config, dir)?, owner) {
        // That of a keystore stays there, under its password.
        (OwnerKey::Folder(_) | OwnerKey::Keystore(..), Some(owner)) => owner,
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
    let network = context.config.value(&Key::NETWORK);
    if let Some(network) = network.filter(|network| network.origin != config::Origin::Default) {
        settings.insert("network".to_owned(), toml::Value::String(network.text().to_owned()));
    }
    // The chain in any case: what a later version takes for granted may be another one.
    let is_on_chain = context.ledger_kind()? == LedgerKind::Ethereum;
    let is_kept = |key: &Key, value: &config::Value| {
        value.origin != config::Origin::Default || (is_on_chain && *key == Key::CHAIN)
    };
    for key in [&Key::LEDGER, &Key::CHAIN, &Key::CONTRACT, &Key::MAX_FEE, &Key::CONFIRMATIONS, &Key::INVITE, &Key::PIN]
    {
        if let Some(value) = context.config.value(key).filter(|value| is_kept(key, value)) {
            settings.insert(key.name.to_owned(), toml::Value::String(value.text().to_owned()));
        }
    }
    write(&dir.join(config::CONFIG_FILE), &settings)?;
    Ok(owner)
}
