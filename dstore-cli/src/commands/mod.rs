//! The commands, one a file.

mod config;
mod demo;
mod dev;
mod folder;
mod get;
mod init;
mod ls;
mod mv;
mod node;
mod put;
mod registry;
mod rm;
mod stat;
mod status;
mod wallet;

use std::future::Future;

use futures_lite::future::or;

use crate::args::{Command, Node, Registry};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;

/// Obeys a command.
pub(crate) async fn run(command: Command, context: &Context, interrupt: &mut Interrupt) -> Result {
    match command {
        Command::Dev => dev::run(context, interrupt).await,
        Command::Node(Node::Run(_)) => node::run(context, interrupt).await,
        Command::Registry(Registry::Run(_)) => registry::run(context, interrupt).await,
        command => {
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
                Command::Status => Box::pin(status::run(context)),
                Command::Wallet(args) => Box::pin(async move { wallet::run(context, &args) }),
                Command::Node(Node::Invite { expires }) => Box::pin(node::invite(context, expires)),
                Command::Node(Node::Status { id }) => Box::pin(node::status(context, id)),
                Command::Registry(Registry::Nodes) => Box::pin(registry::nodes(context)),
                Command::Init => Box::pin(async { init::run(context) }),
                Command::Config(crate::args::Config::Show { origin }) => {
                    Box::pin(async move { config::show(context, origin) })
                }
                Command::Dev | Command::Node(Node::Run(_)) | Command::Registry(Registry::Run(_)) => {
                    unreachable!("matched above")
                }
            };
            // Dropping the work is what ends it: before the ledger was written, nothing has happened.
            let ended = or(work, async { Err(Failure::interrupted(interrupt.next().await)) }).await;
            // Also retires what a put that was dropped had stored. Another signal asks for a quick end.
            or(context.close(), async {
                interrupt.next().await;
            })
            .await;
            ended
        }
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
