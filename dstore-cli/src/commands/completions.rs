//! `completions`: what a shell reads to complete commands and options.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::Result;
use crate::output::Output;

/// Prints the script for `shell`.
pub(super) fn run(out: &Output, shell: Shell) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dstore-cli", &mut script);
    out.line(String::from_utf8_lossy(&script).trim_end())
}
