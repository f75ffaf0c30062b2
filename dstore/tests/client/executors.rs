//! Every public future runs under any executor.

use dstore::testing::Cluster;

use super::noise;

async fn whole_way() {
    let mut cluster = Cluster::start(3).await.expect("a cluster starts");
    let client = cluster.client().await.expect("a client");
    let content = noise(2_000_000);
    client.put("x", &content[..]).await.expect("stored");
    cluster.kill(0);
    assert!(client.get("x").bytes().await.expect("read") == content);
    client.rename("x", "y").await.expect("renamed");
    client.remove("y").await.expect("removed");
    client.close().await;
}

#[test]
fn under_async_std() {
    async_std::task::block_on(whole_way());
}

#[test]
fn under_smol() {
    smol::block_on(whole_way());
}

#[test]
fn under_tokio_with_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    runtime.block_on(async { tokio::spawn(whole_way()).await.expect("no panic") });
}

#[test]
fn under_tokio_with_one_thread() {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(whole_way());
}

#[test]
fn under_a_plain_block_on() {
    futures_lite::future::block_on(whole_way());
}
