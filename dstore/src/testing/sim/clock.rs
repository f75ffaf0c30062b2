//! Virtual time: it stands still while anything can run, and then jumps to the next timer.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::world::World;

/// When a timer ends, and a number that no other timer has.
pub(super) type TimerId = (Duration, u64);

/// The time since the start, and the timers.
#[derive(Default)]
pub(super) struct Clock {
    now: Duration,
    timers: BTreeMap<TimerId, Waker>,
    next: u64,
}

impl Clock {
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// Wakes `waker` at `at`.
    pub(super) fn arm(&mut self, at: Duration, waker: Waker) -> TimerId {
        self.next += 1;
        let id = (at, self.next);
        self.timers.insert(id, waker);
        id
    }

    /// Forgets a timer. The waker is for the caller to drop, outside of any lock.
    pub(super) fn disarm(&mut self, id: TimerId) -> Option<Waker> {
        self.timers.remove(&id)
    }

    /// Gives a timer another waker; false: it has ended.
    fn renew(&mut self, id: TimerId, waker: &Waker) -> bool {
        match self.timers.get_mut(&id) {
            Some(known) => {
                known.clone_from(waker);
                true
            }
            None => false,
        }
    }

    /// Jumps to the next timer; answers all that end then, none if there is none.
    pub(super) fn jump(&mut self) -> Vec<Waker> {
        let Some(((at, _), _)) = self.timers.first_key_value() else { return Vec::new() };
        self.now = self.now.max(*at);
        let later = self.timers.split_off(&(self.now, u64::MAX));
        std::mem::replace(&mut self.timers, later).into_values().collect()
    }
}

/// Ready at a time; pending for ever if that is `None`.
pub(super) struct Sleep {
    world: Arc<World>,
    until: Option<Duration>,
    timer: Option<TimerId>,
}

impl Sleep {
    pub(super) fn new(world: &Arc<World>, until: Option<Duration>) -> Self {
        Self { world: world.clone(), until, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else { return Poll::Pending };
        let mut state = self.world.lock();
        if state.clock.now() >= until {
            return Poll::Ready(());
        }
        let renewed = self.timer.is_some_and(|timer| state.clock.renew(timer, cx.waker()));
        let timer = if renewed { self.timer } else { Some(state.clock.arm(until, cx.waker().clone())) };
        drop(state);
        self.timer = timer;
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.timer.and_then(|timer| self.world.lock().clock.disarm(timer));
        drop(waker);
    }
}
