//! The ledger of a simulation: one in memory, reached over a way that delays, refuses and loses answers, and that forgets
//! writes that are not final when it is told to, as a chain does.
//!
//! Invariant: what was sent to it happens, or does not, whatever becomes of the client that sent it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::Sleep;
use super::host::SimEnv;
use crate::id::{FileId, LedgerId, OwnerId, PathSalt};
use crate::ledger::{Entry, Finality, Ledger, LedgerError, MemoryLedger, Page, Written};
use crate::rt::{BoxFuture, Env};

/// The ledger that the clients of a simulation share.
#[derive(Clone)]
pub struct SimLedger {
    ledger: MemoryLedger,
    /// That of the simulation, not of a client.
    env: SimEnv,
    faults: Arc<Mutex<Faults>>,
    ages: Arc<Mutex<Ages>>,
}

/// How old a write must be.
#[derive(Debug, Clone, Copy, Default)]
struct Ages {
    confirmed: Duration,
    is_final: Duration,
}

/// What is wrong with it now.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    delay: Duration,
    refuses: bool,
    loses: bool,
    misses: bool,
    stale: bool,
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Refused,
    /// No answer: it happened.
    DoneUnknown,
    /// No answer: it did not happen.
    NotDone,
    /// No answer: it happens later.
    Late,
}

/// How long the simulation takes to notice a reorg.
const BLOCK: Duration = Duration::from_secs(1);

/// How much later than its lost answer a write may happen.
const LATE: Duration = Duration::from_secs(20);

impl SimLedger {
    pub(super) fn new(ledger: MemoryLedger, env: SimEnv) -> Self {
        Self { ledger, env, faults: Arc::default(), ages: Arc::default() }
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a request takes up to so long to arrive, and its answer as well.
    pub fn delay(&self, longest: Duration) {
        self.faults().delay = longest;
    }

    /// Whether it refuses writes, as a ledger does that cannot be reached. None of them happens.
    pub fn refuse(&self, refuses: bool) {
        self.faults().refuses = refuses;
    }

    /// Whether three of four writes get no answer: some happened, some did not, and some will in a while.
    pub fn lose_answers(&self, loses: bool) {
        self.faults().loses = loses;
    }

    /// Whether it gives no record out, as a provider does that has pruned its logs.
    pub fn missing_records(&self, misses: bool) {
        self.faults().misses = misses;
    }

    /// Whether every version that it shows is older than one that it has shown before.
    pub fn stale(&self, stale: bool) {
        self.faults().stale = stale;
    }

    /// From now on a write is confirmed and final when it is so old. Both are zero at first: then nothing undoes it.
    pub fn finality(&self, confirmed: Duration, is_final: Duration) {
        *self.ages.lock().unwrap_or_else(PoisonError::into_inner) = Ages { confirmed, is_final };
    }

    /// Goes on without all writes that are not final, of whomever they are.
    pub fn reorg(&self) {
        self.ledger.undo(self.env.now().before(self.ages().is_final));
    }

    fn ages(&self) -> Ages {
        *self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How settled `written` is, and how long it takes to be as settled as `wanted`; `None` when it is not there.
    async fn age(&self, written: Written, wanted: Finality) -> Result<Option<(Finality, Duration)>, LedgerError> {
        let versions = self.ledger.history(written.file_id).await?;
        let Some(entry) = versions.iter().find(|entry| entry.version == written.version) else { return Ok(None) };
        if Written::new(entry.file_id, entry.version, &entry.record) != written {
            let (expected, actual) = (written.version.saturating_sub(1), versions[0].version);
            return Err(LedgerError::VersionConflict { expected, actual });
        }
        let (age, Ages { confirmed, is_final }) = (self.env.now().since(entry.written), self.ages());
        let finality = match age {
            age if age >= is_final => Finality::Final,
            age if age >= confirmed => Finality::Confirmed,
            _ => Finality::Included,
        };
        let needed = [Duration::ZERO, confirmed, is_final][wanted as usize];
        Ok(Some((finality, needed.saturating_sub(age))))
    }

    async fn reach(&self, written: Written, wanted: Finality) -> Result<(), LedgerError> {
        loop {
            match self.age(written, wanted).await? {
                None => return Err(LedgerError::Reorged),
                Some((finality, _)) if finality >= wanted => return Ok(()),
                // A reorg is noticed with the next block.
                Some((_, rest)) => self.env.sleep_for(rest.min(BLOCK)).await,
            }
        }
    }

    /// What a read answers instead of `entry`.
    fn withheld(&self, entry: &Entry) -> Option<LedgerError> {
        let (Faults { misses, stale, .. }, (version, kind)) = (*self.faults(), (entry.version, entry.kind));
        if stale {
            return Some(LedgerError::Stale { version, seen: version.saturating_add(1) });
        }
        (misses && entry.is_live()).then_some(LedgerError::RecordMissing { version, kind })
    }

    /// Ends every fault.
    pub fn heal(&self) {
        *self.faults() = Faults::default();
    }

    /// The ledger itself, at once and without a fault.
    #[must_use]
    pub fn memory(&self) -> &MemoryLedger {
        &self.ledger
    }

    fn fate(&self) -> Fate {
        let Faults { refuses, loses, .. } = *self.faults();
        let fates = [Fate::Done, Fate::DoneUnknown, Fate::NotDone, Fate::Late];
        match (refuses, loses) {
            (true, _) => Fate::Refused,
            (_, true) => fates[self.env.world.lock().chance.below(fates.len())],
            _ => Fate::Done,
        }
    }

    fn pause(&self, longest: Duration) -> Sleep {
        let pause = self.env.world.lock().chance.time(longest);
        self.env.sleep_for(pause)
    }

    /// Does `act` for a client, in a task that does not end with the client.
    fn call<T, F>(&self, fate: Fate, act: F) -> BoxFuture<'static, Result<T, LedgerError>>
    where
        T: Send + 'static,
        F: FnOnce(MemoryLedger) -> BoxFuture<'static, Result<T, LedgerError>> + Send + 'static,
    {
        let there = self.clone();
        Box::pin(async move {
            let (answer, answered) = futures_channel::oneshot::channel();
            let env = there.env.clone();
            let work = async move {
                let delay = there.faults().delay;
                there.pause(delay).await;
                let ledger = there.ledger.clone();
                let result = match fate {
                    Fate::Done => act(ledger).await,
                    Fate::Refused => Err(LedgerError::Unavailable { what: "refused for a test".into(), source: None }),
                    Fate::NotDone => Err(unknown()),
                    Fate::DoneUnknown => {
                        let _ = act(ledger).await;
                        Err(unknown())
                    }
                    Fate::Late => {
                        let _ = answer.send(Err(unknown()));
                        there.pause(LATE).await;
                        let _ = act(ledger).await;
                        return;
                    }
                };
                there.pause(delay).await;
                let _ = answer.send(result);
            };
            env.spawn(Box::pin(work));
            let closed = || LedgerError::Unavailable { what: "the simulation is over".into(), source: None };
            answered.await.unwrap_or_else(|_| Err(closed()))
        })
    }
}

fn unknown() -> LedgerError {
    LedgerError::Unknown { what: "the answer was lost for a test".into(), source: None }
}

impl fmt::Debug for SimLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLedger").field("faults", &*self.faults()).finish_non_exhaustive()
    }
}

impl Ledger for SimLedger {
    fn id(&self) -> LedgerId {
        self.ledger.id()
    }

    fn put(
        &self,
        owner: OwnerId,
        salt: PathSalt,
        expected: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        self.call(self.fate(), move |ledger| Box::pin(async move { ledger.put(owner, salt, expected, record).await }))
    }

    fn rename(
        &self,
        owner: OwnerId,
        from: PathSalt,
        expected_from: u32,
        to: PathSalt,
        expected_to: u32,
        record: Vec<u8>,
    ) -> BoxFuture<'_, Result<Written, LedgerError>> {
        self.call(self.fate(), move |ledger| {
            Box::pin(async move { ledger.rename(owner, from, expected_from, to, expected_to, record).await })
        })
    }

    fn remove(&self, owner: OwnerId, salt: PathSalt, expected: u32) -> BoxFuture<'_, Result<Written, LedgerError>> {
        self.call(self.fate(), move |ledger| Box::pin(async move { ledger.remove(owner, salt, expected).await }))
    }

    fn get(&self, file_id: FileId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        let there = self.clone();
        self.call(Fate::Done, move |ledger| {
            Box::pin(async move {
                let entry = ledger.get(file_id).await?;
                entry.as_ref().and_then(|entry| there.withheld(entry)).map_or(Ok(entry), Err)
            })
        })
    }

    fn history(&self, file_id: FileId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        let there = self.clone();
        self.call(Fate::Done, move |ledger| {
            Box::pin(async move {
                let mut entries = ledger.history(file_id).await?;
                for entry in &mut entries {
                    if there.withheld(entry).is_some() {
                        entry.record.clear();
                    }
                }
                Ok(entries)
            })
        })
    }

    fn list(&self, owner: OwnerId, cursor: Option<FileId>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        let there = self.clone();
        self.call(Fate::Done, move |ledger| {
            Box::pin(async move {
                let page = ledger.list(owner, cursor).await?;
                page.entries.iter().find_map(|entry| there.withheld(entry)).map_or(Ok(page), Err)
            })
        })
    }

    fn settled(&self, written: Written) -> BoxFuture<'_, Result<Option<Finality>, LedgerError>> {
        let there = self.clone();
        self.call(Fate::Done, move |_| {
            Box::pin(async move { Ok(there.age(written, Finality::Final).await?.map(|(finality, _)| finality)) })
        })
    }

    fn wait(&self, written: Written, finality: Finality) -> BoxFuture<'_, Result<(), LedgerError>> {
        let there = self.clone();
        self.call(Fate::Done, move |_| Box::pin(async move { there.reach(written, finality).await }))
    }

    fn is_final_at_once(&self) -> bool {
        self.ages().is_final.is_zero()
    }

    fn decides_within(&self) -> Option<Duration> {
        self.ledger.decides_within().filter(|_| self.is_final_at_once())
    }

    fn health(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.call(Fate::Done, move |ledger| Box::pin(async move { ledger.health().await }))
    }
}
