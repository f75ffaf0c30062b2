//! The client: puts, gets and everything else that an owner does with files.

mod background;
mod batches;
mod builder;
mod check;
mod content;
mod copies;
mod copy;
mod directory;
mod edit;
mod events;
mod fetch;
mod gather;
mod get;
mod head;
mod history;
mod intake;
mod lane;
mod list;
mod note;
mod offer;
mod pace;
mod part;
mod places;
mod plan;
mod pool;
mod preview;
mod probe;
mod put;
mod ranges;
mod reader;
mod recover;
mod report;
mod save;
mod search;
mod send;
mod settle;
mod slot;
mod source;
mod upload;
mod watch;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream::BoxStream;
use tracing::Instrument;

use crate::error::{Error, PeerProblem, Result};
use crate::id::{NodeId, NoiseKey, OwnerId};
use crate::keys::Owner;
use crate::ledger::Ledger;
use crate::net::LinkError;
use crate::path::FilePath;
use crate::proto::{NodeInfo, NodeReply, NodeRequest, NodeState};
use crate::rt::{Rt, Timestamp};

use background::Background;
use builder::Settings;
use directory::Directory;
use pace::Pace;
use pool::Pool;
use report::Reporter;
use slot::Slot;
use watch::Watch;

pub use builder::ClientBuilder;
pub use copy::CopyFile;
pub use events::{Event, Events};
pub use get::{ByteStream, Get};
pub use head::{
    Committed, FileVersion, Head, RecoveredFile, RecoveredLedger, Recovery, RecoveryNode, ShardCheck, ShardHealth,
    ShardHome,
};
pub use preview::Preview;
pub use probe::Probe;
pub use put::{Put, PutMode};
pub use reader::Reader;
pub use report::{Progress, Warning, WarningCode};
pub use save::Save;
pub use source::Source;

/// Stores and reads an owner's files. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

/// Puts of one client that run at once; more of them wait for their turn.
const PUTS_AT_ONCE: usize = 5;

/// What the operations of one client share.
#[derive(Debug)]
pub(crate) struct Shared {
    settings: Settings,
    owner: Owner,
    ledger: Arc<dyn Ledger>,
    rt: Rt,
    directory: Arc<Directory>,
    pool: Pool,
    /// What its gets measured of nodes.
    pace: Pace,
    /// Puts that run at once: each takes several connections of the few that a node gives to one key.
    puts: async_lock::Semaphore,
    /// Steps that puts have made: whether those under way go on.
    steps: AtomicU64,
    background: Background,
    /// Closes when what earlier clients left has been looked at. Nothing is ever sent.
    settled: async_channel::Receiver<()>,
    /// When that was last done, seconds of uptime.
    looked: AtomicU64,
    /// What a reorg of the ledger may still undo.
    watch: Watch,
}

impl Shared {
    /// Waits until another put may run.
    ///
    /// # Errors
    /// [`Error::Peer`] when no put that is under way gets on: their sources may be waiting for this very one.
    async fn turn(&self) -> Result<async_lock::SemaphoreGuard<'_>> {
        loop {
            let steps = self.steps.load(Ordering::Relaxed);
            match self.rt.timeout(self.settings.timeout, self.puts.acquire()).await {
                Ok(turn) => return Ok(turn),
                Err(_) if self.steps.load(Ordering::Relaxed) != steps => {}
                Err(elapsed) => {
                    return Err(Error::Peer {
                        peer: format!("this client, whose {PUTS_AT_ONCE} puts under way wait for their sources,"),
                        problem: PeerProblem::Timeout(elapsed.0),
                        source: None,
                    });
                }
            }
        }
    }

    /// Starts work that no operation waits for, but [`Client::close`] does.
    fn background<F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = self.background.begin();
        let work = work(self.clone());
        self.rt.detach(async move {
            work.await;
            drop(running);
        });
    }
}

/// A node, as the registries list it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Who.
    pub id: NodeId,
    /// `host:port`.
    pub address: String,
    /// Whether the registry counts on it.
    pub state: NodeState,
    /// Bytes it offers in all.
    pub capacity: u64,
    /// Bytes that are free.
    pub free: u64,
    /// The operator's label for what fails together; may be empty.
    pub zone: String,
    /// When a registry last heard of it.
    pub last_seen: Timestamp,
}

/// What the registries say of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// Every node that a registry lists.
    pub nodes: Vec<NodeStatus>,
    /// Nodes that take new shards.
    pub active: usize,
    /// How many active nodes an upload needs.
    pub required: usize,
    /// Registries that could not be asked, and why.
    pub unreachable: Vec<(String, String)>,
    /// Registries that answered, and what is odd about the answer.
    pub odd: Vec<(String, String)>,
}

impl Client {
    /// The settings of a new client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn start(settings: Settings, owner: Owner, ledger: Arc<dyn Ledger>, rt: Rt) -> Self {
        let directory = Arc::new(Directory::new(&rt, &settings, &owner));
        let pool = Pool::new(&rt, &settings, &owner, directory.clone());
        let background = Background::default();
        let puts = async_lock::Semaphore::new(PUTS_AT_ONCE);
        let looked = AtomicU64::new(rt.uptime().as_secs());
        let (looking, settled) = async_channel::bounded(1);
        let (pace, watch) = (Pace::default(), Watch::new(&settings.journal));
        let shared = Arc::new(Shared {
            settings,
            owner,
            ledger,
            rt,
            directory,
            pool,
            pace,
            puts,
            steps: AtomicU64::new(0),
            background,
            settled,
            looked,
            watch,
        });
        if shared.settings.journal.is_some() {
            shared.background(async move |client| {
                settle::run(&client).await;
                drop(looking);
                watch::take_over(&client).await;
            });
        }
        Self(shared)
    }

    /// Whose files these are.
    #[must_use]
    pub fn owner(&self) -> OwnerId {
        self.0.owner.id()
    }

    /// The key that this client shows to the node, and to no other: what its operator lets in with
    /// [`StorageNodeBuilder::allow`](crate::StorageNodeBuilder::allow).
    #[must_use]
    pub fn transport_key(&self, node: NodeId) -> NoiseKey {
        self.0.owner.transport_key(node).public_key()
    }

    /// Stores bytes, a file or a reader at `path`. Await it, or give it options first.
    pub fn put(&self, path: impl AsRef<str>, source: impl Into<Source>) -> Put {
        Put::new(self.clone(), path.as_ref(), source.into())
    }

    /// Stores the local file `from` at `path`.
    pub fn upload(&self, from: impl AsRef<Path>, path: impl AsRef<str>) -> Put {
        Put::new(self.clone(), path.as_ref(), Source::file(from.as_ref()))
    }

    /// Reads the file at `path`, or a range of it.
    pub fn get(&self, path: impl AsRef<str>) -> Get {
        Get::new(self.clone(), path.as_ref())
    }

    /// What the ledger says of the file at `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidPath`], [`Error::Integrity`] for a record that does not open, and the ledger's own.
    pub async fn head(&self, path: impl AsRef<str>) -> Result<Head> {
        let slot = Slot::read(&self.0, FilePath::new(path.as_ref())?).await?;
        Ok(Head::new(slot.file_id, slot.version(), &slot.manifest(&self.0)?))
    }

    /// Asks every node of a file how its shards are. Reads no content.
    ///
    /// # Errors
    /// As [`Client::head`]. Nodes that do not answer are no error: their shards are `Unreachable`.
    pub async fn check(&self, path: impl AsRef<str>) -> Result<(Head, Vec<ShardCheck>)> {
        let slot = Slot::read(&self.0, FilePath::new(path.as_ref())?).await?;
        let manifest = slot.manifest(&self.0)?;
        let head = Head::new(slot.file_id, slot.version(), &manifest);
        let checks = check::check(&self.0, &manifest, &head).await;
        Ok((head, checks))
    }

    /// The owner's files whose path starts with `prefix`, in no order. Of a ledger that gives no records out, those of
    /// whose present version a node has a copy; an error comes last when these may not be all.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<Head>> {
        list::list(self.0.clone(), prefix.to_owned())
    }

    /// Removes the file at `path`; answers what it was. Its shards are retired and freed after a day.
    ///
    /// # Errors
    /// As [`Client::head`]; [`Error::VersionConflict`] when another writer was faster.
    pub async fn remove(&self, path: impl AsRef<str>) -> Result<Head> {
        let span = tracing::info_span!("remove", file_id = tracing::field::Empty);
        edit::remove(&self.0, FilePath::new(path.as_ref())?).instrument(span).await
    }

    /// Moves the file at `from` to `to`, where no file may be: the record moves, no shard does.
    ///
    /// # Errors
    /// As [`Client::head`]; [`Error::AlreadyExists`], [`Error::VersionConflict`].
    pub async fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<Head> {
        edit::rename(&self.0, FilePath::new(from.as_ref())?, FilePath::new(to.as_ref())?).await
    }

    /// Reads the file at `from` and stores it at `to`, as a content of its own with this client's settings: it takes
    /// as long as a get and a put, and the two files share nothing. Await it, or give it options first.
    ///
    /// It fails as [`Get::bytes`] and as a put do; with [`Error::InvalidPath`] when both paths are the same.
    pub fn copy(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> CopyFile {
        CopyFile::new(self.clone(), from.as_ref(), to.as_ref())
    }

    /// Every version of the file at `path`, also one that was removed: newest first, at most
    /// [`MAX_HISTORY_LEN`](crate::ledger::MAX_HISTORY_LEN) of them. Of a ledger that gives no records out any more, the
    /// newest alone, from the nodes' copies.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no file ever was there; else as [`Client::head`].
    pub async fn history(&self, path: impl AsRef<str>) -> Result<Vec<FileVersion>> {
        history::history(&self.0, FilePath::new(path.as_ref())?).await
    }

    /// What the registries say of the network.
    ///
    /// # Errors
    /// [`Error::Config`] without any registry; the last one's error when none answers.
    pub async fn network(&self) -> Result<Network> {
        self.0.directory.network().await
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no registry knows it, [`Error::Peer`] when it does not answer.
    pub async fn node_info(&self, node: NodeId) -> Result<NodeInfo> {
        let place = self.0.directory.look_up(node).await;
        let place = place.ok_or_else(|| Error::NotFound { path: format!("node {node}") })?;
        let peer = || format!("node {} at {}", node.short(), place.hint);
        match self.0.pool.ask(&place, |_| NodeRequest::Info, None).await {
            Ok(NodeReply::Info(info)) => Ok(info),
            Ok(_) => Err(LinkError::Protocol("another answer than its state").at(peer())),
            Err(error) => Err(error.at(peer())),
        }
    }

    /// Waits for what runs in the background, such as retiring replaced versions. Dropping a client does not wait.
    pub async fn close(self) {
        let ended = self.0.background.ended();
        let _ = self.0.rt.timeout(self.0.settings.timeout, ended).await;
    }
}
