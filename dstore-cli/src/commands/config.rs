//! `config show`: every setting that has a value, and where it came from.

use dstore::config::{self, Key, OwnerKey};

use crate::context::Context;
use crate::failure::Result;
use crate::shape::{ConfigDocument, Setting};
use crate::table::{Align, table};
use crate::text;

const NOT_SET: &str = "(not set)";

/// Shows the settings.
pub(crate) fn show(context: &Context, origin: bool) -> Result {
    let mut settings = Vec::new();
    let mut add = |name, value: String, from: String| {
        settings.push(Setting { name, value, origin: origin.then_some(from) });
    };
    for key in Key::ALL {
        match (key, context.config.value(key)) {
            (&Key::DIR, value) => {
                let from = value.map_or("default".to_owned(), |value| value.origin.to_string());
                add(key.name, context.dir.display().to_string(), from);
            }
            (_, Some(value)) => add(key.name, value.to_string(), value.origin.to_string()),
            (&Key::OWNER_KEY, None) => match config::owner_key(&context.config, &context.dir)? {
                OwnerKey::Folder(path) if path.exists() => {
                    let from = path.display().to_string();
                    add(key.name, format!("set (from {from})"), from);
                }
                OwnerKey::Folder(_) if !context.out.json => add(key.name, NOT_SET.into(), "-".into()),
                _ => {}
            },
            (&Key::REGISTRY, None) if !context.out.json => add(key.name, NOT_SET.into(), "-".into()),
            (_, None) => {}
        }
    }
    if context.out.json {
        return context.out.document(&ConfigDocument { schema: "dstore.config/1", settings });
    }
    let row = |setting: Setting| {
        [setting.name.to_owned(), setting.origin.unwrap_or_default(), text::harmless(&setting.value)]
    };
    let rows: Vec<_> = settings.into_iter().map(row).collect();
    if origin {
        let columns = [("setting", Align::Left), ("from", Align::Left), ("value", Align::Left)];
        return context.out.lines(&table(0, columns, &rows));
    }
    let rows: Vec<_> = rows.into_iter().map(|[name, _, value]| [name, value]).collect();
    context.out.lines(&table(0, [("setting", Align::Left), ("value", Align::Left)], &rows))
}
