//! Who is inside Rust, and until when.
//!
//! Invariant: once the interpreter is about to end, no thread of ours waits for it or enters it, so that none is torn
//! down in the middle of Rust code. And what was started before a fork is not used after it: the threads stayed behind.

use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use crate::error;

/// How long the end of the interpreter waits for those who are inside: somebody's callback may not return.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Inside {
    count: usize,
    closed: bool,
}

struct Gate {
    inside: Mutex<Inside>,
    left: Condvar,
    /// Closes when the interpreter is about to end. Nothing is ever sent.
    open: Sender<()>,
    closing: Receiver<()>,
    /// The process that used it first.
    process: OnceLock<u32>,
}

static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let (open, closing) = async_channel::bounded(1);
    Gate { inside: Mutex::default(), left: Condvar::new(), open, closing, process: OnceLock::new() }
});

impl Gate {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_forked(&self) -> bool {
        self.process.get().is_some_and(|process| *process != std::process::id())
    }
}

/// Somebody is inside Rust while it lives. Whoever waits for the interpreter, or enters it from a thread of ours, has one.
#[derive(Debug)]
pub(crate) struct Pass(());

impl Drop for Pass {
    fn drop(&mut self) {
        GATE.inside().count -= 1;
        GATE.left.notify_all();
    }
}

/// Lets a call in.
///
/// # Errors
/// `ForkedError` after a fork; when the interpreter is about to end, `RuntimeError`, or `SystemExit` off the main thread.
pub(crate) fn enter(py: Python<'_>) -> PyResult<Pass> {
    GATE.process.get_or_init(std::process::id);
    if GATE.is_forked() {
        return Err(error::forked(py));
    }
    pass().ok_or_else(|| error::closing(py))
}

/// Lets a thread of ours in, unless the interpreter is about to end.
pub(crate) fn pass() -> Option<Pass> {
    let mut inside = GATE.inside();
    if inside.closed {
        return None;
    }
    inside.count += 1;
    Some(Pass(()))
}

/// Ready when the interpreter is about to end.
pub(crate) async fn closing() {
    let _ = GATE.closing.recv().await;
}

/// Has the end of the interpreter cancel what runs, and wait for it.
///
/// # Errors
/// `ImportError` in a second interpreter of the process: the end of one would end the work of all.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    static INTERPRETER: OnceLock<usize> = OnceLock::new();
    // Each interpreter has modules of its own, as long as it lives.
    let modules = py.import("sys")?.getattr("modules")?.as_ptr() as usize;
    if *INTERPRETER.get_or_init(|| modules) != modules {
        return Err(PyImportError::new_err(
            "dstore works in one interpreter of a process, and is in another one already",
        ));
    }
    let close = pyo3::types::PyCFunction::new_closure(py, None, None, |args, _| close(args.py()))?;
    py.import("atexit")?.call_method1("register", (close,))?;
    Ok(())
}

fn close(py: Python<'_>) {
    if GATE.is_forked() {
        return;
    }
    let _ = crate::log::drain(py);
    GATE.inside().closed = true;
    GATE.open.close();
    py.detach(|| {
        let inside = GATE.inside();
        let _ = GATE.left.wait_timeout_while(inside, PATIENCE, |inside| inside.count > 0);
    });
}
