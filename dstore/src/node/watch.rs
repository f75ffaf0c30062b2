//! What a node tells its operator: counters, and why it should be repaired or left alone.

use std::sync::Arc;

use super::NodeCore;
use crate::admin::{Problem, Subject};
use crate::announce::Standings;
use crate::metrics::{Counter, Gauge, Gauges, Requests, Sheet, follow, number};
use crate::net::{Gate, ServerCounts};
use crate::rt::BoxFuture;
use crate::store::{StoreError, Usage};

/// The requests of docs/wire.md section 7.1, by number; the last word stands for every other.
const REQUESTS: &[&str] = &[
    "info",
    "put_begin",
    "put_small",
    "hashes",
    "read",
    "stat",
    "renew",
    "delete",
    "put_copy",
    "get_copy",
    "list_copies",
    "transfer",
    "accept",
    "other",
];

/// Everything that a node counts.
#[derive(Debug)]
pub(super) struct NodeMetrics {
    sheet: Sheet,
    pub(super) server: ServerCounts,
    pub(super) requests: Requests,
    /// Failures of the store outside requests.
    pub(super) upkeep_failures: Counter,
    pub(super) freed: Counter,
    pub(super) scrubbed: Counter,
    pub(super) found_damaged: Counter,
    pub(super) scrub_passed: Gauge,
    read: Read,
}

/// What is set when the sheet is read.
#[derive(Debug)]
struct Read {
    connections: Gauge,
    capacity: Gauge,
    stored: Gauge,
    reserved: Gauge,
    free: Gauge,
    shards: Gauge,
    damaged: Gauge,
    commits: Counter,
    draining: Gauge,
    registered: Gauges,
    silence: Gauges,
    clock: Gauges,
}

impl NodeMetrics {
    pub(super) fn new() -> Self {
        let mut sheet = Sheet::new("dstore_node");
        Self {
            server: ServerCounts::new(&mut sheet),
            requests: sheet.requests(REQUESTS),
            upkeep_failures: sheet.counter(
                "upkeep_failures",
                "Rounds of freeing, scrubbing or measuring that the store failed. Any: look at the disk and the log",
            ),
            freed: sheet.counter("shards_freed", "Shards removed because they were deleted or their lease ended"),
            scrubbed: sheet.counter("scrubbed_bytes", "Bytes read again to look for bit rot"),
            found_damaged: sheet.counter(
                "shards_found_damaged",
                "Shards that a scrub found damaged. Any: look at the disk; more than a few: replace it",
            ),
            scrub_passed: sheet.gauge(
                "scrub_last_pass_timestamp_seconds",
                "When every shard had been looked at once more, Unix time; 0 before the first time since the start. Takes \
                 about 30 days",
            ),
            read: Read::new(&mut sheet),
            sheet,
        }
    }
}

impl Read {
    fn new(sheet: &mut Sheet) -> Self {
        Self {
            connections: sheet.gauge("open_connections", "Connections that are open; at most 1,024 unless set otherwise"),
            capacity: sheet.gauge("capacity_bytes", "Bytes of shards that this node offers to hold (--capacity)"),
            stored: sheet.gauge("stored_bytes", "Bytes of shards held, deleted ones that are not freed yet included"),
            reserved: sheet.gauge("reserved_bytes", "Bytes set aside for shards that are being received"),
            free: sheet.gauge(
                "free_bytes",
                "Bytes that it still takes: what --capacity and --free-floor leave. At 0 it refuses puts: add a node or space",
            ),
            shards: sheet.gauge("shards", "Shards held"),
            damaged: sheet.gauge(
                "damaged_shards",
                "Shards held that were found damaged. Their files are read from other nodes; see the manual on bad disks",
            ),
            commits: sheet.counter(
                "index_commits",
                "Transactions of the index since the start, each with one wait for the disk",
            ),
            draining: sheet.gauge("draining", "1 while it takes no new shards because its operator wants that"),
            registered: sheet.gauges(
                "registered",
                "1 while this registry lists the node. 0: /readyz and the log say why; without any the node gets no new shards",
                "registry",
            ),
            silence: sheet.gauges(
                "registration_age_seconds",
                "Time since this registry last confirmed the node; it is unlisted after 6 heartbeats",
                "registry",
            ),
            clock: sheet.gauges(
                "clock_ahead_seconds",
                "How far this registry's clock was ahead of ours when the node connected. Beyond 120 either way nothing works: \
                 run NTP",
                "registry",
            ),
        }
    }

    fn usage(&self, usage: Usage) {
        self.stored.set(number(usage.used - usage.reserved));
        self.reserved.set(number(usage.reserved));
        self.free.set(number(usage.free));
        self.shards.set(number(usage.shards));
        self.damaged.set(number(usage.damaged));
    }
}

/// A node as its operator sees it.
pub(super) struct Watch {
    pub(super) node: Arc<NodeCore>,
    pub(super) gate: Gate,
    pub(super) standings: Standings,
}

impl Watch {
    fn registration(&self) -> Option<Problem> {
        let standings = self.standings.each();
        if standings.iter().any(|standing| standing.listed) {
            return None;
        }
        let why = standings.iter().map(|standing| match &standing.error {
            Some(error) => error.to_string(),
            None => format!("registry {}: no answer yet", standing.registry),
        });
        let why: Vec<_> = why.collect();
        let why = if why.is_empty() { "none is configured: give it --registry".to_owned() } else { why.join("; ") };
        Some(Problem::new("unregistered", format!("no registry lists this node: {why}")))
    }

    async fn store(&self) -> Option<Problem> {
        match self.node.store.check().await {
            Ok(()) => None,
            Err(StoreError::NoSpace) => Some(Problem::new(
                "no_space",
                "the store is full: raise --capacity, make room on the disk above --free-floor, or add a node; what is \
                 stored goes on being served",
            )),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store fails a check");
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                let text = format!("{error}{cause}; look at the disk, its file system and the log of this node");
                Some(Problem::new("store_failing", text))
            }
        }
    }
}

impl Subject for Watch {
    fn metrics(&self) -> String {
        let (node, read) = (&self.node, &self.node.metrics.read);
        read.connections.set(number(self.gate.connections() as u64));
        read.capacity.set(number(node.config.capacity));
        read.usage(node.usage());
        follow(&read.commits, node.store.commits());
        read.draining.set(f64::from(u8::from(node.is_draining())));
        for standing in self.standings.each() {
            read.registered.set(&standing.registry, f64::from(u8::from(standing.listed)));
            if let Some(heard) = standing.heard {
                let age = node.rt.uptime().saturating_sub(heard);
                read.silence.set(&standing.registry, age.as_secs_f64());
                read.clock.set(&standing.registry, standing.clock_ahead);
            }
        }
        node.metrics.sheet.text()
    }

    fn faults(&self) -> BoxFuture<'_, Vec<Problem>> {
        Box::pin(async { self.store().await.into_iter().filter(|problem| problem.code != "no_space").collect() })
    }

    fn obstacles(&self) -> BoxFuture<'_, Vec<Problem>> {
        Box::pin(async {
            let draining = Problem::new("draining", "it takes no new shards because its operator wants that");
            let draining = self.node.is_draining().then_some(draining);
            [self.store().await, self.registration(), draining].into_iter().flatten().collect()
        })
    }
}
