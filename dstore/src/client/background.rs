//! Work that no operation waits for, but the end of a client does.

use std::sync::{Mutex, PoisonError};

use async_channel::{Receiver, Sender, bounded};

/// Counts what runs. Work that runs may start more.
#[derive(Debug)]
pub(super) struct Background(Mutex<(Sender<()>, Receiver<()>)>);

/// Something runs while this is held.
pub(super) struct Running {
    _open: Sender<()>,
}

impl Default for Background {
    fn default() -> Self {
        Self(Mutex::new(bounded(1)))
    }
}

impl Background {
    /// One more piece of work.
    pub(super) fn begin(&self) -> Running {
        Running { _open: self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone() }
    }

    /// Ready when nothing runs, what was started meanwhile included.
    pub(super) async fn ended(&self) {
        loop {
            let next = bounded(1);
            let (open, closed) = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), next);
            if open.sender_count() == 1 {
                return;
            }
            drop(open);
            // Nothing is ever sent: the channel closes with the last piece of work.
            let _ = closed.recv().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn the_end_waits_for_what_running_work_starts() {
        block_on(async {
            let background = Arc::new(Background::default());
            let first = background.begin();
            let mut ended = std::pin::pin!(background.ended());
            assert!(poll_once(&mut ended).await.is_none());
            let second = background.begin();
            drop(first);
            assert!(poll_once(&mut ended).await.is_none(), "the second runs on");
            drop(second);
            assert!(poll_once(&mut ended).await.is_some());
        });
    }
}
