//! A registry and nodes as processes of their own, and a client's folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::process::{Ended, Running, command, run};

/// Everything that a test of several processes needs.
pub(crate) struct Net {
    home: TempDir,
    pub(crate) registry: Running,
    pub(crate) address: String,
    pub(crate) nodes: Vec<Node>,
}

/// A storage node.
pub(crate) struct Node {
    pub(crate) process: Running,
    pub(crate) dir: PathBuf,
    pub(crate) id: String,
    pub(crate) address: String,
    options: Vec<String>,
}

impl Net {
    /// A registry, so many nodes, and a client.
    pub(crate) fn start(nodes: usize) -> Self {
        Self::with_options(&vec![&[][..]; nodes])
    }

    /// A registry, a node for each item with these options of its own, and a client.
    pub(crate) fn with_options(nodes: &[&[&str]]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("registry");
        let mut registry = server(home.path(), "registry", &dir, &[]);
        let address = text(&ready(&mut registry)["address"]);
        let mut net = Self { home, registry, address, nodes: Vec::new() };
        for options in nodes {
            net.add_node(options);
        }
        net.run(["init", "--registry", &net.address]).with(0);
        net
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts one node more.
    pub(crate) fn add_node(&mut self, options: &[&str]) {
        let dir = self.home().join(format!("node-{}", self.nodes.len()));
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        let node = start_node(self.home(), &self.address, dir, options);
        self.nodes.push(node);
    }

    /// Starts a node that has ended again, in its folder, at a new port.
    pub(crate) fn restart_node(&mut self, index: usize) {
        self.nodes[index].process.kill();
        let Node { dir, options, .. } = &self.nodes[index];
        let node = start_node(self.home(), &self.address, dir.clone(), options.clone());
        self.nodes[index] = node;
    }

    /// A command of the client.
    pub(crate) fn command(&self) -> Command {
        let mut command = command(self.home());
        command.env("DSTORE_DIR", self.home().join("client"));
        command
    }

    /// Runs a command of the client to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        self.command().args(arguments).output().expect("the binary runs").into()
    }

    /// Runs a command of the client with something on its standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        use std::io::Write;
        let mut child = self.command().args(arguments).stdin(Stdio::piped()).spawn().expect("the binary runs");
        child.stdin.take().expect("it is piped").write_all(input).expect("it reads");
        child.wait_with_output().expect("it ends").into()
    }

    /// Makes a local file.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.home().join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("made");
        fs::write(&path, bytes).expect("written");
        path
    }

    /// Makes a local file and puts it under its name.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let file = self.file(&format!("sources/{name}"), bytes);
        self.run([OsStr::new("put"), file.as_os_str(), OsStr::new(name)]).with(0);
    }

    /// The bytes of a file as `cat` gives them.
    #[track_caller]
    pub(crate) fn cat(&self, path: &str) -> Vec<u8> {
        self.run(["cat", path]).with(0).stdout
    }

    /// Paths of all files.
    #[track_caller]
    pub(crate) fn paths(&self) -> Vec<String> {
        let list = self.run(["ls", "--json"]).with(0).json();
        list["items"].as_array().expect("a list").iter().map(|item| text(&item["path"])).collect()
    }

    /// The index of the node that has this shard of a file.
    #[track_caller]
    pub(crate) fn holder(&self, path: &str, shard: usize) -> usize {
        let stat = self.run(["stat", path, "--json"]).with(0).json();
        let node = text(&stat["shards"][shard]["node"]);
        self.nodes.iter().position(|known| known.id == node).expect("one of ours")
    }
}

impl Node {
    /// The shard files of this node.
    pub(crate) fn shard_files(&self) -> Vec<PathBuf> {
        files_below(&self.dir.join("shards"))
    }

    /// Allows a key from its next start on.
    pub(crate) fn allow(&mut self, key: &str) {
        self.options.extend(["--allow".to_owned(), key.to_owned()]);
    }

    /// Flips one bit in the middle of every shard file.
    pub(crate) fn corrupt(&self) {
        let files = self.shard_files();
        assert!(!files.is_empty(), "the node has no shard files");
        for file in files {
            let mut bytes = fs::read(&file).expect("readable");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&file, bytes).expect("writable");
        }
    }
}

/// Every file below a folder.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// `registry run` or `node run` at a free port.
pub(crate) fn server(home: &Path, role: &str, dir: &Path, options: &[&str]) -> Running {
    let mut command = command(home);
    command.args([role, "run", "--listen", "127.0.0.1:0", "--json", "--dir"]).arg(dir).args(options);
    Running::start(&mut command)
}

/// The line that says that it serves.
pub(crate) fn ready(server: &mut Running) -> Value {
    let ready: Value = serde_json::from_str(&server.line()).expect("JSON");
    assert_eq!(ready["schema"], "dstore.ready/1");
    ready
}

fn start_node(home: &Path, registry: &str, dir: PathBuf, options: Vec<String>) -> Node {
    let mut all = vec!["--registry", registry, "--free-floor", "0"];
    all.extend(options.iter().map(String::as_str));
    let mut process = server(home, "node", &dir, &all);
    let ready = ready(&mut process);
    assert_eq!(ready["role"], "node");
    let (id, address) = (text(&ready["id"]), text(&ready["address"]));
    Node { process, dir, id, address, options }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Bytes without a pattern, the same every time.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    next.flatten().take(len).collect()
}

/// A home without anything.
pub(crate) fn empty_home() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Runs a command where nothing is set up.
pub(crate) fn run_alone<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    run(empty_home().path(), arguments)
}
