//! What an operator gets from real processes: pages over HTTP, logs that tell nothing private, and advice.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::doctor::WRONG_KEY;
use super::network::{Net, bytes, empty_home, ready, server, text};
use super::process::{Running, command, run};

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// Status and body of a page.
fn page(admin: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).expect("it listens");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    assert_eq!(len, body.len().to_string());
    (head[9..12].parse().expect("a status"), body.to_owned())
}

/// Asks for a page until it has this status.
fn page_with(admin: &str, path: &str, status: u16) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match page(admin, path) {
            (found, body) if found == status => return body,
            (found, body) if Instant::now() > end => panic!("{path} stays {found}: {body}"),
            _ => std::thread::yield_now(),
        }
    }
}

/// Every sample of an exposition, which must be valid: each line a comment or a sample, and each metric explained first.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let (mut helped, mut typed, mut samples) = (Vec::new(), Vec::new(), BTreeMap::new());
    let name_is_good =
        |name: &str| name.starts_with("dstore_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a name and words");
            assert!(name_is_good(name) && words.len() > 10 && words.ends_with('.'), "{line}");
            assert!(!helped.contains(&name), "{name} is explained twice");
            helped.push(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            typed.push((name, kind));
        } else if line == "# EOF" {
            assert!(page.ends_with("\n# EOF\n"));
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            let name = sample.split('{').next().expect("the first");
            let labels = &sample[name.len()..];
            assert!(name_is_good(name), "{line}");
            assert!(labels.is_empty() || labels.starts_with('{') && labels.ends_with("\"}"), "{line}");
            let (metric, kind) = *typed.last().expect("a type comes first");
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            let suffix = name.strip_prefix(metric).unwrap_or_else(|| panic!("{line} is not of {metric}"));
            assert!(suffixes.contains(&suffix) && helped.contains(&metric), "{line}");
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(samples.insert(sample.to_owned(), value).is_none(), "{sample} is there twice");
        }
    }
    assert_eq!(helped, typed.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    samples
}

/// The manual explains each of these samples, and names no other.
fn check_manual(samples: &[String]) {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let manual = fs::read_to_string(manual).expect("the manual");
    let names: Vec<_> = samples.iter().map(|sample| sample.split('{').next().expect("the first")).collect();
    for name in &names {
        let short = name.trim_start_matches("dstore_node_").trim_start_matches("dstore_registry_");
        let short = ["_bucket", "_sum", "_count"].iter().fold(short, |short, end| short.trim_end_matches(end));
        let explained = manual.contains(&format!("`{short}`")) || manual.contains(&format!("`{short}{{"));
        assert!(explained, "the manual does not explain {name}");
    }
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    for word in manual.split(|c| !is_name(c)).filter(|word| word.starts_with("dstore_") && !word.ends_with('_')) {
        assert!(names.contains(&word), "the manual names {word}, which is not there");
    }
}

fn start(home: &std::path::Path, role: &str, options: &[&str]) -> (Running, String, String) {
    let mut process = server(home, role, &home.join(role), &[&ADMIN, options].concat());
    let ready = ready(&mut process);
    (process, text(&ready["address"]), text(&ready["admin"]))
}

#[test]
fn a_monitor_reads_counters_and_sees_a_node_without_its_registry_turn_red_and_green_again() {
    let home = empty_home();
    let (mut registry, address, admin) = start(home.path(), "registry", &["--heartbeat", "100ms"]);
    let node_options = ["--registry", address.as_str(), "--free-floor", "0"];
    let (_node, _, node_admin) = start(home.path(), "node", &node_options);
    assert_eq!(page(&admin, "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(page(&node_admin, "/readyz"), (200, "ready\n".to_owned()));

    let counted = samples(&page(&admin, "/metrics").1);
    assert!(counted["dstore_registry_nodes{state=\"active\"}"] > 0.5, "{counted:?}");
    assert!(counted["dstore_registry_requests_total{kind=\"register\",outcome=\"ok\"}"] > 0.5);
    let counted = samples(&page(&node_admin, "/metrics").1);
    assert!(counted["dstore_node_free_bytes"] > 1e6, "{counted:?}");
    let version = format!("dstore_node_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert!(counted.contains_key(&version));
    let endpoint = address.rsplit('@').next().expect("an endpoint");
    assert!(counted[&format!("dstore_node_registered{{registry=\"{endpoint}\"}}")] > 0.5);

    let pages = [page(&admin, "/metrics").1, page(&node_admin, "/metrics").1].map(|page| samples(&page));
    check_manual(&pages.into_iter().flatten().map(|(sample, _)| sample).collect::<Vec<_>>());

    registry.kill();
    let why = page_with(&node_admin, "/readyz", 503);
    assert!(why.starts_with("unregistered: ") && why.contains(endpoint), "{why}");
    assert_eq!(page(&node_admin, "/healthz"), (200, "healthy\n".to_owned()));
    let mut again = command(home.path());
    let _registry = Running::start(again.args(["registry", "run", "--listen", endpoint, "--dir", "registry"]));
    page_with(&node_admin, "/readyz", 200);
}

#[test]
fn an_admin_address_for_everybody_must_be_asked_for() {
    let home = empty_home();
    let arguments = ["registry", "run", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0", "--dir", "r", "--json"];
    let error = run(home.path(), arguments).with(8).error();
    assert!(text(&error["message"]).contains("--admin-public"), "{error}");
    let mut registry =
        server(home.path(), "registry", &home.path().join("r"), &["--admin", "0.0.0.0:0", "--admin-public"]);
    let admin = text(&ready(&mut registry)["admin"]);
    let port = admin.rsplit(':').next().expect("a port");
    assert_eq!(page(&format!("127.0.0.1:{port}"), "/healthz").0, 200);
}

#[test]
fn no_log_tells_a_path_a_key_or_a_content() {
    let net = Net::start(0);
    // Into files: nobody reads a pipe as fast as a node fills it.
    let log = |node: usize| net.home().join(format!("{node}.log"));
    let start = |node: usize| {
        let mut command = command(net.home());
        command.stderr(fs::File::create(log(node)).expect("made"));
        command.args([
            "node",
            "run",
            "--listen",
            "127.0.0.1:0",
            "--registry",
            &net.address,
            "--free-floor",
            "0",
            "-vvv",
        ]);
        let mut node = Running::start(command.arg("--dir").arg(format!("node-{node}")));
        node.line();
        node
    };
    let nodes = [0, 1, 2].map(start);
    let (path, content) = ("letters/to-nobody.txt", "a marker that nobody else may see ".repeat(5000));
    let local = net.file("source", content.as_bytes());
    let put = net.run(["put", &local.display().to_string(), path, "-q", "-vvv"]).with(0);
    let got = net.run(["get", path, "back.txt", "-q", "-vvv"]).with(0);
    let removed = net.run(["rm", path, "-q", "-vvv"]).with(0);
    let key = fs::read_to_string(net.home().join("client").join("owner.key")).expect("the key");
    let mut logs = vec![("put", put.stderr), ("get", got.stderr), ("rm", removed.stderr)];
    assert!(logs[0].1.contains("put{file_id="), "{}", logs[0].1);
    for (at, node) in nodes.into_iter().enumerate() {
        node.signal("TERM");
        node.end().with(0);
        let log = fs::read_to_string(log(at)).expect("a log");
        assert!(log.contains("request{kind=\"put_") && log.contains("outcome=\"ok\""), "{log}");
        logs.push(("node", log));
    }
    for (who, log) in logs {
        for secret in ["to-nobody", "letters", "a marker that", key.trim()] {
            assert!(!log.contains(secret), "{secret:?} is in the log of {who}:\n{log}");
        }
    }
}

#[test]
fn status_says_what_is_wrong_with_a_node_and_what_to_do() {
    let in_files = &["--inline-max", "0"][..];
    let mut net = Net::with_options(&[in_files, in_files, in_files, &["--capacity", "0"]]);
    net.put("a.bin", &bytes(500_000));
    let full = net.nodes[3].address.clone();
    for arguments in [&["status"][..], &["node", "status"]] {
        let said = net.run(arguments).with(0).stderr;
        assert!(said.contains(&full) && said.contains("is full: raise its --capacity"), "{said}");
        let listed = net.run([arguments, &["--json"]].concat()).with(0).json();
        assert!(text(&listed["problems"][0]).contains("is full"), "{listed}");
    }
    net.nodes[0].corrupt();
    // A node looks at some of its shards when it starts.
    net.restart_node(0);
    let status = loop {
        let status = net.run(["node", "status", &net.nodes[0].id, "--json"]).with(0).json();
        if status["nodes"][0]["damaged"].as_u64() > Some(0) {
            break status;
        }
    };
    assert!(text(&status["problems"][0]).contains("damaged; their files are read from other nodes"), "{status}");
    let dead = net.nodes[1].address.clone();
    net.nodes[1].process.kill();
    let said = net.run(["node", "status", "--timeout", "2s"]).with(0).stderr;
    assert!(said.contains(&format!("{dead} does not answer: ")), "{said}");
}

#[test]
fn status_gives_each_registry_that_is_away_its_own_reason() {
    let net = Net::start(0);
    let (key, place) = net.address.split_once('@').expect("an address");
    let wrong = format!("{WRONG_KEY}@{place}");
    let away = format!("{key}@127.0.0.1:1");
    let status = net.run(["status", "--json", "--registry", &format!("{away},{wrong}")]).with(5);
    let told: Vec<_> =
        status.json()["registry"].as_array().expect("a list").iter().map(|one| text(&one["message"])).collect();
    assert!(told[0].contains("refused") && told[1].contains("handshake"), "{told:?}");
    let alone = net.run(["status", "--json", "--registry", &away]).with(5);
    assert!(text(&alone.error()["hint"]).contains("dstore-cli doctor"), "{}", alone.stderr);
}

#[test]
fn active_nodes_without_room_are_not_enough() {
    let net = Net::with_options(&[&[], &[], &["--capacity", "1MiB"]]);
    let status = net.run(["status"]).with(0);
    assert!(status.text().contains("3 active nodes, too few of them with room to store files"), "{}", status.text());
    assert!(status.stderr.contains("is almost full, with 1.0 MiB free: raise its --capacity"), "{}", status.stderr);
}

#[test]
fn a_node_is_named_by_the_beginning_of_its_id() {
    let net = Net::start(3);
    let short = &net.nodes[0].id[..8];
    let status = net.run(["node", "status", short, "--json"]).with(0).json();
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["nodes"][0]["id"], net.nodes[0].id.as_str());
    net.run(["node", "status", "not an id"]).with(2);
    let key = net.run(["wallet", "transport-key", short]).with(2);
    assert!(key.stderr.contains("dstore-cli registry nodes --json"), "{}", key.stderr);
}
