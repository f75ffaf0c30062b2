//! What the contract says of files: the slot by a call, the record from the events of one block, which no provider limits.
//!
//! Invariant: an entry has the version that the slot names; what a provider leaves out is missed, never overlooked.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_lock::OnceCell;
use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{Address, BlockNumber, Bytes, Eip1559TransactionRequest, H256, U64};
use ethers_core::utils::keccak256;
use ethers_providers::Middleware;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::abi::{self, ARTIFACT, Event, Slot};
use super::rpc::{CATCH_UP, Head, MAX_LAG, Rpc};
use crate::error::ChainProblem;
use crate::id::{ContractId, FileId, OwnerId};
use crate::ledger::{Entry, Finality, LedgerError, MAX_HISTORY_LEN, MAX_PAGE_LEN, Page, Written};
use crate::rt::Timestamp;

/// How often a record that is not given out is asked for again.
const TRIES: usize = 3;
/// The most writes of an owner that are read.
const MAX_EVENTS: u64 = 1 << 20;
/// Bytes of records that are read of an owner.
const MAX_RECORDS_LEN: usize = 256 << 20;
/// Slots that are asked for at once.
const MAX_SLOTS: usize = 256;
/// Blocks that are looked at for the versions of one file.
const MAX_WALK: usize = 4096;
/// For how long events are asked for once only, after nobody gave any.
const REST: Duration = Duration::from_secs(30);
/// Files whose versions are remembered, so that older ones are not believed.
const MAX_SEEN: usize = 1 << 16;
/// Blocks whose time is asked for at once.
const TIMES_AT_ONCE: usize = 8;

/// The contract, read.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) rpc: Arc<Rpc>,
    contract: Address,
    checked: OnceCell<()>,
    /// The highest confirmed version of each file that was shown, and the newest block then.
    seen: Mutex<HashMap<FileId, (u32, u64)>>,
    /// The blocks of the newest writes of this ledger.
    landed: Mutex<HashMap<FileId, (Written, u64)>>,
    /// Until when events are asked for once only, milliseconds of uptime: nobody gave any lately.
    silent_until: AtomicU64,
    listed: Mutex<Option<Arc<Listing>>>,
}

/// All live files of an owner, as of one block.
#[derive(Debug)]
struct Listing {
    owner: OwnerId,
    at: (u64, u64, Option<H256>),
    /// In the order of their ids.
    entries: Vec<Entry>,
}

/// A log, with what newer providers tell of its block.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    address: Address,
    topics: Vec<H256>,
    data: Bytes,
    block_number: Option<U64>,
    #[serde(default)]
    block_timestamp: Option<U64>,
    #[serde(default)]
    removed: bool,
}

impl Reader {
    pub(super) fn new(rpc: Arc<Rpc>, contract: ContractId) -> Self {
        let contract = Address::from(*contract.as_bytes());
        Self {
            rpc,
            contract,
            checked: OnceCell::new(),
            seen: Mutex::default(),
            landed: Mutex::default(),
            silent_until: AtomicU64::new(0),
            listed: Mutex::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<FileId, (u32, u64)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That the contract is the one that this program knows, on a chain that numbers blocks as it does. Asked once.
    pub(super) async fn check(&self) -> Result<(), LedgerError> {
        let checked = self.checked.get_or_try_init(|| async {
            let address = self.contract;
            let code = code_at(&self.rpc, address).await?;
            is_ours(self.contract, self.rpc.config.chain.name, &code)?;
            numbers_blocks(&self.rpc).await
        });
        checked.await.copied()
    }

    fn transaction(&self, data: &Bytes) -> TypedTransaction {
        Eip1559TransactionRequest::new().to(self.contract).data(data.clone()).into()
    }

    async fn call<T: PartialEq>(
        &self,
        data: Bytes,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<(Head, T), LedgerError> {
        self.check().await?;
        let call = &self.transaction(&data);
        let asked = self.rpc.agreed(|provider, at| async move { provider.call(call, Some(at)).await }).await;
        let (head, answer) = asked?;
        let decoded = decode(&answer).map(|decoded| (head, decoded));
        decoded.ok_or_else(|| unusable("the RPC provider answers a call with something else".to_owned()))
    }

    /// The slots of `files`, all at one block.
    pub(super) async fn slots(&self, files: &[FileId]) -> Result<(Head, Vec<Slot>), LedgerError> {
        self.call(abi::get_many(files), |answer| abi::slots(answer, files.len())).await
    }

    /// The slot of a file, which is not older than what was shown before.
    async fn slot(&self, file: FileId) -> Result<(Head, Slot), LedgerError> {
        let started = self.rpc.rt().uptime();
        loop {
            let (head, slots) = self.slots(&[file]).await?;
            let (slot, seen) = (slots[0], self.seen_of(file));
            if slot.version >= seen {
                self.note(file, slot, head);
                return Ok((head, slot));
            }
            if self.rpc.rt().uptime().saturating_sub(started) > CATCH_UP {
                let noted = self.seen().get(&file).map_or(0, |(_, head)| *head);
                if head.number <= self.confirmed_at(noted) {
                    return Err(LedgerError::Stale { version: slot.version, seen });
                }
                // The chain has gone on without it for longer than it takes to confirm what it has now.
                tracing::warn!(%file, version = slot.version, seen, "a reorg took a version that had been confirmed");
                self.seen().remove(&file);
            }
            self.rpc.pause().await;
        }
    }

    pub(super) fn seen_of(&self, file: FileId) -> u32 {
        self.seen().get(&file).map_or(0, |(version, _)| *version)
    }

    fn note(&self, file: FileId, slot: Slot, head: Head) {
        let mut seen = self.seen();
        if self.is_confirmed(slot, head) && (seen.len() < MAX_SEEN || seen.contains_key(&file)) {
            let known = seen.entry(file).or_default();
            *known = (*known).max((slot.version, head.number));
        }
    }

    fn is_confirmed(&self, slot: Slot, head: Head) -> bool {
        slot.block.saturating_add(self.rpc.config.chain.confirmations) <= head.number + 1
    }

    pub(super) async fn get(&self, file: FileId) -> Result<Option<Entry>, LedgerError> {
        let (_, slot) = self.slot(file).await?;
        if slot.version == 0 {
            return Ok(None);
        }
        let event = match self.event(file, slot).await {
            Err(error @ LedgerError::Chain { .. }) => return Err(error),
            event => event.ok().flatten(),
        };
        let missing = || LedgerError::RecordMissing { version: slot.version, kind: slot.kind };
        Ok(Some(self.entry(event.ok_or_else(missing)?).await?))
    }

    /// The event of the slot's version; `None` when no provider gives it out.
    async fn event(&self, file: FileId, slot: Slot) -> Result<Option<Event>, LedgerError> {
        let topics = json!([abi::topic(), H256::from(*file.as_bytes())]);
        let fits = |event: &Event| {
            (event.file, event.version, event.kind, event.owner) == (file, slot.version, slot.kind, slot.owner)
        };
        let (rt, started) = (self.rpc.rt(), self.rpc.rt().uptime());
        loop {
            let events = self.logs(&topics, slot.block, slot.block).await.inspect_err(|error| {
                tracing::warn!(%error, block = slot.block, "no RPC provider gives out events");
            })?;
            let mut fitting = events.into_iter().filter(|event| fits(event));
            match (fitting.next(), fitting.next()) {
                (Some(event), None) => return Ok(Some(event)),
                (Some(_), Some(_)) => return Err(contradiction("the record of a file")),
                (None, _) => {}
            }
            // Where nobody gave any lately, nobody does so soon.
            let now = rt.uptime();
            if now < Duration::from_millis(self.silent_until.load(Ordering::Relaxed)) {
                return Ok(None);
            }
            if now.saturating_sub(started) > CATCH_UP {
                let until = u64::try_from((now + REST).as_millis()).unwrap_or(u64::MAX);
                self.silent_until.store(until, Ordering::Relaxed);
                return Ok(None);
            }
            self.rpc.pause().await;
        }
    }

    /// The contract's events with these topics in these blocks, of all providers together, in the order of their numbers:
    /// where one leaves some out, another one has them.
    async fn logs(&self, topics: &serde_json::Value, from: u64, to: u64) -> Result<Vec<Event>, LedgerError> {
        let filter = json!([{
            "address": self.contract, "topics": topics, "fromBlock": U64::from(from), "toBlock": U64::from(to),
        }]);
        let filter = &filter;
        let ask = |provider: &'_ ethers_providers::Provider<super::http::Http>| {
            let provider = provider.clone();
            async move { provider.request::<_, Vec<Log>>("eth_getLogs", filter).await }
        };
        let (mut logs, mut failed) = (Vec::new(), None);
        for (_, answer) in self.rpc.all(ask).await {
            match answer {
                Ok(answer) => logs.push(answer),
                Err(error) => failed = Some(error),
            }
        }
        if let (true, Some(error)) = (logs.is_empty(), failed) {
            return Err(error);
        }
        let logs = logs.into_iter().flatten();
        let ours = logs.filter(|log| !log.removed && log.address == self.contract);
        let mut events: Vec<Event> = ours
            .filter_map(|log| {
                let block = log.block_number?.as_u64();
                let time = log.block_timestamp.map(|seconds| seconds.as_u64().saturating_mul(1000));
                abi::event(log.topics, log.data.to_vec(), block, time).filter(|_| (from..=to).contains(&block))
            })
            .collect();
        events.sort_by(|one, other| (one.seq, &one.record).cmp(&(other.seq, &other.record)));
        events.dedup_by(|one, other| one.is_same(other));
        Ok(events)
    }

    async fn entry(&self, event: Event) -> Result<Entry, LedgerError> {
        let written = match event.time {
            Some(time) => Timestamp::from_millis(time),
            None => self.rpc.time(event.block).await?,
        };
        let Event { file: file_id, owner, version, kind, seq, record, .. } = event;
        Ok(Entry { file_id, owner, version, kind, seq, written, record })
    }

    /// One after another would be slow where providers do not tell the time with the event.
    async fn entries(&self, events: Vec<Event>) -> Result<Vec<Entry>, LedgerError> {
        stream::iter(events).map(|event| self.entry(event)).buffered(TIMES_AT_ONCE).try_collect().await
    }

    /// Every version of a file, newest first.
    pub(super) async fn history(&self, file: FileId) -> Result<Vec<Entry>, LedgerError> {
        let (_, slot) = self.slot(file).await?;
        let wanted = MAX_HISTORY_LEN.min(usize::try_from(slot.version).unwrap_or(usize::MAX));
        self.entries(self.versions(file, slot, wanted).await?).await
    }

    /// The events of the newest `wanted` versions of a file, newest first.
    async fn versions(&self, file: FileId, slot: Slot, wanted: usize) -> Result<Vec<Event>, LedgerError> {
        let topics = json!([abi::topic(), H256::from(*file.as_bytes())]);
        let scanned =
            if wanted == 0 { Vec::new() } else { self.logs(&topics, 0, slot.block).await.unwrap_or_default() };
        let mut versions: BTreeMap<u32, Event> = BTreeMap::new();
        let mut take = |events: Vec<Event>| {
            let is_its = |event: &Event| {
                (event.file, event.owner) == (file, slot.owner) && (1..=slot.version).contains(&event.version)
            };
            for event in events.into_iter().filter(is_its) {
                match versions.get(&event.version) {
                    Some(known) if !known.is_same(&event) => return Err(contradiction("a version of a file")),
                    Some(_) => {}
                    None => drop(versions.insert(event.version, event)),
                }
            }
            // Whole when the newest so many are there without a gap.
            let newest = || versions.keys().rev().take(wanted).copied();
            Ok(versions.len() >= wanted && newest().eq((1..=slot.version).rev().take(wanted)))
        };
        if !take(scanned)? {
            // Not all providers search far: block by block each of them answers.
            let missing = || LedgerError::RecordMissing { version: slot.version, kind: slot.kind };
            let (mut block, mut before) = (slot.block, u64::MAX);
            for _ in 0..MAX_WALK {
                let events = self.events_of(slot.owner, block).await?;
                if events.is_empty() {
                    return Err(missing());
                }
                let (previous, first) = previous_block(&events, block, before)?;
                if take(events)? {
                    return Ok(versions.into_values().rev().take(wanted).collect());
                }
                if previous == 0 {
                    break;
                }
                (block, before) = (previous, first);
            }
            return Err(missing());
        }
        Ok(versions.into_values().rev().take(wanted).collect())
    }

    /// All events of an owner in one block in which there are some; none when nobody gives them out.
    async fn events_of(&self, owner: OwnerId, block: u64) -> Result<Vec<Event>, LedgerError> {
        let topics = json!([abi::topic(), null, H256::from(abi::address(owner))]);
        for tried in 0..=TRIES {
            let mut found = self.logs(&topics, block, block).await?;
            found.retain(|event| event.owner == owner);
            if !found.is_empty() {
                return Ok(found);
            }
            if tried < TRIES {
                self.rpc.pause().await;
            }
        }
        Ok(Vec::new())
    }

    pub(super) async fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> Result<Page, LedgerError> {
        let listing = self.listing(owner).await?;
        let start = listing.entries.partition_point(|entry| cursor.is_some_and(|cursor| entry.file_id < cursor));
        let rest = &listing.entries[start..];
        let next = rest.get(MAX_PAGE_LEN).map(|entry| entry.file_id);
        Ok(Page { entries: rest.iter().take(MAX_PAGE_LEN).cloned().collect(), next })
    }

    /// How many writes of `owner` there were.
    pub(super) async fn writes(&self, owner: OwnerId) -> Result<(Head, u64), LedgerError> {
        let (head, (_, count)) = self.call(abi::account(owner), abi::account_of).await?;
        Ok((head, count))
    }

    /// What the owner's events come to; read again only when there are more.
    async fn listing(&self, owner: OwnerId) -> Result<Arc<Listing>, LedgerError> {
        let mut tried = 0;
        loop {
            let (_, (block, count)) = self.call(abi::account(owner), abi::account_of).await?;
            let hash = self.rpc.get(|provider| provider.get_block(block)).await?.and_then(|block| block.hash);
            let at = (block, count, hash);
            let listed = || self.listed.lock().unwrap_or_else(PoisonError::into_inner);
            let is_it = |listing: &Arc<Listing>| listing.owner == owner && listing.at == at && hash.is_some();
            if let Some(listing) = listed().clone().filter(is_it) {
                return Ok(listing);
            }
            let newest = newest(self.all_events(owner, block, count).await?)?;
            tried += 1;
            if !self.are_current(owner, &newest).await? {
                // A write may have come in between, or a reorg.
                if tried == TRIES {
                    return Err(contradiction("the records of this owner"));
                }
                self.rpc.pause().await;
                continue;
            }
            let live = newest.into_values().filter(|event| event.kind.is_live()).collect();
            let listing = Arc::new(Listing { owner, at, entries: self.entries(live).await? });
            *listed() = Some(listing.clone());
            return Ok(listing);
        }
    }

    /// Whether the contract says the same of these files: events come from providers, slots from all that agree.
    async fn are_current(&self, owner: OwnerId, newest: &BTreeMap<FileId, Event>) -> Result<bool, LedgerError> {
        let files: Vec<FileId> = newest.keys().copied().collect();
        for files in files.chunks(MAX_SLOTS) {
            let (_, slots) = self.slots(files).await?;
            let is_same = |(file, slot): (&FileId, &Slot)| {
                newest
                    .get(file)
                    .is_some_and(|event| (event.version, event.kind, owner) == (slot.version, slot.kind, slot.owner))
            };
            if !files.iter().zip(&slots).all(is_same) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All `count` events of an owner, the last of them in `block`.
    async fn all_events(&self, owner: OwnerId, block: u64, count: u64) -> Result<Vec<Event>, LedgerError> {
        if count > MAX_EVENTS {
            return Err(unusable(format!("this owner has {count} writes: at most {MAX_EVENTS} are read")));
        }
        let topics = json!([abi::topic(), null, H256::from(abi::address(owner))]);
        let mut scanned = self.logs(&topics, 0, block).await.unwrap_or_default();
        scanned.retain(|event| event.owner == owner);
        if is_whole(&scanned, count) {
            return Ok(scanned);
        }
        let (mut events, mut block, mut before, mut len) = (Vec::new(), block, u64::MAX, 0);
        while block > 0 && count > 0 {
            let mut found = self.events_of(owner, block).await?;
            if found.is_empty() {
                return Err(unusable(format!("no RPC provider gives out this owner's records of block {block}")));
            }
            (block, before) = previous_block(&found, block, before)?;
            len += found.iter().map(|event| event.record.len()).sum::<usize>();
            events.append(&mut found);
            if events.len() as u64 > count || len > MAX_RECORDS_LEN {
                return Err(contradiction("how many records this owner has"));
            }
        }
        events.sort_by_key(|event: &Event| event.seq);
        if is_whole(&events, count) {
            return Ok(events);
        }
        let given = events.len();
        Err(unusable(format!("the RPC provider gives out {given} of {count} records of this owner")))
    }

    fn landed(&self) -> MutexGuard<'_, HashMap<FileId, (Written, u64)>> {
        self.landed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block has a write of this ledger: who does not know of the block knows nothing of the write.
    pub(super) fn land(&self, written: Written, block: u64) {
        let mut landed = self.landed();
        if landed.len() < MAX_SEEN || landed.contains_key(&written.file_id) {
            landed.insert(written.file_id, (written, block));
        }
    }

    /// The block that had this write when it was made here.
    pub(super) fn block_of(&self, written: Written) -> Option<u64> {
        self.landed().get(&written.file_id).filter(|(known, _)| *known == written).map(|(_, block)| *block)
    }

    /// The newest block in which a write of `block` counts as confirmed.
    pub(super) fn confirmed_at(&self, block: u64) -> u64 {
        block.saturating_add(self.rpc.config.chain.confirmations - 1)
    }

    /// How settled a write is now; its version is not remembered when it is gone.
    pub(super) async fn settled(&self, written: Written) -> Result<Option<Finality>, LedgerError> {
        let (head, slots) = self.slots(&[written.file_id]).await?;
        let slot = slots[0];
        if slot.version < written.version {
            let mut seen = self.seen();
            let noted = seen.get(&written.file_id).map_or(0, |(_, head)| *head);
            let newest = noted.max(self.block_of(written).unwrap_or(0));
            // A number that is far ahead was never true.
            if (1..=MAX_LAG).contains(&newest.saturating_sub(head.number)) {
                let what = "the RPC provider is behind what it has shown before".to_owned();
                return Err(LedgerError::Unavailable { what, source: None });
            }
            seen.remove(&written.file_id);
            return Ok(None);
        }
        let conflict =
            LedgerError::VersionConflict { expected: written.version.saturating_sub(1), actual: slot.version };
        let is_it = |record: &[u8]| *blake3::hash(record).as_bytes() == written.record_hash;
        let event = if slot.version == written.version {
            // What a file became tells already whether it has a record.
            if slot.kind.is_live() == is_it(&[]) {
                return Err(conflict);
            }
            self.event(written.file_id, slot).await?
        } else {
            let back = usize::try_from(slot.version - written.version).unwrap_or(usize::MAX).saturating_add(1);
            match self.versions(written.file_id, slot, back.min(MAX_HISTORY_LEN)).await {
                Ok(events) => events.into_iter().find(|event| event.version == written.version),
                Err(LedgerError::RecordMissing { .. }) => None,
                Err(error) => return Err(error),
            }
        };
        let Some(event) = event else {
            // Without it, the receipt of this very write tells whose version that is.
            if slot.version != written.version || self.block_of(written) != Some(slot.block) {
                return Err(LedgerError::RecordMissing { version: slot.version, kind: slot.kind });
            }
            let is_confirmed = self.is_confirmed(slot, head);
            return Ok(Some(if is_confirmed { Finality::Confirmed } else { Finality::Included }));
        };
        if !is_it(&event.record) {
            return Err(conflict);
        }
        let slot = Slot { block: event.block, ..slot };
        self.note(written.file_id, slot, head);
        if !self.is_confirmed(slot, head) {
            return Ok(Some(Finality::Included));
        }
        let is_final = self.rpc.config.chain.is_final_at_once
            || self.rpc.finalized().await.is_some_and(|finalized| finalized >= slot.block);
        Ok(Some(if is_final { Finality::Final } else { Finality::Confirmed }))
    }
}

/// The newest event of each file.
fn newest(events: Vec<Event>) -> Result<BTreeMap<FileId, Event>, LedgerError> {
    let mut newest: BTreeMap<FileId, Event> = BTreeMap::new();
    // In the order of their numbers, the versions of a file go up one by one.
    for event in events {
        if event.version != newest.get(&event.file).map_or(0, |known| known.version).saturating_add(1) {
            return Err(contradiction("the versions of a file"));
        }
        newest.insert(event.file, event);
    }
    Ok(newest)
}

/// Whether these are events 1 to `count`.
fn is_whole(events: &[Event], count: u64) -> bool {
    events.iter().map(|event| event.seq).eq(1..=count)
}

/// Of these events, which are all of one block and older than that with the number `before`: the block of those before
/// them, 0 for none, and the number of the first.
fn previous_block(events: &[Event], block: u64, before: u64) -> Result<(u64, u64), LedgerError> {
    let first = events.iter().min_by_key(|event| event.seq);
    let last = events.iter().map(|event| event.seq).max();
    match (first, last) {
        // Otherwise a provider could lead in circles.
        (Some(first), Some(last)) if first.previous < block && last < before => Ok((first.previous, first.seq)),
        _ => Err(contradiction("the order of an owner's records")),
    }
}

/// Providers, or answers of one, that cannot all be true.
fn contradiction(about: &str) -> LedgerError {
    let what = format!("RPC providers contradict each other, or themselves, about {about}");
    LedgerError::Chain { problem: ChainProblem::RpcDisagree, what }
}

pub(super) fn unusable(what: String) -> LedgerError {
    LedgerError::Chain { problem: ChainProblem::Other, what }
}

/// The code at an address. A node behind a provider may not have a block that has just come: nothing is asked for again.
pub(super) async fn code_at(rpc: &Rpc, address: Address) -> Result<Bytes, LedgerError> {
    for _ in 0..TRIES {
        let code = rpc.get(|provider| provider.get_code(address, None)).await?;
        if !code.is_empty() {
            return Ok(code);
        }
        rpc.pause().await;
    }
    rpc.get(|provider| provider.get_code(address, None)).await
}

pub(super) fn is_ours(contract: Address, chain: &str, code: &[u8]) -> Result<(), LedgerError> {
    let what = match code {
        [] => format!("there is no contract at {contract:?} on chain {chain}: check --contract and --chain"),
        code if keccak256(code) == ARTIFACT.code_hash => return Ok(()),
        _ => format!("the contract at {contract:?} on chain {chain} is another one than this version of dstore knows"),
    };
    Err(LedgerError::Chain { problem: ChainProblem::WrongContract, what })
}

/// Returns the number of the block in which it runs, as a contract sees it: NUMBER, MSTORE, RETURN.
const BLOCK_NUMBER_CODE: [u8; 10] = [0x43, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xF3, 0x00];

/// On some rollups `block.number` is that of another chain: then slots name blocks in which there is no event.
pub(super) async fn numbers_blocks(rpc: &Rpc) -> Result<(), LedgerError> {
    let call =
        TypedTransaction::Eip1559(Eip1559TransactionRequest::new().data(Bytes::from(BLOCK_NUMBER_CODE.to_vec())));
    let call = &call;
    let (head, answer) = rpc.agreed(|provider, at| async move { provider.call(call, Some(at)).await }).await?;
    let told = <[u8; 32]>::try_from(&answer[..]).ok().map(|word| ethers_core::types::U256::from_big_endian(&word));
    // Some nodes run calls on top of the block that is named.
    if told.is_some_and(|told| told == head.number.into() || told == (head.number + 1).into()) {
        return Ok(());
    }
    let what = format!("on chain {} contracts see other block numbers than its blocks have", rpc.config.chain.name);
    Err(LedgerError::Chain { problem: ChainProblem::UnsupportedChain, what })
}

/// Where calls that have to see what is not in a block yet run.
pub(super) const PENDING: BlockNumber = BlockNumber::Pending;
