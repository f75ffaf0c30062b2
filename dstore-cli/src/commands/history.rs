//! `history`: every version of a file.

use dstore::ledger::EventKind;
use dstore::{FilePath, FileVersion};

use crate::context::Context;
use crate::failure::Result;
use crate::shape::History;
use crate::table::{Align, table};
use crate::text;

/// Shows every version of the file at `path`, newest first.
pub(crate) async fn run(context: &Context, path: String) -> Result {
    let path = FilePath::new(path)?;
    let client = context.client().await?;
    let versions = client.history(path.as_str()).await?;
    if context.out.json {
        return context.out.document(&History::new(&path, &versions));
    }
    let columns = [("version", Align::Right), ("when", Align::Left), ("what", Align::Left), ("size", Align::Right)];
    let rows: Vec<_> = versions.iter().map(row).collect();
    context.out.lines(&table(0, columns, &rows))
}

fn row(version: &FileVersion) -> [String; 4] {
    let what = match version.kind {
        EventKind::Put => "stored",
        EventKind::RenamedHere => "moved here",
        EventKind::Removed => "removed",
        EventKind::RenamedAway => "moved away",
    };
    let size = version.head.as_ref().map(|head| text::size(head.size)).unwrap_or_default();
    [version.version.to_string(), text::moment(version.written), what.to_owned(), size]
}
