//! Writes that wait while another commits share the next commit: one sync serves all of them.

use std::sync::{Mutex, PoisonError};

use futures_channel::oneshot;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::super::write::{self, Write};
use super::super::{LedgerError, Written};
use super::failure::Failure;
use super::file::LedgerFile;
use super::table::Tables;
use crate::rt::Timestamp;

/// The most writes in one commit: 256 full records make a log of about 6 MiB.
const MAX_BATCH: usize = 256;

type Answer = Result<Written, LedgerError>;

/// Where the answer to a write arrives.
pub(super) type Answered = oneshot::Receiver<Answer>;

/// Writes in the order of their arrival.
#[derive(Default)]
pub(super) struct Queue(Mutex<Vec<Pending>>);

struct Pending {
    write: Write,
    answer: oneshot::Sender<Answer>,
}

impl Queue {
    pub(super) fn push(&self, write: Write) -> Answered {
        let (answer, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Pending { write, answer });
        receiver
    }

    /// Commits the oldest writes that somebody still waits for, and answers them.
    pub(super) fn commit(&self, writer: &mut Connection, file: &LedgerFile, now: Timestamp) {
        let batch: Vec<Pending> = {
            let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A write whose caller has gone must not happen at some later time.
            queue.retain(|pending| !pending.answer.is_canceled());
            let len = queue.len().min(MAX_BATCH);
            queue.drain(..len).collect()
        };
        if batch.is_empty() {
            return;
        }
        let (writes, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.write, one.answer)).unzip();
        match commit(writer, file, writes, now) {
            Ok(results) => answers.into_iter().zip(results).for_each(|(answer, result)| drop(answer.send(result))),
            // Even a refusal is told only when what it was compared with is durable.
            Err(failure) => answers.into_iter().for_each(|answer| drop(answer.send(Err(failure.clone().into())))),
        }
    }
}

/// Whether a write could begin now.
pub(super) fn probe(writer: &mut Connection, file: &LedgerFile) -> Result<(), Failure> {
    begin(writer, file)?.rollback().map_err(|error| Failure::new(&file.path, error))
}

fn begin<'a>(writer: &'a mut Connection, file: &LedgerFile) -> Result<Transaction<'a>, Failure> {
    if !file.is_in_place() {
        let what = format!("{} was moved or replaced while it was in use: open the ledger again", file.path.display());
        return Err(Failure::Unavailable(what, None));
    }
    Transaction::new(writer, TransactionBehavior::Immediate).map_err(|error| Failure::new(&file.path, error))
}

fn commit(
    writer: &mut Connection,
    file: &LedgerFile,
    writes: Vec<Write>,
    now: Timestamp,
) -> Result<Vec<Answer>, Failure> {
    let transaction = begin(writer, file)?;
    let tables = Tables { connection: &transaction, path: &file.path };
    let mut answers = Vec::with_capacity(writes.len());
    for write in writes {
        answers.push(apply(&tables, write, now)?);
    }
    transaction.commit().map_err(|error| Failure::commit(&file.path, error))?;
    Ok(answers)
}

/// The outer error concerns the whole batch: part of the write may be in the transaction.
fn apply(tables: &Tables<'_>, write: Write, now: Timestamp) -> Result<Answer, Failure> {
    let entries = match write.entries(tables, now) {
        Ok(entries) => entries,
        Err(refusal) => return Ok(Err(refusal)),
    };
    for entry in &entries {
        tables.insert(entry)?;
    }
    Ok(Ok(write::answer(&entries)))
}
