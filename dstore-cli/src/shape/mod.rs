//! The JSON that scripts read: fields may be added, and none changes its meaning.

mod chain;
mod check;
mod event;
mod file;
mod network;
mod recover;
mod setup;

pub(crate) use chain::{Balance, Contract, DeployPreview, PutPreview};
pub(crate) use check::{Checked, CheckedFile, Doctor, Finding, History, State};
pub(crate) use event::{ErrorEvent, ExitError, ResultEvent, StatusEvent, WarningEvent};
pub(crate) use file::{Changed, List, Stat};
pub(crate) use network::{Info, LedgerState, Node, Nodes, Ready, RegistryState, Status};
pub(crate) use recover::{Recover, state};
pub(crate) use setup::{ConfigDocument, Demo, DemoShard, Init, InviteDocument, Keys, Setting};
