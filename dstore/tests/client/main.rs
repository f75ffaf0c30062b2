//! What a client promises, on a whole network in memory.

mod ancestor;
mod crash;
mod executors;
mod hostile;
mod loss;
mod operations;
mod preview;
mod ranges;
mod reader;
mod recovery;
mod refusals;
mod resume;
mod secrecy;
mod sources;
mod undecided;
mod versions;

use std::sync::{Arc, Mutex};

use dstore::testing::Cluster;
use dstore::{Client, Warning, WarningCode};

/// Bytes that do not repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&len.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

async fn cluster_of(nodes: usize) -> (Cluster, Client) {
    let cluster = Cluster::start(nodes).await.expect("a cluster starts");
    let client = cluster.client().await.expect("a client");
    (cluster, client)
}

/// Collects warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<Warning>>>);

impl Warnings {
    fn hook(&self) -> impl Fn(Warning) + Send + Sync + 'static {
        let list = self.0.clone();
        move |warning| list.lock().expect("no panic").push(warning)
    }

    fn codes(&self) -> Vec<WarningCode> {
        self.0.lock().expect("no panic").iter().map(|warning| warning.code).collect()
    }

    fn list(&self) -> Vec<Warning> {
        self.0.lock().expect("no panic").clone()
    }
}
