//! What nodes and listeners on the wire can see.

use std::collections::HashSet;

use dstore::store::ShardStore;
use futures_lite::future::block_on;

use super::cluster_of;

/// Whether `text` stands anywhere in `bytes`.
fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn nothing_that_travels_can_be_read_or_matched() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let owner = client.owner();
        cluster.net().listen_in();
        let (path, text) = ("letters/to my dearest.txt", b"meet me at the old bridge at midnight".repeat(3000));
        let committed = client.put(path, &text[..]).await.expect("stored");
        assert_eq!(client.get(path).bytes().await.expect("read"), text);
        client.rename(path, "letters/2").await.expect("renamed");
        client.remove("letters/2").await.expect("removed");
        client.close().await;

        let wire = cluster.net().overheard();
        assert!(wire.len() > 2 * text.len() && holds(&wire, b"DSTR"), "all of it went over this wire");
        let head = &committed.head;
        let secrets = [
            &b"letters/"[..],
            b"dearest",
            b"meet me at",
            head.file_id.as_bytes(),
            owner.as_bytes(),
            &head.content_hash,
        ];
        for secret in secrets {
            assert!(!holds(&wire, secret), "{secret:?}");
        }
        for node in 0..3 {
            for id in cluster.store(node).ids() {
                assert!(!holds(&wire, id.as_bytes()), "a shard's address");
                let key = cluster.store(node).stat(id).await.expect("there").key;
                assert!(!holds(&wire, &key.cap_pk), "a capability");
                assert!(!holds(&wire, key.account.as_bytes()), "a client's transport key");
            }
        }
    });
}

#[test]
fn two_nodes_find_nothing_in_common_in_what_they_keep() {
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        for path in ["a", "b"] {
            client.put(path, &[7; 300_000][..]).await.expect("stored");
        }
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        for node in 0..3 {
            let store = cluster.store(node);
            let mut kept: HashSet<Vec<u8>> = HashSet::new();
            for (id, bytes) in store.ids().into_iter().zip(store.contents()) {
                let shard = store.stat(id).await.expect("there");
                kept.insert(id.as_bytes().to_vec());
                kept.insert(shard.key.cap_pk.to_vec());
                kept.insert(shard.key.account.as_bytes().to_vec());
                kept.insert(shard.root.as_bytes().to_vec());
                // The zeros that fill the last stripe are in every content, and say nothing.
                let chunks = bytes.chunks(64).filter(|chunk| chunk.iter().any(|byte| *byte != 0));
                kept.extend(chunks.map(<[u8]>::to_vec));
            }
            for what in kept {
                assert!(seen.insert(what), "node {node} can match something with another node");
            }
        }
    });
}
