//! What a registry tells its operator: counters, and why it should be repaired.

use std::sync::Arc;

use super::service::RegistryService;
use crate::admin::{Problem, Subject};
use crate::metrics::{Counter, Gauge, Gauges, Requests, Sheet, Tally, follow, number};
use crate::net::{Gate, ServerCounts};
use crate::proto::{NodeState, Refusal};
use crate::rt::BoxFuture;

/// The requests of docs/wire.md section 8.2, by number; the last word stands for every other.
const REQUESTS: &[&str] = &["register", "heartbeat", "deregister", "list_for_upload", "list_all", "lookup", "other"];

const STATES: [NodeState; 4] = [NodeState::Active, NodeState::Suspect, NodeState::Quarantined, NodeState::Draining];

/// Everything that a registry counts.
#[derive(Debug)]
pub(super) struct RegistryMetrics {
    sheet: Sheet,
    pub(super) server: ServerCounts,
    pub(super) requests: Requests,
    dial_backs: Tally,
    pub(super) deaths: Counter,
    pub(super) departures: Counter,
    quarantines: Counter,
    connections: Gauge,
    nodes: Gauges,
    required: Gauge,
}

impl RegistryMetrics {
    pub(super) fn new() -> Self {
        let mut sheet = Sheet::new("dstore_registry");
        Self {
            server: ServerCounts::new(&mut sheet),
            requests: sheet.requests(REQUESTS),
            dial_backs: sheet.tally(
                "dial_backs",
                "Attempts to reach a node at the address that it announces, before it is listed. `unreachable`: that node's \
                 operator should look at --public and the firewall; `busy`: it tries too often",
                ("outcome", &["ok", "busy", "unreachable", "other"]),
            ),
            deaths: sheet.counter("nodes_died", "Nodes no longer listed because they were silent, or their record ended"),
            departures: sheet.counter("nodes_left", "Nodes that said that they leave"),
            quarantines: sheet.counter(
                "quarantines",
                "Times that a node was kept out of uploads because it came and went too often, since the start",
            ),
            connections: sheet.gauge("open_connections", "Connections that are open; at most 1,024 unless set otherwise"),
            nodes: sheet.gauges("nodes", "Nodes that are listed, by state. Only `active` ones are offered for uploads", "state"),
            required: sheet.gauge(
                "required_nodes",
                "Active nodes below which uploads are offered none. Fewer than that: nobody can store anything",
            ),
            sheet,
        }
    }

    /// Counts an attempt to reach a node.
    pub(super) fn dialled_back(&self, outcome: Result<(), Refusal>) {
        self.dial_backs.add(match outcome {
            Ok(()) => "ok",
            Err(Refusal::Busy) => "busy",
            Err(Refusal::Unreachable) => "unreachable",
            Err(_) => "other",
        });
    }
}

/// A registry as its operator sees it.
pub(super) struct Watch {
    pub(super) service: Arc<RegistryService>,
    pub(super) gate: Gate,
}

impl Subject for Watch {
    fn metrics(&self) -> String {
        let (service, metrics) = (&self.service, &self.service.metrics);
        {
            let (mut members, now) = (service.members(), service.rt.now());
            let states: Vec<_> = members.each(now).map(|(_, state)| state).collect();
            for state in STATES {
                let count = states.iter().filter(|known| **known == state).count();
                metrics.nodes.set(state.as_str(), number(count as u64));
            }
            follow(&metrics.quarantines, members.quarantines());
        }
        metrics.required.set(number(service.min_nodes as u64));
        metrics.connections.set(number(self.gate.connections() as u64));
        metrics.sheet.text()
    }

    fn faults(&self) -> BoxFuture<'_, Vec<Problem>> {
        Box::pin(async {
            let checked = self.service.state.lock().await.check(&self.service.rt).await;
            let Err(error) = checked else { return vec![] };
            tracing::error!(error = &error as &dyn std::error::Error, "the registry's state fails a check");
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let text = format!("{error}{cause}; no node can register until it can be written: look at the disk");
            vec![Problem::new("state_failing", text)]
        })
    }

    fn obstacles(&self) -> BoxFuture<'_, Vec<Problem>> {
        self.faults()
    }
}
