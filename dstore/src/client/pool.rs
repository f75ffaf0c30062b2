//! Links to storage nodes: opened when needed, kept while they are fresh, found again when a node moved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Settings;
use super::directory::{Directory, UploadNode};
use crate::error::Result;
use crate::id::{NetworkId, NodeId};
use crate::keys::Owner;
use crate::manifest::NodePlace;
use crate::net::{Dialer, Link, LinkError};
use crate::noise::{Expected, Role};
use crate::proto::{Invite, MAX_CONTROL_LEN, NodeReply, NodeRequest, Refusal, decode, encode};
use crate::rt::Rt;

/// A node closes a connection after 60 s without a request: ours are not used after half of that.
const FRESH: Duration = Duration::from_secs(30);
/// Idle links that are kept for one node.
const KEPT_PER_NODE: usize = 6;
/// Pauses before a busy node is asked again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A node that is silent for so long is no reason to wait for it alone.
const SILENCE: Duration = Duration::from_millis(500);
/// Time to reach a node: long enough for two lost packets.
const CONNECT: Duration = Duration::from_secs(8);

/// The links of one client.
#[derive(Debug)]
pub(crate) struct Pool {
    rt: Rt,
    dialer: Dialer,
    owner: Owner,
    network: NetworkId,
    timeout: Duration,
    directory: Arc<Directory>,
    /// Invites, and what became of those that were presented.
    invites: HashMap<NodeId, (Invite, async_lock::Mutex<Option<bool>>)>,
    idle: Mutex<HashMap<NodeId, Vec<Idle>>>,
}

struct Idle {
    link: Link,
    since: Duration,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Idle")
    }
}

/// A link that is in use.
pub(crate) struct Lease {
    pub(crate) link: Link,
    /// Whether it served before: its node may have closed it since.
    reused: bool,
}

impl Pool {
    pub(crate) fn new(rt: &Rt, settings: &Settings, owner: &Owner, directory: Arc<Directory>) -> Self {
        let dialer = Dialer::new(rt.clone(), CONNECT.min(settings.timeout));
        Self {
            rt: rt.clone(),
            dialer,
            owner: owner.clone(),
            network: settings.network,
            timeout: settings.timeout,
            directory,
            invites: settings
                .invites
                .iter()
                .map(|(node, invite)| (*node, (invite.clone(), async_lock::Mutex::default())))
                .collect(),
            idle: Mutex::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<NodeId, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link to `node`: an idle one, or a new one at the address where the node is now.
    async fn lease(&self, node: &NodePlace) -> Result<Lease, LinkError> {
        let now = self.rt.uptime();
        let kept = {
            let mut idle = self.idle();
            let links = idle.entry(node.id).or_default();
            links.retain(|kept| now.saturating_sub(kept.since) < FRESH);
            links.pop()
        };
        match kept {
            Some(kept) => Ok(Lease { link: kept.link, reused: true }),
            None => self.dial(node).await,
        }
    }

    async fn dial(&self, node: &NodePlace) -> Result<Lease, LinkError> {
        let newest = self.directory.newest(node);
        let failed = match self.connect(&newest).await {
            Ok(lease) => return Ok(lease),
            Err(error) => error,
        };
        // It may have moved, or changed its transport key: a registry knows, and the node's signature proves it.
        match self.directory.look_up(node.id).await {
            Some(moved) if moved.seq > newest.seq => self.connect(&moved).await,
            _ => Err(failed),
        }
    }

    async fn connect(&self, node: &NodePlace) -> Result<Lease, LinkError> {
        let local = self.owner.transport_key(node.id);
        let expected = Expected { id: node.id, noise_key: node.noise_key, role: Role::Node, network: self.network };
        let connected = self.dialer.connect(&node.hint, &local, &expected).await;
        match &connected {
            Ok(_) => self.directory.trust(node.id),
            Err(error) if error.is_busy() => {}
            Err(_) => self.directory.avoid(node.id),
        }
        Ok(Lease { link: connected?, reused: false })
    }

    /// The nodes that can take new shards, those that can be reached now before others: `wanted` of them, if there are.
    ///
    /// A registry may list nodes that are gone. They must not cost a put the time of a connection each: a spare is tried
    /// beside each one that is silent.
    ///
    /// # Errors
    /// As [`Directory::upload_nodes`].
    pub(crate) async fn upload_nodes(&self, needed: usize, wanted: usize) -> Result<Vec<UploadNode>> {
        let mut nodes = self.directory.upload_nodes(needed).await?;
        let tried = self.try_nodes(&nodes, needed, wanted).await;
        let is_reached = |node: &UploadNode| tried.get(&node.place.id) == Some(&true);
        if nodes.iter().filter(|node| is_reached(node)).count() >= needed {
            nodes.retain(|node| tried.get(&node.place.id) != Some(&false));
        }
        nodes.sort_by_key(|node| !is_reached(node));
        Ok(nodes)
    }

    /// Which of the first nodes can be reached: tries more of them until `wanted` can, or at least `needed` in a while.
    async fn try_nodes(&self, nodes: &[UploadNode], needed: usize, wanted: usize) -> HashMap<NodeId, bool> {
        let mut spare = nodes.iter();
        let mut tried: HashMap<NodeId, bool> = HashMap::new();
        let try_one = |node| async move { (node, self.reach(node).await) };
        let mut running: FuturesUnordered<_> = spare.by_ref().take(wanted).map(|node| try_one(&node.place)).collect();
        loop {
            let next = self.rt.timeout(SILENCE, running.next()).await;
            let reached = tried.values().filter(|reached| **reached).count();
            match next {
                Ok(None) => return tried,
                Ok(Some((node, true))) => {
                    tried.insert(node.id, true);
                    if reached + 1 >= wanted {
                        return tried;
                    }
                }
                Ok(Some((node, false))) => {
                    tried.insert(node.id, false);
                    running.extend(spare.next().map(|node| try_one(&node.place)));
                }
                Err(_) => {
                    let more: Vec<_> = spare.by_ref().take(wanted - reached).map(|node| try_one(&node.place)).collect();
                    if more.is_empty() && reached >= needed {
                        // Whoever is silent still is the last choice of the next put too.
                        let begun = nodes.len() - spare.len();
                        for node in nodes[..begun].iter().filter(|node| !tried.contains_key(&node.place.id)) {
                            self.directory.avoid(node.place.id);
                        }
                        tried.extend(
                            nodes[..begun]
                                .iter()
                                .map(|node| node.place.id)
                                .filter(|id| !tried.contains_key(id))
                                .map(|id| (id, false))
                                .collect::<Vec<_>>(),
                        );
                        return tried;
                    }
                    running.extend(more);
                }
            }
        }
    }

    /// Whether a node can be reached now; the link is kept.
    async fn reach(&self, node: &NodePlace) -> bool {
        let now = self.rt.uptime();
        let is_fresh = |links: &Vec<Idle>| links.iter().any(|kept| now.saturating_sub(kept.since) < FRESH);
        if self.idle().get(&node.id).is_some_and(is_fresh) {
            return true;
        }
        match self.connect(&self.directory.newest(node)).await {
            Ok(lease) => {
                self.give_back(node.id, lease);
                true
            }
            Err(error) => error.is_busy(),
        }
    }

    /// Gives back a link between two requests.
    pub(crate) fn give_back(&self, node: NodeId, lease: Lease) {
        if lease.link.is_retired() {
            return;
        }
        let since = self.rt.uptime();
        let mut idle = self.idle();
        let links = idle.entry(node).or_default();
        if links.len() < KEPT_PER_NODE {
            links.push(Idle { link: lease.link, since });
        }
    }

    /// Sends the request that `make` makes for a link, with a body if it has one, and waits for the answer. The link comes back too.
    /// A busy node is asked again for a while.
    pub(crate) async fn call(
        &self,
        node: &NodePlace,
        make: impl Fn(&Link) -> NodeRequest,
        body: Option<&[u8]>,
    ) -> Result<(NodeReply, Lease), LinkError> {
        let (mut patience, mut invited) = (self.patience(), false);
        loop {
            let error = match self.lease(node).await {
                Err(error) => error,
                Ok(mut lease) => {
                    let request = encode(&make(&lease.link));
                    match exchange(&mut lease.link, &request, body, self.timeout).await {
                        Ok(reply) => return Ok((reply, lease)),
                        Err(error) if error.is_refusal() => {
                            let denied = matches!(error, LinkError::Refused(Refusal::Denied));
                            let again = denied && !invited && self.present_invite(node.id, &mut lease).await;
                            self.give_back(node.id, lease);
                            if !again {
                                return Err(error);
                            }
                            invited = true;
                            continue;
                        }
                        // The node closed it while it was idle, or was restarted: that says nothing of the node.
                        Err(LinkError::Closed | LinkError::Broken(_)) if lease.reused => {
                            self.idle().remove(&node.id);
                            continue;
                        }
                        Err(error) => error,
                    }
                }
            };
            if !(error.is_busy() && patience.wait().await) {
                return Err(error);
            }
        }
    }

    /// Presents the invite of a node, if there is one, once. True: the node has let us in.
    async fn present_invite(&self, node: NodeId, lease: &mut Lease) -> bool {
        let Some((invite, accepted)) = self.invites.get(&node) else { return false };
        // Others that were denied meanwhile wait for the outcome.
        let mut accepted = accepted.lock().await;
        if let Some(accepted) = *accepted {
            return accepted;
        }
        let request = encode(&NodeRequest::Accept(invite.clone()));
        let told = exchange(&mut lease.link, &request, None, self.timeout).await;
        if let Err(error) = &told {
            tracing::info!(%node, %error, "an invite was not accepted");
        }
        *accepted.insert(told.is_ok())
    }

    /// How long a busy node is asked again: for the client's timeout.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(&self.rt, self.timeout)
    }

    /// As [`Pool::call`], for requests after which the link is not needed.
    pub(crate) async fn ask(
        &self,
        node: &NodePlace,
        make: impl Fn(&Link) -> NodeRequest,
        body: Option<&[u8]>,
    ) -> Result<NodeReply, LinkError> {
        let (reply, lease) = self.call(node, make, body).await?;
        self.give_back(node.id, lease);
        Ok(reply)
    }

    /// A link for many requests; only with `reuse` one that served before.
    pub(crate) async fn open(&self, node: &NodePlace, reuse: bool) -> Result<Lease, LinkError> {
        if reuse { self.lease(node).await } else { self.dial(node).await }
    }
}

/// Ever longer pauses, for a limited time.
pub(crate) struct Patience {
    rt: Rt,
    until: Duration,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(rt: &Rt, limit: Duration) -> Self {
        Self { rt: rt.clone(), until: rt.uptime() + limit, pause: FIRST_PAUSE }
    }

    /// Waits for the next attempt. False: the time is over.
    pub(crate) async fn wait(&mut self) -> bool {
        if self.rt.uptime() >= self.until {
            return false;
        }
        // Clients that were refused together do not come back together.
        let jitter = u32::try_from(self.rt.below(64)).unwrap_or(0);
        self.rt.sleep(self.pause * (64 + jitter) / 64).await;
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        true
    }
}

async fn exchange(
    link: &mut Link,
    request: &[u8],
    body: Option<&[u8]>,
    wait: Duration,
) -> Result<NodeReply, LinkError> {
    link.writer.control(request);
    let sent = match body {
        Some(body) => link.writer.body(body).await,
        None => Ok(()),
    };
    let sent = match sent {
        Ok(()) => link.writer.flush().await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        return Err(link.last_words(error).await);
    }
    let reply = link.reader.control(MAX_CONTROL_LEN, wait).await?;
    Ok(decode("node reply", &reply)?)
}
