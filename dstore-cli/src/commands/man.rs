//! `man`: a manual page for each command.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use crate::args::Cli;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::text;

/// Writes the pages to `dir`, which is made if it is not there.
pub(super) fn run(out: &Output, dir: &Path) -> Result {
    let failed = |error| Failure::io(format!("cannot write manual pages to {}", dir.display()), error);
    fs::create_dir_all(dir).map_err(failed)?;
    let mut pages = 0;
    write(&command(), dir, &mut pages).map_err(failed)?;
    let first = text::shell_quoted(&dir.join("dstore-cli.1").display().to_string());
    out.note(&format!("wrote {} to {}; read one: man -l {first}", text::count(pages, "page"), dir.display()));
    Ok(())
}

fn command() -> clap::Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives each command its full name and the common options.
    command.build();
    command
}

fn write(command: &clap::Command, dir: &Path, pages: &mut usize) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let page = clap_mangen::Man::new(command.clone()).title(name).manual("dstore");
    page.source(format!("dstore {}", env!("CARGO_PKG_VERSION"))).generate_to(dir)?;
    *pages += 1;
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| write(below, dir, pages))
}
