//! The settings of a client.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::note::SharedJournal;
use crate::address::RegistryAddr;
use crate::error::{Error, Result};
use crate::id::{NetworkId, NodeId};
use crate::journal::Journal;
use crate::keys::{Owner, network_id};
use crate::ledger::Ledger;
use crate::placement::nodes_needed;
use crate::proto::Invite;
use crate::rt::Rt;
use crate::scheme::{Padding, Scheme};

/// The settings of a client. An owner and a ledger are needed; a registry too, to store files.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct ClientBuilder {
    pub(super) settings: Settings,
    owner: Option<Owner>,
    ledger: Option<Arc<dyn Ledger>>,
    invites: Vec<Invite>,
    rt: Rt,
}

/// Plain settings, shared by all operations of a client.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) registries: Vec<RegistryAddr>,
    pub(crate) network: NetworkId,
    pub(crate) scheme: Scheme,
    pub(crate) tolerate: usize,
    pub(crate) padding: Padding,
    pub(crate) timeout: Duration,
    pub(crate) memory: usize,
    pub(crate) hedge_after: Duration,
    pub(crate) journal: SharedJournal,
    pub(crate) resume: bool,
    /// Only these take new shards, unless there are none.
    pub(crate) pins: HashSet<NodeId>,
    pub(crate) invites: HashMap<NodeId, Invite>,
}

/// The least memory with which a transfer works, bytes.
const MIN_MEMORY: usize = 16 << 20;

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            settings: Settings {
                registries: Vec::new(),
                network: network_id("dstore"),
                scheme: Scheme::STANDARD,
                tolerate: 1,
                padding: Padding::Padme,
                timeout: Duration::from_secs(30),
                memory: 48 << 20,
                hedge_after: Duration::from_secs(1),
                journal: None,
                resume: true,
                pins: HashSet::new(),
                invites: HashMap::new(),
            },
            invites: Vec::new(),
            owner: None,
            ledger: None,
            rt: Rt::default(),
        }
    }
}

impl ClientBuilder {
    /// A registry to find nodes through; call it again for more: the client uses the union of what they list.
    pub fn registry(mut self, address: RegistryAddr) -> Self {
        self.settings.registries.push(address);
        self
    }

    /// Whose files these are.
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Where the records of files are kept.
    pub fn ledger(self, ledger: impl Ledger) -> Self {
        self.shared_ledger(Arc::new(ledger))
    }

    /// Where the records of files are kept, shared with others.
    pub fn shared_ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Data and parity shards of new files. Default 4 + 2: costs 1.5 times the bytes.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.settings.scheme = scheme;
        self
    }

    /// How many nodes, whichever, may vanish without loss of a new file. Default 1; a put fails where that cannot be had.
    pub fn tolerate(mut self, nodes: usize) -> Self {
        self.settings.tolerate = nodes;
        self
    }

    /// How the length of new files is hidden. Default Padmé: at most 12 % more bytes.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.settings.padding = padding;
        self
    }

    /// The label of the network. Default `dstore`. Nodes and registries of another label cannot be reached.
    pub fn network(mut self, label: &str) -> Self {
        self.settings.network = network_id(label);
        self
    }

    /// For how long a step may make no progress before it fails. Default 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Memory for the buffers of one transfer, bytes. Default 48 MiB, at least 16 MiB. Less is slower on links with long delays.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.settings.memory = bytes.max(MIN_MEMORY);
        self
    }

    /// How long a get waits at most for a node that sends nothing before it asks another one for its part. Default 1 s.
    /// It asks sooner when the other nodes of the same stripes have answered, and this one takes twice as long as they did.
    pub fn hedge_after(mut self, wait: Duration) -> Self {
        self.settings.hedge_after = wait;
        self
    }

    /// Where unfinished work is noted, so that what a crash, an interrupt or a failure left behind is gone on with, or
    /// cleared away. Default: nowhere; then what a killed process left at nodes stays there until its lease ends.
    /// Several clients may share one.
    pub fn journal(mut self, journal: impl Journal) -> Self {
        self.settings.journal = Some(Arc::new(journal));
        self
    }

    /// Whether a put goes on where an earlier one of the same bytes to the same path ended, and, when it fails or is dropped,
    /// leaves to a later one for 23 hours what nodes have of it. Default: yes, with a journal and a source that can be read again.
    pub fn resume(mut self, resume: bool) -> Self {
        self.settings.resume = resume;
        self
    }

    /// Only these nodes take new shards; call it again for more. Default: all that the registries list. Tolerance counts
    /// nodes by their ids, and ids cost nothing: whoever does not trust the registries names the nodes.
    pub fn pin(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        self.settings.pins.extend(nodes);
        self
    }

    /// An invite of a node, presented when that node does not know this client yet; call it again for more.
    pub fn invite(mut self, invite: Invite) -> Self {
        self.invites.push(invite);
        self
    }

    /// The environment: clock, tasks, sockets. Default: the machine's own.
    pub fn rt(mut self, rt: Rt) -> Self {
        self.rt = rt;
        self
    }

    /// Makes the client. Nothing is asked of registries and nodes yet: a file that the ledger knows can be read without a registry.
    /// What earlier clients left in the journal is settled in the background.
    ///
    /// # Errors
    /// [`Error::Config`] when owner or ledger is missing, an invite is not of this network, or no number of nodes can
    /// tolerate what is asked;
    /// what [`Ledger::health`] says of a ledger that cannot be used.
    pub async fn connect(mut self) -> Result<Client> {
        let owner = self.owner.ok_or_else(|| Error::config("a client needs an owner: ClientBuilder::owner"))?;
        let ledger = self.ledger.ok_or_else(|| Error::config("a client needs a ledger: ClientBuilder::ledger"))?;
        let Settings { scheme, tolerate, .. } = self.settings;
        if tolerate == 0 || nodes_needed(scheme, tolerate).is_none() {
            return Err(Error::config(format!(
                "scheme {scheme} cannot survive the loss of {tolerate} nodes: tolerate 1 to {}",
                scheme.parity()
            )));
        }
        for invite in self.invites {
            let terms = invite.terms(self.settings.network).ok_or_else(|| {
                Error::config(
                    "an invite is not genuine, or is one to another network: check it and the network's label",
                )
            })?;
            self.settings.invites.insert(terms.node, invite);
        }
        Ok(Client::start(self.settings, owner, ledger, self.rt))
    }
}
