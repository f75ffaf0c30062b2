//! `contract`: puts the contract that keeps records on a chain, or asks the one that is there.

use std::path::{Path, PathBuf};

use dstore::Error;
use dstore::config::{self, Key};
use dstore::ledger::{Chain, Deployment};

use super::doctor;
use crate::args;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::settings_file;
use crate::shape::{Contract, DeployPreview};
use crate::text;

/// Deploys or asks.
pub(crate) async fn run(context: &Context, what: args::Contract) -> Result {
    match what {
        args::Contract::Deploy { dry_run: true } => preview(context).await,
        args::Contract::Deploy { dry_run: false } => deploy(context).await,
        args::Contract::Info => info(context).await,
    }
}

fn chain(context: &Context) -> Result<Chain> {
    Ok(config::ethereum(&context.config)?.chain().clone())
}

async fn preview(context: &Context) -> Result {
    let (account, chain) = (context.account()?, chain(context)?);
    let cost = account.deploy_cost().await.map_err(Error::from)?;
    if context.out.json {
        return context.out.document(&DeployPreview::new(format!("0x{}", account.address()), &chain, &cost));
    }
    context.out.line(&format!("a contract on {} would cost {}", chain.name(), text::cost(&cost)))?;
    context.out.note("nothing was sent");
    Ok(())
}

async fn deploy(context: &Context) -> Result {
    let file = config_file(context);
    refuse_second(context, &file)?;
    let (account, chain) = (context.account()?, chain(context)?);
    context.out.note(&format!("deploying to {}, and waiting until it is there", chain.name()));
    let made = account.deploy().await.map_err(Error::from)?;
    let address = format!("0x{}", made.contract);
    // First of all what cannot be had again: the address.
    if context.out.json {
        context.out.document(&Contract::deployed(&chain, &made))?;
    } else {
        context.out.line(&address)?;
    }
    for line in told(&chain, &made) {
        context.out.note(&line);
    }
    let name = chain_setting(&chain);
    let settings = [("ledger", "ethereum"), ("chain", name.as_str()), ("contract", address.as_str())];
    if file.exists() && settings_file::add(&file, &settings)? {
        context.out.note(&format!("{} names it from now on", file.display()));
        return Ok(());
    }
    let options = format!("--ledger ethereum --chain {name} --contract {address}");
    context.out.note(&format!("use it: dstore-cli put FILE {options}"));
    if file.exists() {
        let lines = settings.map(|(name, value)| format!("{name} = \"{value}\"")).join(", ");
        let text = format!(
            "{} was left as it is: it has other settings already; to use the contract: {lines}",
            file.display()
        );
        context.out.warning("config", &text);
    } else {
        context.out.note(&format!("or keep it: dstore-cli init --registry dsr1:... {options}"));
    }
    Ok(())
}

/// A contract that a config names is where this client's files are.
fn refuse_second(context: &Context, file: &Path) -> Result {
    let named = context.config.value(&Key::CONTRACT).filter(|value| value.origin == config::Origin::File(file.into()));
    match named {
        None => Ok(()),
        Some(contract) => {
            Err(Failure::new("already_exists", format!("{} names contract {contract} already", file.display()))
                .hint("nothing was sent; `dstore-cli contract info` asks that contract")
                .hint("to have another one, take `contract` out of that file, or use another folder with --dir"))
        }
    }
}

fn config_file(context: &Context) -> PathBuf {
    let named = context.config.value(&Key::CONFIG).map(|file| PathBuf::from(file.text()));
    named.unwrap_or_else(|| context.dir.join(config::CONFIG_FILE))
}

/// The chain as the settings name it.
fn chain_setting(chain: &Chain) -> String {
    match Chain::named(chain.name()) {
        Some(preset) => preset.name().to_owned(),
        None => chain.id().to_string(),
    }
}

fn told(chain: &Chain, made: &Deployment) -> [String; 2] {
    [
        format!("contract 0x{} is on {} ({}), in block {}", made.contract, chain.name(), made.chain_id, made.block),
        format!("it has cost {}, transaction 0x{}", text::ether(made.wei), hex::encode(made.tx)),
    ]
}

async fn info(context: &Context) -> Result {
    let contract = context.required_contract()?;
    let (account, chain) = (context.account()?, chain(context)?);
    let info = account.ledger(contract).contract().await.map_err(Error::from)?;
    if context.out.json {
        return context.out.document(&Contract::asked(&chain, account.address(), &info));
    }
    let mut lines = vec![
        format!("contract   0x{}", info.contract),
        format!("chain      {} ({})", chain.name(), info.chain_id),
        format!("code       that of this version, hash 0x{}", hex::encode(info.code_hash)),
        format!("newest     block {}, {} old", info.head, text::age(doctor::head_age(&info))),
    ];
    for (host, answer) in &info.providers {
        let answer = match answer {
            Ok(head) => format!("block {head}"),
            Err(problem) => format!("does not answer: {}", text::harmless(problem)),
        };
        lines.push(format!("provider   {host}   {answer}"));
    }
    lines.push(format!(
        "owner      0x{}, {} there",
        account.address(),
        text::count(usize::try_from(info.writes).unwrap_or(usize::MAX), "write")
    ));
    context.out.lines(&lines)
}
