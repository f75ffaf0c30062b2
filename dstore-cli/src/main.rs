//! The command line of dstore.

mod advice;
mod anvil;
mod args;
mod commands;
mod context;
mod descriptors;
mod destination;
mod failure;
mod interrupt;
mod local_network;
mod margin;
mod output;
mod progress;
mod settings_file;
mod shape;
mod table;
mod text;
mod verdict;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use futures_lite::future::block_on;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{Cli, Command};
use crate::context::{Context, Home};
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut out = context::first_output(&arguments);
    match run(arguments, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

/// `out` becomes the output that the settings ask for, as soon as they are known.
fn run(arguments: Vec<OsString>, out: &mut Output) -> Result {
    let command = Cli::command().color(out.color.into());
    let parsed = command.try_get_matches_from(arguments);
    let parsed = parsed.and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| (cli, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return out.clap(&error),
    };
    let command = cli.command;
    if let Some(ended) = commands::without_settings(&command, out) {
        return ended;
    }
    let home = home(&command);
    let context = match (Context::new(&matches, home), &command) {
        (Ok(context), _) => context,
        (Err(failure), Command::Doctor) => return commands::unusable(out, failure),
        (Err(failure), _) => return Err(failure),
    };
    *out = context.out.clone();
    if !matches!(command, Command::Doctor) {
        context.warn();
    }
    log(&context, home);
    let mut interrupt = Interrupt::new()?;
    block_on(commands::run(command, &context, &mut interrupt))
}

fn home(command: &Command) -> Home {
    match command {
        Command::Node(args::Node::Run(_) | args::Node::Invite { .. }) => Home::Node,
        Command::Registry(args::Registry::Run(_)) => Home::Registry,
        Command::Dev => Home::Dev,
        _ => Home::Client,
    }
}

/// Logs go to standard error. Nodes and registries say what goes wrong without being asked.
fn log(context: &Context, home: Home) {
    let level = match context.out.verbose {
        0 if !matches!(home, Home::Node | Home::Registry) => return,
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let colored = context.out.colors_errors();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colored).with_writer(std::io::stderr);
    // Fails only when there is one already, and this runs once.
    let _ = subscriber.try_init();
}

impl From<&clap::Error> for Failure {
    fn from(error: &clap::Error) -> Self {
        let text = error.to_string();
        let lines: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let first = lines.join(" ");
        Self::usage(first.strip_prefix("error: ").unwrap_or(&first))
    }
}
