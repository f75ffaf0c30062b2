//! The executor: polls one task at a time, in an order that the seed alone decides.
//!
//! Invariant: futures, jobs and wakers run and end outside the lock, so that whatever they do comes back in.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::chance::Chance;
use super::clock::{Clock, Sleep};
use super::link::Links;
use super::stream::Streams;
use crate::rt::{BoxFuture, Job};

/// The host of tasks that belong to the simulation itself: it cannot be killed.
pub(super) const NOWHERE: usize = 0;
/// The future that was given to `run`.
const MAIN: u64 = 0;

/// Everything that a simulation is.
pub(super) struct World(Mutex<State>);

/// The parts, under one lock.
pub(super) struct State {
    pub(super) chance: Chance,
    pub(super) clock: Clock,
    pub(super) hosts: Vec<HostState>,
    pub(super) links: Links,
    pub(super) streams: Streams,
    steps: u64,
    max_steps: u64,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    current: u64,
    ready: Vec<u64>,
    /// Polled before all others: tasks that wait for a step.
    urgent: Option<u64>,
    at_steps: BTreeMap<(u64, u64), Waker>,
    /// Jobs of hosts that are dead: whoever waits for one must wait for ever.
    never: Vec<Job>,
}

/// What a host is, apart from its links.
#[derive(Default)]
pub(super) struct HostState {
    /// How often it was killed.
    pub(super) life: u64,
    pub(super) alive: bool,
    /// Milliseconds that its clock is ahead.
    pub(super) skew: i64,
}

struct Task {
    host: usize,
    /// `None` while it is polled, and for the main one.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
    queued: bool,
}

struct TaskWaker {
    world: Weak<World>,
    id: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(world) = self.world.upgrade() {
            world.lock().queue(self.id);
        }
    }
}

impl State {
    fn queue(&mut self, id: u64) {
        if let Some(task) = self.tasks.get_mut(&id)
            && !task.queued
        {
            task.queued = true;
            self.ready.push(id);
        }
    }

    /// Whether the host is in this life of it.
    pub(super) fn is_alive(&self, host: usize, life: u64) -> bool {
        self.hosts.get(host).is_some_and(|state| state.alive && state.life == life)
    }

    /// A task that can run, by chance.
    fn pick(&mut self) -> Option<u64> {
        if let Some(id) = self.urgent.take()
            && let Some(at) = self.ready.iter().position(|ready| *ready == id)
        {
            self.ready.remove(at);
            return Some(id);
        }
        while !self.ready.is_empty() {
            let at = if self.ready.len() == 1 { 0 } else { self.chance.below(self.ready.len()) };
            let id = self.ready.swap_remove(at);
            if self.tasks.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// What there is to say of a simulation that does not end.
    fn summary(&self) -> String {
        let mut by_host: BTreeMap<usize, usize> = BTreeMap::new();
        self.tasks.values().for_each(|task| *by_host.entry(task.host).or_default() += 1);
        format!("after {} steps and {:?}; tasks by host: {by_host:?}", self.steps, self.clock.now())
    }
}

impl World {
    pub(super) fn new(seed: u64, max_steps: u64) -> Arc<Self> {
        let state = State {
            chance: Chance::new(seed),
            clock: Clock::default(),
            hosts: Vec::new(),
            links: Links::default(),
            streams: Streams::default(),
            steps: 0,
            max_steps,
            tasks: BTreeMap::new(),
            next_task: MAIN + 1,
            current: MAIN,
            ready: Vec::new(),
            urgent: None,
            at_steps: BTreeMap::new(),
            never: Vec::new(),
        };
        let world = Arc::new(Self(Mutex::new(state)));
        world.add_host();
        world
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_host(&self) -> usize {
        let mut state = self.lock();
        state.hosts.push(HostState { alive: true, ..HostState::default() });
        state.links.add_host();
        state.hosts.len() - 1
    }

    /// Starts a task of a host in this life of it; one of an earlier life is dropped.
    pub(super) fn spawn(self: &Arc<Self>, host: usize, life: u64, future: BoxFuture<'static, ()>) {
        let mut state = self.lock();
        if !state.is_alive(host, life) {
            drop(state);
            drop(future);
            return;
        }
        let id = state.next_task;
        state.next_task += 1;
        let waker = Waker::from(Arc::new(TaskWaker { world: Arc::downgrade(self), id }));
        state.tasks.insert(id, Task { host, future: Some(future), waker, queued: false });
        state.queue(id);
    }

    /// Runs a job soon, or after a while up to `longest`.
    pub(super) fn job(self: &Arc<Self>, host: usize, life: u64, longest: Duration, job: Job) {
        let mut state = self.lock();
        if !state.is_alive(host, life) {
            state.never.push(job);
            return;
        }
        let pause = if state.chance.one_in(4) { state.chance.time(longest) } else { Duration::ZERO };
        let until = state.clock.now() + pause;
        drop(state);
        let sleep = Sleep::new(self, Some(until));
        let run = async move {
            sleep.await;
            job();
        };
        self.spawn(host, life, Box::pin(run));
    }

    /// Ends everything that runs at a host, without a word.
    pub(super) fn kill(&self, host: usize) {
        let mut state = self.lock();
        let of_host = &mut state.hosts[host];
        of_host.alive = false;
        of_host.life += 1;
        let ids: Vec<u64> = state.tasks.iter().filter(|(_, task)| task.host == host).map(|(id, _)| *id).collect();
        let tasks: Vec<Task> = ids.into_iter().filter_map(|id| state.tasks.remove(&id)).collect();
        let wakers = state.streams.cut_host(host);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        drop(tasks);
    }

    /// Lets a host that was killed run tasks again; answers its life.
    pub(super) fn revive(&self, host: usize) -> u64 {
        let mut state = self.lock();
        state.hosts[host].alive = true;
        state.hosts[host].life
    }

    pub(super) fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Pending before step `step`; then what waits here runs before anything else.
    pub(super) async fn at_step(&self, step: u64) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.steps >= step {
                return Poll::Ready(());
            }
            let current = state.current;
            state.at_steps.insert((step, current), cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Polls tasks until `main` is ready.
    pub(super) fn run<T>(self: &Arc<Self>, main: impl Future<Output = T>) -> T {
        let waker = Waker::from(Arc::new(TaskWaker { world: Arc::downgrade(self), id: MAIN }));
        let mut state = self.lock();
        state.tasks.insert(MAIN, Task { host: NOWHERE, future: None, waker: waker.clone(), queued: false });
        state.queue(MAIN);
        drop(state);
        let mut main = std::pin::pin!(main);
        loop {
            match self.next() {
                MAIN => {
                    if let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return value;
                    }
                }
                id => self.poll(id),
            }
        }
    }

    /// The next task to poll.
    fn next(&self) -> u64 {
        loop {
            let mut state = self.lock();
            if let Some(entry) = state.at_steps.first_entry()
                && entry.key().0 <= state.steps + 1
            {
                let ((_, task), waker) = state.at_steps.pop_first().expect("there is a first one");
                state.urgent = Some(task);
                drop(state);
                waker.wake();
                continue;
            }
            if let Some(id) = state.pick() {
                state.steps += 1;
                let (steps, now) = (state.steps, state.clock.now());
                assert!(steps <= state.max_steps, "the simulation has not ended {}", state.summary());
                state.chance.note(id ^ u64::try_from(now.as_nanos()).unwrap_or(0).rotate_left(20));
                state.current = id;
                if let Some(task) = state.tasks.get_mut(&id) {
                    task.queued = false;
                }
                return id;
            }
            let wakers = state.clock.jump();
            assert!(!wakers.is_empty(), "deadlock: nothing can run and no timer is set, {}", state.summary());
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn poll(&self, id: u64) {
        let taken = self.lock().tasks.get_mut(&id).and_then(|task| task.future.take().zip(Some(task.waker.clone())));
        let Some((mut future, waker)) = taken else { return };
        let ended = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut state = self.lock();
        let mut over = None;
        match state.tasks.get_mut(&id) {
            Some(task) if !ended => task.future = Some(future),
            // It ended, or its host was killed meanwhile.
            _ => over = Some((future, state.tasks.remove(&id))),
        }
        drop(state);
        drop(over);
    }

    /// Ends every task, so that what they share is given back.
    pub(super) fn end(&self) {
        let hosts = self.lock().hosts.len();
        (0..hosts).for_each(|host| self.kill(host));
        let never = std::mem::take(&mut self.lock().never);
        drop(never);
    }

    /// The text of a panic, with all that is needed to see it again.
    pub(super) fn obituary(&self, seed: u64, panic: &(dyn Any + Send)) -> String {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text");
        let state = self.lock();
        format!(
            "the simulation of seed {seed} failed at step {}, {:?} after its start: {said}\n\
             The same again: Sim::new({seed}), with the same settings",
            state.steps,
            state.clock.now()
        )
    }
}
