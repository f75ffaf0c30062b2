//! What there is, and what moves or ends it.

use std::future::IntoFuture;

use dstore::Result;
use pyo3::prelude::*;

use super::Client;
use crate::listing::HeadBatches;
use crate::report::Report;
use crate::{args, run, transfer};

async fn exists(client: dstore::Client, path: String) -> Result<bool> {
    match client.head(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == "not_found" => Ok(false),
        Err(error) => Err(error),
    }
}

#[pymethods]
impl Client {
    /// What the ledger says of the file at `path`. No node is asked.
    ///
    /// Raises `NotFound`, `InvalidPath`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello", attributes={"type": "text/plain"})
    /// >>> head = client.head("notes/a.txt")
    /// >>> head.version, head.size, head.tolerates_nodes, head.attributes
    /// (1, 5, 1, {'type': 'text/plain'})
    fn head(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.head(path).await })
    }

    /// `head`, for asyncio.
    fn head_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.head(path).await })
    }

    /// Whether a file is at `path`. No node is asked.
    ///
    /// Raises `InvalidPath`.
    ///
    /// >>> client.exists("notes/a.txt")
    /// False
    fn exists(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        run::block(py, exists(self.client()?, path))
    }

    /// `exists`, for asyncio.
    fn exists_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        run::spawn(py, exists(self.client()?, path))
    }

    /// Asks every node of the file at `path` how its shards are, and reads no content. Nodes that do not answer are
    /// no error: their shards are "unreachable".
    ///
    /// Raises `NotFound`, `InvalidPath`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> network.kill(0)
    /// >>> states = [shard.state for shard in client.check("notes/a.txt").shards]
    /// >>> states.count("ok"), states.count("unreachable")
    /// (4, 2)
    fn check(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.check(path).await })
    }

    /// `check`, for asyncio.
    fn check_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.check(path).await })
    }

    /// The owner's files whose path starts with `prefix`, in no order: iterate over it, with `for` or `async for`.
    ///
    /// What it raises, it raises there: besides the usual, `Unavailable` at the end when there may be more files than
    /// a ledger that has dropped old records could name.
    ///
    /// >>> for name in ("a/1", "a/2", "b/1"):
    /// ...     committed = client.put(name, b"hello")
    /// >>> sorted(head.path for head in client.list("a/"))
    /// ['a/1', 'a/2']
    /// >>> async def main():
    /// ...     return [head.path async for head in client.list("b/")]
    /// >>> asyncio.run(main())
    /// ['b/1']
    #[pyo3(signature = (prefix = ""))]
    fn list<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyAny>> {
        let batches = HeadBatches::new(self.client()?.list(prefix));
        py.import("dstore._streams")?.call_method1("Listing", (batches,))
    }

    /// Removes the file at `path`, and says what it was. Its shards are freed after a day.
    ///
    /// Raises `NotFound`, `InvalidPath`; `VersionConflict` when another writer was faster; `UnknownOutcome`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> client.remove("notes/a.txt").size
    /// 5
    /// >>> client.exists("notes/a.txt")
    /// False
    fn remove(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.remove(path).await })
    }

    /// `remove`, for asyncio.
    fn remove_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.remove(path).await })
    }

    /// Moves the file at `source` to `target`, where no file may be, and says what it is there. Its content does not
    /// travel.
    ///
    /// Raises `NotFound`, `InvalidPath`, `AlreadyExists`; `VersionConflict` when another writer was faster;
    /// `UnknownOutcome`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> client.rename("notes/a.txt", "notes/b.txt").path
    /// 'notes/b.txt'
    fn rename(&self, py: Python<'_>, source: String, target: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.rename(source, target).await })
    }

    /// `rename`, for asyncio.
    fn rename_async(&self, py: Python<'_>, source: String, target: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.rename(source, target).await })
    }

    /// Reads the file at `source` and stores it at `target` with this client's settings: it takes as long as a get
    /// and a put, and the two files share nothing. `mode`, `if_version`, `progress` and `on_warning` are as for
    /// `put`.
    ///
    /// Raises what the read of a `get` and what `put` raise; `InvalidPath` when both paths are the same.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> client.copy("notes/a.txt", "notes/b.txt", mode="create").head.size
    /// 5
    #[pyo3(signature = (source, target, *, mode = None, if_version = None, progress = None, on_warning = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn copy(
        &self,
        py: Python<'_>,
        source: &str,
        target: &str,
        mode: Option<&str>,
        if_version: Option<u32>,
        progress: Option<Py<PyAny>>,
        on_warning: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let report = Report::new(progress, on_warning);
        let copy = transfer::copy(&self.client()?, (source, target), args::mode(mode, if_version)?, &report);
        run::block_with(py, &report, copy.into_future())
    }

    /// `copy`, for asyncio.
    #[pyo3(signature = (source, target, *, mode = None, if_version = None, progress = None, on_warning = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn copy_async(
        &self,
        py: Python<'_>,
        source: &str,
        target: &str,
        mode: Option<&str>,
        if_version: Option<u32>,
        progress: Option<Py<PyAny>>,
        on_warning: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let report = Report::new(progress, on_warning);
        let copy = transfer::copy(&self.client()?, (source, target), args::mode(mode, if_version)?, &report);
        run::spawn_with(py, &report, copy.into_future())
    }

    /// Every version of the file at `path`, also one that was removed, newest first.
    ///
    /// Raises `NotFound` when no file ever was there, `InvalidPath`.
    ///
    /// >>> committed = client.put("notes/a.txt", b"hello")
    /// >>> removed = client.remove("notes/a.txt")
    /// >>> [(version.version, version.kind) for version in client.history("notes/a.txt")]
    /// [(2, 'removed'), (1, 'put')]
    fn history(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::block(py, async move { client.history(path).await })
    }

    /// `history`, for asyncio.
    fn history_async(&self, py: Python<'_>, path: String) -> PyResult<Py<PyAny>> {
        let client = self.client()?;
        run::spawn(py, async move { client.history(path).await })
    }
}
