//! Runs one future for a caller who waits, or for asyncio.

use std::cell::Cell;
use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dstore::rt::{AsyncStdEnv, Env};
use dstore::{Error, Result};
use futures_lite::future::or;
use futures_util::future::{AbortHandle, Aborted, Either, abortable, select};
use pyo3::prelude::*;

use crate::report::Report;
use crate::value::ToPy;
use crate::{error, gate, log};

/// How often a call that waits looks for signals: Ctrl-C ends it after so long at most, and the time that a drop takes.
const SIGNALS: Duration = Duration::from_millis(50);

/// Tasks, timers and threads for what is not a client's own.
pub(crate) static ENV: LazyLock<AsyncStdEnv> = LazyLock::new(AsyncStdEnv::new);

/// How a call ended.
enum End<T> {
    Done(Result<T>),
    /// Python code that it ran, or a signal's handler, has raised this.
    Raised(PyErr),
    /// The interpreter is about to end.
    Closing,
}

/// Waits for `future` with the interpreter released. A signal whose handler raises, such as Ctrl-C, drops it.
pub(crate) fn block<T: ToPy>(py: Python<'_>, future: impl Future<Output = Result<T>> + Send) -> PyResult<Py<PyAny>> {
    block_with(py, &Report::default(), future)
}

/// [`block`] for a future that reports: its listeners are called here.
pub(crate) fn block_with<T: ToPy>(
    py: Python<'_>,
    report: &Report,
    future: impl Future<Output = Result<T>> + Send,
) -> PyResult<Py<PyAny>> {
    // Held until this thread has the interpreter again.
    let _pass = gate::enter(py)?;
    log::follow(py)?;
    let heeds_signals = is_main_thread(py)?;
    let end = py.detach(|| futures_lite::future::block_on(drive(future, report, heeds_signals)));
    log::drain(py)?;
    match end {
        End::Done(Ok(value)) => value.to_py(py),
        End::Done(Err(error)) => Err(error::raise(py, &error)),
        End::Raised(raised) => Err(raised),
        End::Closing => Err(error::closing(py)),
    }
}

async fn drive<T>(future: impl Future<Output = Result<T>> + Send, report: &Report, heeds_signals: bool) -> End<T> {
    let told = async {
        loop {
            report.changed().await;
            if let Err(raised) = Python::attach(|py| report.tell(py)) {
                return End::Raised(raised);
            }
        }
    };
    let disturbed = async {
        let signal = async {
            if !heeds_signals {
                return std::future::pending().await;
            }
            loop {
                ENV.sleep(SIGNALS).await;
                if let Err(raised) = Python::attach(|py| py.check_signals()) {
                    return raised;
                }
            }
        };
        match select(std::pin::pin!(signal), std::pin::pin!(gate::closing())).await {
            Either::Left((raised, _)) => End::Raised(raised),
            Either::Right(((), _)) => End::Closing,
        }
    };
    let done = async { End::Done(future.await) };
    let end = or(done, or(told, disturbed)).await;
    if let End::Done(Ok(_)) = &end
        && !report.is_empty()
        && let Err(raised) = Python::attach(|py| report.tell(py))
    {
        return End::Raised(raised);
    }
    end
}

/// Whether signals are handled on this thread.
pub(crate) fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        static IS_MAIN: Cell<Option<bool>> = const { Cell::new(None) };
    }
    if let Some(known) = IS_MAIN.get() {
        return Ok(known);
    }
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    let is_main = threading.call_method0("get_ident")?.eq(main)?;
    IS_MAIN.set(Some(is_main));
    Ok(is_main)
}

/// Gives `future` to asyncio: what it returns is awaited there. Cancelling that drops the future.
pub(crate) fn spawn<T: ToPy>(
    py: Python<'_>,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    spawn_with(py, &Arc::default(), future)
}

/// [`spawn`] for a future that reports: its listeners are called on the event loop.
pub(crate) fn spawn_with<T: ToPy>(
    py: Python<'_>,
    report: &Arc<Report>,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    let pass = gate::enter(py)?;
    log::follow(py)?;
    let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
    let promise = event_loop.call_method0("create_future")?;
    let (task, handle) = abortable(future);
    promise.call_method1("add_done_callback", (Abort(handle),))?;
    let waiter = Waiter { event_loop: event_loop.unbind(), promise: promise.clone().unbind() };
    let audience = Arc::new((waiter, report.clone()));
    ENV.spawn(Box::pin(async move {
        let told = async {
            loop {
                audience.1.changed().await;
                tell_loop(&audience).await;
            }
        };
        let done = async {
            match select(std::pin::pin!(task), std::pin::pin!(gate::closing())).await {
                Either::Left((Ok(result), _)) => Some(result),
                Either::Left((Err(Aborted), _)) | Either::Right(((), _)) => None,
            }
        };
        if let Some(result) = or(done, told).await {
            if !audience.1.is_empty() {
                tell_loop(&audience).await;
            }
            // Not here: whoever waits for the interpreter holds up all tasks of this thread.
            ENV.blocking(Box::new(move || {
                Python::attach(|py| audience.0.settle(py, result));
                drop((audience, pass));
            }));
        }
    }));
    Ok(promise.unbind())
}

/// Has the event loop tell what waits, and is ready when it was asked to.
async fn tell_loop(audience: &Arc<(Waiter, Arc<Report>)>) {
    let Some(pass) = gate::pass() else { return };
    let (asked, done) = async_channel::bounded::<()>(1);
    let audience = audience.clone();
    ENV.blocking(Box::new(move || {
        let (waiter, report) = &*audience;
        // An event loop that is closed listens to nothing any more.
        let _ = Python::attach(|py| report.tell_soon(py, waiter));
        drop((audience, asked, pass));
    }));
    let _ = done.recv().await;
}

/// Somebody who awaits a result on an event loop.
pub(crate) struct Waiter {
    pub(crate) event_loop: Py<PyAny>,
    pub(crate) promise: Py<PyAny>,
}

impl Waiter {
    fn settle<T: ToPy>(&self, py: Python<'_>, result: Result<T, Error>) {
        // What is raised here is the event loop's, not the waiter's.
        let _ = log::drain(py);
        let result = result.map_err(|error| error::raise(py, &error)).and_then(|value| value.to_py(py));
        let settle = match result {
            Ok(value) => ("set_result", value),
            Err(raised) => ("set_exception", raised.into_value(py).into_any()),
        };
        let settle = Settle { promise: self.promise.clone_ref(py), method: settle.0, value: settle.1 };
        // An event loop that is closed waits for nothing any more.
        let _ = self.event_loop.call_method1(py, "call_soon_threadsafe", (settle,));
    }
}

/// Runs on the event loop: gives a promise its value, unless it was cancelled.
#[pyclass(frozen)]
struct Settle {
    promise: Py<PyAny>,
    method: &'static str,
    value: Py<PyAny>,
}

#[pymethods]
impl Settle {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        if !self.promise.call_method0(py, "done")?.is_truthy(py)? {
            self.promise.call_method1(py, self.method, (&self.value,))?;
        }
        Ok(())
    }
}

/// Runs on the event loop when a promise has ended: ends the work if that is why.
#[pyclass(frozen)]
struct Abort(AbortHandle);

#[pymethods]
impl Abort {
    fn __call__(&self, _promise: &Bound<'_, PyAny>) {
        self.0.abort();
    }
}
