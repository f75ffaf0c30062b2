//! Entries as rows: every value read is checked, so that a damaged file is told and never believed.

use std::path::Path;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, ToSql};

use super::super::write::{Slot, Slots};
use super::super::{Entry, EventKind, LedgerError, MAX_HISTORY_LEN, MAX_PAGE_LEN, MAX_RECORD_LEN, Page};
use super::failure::Failure;
use crate::id::{FileId, OwnerId};
use crate::rt::Timestamp;

/// The tables of the ledger file at `path`, as one connection sees them.
pub(super) struct Tables<'a> {
    pub(super) connection: &'a Connection,
    pub(super) path: &'a Path,
}

impl Tables<'_> {
    pub(super) fn newest(&self, file: FileId) -> Result<Option<Entry>, Failure> {
        self.checked(|| {
            let mut statement = self.prepare(
                "SELECT file_id, version, owner, kind, seq, written, record FROM event
                 WHERE file_id = ?1 ORDER BY version DESC LIMIT 1",
            )?;
            statement.query_row([file.as_bytes()], entry).optional()
        })
    }

    pub(super) fn history(&self, file: FileId) -> Result<Vec<Entry>, Failure> {
        self.checked(|| {
            let statement = self.prepare(
                "SELECT file_id, version, owner, kind, seq, written, record FROM event
                 WHERE file_id = ?1 ORDER BY version DESC LIMIT ?2",
            )?;
            entries(statement, (file.as_bytes(), rows(MAX_HISTORY_LEN)))
        })
    }

    pub(super) fn page(&self, owner: OwnerId, cursor: Option<FileId>) -> Result<Page, Failure> {
        let start = cursor.unwrap_or(FileId::new([0; 32]));
        let mut entries = self.checked(|| {
            // A left join: a live file without its event must be reported, not skipped.
            let statement = self.prepare(
                "SELECT event.file_id, event.version, event.owner, kind, seq, written, record
                 FROM live LEFT JOIN event ON event.file_id = live.file_id AND event.version = live.version
                 WHERE live.owner = ?1 AND live.file_id >= ?2 ORDER BY live.file_id LIMIT ?3",
            )?;
            entries(statement, (owner.as_bytes(), start.as_bytes(), rows(MAX_PAGE_LEN + 1)))
        })?;
        if entries.iter().any(|entry| entry.owner != owner || !entry.is_live()) {
            return Err(Failure::Damaged(format!("{}: its list names a file that is not live", self.path.display())));
        }
        let next = entries.get(MAX_PAGE_LEN).map(|entry| entry.file_id);
        entries.truncate(MAX_PAGE_LEN);
        Ok(Page { entries, next })
    }

    pub(super) fn insert(&self, entry: &Entry) -> Result<(), Failure> {
        let (owner, file) = (entry.owner.as_bytes(), entry.file_id.as_bytes());
        self.checked(|| {
            self.prepare(
                "INSERT INTO event (file_id, version, owner, kind, seq, written, record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                file,
                entry.version,
                owner,
                Kind(entry.kind),
                Count(entry.seq),
                Count(entry.written.as_millis()),
                &entry.record,
            ))?;
            if entry.is_live() {
                self.prepare("INSERT OR REPLACE INTO live (owner, file_id, version) VALUES (?1, ?2, ?3)")?.execute((
                    owner,
                    file,
                    entry.version,
                ))
            } else {
                self.prepare("DELETE FROM live WHERE owner = ?1 AND file_id = ?2")?.execute((owner, file))
            }
        })?;
        Ok(())
    }

    fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql)
    }

    fn checked<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, Failure> {
        work().map_err(|error| Failure::new(self.path, error))
    }
}

impl Slots for Tables<'_> {
    fn slot(&self, file: FileId) -> Result<Slot, LedgerError> {
        let slot = |row: &Row<'_>| Ok(Slot { version: row.get(0)?, live: row.get::<_, Kind>(1)?.0.is_live() });
        let found = self.checked(|| {
            let mut statement =
                self.prepare("SELECT version, kind FROM event WHERE file_id = ?1 ORDER BY version DESC LIMIT 1")?;
            statement.query_row([file.as_bytes()], slot).optional()
        })?;
        Ok(found.unwrap_or_default())
    }

    fn last_seq(&self, owner: OwnerId) -> Result<u64, LedgerError> {
        let highest = self.checked(|| {
            let mut statement = self.prepare("SELECT coalesce(max(seq), 0) FROM event WHERE owner = ?1")?;
            statement.query_row([owner.as_bytes()], |row| row.get::<_, Count>(0))
        })?;
        Ok(highest.0)
    }
}

fn entries(mut statement: CachedStatement<'_>, parameters: impl Params) -> rusqlite::Result<Vec<Entry>> {
    statement.query_map(parameters, entry)?.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let entry = Entry {
        file_id: FileId::new(row.get(0)?),
        version: row.get(1)?,
        owner: OwnerId::new(row.get(2)?),
        kind: row.get::<_, Kind>(3)?.0,
        seq: row.get::<_, Count>(4)?.0,
        written: Timestamp::from_millis(row.get::<_, Count>(5)?.0),
        record: row.get::<_, Record>(6)?.0,
    };
    // Each live version has a record, and no other has one.
    if entry.is_live() == entry.record.is_empty() {
        return Err(out_of_range(entry.record.len()).into());
    }
    Ok(entry)
}

struct Kind(EventKind);

impl ToSql for Kind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0 as u8))
    }
}

impl FromSql for Kind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let kinds = [EventKind::Put, EventKind::RenamedHere, EventKind::Removed, EventKind::RenamedAway];
        let number = value.as_i64()?;
        kinds.into_iter().find(|kind| *kind as i64 == number).map(Self).ok_or(FromSqlError::OutOfRange(number))
    }
}

/// A number that SQLite, whose integers are signed, can hold.
struct Count(u64);

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let number = i64::try_from(self.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(ToSqlOutput::from(number))
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// A record whose length was checked before it was copied.
struct Record(Vec<u8>);

impl FromSql for Record {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        if bytes.len() > MAX_RECORD_LEN {
            return Err(out_of_range(bytes.len()));
        }
        Ok(Self(bytes.to_vec()))
    }
}

/// A number of rows or bytes, as SQLite counts.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn out_of_range(len: usize) -> FromSqlError {
    FromSqlError::OutOfRange(rows(len))
}
