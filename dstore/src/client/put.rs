//! A put: one operation as a value.

use std::future::IntoFuture;
use std::sync::Arc;

use tracing::Instrument;

use super::edit::Abandoned;
use super::events::Events;
use super::note::{Begun, Note, Notes};
use super::offer::Offers;
use super::report::{Progress, Reporter, Warning};
use super::settle::{self, Earlier, Sealed};
use super::slot::{Refused, Slot};
use super::source::OpenSource;
use super::upload::{Failed, Order, Upload, candidates};
use super::{Client, Committed, Head, Shared, Source};
use crate::error::{Error, Result};
use crate::keys::ContentKey;
use crate::ledger::{EventKind, Written};
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
        Box::pin(self.run().instrument(tracing::info_span!("put", file_id = tracing::field::Empty)))
    }
}

impl Put {
    async fn run(self) -> Result<Committed> {
        let client = &self.client.0;
        let scheme = self.scheme.unwrap_or(client.settings.scheme);
        check_tolerance(scheme, client.settings.tolerate)?;
        check_attributes(&self.attributes)?;
        let mut slot = Slot::read(client, FilePath::new(self.path)?).await?;
        let order = Order {
            path: slot.path.clone(),
            scheme,
            padding: self.padding.unwrap_or(client.settings.padding),
            attributes: self.attributes,
            reporter: self.reporter,
        };
        let turn = client.puts.acquire().await;
        let mut source = self.source.open(&client.rt).await?;
        settle::run_again(client);
        let left = settle::earlier(client, &order, &mut slot, &mut source).await?;
        if let Some(Earlier::Committed(manifest, version, notes)) = left {
            client.retire(Vec::new(), order.reporter, Some(notes));
            return Ok(committed(&slot, version, &manifest, stored_len(&manifest)));
        }
        let expected = self.mode.expected(&slot)?;
        let (sealed, notes, resumed) = match left {
            Some(Earlier::Sealed(sealed, notes)) => {
                let resumed = stored_len(&sealed.manifest);
                (*sealed, Some(notes), resumed)
            }
            left => {
                let (manifest, notes, resumed) = store(client, &order, &mut source, left).await?;
                let record = slot.seal(client, expected, &manifest)?;
                (
                    Sealed { manifest, expected, record, replaced: slot.manifest(client).ok(), again: false },
                    notes,
                    resumed,
                )
            }
        };
        drop(turn);
        let written = commit(client, &slot, order.reporter, &sealed, notes).await;
        match written {
            Ok(version) => Ok(committed(&slot, version, &sealed.manifest, resumed)),
            Err(Error::VersionConflict { path, actual, .. }) if self.mode == PutMode::Create => {
                Err(Error::AlreadyExists { path, version: actual })
            }
            Err(error) => Err(error),
        }
    }
}

/// Brings the content to nodes; answers what it is, its log, and how many bytes an earlier put had brought there.
async fn store(
    client: &Arc<Shared>,
    order: &Order,
    source: &mut OpenSource,
    mut left: Option<Earlier>,
) -> Result<(Manifest, Option<Notes>, u64)> {
    loop {
        let mut upload = begin(client, order, (source.len(), source.mark()), left.take()).await?;
        // What is left of it is of use to the same put later on, if that can read its source again.
        upload.offers.kept = client.settings.resume && client.settings.journal.is_some() && source.mark().is_some();
        match upload.run(source).await {
            Ok(manifest) => {
                let resumed = upload.held;
                let notes = upload.succeed(&manifest);
                return Ok((manifest, notes, resumed));
            }
            Err(Failed::Changed) if source.rewind() => upload.offers.kept = false,
            Err(Failed::Changed) => return Err(Error::Internal { what: "only what can be read again is resumed" }),
            Err(Failed::For(error)) => {
                upload.offers.kept &= error.is_retryable();
                return Err(error);
            }
        }
    }
}

/// Writes a record to the ledger, and does what follows; answers the version.
async fn commit(
    client: &Arc<Shared>,
    slot: &Slot,
    reporter: Reporter,
    sealed: &Sealed,
    mut notes: Option<Notes>,
) -> Result<u32> {
    let Sealed { manifest, expected, record, replaced, again } = sealed;
    if let Some(notes) = notes.as_mut().filter(|_| !again) {
        notes.add(&settle::writing(client, slot, *expected, Some(record.clone()), replaced.clone())).await?;
    }
    match slot.write(client, *expected, record.clone()).await {
        Ok(Written { version, .. }) => {
            tracing::debug!(version, again, "the new version is durable");
            let copy = slot.copy_of(client, version, EventKind::Put, record.clone());
            client.spread(vec![copy], manifest, replaced.as_ref(), &reporter).await;
            let retired = replaced.as_ref().map(Abandoned::all_of).unwrap_or_default();
            client.retire(retired, reporter, notes);
            Ok(version)
        }
        Err(Refused::Unknown(error)) => Err(error),
        // The first write of this record may still come: only a version in its place rules that out.
        Err(Refused::Never(error)) if *again && !matches!(error, Error::VersionConflict { .. }) => Err(error),
        Err(Refused::Never(error)) => {
            match notes {
                Some(notes) => client.abandon(Abandoned::all_of(manifest), notes),
                None => client.retire(Abandoned::all_of(manifest), reporter, None),
            }
            Err(error)
        }
    }
}

/// A new content, or one that an earlier put began.
async fn begin<'a>(
    client: &'a Arc<Shared>,
    order: &'a Order,
    (len, mark): (Option<u64>, Option<[u8; 32]>),
    left: Option<Earlier>,
) -> Result<Upload<'a>> {
    let nodes = candidates(client, order, len).await?;
    if let Some(Earlier::Begun(begun, offered, notes)) = left {
        let offers = Offers::new(client, begun.key, Some(notes), true);
        let mut upload = Upload::new(client, order, nodes, offers);
        upload.take_over(offered);
        return Ok(upload);
    }
    let key = ContentKey::new(client.rt.random());
    let mut notes = Notes::begin(client, &order.path).await?;
    if let Some(notes) = &mut notes {
        let begun = Begun {
            path: order.path.clone(),
            at: client.rt.now(),
            key: key.clone(),
            scheme: order.scheme,
            padding: order.padding,
            attributes: order.attributes.clone(),
            source: mark,
        };
        notes.add(&Note::Put(begun)).await?;
    }
    Ok(Upload::new(client, order, nodes, Offers::new(client, key, notes, false)))
}

fn stored_len(manifest: &Manifest) -> u64 {
    manifest.shard_len * manifest.shards.len() as u64
}

fn committed(slot: &Slot, version: u32, manifest: &Manifest, resumed: u64) -> Committed {
    let stored = stored_len(manifest);
    Committed { head: Head::new(slot.file_id, version, manifest), stored, resumed: resumed.min(stored) }
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
