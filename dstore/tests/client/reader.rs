//! Readers that seek, several ranges at once, and what they fetch for it.

use std::io::SeekFrom;

use dstore::testing::Cluster;
use dstore::{Client, Error, Padding};
use futures_lite::future::block_on;
use futures_lite::{AsyncReadExt, AsyncSeekExt, StreamExt};
use proptest::prelude::*;

use super::{cluster_of, noise};

const MIB: usize = 1 << 20;

async fn stored(len: usize) -> (Cluster, Client, Vec<u8>) {
    let (cluster, client) = cluster_of(3).await;
    let content = noise(len);
    client.put("x", &content[..]).await.expect("stored");
    (cluster, client, content)
}

/// Bytes that travelled while `work` ran.
async fn travelled<T>(cluster: &Cluster, work: impl Future<Output = T>) -> (T, usize) {
    cluster.net().listen_in();
    let before = cluster.net().overheard().len();
    let result = work.await;
    (result, cluster.net().overheard().len() - before)
}

#[test]
fn a_reader_reads_from_any_position() {
    block_on(async {
        let (_cluster, client, content) = stored(5_000_001).await;
        let mut reader = client.get("x").reader().await.expect("a reader");
        assert_eq!((reader.len(), reader.head().size, reader.position()), (5_000_001, 5_000_001, 0));
        for (to, at) in [
            (SeekFrom::Start(4_000_000), 4_000_000),
            (SeekFrom::Current(-10_000), 3_991_000),
            (SeekFrom::Start(0), 0),
            (SeekFrom::End(-1000), 4_999_001),
            (SeekFrom::Start(65_000), 65_000),
        ] {
            let position = reader.seek(to).await.expect("sought");
            assert_eq!(position, at, "{to:?}");
            let at = usize::try_from(at).expect("small");
            let mut buf = vec![0; 1000];
            reader.read_exact(&mut buf).await.expect("read");
            assert!(buf == content[at..at + 1000], "{to:?}");
        }
        assert_eq!(reader.seek(SeekFrom::Start(u64::MAX)).await.expect("as with files"), u64::MAX);
        assert_eq!(reader.read(&mut [0; 10]).await.expect("nothing"), 0);
        assert!(reader.seek(SeekFrom::End(-5_000_002)).await.is_err(), "before the beginning");
        reader.seek(SeekFrom::Start(0)).await.expect("sought");
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.expect("read");
        assert!(all == content);
    });
}

#[test]
fn a_reader_of_a_range_knows_nothing_else() {
    block_on(async {
        let (_cluster, client, content) = stored(1_000_000).await;
        let mut reader = client.get("x").range(300_000..2_000_000).reader().await.expect("a reader");
        assert_eq!(reader.len(), 700_000);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.expect("read");
        assert!(read == content[300_000..]);
        assert_eq!(reader.seek(SeekFrom::End(-10)).await.expect("sought"), 699_990);
        let mut end = Vec::new();
        reader.read_to_end(&mut end).await.expect("read");
        assert!(end == content[999_990..]);
        let empty = client.get("x").range(7..7).reader().await.expect("a reader");
        assert!(empty.is_empty());
    });
}

#[test]
fn small_reads_here_and_there_fetch_their_stripes_only() {
    block_on(async {
        let (cluster, client, content) = stored(20 * MIB).await;
        let mut reader = client.get("x").reader().await.expect("a reader");
        let mut buf = vec![0; 4096];
        // The first read also connects.
        reader.read_exact(&mut buf).await.expect("read");
        for at in [15 * MIB, 3 * MIB + 17, 9 * MIB, 4 * MIB] {
            let work = async {
                reader.seek(SeekFrom::Start(at as u64)).await.expect("sought");
                reader.read_exact(&mut buf).await.expect("read");
            };
            let ((), bytes) = travelled(&cluster, work).await;
            assert!(buf == content[at..at + 4096]);
            assert!(bytes < 160_000, "{bytes} bytes for 4096 at {at}: two stripes are 128 KiB");
        }
    });
}

#[test]
fn a_seek_within_what_was_read_ahead_fetches_nothing_again() {
    block_on(async {
        let (cluster, client, content) = stored(20 * MIB).await;
        let mut reader = client.get("x").reader().await.expect("a reader");
        let mut read = vec![0; 8 * MIB];
        let work = async {
            reader.read_exact(&mut read).await.expect("read");
            // By now several windows are ahead.
            for _ in 0..8 {
                reader.seek(SeekFrom::Current(MIB as i64)).await.expect("sought");
                let mut buf = vec![0; 1000];
                reader.read_exact(&mut buf).await.expect("read");
                let end = usize::try_from(reader.position()).expect("small");
                assert!(buf == content[end - 1000..end]);
            }
        };
        let ((), bytes) = travelled(&cluster, work).await;
        assert!(read == content[..8 * MIB]);
        assert!(bytes < 22 * MIB, "{bytes}: nothing came twice");
    });
}

#[test]
fn several_readers_of_one_file_go_their_own_ways() {
    block_on(async {
        let (_cluster, client, content) = stored(5 * MIB).await;
        let mut readers = Vec::new();
        for start in 0..5 {
            let mut reader = client.get("x").reader().await.expect("a reader");
            reader.seek(SeekFrom::Start((start * MIB) as u64)).await.expect("sought");
            readers.push((reader, start * MIB));
        }
        for _ in 0..4 {
            for (reader, at) in &mut readers {
                let mut buf = vec![0; MIB / 4];
                reader.read_exact(&mut buf).await.expect("read");
                assert!(buf == content[*at..*at + MIB / 4]);
                *at += MIB / 4;
            }
        }
    });
}

#[test]
fn a_file_that_was_replaced_and_is_gone_is_an_error_and_never_another_version() {
    block_on(async {
        let (mut cluster, client, content) = stored(8 * MIB).await;
        let mut reader = client.get("x").reader().await.expect("a reader");
        let mut buf = vec![0; 1000];
        reader.read_exact(&mut buf).await.expect("read");
        assert!(buf == content[..1000]);
        for node in 0..3 {
            cluster.wipe(node).await.expect("restarted");
        }
        client.put("x", &noise(8 * MIB + 1)[..]).await.expect("replaced");
        reader.seek(SeekFrom::Start(6 * MIB as u64)).await.expect("sought");
        let error = reader.read_exact(&mut buf).await.expect_err("that version is gone");
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()).expect("a cause of ours");
        assert!(matches!(cause, Error::Superseded { .. }), "{cause}");
    });
}

#[test]
fn many_ranges_come_back_in_the_order_asked_and_what_they_share_travels_once() {
    block_on(async {
        let (cluster, client, content) = stored(10 * MIB).await;
        client.get("x").range(0..1).bytes().await.expect("connected");
        let end = 10 * MIB as u64;
        let mut asked =
            vec![7_000_000..7_001_000, 5..5, 0..10, end - 5..end + 5, end + 1..end + 9, 6_999_990..7_000_500];
        asked.extend((0..3000).map(|at| at * 500..at * 500 + 700));
        let (parts, bytes) = travelled(&cluster, client.get("x").ranges(asked.clone())).await;
        let parts = parts.expect("read");
        assert_eq!(parts.len(), asked.len());
        for (part, range) in parts.iter().zip(asked) {
            let clip = |at: u64| usize::try_from(at.min(end)).expect("small");
            assert!(part[..] == content[clip(range.start)..clip(range.end)], "{range:?}");
        }
        assert!(bytes < 2_200_000, "{bytes} bytes for 1.5 MB in one place and two stripes elsewhere");
    });
}

#[test]
fn ranges_count_from_the_range_that_was_given_before() {
    block_on(async {
        let (_cluster, client, content) = stored(500_000).await;
        let parts = client.get("x").range(100_000..200_000).ranges([0..10, 99_990..100_010]).await.expect("read");
        assert!(parts[0][..] == content[100_000..100_010] && parts[1][..] == content[199_990..200_000]);
        assert!(client.get("x").ranges([]).await.expect("nothing").is_empty());
    });
}

#[test]
fn ranges_that_do_not_fit_in_memory_are_refused() {
    block_on(async {
        let (cluster, _, _) = stored(10 * MIB).await;
        let client = cluster.client_builder().memory(1).connect().await.expect("a client of 16 MiB");
        let error = client.get("x").ranges([0..10 << 20, 0..10 << 20]).await.expect_err("too much");
        assert!(matches!(error, Error::TooLarge { size: 20_971_520, limit: 16_777_216, .. }), "{error}");
        let error = client.get("x").ranges((0..100_000).map(|at| at..at)).await.expect_err("too many");
        assert_eq!(error.code(), "too_large");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    /// Reads and seeks of any kind, beside the same ones in memory.
    #[test]
    fn a_reader_reads_what_a_cursor_would(len in 0..700_000_usize, steps in prop::collection::vec((0..700_000_u64, 1..200_000_usize), 6)) {
        block_on(async {
            let (_cluster, client) = cluster_of(3).await;
            let content = noise(len);
            client.put("x", &content[..]).padding(Padding::None).await.expect("stored");
            let mut reader = client.get("x").reader().await.expect("a reader");
            let mut cursor = futures_lite::io::Cursor::new(content);
            for (at, count) in steps {
                reader.seek(SeekFrom::Start(at)).await.expect("sought");
                cursor.seek(SeekFrom::Start(at)).await.expect("sought");
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                (&mut reader).take(count as u64).read_to_end(&mut ours).await.expect("read");
                (&mut cursor).take(count as u64).read_to_end(&mut theirs).await.expect("read");
                assert!(ours == theirs, "{count} from {at}");
            }
        });
    }
}

#[test]
fn a_reader_and_a_stream_give_the_same() {
    block_on(async {
        let (_cluster, client, content) = stored(3 * MIB + 5).await;
        let mut stream = client.get("x").stream().await.expect("a stream");
        let mut streamed = Vec::new();
        while let Some(piece) = stream.next().await {
            streamed.extend_from_slice(&piece.expect("read"));
        }
        let mut read = Vec::new();
        client.get("x").reader().await.expect("a reader").read_to_end(&mut read).await.expect("read");
        assert!(read == streamed && read == content);
    });
}
