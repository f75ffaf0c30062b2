//! What other programs read of the command line itself.

use std::fs;

use super::network::empty_home;
use super::process::{command, run};

#[test]
fn every_shell_gets_completions_that_know_the_commands() {
    let home = empty_home();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(home.path(), ["completions", shell]).with(0);
        assert!(script.text().contains("doctor") && script.text().contains("if-version"), "{shell}");
        assert_eq!(script.stderr, "");
    }
    run(home.path(), ["completions", "tcsh"]).with(2);
}

#[test]
fn each_command_has_its_manual_page() {
    let home = empty_home();
    let said = run(home.path(), ["man", "pages/man1"]).with(0).stderr;
    let pages = fs::read_dir(home.path().join("pages/man1")).expect("made").count();
    assert!(said.contains(&format!("wrote {pages} pages to pages/man1")), "{said}");
    for page in ["dstore-cli", "dstore-cli-put", "dstore-cli-node-run", "dstore-cli-doctor"] {
        let text = fs::read_to_string(home.path().join(format!("pages/man1/{page}.1"))).expect(page);
        assert!(text.starts_with(".ie") && text.contains(".SH NAME") && text.contains("registry"), "{page}: {text}");
    }
    fs::write(home.path().join("file"), "").expect("written");
    run(home.path(), ["man", "file"]).with(9);
}

#[test]
fn broken_settings_keep_neither_from_being_made() {
    let home = empty_home();
    fs::write(home.path().join("c.toml"), "nonsense = 1\n").expect("written");
    for arguments in [&["completions", "bash"][..], &["man", "pages"]] {
        let ended = command(home.path()).args(arguments).env("DSTORE_CONFIG", "c.toml").output().expect("it runs");
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}");
    }
}
