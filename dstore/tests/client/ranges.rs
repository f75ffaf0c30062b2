//! Parts of a file.

use dstore::{Padding, Scheme};
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
