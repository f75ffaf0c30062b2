//! What `check`, `history` and `doctor` found.

use dstore::ledger::EventKind;
use dstore::{FilePath, FileVersion, Head, ShardCheck};
use serde::Serialize;

use super::file::Shard;
use crate::verdict::{Health, Verdict};

/// `dstore.check/1`
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    /// Its name.
    pub(crate) schema: &'static str,
    /// The worst of all files.
    pub(crate) verdict: &'static str,
    /// Every file.
    pub(crate) items: Vec<CheckedFile>,
}

/// A file in `dstore.check/1`.
#[derive(Debug, Serialize)]
pub(crate) struct CheckedFile {
    path: String,
    version: u32,
    size: u64,
    verdict: &'static str,
    spare_nodes: usize,
    shards: Vec<Shard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl CheckedFile {
    /// What was found of a file.
    pub(crate) fn new(
        head: &Head,
        shards: &[ShardCheck],
        health: Health,
        verdict: Verdict,
        message: Option<String>,
    ) -> Self {
        Self {
            path: head.path.to_string(),
            version: head.version,
            size: head.size,
            verdict: verdict.as_str(),
            spare_nodes: health.spare,
            shards: shards.iter().map(Shard::new).collect(),
            message,
        }
    }
}

/// `dstore.history/1`
#[derive(Debug, Serialize)]
pub(crate) struct History {
    schema: &'static str,
    path: String,
    items: Vec<PastVersion>,
}

#[derive(Debug, Serialize)]
struct PastVersion {
    version: u32,
    written: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<String>,
}

impl History {
    /// Versions in the order given.
    pub(crate) fn new(path: &FilePath, versions: &[FileVersion]) -> Self {
        let item = |version: &FileVersion| PastVersion {
            version: version.version,
            written: version.written.to_string(),
            kind: match version.kind {
                EventKind::Put => "put",
                EventKind::RenamedHere => "renamed_here",
                EventKind::Removed => "removed",
                EventKind::RenamedAway => "renamed_away",
            },
            size: version.head.as_ref().map(|head| head.size),
            created: version.head.as_ref().map(|head| head.created.to_string()),
            scheme: version.head.as_ref().map(|head| head.scheme.to_string()),
        };
        Self { schema: "dstore.history/1", path: path.to_string(), items: versions.iter().map(item).collect() }
    }
}

/// `dstore.doctor/1`
#[derive(Debug, Serialize)]
pub(crate) struct Doctor<'a> {
    /// Its name.
    pub(crate) schema: &'static str,
    /// The worst of all checks.
    pub(crate) verdict: State,
    /// Every check, in the order in which they were made.
    pub(crate) checks: &'a [Finding],
}

/// How a check went; the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Fine.
    Pass,
    /// Something to look at, which stops nothing now.
    Warn,
    /// Something does not work.
    Fail,
}

/// What one check found.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    /// How it went.
    pub(crate) state: State,
    /// The code word of what does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
    /// The registry's endpoint, or the node's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// What was found.
    pub(crate) message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Finding {
    /// Fine.
    pub(crate) fn pass(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Pass, code: None, subject: None, message: message.into(), remedy: None }
    }

    /// Says whom it is about.
    pub(crate) fn of(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Something to look at.
    pub(crate) fn warn(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Warn, remedy: Some(remedy.into()), ..Self::pass(check, message) }
    }

    /// Something that does not work.
    pub(crate) fn fail(
        check: &'static str,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { state: State::Fail, code: Some(code), ..Self::warn(check, message, remedy) }
    }
}
