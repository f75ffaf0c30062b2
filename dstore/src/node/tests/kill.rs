//! kill -9 of a node's process at every step of a put: what it said stays true, and what it held is gone on with.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_lite::future::block_on;

use super::{WAIT, ask, key, name, reply};
use crate::id::ShardRoot;
use crate::identity::ServerIdentity;
use crate::keys::{TransportKey, network_id};
use crate::merkle::{BLOCK_LEN, BlockRange, ProvedLeaves, block_count};
use crate::net::{Body, Dialer, Link};
use crate::node::StorageNode;
use crate::noise::{Expected, Role};
use crate::proto::{NodeReply, NodeRequest, PutEnd, PutOffer, Signed, encode};
use crate::rt::Rt;
use crate::signature::SecretKey;
use crate::store::{DiskStore, DiskStoreConfig, ShardState, ShardStore};

const FOLDER: &str = "DSTORE_TEST_NODE_FOLDER";
const MIB: usize = 1 << 20;

fn data() -> Vec<u8> {
    crate::testing::conformance::store::bytes(9, 3 * MIB + 5)
}

/// Not a test by itself: the process that the tests below kill.
#[test]
fn child_that_is_a_node_until_it_is_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    block_on(async {
        let node = StorageNode::builder().dir(dir).free_floor(0).start().await.expect("a node starts");
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nlistening {}", node.address()).and_then(|()| out.flush()).expect("the parent listens");
        drop(out);
        node.closed().await;
    });
}

/// A node in a process of its own, which ends with this value.
struct Process {
    child: Child,
    address: String,
    expected: Expected,
}

impl Process {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["node::tests::kill::child_that_is_a_node_until_it_is_killed", "--exact", "--nocapture"])
            .env(FOLDER, dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
        let address = lines.find_map(|line| line.expect("text").strip_prefix("listening ").map(str::to_owned));
        let identity = ServerIdentity::open_or_create(dir.join("identity.key"), &Rt::default()).expect("reads");
        let network = network_id("dstore");
        let expected = Expected { id: identity.id(), noise_key: identity.noise_key(), role: Role::Node, network };
        Self { child, address: address.expect("it listens"), expected }
    }

    async fn connect(&self) -> Link {
        let dialer = Dialer::new(Rt::default(), WAIT);
        dialer.connect(&self.address, &TransportKey::new([1; 32]), &self.expected).await.expect("a link")
    }

    async fn begin(&self, link: &mut Link, owner: &SecretKey) -> NodeReply {
        let offer = PutOffer { node: self.expected.id, name: name(owner), len: None, lease: 1_000_000, root: None };
        let begin = NodeRequest::PutBegin(Signed::new(&offer, owner, self.expected.network, &link.session));
        ask(link, &begin).await.expect("an answer")
    }

    /// Begins, or goes on: answers how many bytes the node has, which are those of the data.
    async fn take_up(&self, link: &mut Link, owner: &SecretKey) -> usize {
        let NodeReply::PutReady { have, root } = self.begin(link, owner).await else { panic!("stored before its end") };
        let have = usize::try_from(have).expect("small") * BLOCK_LEN;
        assert_eq!(root, ShardRoot::of(&data()[..have]));
        have
    }

    /// Ready when the node has written so many bytes to the file of the shard of `owner`: room is set aside before that.
    async fn holds(&self, dir: &Path, owner: &SecretKey, bytes: usize) {
        let file = dir.join("open").join(name(owner).id().to_string());
        let mut link = self.connect().await;
        while std::fs::metadata(&file).map_or(0, |file| file.len()) < bytes as u64 {
            ask(&mut link, &NodeRequest::Info).await.expect("it lives");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn send(link: &mut Link, bytes: &[u8], last: Body) {
    let mut frames = bytes.chunks(crate::net::MAX_DATA_LEN).peekable();
    while let Some(frame) = frames.next() {
        link.writer.data(&[frame], if frames.peek().is_none() { last } else { Body::More });
    }
    link.writer.flush().await.expect("sent");
}

async fn end(link: &mut Link) {
    link.writer.control(&encode(&PutEnd { root: ShardRoot::of(&data()) }));
    link.writer.flush().await.expect("sent");
}

fn is_receipt(reply: &NodeReply, process: &Process) -> bool {
    let NodeReply::Stored(receipt) = reply else { return false };
    let receipt = receipt.receipt(process.expected.network).expect("is signed by the node it names");
    assert_eq!((receipt.node, receipt.root), (process.expected.id, ShardRoot::of(&data())));
    assert_eq!(receipt.len, data().len() as u64);
    true
}

/// What a store in `dir` says of the shard of `owner`, now that no process has it: it is live, and whole.
async fn check_stored(dir: &Path, owner: &SecretKey) {
    let config = DiskStoreConfig::new().free_floor(0);
    let store = DiskStore::open(dir, config, Rt::default()).await.expect("opens");
    let (id, len) = (name(owner).id(), data().len() as u64);
    let stored = store.stat(id).await.expect("it was acknowledged");
    assert_eq!((stored.state, stored.root, stored.len), (ShardState::Live, ShardRoot::of(&data()), len));
    let range = BlockRange::new(len, 0, block_count(len)).expect("the whole");
    let read = store.read(id, range).await.expect("reads");
    assert!(ProvedLeaves::verify(stored.root, range, &read.proof).is_some());
    assert_eq!(read.bytes, data());
    assert_eq!(store.usage().await.expect("counts").open, 0);
}

#[test]
fn a_node_killed_at_every_step_of_a_put_loses_nothing_that_it_had() {
    let (dir, owner, data) = (tempfile::tempdir().expect("a folder"), key(1), data());
    block_on(async {
        let mut held = 0;
        // Killed after PutReady, after each megabyte, and before the end.
        for sent in [0, MIB, 2 * MIB, 3 * MIB, data.len()] {
            let process = Process::start(dir.path());
            let mut link = process.connect().await;
            assert_eq!(process.take_up(&mut link, &owner).await, held, "only what is missing is sent");
            if sent > held {
                let is_last = sent == data.len();
                send(&mut link, &data[held..sent], if is_last { Body::End } else { Body::More }).await;
                process.holds(dir.path(), &owner, sent).await;
            }
            held = sent - sent % BLOCK_LEN;
        }
        let process = Process::start(dir.path());
        let mut link = process.connect().await;
        assert_eq!(process.take_up(&mut link, &owner).await, 3 * MIB);
        send(&mut link, &data[3 * MIB..], Body::End).await;
        end(&mut link).await;
        let stored = reply(&mut link).await.expect("an answer");
        assert!(is_receipt(&stored, &process), "{stored:?}");
        drop(process);
        let process = Process::start(dir.path());
        let again = process.begin(&mut process.connect().await, &owner).await;
        assert!(is_receipt(&again, &process), "the receipt stays true: {again:?}");
        drop(process);
        check_stored(dir.path(), &owner).await;
    });
}

#[test]
fn a_node_killed_between_the_end_of_a_put_and_its_receipt_has_all_of_it_or_goes_on() {
    let (dir, data) = (tempfile::tempdir().expect("a folder"), data());
    block_on(async {
        for owner in [1, 2, 3, 4].map(key) {
            let process = Process::start(dir.path());
            let mut link = process.connect().await;
            assert_eq!(process.take_up(&mut link, &owner).await, 0);
            send(&mut link, &data, Body::End).await;
            end(&mut link).await;
            drop(process);

            let process = Process::start(dir.path());
            let mut link = process.connect().await;
            let mut said = process.begin(&mut link, &owner).await;
            if let NodeReply::PutReady { have, root } = &said {
                let have = usize::try_from(*have).expect("small") * BLOCK_LEN;
                assert_eq!(*root, ShardRoot::of(&data[..have]));
                send(&mut link, &data[have..], Body::End).await;
                end(&mut link).await;
                said = reply(&mut link).await.expect("an answer");
            }
            assert!(is_receipt(&said, &process), "{said:?}");
            drop(process);
            check_stored(dir.path(), &owner).await;
        }
    });
}
