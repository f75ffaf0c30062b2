//! A registry and nodes as processes of their own: this program, started again with a role.
//!
//! Invariant: a role ends when the process that started it does, however that ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use dstore::{Client, ClientBuilder, LocalLedger, Owner, Registry, RegistryAddr, StorageNode};
use futures_lite::future::block_on;
use futures_util::StreamExt;

use crate::usage;

/// What comes first when this program is started as a role.
const ROLE: &str = "--role";
/// Storage nodes of a network.
pub const NODES: usize = 3;

type Failure = Box<dyn std::error::Error>;

/// Plays the role that the arguments ask for, if they do.
///
/// # Errors
/// What ends the role.
pub fn play_role(arguments: &[String]) -> Result<bool, Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [ROLE, "registry", dir] => block_on(registry(Path::new(dir)))?,
        [ROLE, "node", dir, registry] => block_on(node(Path::new(dir), registry))?,
        [ROLE, "client", what, dir, registry, file] => block_on(client(what, Path::new(dir), registry, file))?,
        _ => return Ok(false),
    }
    Ok(true)
}

async fn registry(dir: &Path) -> Result<(), Failure> {
    let registry = Registry::builder().dir(dir).start().await?;
    wait_for_parent(&registry.registry_address().to_string())?;
    Ok(())
}

async fn node(dir: &Path, registry: &str) -> Result<(), Failure> {
    let node = StorageNode::builder().dir(dir).registry(registry.parse()?).capacity(1 << 40).start().await?;
    node.registered().await;
    wait_for_parent(&node.address().to_string())?;
    Ok(())
}

/// Says `ready`, and returns when the process that started this one has ended, or wants it to.
fn wait_for_parent(ready: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{ready}")?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Puts or gets one file, and says by how many bytes its memory grew.
async fn client(what: &str, dir: &Path, registry: &str, file: &str) -> Result<(), Failure> {
    let client = settings(dir, registry.parse()?)?.connect().await?;
    client.network().await?;
    let (before, _) = usage::memory();
    match what {
        "put" => drop(client.upload(file, "memory").await?),
        _ => {
            let mut stream = client.get("memory").stream().await?;
            while let Some(piece) = stream.next().await {
                drop(piece?);
            }
        }
    }
    let (_, most) = usage::memory();
    wait_for_parent(&most.saturating_sub(before).to_string())?;
    Ok(())
}

fn settings(dir: &Path, registry: RegistryAddr) -> Result<ClientBuilder, Failure> {
    let owner = Owner::from_secret(&[7; 32]).ok_or("no owner")?;
    Ok(Client::builder().registry(registry).owner(owner).ledger(LocalLedger::open(dir.join("ledger.db"))?))
}

/// A running network. Dropping it ends its processes and removes its data.
#[derive(Debug)]
pub struct Network {
    address: String,
    // Ended before their folder is removed.
    roles: Vec<Role>,
    nodes: Vec<String>,
    dir: tempfile::TempDir,
}

impl Network {
    /// A registry and three nodes with their data below `medium`.
    ///
    /// # Errors
    /// When a process does not start.
    pub fn start(medium: &Path) -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(medium)?;
        let (registry, address) = Role::start(&["registry", path(&dir.path().join("registry"))?])?;
        let (mut roles, mut nodes) = (vec![registry], Vec::new());
        for index in 0..NODES {
            let (node, address) = Role::start(&["node", path(&folder_of(dir.path(), index))?, &address])?;
            roles.push(node);
            nodes.push(address);
        }
        Ok(Self { address, roles, nodes, dir })
    }

    /// The folder of its data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where a node listens, and its folder.
    ///
    /// # Errors
    /// None in practice.
    pub fn node(&self, index: usize) -> Result<(SocketAddr, PathBuf), Failure> {
        Ok((self.nodes[index].parse()?, folder_of(self.dir(), index)))
    }

    /// Memory of a node now, and the most that it ever was, bytes.
    #[must_use]
    pub fn node_memory(&self, index: usize) -> (u64, u64) {
        usage::memory_of(&self.roles[1 + index].child.id().to_string())
    }

    /// A client in this process.
    ///
    /// # Errors
    /// When the ledger cannot be opened.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(block_on(settings(self.dir(), self.address.parse()?)?.connect())?)
    }

    /// Processor time of this process and of the network's.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let pids = self.roles.iter().map(|role| role.child.id());
        pids.chain([std::process::id()]).map(usage::of_process).sum()
    }

    /// Bytes by which a client process grows with a put or get (`what`) of `file`.
    ///
    /// # Errors
    /// When it fails.
    pub fn client_memory(&self, what: &str, file: &Path) -> Result<u64, Failure> {
        let (_role, grown) = Role::start(&["client", what, path(self.dir())?, &self.address, path(file)?])?;
        Ok(grown.parse()?)
    }
}

fn folder_of(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("node-{index}"))
}

fn path(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| "a path that is not UTF-8".into())
}

/// This program as another process.
#[derive(Debug)]
struct Role {
    child: Child,
    // Kept open: a role may still write to it.
    out: BufReader<ChildStdout>,
}

impl Role {
    /// Starts it; answers the line that it says when it is ready.
    fn start(arguments: &[&str]) -> Result<(Self, String), Failure> {
        let program: PathBuf = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.arg(ROLE).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut role = Self { child, out: BufReader::new(out) };
        let mut line = String::new();
        role.out.read_line(&mut line)?;
        let line = line.trim_end().to_owned();
        if line.is_empty() { Err(format!("a {} did not start", arguments[0]).into()) } else { Ok((role, line)) }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
