//! A put: one operation as a value.

use std::future::IntoFuture;
use std::sync::Arc;

use super::edit::Abandoned;
use super::events::Events;
use super::report::{Progress, Reporter, Warning, WarningCode};
use super::slot::{Refused, Slot};
use super::source::OpenSource;
use super::upload::{Failed, Order, Upload};
use super::{Client, Committed, Head, Shared, Source};
use crate::error::{Error, Fault, Result};
use crate::manifest::{MAX_ATTRIBUTES, MAX_ATTRIBUTES_LEN, Manifest};
use crate::path::FilePath;
use crate::placement::nodes_needed;
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

/// A put that has not started: await it, or take its events.
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

    /// Starts it when they are read; the last one carries the result.
    pub fn events(mut self) -> Events<Committed> {
        Events::new(self.reporter.listen(), self.into_future())
    }
}

impl IntoFuture for Put {
    type Output = Result<Committed>;
    type IntoFuture = BoxFuture<'static, Result<Committed>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl Put {
    async fn run(self) -> Result<Committed> {
        let client = &self.client.0;
        let scheme = self.scheme.unwrap_or(client.settings.scheme);
        check_tolerance(scheme, client.settings.tolerate)?;
        check_attributes(&self.attributes)?;
        let slot = Slot::read(client, FilePath::new(self.path)?).await?;
        let expected = self.mode.expected(&slot)?;
        let order = Order {
            path: slot.path.clone(),
            scheme,
            padding: self.padding.unwrap_or(client.settings.padding),
            attributes: self.attributes,
            reporter: self.reporter,
        };
        let turn = client.puts.acquire().await;
        let mut source = self.source.open(&client.rt).await?;
        let manifest = upload(client, &order, &mut source).await?;
        drop(turn);
        let record = slot.seal(client, expected, &manifest)?;
        let written = match slot.write(client, expected, record).await {
            Ok(written) => written,
            Err(Refused::Unknown(error)) => return Err(error),
            Err(Refused::Never(error)) => {
                client.retire(Abandoned::all_of(&manifest), order.reporter);
                return Err(match error {
                    Error::VersionConflict { path, actual, .. } if self.mode == PutMode::Create => {
                        Error::AlreadyExists { path, version: actual }
                    }
                    error => error,
                });
            }
        };
        if let Ok(replaced) = slot.manifest(client) {
            client.retire(Abandoned::all_of(&replaced), order.reporter);
        }
        let stored = manifest.shard_len * manifest.shards.len() as u64;
        Ok(Committed { head: Head::new(slot.file_id, written.version, &manifest), stored })
    }
}

impl PutMode {
    /// The version that a put of this mode replaces.
    fn expected(self, slot: &Slot) -> Result<u32> {
        let path = || slot.path.to_string();
        match self {
            Self::Create if slot.is_live() => Err(Error::AlreadyExists { path: path(), version: slot.version() }),
            Self::Update(expected) if !slot.is_live() && expected != slot.version() => {
                Err(Error::NotFound { path: path() })
            }
            Self::Update(expected) if expected != slot.version() => {
                Err(Error::VersionConflict { path: path(), expected, actual: slot.version() })
            }
            _ => Ok(slot.version()),
        }
    }
}

fn check_tolerance(scheme: Scheme, tolerate: usize) -> Result<()> {
    match nodes_needed(scheme, tolerate) {
        Some(_) => Ok(()),
        None => Err(Error::config(format!("scheme {scheme} cannot survive the loss of {tolerate} nodes"))),
    }
}

fn check_attributes(attributes: &[(String, String)]) -> Result<()> {
    let len: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    let too_large =
        |what, size: usize, limit: usize| Err(Error::TooLarge { what, size: size as u64, limit: limit as u64 });
    if attributes.len() > MAX_ATTRIBUTES {
        return too_large("the number of attributes", attributes.len(), MAX_ATTRIBUTES);
    }
    if len > MAX_ATTRIBUTES_LEN {
        return too_large("the length of all attributes (bytes)", len, MAX_ATTRIBUTES_LEN);
    }
    Ok(())
}

/// Attempts with ever fewer nodes, as long as the source can start over.
async fn upload(client: &Arc<Shared>, order: &Order, source: &mut OpenSource) -> Result<Manifest> {
    let mut failed = Vec::new();
    loop {
        let attempt = Upload::new(client, order, &failed).run(source).await;
        match attempt {
            Ok(manifest) => return Ok(manifest),
            Err(Failed::For(error)) => return Err(error),
            Err(Failed::Node(fault, error)) => {
                if !source.rewind() {
                    return Err(error.at(format!("node {} at {}", fault.node.short(), fault.address)));
                }
                let Fault { node, address, shard, .. } = fault.clone();
                order.reporter.warn(Warning { code: WarningCode::NodeReplaced, node, address, shard });
                failed.push(fault);
            }
        }
    }
}
