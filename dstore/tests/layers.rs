//! Holds the code to the layers of ARCHITECTURE.md: who may use whom, and what only one place may name.

#[path = "layers/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Named, paths};

/// Layer, module of `dstore/src`, and the modules of its own layer that it uses.
///
/// A module may use every module of a lower layer. Those of its own layer stand above it in this table, so that
/// there can be no cycle.
const MODULES: [(u8, &str, &[&str]); 31] = [
    (0, "id", &[]),
    (0, "error", &["id"]),
    (0, "rt", &[]),
    (1, "path", &[]),
    (1, "signature", &[]),
    (1, "keys", &["path", "signature"]),
    (1, "merkle", &[]),
    (1, "scheme", &["merkle"]),
    (1, "seal", &["keys", "scheme"]),
    (1, "erasure", &["merkle", "scheme", "seal"]),
    (2, "proto", &[]),
    (2, "noise", &[]),
    (2, "placement", &[]),
    (2, "manifest", &["placement", "proto"]),
    (2, "copy", &["manifest"]),
    (2, "address", &["proto"]),
    (2, "identity", &[]),
    (3, "metrics", &[]),
    (3, "admin", &[]),
    (3, "net", &["metrics"]),
    (3, "store", &[]),
    (3, "ledger", &[]),
    (3, "journal", &[]),
    (3, "keyfile", &[]),
    (4, "announce", &[]),
    (5, "registry", &[]),
    (5, "node", &[]),
    (5, "client", &[]),
    (6, "config", &[]),
    (7, "testing", &[]),
    (8, "lib", &[]),
];

/// The first layer that may touch files, and be given more of the environment than a point in time.
const PORTS: u8 = 3;

/// What layers below the ports may name of `rt`, and the one module that may name more: making an identity needs
/// random bytes until they are valid keys.
const PURE_RT: &str = "Timestamp";
const PURE_RT_BUT: (&str, &str) = ("identity", "Rt");

const ENV: &str = "dstore/src/rt/async_std_env.rs";
const LIBRARY: &str = "dstore/src/";

/// What is named in few places only: in which files the rule holds, in which of them the name may stand, and why.
const RESERVED: [(&str, &str, &[&str], &str); 18] = [
    ("async_std", "/src/", &[ENV], "leaving this runtime must cost one file"),
    ("SystemTime", LIBRARY, &[ENV], "ask the environment for the time"),
    ("Instant", LIBRARY, &[ENV], "ask the environment for the time"),
    ("thread::sleep", LIBRARY, &[ENV], "ask the environment to sleep"),
    ("getrandom", LIBRARY, &[ENV], "ask the environment for random bytes"),
    ("OsRng", LIBRARY, &[ENV], "ask the environment for random bytes"),
    ("TcpStream", LIBRARY, &[ENV], "ask the environment for connections"),
    ("TcpListener", LIBRARY, &[ENV], "ask the environment for connections"),
    ("UdpSocket", LIBRARY, &[ENV], "ask the environment for connections"),
    ("std::env", LIBRARY, &[ENV], "settings come from the caller"),
    ("std::process", LIBRARY, &[ENV], "a library starts and ends no process"),
    ("block_on", LIBRARY, &[], "a library never blocks its caller's executor"),
    ("println!", LIBRARY, &[], "a library prints nothing"),
    ("print!", LIBRARY, &[], "a library prints nothing"),
    ("eprintln!", LIBRARY, &[], "a library prints nothing"),
    ("eprint!", LIBRARY, &[], "a library prints nothing"),
    ("ethers_core", "", &["dstore/src/ledger/ethereum/"], "one ledger is all that knows this crate"),
    ("ethers_providers", "", &["dstore/src/ledger/ethereum/"], "one ledger is all that knows this crate"),
];

const MAX_LINES: usize = 600;

#[test]
fn the_table_has_every_module_and_no_cycle() {
    for (at, (layer, module, beside)) in MODULES.iter().enumerate() {
        for other in *beside {
            let above = MODULES[..at].iter().any(|(its, name, _)| its == layer && name == other);
            assert!(above, "{other} does not stand above {module} in layer {layer}");
        }
    }
    let listed: BTreeSet<_> = MODULES.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(listed.len(), MODULES.len(), "a module stands in the table twice");
    for file in rust_files().iter().filter(|file| file.starts_with(LIBRARY)) {
        assert!(listed.contains(module_of(file)), "{file}: give its module a layer, here and in ARCHITECTURE.md");
    }
}

#[test]
fn the_page_on_the_architecture_shows_this_table() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let mut shown = BTreeSet::new();
    for row in page.lines() {
        let mut cells = row.split('|').skip(1);
        let (Some(layer), Some(modules)) = (cells.next(), cells.next()) else { continue };
        let Some(layer) = layer.trim().get(..1).and_then(|digit| digit.parse::<u8>().ok()) else { continue };
        shown.extend(modules.split('`').skip(1).step_by(2).map(|name| (layer, name.to_owned())));
    }
    let table = MODULES.iter().filter(|(_, name, _)| *name != "lib");
    assert_eq!(shown, table.map(|(layer, name, _)| (*layer, (*name).to_owned())).collect());
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let (_, promises) = page.split_once("## What always holds").expect("the section");
    let named: Vec<_> = promises.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 1).collect();
    assert!(named.len() > 10, "{named:?}");
    let code: String = rust_files().iter().chain(&files(".py")).map(read).collect();
    let is_there = |name: &str| ["fn", "def"].iter().any(|word| code.contains(&format!("{word} {name}(")));
    let gone: Vec<_> = named.iter().filter(|name| !is_there(name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn imports_go_down() {
    none(|file, text| imports(file, &paths(text)));
}

#[test]
fn layers_below_the_ports_are_pure() {
    none(|file, text| purity(file, &paths(text)));
}

#[test]
fn reserved_names_stay_in_their_places() {
    none(|file, text| reserved(file, &paths(text)));
}

#[test]
fn no_file_is_longer_than_600_lines() {
    none(length);
}

#[test]
fn each_rule_finds_what_it_is_for() {
    let long = "\n".repeat(MAX_LINES + 1);
    let all = |file: &str, text: &str| {
        let named = paths(text);
        [imports(file, &named), purity(file, &named), reserved(file, &named), length(file, text)].concat()
    };
    let wrong = [
        ("dstore/src/seal.rs", "use crate::manifest::Manifest;", "layer 1"),
        ("dstore/src/net/link.rs", "fn f() { crate::store::open() }", "layer 3"),
        ("dstore/src/client/get.rs", "use crate::{error::Error, node::StorageNode};", "layer 5"),
        ("dstore/src/node/mod.rs", "use crate::registry::Registry;", "layer 5"),
        ("dstore/src/scheme.rs", "use crate::seal::Sealer;", "layer 1"),
        ("dstore/src/client/get.rs", "use crate::testing::Cluster;", "layer 5"),
        ("dstore/src/client/get.rs", "use crate::Error;", "no module"),
        ("dstore/src/client/get.rs", "use super::super::node::StorageNode;", "write `crate::"),
        ("dstore/src/announce.rs", "use super::node::StorageNode;", "write `crate::"),
        ("dstore/src/merkle.rs", "use crate::rt::Rt;", "a point in time"),
        ("dstore/src/noise.rs", "use crate::rt;", "a point in time"),
        ("dstore/src/manifest.rs", "use std::{fs, io};", "no files"),
        ("dstore/src/client/get.rs", "use async_std::io;", "one file"),
        ("dstore-cli/src/main.rs", "use async_std::io;", "one file"),
        ("dstore/src/rt/mod.rs", "use std::time::{Duration, Instant};", "for the time"),
        ("dstore/src/rt/mod.rs", "fn f() { std::time::SystemTime::now() }", "for the time"),
        ("dstore/src/store/space.rs", "fn f() { std::thread::sleep(X) }", "to sleep"),
        ("dstore/src/keys.rs", "fn f() { getrandom::fill(&mut x) }", "random bytes"),
        ("dstore/src/proto/mod.rs", "use std::net::TcpStream;", "connections"),
        ("dstore/src/keyfile.rs", "fn f() { std::env::var(NAME) }", "the caller"),
        ("dstore/src/client/get.rs", "fn f() { block_on(g()) }", "executor"),
        ("dstore/src/client/get.rs", "fn f() { println!() }", "prints nothing"),
        ("dstore/src/client/get.rs", "fn f() { eprint!() }", "prints nothing"),
        ("dstore/src/ledger/mod.rs", "use ethers_core::types::Address;", "one ledger"),
        ("dstore-cli/tests/demo.rs", "use ethers_providers::Http;", "one ledger"),
        ("benches/src/lib.rs", &long, "601 lines"),
    ];
    for (file, text, expected) in wrong {
        let found = all(file, text);
        let told = found.iter().any(|line| line.starts_with(&format!("{file}:")) && line.contains(expected));
        assert!(told, "{text:?} in {file} is not told as {expected:?}: {found:?}");
    }
    let right = [
        ("dstore/src/node/mod.rs", "use crate::{announce::Announcer, store::Store};"),
        ("dstore/src/noise.rs", "use crate::rt::Timestamp;"),
        ("dstore/src/identity.rs", "use crate::rt::Rt;"),
        ("dstore/src/net/link.rs", "use super::gate::Gate;"),
        ("dstore/src/store/disk/index.rs", "use std::fs; use super::super::Change;"),
        ("dstore/src/ledger/ethereum/rpc.rs", "use ethers_core::types::Address;"),
        (ENV, "use std::time::Instant;"),
        ("dstore/tests/store.rs", "fn f() { println!(); block_on(g()); async_std::task::sleep() }"),
        ("dstore/src/client/get.rs", "#[cfg(test)] mod tests { use crate::testing::Cluster; }"),
    ];
    for (file, text) in right {
        assert_eq!(all(file, text), [""; 0], "{text:?} in {file}");
    }
}

/// The use of a module that is not below this one, nor beside it by the table.
fn imports(file: &str, named: &[Named]) -> Vec<String> {
    if !is_library(file) {
        return vec![];
    }
    let module = module_of(file);
    let Some((layer, _, beside)) = entry(module) else { return vec![] };
    let judge = |path: &Named| {
        let supers = path.words.iter().take_while(|word| *word == "super").count();
        let wrong = match path.words.first().map(String::as_str) {
            Some("super") if supers >= depth_of(file) => "write `crate::` to leave the module".to_owned(),
            Some("crate") => {
                // A lone `crate` is that of `pub(crate)`.
                let used = path.words.get(1)?.as_str();
                match entry(used) {
                    None => format!("`crate::{used}` names no module: say in which one it is"),
                    Some((its, ..)) if used == module || its < layer || beside.contains(&used) => return None,
                    Some((its, ..)) => format!("{module} (layer {layer}) may not use {used} (layer {its})"),
                }
            }
            _ => return None,
        };
        Some(format!("{file}:{}: {wrong}", path.line))
    };
    named.iter().filter_map(judge).collect()
}

/// Files, and more of the environment than a point in time, below the ports.
fn purity(file: &str, named: &[Named]) -> Vec<String> {
    let module = module_of(file);
    let pure = entry(module).is_some_and(|(layer, ..)| layer < PORTS);
    if !is_library(file) || !pure || file == ENV {
        return vec![];
    }
    let judge = |path: &Named| {
        let words: Vec<_> = path.words.iter().map(String::as_str).collect();
        let wrong = match words[..] {
            ["std", "fs", ..] => "no files below the ports",
            ["crate", "rt", name, ..] if name == PURE_RT || (module, name) == PURE_RT_BUT => return None,
            ["crate", "rt", ..] if module != "rt" => "below the ports the environment is no more than a point in time",
            _ => return None,
        };
        Some(format!("{file}:{}: {wrong}", path.line))
    };
    named.iter().filter_map(judge).collect()
}

/// Names that stand where they must not.
fn reserved(file: &str, named: &[Named]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, scope, places, why) in RESERVED {
        if is_tests(file) || !file.contains(scope) || places.iter().any(|place| file.starts_with(place)) {
            continue;
        }
        let wanted: Vec<_> = name.split("::").collect();
        let has = |path: &&Named| path.words.windows(wanted.len()).any(|words| words == wanted);
        found.extend(named.iter().filter(has).map(|path| format!("{file}:{}: {name}: {why}", path.line)));
    }
    found
}

fn length(file: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines > MAX_LINES { vec![format!("{file}:{MAX_LINES}: {lines} lines: divide it")] } else { vec![] }
}

/// Fails with everything that `rule` finds in the repository.
fn none(rule: impl Fn(&str, &str) -> Vec<String>) {
    let files = rust_files();
    assert!(files.len() > 80, "only {} files were found", files.len());
    let found: Vec<_> = files.iter().flat_map(|file| rule(file, &read(file))).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn read(file: &String) -> String {
    fs::read_to_string(root().join(file)).expect("a file that was listed is there")
}

/// A file, or a folder of files, for the unit tests of a module.
fn is_tests(file: &str) -> bool {
    file.ends_with("/tests.rs") || (file.contains("/src/") && file.contains("/tests/"))
}

fn is_library(file: &str) -> bool {
    file.starts_with(LIBRARY) && !is_tests(file)
}

fn entry(module: &str) -> Option<(u8, &'static str, &'static [&'static str])> {
    MODULES.into_iter().find(|(_, name, _)| *name == module)
}

/// `dstore/src/net/link.rs` is in `net`.
fn module_of(file: &str) -> &str {
    let inside = file.strip_prefix(LIBRARY).unwrap_or_default();
    inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// How many `super`s lead from a file to the root of the crate.
fn depth_of(file: &str) -> usize {
    let inside = file.strip_prefix(LIBRARY).unwrap_or_default();
    inside.split('/').filter(|part| *part != "mod.rs" && *part != "lib.rs").count()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust files of the repository, with `/` in their names.
fn rust_files() -> Vec<String> {
    files(".rs")
}

/// All files whose names end so, but those that are built.
fn files(ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(root().join(&folder)).expect("a folder that was listed is there") {
            let item = item.expect("a folder can be read");
            let name = item.file_name().to_string_lossy().into_owned();
            let built = name.starts_with('.') || name.starts_with("target") || name == "node_modules";
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if item.path().is_dir() && !built {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
