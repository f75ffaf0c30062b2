//! The commands, one a file.

mod check;
mod completions;
mod config;
mod contract;
mod cp;
mod demo;
mod dev;
mod doctor;
mod folder;
mod get;
mod history;
mod init;
mod ls;
mod man;
mod mv;
mod node;
mod preview;
mod put;
mod recover;
mod registry;
mod rm;
mod stat;
mod status;
mod wallet;

use std::future::Future;

pub(crate) use doctor::unusable;
use dstore::config::{Key, LedgerKind};
use futures_lite::future::or;

use crate::args::{Command, Node, Registry};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::output::Output;

/// Obeys a command that needs no settings, and so works whatever they are; `None` for any other one.
pub(crate) fn without_settings(command: &Command, out: &Output) -> Option<Result> {
    match command {
        Command::Completions { shell } => Some(completions::run(out, *shell)),
        Command::Man { dir } => Some(man::run(out, dir)),
        _ => None,
    }
}

/// Obeys a command.
pub(crate) async fn run(command: Command, context: &Context, interrupt: &mut Interrupt) -> Result {
    match command {
        Command::Dev => dev::run(context, interrupt).await,
        Command::Node(Node::Run(_)) => node::run(context, interrupt).await,
        Command::Registry(Registry::Run(_)) => registry::run(context, interrupt).await,
        command => {
            let interrupted = interruption(&command, context);
            // Boxed: the commands' futures differ much in size.
            let work: std::pin::Pin<Box<dyn Future<Output = Result>>> = match command {
                Command::Demo(args) => Box::pin(demo::run(context, args)),
                Command::Put(args) => Box::pin(put::run(context, args)),
                Command::Get(args) => Box::pin(get::run(context, args)),
                Command::Cat(args) => Box::pin(get::to_stdout(context, args.path)),
                Command::Ls(args) => Box::pin(ls::run(context, args.prefix)),
                Command::Stat(args) => Box::pin(stat::run(context, args.path)),
                Command::Rm(args) => Box::pin(rm::run(context, args)),
                Command::Mv(args) => Box::pin(mv::run(context, args.from, args.to)),
                Command::Recover(args) => Box::pin(recover::run(context, args)),
                Command::Cp(args) => Box::pin(cp::run(context, args)),
                Command::History(args) => Box::pin(history::run(context, args.path)),
                Command::Check(args) => Box::pin(check::run(context, args)),
                Command::Doctor => Box::pin(doctor::run(context)),
                Command::Status => Box::pin(status::run(context)),
                Command::Wallet(args) => Box::pin(wallet::run(context, args)),
                Command::Contract(args) => Box::pin(contract::run(context, args)),
                Command::Node(Node::Invite { expires }) => Box::pin(node::invite(context, expires)),
                Command::Node(Node::Status { id }) => Box::pin(node::status(context, id)),
                Command::Registry(Registry::Nodes) => Box::pin(registry::nodes(context)),
                Command::Init => Box::pin(async { init::run(context) }),
                Command::Config(crate::args::Config::Show { origin }) => {
                    Box::pin(async move { config::show(context, origin) })
                }
                Command::Completions { .. } | Command::Man { .. } => unreachable!("they need no settings"),
                Command::Dev | Command::Node(Node::Run(_)) | Command::Registry(Registry::Run(_)) => {
                    unreachable!("matched above")
                }
            };
            // Dropping the work is what ends it: before the ledger was written, nothing has happened.
            let ended = or(work, async {
                let failure = Failure::interrupted(interrupt.next().await);
                Err(Failure { message: interrupted.to_owned(), ..failure })
            })
            .await;
            // Also retires what a put that was dropped had stored. Another signal asks for a quick end.
            or(context.close(), async {
                interrupt.next().await;
            })
            .await;
            ended
        }
    }
}

/// What is said when a signal ends a command.
fn interruption(command: &Command, context: &Context) -> &'static str {
    let resumes = !context.config.is_on(&Key::NO_RESUME).unwrap_or_default();
    match command {
        // Nobody can take back what was sent to a chain.
        Command::Contract(crate::args::Contract::Deploy { dry_run: false }) => {
            "interrupted; what was sent may still arrive: look at `dstore-cli wallet balance` before you deploy again"
        }
        Command::Put(args) if resumes && args.src != std::path::Path::new("-") => {
            "interrupted; given again, the same put goes on where a file was cut short"
        }
        Command::Rm(_) | Command::Mv(_) if matches!(context.ledger_kind(), Ok(LedgerKind::Ethereum)) => {
            "interrupted; what was sent to the chain may still happen: `dstore-cli history PATH` tells"
        }
        _ => "interrupted",
    }
}

/// Counts how the items of a command with several of them went.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    failures: Vec<Failure>,
}

impl Tally {
    /// The end of the command: the failure itself when all failed alike, else how many did.
    fn finish(mut self, what: &str) -> Result {
        let failed = self.failures.len();
        let alike = self.failures.windows(2).all(|pair| pair[0].code == pair[1].code);
        match self.failures.pop() {
            None => Ok(()),
            Some(only) if self.done == 0 && failed == 1 => Err(only),
            // Each has been told of.
            Some(last) if self.done == 0 && alike => {
                Err(Failure { message: format!("all {failed} {what} failed"), causes: Vec::new(), ..last })
            }
            Some(_) => {
                let total = self.done + failed;
                Err(Failure::new("partial", format!("{failed} of {total} {what} failed")))
            }
        }
    }
}
