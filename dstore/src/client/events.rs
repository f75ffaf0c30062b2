//! What an operation tells while it runs, as a stream whose last item is its result.
//!
//! Invariant: a reader that is slow costs a bounded amount of memory, and misses no result.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::task::AtomicWaker;

use super::report::{Progress, Warning};
use crate::error::Result;
use crate::rt::BoxFuture;

/// Warnings that wait for a reader; when there are more, the newest are lost.
const MAX_WAITING: usize = 64;

/// Something that an operation tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<T> {
    /// How far it is. Of several that nobody has read, only the newest is kept.
    Progress(Progress),
    /// Something that did not stop it, but should be known. At most 64 wait to be read.
    Warning(Warning),
    /// Its end: what awaiting the operation would have given. Nothing comes after it.
    Done(Result<T>),
}

/// The events of one operation. It runs while they are read; dropping them cancels it, as dropping its future does.
#[must_use = "an operation does nothing until its events are read"]
pub struct Events<T> {
    inbox: Arc<Inbox>,
    work: Work<T>,
}

enum Work<T> {
    Running(BoxFuture<'static, Result<T>>),
    Ended(Result<T>),
    Told,
}

impl<T> Events<T> {
    /// The events of `work`, which reports to `inbox`.
    pub(super) fn new(inbox: Arc<Inbox>, work: BoxFuture<'static, Result<T>>) -> Self {
        Self { inbox, work: Work::Running(work) }
    }
}

// No field is pinned in place: the future is on the heap.
impl<T> Unpin for Events<T> {}

impl<T> Stream for Events<T> {
    type Item = Event<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        // Before the work is looked at: what it tells from elsewhere later wakes us.
        self.inbox.waker.register(cx.waker());
        if let Work::Running(work) = &mut self.work
            && let Poll::Ready(result) = work.as_mut().poll(cx)
        {
            self.work = Work::Ended(result);
        }
        if let Some(waiting) = self.inbox.take() {
            return Poll::Ready(Some(waiting));
        }
        match std::mem::replace(&mut self.work, Work::Told) {
            Work::Ended(result) => Poll::Ready(Some(Event::Done(result))),
            Work::Told => Poll::Ready(None),
            running @ Work::Running(_) => {
                self.work = running;
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// What waits to be read.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Waiting {
    progress: Option<Progress>,
    warnings: VecDeque<Warning>,
}

impl Inbox {
    pub(super) fn progress(&self, progress: Progress) {
        self.waiting().progress = Some(progress);
        self.waker.wake();
    }

    pub(super) fn warn(&self, warning: Warning) {
        let mut waiting = self.waiting();
        if waiting.warnings.len() < MAX_WAITING {
            waiting.warnings.push_back(warning);
        }
        drop(waiting);
        self.waker.wake();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take<T>(&self) -> Option<Event<T>> {
        let mut waiting = self.waiting();
        let warning = waiting.warnings.pop_front().map(Event::Warning);
        warning.or_else(|| waiting.progress.take().map(Event::Progress))
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::StreamExt;
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::client::WarningCode;
    use crate::id::NodeId;

    fn progress(bytes: u64) -> Progress {
        Progress { bytes_done: bytes, ..Progress::default() }
    }

    fn warning(shard: u8) -> Warning {
        let (code, node, address) = (WarningCode::NodeSlow, NodeId::new([1; 20]), "a:1".to_owned());
        Warning { code, node, address, shard: Some(shard) }
    }

    #[test]
    fn a_slow_reader_gets_the_newest_progress_every_waiting_warning_and_the_result_last() {
        let inbox = Arc::new(Inbox::default());
        let teller = inbox.clone();
        let work = async move {
            (0..1000).for_each(|bytes| teller.progress(progress(bytes)));
            (0..200).for_each(|shard| teller.warn(warning(shard)));
            Ok(7)
        };
        let told: Vec<Event<i32>> = block_on(Events::new(inbox, Box::pin(work)).collect());
        let warnings = told.iter().filter(|event| matches!(event, Event::Warning(_))).count();
        assert_eq!((told.len(), warnings), (MAX_WAITING + 2, MAX_WAITING));
        assert!(matches!(told[MAX_WAITING], Event::Progress(Progress { bytes_done: 999, .. })));
        assert!(matches!(told.last(), Some(Event::Done(Ok(7)))));
    }

    #[test]
    fn what_is_told_from_elsewhere_wakes_the_reader() {
        let inbox = Arc::new(Inbox::default());
        let mut events: Events<()> = Events::new(inbox.clone(), Box::pin(std::future::pending()));
        block_on(async {
            assert!(poll_once(events.next()).await.is_none());
            let elsewhere = std::thread::spawn(move || inbox.warn(warning(1)));
            assert!(matches!(events.next().await, Some(Event::Warning(_))));
            elsewhere.join().expect("no panic");
        });
    }
}
