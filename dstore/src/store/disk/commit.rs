//! The one thread that changes the index: whatever arrives during a commit is the next commit.
//!
//! Invariant: a change is answered only after the transaction that holds it is durable, and a change that failed
//! leaves nothing behind.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use async_channel::{Receiver, Sender};
use futures_channel::oneshot;

use super::failure;
use super::folder::{Folder, prefix};
use super::index::Index;
use crate::id::ShardId;
use crate::store::StoreError;
use crate::store::space::Space;

/// Hands changes to the thread.
#[derive(Clone)]
pub(super) struct Commit {
    sender: Sender<Box<dyn Request>>,
    commits: Arc<AtomicU64>,
}

/// The thread itself; ends when this is dropped.
pub(super) struct Committer {
    commit: Commit,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(super) fn start(index: Index, folder: Arc<Folder>, space: Arc<Space>) -> io::Result<Self> {
        let (sender, receiver) = async_channel::unbounded();
        let commit = Commit { sender, commits: Arc::default() };
        let commits = Arc::clone(&commit.commits);
        let queue = Queue(receiver);
        let work = move || {
            while let Some(mut requests) = queue.next_batch() {
                let mut batch =
                    Batch { index: &index, folder: &folder, space: &space, renamed: vec![], settle: vec![] };
                let result = batch.commit(&mut requests).map_err(Arc::new);
                commits.fetch_add(1, Ordering::Relaxed);
                batch.end(&result);
                for request in requests {
                    request.answer(result.as_ref().err());
                }
            }
        };
        let thread = thread::Builder::new().name("dstore-index".to_owned()).spawn(work)?;
        Ok(Self { commit, thread: Some(thread) })
    }

    pub(super) fn handle(&self) -> Commit {
        self.commit.clone()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.commit.sender.close();
        if let Some(thread) = self.thread.take() {
            // The lock of the folder is free only when the thread has let go of it.
            let _ = thread.join();
        }
    }
}

impl Commit {
    /// Runs `work` in the next transaction. The answer is durable. Dropping the future does not stop the work.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { work: Some(work), outcome: Err(closed()), reply };
        let sent = self.sender.try_send(Box::new(pending)).is_ok();
        async move {
            if !sent {
                return Err(closed());
            }
            answer.await.unwrap_or_else(|_| Err(closed()))
        }
    }

    /// Transactions so far.
    pub(super) fn count(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

fn closed() -> StoreError {
    StoreError::failed("the store is closed")
}

struct Queue(Receiver<Box<dyn Request>>);

impl Queue {
    fn next_batch(&self) -> Option<Vec<Box<dyn Request>>> {
        let mut requests = vec![self.0.recv_blocking().ok()?];
        while requests.len() < BATCH_MAX
            && let Ok(request) = self.0.try_recv()
        {
            requests.push(request);
        }
        Some(requests)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Were the thread to end by a panic, whoever waits in the queue would wait for ever.
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}

/// A change, whatever it answers.
trait Request: Send {
    fn apply(&mut self, batch: &mut Batch<'_>);
    fn answer(self: Box<Self>, failure: Option<&Arc<StoreError>>);
}

struct Pending<T, F> {
    work: Option<F>,
    outcome: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Request for Pending<T, F>
where
    T: Send,
    F: FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send,
{
    fn apply(&mut self, batch: &mut Batch<'_>) {
        if let Some(work) = self.work.take() {
            self.outcome = batch.attempt(work);
        }
    }

    fn answer(self: Box<Self>, failure: Option<&Arc<StoreError>>) {
        let outcome = match failure {
            None => self.outcome,
            Some(failure) if matches!(**failure, StoreError::NoSpace) => Err(StoreError::NoSpace),
            Some(failure) => Err(StoreError::Failed {
                what: "committing to the index of the store".to_owned(),
                source: Some(Arc::clone(failure).into()),
            }),
        };
        // Nobody waits any more: the change stands all the same.
        let _ = self.reply.send(outcome);
    }
}

/// One transaction.
pub(super) struct Batch<'a> {
    pub(super) index: &'a Index,
    pub(super) folder: &'a Folder,
    pub(super) space: &'a Arc<Space>,
    renamed: Vec<ShardId>,
    settle: Vec<Box<dyn FnOnce()>>,
}

impl Batch<'_> {
    fn commit(&mut self, requests: &mut [Box<dyn Request>]) -> Result<(), StoreError> {
        self.index.run("BEGIN IMMEDIATE").map_err(failure::of_index)?;
        for request in requests {
            request.apply(self);
            if self.index.has_no_transaction() {
                // A full or failing disk: SQLite has undone the earlier changes of the batch too.
                return Err(StoreError::failed("the disk failed during the transaction"));
            }
        }
        let prefixes: BTreeSet<u8> = self.renamed.iter().map(|id| prefix(*id)).collect();
        self.folder.sync(&prefixes).map_err(|error| failure::of_file("syncing a folder of the store", error))?;
        self.index.run("COMMIT").map_err(failure::of_index)
    }

    /// Runs one change: all of it, or nothing.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let (renamed, settle) = (self.renamed.len(), self.settle.len());
        self.index.run("SAVEPOINT change").map_err(failure::of_index)?;
        let outcome = work(self);
        if outcome.is_err() {
            // If this fails SQLite has ended the transaction, which `commit` sees.
            let _ = self.index.run("ROLLBACK TO change");
            self.settle.truncate(settle);
            self.undo_renames(renamed);
        }
        self.index.run("RELEASE change").map_err(failure::of_index)?;
        outcome
    }

    fn end(mut self, result: &Result<(), Arc<StoreError>>) {
        if result.is_ok() {
            self.settle.drain(..).for_each(|effect| effect());
            return;
        }
        if !self.index.has_no_transaction() {
            let _ = self.index.run("ROLLBACK");
        }
        self.undo_renames(0);
    }

    fn undo_renames(&mut self, from: usize) {
        for id in self.renamed.drain(from..) {
            if let Err(error) = self.folder.remove(id) {
                tracing::warn!(%id, %error, "cannot remove the files of a shard that was not stored");
            }
        }
    }

    /// Notes that files were given the names of this shard, just before they are.
    pub(super) fn renaming(&mut self, id: ShardId) {
        self.renamed.push(id);
    }

    /// Does `effect` once the transaction is durable; drops it otherwise.
    pub(super) fn once_durable(&mut self, effect: impl FnOnce() + 'static) {
        self.settle.push(Box::new(effect));
    }
}

/// Bounds the memory of one transaction: at most this many small shards.
const BATCH_MAX: usize = 512;
