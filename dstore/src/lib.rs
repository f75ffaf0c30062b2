//! Keep private files on disks that other people own.
//!
//! A [`Client`] seals a file, cuts it into shards of which any 4 of 6 are enough, stores them on three or more
//! [`StorageNode`]s that a [`Registry`] knows of, and writes a sealed record of it to a [`ledger`]. A put that returned
//! is durable: every node has signed for its shard, and the record is written. All three roles are plain values in
//! your process, and every future runs under any executor.
//!
//! ```
//! use dstore::PutMode;
//! use dstore::testing::Cluster;
//!
//! # futures_lite::future::block_on(async {
//! // A registry and three nodes, in memory. For a real network: `Client::builder()`.
//! let mut network = Cluster::start(3).await?;
//! let client = network.client().await?;
//!
//! let committed = client.put("notes/a.txt", &b"hello"[..]).mode(PutMode::Create).await?;
//! assert_eq!(committed.head.tolerates_nodes, 1);
//!
//! network.kill(0);
//! assert_eq!(client.get("notes/a.txt").bytes().await?, &b"hello"[..]);
//! assert_eq!(client.get("notes/a.txt").range(1..3).bytes().await?, &b"el"[..]);
//! # Ok::<(), dstore::Error>(())
//! # }).unwrap();
//! ```
//!
//! The cluster is in the feature `testing`. Where to look for what:
//!
//! | modules | |
//! |---|---|
//! | [`client`] | puts, gets, and everything else that an owner does with files |
//! | [`node`], [`registry`] | the two roles that serve |
//! | [`config`] | a client from settings in maps and files that the caller hands over |
//! | [`ledger`], [`store`], [`journal`] | the ports behind which records, shards and unfinished work live; write your own |
//! | [`error`], [`id`], [`path`], [`scheme`] | causes of failure, names, and the ways to cut a file |
//! | [`keys`], [`keyfile`], [`identity`], [`address`] | who an owner and a server are, and how they are written down |
//! | [`rt`] | the environment that a role is given: clock, tasks, sockets |
//! | [`testing`] | a network in memory with faults, a simulation of one, and suites of rules for the ports |
//! | [`seal`], [`erasure`], [`merkle`], [`manifest`], [`copy`], [`placement`], [`proto`], [`noise`], [`signature`], [`net`] | the formats and the protocol, as in `docs/` |
//!
//! The library prints nothing, installs no logger, reads no environment variable, and starts no thread before it is
//! asked to work. It tells what it does with `tracing`, never a path or a secret.

pub mod address;
mod admin;
mod announce;
pub mod client;
pub mod config;
pub mod copy;
pub mod erasure;
pub mod error;
pub mod id;
pub mod identity;
pub mod journal;
pub mod keyfile;
pub mod keys;
pub mod ledger;
pub mod manifest;
pub mod merkle;
mod metrics;
pub mod net;
pub mod node;
pub mod noise;
pub mod path;
pub mod placement;
pub mod proto;
pub mod registry;
pub mod rt;
pub mod scheme;
pub mod seal;
pub mod signature;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use address::RegistryAddr;
pub use client::{
    ByteStream, Client, ClientBuilder, Committed, CopyFile, Event, Events, FileVersion, Get, Head, Network, NodeStatus,
    Progress, Put, PutMode, Reader, RecoveredFile, RecoveredLedger, Recovery, RecoveryNode, Save, ShardCheck,
    ShardHealth, ShardHome, Source, Warning, WarningCode,
};
pub use error::{Error, Result};
pub use identity::ServerIdentity;
pub use keys::Owner;
pub use ledger::{LocalLedger, MemoryLedger};
pub use net::{Limits, ServerHandle};
pub use node::{Admission, NodeHandle, StorageNode, StorageNodeBuilder, Strangers};
pub use path::FilePath;
pub use proto::Invite;
pub use registry::{Registry, RegistryBuilder, RegistryHandle};
pub use scheme::{Padding, Scheme};

/// The examples of the README, compiled with the other ones.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
