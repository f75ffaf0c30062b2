//! Bytes, files and readers go in; bytes, streams, readers and files come out.

use std::sync::{Arc, Mutex};

use dstore::{Padding, Progress, Scheme, Source};
use futures_lite::AsyncReadExt;
use futures_lite::future::block_on;

use super::{cluster_of, noise};

#[test]
fn every_length_around_the_borders_of_segment_small_shard_and_batch_reads_back() {
    let segment = Scheme::STANDARD.segment_len();
    let around = |len: usize| [len - 1, len, len + 1];
    let borders = [16, segment, 3 * segment, 16 * segment, 17 * segment, 32 * segment, 33 * segment];
    let lengths: Vec<usize> = [0, 1].into_iter().chain(borders.into_iter().flat_map(around)).collect();
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        for padding in [Padding::None, Padding::Padme] {
            for len in &lengths {
                let content = noise(*len);
                client.put("x", &content[..]).padding(padding).await.expect("stored");
                assert!(client.get("x").bytes().await.expect("read") == content, "{len} {padding:?}");
                let reader = Source::reader(futures_lite::io::Cursor::new(content.clone()));
                client.put("y", reader).padding(padding).await.expect("stored");
                assert!(client.get("y").bytes().await.expect("read") == content, "{len} {padding:?} from a reader");
            }
        }
    });
}

#[test]
fn other_schemes_read_back_too() {
    block_on(async {
        let (mut cluster, client) = cluster_of(5).await;
        for (k, m) in [(1, 1), (2, 2), (3, 3), (8, 4), (16, 16)] {
            let scheme = Scheme::new(k, m).expect("valid");
            let content = noise(2 * scheme.segment_len() + 77);
            let committed = client.put("x", &content[..]).scheme(scheme).await.expect("stored");
            let lost = cluster.index_of(committed.head.shards[0].node).expect("a member");
            cluster.kill(lost);
            assert!(client.get("x").bytes().await.expect("read") == content, "{scheme}");
            cluster.restart(lost).await.expect("restarted");
        }
    });
}

#[test]
fn a_local_file_goes_in_and_comes_out_and_replaces_only_when_whole() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (from, to) = (dir.path().join("文件 1"), dir.path().join("out"));
        let content = noise(4_000_000);
        std::fs::write(&from, &content).expect("written");
        std::fs::write(&to, b"old").expect("written");
        let (mut cluster, client) = cluster_of(3).await;
        client.upload(&from, "文件/1").await.expect("stored");
        client.get("文件/1").save(&to).await.expect("saved");
        assert!(std::fs::read(&to).expect("there") == content);

        std::fs::write(&to, b"old").expect("written");
        cluster.kill(0);
        cluster.kill(1);
        client.get("文件/1").save(&to).await.expect_err("too few nodes");
        assert_eq!(std::fs::read(&to).expect("there"), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 2, "no partial file is left");
    });
}

#[test]
fn a_local_file_that_is_missing_or_cannot_be_one_says_so() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let error = client.upload("/nowhere/at/all", "x").await.expect_err("not there");
        assert_eq!(error.code(), "not_found");
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
        let error = client.upload(std::env::temp_dir(), "x").await.expect_err("a folder is no file");
        assert_eq!(error.code(), "config");
        client.put("x", &b"text"[..]).await.expect("stored");
        let dir = tempfile::tempdir().expect("a folder");
        for to in [dir.path().to_owned(), dir.path().join("n".repeat(300))] {
            let error = client.get("x").save(&to).await.expect_err("no place for a file");
            assert_eq!(error.code(), "config", "{error}");
        }
    });
}

#[test]
fn a_source_that_fails_in_the_middle_commits_nothing() {
    struct Failing;
    impl futures_lite::AsyncRead for Failing {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut [u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::task::Poll::Ready(Err(std::io::Error::other("gone")))
        }
    }
    block_on(async {
        let (cluster, client) = cluster_of(3).await;
        let source = AsyncReadExt::chain(futures_lite::io::Cursor::new(noise(3_000_000)), Failing);
        client.put("x", Source::reader(source)).await.expect_err("the source failed");
        assert_eq!(client.head("x").await.expect_err("nothing").code(), "not_found");
        assert_eq!(cluster.live_shards().await, 0);
    });
}

#[test]
fn progress_of_a_small_file_is_told_at_its_end() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        for len in [0, 1, 100_000] {
            let told = Arc::new(Mutex::new(Vec::new()));
            let note = told.clone();
            let put =
                client.put("x", noise(len)).progress(move |progress| note.lock().expect("no panic").push(progress));
            put.await.expect("stored");
            let told = told.lock().expect("no panic");
            let [progress] = &told[..] else { panic!("{} of {len} bytes", told.len()) };
            let len = len as u64;
            assert_eq!((progress.bytes_done, progress.bytes_durable, progress.bytes_total), (len, len, Some(len)));
        }
    });
}

#[test]
fn progress_reaches_the_whole_size_both_ways() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let content = noise(5_000_000);
        let last = Arc::new(Mutex::new(Progress::default()));
        let note = || {
            let last = last.clone();
            move |progress: Progress| {
                let mut last = last.lock().expect("no panic");
                assert!(progress.bytes_done >= last.bytes_done && progress.bytes_durable >= last.bytes_durable);
                *last = progress;
            }
        };
        client.put("x", &content[..]).progress(note()).await.expect("stored");
        let size = content.len() as u64;
        let end = std::mem::take(&mut *last.lock().expect("no panic"));
        assert_eq!((end.bytes_done, end.bytes_durable, end.bytes_total), (size, size, Some(size)));
        client.get("x").progress(note()).bytes().await.expect("read");
        let end = *last.lock().expect("no panic");
        assert_eq!((end.bytes_done, end.bytes_total), (size, Some(size)));
    });
}

#[test]
fn a_reader_gives_the_same_bytes() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let content = noise(3_000_000);
        client.put("x", &content[..]).await.expect("stored");
        let mut read = vec![];
        client.get("x").reader().await.expect("a reader").read_to_end(&mut read).await.expect("read");
        assert!(read == content);
    });
}

#[test]
fn what_the_user_says_of_a_file_comes_back() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        client.put("x", &b"text"[..]).attribute("type", "text/plain").await.expect("stored");
        let head = client.head("x").await.expect("there");
        assert_eq!(head.attributes, [("type".to_owned(), "text/plain".to_owned())]);
        assert_eq!(head.content_hash, *blake3::hash(b"text").as_bytes());
        assert_eq!((head.size, head.path.as_str()), (4, "x"));
    });
}

/// Files of `/proc` say that they have no bytes.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_does_not_know_its_length_is_stored_whole() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let committed = client.upload("/proc/version", "x").await.expect("stored");
        let content = std::fs::read("/proc/version").expect("readable");
        assert!(!content.is_empty());
        assert_eq!(committed.head.size, content.len() as u64);
        assert_eq!(client.get("x").bytes().await.expect("read"), content);
    });
}
