//! `ls`: the files of this owner.

use dstore::Head;
use futures_util::TryStreamExt;

use crate::context::Context;
use crate::failure::Result;
use crate::shape::List;
use crate::text;

/// Lists files whose path starts with `prefix`.
pub(crate) async fn run(context: &Context, prefix: String) -> Result {
    let client = context.client().await?;
    let mut files: Vec<Head> = client.list(&prefix).try_collect().await?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if context.out.json {
        return context.out.document(&List::new(&files));
    }
    context.out.lines(&lines(&files, context.out.is_terminal()))
}

/// Size, time, version and path; the path last and, for a terminal, without what could drive it.
fn lines(files: &[Head], terminal: bool) -> Vec<String> {
    let versions = files.iter().map(|head| format!("v{}", head.version));
    let rows: Vec<_> =
        files.iter().zip(versions).map(|(head, version)| (text::size(head.size), version, head)).collect();
    let widest = |cells: &mut dyn Iterator<Item = &String>| cells.map(String::len).max().unwrap_or(0);
    let sizes = widest(&mut rows.iter().map(|(size, ..)| size));
    let versions = widest(&mut rows.iter().map(|(_, version, _)| version));
    let line = |(size, version, head): &(String, String, &Head)| {
        let path = head.path.as_str();
        let path = if terminal { text::harmless(path) } else { path.to_owned() };
        format!("{size:>sizes$}  {}  {version:<versions$}  {path}", text::moment(head.created))
    };
    rows.iter().map(line).collect()
}
