//! The names of all settings.

/// Where a setting may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Flag, environment, `.env` and config file.
    Everywhere,
    /// Not in the config file: it says where that file is, or makes sense for one command only.
    NotInFile,
    /// Environment, `.env` and config file: a limit, which nobody types (docs/limits.md).
    NoFlag,
    /// A secret: environment and `.env` only, and never shown.
    Secret,
}

/// A setting: `--a-b` on the command line, `DSTORE_A_B` in the environment and in `.env`, `a_b` in the config file.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name, as in the config file.
    pub name: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// Its value when nobody sets it.
    pub default: Option<&'static str>,
    /// Where it may be written.
    pub scope: Scope,
}

macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident = $name:literal, $variable:literal, $scope:ident $(, $default:literal)?;)*) => {
        impl Key {
            $(
                $(#[$doc])*
                pub const $key: Self = Self {
                    name: $name,
                    variable: $variable,
                    default: default!($($default)?),
                    scope: Scope::$scope,
                };
            )*

            /// Every setting.
            pub const ALL: &'static [Self] = &[$(Self::$key),*];
        }
    };
}

macro_rules! default {
    () => {
        None
    };
    ($default:literal) => {
        Some($default)
    };
}

keys! {
    /// The folder of this client, node or registry.
    DIR = "dir", "DSTORE_DIR", NotInFile;
    /// The config file. Default: `config.toml` in the folder.
    CONFIG = "config", "DSTORE_CONFIG", NotInFile;
    /// The file with environment variables. Default: `.env` in the current folder, if there is one.
    ENV_FILE = "env_file", "DSTORE_ENV_FILE", NotInFile;
    /// Registries to find nodes through, separated by commas.
    REGISTRY = "registry", "DSTORE_REGISTRY", Everywhere;
    /// Where records are kept: `local`, `memory` or `ethereum`.
    LEDGER = "ledger", "DSTORE_LEDGER", Everywhere, "local";
    /// The chain of the ledger `ethereum`: `sepolia`, `local`, or a chain id.
    CHAIN = "chain", "DSTORE_CHAIN", Everywhere, "sepolia";
    /// The contract there, `0x` and 40 hex digits.
    CONTRACT = "contract", "DSTORE_CONTRACT", Everywhere;
    /// The most that a unit of gas may cost, gwei, such as `2.5`.
    MAX_FEE = "max_fee", "DSTORE_MAX_FEE", Everywhere;
    /// Blocks after which a write counts as confirmed, the one that has it included.
    CONFIRMATIONS = "confirmations", "DSTORE_CONFIRMATIONS", Everywhere;
    /// How long a put waits for others that are on their way, to share a transaction.
    BATCH_WAIT = "batch_wait", "DSTORE_BATCH_WAIT", NoFlag;
    /// Addresses of providers of the chain, separated by commas. They may carry keys.
    RPC_URL = "rpc_url", "ETH_RPC_URL", Secret;
    /// A key of the provider Alchemy, used where no address is set.
    ALCHEMY_KEY = "alchemy_key", "ALCHEMY_API_KEY", Secret;
    /// The label of the network.
    NETWORK = "network", "DSTORE_NETWORK", Everywhere, "dstore";
    /// For how long a step may make no progress before it fails.
    TIMEOUT = "timeout", "DSTORE_TIMEOUT", Everywhere, "30s";
    /// Data and parity shards of new files.
    SCHEME = "scheme", "DSTORE_SCHEME", Everywhere, "4+2";
    /// How the length of new files is hidden: `padme` or `none`.
    PADDING = "padding", "DSTORE_PADDING", Everywhere, "padme";
    /// What a put may replace: `overwrite`, `create` or `update`.
    MODE = "mode", "DSTORE_MODE", Everywhere, "overwrite";
    /// The version that `--mode update` replaces.
    IF_VERSION = "if_version", "DSTORE_IF_VERSION", NotInFile;
    /// Whether puts start over, instead of going on where an earlier one ended.
    NO_RESUME = "no_resume", "DSTORE_NO_RESUME", Everywhere, "false";
    /// Whether `check` reads every byte back.
    READ_DATA = "read_data", "DSTORE_READ_DATA", NotInFile, "false";
    /// Machine-readable output.
    JSON = "json", "DSTORE_JSON", Everywhere, "false";
    /// Progress of transfers: `auto`, `always`, `never` or `json`.
    PROGRESS = "progress", "DSTORE_PROGRESS", Everywhere, "auto";
    /// Colours: `auto`, `always` or `never`.
    COLOR = "color", "DSTORE_COLOR", Everywhere, "auto";
    /// No messages but errors.
    QUIET = "quiet", "DSTORE_QUIET", Everywhere, "false";
    /// How much is logged: 0 to 3.
    VERBOSE = "verbose", "DSTORE_VERBOSE", Everywhere, "0";
    /// Where the demo leaves its files.
    KEEP = "keep", "DSTORE_KEEP", NotInFile;
    /// Where a node or registry listens, `host:port`.
    LISTEN = "listen", "DSTORE_LISTEN", Everywhere;
    /// The address under which others reach a node, when it is not the one where it listens.
    PUBLIC = "public", "DSTORE_PUBLIC", Everywhere;
    /// Bytes that a node offers.
    CAPACITY = "capacity", "DSTORE_CAPACITY", Everywhere;
    /// The longest shard that a node keeps in its database, bytes.
    INLINE_MAX = "inline_max", "DSTORE_INLINE_MAX", Everywhere;
    /// Bytes that a node leaves free on its disk.
    FREE_FLOOR = "free_floor", "DSTORE_FREE_FLOOR", Everywhere;
    /// The operator's label for nodes that fail together.
    ZONE = "zone", "DSTORE_ZONE", Everywhere;
    /// Whether a node takes no new shards, and serves what it has.
    DRAIN = "drain", "DSTORE_DRAIN", Everywhere, "false";
    /// Whether a node takes shards from clients at public addresses.
    OPEN = "open", "DSTORE_OPEN", Everywhere, "false";
    /// Transport keys that a node lets store shards, separated by commas.
    ALLOW = "allow", "DSTORE_ALLOW", Everywhere;
    /// A file with such keys, one a line.
    ALLOW_FILE = "allow_file", "DSTORE_ALLOW_FILE", Everywhere;
    /// Whether a node lets in nobody but keys that it allows or has invited.
    INVITE_ONLY = "invite_only", "DSTORE_INVITE_ONLY", Everywhere, "false";
    /// Invites of nodes, separated by commas.
    INVITE = "invite", "DSTORE_INVITE", Everywhere;
    /// Nodes that alone take new shards, separated by commas.
    PIN = "pin", "DSTORE_PIN", Everywhere;
    /// Memory for the buffers of one transfer.
    MEMORY = "memory", "DSTORE_MEMORY", NoFlag;
    /// How long a get waits for a node before it asks another one for parity.
    HEDGE_AFTER = "hedge_after", "DSTORE_HEDGE_AFTER", NoFlag;
    /// Handshakes under way in all.
    HALF_OPEN = "half_open", "DSTORE_HALF_OPEN", NoFlag;
    /// Handshakes under way from one source.
    HALF_OPEN_PER_SOURCE = "half_open_per_source", "DSTORE_HALF_OPEN_PER_SOURCE", NoFlag;
    /// Handshakes under way from one private source.
    HALF_OPEN_PER_PRIVATE_SOURCE = "half_open_per_private_source", "DSTORE_HALF_OPEN_PER_PRIVATE_SOURCE", NoFlag;
    /// Time for a whole handshake.
    HANDSHAKE_TIMEOUT = "handshake_timeout", "DSTORE_HANDSHAKE_TIMEOUT", NoFlag;
    /// New connections of one source in a second.
    RATE_PER_SOURCE = "rate_per_source", "DSTORE_RATE_PER_SOURCE", NoFlag;
    /// New connections of one private source in a second.
    RATE_PER_PRIVATE_SOURCE = "rate_per_private_source", "DSTORE_RATE_PER_PRIVATE_SOURCE", NoFlag;
    /// Connections in all.
    CONNECTIONS = "connections", "DSTORE_CONNECTIONS", NoFlag;
    /// Connections from one source.
    PER_SOURCE = "per_source", "DSTORE_PER_SOURCE", NoFlag;
    /// Connections from one private source.
    PER_PRIVATE_SOURCE = "per_private_source", "DSTORE_PER_PRIVATE_SOURCE", NoFlag;
    /// Connections with one transport key.
    PER_KEY = "per_key", "DSTORE_PER_KEY", NoFlag;
    /// Time between two requests.
    IDLE_TIMEOUT = "idle_timeout", "DSTORE_IDLE_TIMEOUT", NoFlag;
    /// Time in which 64 KiB of a message move.
    PROGRESS_WINDOW = "progress_window", "DSTORE_PROGRESS_WINDOW", NoFlag;
    /// Bytes that one key may keep at a node.
    QUOTA_BYTES = "quota_bytes", "DSTORE_QUOTA_BYTES", NoFlag;
    /// Shards that one key may keep at a node.
    QUOTA_SHARDS = "quota_shards", "DSTORE_QUOTA_SHARDS", NoFlag;
    /// Puts that are open at a node at once.
    OPEN_PUTS = "open_puts", "DSTORE_OPEN_PUTS", NoFlag;
    /// Bytes that all strangers may keep at an open node.
    STRANGER_BYTES = "stranger_bytes", "DSTORE_STRANGER_BYTES", NoFlag;
    /// Shards that all strangers may keep at an open node.
    STRANGER_SHARDS = "stranger_shards", "DSTORE_STRANGER_SHARDS", NoFlag;
    /// Bytes that strangers of one network may keep at an open node.
    NETWORK_BYTES = "network_bytes", "DSTORE_NETWORK_BYTES", NoFlag;
    /// Shards that strangers of one network may keep at an open node.
    NETWORK_SHARDS = "network_shards", "DSTORE_NETWORK_SHARDS", NoFlag;
    /// Puts that strangers of one network have open at once.
    NETWORK_PUTS = "network_puts", "DSTORE_NETWORK_PUTS", NoFlag;
    /// How long a deleted shard still serves readers.
    RETIRE_FOR = "retire_for", "DSTORE_RETIRE_FOR", NoFlag;
    /// How long a shard is kept after its lease.
    GRACE = "grace", "DSTORE_GRACE", NoFlag;
    /// Active nodes below which a registry offers none.
    MIN_NODES = "min_nodes", "DSTORE_MIN_NODES", NoFlag;
    /// Nodes that a registry lists.
    MAX_NODES = "max_nodes", "DSTORE_MAX_NODES", NoFlag;
    /// Changes of a node within the window that are still fine.
    QUARANTINE_CHANGES = "quarantine_changes", "DSTORE_QUARANTINE_CHANGES", NoFlag;
    /// The window in which a registry counts changes of a node.
    QUARANTINE_WINDOW = "quarantine_window", "DSTORE_QUARANTINE_WINDOW", NoFlag;
    /// How long a quarantine lasts.
    QUARANTINE_DURATION = "quarantine_duration", "DSTORE_QUARANTINE_DURATION", NoFlag;
    /// In how long a source, or an address, earns one dial-back.
    DIAL_BACK_PERIOD = "dial_back_period", "DSTORE_DIAL_BACK_PERIOD", NoFlag;
    /// Dial-backs of one source at once.
    DIAL_BACKS_PER_SOURCE = "dial_backs_per_source", "DSTORE_DIAL_BACKS_PER_SOURCE", NoFlag;
    /// Dial-backs to one address at once.
    DIAL_BACKS_PER_ADDRESS = "dial_backs_per_address", "DSTORE_DIAL_BACKS_PER_ADDRESS", NoFlag;
    /// Whether a registry at a public address lists nodes at private ones.
    PRIVATE_NODES = "private_nodes", "DSTORE_PRIVATE_NODES", Everywhere, "false";
    /// Where a node or registry shows its operator how it is, `host:port`.
    ADMIN = "admin", "DSTORE_ADMIN", Everywhere;
    /// Whether that may be an address that other machines can reach.
    ADMIN_PUBLIC = "admin_public", "DSTORE_ADMIN_PUBLIC", Everywhere, "false";
    /// How often nodes report to a registry.
    HEARTBEAT = "heartbeat", "DSTORE_HEARTBEAT", Everywhere, "10s";
    /// The owner's private key, 64 hex digits.
    OWNER_KEY = "owner_key", "ETH_PRIVATE_KEY", Secret;
    /// A file with the owner's private key.
    OWNER_KEY_FILE = "owner_key_file", "ETH_PRIVATE_KEY_FILE", NotInFile;
    /// A JSON keystore, version 3, with the owner's private key.
    KEYSTORE = "keystore", "ETH_KEYSTORE", NotInFile;
    /// The password of the keystore.
    KEYSTORE_PASSWORD = "keystore_password", "ETH_KEYSTORE_PASSWORD", Secret;
    /// A file with the password of the keystore, used where the password itself is not set.
    KEYSTORE_PASSWORD_FILE = "keystore_password_file", "ETH_KEYSTORE_PASSWORD_FILE", NotInFile;
}

impl Key {
    /// The setting with this name in the config file.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|key| key.name == name)
    }

    /// Whether it can stand in the config file.
    #[must_use]
    pub fn is_in_file(&self) -> bool {
        matches!(self.scope, Scope::Everywhere | Scope::NoFlag)
    }

    /// Its flag, such as `--inline-max`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }
}

/// The one of `known` that somebody who wrote `written` most likely meant.
pub(super) fn closest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance <= name.len() / 3 + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_its_variable() {
        // The others are known to users of Ethereum under these names, and have no flag.
        let foreign = |key: &&Key| key.variable.starts_with("ETH_") || **key == Key::ALCHEMY_KEY;
        for key in Key::ALL.iter().filter(|key| !foreign(key)) {
            assert_eq!(key.variable, format!("DSTORE_{}", key.name.to_uppercase()));
        }
    }

    #[test]
    fn the_closest_name_is_suggested_and_a_far_one_is_not() {
        let names = || ["registry", "timeout", "inline_max"].into_iter();
        assert_eq!(closest("regsitry", names()), Some("registry"));
        assert_eq!(closest("inline-max", names()), Some("inline_max"));
        assert_eq!(closest("colour_of_the_sky", names()), None);
    }
}
