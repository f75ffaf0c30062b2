//! What an owner does with files.

use std::fs;

use super::network::{Net, bytes, text};

#[test]
fn a_file_goes_out_and_comes_back_as_bytes_that_are_the_same() {
    let net = Net::start(3);
    for (name, len) in [("empty", 0), ("one", 1), ("segment", 65_520), ("我的 文件.bin", 1_000_003)] {
        net.put(name, &bytes(len));
        net.run(["get", name, "back"]).with(0);
        assert!(fs::read(net.home().join("back")).expect("got") == bytes(len), "{name}");
        assert!(net.cat(name) == bytes(len), "{name}");
    }
}

#[test]
fn a_second_put_is_a_second_version() {
    let net = Net::start(3);
    let file = net.file("a.txt", b"one");
    let file = file.display().to_string();
    let first = net.run(["put", &file, "--json"]).with(0).events("result").remove(0);
    assert_eq!(
        (&first["schema"], &first["path"], &first["version"]),
        (&"dstore.put/1".into(), &"a.txt".into(), &1.into())
    );
    fs::write(&file, b"second").expect("written");
    let second = net.run(["put", &file, "--json"]).with(0).events("result").remove(0);
    assert_eq!((&second["version"], &second["size"]), (&2.into(), &6.into()));
    assert_eq!(second["file_id"], first["file_id"]);
    assert!((3..=6).contains(&second["nodes"].as_array().map_or(0, Vec::len)));
    assert_eq!(net.cat("a.txt"), b"second");
}

#[test]
fn modes_say_what_a_put_may_replace() {
    let net = Net::start(3);
    let file = net.file("a.txt", b"one").display().to_string();
    net.run(["put", &file, "--mode", "create"]).with(0);
    assert_eq!(net.run(["put", &file, "--mode", "create", "--json"]).with(9).error()["code"], "already_exists");
    net.run(["put", &file, "--mode", "update", "--if-version", "1"]).with(0);
    let stale = net.run(["put", &file, "--if-version", "1", "--json"]).with(9).error();
    assert_eq!(stale["code"], "version_conflict");
    net.run(["put", &file, "--mode", "update"]).with(2);
    net.run(["put", &file, "--mode", "create", "--if-version", "1"]).with(2);
    net.run(["put", &file, "--scheme", "2+4", "--padding", "none"]).with(0);
    let stat = net.run(["stat", "a.txt", "--json"]).with(0).json();
    assert_eq!((&stat["version"], &stat["scheme"], &stat["padded"]), (&3.into(), &"2+4".into(), &3.into()));
}

#[test]
fn of_two_creations_at_once_one_wins_and_the_other_ends_with_nine() {
    let net = Net::start(3);
    let files = [net.file("1", &bytes(200_000)), net.file("2", &bytes(100_000))];
    let start = |file: &std::path::PathBuf| {
        net.command().args(["put", "--mode", "create"]).arg(file).arg("a.bin").spawn().expect("the binary runs")
    };
    let running = files.each_ref().map(start);
    let mut exits = running.map(|child| child.wait_with_output().expect("it ends").status.code());
    let won = exits.iter().position(|exit| *exit == Some(0)).expect("one wins");
    exits.sort_unstable();
    assert_eq!(exits, [Some(0), Some(9)]);
    assert!(net.cat("a.bin") == fs::read(&files[won]).expect("readable"));
}

#[test]
fn invalid_paths_end_with_two_and_reach_no_node() {
    let net = Net::start(3);
    let file = net.file("a.txt", b"one").display().to_string();
    let long = "x".repeat(5000);
    for path in ["../../etc/passwd", "a//b", "", "/a", "a/", ".", "a/../b", &long] {
        let ended = net.run(["put", &file, path, "--json"]).with(2);
        assert_eq!(ended.error()["code"], "invalid_path", "{path:?}");
        if !path.ends_with('/') {
            assert_eq!(net.run(["get", path, "back", "--json"]).with(2).error()["code"], "invalid_path", "{path:?}");
        }
        net.run(["cat", path]).with(2);
        net.run(["stat", path]).with(2);
        net.run(["rm", path]).with(2);
        net.run(["mv", "a.txt", path]).with(2);
    }
    assert!(net.nodes.iter().all(|node| node.shard_files().is_empty()));
    assert!(!net.home().join("back").exists());
}

#[test]
fn a_folder_goes_out_and_comes_back_without_its_links() {
    let net = Net::start(3);
    let contents = [("a.txt", 5), ("sub/b.bin", 100_000), ("sub/我的 文件", 70_000), ("sub/deep/empty", 0), ("z", 1)];
    for (name, len) in contents {
        net.file(&format!("photos/{name}"), &bytes(len));
    }
    std::os::unix::fs::symlink("/etc/passwd", net.home().join("photos/link")).expect("linked");
    let ended = net.run(["put", "photos", "--json"]).with(0);
    assert_eq!(ended.events("result").len(), contents.len());
    let skipped = ended.events("warning");
    assert_eq!(skipped.len(), 1);
    assert!(text(&skipped[0]["path"]).ends_with("photos/link"));
    let mut expected = contents.map(|(name, _)| format!("photos/{name}"));
    expected.sort_unstable();
    assert_eq!(net.paths(), expected);
    net.run(["get", "photos/", "back/"]).with(0);
    for (name, len) in contents {
        assert!(fs::read(net.home().join("back").join(name)).expect("got") == bytes(len), "{name}");
    }
    assert_eq!(net.run(["get", "nothing/", "back/", "--json"]).with(4).error()["code"], "not_found");
}

#[test]
fn a_folder_in_which_some_files_cannot_be_stored_ends_with_three() {
    let net = Net::start(3);
    net.file("mixed/good", b"good");
    use std::os::unix::ffi::OsStrExt;
    let bad = net.home().join("mixed").join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff"));
    fs::write(bad, b"bad").expect("written");
    let ended = net.run(["put", "mixed", "m", "--json"]).with(3);
    assert_eq!(ended.error()["code"], "partial");
    assert_eq!(ended.events("error")[0]["code"], "invalid_path");
    assert_eq!(net.paths(), ["m/good"]);
    fs::create_dir(net.home().join("hollow")).expect("made");
    let hollow = net.run(["put", "hollow"]).with(0);
    assert!(hollow.stderr.contains("no files"), "{}", hollow.stderr);
}

#[test]
fn a_get_never_follows_a_link_out_of_its_folder() {
    let net = Net::start(3);
    net.put("p/sub/a.txt", b"one");
    net.put("p/b.txt", b"two");
    fs::create_dir_all(net.home().join("outside")).expect("made");
    fs::create_dir_all(net.home().join("back")).expect("made");
    std::os::unix::fs::symlink(net.home().join("outside"), net.home().join("back/sub")).expect("linked");
    let ended = net.run(["get", "p/", "back", "--json"]).with(3);
    assert_eq!(ended.events("error")[0]["code"], "permission_denied");
    assert_eq!(fs::read_dir(net.home().join("outside")).expect("a folder").count(), 0);
    assert_eq!(fs::read(net.home().join("back/b.txt")).expect("got"), b"two");
}

#[test]
fn files_are_listed_shown_moved_and_removed() {
    let net = Net::start(3);
    for name in ["b/2", "a", "b/1"] {
        net.put(name, b"12345");
    }
    assert_eq!(net.paths(), ["a", "b/1", "b/2"]);
    let list = net.run(["ls", "b/", "--json"]).with(0).json();
    assert_eq!(list["schema"], "dstore.ls/1");
    let item = &list["items"][0];
    assert_eq!(
        (&item["path"], &item["size"], &item["version"], &item["scheme"]),
        (&"b/1".into(), &5.into(), &1.into(), &"4+2".into())
    );
    assert!(text(&item["created"]).ends_with('Z'));
    let spoken = net.run(["ls"]).with(0).text();
    assert!(spoken.lines().all(|line| line.starts_with("5 B  20") && line.contains("  v1  ")), "{spoken}");

    let stat = net.run(["stat", "a", "--json"]).with(0).json();
    assert_eq!((&stat["schema"], &stat["tolerates_nodes"]), (&"dstore.stat/1".into(), &1.into()));
    let shards = stat["shards"].as_array().expect("a list");
    assert_eq!(shards.len(), 6);
    assert!(shards.iter().all(|shard| shard["state"] == "ok" && shard["bytes"].as_u64() > Some(0)));
    assert_eq!(text(&stat["content_hash"]).len(), 64);

    let moved = net.run(["mv", "a", "c", "--json"]).with(0).json();
    assert_eq!(moved["items"][0]["path"], "c");
    assert_eq!(net.cat("c"), b"12345");
    assert_eq!(net.run(["mv", "b/1", "b/2", "--json"]).with(9).error()["code"], "already_exists");
    assert_eq!(net.run(["cat", "a", "--json"]).with(4).error()["code"], "not_found");
    assert_eq!(net.run(["rm", "c", "nope", "--json"]).with(3).error()["code"], "partial");
    net.run(["rm", "b/1", "b/2"]).with(0);
    net.run(["rm", "b/1"]).with(4);
    assert!(net.paths().is_empty());
    assert_eq!(net.run(["ls"]).with(0).text(), "");
}

#[test]
fn a_get_writes_where_it_was_told_and_over_files_only() {
    let net = Net::start(3);
    net.put("docs/a.txt", b"one");
    net.run(["get", "docs/a.txt"]).with(0);
    assert_eq!(fs::read(net.home().join("a.txt")).expect("got"), b"one");
    net.run(["get", "docs/a.txt", "new/"]).with(0);
    assert_eq!(fs::read(net.home().join("new/a.txt")).expect("got"), b"one");
    fs::create_dir_all(net.home().join("taken/a.txt")).expect("made");
    net.run(["get", "docs/a.txt", "taken"]).with(2);
    net.run(["get", "docs/a.txt", "/dev/null"]).with(2);
    net.run(["get", "docs/", "-"]).with(2);
    assert_eq!(net.run(["get", "docs/a.txt", "-"]).with(0).stdout, b"one");
    let whole = net.run(["get", "docs/a.txt", "b", "--json"]).with(0).events("result").remove(0);
    assert_eq!((&whole["schema"], &whole["version"], &whole["size"]), (&"dstore.get/1".into(), &1.into(), &3.into()));
}

#[test]
fn a_folder_is_removed_with_r_and_nothing_beside_it() {
    let net = Net::start(3);
    for name in ["p/1", "p/sub/2", "p.txt", "q/3", "q/4"] {
        net.put(name, b"one");
    }
    let refused = net.run(["rm", "p/"]).with(2);
    assert!(refused.stderr.contains("rm takes files") && refused.stderr.contains("rm -r p/"), "{}", refused.stderr);
    assert!(net.run(["rm", "-r", "p/"]).with(0).stderr.contains("removed 2 files"));
    assert_eq!(net.paths(), ["p.txt", "q/3", "q/4"]);
    let gone = net.run(["rm", "-r", "q", "--json"]).with(0).json();
    assert_eq!(gone["items"].as_array().map(Vec::len), Some(2));
    net.run(["rm", "-r", "q"]).with(4);
    net.run(["rm", "-r", "/"]).with(2);
    assert_eq!(net.paths(), ["p.txt"]);
}

#[test]
fn hints_name_what_can_be_done() {
    let net = Net::start(3);
    net.put("my docs/a", b"one");
    net.put("b", b"two");
    for arguments in [["get", "my docs"], ["cat", "my docs"]] {
        let ended = net.run(arguments).with(4);
        assert!(ended.stderr.contains("files are below it: dstore-cli get 'my docs/'"), "{}", ended.stderr);
    }
    let moved = net.run(["mv", "b", "my docs/a"]).with(9).stderr;
    assert!(moved.contains("dstore-cli rm 'my docs/a'") && !moved.contains("--mode"), "{moved}");
    let stale = net.run(["put", "sources/b", "b", "--if-version", "7"]).with(9).stderr;
    assert!(stale.contains("version 1, not at 7") && !stale.contains("writer"), "{stale}");
    assert!(stale.contains("--if-version 1"), "{stale}");
}

#[test]
fn no_error_is_told_twice() {
    let net = Net::start(3);
    let several = net.run(["rm", "x", "y"]).with(4).stderr;
    assert_eq!(several.matches("\"x\"").count(), 1, "{several}");
    assert_eq!(several.matches("\"y\"").count(), 1, "{several}");
    assert!(several.contains("error: no file at \"x\"\n"), "{several}");
    assert!(several.contains("error: all 2 files failed\n"), "{several}");
}

#[test]
fn stat_says_what_may_still_be_lost() {
    let mut net = Net::start(3);
    net.put("a", &bytes(1000));
    let whole = net.run(["stat", "a"]).with(0).text();
    assert!(whole.contains("6 of 6 shards answer: readable, 1 node may be lost"), "{whole}");
    net.nodes[0].process.kill();
    let less = net.run(["stat", "a"]).with(0).text();
    assert!(less.contains("4 of 6 shards answer: readable, no other node may be lost"), "{less}");
    net.nodes[1].process.kill();
    let few = net.run(["stat", "a"]).with(0).text();
    assert!(few.contains("2 of 6 shards answer: not readable, 4 are needed"), "{few}");
    let lost = net.run(["cat", "a"]).with(5).stderr;
    assert!(lost.contains("can be read again once enough of these nodes are back"), "{lost}");
}
