//! `rm`: removes files.

use dstore::FilePath;

use super::Tally;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::shape::Changed;
use crate::text;

/// Removes the files at `paths`, those that can be.
pub(crate) async fn run(context: &Context, paths: Vec<String>) -> Result {
    let paths = paths.into_iter().map(FilePath::new).collect::<Result<Vec<_>, _>>()?;
    let client = context.client().await?;
    let out = &context.out;
    let (mut removed, mut tally, several) = (Vec::new(), Tally::default(), paths.len() > 1);
    for path in &paths {
        match client.remove(path.as_str()).await {
            Ok(head) => {
                out.note(&format!("removed {} (version {})", text::harmless(path.as_str()), head.version));
                removed.push(head);
                tally.done += 1;
            }
            Err(error) => {
                let failure = Failure::from(error);
                if several {
                    out.item_failure(path.as_str(), &failure);
                }
                tally.failures.push(failure);
            }
        }
    }
    client.close().await;
    if out.json && !removed.is_empty() {
        out.document(&Changed::new("dstore.rm/1", &removed))?;
    }
    tally.finish("files")
}
