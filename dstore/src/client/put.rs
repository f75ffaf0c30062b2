//! A put: one operation as a value.

use std::future::IntoFuture;
use std::sync::Arc;

use tracing::Instrument;

use super::edit::Abandoned;
use super::events::Events;
use super::note::{Begun, Note, Notes};
use super::offer::Offers;
use super::report::{Progress, Reporter, Warning};
use super::settle::{self, Earlier, Told, Undecided, Unfinished};
use super::slot::Slot;
use super::upload::{Failed, Order, Upload, candidates};
use super::write::{Refused, Write};
use super::{Client, Committed, Head, Preview, Shared, Source, preview};
use crate::error::{Error, Result};
use crate::keys::ContentKey;
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
        let coming = client.ledger.coming();
        let order = self.order()?;
        let slot = client.slot_to_write(order.path.clone()).await?;
        let turn = client.turn().await?;
        let mut source = self.source.open(&client.rt).await?;
        settle::run_again(client);
        let mut left = settle::earlier(client, &order, &slot, &mut source).await?;
        if let Some(Earlier::Committed(Told { manifest, version, shown, notes })) = left {
            match shown {
                Some(write) => client.acknowledge(&write, Some(notes), order.reporter).await,
                None => client.retire(Vec::new(), order.reporter, Some(notes)),
            }
            return Ok(committed(&slot, version, &manifest, stored_len(&manifest)));
        }
        let expected = self.mode.expected(&slot)?;
        let (manifest, mut notes, resumed, undecided) = loop {
            let (mut upload, undecided) = begin(client, &order, (source.len(), source.mark()), left.take()).await?;
            // What is left of it is of use to the same put later on, if that can read its source again.
            upload.offers.kept = client.settings.resume && client.settings.journal.is_some() && source.mark().is_some();
            let is_other = |manifest: &Manifest| undecided.as_ref().is_some_and(|undecided| !undecided.names(manifest));
            match upload.run(&mut source).await {
                Ok(manifest) if !is_other(&manifest) => {
                    let resumed = upload.held;
                    let notes = upload.succeed(&manifest);
                    break (manifest, notes, resumed, undecided);
                }
                // What is written already names other places.
                Ok(_) if source.rewind() => {}
                Ok(_) => return Err(Error::Internal { what: "only what can be read again is resumed" }),
                Err(Failed::Changed) if source.rewind() => upload.offers.kept = false,
                Err(Failed::Changed) => return Err(Error::Internal { what: "only what can be read again is resumed" }),
                Err(Failed::For(error)) => {
                    upload.offers.kept &= error.is_retryable();
                    return Err(error);
                }
            }
        };
        drop(turn);
        let replaced = slot.manifest(client).ok();
        let is_again = undecided.is_some();
        let (manifest, record) = match undecided {
            Some(Undecided { record, manifest }) => (manifest, record),
            None => {
                let record = slot.seal(client, expected, &manifest)?;
                (manifest, record)
            }
        };
        let write = Write::new(client, &slot, expected, Some(record), replaced);
        if let Some(notes) = &mut notes {
            notes.add(&write.note()).await?;
        }
        match write.make(client, coming).await {
            Ok(written) => {
                tracing::debug!(version = written.version, resumed, "the new version is durable");
                let replaced = write.writing.replaced.as_ref();
                client.spread(write.copies(client), &manifest, replaced, &order.reporter).await;
                client.acknowledge(&write, notes, order.reporter).await;
                Ok(committed(&slot, written.version, &manifest, resumed))
            }
            Err(Refused::Unknown(error)) => Err(error),
            // This write did not happen. An earlier one of the same record may, until another version is there.
            Err(Refused::Never(error)) if is_again => Err(error),
            Err(Refused::Never(error)) => {
                match notes {
                    Some(notes) => client.abandon(Abandoned::all_of(&manifest), notes),
                    None => client.retire(Abandoned::all_of(&manifest), order.reporter, None),
                }
                Err(error)
            }
            Err(Refused::Lost(error)) => {
                client.yield_to(&write, &manifest, notes, order.reporter).await;
                Err(match error {
                    Error::VersionConflict { path, actual, .. } if self.mode == PutMode::Create => {
                        Error::AlreadyExists { path, version: actual }
                    }
                    error => error,
                })
            }
        }
    }

    /// What would be stored, and what the ledger takes for it. Nothing is sent to a node and nothing is written; the
    /// ledger, the registries and some nodes are asked.
    ///
    /// # Errors
    /// Those of a put that are known before it begins: [`Error::InvalidPath`], [`Error::Config`], [`Error::TooLarge`],
    /// what [`PutMode`] refuses, [`Error::NotEnoughNodes`], a source that cannot be read, and those of the ledger.
    pub async fn preview(self) -> Result<Preview> {
        let client = &self.client.0;
        let order = self.order()?;
        let slot = Slot::read(client, order.path.clone()).await?;
        let expected = self.mode.expected(&slot)?;
        let size = self.source.open(&client.rt).await?.len();
        preview::preview(client, &order, &slot, expected, size).await
    }

    /// What is to be stored, checked as far as it can be without asking anybody.
    fn order(&self) -> Result<Order> {
        let settings = &self.client.0.settings;
        let scheme = self.scheme.unwrap_or(settings.scheme);
        check_tolerance(scheme, settings.tolerate)?;
        check_attributes(&self.attributes)?;
        Ok(Order {
            path: FilePath::new(self.path.as_str())?,
            scheme,
            padding: self.padding.unwrap_or(settings.padding),
            attributes: self.attributes.clone(),
            reporter: self.reporter.clone(),
        })
    }
}

/// A new content, or one that an earlier put began.
async fn begin<'a>(
    client: &'a Arc<Shared>,
    order: &'a Order,
    (len, mark): (Option<u64>, Option<[u8; 32]>),
    left: Option<Earlier>,
) -> Result<(Upload<'a>, Option<Undecided>)> {
    let nodes = candidates(client, order, len).await?;
    if let Some(Earlier::Begun(Unfinished { begun, offered, undecided, notes })) = left {
        let mut offers = Offers::new(client, begun.key, Some(notes), true);
        offers.named = undecided.is_some();
        let mut upload = Upload::new(client, order, nodes.clone(), offers);
        let is_possible = upload.places.is_possible();
        upload.take_over(offered);
        // Where its shards are may tolerate less than is asked for now.
        if upload.places.is_possible() || !is_possible {
            return Ok((upload, undecided));
        }
        upload.offers.kept = false;
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
    Ok((Upload::new(client, order, nodes, Offers::new(client, key, notes, false)), None))
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
