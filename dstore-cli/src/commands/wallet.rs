//! `wallet`: what others may know of this owner's keys.

use dstore::config;

use crate::args::Wallet;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::shape::Keys;

/// Prints an address or a key. Asks nobody.
pub(crate) fn run(context: &Context, what: &Wallet) -> Result {
    let owner = config::owner(&context.config, &context.dir)?.ok_or_else(|| {
        Failure::new("config", format!("no owner key: {} is not there", context.dir.join(config::OWNER_FILE).display()))
            .hint("make one with dstore-cli init --registry dsr1:...")
    })?;
    let address = format!("0x{}", owner.id());
    let (node, transport_key) = match what {
        Wallet::Address => (None, None),
        Wallet::TransportKey { node } => {
            (Some(node.to_string()), Some(owner.transport_key(*node).public_key().to_string()))
        }
    };
    if context.out.json {
        return context.out.document(&Keys { schema: "dstore.keys/1", address, node, transport_key });
    }
    context.out.line(&transport_key.unwrap_or(address))
}
