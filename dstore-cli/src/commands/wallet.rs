//! `wallet`: what others may know of this owner's keys, and what its account has.

use dstore::config;

use crate::args::Wallet;
use crate::context::Context;
use crate::failure::Result;
use crate::shape::{Balance, Keys};
use crate::text;

/// Prints an address, a key or a balance. Only for the last one anybody is asked.
pub(crate) async fn run(context: &Context, what: Wallet) -> Result {
    let owner = context.required_owner()?;
    let address = format!("0x{}", owner.id());
    let (node, transport_key) = match what {
        Wallet::Address => (None, None),
        Wallet::Balance => return balance(context, address).await,
        Wallet::TransportKey { node } => {
            (Some(node.to_string()), Some(owner.transport_key(node).public_key().to_string()))
        }
    };
    if context.out.json {
        return context.out.document(&Keys { schema: "dstore.keys/1", address, node, transport_key });
    }
    context.out.line(&transport_key.unwrap_or(address))
}

async fn balance(context: &Context, address: String) -> Result {
    let (chain, account) = (config::ethereum(&context.config)?.chain().clone(), context.account()?);
    let wei = account.balance().await.map_err(dstore::Error::from)?;
    if context.out.json {
        return context.out.document(&Balance::new(address, &chain, wei));
    }
    context.out.line(&text::ether(wei))?;
    if wei == 0 {
        context.out.note(&format!("to write to {}, send some to {address}", chain.name()));
    }
    Ok(())
}
