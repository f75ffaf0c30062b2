//! `mv`: gives a file another path.

use dstore::{Error, FilePath};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::shape::Changed;
use crate::text;

/// Moves the file at `from` to `to`. No shard moves.
pub(crate) async fn run(context: &Context, from: String, to: String) -> Result {
    let (from, to) = (FilePath::new(from)?, FilePath::new(to)?);
    let client = context.client().await?;
    let head = client.rename(from.as_str(), to.as_str()).await.map_err(|error| match error {
        Error::AlreadyExists { .. } => {
            let remove = format!("dstore-cli rm {}", text::shell_quoted(to.as_str()));
            let hint = format!("choose another path, or remove that file first: {remove}");
            Failure { hints: vec![hint], ..error.into() }
        }
        error => error.into(),
    })?;
    if context.out.json {
        context.out.document(&Changed::new("dstore.mv/1", std::slice::from_ref(&head)))?;
    }
    context.out.note(&format!("moved {} to {}", text::harmless(from.as_str()), text::harmless(to.as_str())));
    Ok(())
}
