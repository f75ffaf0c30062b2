//! What an operation tells while it runs, on its way to Python's callbacks.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use dstore::rt::Env;
use dstore::{Progress, Warning};
use futures_util::task::AtomicWaker;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::run::{ENV, Waiter};
use crate::value::ToPy;

/// The least time between two calls.
const PAUSE: Duration = Duration::from_millis(50);
/// Warnings that wait for a call; when there are more, the newest are lost (and logged all the same).
const MAX_WAITING: usize = 64;

/// What waits to be told, and Python's callbacks for it.
#[derive(Default)]
pub(crate) struct Report {
    progress: Option<Py<PyAny>>,
    warning: Option<Py<PyAny>>,
    waiting: Mutex<Waiting>,
    waker: AtomicWaker,
}

/// Of progress, only the newest.
#[derive(Default)]
struct Waiting {
    progress: Option<Progress>,
    warnings: VecDeque<Warning>,
    told: Option<Instant>,
}

impl Report {
    pub(crate) fn new(progress: Option<Py<PyAny>>, warning: Option<Py<PyAny>>) -> Arc<Self> {
        Arc::new(Self { progress, warning, ..Self::default() })
    }

    /// Where an operation puts its progress, if anybody listens.
    pub(crate) fn progress(self: &Arc<Self>) -> Option<impl Fn(Progress) + Send + Sync + 'static> {
        self.progress.as_ref()?;
        let report = self.clone();
        Some(move |progress| {
            report.waiting().progress = Some(progress);
            report.waker.wake();
        })
    }

    /// Where an operation puts its warnings, if anybody listens.
    pub(crate) fn warnings(self: &Arc<Self>) -> Option<impl Fn(Warning) + Send + Sync + 'static> {
        self.warning.as_ref()?;
        let report = self.clone();
        Some(move |warning| {
            let mut waiting = report.waiting();
            if waiting.warnings.len() < MAX_WAITING {
                waiting.warnings.push_back(warning);
            }
            drop(waiting);
            report.waker.wake();
        })
    }

    /// Shows the listeners to the garbage collector. For whoever alone has this report from Python.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.progress)?;
        visit.call(&self.warning)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Ready when there is something to tell, and not too soon after the last time.
    pub(crate) async fn changed(&self) {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        let told = self.waiting().told;
        let early = told.map_or(Duration::ZERO, |told| PAUSE.saturating_sub(told.elapsed()));
        if !early.is_zero() {
            ENV.sleep(early).await;
        }
    }

    /// Calls the listeners with what waits.
    pub(crate) fn tell(&self, py: Python<'_>) -> PyResult<()> {
        self.tell_with(py, |listener, value| listener.call1(py, (value,)).map(drop))
    }

    /// Has an event loop call the listeners with what waits. What one of them raises is raised where `waiter` awaits.
    pub(crate) fn tell_soon(&self, py: Python<'_>, waiter: &Waiter) -> PyResult<()> {
        self.tell_with(py, |listener, value| {
            let call = OnLoop { listener: listener.clone_ref(py), promise: waiter.promise.clone_ref(py) };
            waiter.event_loop.call_method1(py, "call_soon_threadsafe", (call, value)).map(drop)
        })
    }

    fn tell_with(&self, py: Python<'_>, call: impl Fn(&Py<PyAny>, Py<PyAny>) -> PyResult<()>) -> PyResult<()> {
        let (warnings, progress) = {
            let mut waiting = self.waiting();
            waiting.told = Some(Instant::now());
            (std::mem::take(&mut waiting.warnings), waiting.progress.take())
        };
        for warning in warnings {
            if let Some(listener) = &self.warning {
                call(listener, warning.to_py(py)?)?;
            }
        }
        match (&self.progress, progress) {
            (Some(listener), Some(progress)) => call(listener, progress.to_py(py)?),
            _ => Ok(()),
        }
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.progress.is_none() && self.warnings.is_empty()
    }
}

/// A callback on an event loop: what it raises is raised where the operation is awaited, which ends with that.
#[pyclass(frozen)]
struct OnLoop {
    listener: Py<PyAny>,
    promise: Py<PyAny>,
}

#[pymethods]
impl OnLoop {
    fn __call__(&self, py: Python<'_>, value: Py<PyAny>) -> PyResult<()> {
        if self.promise.call_method0(py, "done")?.is_truthy(py)? {
            return Ok(());
        }
        match self.listener.call1(py, (value,)) {
            Ok(_) => Ok(()),
            Err(raised) => {
                let raised = raised.into_value(py);
                let set = |raised| self.promise.call_method1(py, "set_exception", (raised,)).map(drop);
                // A promise takes no StopIteration, and says so with another exception.
                set(raised).or_else(|refused| set(refused.into_value(py)))
            }
        }
    }
}
