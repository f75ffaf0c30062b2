//! A copy: a file read and stored again at another path, as one operation.

use std::future::IntoFuture;

use super::events::Events;
use super::report::{Progress, Reporter, Warning};
use super::{Client, Committed, PutMode, Source};
use crate::error::{Error, Result};
use crate::path::FilePath;
use crate::rt::BoxFuture;

/// How often a copy starts over when its source was replaced under it.
const RETRIES: usize = 3;

/// A copy that has not started: await it, or give it options first.
#[derive(Debug)]
#[must_use = "a copy does nothing until it is awaited"]
pub struct CopyFile {
    client: Client,
    from: String,
    to: String,
    mode: PutMode,
    reporter: Reporter,
}

impl CopyFile {
    pub(super) fn new(client: Client, from: &str, to: &str) -> Self {
        let (from, to) = (from.to_owned(), to.to_owned());
        Self { client, from, to, mode: PutMode::default(), reporter: Reporter::default() }
    }

    /// What it may replace. Default: whatever is there.
    pub fn mode(mut self, mode: PutMode) -> Self {
        self.mode = mode;
        self
    }

    /// Calls `call` now and then with how far the copy is. It must return soon.
    pub fn progress(mut self, call: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.reporter.on_progress(call);
        self
    }

    /// Calls `call` with what did not stop the copy but should be known.
    pub fn warnings(mut self, call: impl Fn(Warning) + Send + Sync + 'static) -> Self {
        self.reporter.on_warning(call);
        self
    }

    /// Starts it when they are read; the last one carries the result.
    pub fn events(mut self) -> Events<Committed> {
        Events::new(self.reporter.listen(), self.into_future())
    }
}

impl IntoFuture for CopyFile {
    type Output = Result<Committed>;
    type IntoFuture = BoxFuture<'static, Result<Committed>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl CopyFile {
    async fn run(self) -> Result<Committed> {
        let (from, to) = (FilePath::new(self.from.as_str())?, FilePath::new(self.to.as_str())?);
        if from == to {
            return Err(Error::InvalidPath { reason: "a file cannot be copied onto itself" });
        }
        for _ in 1..RETRIES {
            match self.once().await {
                Err(Error::Superseded { .. }) => {}
                ended => return ended,
            }
        }
        self.once().await
    }

    /// Every byte is checked as it is read; the new content has a key and shards of its own.
    async fn once(&self) -> Result<Committed> {
        let (reading, writing, warned) = (self.reporter.clone(), self.reporter.clone(), self.reporter.clone());
        let reader = self.client.get(&self.from).warnings(move |warning| reading.warn(warning)).reader().await?;
        let head = reader.head().clone();
        let mut put = self.client.put(&self.to, Source::reader(reader)).mode(self.mode);
        for (name, value) in head.attributes {
            put = put.attribute(name, value);
        }
        let report = move |mut progress: Progress| {
            progress.bytes_total = Some(head.size);
            writing.progress(progress);
        };
        put.progress(report).warnings(move |warning| warned.warn(warning)).await.map_err(cause_of)
    }
}

/// A source that fails does so as a stream of bytes: what it failed with is inside.
fn cause_of(error: Error) -> Error {
    match error {
        Error::Io { what, source } => match source.downcast::<Error>() {
            Ok(cause) => cause,
            Err(source) => Error::Io { what, source },
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_copy_that_cannot_read_fails_like_the_get() {
        let cause = Error::Superseded { path: "a".to_owned() };
        assert_eq!(cause_of(Error::io("cannot read the source", cause.into())).code(), "superseded");
        let own = Error::io("cannot read the source", io::ErrorKind::PermissionDenied.into());
        assert_eq!(cause_of(own).code(), "permission_denied");
    }
}
