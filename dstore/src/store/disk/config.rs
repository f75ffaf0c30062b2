//! What a disk store may take of its disk.

/// How a [`DiskStore`](super::DiskStore) uses its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskStoreConfig {
    /// The most bytes of shards to hold. Unit: bytes; default: no limit. Hashes and the index take about 0.5 % more
    /// than the shards themselves, which this does not count.
    pub capacity: u64,
    /// Shards of up to this length that arrive in one piece are kept in the index database, where many are made
    /// durable by one write to the disk. Unit: bytes; default: 48 KiB; useful: 0 (a file for every shard) to 1 MiB.
    /// Cost: they are written twice, and are lost if the database is.
    pub inline_max: usize,
    /// Bytes of the disk that stay free, whoever fills it: below this nothing is taken. Unit: bytes; default: 1 GiB.
    /// Measured once a second.
    pub free_floor: u64,
}

impl Default for DiskStoreConfig {
    fn default() -> Self {
        Self { capacity: u64::MAX, inline_max: 48 << 10, free_floor: 1 << 30 }
    }
}

impl DiskStoreConfig {
    /// The defaults: no limit but the disk's own, and 1 GiB of it stays free.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`capacity`](Self::capacity).
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// Sets [`inline_max`](Self::inline_max).
    #[must_use]
    pub fn inline_max(mut self, bytes: usize) -> Self {
        self.inline_max = bytes;
        self
    }

    /// Sets [`free_floor`](Self::free_floor).
    #[must_use]
    pub fn free_floor(mut self, bytes: u64) -> Self {
        self.free_floor = bytes;
        self
    }
}
