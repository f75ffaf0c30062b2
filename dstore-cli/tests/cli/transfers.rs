//! Pipes, signals and terminals around a transfer.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::network::{Net, bytes};
use super::process::Running;

#[test]
fn standard_input_of_unknown_length_is_stored() {
    let net = Net::start(3);
    let content = bytes(400_000);
    let ended = net.run_with_input(&["put", "-", "piped", "--json"], &content).with(0);
    assert_eq!(ended.events("result")[0]["size"], content.len());
    assert!(net.cat("piped") == content);
    assert_eq!(net.run_with_input(&["put", "-", "--json"], b"").with(2).error()["code"], "usage");
}

#[test]
fn a_standard_input_that_is_closed_is_no_empty_file() {
    let net = Net::start(3);
    let through_shell = |redirected: &str| -> super::process::Ended {
        let line = format!("exec \"$0\" put - a --json {redirected}");
        let command = net.command();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]).arg(command.get_program()).env_clear().current_dir(net.home());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.output().expect("sh runs").into()
    };
    assert_eq!(through_shell("<&-").with(2).error()["code"], "usage");
    assert!(net.paths().is_empty());
    through_shell("</dev/null").with(0);
    assert_eq!(net.cat("a"), b"");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error_that_no_waiting_mends() {
    let net = Net::start(3);
    net.put("a", b"one");
    for arguments in [&["ls"][..], &["stat", "a"], &["cat", "a"], &["--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let ended = net.command().args(arguments).stdout(full).output().expect("the binary runs");
        let ended = super::process::Ended::from(ended).with(1);
        assert!(ended.stderr.contains("cannot write to standard output"), "{arguments:?}: {}", ended.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_of_proc_is_stored_with_its_bytes() {
    let net = Net::start(3);
    net.run(["put", "/proc/version", "v"]).with(0);
    assert_eq!(net.cat("v"), std::fs::read("/proc/version").expect("readable"));
}

#[test]
fn progress_as_json_is_told_on_standard_error_and_never_means_never() {
    let net = Net::start(3);
    let file = net.file("a.bin", &bytes(3_000_000)).display().to_string();
    let put = net.run(["put", &file, "--progress", "json"]).with(0);
    assert_eq!(put.text(), "");
    let (told, ended) = put.stderr.trim_end().rsplit_once('\n').expect("lines");
    for line in told.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&event["type"], &event["op"]), (&"status".into(), &"put".into()));
        assert_eq!(event["bytes_total"], 3_000_000);
    }
    assert!(ended.starts_with("stored a.bin"), "{ended}");
    let cat = net.run(["cat", "a.bin", "--progress", "json"]).with(0);
    assert!(cat.stdout == bytes(3_000_000) && cat.stderr.contains("\"op\":\"get\""), "{}", cat.stderr);
    let both = net.run(["put", &file, "--progress", "json", "--json"]).with(0);
    assert!(!both.events("status").is_empty() && both.stderr.is_empty(), "{}", both.stderr);
    let silent = net.run(["put", &file, "--json", "--progress", "never"]).with(0);
    assert!(silent.events("status").is_empty());
    assert_eq!(silent.events("result").len(), 1);
    let from_environment = net.command().args(["put", &file]).env("DSTORE_PROGRESS", "json").output().expect("it runs");
    assert!(String::from_utf8_lossy(&from_environment.stderr).contains("\"type\":\"status\""));
}

/// A put in the middle: what it was given has been read, more is to come.
fn half_a_put(net: &Net) -> Running {
    let mut command = net.command();
    let mut put = Running::start(command.args(["put", "-", "a.bin", "--json"]).stdin(Stdio::piped()));
    let stdin = put.child().stdin.as_mut().expect("it is piped");
    stdin.write_all(&bytes(3_000_000)).expect("it reads");
    let first: Value = serde_json::from_str(&put.line()).expect("JSON");
    assert_eq!((&first["type"], &first["op"], &first["path"]), (&"status".into(), &"put".into(), &"a.bin".into()));
    put
}

#[test]
fn an_interrupted_put_ends_with_130_and_commits_nothing() {
    let net = Net::start(3);
    let put = half_a_put(&net);
    put.signal("INT");
    assert_eq!(put.end().with(130).error()["code"], "interrupted");
    assert!(net.paths().is_empty());
    net.put("a.bin", b"the same path is free");
    assert_eq!(net.run(["stat", "a.bin", "--json"]).with(0).json()["version"], 1);
}

#[test]
fn an_interrupted_put_of_a_file_goes_on_when_it_is_given_again() {
    let net = Net::start(3);
    let file = net.file("a.bin", &bytes(100_000_000)).display().to_string();
    let mut put = Running::start(net.command().args(["put", &file, "--json"]));
    loop {
        let event: Value = serde_json::from_str(&put.line()).expect("JSON");
        assert_eq!(event["type"], "status", "{event}");
        if event["bytes_done"].as_u64() > Some(10_000_000) {
            break;
        }
    }
    put.signal("INT");
    let message = put.end().with(130).error()["message"].clone();
    assert!(message.as_str().is_some_and(|message| message.contains("given again")), "{message}");
    let again = net.run(["put", &file, "--json"]).with(0);
    assert!(again.events("result")[0]["resumed"].as_u64() > Some(0), "{}", again.text());
}

#[test]
fn a_terminated_put_ends_with_143() {
    let net = Net::start(3);
    let put = half_a_put(&net);
    put.signal("TERM");
    put.end().with(143);
    assert!(net.paths().is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let net = Net::start(3);
    net.put("a.bin", &bytes(5_000_000));
    for arguments in [&["cat", "a.bin"][..], &["ls"], &["ls", "--json"], &["--help"], &["stat", "a.bin"]] {
        let mut child = net.command().args(arguments).spawn().expect("the binary runs");
        drop(child.stdout.take());
        let ended = super::process::Ended::from(child.wait_with_output().expect("it ends")).with(0);
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
}

#[test]
fn a_put_whose_listener_goes_away_is_still_stored() {
    let net = Net::start(3);
    let file = net.file("a.bin", &bytes(3_000_000)).display().to_string();
    let mut child = net.command().args(["put", &file, "--json"]).spawn().expect("the binary runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(net.paths(), ["a.bin"]);
}

#[test]
fn without_a_terminal_there_are_no_bars_and_no_colours() {
    let net = Net::start(3);
    let file = net.file("a.bin", &bytes(3_000_000)).display().to_string();
    let put = net.run(["put", &file]).with(0);
    assert_eq!(put.text(), "", "standard output is for data");
    assert!(put.stderr.starts_with("stored a.bin: version 1, 2.9 MiB in "), "{}", put.stderr);
    let failed = net.run(["cat", "nope"]).with(4);
    for said in [&put.stderr, &failed.stderr] {
        assert!(!said.contains('\x1b') && !said.contains('\r'), "{said:?}");
    }
    assert_eq!(net.run(["put", &file, "-q"]).with(0).stderr, "");
    let painted = net.run(["cat", "nope", "--color", "always"]).with(4);
    assert!(painted.stderr.starts_with("\x1b[1;31merror:"), "{:?}", painted.stderr);
}

#[test]
fn data_on_standard_output_stays_alone_there() {
    let net = Net::start(3);
    net.put("a.bin", &bytes(300_000));
    let ended = net.run(["cat", "a.bin", "--json"]).with(0);
    assert!(ended.stdout == bytes(300_000));
    let last: Value = serde_json::from_str(ended.stderr.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!((&last["type"], &last["schema"]), (&"result".into(), &"dstore.get/1".into()));
}

#[test]
fn what_may_never_end_is_refused_by_name_with_the_way_to_store_it() {
    let net = Net::start(3);
    let pipe = net.home().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    for (name, path) in [("pipe", "a"), ("/dev/zero", "b")] {
        let ended = net.run(["put", name, path]).with(2);
        assert!(ended.stderr.contains(&format!("cat {name} | dstore-cli put - PATH")), "{}", ended.stderr);
    }
    assert!(net.paths().is_empty());
}

#[test]
fn a_stopped_node_does_not_hold_up_a_success() {
    let mut net = Net::start(4);
    net.put("a", &bytes(1000));
    let holder = net.holder("a", 0);
    net.nodes[holder].process.signal("STOP");
    let started = std::time::Instant::now();
    net.run(["rm", "a"]).with(0);
    assert!(started.elapsed() < std::time::Duration::from_secs(6), "{:?}", started.elapsed());
    net.nodes[holder].process.kill();
}
