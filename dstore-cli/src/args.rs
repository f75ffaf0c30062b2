//! What can be typed: commands, options, and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What options like `--color` take.
const WHEN: [&str; 3] = ["auto", "always", "never"];

/// What `--progress` takes.
const PROGRESS: [&str; 4] = ["auto", "always", "never", "json"];

/// What `--ledger` takes.
const LEDGERS: [&str; 3] = ["local", "memory", "ethereum"];

const EXAMPLES: &str = "\
Try it:        dstore-cli demo
First steps:   dstore-cli init --registry dsr1:...@host:port
               dstore-cli put report.pdf
               dstore-cli get report.pdf

Options --a-b that are settings can also be set as DSTORE_A_B in the environment or in .env,
and most as a_b in DIR/config.toml. `dstore-cli config show --origin` tells which one counts.
Exit codes: 0 fine, 1 internal error, 2 usage, 3 partly failed, 4 not found, 5 try again later,
6 data damaged, 7 denied, 8 configuration, 9 exists or version conflict,
10 refused by the chain: funds, fees, chain or contract, 11 damaged but repairable,
12 in use by another process, 128+n ended by signal n.";

/// Keep private files on other people's disks: encrypted, spread out, safe when a disk is lost
#[derive(Debug, Parser)]
#[command(name = "dstore-cli", version, after_help = EXAMPLES, max_term_width = 100, infer_long_args = false)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// Folder of this client, node or registry [default: dstore in your data folder, for a node or a registry the folder
    /// of that name in it, and for dev ./dstore-dev]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Config file [default: DIR/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// File with variables [default: .env in the current folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// Registry to find nodes through; may be given more than once
    #[arg(long, global = true, value_name = "ADDR", value_delimiter = ',', value_parser = check::registry)]
    pub(crate) registry: Vec<String>,
    /// Where the records of files are kept: local, memory or ethereum [default: local]
    #[arg(long, global = true, value_name = "KIND", value_parser = LEDGERS, hide_possible_values = true)]
    pub(crate) ledger: Option<String>,
    /// Chain of --ledger ethereum: sepolia, local (a development chain here), or a chain id [default: sepolia]
    #[arg(long, global = true, value_name = "CHAIN", value_parser = check::chain)]
    pub(crate) chain: Option<String>,
    /// Contract there that keeps the records: `contract deploy` makes one
    #[arg(long, global = true, value_name = "ADDRESS", value_parser = check::contract)]
    pub(crate) contract: Option<String>,
    /// Most that a unit of gas may cost, in gwei, such as 2.5 [default: 100]
    #[arg(long, global = true, value_name = "GWEI", value_parser = check::gwei)]
    pub(crate) max_fee: Option<String>,
    /// Blocks after which a write counts as confirmed [default: 2, on a development chain 1]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) confirmations: Option<u64>,
    /// Invite of a node that takes shards of its guests only; may be given more than once
    #[arg(long, global = true, value_name = "INVITE", value_delimiter = ',', value_parser = check::invite)]
    pub(crate) invite: Vec<String>,
    /// Label of the network that nodes and clients share [default: dstore]
    #[arg(long, global = true, value_name = "LABEL")]
    pub(crate) network: Option<String>,
    /// For how long a step may make no progress [default: 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = check::duration)]
    pub(crate) timeout: Option<String>,
    /// Print JSON; for transfers, one line an event
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Progress of transfers: auto, always, never, or json for a line an event on standard error [default: auto]
    #[arg(long, global = true, value_name = "WHEN", value_parser = PROGRESS, hide_possible_values = true)]
    pub(crate) progress: Option<String>,
    /// Colours: auto, always or never [default: auto]
    #[arg(long, global = true, value_name = "WHEN", value_parser = WHEN, hide_possible_values = true)]
    pub(crate) color: Option<String>,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more: causes of errors, and a log; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work on this machine: store a file on three nodes, lose a node, get the file back
    Demo(Demo),
    /// Run a registry and four nodes here, to develop and try things against
    Dev,
    /// Set up this client: a key, and a config that names its registries
    Init,
    /// Store a file or a folder
    Put(Put),
    /// Get a file, or all files below a prefix
    Get(Get),
    /// Write a file to standard output
    Cat(OnePath),
    /// List files
    Ls(Ls),
    /// Show a file: version, size, and where its shards are
    Stat(OnePath),
    /// Remove files
    Rm(Rm),
    /// Move a file to another path
    Mv(Mv),
    /// Find your files again with the key alone, when the ledger or this machine is lost
    Recover(Recover),
    /// Copy a file to another path: it is read and stored again
    Cp(Cp),
    /// Show every version of a file, also after it was removed
    History(OnePath),
    /// See whether files can be read, and how many more nodes may fail
    Check(Check),
    /// Show the network, the registries and the ledger
    Status,
    /// Look for what is wrong here and in the network, and say what to do
    Doctor,
    /// Run or ask a storage node
    #[command(subcommand)]
    Node(Node),
    /// Show the keys of this owner that others may know, and what its account has
    #[command(subcommand)]
    Wallet(Wallet),
    /// Make or ask the contract that keeps records on Ethereum
    #[command(subcommand)]
    Contract(Contract),
    /// Run or ask a registry
    #[command(subcommand)]
    Registry(Registry),
    /// Show the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print what makes a shell complete commands and options
    Completions {
        /// Shell: bash, elvish, fish, powershell or zsh
        #[arg(hide_possible_values = true)]
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one for each command
    Man {
        /// Folder to write them to, such as ~/.local/share/man/man1
        dir: PathBuf,
    },
}

/// `demo`
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Any file [default: 64 MiB of random bytes]
    pub(crate) file: Option<PathBuf>,
    /// Leave everything in DIR, which must be empty or new, instead of removing it
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

/// `contract`
#[derive(Debug, Subcommand)]
pub(crate) enum Contract {
    /// Put a contract of your own on the chain. Anybody may use it: each owner has files of their own there
    Deploy {
        /// Show what it would cost, and send nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the contract that is configured, the chain, and who answers for it
    Info,
}

/// `put`
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// File or folder to store; - for standard input
    pub(crate) src: PathBuf,
    /// Path to store it at; of a folder, what its files' paths start with [default: the name of SRC]
    pub(crate) path: Option<String>,
    /// What it may replace.
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Start over, instead of going on where an earlier put of the same file ended
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Data and parity shards: 4+2 costs 1.5 times the bytes [default: 4+2]
    #[arg(long, value_name = "K+M", value_parser = check::scheme)]
    pub(crate) scheme: Option<String>,
    /// How the length is hidden: padme (at most 12 % more) or none [default: padme]
    #[arg(long, value_name = "HOW", value_parser = ["padme", "none"], hide_possible_values = true)]
    pub(crate) padding: Option<String>,
    /// Show what would be stored and what that would cost, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Options of `put` and `cp`.
#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// What it may replace: overwrite (anything), create (nothing), update (one version) [default: overwrite]
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    pub(crate) mode: Option<Mode>,
    /// Replace this version and no other
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) if_version: Option<u32>,
}

/// `--mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    // No help on these: it would blow up the help of the whole command.
    Overwrite,
    Create,
    Update,
}

/// `get`
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Path of a file; or PREFIX/ for all files whose path starts with it, / for all
    pub(crate) path: String,
    /// Local file or folder; - for standard output [default: the last part of PATH]
    pub(crate) dst: Option<PathBuf>,
}

/// `cat`, `stat`, `history`
#[derive(Debug, Args)]
pub(crate) struct OnePath {
    /// Path of the file
    pub(crate) path: String,
}

/// `ls`
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only paths that start with this
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
}

/// `rm`
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Remove every file below PATH, such as PREFIX/
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Paths of files; with -r, of what they start with
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<String>,
}

/// `mv`
#[derive(Debug, Args)]
pub(crate) struct Mv {
    /// Path it has
    pub(crate) from: String,
    /// Path it is to have, where no file may be
    pub(crate) to: String,
}

/// `recover`
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// Show what would be found, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Ledger to make again, when the nodes know several
    #[arg(long, value_name = "ID")]
    pub(crate) ledger_id: Option<dstore::id::LedgerId>,
}

/// `cp`
#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Path of the file
    pub(crate) from: String,
    /// Path to store it at as well
    pub(crate) to: String,
    /// What it may replace.
    #[command(flatten)]
    pub(crate) replace: Replace,
}

/// `check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Only paths that start with this
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Read every byte back too, instead of asking the nodes alone
    #[arg(long)]
    pub(crate) read_data: bool,
}

/// `node`
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Run a storage node until it is interrupted; prints its address when a registry has accepted it
    Run(NodeRun),
    /// Ask nodes how they are
    Status {
        /// Id of one node, or what it begins with [default: all that the registries list]
        #[arg(value_name = "ID", value_parser = check::beginning)]
        id: Option<String>,
    },
    /// Sign an invite: the first client that presents it may store shards at this node from then on
    Invite {
        /// For how long it can be presented
        #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = check::duration)]
        expires: String,
    },
}

/// `node run`
#[derive(Debug, Args)]
pub(crate) struct NodeRun {
    /// Where to listen; port 0 chooses a free one [default: 127.0.0.1:4200]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Address under which others reach this node, if it is not the one where it listens
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) public: Option<String>,
    /// Bytes to offer [default: 10GiB]
    #[arg(long, value_name = "SIZE", value_parser = check::size)]
    pub(crate) capacity: Option<String>,
    /// Longest shard that is kept in the database instead of a file of its own [default: 48KiB]
    #[arg(long, value_name = "BYTES", value_parser = check::size)]
    pub(crate) inline_max: Option<String>,
    /// Bytes to leave free on the disk [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = check::size)]
    pub(crate) free_floor: Option<String>,
    /// Label of what fails together, such as a house or a power line
    #[arg(long, value_name = "LABEL")]
    pub(crate) zone: Option<String>,
    /// Take no new shards, and serve those that are here: before this node goes for good
    #[arg(long)]
    pub(crate) drain: bool,
    /// Take shards from clients at public addresses too, whoever they are
    #[arg(long)]
    pub(crate) open: bool,
    /// Serve /metrics, /healthz and /readyz over HTTP here, for monitoring [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin: Option<String>,
    /// Let --admin be an address that other machines can reach: they are asked for no password
    #[arg(long)]
    pub(crate) admin_public: bool,
    /// Take shards from this key, wherever it is: `wallet transport-key` prints one's own; may be given more than once
    #[arg(long, value_name = "KEY", value_delimiter = ',', value_parser = check::key)]
    pub(crate) allow: Vec<String>,
    /// Take shards from the keys in this file too, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) allow_file: Option<PathBuf>,
    /// Take shards only from keys that are allowed or were invited, not from all of this network
    #[arg(long, conflicts_with = "open")]
    pub(crate) invite_only: bool,
}

/// `wallet`
#[derive(Debug, Subcommand)]
pub(crate) enum Wallet {
    /// Print the owner's address
    Address,
    /// Print what the owner's account on the chain has to pay for writes
    Balance,
    /// Print the key that this client shows to a node, for its operator to allow
    TransportKey {
        /// Id of the node
        #[arg(value_parser = check::node)]
        node: dstore::id::NodeId,
    },
}

/// `registry`
#[derive(Debug, Subcommand)]
pub(crate) enum Registry {
    /// Run a registry until it is interrupted; prints its address
    Run(RegistryRun),
    /// List the nodes that the registries know
    Nodes,
}

/// `registry run`
#[derive(Debug, Args)]
pub(crate) struct RegistryRun {
    /// Where to listen; port 0 chooses a free one [default: 127.0.0.1:4100]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Address under which others reach this registry, if it is not the one where it listens
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) public: Option<String>,
    /// How often nodes are to report [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = check::duration)]
    pub(crate) heartbeat: Option<String>,
    /// List nodes at private addresses too, although this registry listens at a public one or at all of them
    #[arg(long)]
    pub(crate) private_nodes: bool,
    /// Serve /metrics, /healthz and /readyz over HTTP here, for monitoring [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin: Option<String>,
    /// Let --admin be an address that other machines can reach: they are asked for no password
    #[arg(long)]
    pub(crate) admin_public: bool,
}

/// `config`
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show every setting; secrets only as set or not
    Show {
        /// Show where each value came from
        #[arg(long)]
        origin: bool,
    },
}

/// Checks flags where they are typed; the texts go on as they are, because the same settings come from files too.
mod check {
    use std::str::FromStr;

    use bytesize::ByteSize;
    use dstore::config;
    use dstore::id::{NodeId, NoiseKey};
    use dstore::ledger::Chain;
    use dstore::{Invite, RegistryAddr, Scheme};

    pub(super) fn chain(text: &str) -> Result<String, String> {
        Chain::from_str(text).map(|_| text.to_owned())
    }

    pub(super) fn contract(text: &str) -> Result<String, String> {
        config::parse_contract(text).map(|_| text.to_owned())
    }

    pub(super) fn gwei(text: &str) -> Result<String, String> {
        config::parse_gwei(text).map(|_| text.to_owned())
    }

    pub(super) fn registry(text: &str) -> Result<String, String> {
        RegistryAddr::from_str(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
    }

    pub(super) fn invite(text: &str) -> Result<String, String> {
        Invite::from_str(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
    }

    pub(super) fn key(text: &str) -> Result<String, String> {
        let key = NoiseKey::from_str(text).map(|_| text.to_owned());
        key.map_err(|_| "a key has 64 hex digits: `dstore-cli wallet transport-key` prints it".to_owned())
    }

    pub(super) fn node(text: &str) -> Result<NodeId, String> {
        let id = NodeId::from_str(text);
        id.map_err(|_| "a whole id has 40 hex digits: `dstore-cli registry nodes --json` lists them".to_owned())
    }

    pub(super) fn beginning(text: &str) -> Result<String, String> {
        let is_id = (1..=40).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let id = is_id.then(|| text.to_ascii_lowercase());
        id.ok_or_else(|| "an id has 40 hex digits, of which the first are enough".to_owned())
    }

    pub(super) fn scheme(text: &str) -> Result<String, String> {
        Scheme::from_str(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
    }

    pub(super) fn duration(text: &str) -> Result<String, String> {
        match humantime::parse_duration(text) {
            Ok(duration) if !duration.is_zero() => Ok(text.to_owned()),
            _ => Err("write it like 10s or 2m".to_owned()),
        }
    }

    pub(super) fn size(text: &str) -> Result<String, String> {
        ByteSize::from_str(text).map(|_| text.to_owned()).map_err(|_| "write it like 10GiB or 4096".to_owned())
    }
}
