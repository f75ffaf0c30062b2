//! Keys that an invite let in: one line each in a file of the node's folder.
//!
//! Invariant: an invite lets in one key, and an answer that says so survives a restart.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::id::NoiseKey;
use crate::proto::{InviteTerms, Refusal};
use crate::rt::{Rt, Timestamp};

/// Guests of one node: the file stays below 1 MiB.
pub(super) const MAX_GUESTS: usize = 4096;
const FILE: &str = "guests";
const HEADER: &str = "# Keys that were let in by an invite: key, invite, until when that could be presented. Remove a line while the\n\
                      # node is stopped, and its key may store nothing more.\n";

/// The invite that let a key in, as long as another one could present it.
type Used = Option<([u8; 16], Timestamp)>;

/// The guests of a node.
#[derive(Debug)]
pub(super) struct Guests {
    /// `None`: a node without a folder remembers them in memory alone.
    path: Option<PathBuf>,
    keys: Mutex<Arc<BTreeMap<NoiseKey, Used>>>,
    writing: async_lock::Mutex<()>,
}

impl Guests {
    /// Those that the file in `dir` names.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] for a line that cannot be read.
    pub(super) async fn open(dir: Option<PathBuf>, rt: &Rt) -> Result<Self> {
        let path = dir.map(|dir| dir.join(FILE));
        let file = path.clone();
        let keys = rt.blocking(move || file.map_or(Ok(BTreeMap::new()), |file| load(&file))).await?;
        Ok(Self { path, keys: Mutex::new(Arc::new(keys)), writing: async_lock::Mutex::default() })
    }

    fn keys(&self) -> MutexGuard<'_, Arc<BTreeMap<NoiseKey, Used>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn contains(&self, key: NoiseKey) -> bool {
        self.keys().contains_key(&key)
    }

    /// Lets `key` in, which presented an invite with these terms.
    pub(super) async fn accept(&self, terms: &InviteTerms, key: NoiseKey, rt: &Rt) -> Result<(), Refusal> {
        let now = rt.now();
        if terms.not_after <= now {
            return Err(Refusal::Expired);
        }
        let _turn = self.writing.lock().await;
        let known = self.keys().clone();
        if known.contains_key(&key) {
            return Ok(());
        }
        if known.values().flatten().any(|(id, _)| *id == terms.id) {
            return Err(Refusal::Denied);
        }
        if known.len() >= MAX_GUESTS {
            return Err(Refusal::Busy);
        }
        // What nobody can present any more need not be remembered; whom it let in stays.
        let lasting = |used: &Used| used.filter(|(_, not_after)| *not_after > now);
        let mut next: BTreeMap<_, _> = known.iter().map(|(key, used)| (*key, lasting(used))).collect();
        next.insert(key, Some((terms.id, terms.not_after)));
        let next = Arc::new(next);
        if let Some(path) = self.path.clone() {
            let keys = next.clone();
            rt.blocking(move || save(&path, &keys)).await.map_err(|error| {
                tracing::error!(%error, "cannot remember a guest");
                Refusal::Failed
            })?;
        }
        *self.keys() = next;
        tracing::info!(%key, "an invite let a key in");
        Ok(())
    }
}

fn load(path: &Path) -> Result<BTreeMap<NoiseKey, Used>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let guest = |(number, line): (usize, &str)| {
        parse(line).ok_or_else(|| {
            Error::config(format!("{}:{}: this line is no guest: KEY INVITE TIME", path.display(), number + 1))
        })
    };
    lines.map(guest).collect()
}

fn parse(line: &str) -> Option<(NoiseKey, Used)> {
    let mut words = line.split_whitespace();
    let key = words.next()?.parse().ok()?;
    let used = match (words.next(), words.next()) {
        (Some(invite), Some(time)) => {
            let mut id = [0; 16];
            hex::decode_to_slice(invite, &mut id).ok()?;
            Some((id, Timestamp::from_millis(time.parse().ok()?)))
        }
        (None, None) => None,
        _ => return None,
    };
    words.next().is_none().then_some((key, used))
}

fn save(path: &Path, keys: &BTreeMap<NoiseKey, Used>) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut text = HEADER.to_owned();
    for (key, used) in keys {
        let used = used.map(|(id, time)| format!(" {} {}", hex::encode(id), time.as_millis()));
        text.push_str(&format!("{key}{}\n", used.unwrap_or_default()));
    }
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_lite::future::block_on;

    use super::*;
    use crate::id::NodeId;

    fn key(byte: u8) -> NoiseKey {
        NoiseKey::new([byte; 32])
    }

    fn invite(id: u8, not_after: Timestamp) -> InviteTerms {
        InviteTerms { node: NodeId::new([0; 20]), id: [id; 16], not_after }
    }

    #[test]
    fn an_invite_lets_in_the_first_key_that_presents_it_also_after_a_restart() {
        block_on(async {
            let (dir, rt) = (tempfile::tempdir().expect("a folder"), Rt::default());
            let later = rt.now().after(Duration::from_secs(3600));
            let guests = Guests::open(Some(dir.path().into()), &rt).await.expect("opens");
            assert_eq!(guests.accept(&invite(1, later), key(1), &rt).await, Ok(()));
            let guests = Guests::open(Some(dir.path().into()), &rt).await.expect("opens again");
            assert!(guests.contains(key(1)) && !guests.contains(key(2)));
            assert_eq!(guests.accept(&invite(1, later), key(2), &rt).await, Err(Refusal::Denied));
            assert_eq!(guests.accept(&invite(2, later), key(1), &rt).await, Ok(()));
            assert_eq!(guests.accept(&invite(2, later), key(2), &rt).await, Ok(()), "it was not used up");
        });
    }

    #[test]
    fn an_invite_that_has_expired_lets_nobody_in_and_is_forgotten_and_its_guest_is_not() {
        block_on(async {
            let (dir, rt) = (tempfile::tempdir().expect("a folder"), Rt::default());
            let path = dir.path().join(FILE);
            let (past, later) = (rt.now().before(Duration::from_secs(1)), rt.now().after(Duration::from_secs(3600)));
            std::fs::write(&path, format!("# mine\n{} {} {}\n", key(1), "ab".repeat(16), past.as_millis()))
                .expect("written");
            let guests = Guests::open(Some(dir.path().into()), &rt).await.expect("opens");
            assert_eq!(guests.accept(&invite(3, past), key(3), &rt).await, Err(Refusal::Expired));
            assert_eq!(guests.accept(&invite(2, later), key(2), &rt).await, Ok(()));
            let text = std::fs::read_to_string(&path).expect("there");
            assert!(text.contains(&format!("{}\n", key(1))) && !text.contains(&"ab".repeat(16)), "{text}");
            std::fs::write(&path, "nonsense\n").expect("written");
            let error = Guests::open(Some(dir.path().into()), &rt).await.expect_err("no guest").to_string();
            assert!(error.contains("guests:1"), "{error}");
        });
    }

    #[test]
    fn guests_are_bounded_in_number() {
        block_on(async {
            let rt = Rt::default();
            let later = rt.now().after(Duration::from_secs(3600));
            let guests = Guests::open(None, &rt).await.expect("opens");
            let many = (0..MAX_GUESTS).map(|number| {
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&number.to_be_bytes());
                (NoiseKey::new(bytes), None)
            });
            *guests.keys() = Arc::new(many.collect());
            assert_eq!(guests.accept(&invite(1, later), key(255), &rt).await, Err(Refusal::Busy));
        });
    }
}
