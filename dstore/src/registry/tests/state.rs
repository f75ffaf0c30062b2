//! What a registry keeps across a restart, and what it says when it cannot.

use super::*;

#[test]
fn a_restarted_registry_is_the_same_and_suspects_its_nodes_until_it_hears_them() {
    block_on(async {
        let world = World::new();
        let folder = tempfile::tempdir().expect("a folder");
        let registry = world.start_in(folder.path()).await;
        let (stays, leaves) = (world.node().await, world.node().await);
        drop(stays.join(&world, &registry).await);
        let mut link = leaves.join(&world, &registry).await;
        link.ask(&RegistryRequest::Deregister).await.expect("answers");
        drop(link);
        let id = registry.id();
        registry.shutdown().await;

        world.clock.pass(Duration::from_secs(3600));
        let registry = world.start_in(folder.path()).await;
        assert_eq!(registry.id(), id);
        let states = || registry.nodes().iter().map(|node| (node.id, node.state)).collect::<Vec<_>>();
        assert_eq!(states(), [(stays.identity.id(), NodeState::Suspect)]);
        assert!(beat(&mut stays.link(&world, &registry).await).await);
        assert_eq!(states(), [(stays.identity.id(), NodeState::Active)]);
    });
}

#[test]
fn a_quarantine_outlasts_a_restart_of_the_registry_and_uploads_are_not_offered_the_node() {
    block_on(async {
        let (world, folder) = (World::new(), tempfile::tempdir().expect("a folder"));
        let registry = world.registry().dir(folder.path()).min_nodes(1).start().await.expect("starts");
        let node = world.node().await;
        let mut link = node.join(&world, &registry).await;
        for seq in 2..5 {
            link.ask(&RegistryRequest::Deregister).await.expect("leaves");
            register(&mut link, node.record(|record| record.seq = 1_800_000_000_000 + seq)).await.expect("comes back");
        }
        assert_eq!(registry.nodes()[0].state, NodeState::Quarantined);
        registry.shutdown().await;
        let registry = world.registry().dir(folder.path()).min_nodes(1).start().await.expect("starts again");
        let mut link = node.link(&world, &registry).await;
        assert!(beat(&mut link).await);
        assert_eq!(registry.nodes()[0].state, NodeState::Quarantined);
        let mut client = world.client(&registry).await;
        let offered = client.ask(&RegistryRequest::ListForUpload).await.expect("answers");
        assert_eq!(offered, RegistryReply::NotEnough { active: 0, required: 1 });
    });
}

#[test]
fn a_state_of_the_first_format_is_taken_over() {
    block_on(async {
        let (world, folder) = (World::new(), tempfile::tempdir().expect("a folder"));
        let registry = world.start_in(folder.path()).await;
        drop(world.node().await.join(&world, &registry).await);
        registry.shutdown().await;
        let old = rusqlite::Connection::open(folder.path().join("registry.db")).expect("opens");
        old.execute_batch("DROP TABLE quarantine; PRAGMA user_version = 1").expect("as it was");
        drop(old);
        assert_eq!(world.start_in(folder.path()).await.nodes().len(), 1);
    });
}

#[test]
fn a_node_that_died_is_not_back_after_a_restart() {
    block_on(async {
        let world = World::new();
        let folder = tempfile::tempdir().expect("a folder");
        let registry = world.start_in(folder.path()).await;
        drop(world.node().await.join(&world, &registry).await);
        for _ in 0..6 {
            world.clock.pass(Duration::from_secs(10));
            registry.service.tick().await;
        }
        registry.shutdown().await;
        assert!(world.start_in(folder.path()).await.nodes().is_empty());
    });
}

#[test]
fn a_damaged_or_foreign_state_is_refused_with_its_name_and_a_way_out() {
    block_on(async {
        let world = World::new();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("registry.db");
        let registry = world.start_in(folder.path()).await;
        drop(world.node().await.join(&world, &registry).await);
        registry.shutdown().await;
        let whole = std::fs::read(&file).expect("there");
        let mut newer = whole.clone();
        newer[60..64].copy_from_slice(&3_i32.to_be_bytes());
        let mut foreign = whole.clone();
        foreign[68..72].copy_from_slice(&77_i32.to_be_bytes());
        for (bytes, way_out) in [
            (vec![7; 5000], "delete it"),
            (whole[..4096].to_vec(), "delete it"),
            ([&whole[..4096], &[7; 4096]].concat(), "delete it"),
            // The end of the page with the nodes.
            ([&whole[..7992], &[7; 200], &whole[8192..]].concat(), "delete it"),
            (newer, "delete the file"),
            (foreign, "another folder"),
        ] {
            std::fs::write(&file, bytes).expect("written");
            let error = world.registry().dir(folder.path()).start().await.expect_err("refused");
            assert_eq!(error.code(), "config", "{error}");
            assert!(error.to_string().contains("registry.db") && error.to_string().contains(way_out), "{error}");
        }
        std::fs::remove_file(&file).expect("deleted");
        world.start_in(folder.path()).await.shutdown().await;
    });
}

#[test]
fn a_registry_that_cannot_write_its_state_is_neither_healthy_nor_ready() {
    block_on(async {
        let world = World::new();
        let folder = tempfile::tempdir().expect("a folder");
        let registry = world.start_in(folder.path()).await;
        assert_eq!(registry.watch.obstacles().await, []);
        registry.service.state.lock().await.close(&registry.service.rt).await;
        let faults = registry.watch.faults().await;
        assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["state_failing"]);
        assert_eq!(registry.watch.obstacles().await, faults);
    });
}
