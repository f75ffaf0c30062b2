//! A queue for a few places: who came first is served first.
//!
//! Invariant: a place that is given up goes to who waits longest, and one that its waiter no longer wants goes on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::oneshot;

/// The places, and who waits for one. Bounded by whoever lets in those that wait.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    free: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A place: dropping it gives it to the next.
#[derive(Debug)]
pub(super) struct Turn(Option<Turns>);

impl Turns {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue { free: places, waiting: VecDeque::new() })))
    }

    /// Waits for a place.
    pub(super) async fn wait(&self) -> Turn {
        let turn = {
            let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.free > 0 {
                queue.free -= 1;
                return Turn(Some(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            queue.waiting.push_back(sender);
            turn
        };
        // The queue lives as long as this borrows it, and drops no sender unused.
        turn.await.unwrap_or(Turn(None))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            let next = {
                let mut queue = turns.0.lock().unwrap_or_else(PoisonError::into_inner);
                let next = queue.waiting.pop_front();
                if next.is_none() {
                    queue.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn(Some(turns.clone()))) {
                Ok(()) => return,
                // Its waiter has gone: this one is not given up twice.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn who_came_first_is_served_first_and_who_has_gone_is_passed_over() {
        block_on(async {
            let turns = Turns::new(1);
            let first = turns.wait().await;
            let (mut second, mut third, mut fourth) =
                (Box::pin(turns.wait()), Box::pin(turns.wait()), Box::pin(turns.wait()));
            for waiting in [&mut second, &mut third, &mut fourth] {
                assert!(poll_once(waiting).await.is_none());
            }
            drop(second);
            drop(first);
            assert!(poll_once(&mut fourth).await.is_none());
            // Given a turn, and gone without having looked.
            drop(third);
            assert!(poll_once(&mut fourth).await.is_some());
            assert!(poll_once(Box::pin(turns.wait())).await.is_some(), "the place is free again");
        });
    }
}
