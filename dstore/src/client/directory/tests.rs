//! Registries that are busy, hang or lie.

use futures_lite::future::{block_on, zip};
use futures_util::future::{Either, join_all, select};
use futures_util::io::AsyncWriteExt;

use super::*;
use crate::client::ClientBuilder;
use crate::id::NoiseKey;
use crate::noise::HandshakeError;
use crate::registry::Registry;
use crate::testing::MemoryNet;

fn directory(net: &MemoryNet, registries: Vec<RegistryAddr>, timeout: Duration) -> Directory {
    let settings = Settings { registries, timeout, ..ClientBuilder::default().settings };
    let owner = Owner::from_secret(&[0x11; 32]).expect("valid");
    Directory::new(&Rt::new(net.host()), &settings, &owner)
}

fn address(endpoint: String) -> RegistryAddr {
    RegistryAddr { id: NodeId::new([1; 20]), noise_key: NoiseKey::new([9; 32]), endpoint }
}

#[test]
fn a_registry_that_hangs_costs_all_who_ask_its_time_once() {
    block_on(async {
        let net = MemoryNet::new();
        let there = Rt::new(net.host());
        let listener = there.listen("10.0.0.2:0").await.expect("listens");
        let hung = address(listener.local_addr().to_string());
        let directory = directory(&net, vec![hung], Duration::from_millis(20));
        let mut sockets = Vec::new();
        let accept = async {
            loop {
                sockets.push(listener.accept().await.expect("accepted"));
            }
        };
        let ask = async {
            join_all((0..5).map(|_| directory.look_up(NodeId::new([7; 20])))).await;
            directory.upload_nodes(1).await.expect_err("nobody answers")
        };
        let Either::Right((error, accept)) = select(Box::pin(accept), Box::pin(ask)).await;
        drop(accept);
        assert_eq!(sockets.len(), 1);
        assert!(matches!(error, Error::Peer { problem: crate::error::PeerProblem::Timeout(_), .. }), "{error}");
    });
}

#[test]
fn a_busy_registry_is_asked_again() {
    block_on(async {
        let net = MemoryNet::new();
        let there = Rt::new(net.host());
        let listener = there.listen("10.0.0.2:0").await.expect("listens");
        let busy = address(listener.local_addr().to_string());
        let directory = directory(&net, vec![busy], Duration::from_secs(20));
        let refuse = async {
            for _ in 0..3 {
                let mut socket = listener.accept().await.expect("accepted");
                let _ = socket.writer.write_all(&HandshakeError::Busy.refusal()).await;
                let _ = socket.writer.close().await;
            }
        };
        let asked = select(Box::pin(refuse), Box::pin(directory.look_up(NodeId::new([7; 20])))).await;
        assert!(matches!(asked, Either::Left(_)), "it gave up");
    });
}

#[test]
fn a_registry_that_hangs_does_not_hold_up_the_answer_of_another() {
    block_on(async {
        let net = MemoryNet::new();
        let there = Rt::new(net.host());
        let listener = there.listen("10.0.0.2:0").await.expect("listens");
        let hung = address(listener.local_addr().to_string());
        let good = Registry::builder().rt(Rt::new(net.host())).start().await.expect("starts");
        let directory = directory(&net, vec![hung, good.registry_address()], Duration::from_secs(30));
        let started = directory.rt.uptime();
        let (socket, network) = zip(listener.accept(), directory.network()).await;
        let took = directory.rt.uptime().saturating_sub(started);
        assert!(socket.is_ok() && took < CONNECT / 2, "{took:?}");
        let network = network.expect("one answered");
        assert_eq!((network.unreachable.len(), network.required), (1, 3));
    });
}

#[test]
fn a_registry_that_asks_for_absurdly_many_nodes_does_not_stop_uploads() {
    assert_eq!(required(2, &[u32::MAX, 3]), 3);
    assert_eq!(required(4, &[3, 3]), 4);
    assert_eq!(required(4, &[]), 4);
    assert_eq!(required(2, &[u32::MAX]), 256);
}
