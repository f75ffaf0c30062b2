//! `cp`: a second file with the same bytes.

use dstore::FilePath;

use super::put;
use crate::args::Cp;
use crate::context::Context;
use crate::failure::Result;
use crate::output::Channel;
use crate::progress::Meter;
use crate::shape::ResultEvent;
use crate::text;

/// Copies a file: reads it from its nodes, and stores it again.
pub(crate) async fn run(context: &Context, args: Cp) -> Result {
    let mode = put::mode(context)?;
    let (from, to) = (FilePath::new(args.from)?, FilePath::new(args.to)?);
    let client = context.storing_client().await?;
    let out = &context.out;
    let meter = Meter::start(out, "cp", to.as_str(), None, Channel::Out);
    let file = meter.file(to.as_str(), None);
    let warned = file.clone();
    let copy = client.copy(from.as_str(), to.as_str()).mode(mode);
    let copy = copy.progress(move |progress| file.progress(progress)).warnings(move |warning| warned.warning(&warning));
    let committed = put::outcome(copy.await, mode)?;
    let elapsed = meter.elapsed();
    drop(meter);
    if out.json {
        out.event(Channel::Out, &ResultEvent::cp(&committed, elapsed.as_secs_f64()));
    }
    let (from, to) = (text::harmless(from.as_str()), text::harmless(to.as_str()));
    let amount = text::amount(committed.head.size, elapsed);
    out.note(&format!("copied {from} to {to}: version {}, {amount}", committed.head.version));
    Ok(())
}
