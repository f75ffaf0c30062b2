//! `recover`: finds every file again with nothing but the owner's key and a registry: makes a lost ledger again from
//! what the nodes keep, and lists what a chain has.

use std::path::{Path, PathBuf};

use dstore::config::{self, LedgerKind, OwnerKey};
use dstore::id::LedgerId;
use dstore::ledger::Ledger;
use dstore::{Client, LocalLedger, RecoveredFile, RecoveredLedger, Recovery};

use crate::args::Recover as Arguments;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::settings_file::create_folder;
use crate::shape::{Recover, state};
use crate::table::{Align, table};
use crate::text;

/// Looks for the owner's files at all nodes and on the chain, and takes them over into the local ledger.
pub(crate) async fn run(context: &Context, args: Arguments) -> Result {
    let kind = context.ledger_kind()?;
    let client = match kind {
        LedgerKind::Ethereum => on_chain(context).await?,
        _ => context.client_without_ledger().await?,
    };
    let found = client.recover().await?;
    let out = &context.out;
    for node in &found.nodes {
        let name = format!("node {} at {}", node.id.short(), node.address);
        if let Some(problem) = node.problem {
            out.warning("node_unreachable", &format!("{name} {problem}: it may know of later versions"));
        }
        if node.strange > 0 {
            out.warning(
                "copy_corrupt",
                &format!("{name} gave {} that cannot be opened", text::count(node.strange, "record")),
            );
        }
    }
    let is_local = kind == LedgerKind::Local;
    if let Some(problem) = &found.ledger_problem {
        out.warning("ledger_unreachable", &format!("{problem}: what is told here is what the nodes know"));
    }
    let path = context.dir.join(config::LEDGER_FILE);
    let there = match kind {
        LedgerKind::Local if path.exists() => Some(LocalLedger::open(&path)?.id()),
        LedgerKind::Ethereum => Some(context.account()?.ledger(context.required_contract()?).id()),
        _ => None,
    };
    let chosen = choose(&found, args.ledger_id, there, is_local.then_some(&path))?;
    let written = match chosen.filter(|_| is_local && !args.dry_run) {
        None => None,
        Some(ledger) => {
            create_folder(&context.dir)?;
            let restored = LocalLedger::restore(&path, ledger.id, client.owner(), &ledger.versions)?;
            Some((path.display().to_string(), restored.added))
        }
    };
    if out.json {
        out.document(&Recover::new(&found, chosen, written.clone()))?;
    } else if let Some(ledger) = chosen {
        out.lines(&lines(&ledger.files))?;
        let path = is_local.then_some(path.as_path());
        let is_told = found.ledger_problem.is_none();
        for line in closing(context, ledger, written.as_ref(), path, is_told) {
            out.note(&line);
        }
    }
    verdict(&found, chosen)
}

/// A client whose ledger is that of the chain: it needs no other.
async fn on_chain(context: &Context) -> Result<Client> {
    context.required_registries()?;
    context.known_owner()?;
    context.client().await
}

/// The ledger that is meant: the one that is there, the one that is named, or the only one.
fn choose<'a>(
    found: &'a Recovery,
    named: Option<LedgerId>,
    there: Option<LedgerId>,
    path: Option<&PathBuf>,
) -> Result<Option<&'a RecoveredLedger>> {
    let known = |id| found.ledgers.iter().find(|ledger| ledger.id == id);
    if let Some(id) = named
        && known(id).is_none()
    {
        return Err(Failure::new("not_found", format!("no node that answers knows ledger {id}")));
    }
    if let (Some(id), Some(path)) = (there, path)
        && !found.ledgers.is_empty()
        && (known(id).is_none() || named.is_some_and(|named| named != id))
    {
        let path = path.display().to_string();
        let away = format!("mv {} {}", text::shell_quoted(&path), text::shell_quoted(&format!("{path}.other")));
        return Err(Failure::new("already_exists", format!("{path} is another ledger than the one to be made again"))
            .hint(format!("if you need nothing of it, move it away, and run this again: {away}"))
            .hint("or make it again in another folder, with --dir"));
    }
    match (named.or(there), &found.ledgers[..]) {
        (Some(id), _) => Ok(known(id)),
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only)),
        (None, several) => {
            let failure = Failure::new("config", format!("the nodes know {} ledgers of this owner", several.len()));
            let option = |ledger: &RecoveredLedger| {
                format!("{}: --ledger-id {}", text::count(ledger.files.len(), "file"), ledger.id)
            };
            Err(several.iter().map(option).fold(failure.hint("say which one to make again:"), Failure::hint))
        }
    }
}

fn lines(files: &[RecoveredFile]) -> Vec<String> {
    let row = |file: &RecoveredFile| {
        let (there, all) = (file.shards_found(), file.shards.len());
        let shards = if there == all { String::new() } else { format!(", {there} of {all} shards") };
        let older = if file.may_be_older { ", may be older" } else { "" };
        [
            text::size(file.head.size),
            format!("v{}", file.head.version),
            format!("{}{shards}{older}", state(file)),
            text::harmless(file.head.path.as_str()),
        ]
    };
    let columns = [("size", Align::Right), ("version", Align::Left), ("state", Align::Left), ("path", Align::Left)];
    let rows: Vec<_> = files.iter().map(row).collect();
    if rows.is_empty() { Vec::new() } else { table(0, columns, &rows) }
}

/// What happened, and what to do next.
fn closing(
    context: &Context,
    ledger: &RecoveredLedger,
    written: Option<&(String, usize)>,
    path: Option<&Path>,
    is_told: bool,
) -> Vec<String> {
    let files = text::count(ledger.files.len(), "file");
    let on_chain = matches!(context.ledger_kind(), Ok(LedgerKind::Ethereum));
    let Some((path, added)) = written else {
        if on_chain && !is_told {
            return vec![format!("found {files} by what the nodes keep: the chain was not asked, or did not tell all")];
        }
        if on_chain {
            return vec![
                format!("found {files}; nothing has to be written: the chain has every record"),
                "get them all: dstore-cli get / FOLDER".to_owned(),
            ];
        }
        let would = path.map(|path| format!("; without --dry-run, {} would have them", path.display()));
        return vec![format!("found {files}, and wrote nothing{}", would.unwrap_or_default())];
    };
    let mut lines = vec![match added {
        0 => format!("found {files}; {path} has them all already"),
        _ => format!("found {files}; {path} has them now"),
    }];
    let has_config = context.dir.join(config::CONFIG_FILE).exists();
    let key_elsewhere = !matches!(config::owner_key(&context.config, &context.dir), Ok(OwnerKey::Folder(_)));
    if !has_config {
        let key = if key_elsewhere { "the key and " } else { "" };
        lines.push(format!("to keep {key}the registry in that folder too: dstore-cli init --registry dsr1:..."));
    }
    lines.push("get them all: dstore-cli get / FOLDER".to_owned());
    lines
}

/// A success only when everything was found and can be read.
fn verdict(found: &Recovery, chosen: Option<&RecoveredLedger>) -> Result {
    let silent = found.nodes.iter().filter(|node| node.problem.is_some()).count();
    let nodes = text::count(found.nodes.len(), "node");
    let Some(ledger) = chosen else {
        let (code, what) = match silent {
            0 => ("not_found", format!("{nodes} answered, and know no file of this owner")),
            _ => (
                "unavailable",
                format!("{silent} of {nodes} did not answer, and the others know no file of this owner"),
            ),
        };
        let failure = Failure::new(code, what).hint("check the key, the registry, and the label given with --network");
        return Err(match found.ledgers.len() {
            0 => failure,
            others => failure.hint(format!(
                "of {} of this owner the nodes do know: check --ledger, --chain and --contract",
                text::count(others, "other ledger")
            )),
        });
    };
    let unreadable = ledger.files.iter().filter(|file| !file.is_readable()).count();
    let doubt = found.ledger_problem.as_ref();
    if silent == 0 && unreadable == 0 && doubt.is_none() {
        return Ok(());
    }
    let mut parts = Vec::new();
    if silent > 0 {
        parts.push(format!("{silent} of {nodes} did not answer"));
    }
    if unreadable > 0 {
        parts.push(format!("{unreadable} of {} cannot be read now", text::count(ledger.files.len(), "file")));
    }
    if doubt.is_some() {
        parts.push("the ledger did not tell all that it knows".to_owned());
    }
    let failure = Failure::new("partial", parts.join(", "));
    Err(match silent {
        0 if doubt.is_none() => failure,
        _ => failure.hint("run it again when all answer: it adds what is missing, and changes nothing else"),
    })
}
