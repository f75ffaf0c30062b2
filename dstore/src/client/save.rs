//! A save: a get that ends in a local file, as one operation.

use std::future::IntoFuture;
use std::path::PathBuf;

use super::events::Events;
use super::{Get, Head};
use crate::error::Result;
use crate::rt::BoxFuture;

/// A save that has not started: await it, or take its events.
#[derive(Debug, Clone)]
#[must_use = "a save does nothing until it is awaited"]
pub struct Save {
    get: Get,
    to: PathBuf,
}

impl Save {
    pub(super) fn new(get: Get, to: PathBuf) -> Self {
        Self { get, to }
    }

    /// Starts it when they are read; the last one carries the result.
    pub fn events(mut self) -> Events<Head> {
        Events::new(self.get.reporter().listen(), self.into_future())
    }
}

impl IntoFuture for Save {
    type Output = Result<Head>;
    type IntoFuture = BoxFuture<'static, Result<Head>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.get.save_to(&self.to).await })
    }
}
