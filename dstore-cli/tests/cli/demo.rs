//! `demo` and `dev`: everything in one process.

use std::fs;

use super::network::{bytes, empty_home};
use super::process::{Ended, Running, command};

/// Runs the demo with a temporary folder of its own, and looks that nothing is left there.
fn demo(home: &std::path::Path, arguments: &[&str]) -> Ended {
    let temporary = home.join("tmp");
    fs::create_dir_all(&temporary).expect("made");
    let ended = command(home).arg("demo").args(arguments).env("TMPDIR", &temporary).output().expect("it runs");
    assert_eq!(fs::read_dir(&temporary).expect("a folder").count(), 0, "something is left behind");
    ended.into()
}

#[test]
fn the_demo_shows_where_shards_go_and_gets_the_file_back() {
    let home = empty_home();
    let name = "我的 重要 文件.bin";
    fs::write(home.path().join(name), bytes(1_500_000)).expect("written");
    let shown = demo(home.path(), &[name]).with(0);
    assert_eq!(shown.stderr, "");
    let text = shown.text();
    for part in [name, "1.4 MiB", "Stop node", "MB/s", "Identical: all 1,500,000 bytes"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let shards =
        text.lines().filter(|line| line.contains("   node ") && line.contains("127.0.0.1:") && line.contains(','));
    assert_eq!(shards.count(), 6, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn the_demo_works_with_an_empty_file() {
    let home = empty_home();
    fs::write(home.path().join("empty"), "").expect("written");
    let document = demo(home.path(), &["empty", "--json"]).with(0).json();
    assert_eq!(
        (&document["schema"], &document["size"], &document["identical"]),
        (&"dstore.demo/1".into(), &0.into(), &true.into())
    );
    assert_eq!(document["shards"].as_array().map(Vec::len), Some(6));
}

#[test]
fn the_demo_makes_a_file_when_none_is_named() {
    let home = empty_home();
    let shown = demo(home.path(), &[]).with(0).text();
    assert!(shown.contains("64.0 MiB") && shown.contains("Identical"), "{shown}");
}

#[test]
fn the_demo_keeps_everything_in_a_folder_that_is_empty() {
    let home = empty_home();
    fs::write(home.path().join("a.txt"), "hello").expect("written");
    demo(home.path(), &["a.txt", "--keep", "kept"]).with(0);
    assert_eq!(fs::read(home.path().join("kept/back/a.txt")).expect("kept"), b"hello");
    assert!(home.path().join("kept/node-3").is_dir());
    let full = demo(home.path(), &["a.txt", "--keep", "kept", "--json"]).with(9);
    assert_eq!(full.error()["code"], "already_exists");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let home = empty_home();
    let temporary = home.path().join("tmp");
    fs::create_dir_all(&temporary).expect("made");
    // So long that it cannot be through, and without a byte on the disk.
    let endless = fs::File::create(home.path().join("endless")).expect("made");
    endless.set_len(100 << 30).expect("sparse");
    let mut demo = Running::start(command(home.path()).args(["demo", "endless"]).env("TMPDIR", &temporary));
    while !demo.line().starts_with("2. ") {}
    demo.signal("INT");
    demo.end().with(130);
    assert_eq!(fs::read_dir(&temporary).expect("a folder").count(), 0, "something is left behind");
}

#[test]
fn a_quiet_demo_prints_nothing() {
    let home = empty_home();
    fs::write(home.path().join("a.txt"), "hello").expect("written");
    let ended = demo(home.path(), &["a.txt", "-q"]).with(0);
    assert_eq!((ended.text(), ended.stderr), (String::new(), String::new()));
}

#[test]
fn the_demo_refuses_what_is_no_file() {
    let home = empty_home();
    demo(home.path(), &["nowhere"]).with(4);
    demo(home.path(), &["."]).with(2);
}

#[test]
fn dev_starts_again_on_its_folder_with_its_files() {
    let home = empty_home();
    fs::write(home.path().join("README.md"), "read me").expect("written");
    let mut lines = Vec::new();
    for round in 0..2 {
        let mut dev = Running::start(command(home.path()).arg("dev"));
        let line = dev.line();
        let client = line.trim().strip_prefix("export DSTORE_DIR=").expect("the one line").to_owned();
        let run = |arguments: &[&str]| -> Ended {
            command(home.path()).args(arguments).env("DSTORE_DIR", &client).output().expect("it runs").into()
        };
        if round == 0 {
            run(&["put", "README.md"]).with(0);
        }
        assert_eq!(run(&["cat", "README.md"]).with(0).stdout, b"read me");
        assert_eq!(run(&["status", "--json"]).with(0).json()["nodes"].as_array().map(Vec::len), Some(4));
        lines.push((line, fs::read(format!("{client}/config.toml")).expect("made")));
        dev.signal("INT");
        dev.end().with(0);
    }
    assert_eq!(lines[0], lines[1]);
}
