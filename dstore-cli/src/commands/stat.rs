//! `stat`: one file, and how its shards are.

use dstore::client::ShardHealth;
use dstore::{FilePath, Head, ShardCheck};

use crate::context::Context;
use crate::failure::Result;
use crate::shape::Stat;
use crate::table::{Align, table};
use crate::text;
use crate::verdict::{Health, Verdict};

/// Shows the file at `path`.
pub(crate) async fn run(context: &Context, path: String) -> Result {
    let path = FilePath::new(path)?;
    let client = context.client().await?;
    let (head, shards) = client.check(path.as_str()).await?;
    if context.out.json {
        return context.out.document(&Stat::new(&head, &shards));
    }
    context.out.lines(&lines(&head, &shards))
}

/// Whether the file can be read now, and how many more nodes may fail.
fn verdict(head: &Head, shards: &[ShardCheck]) -> String {
    let health = Health::new(head, shards);
    let answer = format!("{} of {} shards answer", health.answering, shards.len());
    if health.verdict > Verdict::Degraded {
        return format!("{answer}: not readable, {} are needed", head.scheme.data());
    }
    let other = match health.spare {
        0 => "no other node".to_owned(),
        1 => "1 other node".to_owned(),
        spare => format!("{spare} other nodes"),
    };
    let other = if nodes_lost(shards) { other } else { other.replace("other ", "") };
    format!("{answer}: readable, {other} may be lost")
}

fn nodes_lost(shards: &[ShardCheck]) -> bool {
    shards.iter().any(|shard| shard.state != ShardHealth::Ok)
}

fn lines(head: &Head, shards: &[ShardCheck]) -> Vec<String> {
    let stored: u64 = head.shards.iter().map(|shard| shard.bytes).sum();
    let (data, all) = (head.scheme.data(), head.scheme.shards());
    let nodes = text::count(head.tolerates_nodes, "node");
    let short = if head.size < 1024 { String::new() } else { format!(" ({})", text::size(head.size)) };
    let mut lines = vec![
        text::harmless(head.path.as_str()),
        format!("  size       {} bytes{short}, {} on the nodes", text::grouped(head.size), text::size(stored)),
        format!("  version    {}, stored {}", head.version, head.created),
        format!("  scheme     {}: any {data} of {all} shards are enough, {nodes} may be lost", head.scheme),
        format!("  now        {}", verdict(head, shards)),
        format!("  content    {}", hex::encode(head.content_hash)),
        format!("  file id    {}", head.file_id),
        String::new(),
    ];
    let row = |shard: &ShardCheck| {
        [
            shard.home.index.to_string(),
            shard.state.as_str().to_owned(),
            shard.home.node.short(),
            shard.home.address.clone(),
            text::size(shard.home.bytes),
        ]
    };
    let rows: Vec<_> = shards.iter().map(row).collect();
    let columns = [
        ("shard", Align::Left),
        ("state", Align::Left),
        ("node", Align::Left),
        ("address", Align::Left),
        ("size", Align::Right),
    ];
    lines.extend(table(2, columns, &rows));
    lines
}
