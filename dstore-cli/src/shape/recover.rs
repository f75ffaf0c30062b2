//! What `recover` tells.

use dstore::{RecoveredFile, RecoveredLedger, Recovery, RecoveryNode};
use serde::Serialize;

/// `dstore.recover/1`
#[derive(Debug, Serialize)]
pub(crate) struct Recover {
    schema: &'static str,
    dry_run: bool,
    /// The ledger whose files these are.
    ledger_id: Option<String>,
    /// The ledger file that has them now.
    ledger: Option<String>,
    /// Versions that it did not have before.
    added: usize,
    files: Vec<File>,
    /// Files that were there once, and are not any more.
    gone: usize,
    nodes: Vec<Node>,
    /// Why the ledger in use did not tell all that it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger_problem: Option<String>,
    /// Other ledgers that the nodes know of this owner.
    other_ledgers: Vec<Ledger>,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    file_id: String,
    version: u32,
    size: u64,
    state: &'static str,
    shards_found: usize,
    shards_needed: usize,
    may_be_older: bool,
}

#[derive(Debug, Serialize)]
struct Node {
    id: String,
    address: String,
    copies: usize,
    strange: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Ledger {
    id: String,
    files: usize,
}

impl Recover {
    /// What was found, and where it was written: the file, and how many versions were new to it.
    pub(crate) fn new(found: &Recovery, chosen: Option<&RecoveredLedger>, written: Option<(String, usize)>) -> Self {
        let files = chosen.map_or(&[][..], |ledger| &ledger.files);
        let (ledger, added) = written.map_or((None, 0), |(path, added)| (Some(path), added));
        let others = found.ledgers.iter().filter(|ledger| Some(ledger.id) != chosen.map(|chosen| chosen.id));
        Self {
            schema: "dstore.recover/1",
            dry_run: ledger.is_none(),
            ledger_id: chosen.map(|ledger| ledger.id.to_string()),
            ledger,
            added,
            files: files.iter().map(File::new).collect(),
            gone: chosen.map_or(0, |ledger| ledger.versions.len() - ledger.files.len()),
            nodes: found.nodes.iter().map(Node::new).collect(),
            ledger_problem: found.ledger_problem.clone(),
            other_ledgers: others
                .map(|ledger| Ledger { id: ledger.id.to_string(), files: ledger.files.len() })
                .collect(),
        }
    }
}

impl File {
    fn new(file: &RecoveredFile) -> Self {
        let head = &file.head;
        Self {
            path: head.path.to_string(),
            file_id: head.file_id.to_string(),
            version: head.version,
            size: head.size,
            state: state(file),
            shards_found: file.shards_found(),
            shards_needed: head.scheme.data(),
            may_be_older: file.may_be_older,
        }
    }
}

impl Node {
    fn new(node: &RecoveryNode) -> Self {
        Self {
            id: node.id.to_string(),
            address: node.address.clone(),
            copies: node.copies,
            strange: node.strange,
            problem: node.problem.map(|problem| problem.to_string()),
        }
    }
}

/// The stable word for how a file is.
pub(crate) fn state(file: &RecoveredFile) -> &'static str {
    if file.is_readable() {
        "ok"
    } else if file.is_lost() {
        "lost"
    } else {
        "unreachable"
    }
}
