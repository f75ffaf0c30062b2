//! What a registry remembers over a restart: one SQLite file, or nothing.
//!
//! Invariant: what [`State::save`] and [`State::remove`] answered is durable. Only one process has the file open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, params};

use crate::error::{Error, Result};
use crate::id::NodeId;
use crate::proto::{self, NodeRecord, Signed};
use crate::rt::{Rt, Timestamp};

/// "dsrg", in the header of every such file.
const APPLICATION_ID: i32 = 0x6473_7267;
const FORMAT_VERSION: i32 = 2;
/// How long a start waits for an earlier registry of this process to let the file go.
const BUSY_LIMIT: Duration = Duration::from_secs(1);

const SCHEMA: &str = "
    CREATE TABLE node (id BLOB PRIMARY KEY, record BLOB NOT NULL, last_seen INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";
/// What version 2 adds.
const SCHEMA_2: &str = "CREATE TABLE quarantine (id BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID";

/// A node that was listed.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub(super) record: Signed<NodeRecord>,
    pub(super) last_seen: Timestamp,
}

/// What was there when the file was opened.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub(super) nodes: Vec<Saved>,
    pub(super) quarantined: Vec<(NodeId, Timestamp)>,
}

/// The file, unless the registry lives in memory only.
#[derive(Debug, Clone)]
pub(super) struct State(Option<Arc<File>>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// `None` once it is closed.
    connection: Mutex<Option<Connection>>,
}

impl State {
    pub(super) const fn in_memory() -> Self {
        Self(None)
    }

    /// Opens the file at `path`, or makes it, and reads what it holds.
    pub(super) async fn open(rt: &Rt, path: PathBuf) -> Result<(Self, Remembered)> {
        rt.blocking(move || {
            let (connection, saved) = open(&path)?;
            Ok((Self(Some(Arc::new(File { path, connection: Mutex::new(Some(connection)) }))), saved))
        })
        .await
    }

    /// Remembers a node in place of what was known of it.
    pub(super) async fn save(&self, rt: &Rt, id: NodeId, saved: Saved) -> Result<()> {
        self.run(rt, move |connection| {
            let last_seen = i64::try_from(saved.last_seen.as_millis()).unwrap_or(i64::MAX);
            connection.execute(
                "INSERT OR REPLACE INTO node (id, record, last_seen) VALUES (?1, ?2, ?3)",
                params![id.as_bytes(), proto::encode(&saved.record), last_seen],
            )?;
            Ok(())
        })
        .await
    }

    /// Remembers until when nodes are quarantined, and forgets the quarantines that are over at `now`.
    pub(super) async fn quarantine(&self, rt: &Rt, nodes: BTreeMap<NodeId, Timestamp>, now: Timestamp) -> Result<()> {
        let millis = |time: Timestamp| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.run(rt, move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM quarantine WHERE until <= ?1", params![millis(now)])?;
            for (id, until) in nodes {
                let sql = "INSERT OR REPLACE INTO quarantine (id, until) VALUES (?1, ?2)";
                transaction.execute(sql, params![id.as_bytes(), millis(until)])?;
            }
            transaction.commit()
        })
        .await
    }

    /// Forgets nodes.
    pub(super) async fn remove(&self, rt: &Rt, ids: Vec<NodeId>) -> Result<()> {
        self.run(rt, move |connection| {
            let transaction = connection.transaction()?;
            for id in ids {
                transaction.execute("DELETE FROM node WHERE id = ?1", params![id.as_bytes()])?;
            }
            transaction.commit()
        })
        .await
    }

    /// Writes to the file without changing what it holds.
    pub(super) async fn check(&self, rt: &Rt) -> Result<()> {
        self.run(rt, |connection| connection.pragma_update(None, "user_version", FORMAT_VERSION)).await
    }

    /// Lets the file go; later calls fail.
    pub(super) async fn close(&self, rt: &Rt) {
        let Some(file) = self.0.clone() else { return };
        rt.blocking(move || drop(file.connection.lock().unwrap_or_else(PoisonError::into_inner).take())).await;
    }

    async fn run(
        &self,
        rt: &Rt,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<()> {
        let Some(file) = self.0.clone() else { return Ok(()) };
        rt.blocking(move || {
            let mut connection = file.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = connection.as_mut().ok_or_else(|| {
                Error::io(format!("cannot write {}", file.path.display()), std::io::ErrorKind::NotConnected.into())
            })?;
            job(connection).map_err(|error| failed(&file.path, error))
        })
        .await
    }
}

fn open(path: &Path) -> Result<(Connection, Remembered)> {
    // Absolute, so that no name has a meaning of its own to SQLite, as `:memory:` has.
    let io = |error| Error::io(format!("cannot open {}", path.display()), error);
    let path = &std::path::absolute(path).map_err(io)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let mut connection = connect(path).map_err(|error| failed(path, error))?;
    prepare(path, &mut connection)?;
    // Damage may read as fewer rows, and a short list would hide it.
    let check = connection.pragma_query_value(None, "quick_check", |row| row.get::<_, String>(0));
    if check.map_err(|error| failed(path, error))? != "ok" {
        return Err(damaged(path));
    }
    let saved = load(&connection).map_err(|error| failed(path, error))?;
    let saved: Option<_> = saved.into_iter().collect();
    let nodes = saved.ok_or_else(|| damaged(path))?;
    let quarantined = load_quarantined(&connection).map_err(|error| failed(path, error))?;
    Ok((connection, Remembered { nodes, quarantined }))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_LIMIT)?;
    // A rollback journal, so that whoever deletes this one file starts afresh. EXTRA syncs the folder too, without
    // which a power loss could bring the journal of an answered write back.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// Takes the file's lock, makes the table in a new file and refuses one that is not ours.
fn prepare(path: &Path, connection: &mut Connection) -> Result<()> {
    let found = (|| {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
        let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let mut found = (number("application_id")?, number("user_version")?);
        let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
        if found == (0, 0) && tables == 0 {
            transaction.execute_batch(SCHEMA)?;
            found.1 = 1;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            found.0 = APPLICATION_ID;
        }
        if found == (APPLICATION_ID, 1) {
            transaction.execute_batch(SCHEMA_2)?;
            transaction.pragma_update(None, "user_version", FORMAT_VERSION)?;
            found.1 = FORMAT_VERSION;
        }
        transaction.commit()?;
        Ok(found)
    })();
    match found.map_err(|error| failed(path, error))? {
        (APPLICATION_ID, FORMAT_VERSION) => Ok(()),
        (APPLICATION_ID, version) => Err(Error::config(format!(
            "{} has format {version} and this dstore reads format {FORMAT_VERSION}: use the dstore that wrote it, or \
             delete the file (nodes register again by themselves)",
            path.display()
        ))),
        _ => {
            Err(Error::config(format!("{} is not the state of a dstore registry: name another folder", path.display())))
        }
    }
}

/// Every saved node; `None` for one that cannot be read.
fn load(connection: &Connection) -> rusqlite::Result<Vec<Option<Saved>>> {
    let mut statement = connection.prepare("SELECT record, last_seen FROM node ORDER BY id")?;
    let rows = statement.query_map((), |row| {
        let record = proto::decode("saved record", &row.get::<_, Vec<u8>>(0)?).ok();
        let last_seen = Timestamp::from_millis(u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0));
        Ok(record.map(|record| Saved { record, last_seen }))
    })?;
    rows.collect()
}

fn load_quarantined(connection: &Connection) -> rusqlite::Result<Vec<(NodeId, Timestamp)>> {
    let mut statement = connection.prepare("SELECT id, until FROM quarantine ORDER BY id")?;
    let rows = statement.query_map((), |row| {
        let until = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        Ok((NodeId::new(row.get(0)?), Timestamp::from_millis(until)))
    })?;
    rows.collect()
}

fn damaged(path: &Path) -> Error {
    Error::config(format!(
        "{} is damaged: delete it and start the registry again (nodes register again by themselves)",
        path.display()
    ))
}

fn failed(path: &Path, error: rusqlite::Error) -> Error {
    use std::io::{Error as IoError, ErrorKind};
    let what = format!("cannot use {}", path.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Locked { what: path.display().to_string() },
        Some(ErrorCode::DiskFull) => Error::io(what, IoError::new(ErrorKind::StorageFull, error)),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            Error::io(what, IoError::new(ErrorKind::PermissionDenied, error))
        }
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::OperationAborted
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport,
        ) => Error::io(what, IoError::other(error)),
        // The rest is about the content: pages, tables and values that this module does not write.
        _ => damaged(path),
    }
}
