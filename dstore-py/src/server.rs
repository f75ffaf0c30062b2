//! What registries, nodes and clusters have in common: settings until they are started, and something that runs then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::error;

/// What runs, if it does.
pub(crate) struct Running<H> {
    what: &'static str,
    handle: Arc<Mutex<Option<H>>>,
}

impl<H> Clone for Running<H> {
    fn clone(&self) -> Self {
        Self { what: self.what, handle: self.handle.clone() }
    }
}

impl<H> Running<H> {
    /// Nothing yet.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, handle: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<H>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.lock().is_some()
    }

    /// Whether it may be started now.
    ///
    /// # Errors
    /// `RuntimeError` when it runs already.
    pub(crate) fn check_idle(&self) -> PyResult<()> {
        if self.is_running() { Err(error::running_already(self.what)) } else { Ok(()) }
    }

    pub(crate) fn set(&self, handle: H) {
        *self.lock() = Some(handle);
    }

    pub(crate) fn take(&self) -> Option<H> {
        self.lock().take()
    }

    /// Asks what runs.
    ///
    /// # Errors
    /// `RuntimeError` when nothing does.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&H) -> T) -> PyResult<T> {
        self.lock().as_ref().map(question).ok_or_else(|| error::not_running(self.what))
    }
}
