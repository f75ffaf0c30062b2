//! Writes to the contract: those that arrive together share a transaction, and no two that are on their way touch one file.
//!
//! Invariant: a write is answered with success only when a block has it, and with a refusal only when it never comes.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ethers_core::types::{Address, Bytes};
use futures_channel::oneshot;

use super::abi::{self, Revert, Slot};
use super::reader::{Reader, unusable};
use super::rpc::CATCH_UP;
use super::sender::{Landed, Sender, Sent};
use crate::id::{ContractId, FileId, OwnerId, PathSalt};
use crate::ledger::write::check_record;
use crate::ledger::{Coming, Cost, LedgerError, Written, file_id};

/// The most records in one transaction.
const MAX_BATCH: usize = 100;
/// Bytes of records in one transaction: nodes take none that is longer than 128 KiB.
const MAX_BATCH_LEN: usize = 96 << 10;
/// What a record takes beside its own bytes in a call.
const ITEM_LEN: usize = 160;
/// How often a write is tried whose transaction was overtaken.
const MAX_TRIES: u32 = 8;
/// How often it is looked whether those that are on their way have arrived.
const LOOK: Duration = Duration::from_millis(20);

/// A write of the owner.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Put { salt: PathSalt, expected: u32, record: Vec<u8> },
    Rename { from: (PathSalt, u32), to: (PathSalt, u32), record: Vec<u8> },
    Remove { salt: PathSalt, expected: u32 },
}

/// The contract, written.
#[derive(Debug)]
pub(super) struct Writer {
    reader: Arc<Reader>,
    pub(super) sender: Sender,
    contract: Address,
    queue: Mutex<Queue>,
    /// Whose turn it is to make a transaction.
    turn: async_lock::Mutex<()>,
    /// Held by every put that is on its way.
    coming: Arc<()>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    /// Files of writes that were taken and are not answered.
    busy: HashSet<FileId>,
    /// How many writes that are.
    flying: usize,
}

type Answer = Result<Written, LedgerError>;

#[derive(Debug)]
struct Pending {
    action: Action,
    since: Duration,
    /// How often it was overtaken, or refused for no reason that shows.
    tries: u32,
    /// Whether a transaction with it was sent, of which it is believed that it never comes.
    sent: bool,
    answer: oneshot::Sender<Answer>,
}

/// What to do with a write before it is sent.
enum Verdict {
    Send,
    /// It never happens.
    Refuse(LedgerError),
    /// What it builds on is not shown yet, or something before it is on its way.
    Wait,
}

impl Action {
    /// The files that it touches, beside the version that it expects of each.
    fn files(&self, owner: OwnerId) -> Vec<(FileId, u32)> {
        let file = |salt: PathSalt, expected| (file_id(owner, salt), expected);
        match self {
            Self::Put { salt, expected, .. } | Self::Remove { salt, expected } => vec![file(*salt, *expected)],
            Self::Rename { from, to, .. } => vec![file(from.0, from.1), file(to.0, to.1)],
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Put { record, .. } | Self::Rename { record, .. } => record.len() + ITEM_LEN,
            Self::Remove { .. } => ITEM_LEN,
        }
    }

    /// What the contract would say, as far as its slots tell.
    fn check(&self, slots: &[Slot], expected: &[(FileId, u32)]) -> Result<(), LedgerError> {
        let leaves = !matches!(self, Self::Put { .. });
        for (at, (slot, (_, expected))) in slots.iter().zip(expected).enumerate() {
            if slot.version != *expected {
                return Err(LedgerError::VersionConflict { expected: *expected, actual: slot.version });
            }
            if *expected == u32::MAX {
                return Err(LedgerError::Exhausted);
            }
            if at == 0 && leaves && !slot.is_live() {
                return Err(LedgerError::NotFound);
            }
        }
        Ok(())
    }

    fn written(&self, owner: OwnerId) -> Written {
        let (salt, expected, record) = match self {
            Self::Put { salt, expected, record } => (*salt, *expected, &record[..]),
            Self::Rename { to, record, .. } => (to.0, to.1, &record[..]),
            Self::Remove { salt, expected } => (*salt, *expected, &[][..]),
        };
        Written::new(file_id(owner, salt), expected.saturating_add(1), record)
    }

    fn checked(self) -> Result<Self, LedgerError> {
        match &self {
            Self::Put { record, .. } => check_record(record)?,
            Self::Rename { from, to, record } => {
                check_record(record)?;
                if from.0 == to.0 {
                    return Err(LedgerError::SamePath);
                }
            }
            Self::Remove { .. } => {}
        }
        Ok(self)
    }
}

/// One call for all of them.
fn call(actions: &[&Action]) -> Bytes {
    match actions {
        [Action::Put { salt, expected, record }] => abi::put(*salt, *expected, record),
        [Action::Rename { from, to, record }] => abi::rename(*from, *to, record),
        [Action::Remove { salt, expected }] => abi::remove(*salt, *expected),
        puts => {
            let puts: Vec<_> = puts
                .iter()
                .filter_map(|put| match put {
                    Action::Put { salt, expected, record } => Some((*salt, *expected, &record[..])),
                    _ => None,
                })
                .collect();
            abi::put_many(&puts)
        }
    }
}

impl Queue {
    /// The oldest writes that can be one call; those whose caller has gone are forgotten.
    fn take(&mut self, owner: OwnerId) -> Vec<Pending> {
        self.waiting.retain(|pending| !pending.answer.is_canceled());
        let (mut batch, mut rest, mut len): (Vec<Pending>, VecDeque<Pending>, _) = (Vec::new(), VecDeque::new(), 0);
        // What waits for a file is not overtaken by what comes later.
        let mut taken = self.busy.clone();
        for pending in self.waiting.drain(..) {
            let files: Vec<FileId> = pending.action.files(owner).into_iter().map(|(file, _)| file).collect();
            let is_free = files.iter().all(|file| !taken.contains(file));
            taken.extend(files);
            let is_put = matches!(pending.action, Action::Put { .. });
            let fits = match batch.first().map(|first| matches!(first.action, Action::Put { .. })) {
                None => true,
                Some(puts) => puts && is_put && batch.len() < MAX_BATCH && len + pending.action.len() <= MAX_BATCH_LEN,
            };
            if is_free && fits {
                len += pending.action.len();
                batch.push(pending);
            } else {
                rest.push_back(pending);
            }
        }
        self.waiting = rest;
        self.flying += batch.len();
        self.busy.extend(batch.iter().flat_map(|one| one.action.files(owner)).map(|(file, _)| file));
        batch
    }

    fn free(&mut self, pending: &Pending, owner: OwnerId) {
        self.flying = self.flying.saturating_sub(1);
        for (file, _) in pending.action.files(owner) {
            self.busy.remove(&file);
        }
    }
}

impl Writer {
    pub(super) fn new(reader: Arc<Reader>, sender: Sender, contract: ContractId) -> Arc<Self> {
        let contract = Address::from(*contract.as_bytes());
        let (queue, turn, coming) = (Mutex::default(), async_lock::Mutex::new(()), Arc::new(()));
        Arc::new(Self { reader, sender, contract, queue, turn, coming })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self) -> OwnerId {
        self.sender.owner
    }

    pub(super) fn coming(&self) -> Coming {
        Coming::new(&self.coming)
    }

    /// Writes, together with what others write at the same time. It goes on when its caller goes away, once it is sent.
    pub(super) async fn write(self: &Arc<Self>, owner: OwnerId, action: Action) -> Answer {
        if owner != self.owner() {
            return Err(unusable(format!("this ledger signs for 0x{}, not for 0x{owner}", self.owner())));
        }
        let (answer, answered) = oneshot::channel();
        let since = self.reader.rpc.rt().uptime();
        self.queue().waiting.push_back(Pending { action: action.checked()?, since, tries: 0, sent: false, answer });
        self.start();
        let ended = || LedgerError::Unknown { what: "the task that writes has ended early".to_owned(), source: None };
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    /// What a put of a record of this length costs.
    pub(super) async fn cost(&self, salt: PathSalt, expected: u32, len: usize) -> Result<Cost, LedgerError> {
        // Zeros are cheaper than what a sealed record looks like.
        let put = Action::Put { salt, expected, record: vec![0xA5; len] }.checked()?;
        let (_, slots) = self.reader.slots(&[file_id(self.owner(), salt)]).await?;
        put.check(&slots, &put.files(self.owner()))?;
        match self.sender.estimate(Some(self.contract), &call(&[&put])).await? {
            Ok(gas) => self.sender.cost(gas).await,
            Err(Revert::VersionConflict { expected, actual, .. }) => {
                Err(LedgerError::VersionConflict { expected, actual })
            }
            Err(_) => Err(unusable("the contract refuses such a put".to_owned())),
        }
    }

    fn start(self: &Arc<Self>) {
        let writer = self.clone();
        self.reader.rpc.rt().detach(async move { writer.step().await });
    }

    /// Makes one transaction of what waits, and sees it into a block.
    async fn step(self: Arc<Self>) {
        let turn = self.turn.lock().await;
        self.gather().await;
        let batch = self.queue().take(self.owner());
        if batch.is_empty() {
            return;
        }
        let sent = self.send(batch).await;
        drop(turn);
        if let Some((sent, batch)) = sent {
            self.land(sent, batch).await;
        }
        if !self.queue().waiting.is_empty() {
            self.start();
        }
    }

    /// Waits for puts that are on their way, and not for long.
    async fn gather(&self) {
        let rt = self.reader.rpc.rt();
        let started = rt.uptime();
        loop {
            let (here, coming) = {
                let queue = self.queue();
                (queue.waiting.len() + queue.flying, Arc::strong_count(&self.coming) - 1)
            };
            let is_full = self.queue().waiting.len() >= MAX_BATCH;
            let waited = rt.uptime().saturating_sub(started);
            if is_full || here >= coming || waited >= self.reader.rpc.config.batch_wait {
                return;
            }
            rt.sleep(LOOK).await;
        }
    }

    /// Takes out what cannot be sent, and sends the rest.
    async fn send(self: &Arc<Self>, batch: Vec<Pending>) -> Option<(Sent, Vec<Pending>)> {
        let mut batch = match self.sort_out(batch).await {
            Ok(batch) => batch,
            Err((batch, error)) => {
                self.refuse(batch, &error);
                return None;
            }
        };
        while !batch.is_empty() {
            let actions: Vec<&Action> = batch.iter().map(|one| &one.action).collect();
            let data = call(&actions);
            let gas = match self.sender.estimate(Some(self.contract), &data).await {
                Ok(Ok(gas)) => gas,
                // What is shown allows it, so something that is not in a block yet is in the way.
                Ok(Err(Revert::VersionConflict { file, .. })) if batch.len() > 1 => {
                    let (held, rest) = self.part(batch, file);
                    batch = rest;
                    self.later(held);
                    continue;
                }
                Ok(Err(refusal)) => {
                    let is_known = refusal != Revert::Other;
                    self.again(batch, is_known, "the contract refuses this write, and does not say why");
                    return None;
                }
                Err(error) => {
                    self.refuse(batch, &error);
                    return None;
                }
            };
            return match self.sender.send(Some(self.contract), &data, gas).await {
                Ok(sent) => Some((sent, batch)),
                Err(error) => {
                    self.refuse(batch, &error);
                    None
                }
            };
        }
        None
    }

    fn part(&self, batch: Vec<Pending>, file: FileId) -> (Vec<Pending>, Vec<Pending>) {
        let owner = self.owner();
        let (held, rest): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|one| one.action.files(owner).iter().any(|(touched, _)| *touched == file));
        // Of a file that none of them touches, the answer makes no sense: then none of them is sent now.
        if held.is_empty() { (rest, Vec::new()) } else { (held, rest) }
    }

    /// Compares what is expected with what the contract shows.
    async fn sort_out(self: &Arc<Self>, batch: Vec<Pending>) -> Result<Vec<Pending>, (Vec<Pending>, LedgerError)> {
        let owner = self.owner();
        let expected: Vec<Vec<(FileId, u32)>> = batch.iter().map(|one| one.action.files(owner)).collect();
        let files: Vec<FileId> = expected.iter().flatten().map(|(file, _)| *file).collect();
        let slots = match self.reader.slots(&files).await {
            Ok((_, slots)) => slots,
            Err(error) => return Err((batch, error)),
        };
        let (mut good, mut sent_before, mut slots) = (Vec::new(), Vec::new(), &slots[..]);
        for (pending, expected) in batch.into_iter().zip(expected) {
            let (its, rest) = slots.split_at(expected.len());
            slots = rest;
            match self.judge(&pending, its, &expected) {
                Verdict::Send => good.push(pending),
                Verdict::Refuse(_) if pending.sent => sent_before.push(pending),
                Verdict::Refuse(error) => self.answer(pending, Err(error)),
                Verdict::Wait => self.later(vec![pending]),
            }
        }
        for pending in sent_before {
            let answer = self.outcome(&pending).await;
            self.answer(pending, answer);
        }
        Ok(good)
    }

    /// What became of a write whose transaction was taken for lost, and which cannot be made again.
    async fn outcome(&self, pending: &Pending) -> Answer {
        let written = pending.action.written(self.owner());
        match self.reader.settled(written).await {
            Ok(Some(_)) => Ok(written),
            Err(error @ LedgerError::VersionConflict { .. }) => Err(error),
            Ok(None) => Err(unclear("its transaction was sent, and is not to be found")),
            Err(error) => Err(unclear(&error.to_string())),
        }
    }

    fn judge(&self, pending: &Pending, slots: &[Slot], expected: &[(FileId, u32)]) -> Verdict {
        let Err(error) = pending.action.check(slots, expected) else { return Verdict::Send };
        let waited = self.reader.rpc.rt().uptime().saturating_sub(pending.since);
        // A provider that has shown a later version is behind.
        let is_old = slots
            .iter()
            .zip(expected)
            .any(|(slot, (file, expected))| slot.version < *expected && *expected <= self.reader.seen_of(*file));
        if is_old && waited < CATCH_UP { Verdict::Wait } else { Verdict::Refuse(error) }
    }

    /// Tries again in a while: what is in the way is in a block by then, or has gone.
    fn later(self: &Arc<Self>, held: Vec<Pending>) {
        let writer = self.clone();
        self.reader.rpc.rt().detach(async move {
            writer.reader.rpc.pause().await;
            for pending in held {
                let waited = writer.reader.rpc.rt().uptime().saturating_sub(pending.since);
                if waited > writer.reader.rpc.config.inclusion_timeout {
                    let what = "another write of this file has been waiting to be in a block for too long";
                    writer.refuse(vec![pending], &LedgerError::Unavailable { what: what.to_owned(), source: None });
                } else {
                    let mut queue = writer.queue();
                    queue.free(&pending, writer.owner());
                    queue.waiting.push_front(pending);
                }
            }
            writer.start();
        });
    }

    /// Tries again in a while those that were not tried often; `free` of charge where somebody else is in the way.
    fn again(self: &Arc<Self>, mut batch: Vec<Pending>, free: bool, what: &str) {
        if !free {
            batch.iter_mut().for_each(|pending| pending.tries += 1);
        }
        let (again, worn): (Vec<_>, Vec<_>) = batch.into_iter().partition(|one| one.tries < MAX_TRIES);
        self.later(again);
        self.refuse(worn, &LedgerError::Unavailable { what: what.to_owned(), source: None });
    }

    async fn land(self: &Arc<Self>, sent: Sent, mut batch: Vec<Pending>) {
        match self.sender.land(sent).await {
            Ok(Landed::Included(receipt)) => {
                tracing::debug!(tx = ?receipt.transaction_hash, records = batch.len(), gas = ?receipt.gas_used, "written");
                let block = receipt.block_number.unwrap_or_default().as_u64();
                for pending in batch {
                    let written = pending.action.written(self.owner());
                    self.reader.land(written, block);
                    self.answer(pending, Ok(written));
                }
            }
            // Whatever was faster is in a block now: look at it. One block may still give way to another.
            Ok(Landed::Reverted | Landed::Displaced) => {
                batch.iter_mut().for_each(|pending| pending.sent = true);
                self.again(
                    batch,
                    false,
                    "other programs that use this account keep overtaking this write: try again later",
                );
            }
            Err(error) => {
                batch.iter_mut().for_each(|pending| pending.sent = true);
                self.refuse(batch, &error);
            }
        }
    }

    fn answer(&self, pending: Pending, answer: Answer) {
        self.queue().free(&pending, self.owner());
        // Whoever asked may have gone.
        let _ = pending.answer.send(answer);
    }

    fn refuse(&self, batch: Vec<Pending>, error: &LedgerError) {
        for pending in batch {
            let told = if pending.sent { unclear(&error.to_string()) } else { again(error) };
            self.answer(pending, Err(told));
        }
    }
}

/// Of a write that may have happened, or may still.
fn unclear(what: &str) -> LedgerError {
    LedgerError::Unknown { what: what.to_owned(), source: None }
}

/// One failure told to several.
fn again(error: &LedgerError) -> LedgerError {
    match error {
        LedgerError::Chain { problem, what } => LedgerError::Chain { problem: *problem, what: what.clone() },
        LedgerError::Unavailable { what, .. } => LedgerError::Unavailable { what: what.clone(), source: None },
        LedgerError::Unknown { what, .. } => unclear(what),
        error => unclear(&error.to_string()),
    }
}
