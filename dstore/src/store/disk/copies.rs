//! Copies of records in the index database: one row for each address, with its versions.
//!
//! Invariant: `copy_accounts` is the sum of `copies`, kept by triggers in the same transaction. An index that is lost
//! loses them: clients write them again with the next version or renewal of a file.

use std::ops::RangeInclusive;

use rusqlite::{OptionalExtension, Row, params};

use super::commit::Batch;
use super::failure::of_index;
use super::index::{Index, from_time, unsigned};
use super::{DiskStore, SWEEP_MAX};
use crate::id::{CopyId, NoiseKey};
use crate::rt::{BoxFuture, Timestamp};
use crate::store::StoreError;
use crate::store::copies::{CopyStore, NewCopy, StoredCopy};

/// Made in every database, also one of an earlier version, which had none of it.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS copies (
        id BLOB NOT NULL UNIQUE, holder BLOB NOT NULL, account BLOB NOT NULL, lease INTEGER NOT NULL,
        version INTEGER NOT NULL, body BLOB NOT NULL, older INTEGER, older_body BLOB
    );
    CREATE UNIQUE INDEX IF NOT EXISTS copies_listed ON copies (holder, id);
    CREATE INDEX IF NOT EXISTS copies_leased ON copies (lease);
    CREATE TABLE IF NOT EXISTS copy_accounts (
        account BLOB PRIMARY KEY, bytes INTEGER NOT NULL, copies INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TRIGGER IF NOT EXISTS copy_added AFTER INSERT ON copies BEGIN
        INSERT INTO copy_accounts VALUES (new.account, length(new.body) + coalesce(length(new.older_body), 0), 1)
            ON CONFLICT (account) DO UPDATE SET bytes = bytes + excluded.bytes, copies = copies + 1;
    END;
    CREATE TRIGGER IF NOT EXISTS copy_removed AFTER DELETE ON copies BEGIN
        UPDATE copy_accounts SET
            bytes = bytes - length(old.body) - coalesce(length(old.older_body), 0), copies = copies - 1
            WHERE account = old.account;
        DELETE FROM copy_accounts WHERE account = old.account AND copies = 0;
    END;
";

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, account, lease, version, body, older, older_body, holder FROM copies ", $rest)
    };
}

impl Index {
    fn copy(&self, id: CopyId) -> rusqlite::Result<Option<StoredCopy>> {
        self.connection.prepare_cached(select!("WHERE id = ?1"))?.query_row([id.as_bytes()], stored).optional()
    }

    fn copies(&self, holder: NoiseKey, after: Option<CopyId>, budget: u64) -> rusqlite::Result<Vec<StoredCopy>> {
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        let mut statement = self.connection.prepare_cached(select!("WHERE holder = ?1 AND id > ?2 ORDER BY id"))?;
        let (mut copies, mut bytes) = (Vec::new(), 0);
        for copy in statement.query_map(params![holder.as_bytes(), after], stored)? {
            let copy = copy?;
            bytes += copy.len();
            if bytes > budget && !copies.is_empty() {
                break;
            }
            copies.push(copy);
        }
        Ok(copies)
    }

    fn replace_copy(&self, copy: &StoredCopy) -> rusqlite::Result<()> {
        // Not an upsert: the triggers are for rows that come and go.
        self.delete_copy(copy.id)?;
        let (version, body) = &copy.newest;
        let (older, older_body) = copy.older.as_ref().map(|(version, body)| (version, body)).unzip();
        self.connection
            .prepare_cached("INSERT INTO copies VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(params![
                copy.id.as_bytes(),
                copy.holder.as_bytes(),
                copy.account.as_bytes(),
                from_time(copy.lease_until),
                version,
                body,
                older,
                older_body,
            ])
            .map(drop)
    }

    fn delete_copy(&self, id: CopyId) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM copies WHERE id = ?1")?.execute([id.as_bytes()]).map(drop)
    }

    /// Copies whose lease ended before `floor`, and their bytes.
    fn due_copies(&self, floor: Timestamp, limit: u32) -> rusqlite::Result<Vec<(CopyId, u64)>> {
        let sql = "SELECT id, length(body) + coalesce(length(older_body), 0) FROM copies WHERE lease < ?1 LIMIT ?2";
        let due = |row: &Row<'_>| Ok((CopyId::new(row.get(0)?), unsigned(row, 1)?));
        self.connection.prepare_cached(sql)?.query_map(params![from_time(floor), limit], due)?.collect()
    }

    /// Bytes of all copies.
    pub(super) fn copy_bytes(&self) -> rusqlite::Result<u64> {
        let sql = "SELECT coalesce(sum(bytes), 0) FROM copy_accounts";
        self.connection.prepare_cached(sql)?.query_row([], |row| unsigned(row, 0))
    }

    /// Bytes and number of the copies of these accounts together.
    pub(super) fn copy_accounts(&self, accounts: &RangeInclusive<NoiseKey>) -> rusqlite::Result<(u64, u64)> {
        let sql = "SELECT coalesce(sum(bytes), 0), coalesce(sum(copies), 0) FROM copy_accounts
            WHERE account BETWEEN ?1 AND ?2";
        let range = [accounts.start().as_bytes(), accounts.end().as_bytes()];
        self.connection.prepare_cached(sql)?.query_row(range, |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredCopy> {
    let older = row.get::<_, Option<u32>>(5)?;
    Ok(StoredCopy {
        id: CopyId::new(row.get(0)?),
        holder: NoiseKey::new(row.get(7)?),
        account: NoiseKey::new(row.get(1)?),
        lease_until: Timestamp::from_millis(unsigned(row, 2)?),
        newest: (row.get(3)?, row.get(4)?),
        older: match older {
            Some(version) => Some((version, row.get(6)?)),
            None => None,
        },
    })
}

impl Batch<'_> {
    fn put_copy(&mut self, new: NewCopy) -> Result<StoredCopy, StoreError> {
        let old = self.index.copy(new.id).map_err(of_index)?;
        let before = old.as_ref().map_or(0, StoredCopy::len);
        let kept = StoredCopy::after(old.clone(), new);
        if old.as_ref() == Some(&kept) {
            return Ok(kept);
        }
        let after = kept.len();
        let room = self.space.reserve_copy(kept.account, after.saturating_sub(before))?;
        self.index.replace_copy(&kept).map_err(of_index)?;
        self.once_durable(move || room.settle_copy(before, after));
        Ok(kept)
    }

    fn free_copies(&mut self, floor: Timestamp) -> Result<u64, StoreError> {
        let due = self.index.due_copies(floor, SWEEP_MAX).map_err(of_index)?;
        for (id, bytes) in &due {
            self.index.delete_copy(*id).map_err(of_index)?;
            let (space, bytes) = (std::sync::Arc::clone(self.space), *bytes);
            self.once_durable(move || space.freed_copy(bytes));
        }
        Ok(due.len() as u64)
    }
}

impl CopyStore for DiskStore {
    fn put_copy(&self, new: NewCopy) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        Box::pin(async move { self.commit().run(move |batch| batch.put_copy(new)).await })
    }

    fn copy(&self, id: CopyId) -> BoxFuture<'_, Result<StoredCopy, StoreError>> {
        let read = move |index: &Index| index.copy(id).map_err(of_index)?.ok_or(StoreError::NotFound);
        Box::pin(self.job(move |disk| disk.index(read)))
    }

    fn copies(
        &self,
        holder: NoiseKey,
        after: Option<CopyId>,
        budget: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredCopy>, StoreError>> {
        let read = move |index: &Index| index.copies(holder, after, budget).map_err(of_index);
        Box::pin(self.job(move |disk| disk.index(read)))
    }

    fn count_copies(&self, account: NoiseKey) -> BoxFuture<'_, Result<u64, StoreError>> {
        let read = move |index: &Index| index.copy_accounts(&(account..=account)).map_err(of_index);
        Box::pin(self.job(move |disk| Ok(disk.index(read)?.1)))
    }

    fn sweep_copies(&self, lease_floor: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.commit().run(move |batch| batch.free_copies(lease_floor)).await })
    }
}
