//! What `init`, `config show` and `demo` tell.

use serde::Serialize;

/// `dstore.init/1`
#[derive(Debug, Serialize)]
pub(crate) struct Init {
    /// Its name.
    pub(crate) schema: &'static str,
    /// The client's folder.
    pub(crate) dir: String,
    /// Whose files it will keep.
    pub(crate) owner: String,
    /// The registries it will ask.
    pub(crate) registry: Vec<String>,
}

/// `dstore.keys/1`
#[derive(Debug, Serialize)]
pub(crate) struct Keys {
    /// Its name.
    pub(crate) schema: &'static str,
    /// The owner's address.
    pub(crate) address: String,
    /// The node that the key is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    /// The key that is shown to that node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transport_key: Option<String>,
}

/// `dstore.invite/1`
#[derive(Debug, Serialize)]
pub(crate) struct InviteDocument {
    /// Its name.
    pub(crate) schema: &'static str,
    /// What is to be handed to the guest.
    pub(crate) invite: String,
}

/// `dstore.config/1`
#[derive(Debug, Serialize)]
pub(crate) struct ConfigDocument {
    /// Its name.
    pub(crate) schema: &'static str,
    /// Every setting that has a value.
    pub(crate) settings: Vec<Setting>,
}

/// A setting; of a secret only whether it is set.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    /// Its name, as in the config file.
    pub(crate) name: &'static str,
    /// Its value.
    pub(crate) value: String,
    /// Where it came from, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<String>,
}

/// `dstore.demo/1`
#[derive(Debug, Serialize)]
pub(crate) struct Demo {
    /// Its name.
    pub(crate) schema: &'static str,
    /// The file's name.
    pub(crate) file: String,
    /// Its length.
    pub(crate) size: u64,
    /// The contract on the chain that was started for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) contract: Option<String>,
    /// What writing the record there has cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wei: Option<String>,
    /// Bytes on all nodes together.
    pub(crate) stored: u64,
    /// Where each shard went.
    pub(crate) shards: Vec<DemoShard>,
    /// The node that was stopped.
    pub(crate) stopped: String,
    /// How long the put took.
    pub(crate) put_seconds: f64,
    /// How long the get took.
    pub(crate) get_seconds: f64,
    /// Whether what came back is what went in.
    pub(crate) identical: bool,
}

/// A shard in `dstore.demo/1`.
#[derive(Debug, Serialize)]
pub(crate) struct DemoShard {
    /// Its index.
    pub(crate) index: u8,
    /// Its node.
    pub(crate) node: String,
    /// The node's address.
    pub(crate) address: String,
    /// Its length.
    pub(crate) bytes: u64,
}
