//! What can be seen without the network: settings, key, ledger, and this machine.

use std::fs;
use std::path::{Path, PathBuf};

use dstore::config::{self, Key, LedgerKind, OwnerKey};
use dstore::id::OwnerId;
use dstore::ledger::{Ledger, LedgerError};
use dstore::{Error, LocalLedger, Owner};
use rustix::process::{Resource, getrlimit};

use super::{chain, journal};
use crate::context::Context;
use crate::failure::Failure;
use crate::shape::Finding;
use crate::text;

/// Free bytes with which puts still record what they did, and with which they soon will not.
const ROOM: u64 = 256 << 20;
const NO_ROOM: u64 = 16 << 20;
/// Descriptors that a transfer of several files needs.
const DESCRIPTORS: u64 = 256;

const COPY_BACK: &str = "put the copy of it back";

/// The settings, which could be read.
pub(super) fn settings(context: &Context) -> Vec<Finding> {
    let file = context.config.value(&Key::CONFIG).map(|named| PathBuf::from(named.text()));
    let file = file.unwrap_or_else(|| context.dir.join(config::CONFIG_FILE));
    let from = Key::ALL.iter().filter_map(|key| context.config.value(key)).map(|value| value.origin);
    let mut places = Vec::new();
    for place in from.filter(|origin| *origin != config::Origin::Default).map(|origin| origin.to_string()) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let settings = match places.is_empty() {
        true => format!("no settings but the defaults: there is no {}", file.display()),
        false => format!("settings from {}", places.join(", ")),
    };
    let mut findings = vec![Finding::pass("config", settings)];
    for warning in context.config.warnings() {
        let (message, remedy) = warning.split_once("; run: ").unwrap_or((&warning, "correct its name, or unset it"));
        findings.push(Finding::warn("config", message, remedy));
    }
    findings
}

/// The owner's key: there, whole, and nobody else's.
pub(super) fn key(context: &Context, findings: &mut Vec<Finding>) -> Option<Owner> {
    let place = config::owner_key(&context.config, &context.dir).map(|place| match place {
        OwnerKey::Variable(origin) => format!("set (from {origin})"),
        OwnerKey::File(path, origin) => format!("{} (from {origin})", path.display()),
        OwnerKey::Keystore(path, origin) => format!("keystore {} (from {origin})", path.display()),
        OwnerKey::Folder(path) => path.display().to_string(),
        _ => "set".to_owned(),
    });
    let found = place.map_err(Failure::from).and_then(|place| Ok((place, context.owner()?)));
    match found {
        Ok((place, Some(owner))) => {
            findings.push(Finding::pass("key", format!("{place}, of owner 0x{}", owner.id())));
            Some(owner)
        }
        Ok((place, None)) => {
            let remedy = "the first time, make one: dstore-cli init --registry dsr1:...; else put the copy of yours \
                          back, or name its folder with --dir or DSTORE_DIR";
            findings.push(Finding::fail("key", "config", format!("{place} is not there"), remedy));
            None
        }
        Err(failure) => {
            // The message says what is wrong with the file, and how to mend that.
            findings.push(Finding::fail("key", failure.code, failure.message, COPY_BACK));
            None
        }
    }
}

/// The ledger: it opens, takes writes, and has copies.
pub(super) async fn ledger(context: &Context, owner: Option<&Owner>) -> Vec<Finding> {
    let kind = match config::ledger_kind(&context.config) {
        Ok(kind) => kind,
        Err(error) => {
            let remedy = "correct it; dstore-cli config show --origin says where it is set";
            return vec![Finding::fail("ledger", "config", error.to_string(), remedy)];
        }
    };
    if kind == LedgerKind::Ethereum {
        // Without a key, that is what to mend first.
        return if owner.is_some() { chain::check(context).await } else { Vec::new() };
    }
    if kind == LedgerKind::Memory {
        let remedy = "for files that last: --ledger local";
        return vec![Finding::warn("ledger", "in memory: what is stored is forgotten at once", remedy)];
    }
    let path = context.dir.join(config::LEDGER_FILE);
    if !path.exists() {
        let text = format!("there is no {} yet: the first put makes it", path.display());
        return vec![Finding::pass("ledger", text)];
    }
    match open(path.clone(), owner.map(Owner::id)).await {
        Ok((id, files)) => {
            let files = files.map(|files| format!(", {}", text::count(files, "file"))).unwrap_or_default();
            let text = format!("{} takes writes, id {}{files}", path.display(), id.get(..16).unwrap_or(&id));
            let copies = format!(
                "keep a copy of the key elsewhere: with it and a registry, dstore-cli recover makes {} again, all but \
                 older versions",
                path.display()
            );
            vec![Finding::pass("ledger", text), Finding::pass("backup", copies)]
        }
        Err(failure) => {
            let remedy = match failure.exit {
                5 | 12 => "see which process has it open (fuser or lsof), and let that one end",
                7 => "make the file and its folder yours again (chown), with chmod u+rw",
                _ => COPY_BACK,
            };
            vec![Finding::fail("ledger", failure.code, failure.message, remedy)]
        }
    }
}

/// Its id, and how many files it has of `owner`. In a thread of its own: it may wait for other processes.
async fn open(path: PathBuf, owner: Option<OwnerId>) -> Result<(String, Option<usize>), Failure> {
    let ledger = blocking::unblock(move || LocalLedger::open(path)).await?;
    let failed = |error: LedgerError| {
        // It says more than the error that it becomes.
        let text = error.to_string();
        Failure::new(Error::from(error).code(), text)
    };
    ledger.health().await.map_err(failed)?;
    let id = ledger.id().to_string();
    let Some(owner) = owner else { return Ok((id, None)) };
    let (mut files, mut cursor) = (0, None);
    loop {
        let page = ledger.list(owner, cursor).await.map_err(failed)?;
        files += page.entries.len();
        match page.next {
            None => return Ok((id, Some(files))),
            next => cursor = next,
        }
    }
}

/// The disk under the folder, what an earlier run left there, and the limits of this process.
pub(super) fn machine(context: &Context) -> Vec<Finding> {
    let mut findings = vec![disk(&context.dir)];
    findings.extend(left_over(&context.dir));
    findings.push(journal::unfinished(&context.dir));
    let limit = getrlimit(Resource::Nofile).current;
    findings.push(match limit {
        Some(limit) if limit < DESCRIPTORS => Finding::warn(
            "limits",
            format!("at most {limit} open files: transfers of many files may fail"),
            "ulimit -n 1024, in the shell that starts dstore-cli",
        ),
        limit => {
            let limit = limit.map_or("any number of".to_owned(), |limit| limit.to_string());
            Finding::pass("limits", format!("{limit} open files"))
        }
    });
    findings
}

fn disk(dir: &Path) -> Finding {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let existing = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let free = match rustix::fs::statvfs(existing) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            let text = format!("cannot see how much of the disk of {} is free: {error}", existing.display());
            return Finding::warn("disk", text, "look at the folder and its disk");
        }
    };
    let text = format!("{} free at {}", text::size(free), dir.display());
    let remedy = "make room, or move the folder to a larger disk and name it with --dir";
    match free {
        0..NO_ROOM => Finding::fail("disk", "no_space", text, remedy),
        NO_ROOM..ROOM => Finding::warn("disk", text, remedy),
        ROOM.. => Finding::pass("disk", text),
    }
}

/// What a run that was cut short has left in the client's folder.
fn left_over(dir: &Path) -> Option<Finding> {
    let entries = fs::read_dir(dir).ok()?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let left: Vec<_> = names.filter(|name| name.starts_with(".ledger-") || name.starts_with(".tmp")).collect();
    if left.is_empty() {
        return None;
    }
    let text = format!("a run that was cut short left {} in {}", text::count(left.len(), "file"), dir.display());
    Some(Finding::warn("leftovers", text, format!("when no other dstore-cli runs, remove {}", left.join(" "))))
}
