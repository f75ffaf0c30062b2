//! The index: one SQLite row for every shard, and the bytes of small ones.
//!
//! Invariant: `accounts` is the sum of `shards`, kept by triggers in the same transaction.

use std::ops::RangeInclusive;
use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::id::{NoiseKey, ShardId, ShardRoot};
use crate::rt::Timestamp;
use crate::store::{ShardKey, ShardState, StoredShard};

macro_rules! select {
    () => {
        "SELECT id, cap_pk, idx, generation, account, root, len, lease, state, free_at, small FROM shards "
    };
}
/// Where the bytes of a shard are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file of their own.
    File,
    /// In this row of the table `small`.
    Row(i64),
}

/// A shard and where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indexed {
    pub(super) shard: StoredShard,
    pub(super) place: Place,
}

/// A connection to the index.
pub(super) struct Index {
    pub(super) connection: Connection,
}

/// What a database holds when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Nothing: it was made just now.
    New,
    /// What an earlier process left.
    Old,
    /// A version that this one does not know.
    Future,
}

impl Index {
    /// The connection that writes; makes the tables in a new database.
    pub(super) fn open(path: &Path) -> rusqlite::Result<(Self, Age)> {
        let index = Self::connect(path)?;
        index.connection.pragma_update(None, "wal_autocheckpoint", 8_192)?;
        index.connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        let age = match index.connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? {
            0 => Age::New,
            VERSION => Age::Old,
            _ => Age::Future,
        };
        if age == Age::New {
            let schema = format!("BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT");
            index.connection.execute_batch(&schema)?;
        }
        if age != Age::Future {
            index.connection.execute_batch(super::copies::SCHEMA)?;
        }
        Ok((index, age))
    }

    /// A connection that reads. What was committed before a call is seen by it.
    pub(super) fn connect(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.busy_timeout(std::time::Duration::from_secs(60))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { connection })
    }

    /// Runs SQL that has no parameters and no result.
    pub(super) fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Whether SQLite itself ended the transaction after a failure.
    pub(super) fn has_no_transaction(&self) -> bool {
        self.connection.is_autocommit()
    }

    pub(super) fn find(&self, id: ShardId) -> rusqlite::Result<Option<Indexed>> {
        let sql = concat!(select!(), "WHERE id = ?1");
        self.connection.prepare_cached(sql)?.query_row([id.as_bytes()], indexed).optional()
    }

    /// The shards after `after` in order of id, at most `limit`.
    pub(super) fn after(&self, after: Option<ShardId>, limit: u32) -> rusqlite::Result<Vec<Indexed>> {
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        let sql = concat!(select!(), "WHERE id > ?1 ORDER BY id LIMIT ?2");
        self.connection.prepare_cached(sql)?.query_map(params![after, limit], indexed)?.collect()
    }

    /// The shards whose id starts with this byte.
    pub(super) fn with_prefix(&self, prefix: u8) -> rusqlite::Result<Vec<Indexed>> {
        let until = concat!(select!(), "WHERE id >= ?1 AND id < ?2");
        let to_the_end = concat!(select!(), "WHERE id >= ?1");
        match prefix.checked_add(1) {
            Some(next) => self.connection.prepare_cached(until)?.query_map([[prefix], [next]], indexed)?.collect(),
            None => self.connection.prepare_cached(to_the_end)?.query_map([[prefix]], indexed)?.collect(),
        }
    }

    /// Shards that are due to be freed, at most `limit`: see [`StoredShard::is_due`].
    pub(super) fn due(&self, now: Timestamp, floor: Timestamp, limit: u32) -> rusqlite::Result<Vec<Indexed>> {
        let mut due = Vec::new();
        let retired = concat!(select!(), "WHERE state = 1 AND free_at <= ?1 LIMIT ?2");
        let leased = concat!(select!(), "WHERE state <> 1 AND lease < ?1 LIMIT ?2");
        for (sql, time) in [(retired, now), (leased, floor)] {
            let mut statement = self.connection.prepare_cached(sql)?;
            for row in statement.query_map(params![from_time(time), limit], indexed)? {
                due.push(row?);
            }
        }
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(due)
    }

    /// Adds a shard; `bytes` for one that is kept here.
    pub(super) fn insert(&self, shard: &StoredShard, bytes: Option<&[u8]>) -> rusqlite::Result<()> {
        let row = match bytes {
            Some(bytes) => {
                self.connection.prepare_cached("INSERT INTO small (bytes) VALUES (?1)")?.execute([bytes])?;
                Some(self.connection.last_insert_rowid())
            }
            None => None,
        };
        let (state, free_at) = from_state(shard.state);
        let key = &shard.key;
        self.connection
            .prepare_cached("INSERT INTO shards VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?
            .execute(params![
                key.id.as_bytes(),
                key.cap_pk,
                key.index,
                key.generation,
                key.account.as_bytes(),
                shard.root.as_bytes(),
                i64::try_from(shard.len).unwrap_or(i64::MAX),
                from_time(shard.lease_until),
                state,
                free_at,
                row,
            ])
            .map(drop)
    }

    /// Writes the lease and the state of a shard.
    pub(super) fn update(&self, shard: &StoredShard) -> rusqlite::Result<()> {
        let (state, free_at) = from_state(shard.state);
        self.connection
            .prepare_cached("UPDATE shards SET lease = ?2, state = ?3, free_at = ?4 WHERE id = ?1")?
            .execute(params![shard.key.id.as_bytes(), from_time(shard.lease_until), state, free_at])
            .map(drop)
    }

    /// Removes a shard, and its bytes if they are here.
    pub(super) fn delete(&self, old: &Indexed) -> rusqlite::Result<()> {
        if let Place::Row(row) = old.place {
            self.connection.prepare_cached("DELETE FROM small WHERE row = ?1")?.execute([row])?;
        }
        self.connection.prepare_cached("DELETE FROM shards WHERE id = ?1")?.execute([old.shard.key.id.as_bytes()])?;
        Ok(())
    }

    /// The bytes of a small shard.
    pub(super) fn bytes(&self, row: i64) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut statement = self.connection.prepare_cached("SELECT bytes FROM small WHERE row = ?1")?;
        statement.query_row([row], |row| row.get(0)).optional()
    }

    /// Notes that the files of `id` are nobody's any more.
    pub(super) fn note_freed(&self, id: ShardId) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO freed VALUES (?1)";
        self.connection.prepare_cached(sql)?.execute([id.as_bytes()]).map(drop)
    }

    pub(super) fn is_freed(&self, id: ShardId) -> rusqlite::Result<bool> {
        self.connection.prepare_cached("SELECT 1 FROM freed WHERE id = ?1")?.exists([id.as_bytes()])
    }

    pub(super) fn freed(&self, limit: u32) -> rusqlite::Result<Vec<ShardId>> {
        let mut statement = self.connection.prepare_cached("SELECT id FROM freed LIMIT ?1")?;
        statement.query_map([limit], |row| row.get(0).map(ShardId::new))?.collect()
    }

    pub(super) fn freed_with_prefix(&self, prefix: u8) -> rusqlite::Result<Vec<ShardId>> {
        let mut statement = self.connection.prepare_cached("SELECT id FROM freed WHERE substr(id, 1, 1) = ?1")?;
        statement.query_map([[prefix]], |row| row.get(0).map(ShardId::new))?.collect()
    }

    pub(super) fn forget_freed(&self, id: ShardId) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM freed WHERE id = ?1")?.execute([id.as_bytes()]).map(drop)
    }

    /// Bytes and number of all shards.
    pub(super) fn total(&self) -> rusqlite::Result<(u64, u64)> {
        let sql = "SELECT coalesce(sum(bytes), 0), coalesce(sum(shards), 0) FROM accounts";
        self.connection.prepare_cached(sql)?.query_row([], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))
    }

    /// Writes a page that stays as it is.
    pub(super) fn touch(&self) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "user_version", VERSION)
    }

    /// The number of quarantined shards.
    pub(super) fn damaged(&self) -> rusqlite::Result<u64> {
        let sql = "SELECT count(*) FROM shards WHERE state = 2";
        self.connection.prepare_cached(sql)?.query_row([], |row| unsigned(row, 0))
    }

    /// Bytes and number of the shards of these accounts together.
    pub(super) fn accounts(&self, accounts: &RangeInclusive<NoiseKey>) -> rusqlite::Result<(u64, u64)> {
        let sql =
            "SELECT coalesce(sum(bytes), 0), coalesce(sum(shards), 0) FROM accounts WHERE account BETWEEN ?1 AND ?2";
        let range = [accounts.start().as_bytes(), accounts.end().as_bytes()];
        self.connection.prepare_cached(sql)?.query_row(range, |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))
    }

    /// Touches the pages that [`Index::with_prefix`] does not, but not the bytes of the shards.
    pub(super) fn check_pages(&self) -> rusqlite::Result<()> {
        for sql in [
            "SELECT count(row) FROM small",
            "SELECT count(id) FROM freed",
            "SELECT sum(bytes) FROM accounts",
            "SELECT sum(free_at & 1) FROM shards INDEXED BY retired WHERE state = 1",
            "SELECT sum(lease & 1) FROM shards INDEXED BY leased WHERE state <> 1",
            "SELECT count(id) FROM shards INDEXED BY quarantined WHERE state = 2",
            "SELECT sum(bytes) FROM copy_accounts",
            "SELECT sum(lease & 1) FROM copies INDEXED BY copies_leased",
        ] {
            self.connection.query_row(sql, [], |_| Ok(()))?;
        }
        Ok(())
    }
}

fn indexed(row: &Row<'_>) -> rusqlite::Result<Indexed> {
    let key = ShardKey {
        id: ShardId::new(row.get(0)?),
        cap_pk: row.get(1)?,
        index: row.get(2)?,
        generation: row.get(3)?,
        account: NoiseKey::new(row.get(4)?),
    };
    let state = match row.get(8)? {
        0 => ShardState::Live,
        1 => ShardState::Retired(Timestamp::from_millis(unsigned(row, 9)?)),
        2 => ShardState::Quarantined,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(8, other)),
    };
    let shard = StoredShard {
        key,
        root: ShardRoot::new(row.get(5)?),
        len: unsigned(row, 6)?,
        lease_until: Timestamp::from_millis(unsigned(row, 7)?),
        state,
    };
    let place = row.get::<_, Option<i64>>(10)?.map_or(Place::File, Place::Row);
    Ok(Indexed { shard, place })
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, error.into()))
}

fn from_state(state: ShardState) -> (i64, i64) {
    match state {
        ShardState::Live => (0, 0),
        ShardState::Retired(free_at) => (1, from_time(free_at)),
        ShardState::Quarantined => (2, 0),
    }
}

/// SQLite has no unsigned numbers: the last 292 million years before the end of time are one moment.
pub(super) fn from_time(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE shards (
        id BLOB PRIMARY KEY, cap_pk BLOB NOT NULL, idx INTEGER NOT NULL, generation INTEGER NOT NULL,
        account BLOB NOT NULL, root BLOB NOT NULL, len INTEGER NOT NULL, lease INTEGER NOT NULL,
        state INTEGER NOT NULL, free_at INTEGER NOT NULL, small INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX retired ON shards (free_at) WHERE state = 1;
    CREATE INDEX leased ON shards (lease) WHERE state <> 1;
    CREATE INDEX quarantined ON shards (id) WHERE state = 2;
    CREATE TABLE small (row INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
    CREATE TABLE freed (id BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE accounts (account BLOB PRIMARY KEY, bytes INTEGER NOT NULL, shards INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TRIGGER added AFTER INSERT ON shards BEGIN
        INSERT INTO accounts VALUES (new.account, new.len, 1)
            ON CONFLICT (account) DO UPDATE SET bytes = bytes + new.len, shards = shards + 1;
    END;
    CREATE TRIGGER removed AFTER DELETE ON shards BEGIN
        UPDATE accounts SET bytes = bytes - old.len, shards = shards - 1 WHERE account = old.account;
        DELETE FROM accounts WHERE account = old.account AND shards = 0;
    END;
";
