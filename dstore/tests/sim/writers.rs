//! Two clients of one owner at the same path, in every order that chance finds.

use dstore::testing::{Sim, SimNet};
use dstore::{Head, PutMode, Result};
use futures_lite::future;

use super::{at_seeds, content};

/// The ways to write a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    Put(u64),
    Create(u64),
    Remove,
    RenameAway,
    RenameHere,
}

impl Write {
    async fn run(self, client: dstore::Client) -> Result<Head> {
        match self {
            Self::Put(number) => Ok(client.put("x", &content(number, 10_000)[..]).await?.head),
            Self::Create(number) => Ok(client.put("x", &content(number, 10_000)[..]).mode(PutMode::Create).await?.head),
            Self::Remove => client.remove("x").await,
            Self::RenameAway => client.rename("x", "y").await,
            Self::RenameHere => client.rename("z", "x").await,
        }
    }
}

/// Two writes at once; nothing may be left of the loser.
async fn race(net: &SimNet, one: Write, two: Write) -> (Result<Head>, Result<Head>) {
    let (a, b) = (net.client().await, net.client().await);
    let late = net.below(400) as u64;
    let first = a.spawn(move |client| one.run(client));
    net.at_step(net.steps() + late).await;
    let second = b.spawn(move |client| two.run(client));
    let (first, second) = future::zip(first, second).await;
    a.close().await;
    b.close().await;
    (first.expect("alive"), second.expect("alive"))
}

#[test]
fn of_two_creators_one_wins_and_the_other_is_told() {
    at_seeds(40, |seed| {
        Sim::new(seed).run(async |net| {
            let results = race(&net, Write::Create(1), Write::Create(2)).await;
            let (winner, error) = match results {
                (Ok(_), Err(error)) => (1, error),
                (Err(error), Ok(_)) => (2, error),
                both => panic!("{both:?}"),
            };
            assert_eq!(error.code(), "already_exists");
            let client = net.client().await;
            assert!(client.get("x").bytes().await.expect("read") == content(winner, 10_000));
            assert_eq!(net.shards().await.0, 6, "the loser's are retired, the winner's are not");
        });
    });
}

#[test]
fn of_two_writers_each_version_has_one() {
    at_seeds(40, |seed| {
        Sim::new(seed).run(async |net| {
            let owner = net.client().await;
            owner.put("x", &content(0, 10_000)[..]).await.expect("stored");
            let (first, second) = race(&net, Write::Put(1), Write::Put(2)).await;
            let newest = match (&first, &second) {
                (Ok(one), Ok(two)) => {
                    assert_ne!(one.version, two.version);
                    if one.version > two.version { 1 } else { 2 }
                }
                (Ok(_), Err(error)) => {
                    assert_eq!(error.code(), "version_conflict");
                    1
                }
                (Err(error), Ok(_)) => {
                    assert_eq!(error.code(), "version_conflict");
                    2
                }
                both => panic!("{both:?}"),
            };
            assert!(owner.get("x").bytes().await.expect("read") == content(newest, 10_000));
            assert_eq!(net.shards().await.0, 6);
        });
    });
}

#[test]
fn a_put_beside_a_remove_or_a_rename_leaves_what_the_last_one_says() {
    at_seeds(60, |seed| {
        Sim::new(seed).run(async |net| {
            let owner = net.client().await;
            owner.put("x", &content(0, 10_000)[..]).await.expect("stored");
            let other = [Write::Remove, Write::RenameAway][net.below(2)];
            let (put, moved) = race(&net, Write::Put(1), other).await;
            for error in [put.as_ref().err(), moved.as_ref().err()].into_iter().flatten() {
                assert_eq!(error.code(), "version_conflict", "{error:?}");
            }
            assert!(put.is_ok() || moved.is_ok(), "both lost");
            let mut files = 0;
            for path in ["x", "y"] {
                match owner.get(path).bytes().await {
                    Ok(bytes) => {
                        assert!(bytes == content(0, 10_000) || bytes == content(1, 10_000));
                        files += 1;
                    }
                    Err(error) => assert_eq!(error.code(), "not_found", "{path}: {error:?}"),
                }
            }
            if put.is_err() {
                assert_eq!(owner.get("x").bytes().await.expect_err("gone").code(), "not_found");
            }
            assert_eq!(net.shards().await.0, 6 * files, "{other:?}");
        });
    });
}

#[test]
fn a_rename_replaces_nothing_that_a_put_brought_there() {
    at_seeds(40, |seed| {
        Sim::new(seed).run(async |net| {
            let owner = net.client().await;
            owner.put("z", &content(0, 10_000)[..]).await.expect("stored");
            let (put, moved) = race(&net, Write::Create(1), Write::RenameHere).await;
            let error = match (put, moved) {
                (Ok(_), Err(error)) => {
                    assert!(owner.get("x").bytes().await.expect("read") == content(1, 10_000));
                    assert!(owner.get("z").bytes().await.expect("read") == content(0, 10_000));
                    assert_eq!(net.shards().await.0, 12);
                    error
                }
                (Err(error), Ok(_)) => {
                    assert!(owner.get("x").bytes().await.expect("read") == content(0, 10_000));
                    assert_eq!(net.shards().await.0, 6);
                    error
                }
                both => panic!("{both:?}"),
            };
            assert!(["already_exists", "version_conflict"].contains(&error.code()), "{error:?}");
        });
    });
}
