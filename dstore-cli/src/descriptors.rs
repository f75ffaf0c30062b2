//! As many file descriptors as this process may have: a server needs some for every connection.

use dstore::Limits;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::output::Output;

/// For everything but connections: the store, the log, and what the runtime needs.
const OTHERS: u64 = 128;
/// The connection, and the two files of a shard that comes over it.
const PER_CONNECTION: u64 = 3;

/// Raises the limit as far as the system lets this process, and `limits` to no more connections than that is enough for.
pub(crate) fn prepare(mut limits: Limits, out: &Output) -> Limits {
    let mut allowed = getrlimit(Resource::Nofile);
    let before = allowed.current;
    allowed.current = allowed.maximum;
    if setrlimit(Resource::Nofile, allowed).is_err() {
        allowed.current = before;
    }
    let enough = allowed.current.map_or(u64::MAX, |current| current.saturating_sub(OTHERS) / PER_CONNECTION).max(8);
    let enough = usize::try_from(enough).unwrap_or(usize::MAX);
    if limits.connections > enough {
        out.warning(
            "descriptors",
            &format!(
                "this process may open {} files, which is enough for {enough} connections and not for {}: raise the \
                 limit (ulimit -n)",
                allowed.current.unwrap_or(0),
                limits.connections
            ),
        );
        limits.connections = enough;
    }
    limits
}
