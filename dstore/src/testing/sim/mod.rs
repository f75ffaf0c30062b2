//! A simulation of a whole network: one seed decides every interleaving, every delay and every key, in virtual time.
//!
//! Invariant: nothing but the seed, the settings and the code decides what happens, so that a failure can be seen again.

mod chance;
mod client;
mod clock;
mod disk;
mod fault;
mod host;
mod ledger;
mod link;
mod network;
mod node;
mod stream;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

pub use client::{Running, SimClient};
pub use fault::SimLink;
pub use ledger::SimLedger;
pub use network::{SimHost, SimNet};

/// A simulation that has not started: registries, nodes, disks, links and a ledger, on one thread and in virtual time.
///
/// [`Cluster`](super::Cluster) is a network to try things with. This one is for what must hold whatever happens: its seed
/// decides what runs next, how long everything takes and every key; hosts are killed where they stand, links hang and
/// part, clocks differ, and a day passes at once. The same seed is the same run, so that a failure can be seen again.
///
/// ```
/// use dstore::testing::{Sim, SimHost};
/// use std::time::Duration;
///
/// let seed = 7;
/// let read = Sim::new(seed).nodes(4).run(async |net| {
///     let client = net.client().await;
///     client.put("notes/a.txt", &b"hello"[..]).await?;
///     net.kill(SimHost::Node(0));
///     net.link(client.host(), SimHost::Node(1)).latency(Duration::from_millis(300));
///     net.sleep(Duration::from_secs(3600)).await;
///     client.get("notes/a.txt").bytes().await
/// })?;
/// assert_eq!(read, &b"hello"[..]);
/// # Ok::<(), dstore::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a simulation does nothing until `run`"]
pub struct Sim {
    seed: u64,
    nodes: usize,
    registries: usize,
    capacity: u64,
    max_steps: u64,
}

impl Sim {
    /// A simulation of a registry and three nodes, of which `seed` decides all that is left to chance.
    pub fn new(seed: u64) -> Self {
        Self { seed, nodes: 3, registries: 1, capacity: 1 << 30, max_steps: 1_000_000 }
    }

    /// Storage nodes to begin with. Default 3.
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = count;
        self
    }

    /// Registries. Every node and every client knows all of them. Default 1.
    pub fn registries(mut self, count: usize) -> Self {
        self.registries = count;
        self
    }

    /// Bytes of shards that each node takes. Default 1 GiB.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// Polls of tasks after which a simulation that has not ended is a failure. Default 1,000,000: some ten seconds.
    pub fn max_steps(mut self, steps: u64) -> Self {
        self.max_steps = steps;
        self
    }

    /// Starts the network, runs `body` in it once every node is registered, and ends everything; answers what `body` does.
    ///
    /// # Panics
    /// When `body` or a task of any host does, when nothing can run any more, and after too many steps. The text has the seed.
    pub fn run<T, F>(self, body: impl FnOnce(SimNet) -> F) -> T
    where
        F: Future<Output = T>,
    {
        let world = World::new(self.seed, self.max_steps);
        let run = || {
            let net = SimNet::new(&world, &self);
            world.run(Box::pin(async move {
                net.settled().await;
                body(net).await
            }))
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(value) => {
                world.end();
                value
            }
            // What a task left behind when it panicked is not touched again.
            Err(panic) => panic!("{}", world.obituary(self.seed, &*panic)),
        }
    }
}
