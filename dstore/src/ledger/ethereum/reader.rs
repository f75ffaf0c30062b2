//! What the contract says of files: the slot by a call, the record from the events of one block, which no provider limits.
//!
//! Invariant: an entry has the version that the slot names; what a provider leaves out is missed, never overlooked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_lock::OnceCell;
use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{Address, BlockNumber, Bytes, Eip1559TransactionRequest, H256, U64};
use ethers_core::utils::keccak256;
use ethers_providers::Middleware;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::abi::{self, ARTIFACT, Event, Slot};
use super::rpc::{CATCH_UP, Head, Rpc};
use crate::error::ChainProblem;
use crate::id::{ContractId, FileId, OwnerId};
use crate::ledger::{Entry, Finality, LedgerError, MAX_HISTORY_LEN, MAX_PAGE_LEN, Page, Written};
use crate::rt::Timestamp;

/// How often a record that is not given out is asked for again.
const TRIES: usize = 3;
/// The most writes of an owner that are read.
const MAX_EVENTS: u64 = 1 << 20;
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
    /// The highest confirmed version of each file that was shown.
    seen: Mutex<HashMap<FileId, u32>>,
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
        Self { rpc, contract, checked: OnceCell::new(), seen: Mutex::default(), listed: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<FileId, u32>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That the contract is the one that this program knows, on a chain that numbers blocks as it does. Asked once.
    pub(super) async fn check(&self) -> Result<(), LedgerError> {
        let checked = self.checked.get_or_try_init(|| async {
            let address = self.contract;
            let code = self.rpc.get(|provider| provider.get_code(address, None)).await?;
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
                return Err(LedgerError::Stale { version: slot.version, seen });
            }
            self.rpc.pause().await;
        }
    }

    pub(super) fn seen_of(&self, file: FileId) -> u32 {
        self.seen().get(&file).copied().unwrap_or(0)
    }

    fn note(&self, file: FileId, slot: Slot, head: Head) {
        let mut seen = self.seen();
        if self.is_confirmed(slot, head) && (seen.len() < MAX_SEEN || seen.contains_key(&file)) {
            let known = seen.entry(file).or_default();
            *known = slot.version.max(*known);
        }
    }

    fn is_confirmed(&self, slot: Slot, head: Head) -> bool {
        slot.block.saturating_add(self.rpc.config.chain.confirmations) <= head.number.saturating_add(1)
    }

    pub(super) async fn get(&self, file: FileId) -> Result<Option<Entry>, LedgerError> {
        let (_, slot) = self.slot(file).await?;
        if slot.version == 0 {
            return Ok(None);
        }
        let event = self.event(file, slot).await?;
        let missing = || LedgerError::RecordMissing { version: slot.version, kind: slot.kind };
        Ok(Some(self.entry(event.ok_or_else(missing)?).await?))
    }

    /// The event of the slot's version; `None` when no provider gives it out.
    async fn event(&self, file: FileId, slot: Slot) -> Result<Option<Event>, LedgerError> {
        let topics = json!([abi::topic(), H256::from(*file.as_bytes())]);
        let fits = |event: &Event| {
            (event.file, event.version, event.kind, event.owner) == (file, slot.version, slot.kind, slot.owner)
        };
        for tried in 0..=TRIES {
            let found = self.logs(&topics, slot.block, slot.block, tried > 0).await;
            let found = found.unwrap_or_else(|error| {
                tracing::warn!(%error, block = slot.block, "an RPC provider gives out no events");
                Vec::new()
            });
            if let Some(event) = found.into_iter().find(|event| fits(event)) {
                return Ok(Some(event));
            }
            if tried < TRIES {
                self.rpc.pause().await;
            }
        }
        Ok(None)
    }

    /// The contract's events with these topics in these blocks: of one provider, or of all together.
    async fn logs(
        &self,
        topics: &serde_json::Value,
        from: u64,
        to: u64,
        of_all: bool,
    ) -> Result<Vec<Event>, LedgerError> {
        let filter = json!([{
            "address": self.contract, "topics": topics, "fromBlock": U64::from(from), "toBlock": U64::from(to),
        }]);
        let filter = &filter;
        let ask = |provider: &'_ ethers_providers::Provider<super::http::Http>| {
            let provider = provider.clone();
            async move { provider.request::<_, Vec<Log>>("eth_getLogs", filter).await }
        };
        let logs = if of_all {
            let answers = self.rpc.all(ask).await;
            answers.into_iter().filter_map(|(_, logs)| logs.ok()).flatten().collect()
        } else {
            self.rpc.get(ask).await?
        };
        let ours = logs.into_iter().filter(|log| !log.removed && log.address == self.contract);
        let mut events: Vec<Event> = ours
            .filter_map(|log| {
                let block = log.block_number?.as_u64();
                let time = log.block_timestamp.map(|seconds| seconds.as_u64().saturating_mul(1000));
                abi::event(log.topics, log.data.to_vec(), block, time).filter(|_| (from..=to).contains(&block))
            })
            .collect();
        events.sort_by_key(|event| event.seq);
        events.dedup();
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
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let topics = json!([abi::topic(), H256::from(*file.as_bytes())]);
        let scanned = self.logs(&topics, 0, slot.block, false).await.unwrap_or_default();
        let mut versions = BTreeMap::new();
        let mut take = |events: Vec<Event>| {
            let ours = events.into_iter().filter(|event| event.file == file && event.owner == slot.owner);
            versions.extend(ours.map(|event| (event.version, event)));
            // Whole when the newest so many are there without a gap.
            let newest = versions.keys().rev().take(wanted).copied();
            newest.eq((1..=slot.version).rev().take(wanted))
        };
        if !take(scanned) {
            // Not all providers search far: block by block each of them answers.
            let mut block = slot.block;
            let whole = loop {
                let events = self.events_of(slot.owner, block).await?;
                let previous = previous_block(&events, block)?;
                if take(events) {
                    break true;
                }
                match previous {
                    0 => break false,
                    previous => block = previous,
                }
            };
            if !whole {
                return Err(LedgerError::RecordMissing { version: slot.version, kind: slot.kind });
            }
        }
        let newest: Vec<Event> = versions.into_values().rev().take(wanted).collect();
        self.entries(newest).await
    }

    /// All events of an owner in one block in which there are some.
    async fn events_of(&self, owner: OwnerId, block: u64) -> Result<Vec<Event>, LedgerError> {
        let topics = json!([abi::topic(), null, H256::from(abi::address(owner))]);
        for tried in 0..=TRIES {
            let found = self.logs(&topics, block, block, tried > 0).await.unwrap_or_default();
            if !found.is_empty() {
                return Ok(found);
            }
            if tried < TRIES {
                self.rpc.pause().await;
            }
        }
        Err(unusable(format!("no RPC provider gives out this owner's records of block {block}")))
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
        let (_, (block, count)) = self.call(abi::account(owner), abi::account_of).await?;
        let hash = self.rpc.get(|provider| provider.get_block(block)).await?.and_then(|block| block.hash);
        let at = (block, count, hash);
        let listed = || self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listing) = listed().clone().filter(|listing| listing.owner == owner && listing.at == at) {
            return Ok(listing);
        }
        let mut newest: BTreeMap<FileId, Event> = BTreeMap::new();
        for event in self.all_events(owner, block, count).await? {
            let known = newest.get(&event.file).map_or(0, |known| known.version);
            if event.version > known {
                newest.insert(event.file, event);
            }
        }
        let live = newest.into_values().filter(|event| event.kind.is_live()).collect();
        let listing = Arc::new(Listing { owner, at, entries: self.entries(live).await? });
        *listed() = Some(listing.clone());
        Ok(listing)
    }

    /// All `count` events of an owner, the last of them in `block`.
    async fn all_events(&self, owner: OwnerId, block: u64, count: u64) -> Result<Vec<Event>, LedgerError> {
        if count > MAX_EVENTS {
            return Err(unusable(format!("this owner has {count} writes: at most {MAX_EVENTS} are read")));
        }
        let topics = json!([abi::topic(), null, H256::from(abi::address(owner))]);
        let scanned = self.logs(&topics, 0, block, false).await.unwrap_or_default();
        if is_whole(&scanned, count) {
            return Ok(scanned);
        }
        let (mut events, mut block) = (Vec::new(), block);
        while block > 0 && count > 0 {
            let mut found = self.events_of(owner, block).await?;
            block = previous_block(&found, block)?;
            events.append(&mut found);
        }
        events.sort_by_key(|event: &Event| event.seq);
        if is_whole(&events, count) {
            return Ok(events);
        }
        let given = events.len();
        Err(unusable(format!("the RPC provider gives out {given} of {count} records of this owner")))
    }

    /// How settled a write is now; its version is not remembered when it is gone.
    pub(super) async fn settled(&self, written: Written) -> Result<Option<Finality>, LedgerError> {
        let (head, slots) = self.slots(&[written.file_id]).await?;
        let slot = slots[0];
        if slot.version < written.version {
            self.seen().remove(&written.file_id);
            return Ok(None);
        }
        let conflict =
            LedgerError::VersionConflict { expected: written.version.saturating_sub(1), actual: slot.version };
        let is_it = |record: &[u8]| *blake3::hash(record).as_bytes() == written.record_hash;
        let block = if slot.version == written.version {
            match self.event(written.file_id, slot).await? {
                Some(event) if !is_it(&event.record) => return Err(conflict),
                // Without the event, the version alone speaks for it.
                _ => slot.block,
            }
        } else {
            let topics = json!([abi::topic(), H256::from(*written.file_id.as_bytes())]);
            let known = self.logs(&topics, 0, slot.block, false).await.unwrap_or_default();
            match known.into_iter().find(|event| event.version == written.version) {
                Some(event) if !is_it(&event.record) => return Err(conflict),
                Some(event) => event.block,
                // It has been built upon: it is at least as old.
                None => slot.block,
            }
        };
        let slot = Slot { block, ..slot };
        self.note(written.file_id, slot, head);
        let chain = &self.rpc.config.chain;
        if chain.is_final_at_once && self.is_confirmed(slot, head) {
            return Ok(Some(Finality::Final));
        }
        if !self.is_confirmed(slot, head) {
            return Ok(Some(Finality::Included));
        }
        let is_final = self.rpc.finalized().await?.is_some_and(|finalized| finalized >= block);
        Ok(Some(if is_final { Finality::Final } else { Finality::Confirmed }))
    }
}

/// Whether these are events 1 to `count`.
fn is_whole(events: &[Event], count: u64) -> bool {
    events.iter().map(|event| event.seq).eq(1..=count)
}

/// The block of the events before these, which are all of one block; 0 for none.
fn previous_block(events: &[Event], block: u64) -> Result<u64, LedgerError> {
    let first = events.iter().min_by_key(|event| event.seq);
    let previous = first.map_or(0, |first| first.previous);
    // Otherwise a provider could lead in circles.
    if previous < block {
        Ok(previous)
    } else {
        Err(unusable("the RPC provider's events contradict each other".into()))
    }
}

pub(super) fn unusable(what: String) -> LedgerError {
    LedgerError::Chain { problem: ChainProblem::Other, what }
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
