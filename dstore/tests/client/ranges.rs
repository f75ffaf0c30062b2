//! Parts of a file.

use dstore::{Error, Padding, Scheme};
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::{cluster_of, noise};

#[test]
fn every_range_is_the_same_part_of_the_file() {
    let segment = Scheme::STANDARD.segment_len() as u64;
    let len = 40 * segment + 123;
    block_on(async {
        let (mut cluster, client) = cluster_of(3).await;
        let content = noise(usize::try_from(len).expect("small"));
        client.put("x", &content[..]).await.expect("stored");
        let borders = [0, 1, segment - 1, segment, segment + 1, 33 * segment, len - 1, len, len + 1, u64::MAX];
        for lost in [None, Some(0)] {
            if let Some(node) = lost {
                cluster.kill(node);
            }
            for start in borders {
                for end in borders {
                    let read = client.get("x").range(start..end).bytes().await.expect("read");
                    let clip = |at: u64| usize::try_from(at.min(len)).expect("small");
                    let expected = if start < end { &content[clip(start)..clip(end)] } else { &[] };
                    assert!(read == expected, "{start}..{end} with {lost:?} lost");
                }
            }
        }
    });
}

/// What a runtime with several threads asks of a future.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

#[test]
fn memory_of_the_caller_is_asked_for_once_and_exactly_and_filled_from_where_it_ends() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        let content = noise(200_000);
        client.put("x", &content[..]).await.expect("stored");
        for range in [0..200_000, 70_000..150_000, 199_999..u64::MAX, 7..7] {
            let mut asked = Vec::new();
            let read = client.get("x").range(range.clone()).bytes_into(|len| {
                asked.push(len);
                b"before".to_vec()
            });
            let read = sendable(read).await.expect("read");
            let clip = |at: u64| usize::try_from(at.min(200_000)).expect("small");
            let expected = &content[clip(range.start)..clip(range.end)];
            assert!(read == [&b"before"[..], expected].concat(), "{range:?}");
            assert_eq!(asked, [expected.len()], "{range:?}");
        }
    });
}

#[test]
fn memory_of_the_caller_that_is_too_small_is_refused() {
    block_on(async {
        let (_cluster, client) = cluster_of(3).await;
        client.put("x", &noise(1000)[..]).await.expect("stored");
        let mut memory = [[0; 999], [0; 999]];
        let mut memory = memory.iter_mut();
        let error = client.get("x").bytes_into(|_| &mut memory.next().expect("once")[..]).await.expect_err("too small");
        assert!(matches!(error, Error::TooLarge { size: 1000, limit: 999, .. }), "{error}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_file_and_range_reads_back(len in 0..400_000_usize, ranges in prop::collection::vec((0..400_000_u64, 0..400_000_u64), 4)) {
        block_on(async {
            let (_cluster, client) = cluster_of(3).await;
            let content = noise(len);
            client.put("x", &content[..]).padding(Padding::None).await.expect("stored");
            for (start, count) in ranges {
                let read = client.get("x").range(start..start + count).bytes().await.expect("read");
                let clip = |at: u64| usize::try_from(at).expect("small").min(len);
                assert!(read == content[clip(start)..clip(start + count)]);
            }
        });
    }
}
