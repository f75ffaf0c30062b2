//! A put: one operation as a value.

use std::future::IntoFuture;

use super::report::{Progress, Reporter, Warning};
use super::{Client, Committed, Source};
use crate::error::{Error, Result};
use crate::rt::BoxFuture;
use crate::scheme::{Padding, Scheme};

/// What a put may replace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PutMode {
    /// Whatever is there when the put starts. Another writer who is faster wins.
    #[default]
    Overwrite,
    /// Nothing: a file that exists is an error.
    Create,
    /// This version and no other.
    Update(u32),
}

/// A put that has not started: await it.
#[derive(Debug)]
#[must_use = "a put does nothing until it is awaited"]
pub struct Put {
    client: Client,
    path: String,
    source: Source,
    mode: PutMode,
    scheme: Option<Scheme>,
    padding: Option<Padding>,
    attributes: Vec<(String, String)>,
    reporter: Reporter,
}

impl Put {
    pub(super) fn new(client: Client, path: &str, source: Source) -> Self {
        Self {
            client,
            path: path.to_owned(),
            source,
            mode: PutMode::default(),
            scheme: None,
            padding: None,
            attributes: Vec::new(),
            reporter: Reporter::default(),
        }
    }

    /// What it may replace. Default: whatever is there.
    pub fn mode(mut self, mode: PutMode) -> Self {
        self.mode = mode;
        self
    }

    /// Data and parity shards. Default: the client's.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// How the length is hidden. Default: the client's.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = Some(padding);
        self
    }

    /// Adds a name and a value of the user's own: at most 64, 2 KiB together. They are sealed like the rest.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Calls `call` now and then with how far the put is. It must return soon.
    pub fn progress(mut self, call: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.reporter.on_progress(call);
        self
    }

    /// Calls `call` with what did not stop the put but should be known.
    pub fn warnings(mut self, call: impl Fn(Warning) + Send + Sync + 'static) -> Self {
        self.reporter.on_warning(call);
        self
    }
}

impl IntoFuture for Put {
    type Output = Result<Committed>;
    type IntoFuture = BoxFuture<'static, Result<Committed>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Err(Error::Internal { what: "not built" }) })
    }
}
