//! The file of a local ledger: made whole or not at all, and refused unless it is one of ours.
//!
//! The file is never opened but through SQLite: closing any other descriptor of it would drop SQLite's locks.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::Error;
use crate::id::LedgerId;
use crate::ledger::LedgerError;
use crate::rt::Rt;

/// How long a write waits for those of other processes.
pub(super) const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// "dslg", in the header of every ledger file.
const APPLICATION_ID: i32 = 0x6473_6c67;

const FORMAT_VERSION: i32 = 1;

/// `event` is the truth; `live` repeats the version of each live file, so that a listing reads nothing else.
const SCHEMA: &str = "
    CREATE TABLE ledger (id BLOB NOT NULL) STRICT;
    CREATE TABLE event (
        file_id BLOB NOT NULL,
        version INTEGER NOT NULL,
        owner BLOB NOT NULL,
        kind INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        written INTEGER NOT NULL,
        record BLOB NOT NULL,
        UNIQUE (file_id, version),
        UNIQUE (owner, seq)
    ) STRICT;
    CREATE TABLE live (
        owner BLOB NOT NULL,
        file_id BLOB NOT NULL,
        version INTEGER NOT NULL,
        PRIMARY KEY (owner, file_id)
    ) STRICT, WITHOUT ROWID;
";

/// An open ledger file.
pub(super) struct Opened {
    pub(super) id: LedgerId,
    pub(super) file: LedgerFile,
    pub(super) writer: Connection,
    pub(super) reader: Connection,
}

/// Which file was opened.
#[derive(Debug, Clone)]
pub(super) struct LedgerFile {
    pub(super) path: PathBuf,
    inode: Option<(u64, u64)>,
}

impl LedgerFile {
    /// Whether the path still leads to the file that was opened: a write to another one would be lost.
    pub(super) fn is_in_place(&self) -> bool {
        self.inode == inode(&self.path)
    }
}

/// Opens the ledger at `path`, and makes it if there is nothing.
pub(super) fn open(path: &Path, rt: &Rt) -> Result<Opened, Error> {
    // Absolute, so that no name has a meaning of its own to SQLite, as `:memory:` has.
    let path = std::path::absolute(path).map_err(|error| Error::io(format!("ledger {}", path.display()), error))?;
    match fs::metadata(&path) {
        Ok(found) if !found.is_file() => {
            return Err(Error::config(format!("ledger {} is not a file: name a file", path.display())));
        }
        Ok(found) if found.len() == 0 => {
            return Err(Error::config(format!(
                "ledger {} is empty: put its copy back, or delete it to begin a new ledger",
                path.display()
            )));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(&path, LedgerId::new(rt.random()), |_, _| Ok(()))?;
        }
        Err(error) => return Err(Error::io(format!("ledger {}", path.display()), error)),
    }
    connect_both(&path).map_err(|error| refused(&path, error))?
}

fn connect_both(path: &Path) -> rusqlite::Result<Result<Opened, Error>> {
    let reader = connect(path)?;
    reader.pragma_update(None, "query_only", true)?;
    let number = |name| reader.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if number("application_id")? != APPLICATION_ID {
        let text = format!("{} is not a dstore ledger: name another file", path.display());
        return Ok(Err(Error::config(text)));
    }
    let version = number("user_version")?;
    if version != FORMAT_VERSION {
        let text = format!(
            "ledger {} has format {version} and this dstore reads format {FORMAT_VERSION}: use the dstore that wrote it",
            path.display()
        );
        return Ok(Err(Error::config(text)));
    }
    let id = LedgerId::new(reader.query_row("SELECT id FROM ledger", (), |row| row.get(0))?);
    let file = LedgerFile { path: path.to_owned(), inode: inode(path) };
    Ok(Ok(Opened { id, file, writer: connect(path)?, reader }))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_LIMIT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // FULL syncs the log at every commit. Where a plain sync stops at the disk's cache (macOS), `fullfsync` does not.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    Ok(connection)
}

/// Makes the ledger `id` at `path` with what `fill` adds to it; false, and nothing is done, when a file is there.
pub(super) fn create_unless_there(
    path: &Path,
    id: LedgerId,
    fill: impl FnOnce(&mut Connection, &Path) -> Result<(), LedgerError>,
) -> Result<bool, Error> {
    let path = std::path::absolute(path).map_err(|error| Error::io(format!("ledger {}", path.display()), error))?;
    if path.exists() { Ok(false) } else { create(&path, id, fill) }
}

/// Builds the file beside its place and moves it there, so that whoever finds it finds it whole.
/// When another process was faster, its file stays: false.
fn create(
    path: &Path,
    id: LedgerId,
    fill: impl FnOnce(&mut Connection, &Path) -> Result<(), LedgerError>,
) -> Result<bool, Error> {
    let folder = path.parent().filter(|folder| folder.is_dir()).ok_or_else(|| {
        Error::config(format!("the folder of ledger {} does not exist: create it first", path.display()))
    })?;
    // SQLite would replay a log left by another file into the new one.
    if let Some(log) = orphan(path) {
        return Err(Error::config(format!(
            "{} is left of a ledger whose file {} is gone: put that file back, or move both away",
            log.display(),
            path.display()
        )));
    }
    let failed = |error| Error::io(format!("cannot create ledger {}", path.display()), error);
    // `tempfile` makes it with mode 0600, and SQLite gives its log the mode of the file.
    let file = tempfile::Builder::new().prefix(".ledger-").tempfile_in(folder).map_err(failed)?;
    let mut connection = begin(file.path(), id).map_err(|error| refused(path, error))?;
    fill(&mut connection, path).map_err(|error| super::restore::failed(path, error))?;
    end(connection).map_err(|error| refused(path, error))?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_folder(folder).map(|()| true).map_err(failed),
        Err(failure) if failure.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(failure) => Err(failed(failure.error)),
    }
}

fn begin(path: &Path, id: LedgerId) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT_VERSION)?;
    connection.execute_batch(SCHEMA)?;
    connection.execute("INSERT INTO ledger (id) VALUES (?1)", [id.as_bytes()])?;
    Ok(connection)
}

fn end(connection: Connection) -> rusqlite::Result<()> {
    // Statements that are kept prepared would hold the file open.
    connection.flush_prepared_statement_cache();
    // One sync a commit, and readers that never wait for a writer. The mode stays in the file.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)
}

fn orphan(path: &Path) -> Option<PathBuf> {
    let found = ["-wal", "-journal"].into_iter().map(|suffix| {
        let mut name = OsString::from(path);
        name.push(suffix);
        PathBuf::from(name)
    });
    // The file may have come after it was looked for: then the log is its own.
    found.into_iter().find(|log| log.exists()).filter(|_| !path.exists())
}

fn refused(path: &Path, error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            return Error::Locked { what: format!("ledger {}", path.display()) };
        }
        Some(ErrorCode::NotADatabase) => {
            return Error::config(format!("{} is not a dstore ledger, or its beginning is damaged", path.display()));
        }
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => io::ErrorKind::PermissionDenied,
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => io::ErrorKind::Other,
        _ => {
            return Error::config(format!(
                "ledger {} is damaged ({error}): put a copy back, or restore it from the storage nodes",
                path.display()
            ));
        }
    };
    Error::io(format!("ledger {}", path.display()), io::Error::new(kind, error))
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn inode(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn inode(_: &Path) -> Option<(u64, u64)> {
    None
}
