//! Failures of dstore as Python exceptions: `dstore._exceptions` has one class for each code word.

use std::error::Error as _;

use dstore::Error;
use pyo3::exceptions::{PyRuntimeError, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::value::ToPy;

/// The exception for `error`, with its details as attributes and its causes as notes.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).unwrap_or_else(|failed| failed)
}

/// A failure on the way here, outside of any operation.
pub(crate) fn raised<T>(py: Python<'_>, result: dstore::Result<T>) -> PyResult<T> {
    result.map_err(|error| raise(py, &error))
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    if let Error::Io { source, .. } = error
        && let Some(GivenUp(what)) = source.get_ref().and_then(|cause| cause.downcast_ref())
    {
        return Ok(PyRuntimeError::new_err(*what));
    }
    let details = details(py, error)?;
    let exception = make(py, error.code(), &error.to_string(), error.is_retryable(), &details)?;
    let mut cause = error.source();
    while let Some(source) = cause {
        exception.call_method1("add_note", (format!("caused by: {source}"),))?;
        cause = source.source();
    }
    Ok(PyErr::from_value(exception))
}

fn make<'py>(
    py: Python<'py>,
    code: &str,
    message: &str,
    retryable: bool,
    details: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    py.import("dstore._exceptions")?.call_method1("make", (code, message, retryable, details))
}

fn details<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyDict>> {
    let details = PyDict::new(py);
    match error {
        Error::InvalidPath { reason } => details.set_item("reason", reason)?,
        Error::TooLarge { what, size, limit } => {
            details.set_item("what", what)?;
            details.set_item("size", size)?;
            details.set_item("limit", limit)?;
        }
        Error::NotFound { path } | Error::Superseded { path } | Error::UnknownOutcome { path, .. } => {
            details.set_item("path", path)?;
        }
        Error::AlreadyExists { path, version } => {
            details.set_item("path", path)?;
            details.set_item("version", version)?;
        }
        Error::VersionConflict { path, expected, actual } => {
            details.set_item("path", path)?;
            details.set_item("expected", expected)?;
            details.set_item("actual", actual)?;
        }
        Error::NotEnoughNodes { active, needed, refused } => {
            details.set_item("found", active)?;
            details.set_item("needed", needed)?;
            details.set_item("faults", refused.clone().to_py(py)?)?;
        }
        Error::NotEnoughShards { found, needed, missing: faults } | Error::Unrecoverable { found, needed, faults } => {
            details.set_item("found", found)?;
            details.set_item("needed", needed)?;
            details.set_item("faults", faults.clone().to_py(py)?)?;
        }
        Error::Integrity { what } | Error::Internal { what } => details.set_item("what", what)?,
        Error::Peer { peer, problem, .. } => {
            details.set_item("peer", peer)?;
            details.set_item("problem", problem.to_string())?;
        }
        Error::Io { what, source } => {
            details.set_item("what", what)?;
            details.set_item("errno", source.raw_os_error())?;
        }
        Error::Locked { what } => details.set_item("what", what)?,
        _ => {}
    }
    Ok(details)
}

/// Something was started before a fork, and is used after it.
pub(crate) fn forked(py: Python<'_>) -> PyErr {
    let text = "dstore was used in the parent process before this one was forked: its threads stayed there. Start \
                processes with multiprocessing's \"spawn\" or \"forkserver\", or use dstore in the child alone";
    make(py, "forked", text, false, &PyDict::new(py)).map_or_else(|failed| failed, PyErr::from_value)
}

/// The interpreter is about to end: on another thread than the main one, what Python ends threads with, silently.
pub(crate) fn closing(py: Python<'_>) -> PyErr {
    let text = "the Python interpreter is shutting down: this operation was cancelled";
    match crate::run::is_main_thread(py) {
        Ok(false) => PySystemExit::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}

/// A server or cluster is used that does not run.
pub(crate) fn not_running(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("this {what} is not running: use it in a with statement, or call start()"))
}

/// A server or cluster is started that runs.
pub(crate) fn running_already(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("this {what} is running already"))
}

/// What was begun has been cancelled, and cannot be gone on with: `RuntimeError` for whoever tries.
pub(crate) fn interrupted(what: &'static str) -> Error {
    Error::Io { what: what.to_owned(), source: std::io::Error::other(GivenUp(what)) }
}

/// By what [`interrupted`] is told from failures of this machine.
#[derive(Debug)]
struct GivenUp(&'static str);

impl std::fmt::Display for GivenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for GivenUp {}
