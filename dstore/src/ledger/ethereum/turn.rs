//! Whose turn it is to send: one transaction of an account at a time is given a nonce, among all processes of a machine.

use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ethers_core::types::H256;

use super::rpc::Rpc;
use crate::id::OwnerId;
use crate::ledger::LedgerError;

/// The right to send the next transaction of an account, among all processes that use the folder.
pub(super) struct Turn {
    file: Option<std::fs::File>,
    rpc: Arc<Rpc>,
    /// The last nonce that was used, and for which transaction.
    pub(super) last: Option<(u64, H256)>,
}

/// How long it is waited for: a turn is a few requests.
const TURN_LIMIT: Duration = Duration::from_secs(120);
const TURN_PAUSE: Duration = Duration::from_millis(20);

impl Turn {
    pub(super) async fn take(rpc: &Arc<Rpc>, owner: OwnerId) -> Result<Self, LedgerError> {
        let Some(folder) = rpc.config.lock_folder.clone() else {
            return Ok(Self { file: None, rpc: rpc.clone(), last: None });
        };
        let path = folder.join(format!("{}-{owner}.lock", rpc.chain_id()));
        let failed = |error: std::io::Error| LedgerError::Unavailable {
            what: "the lock of this account cannot be used".to_owned(),
            source: Some(Box::new(error)),
        };
        let started = rpc.rt().uptime();
        loop {
            let (folder, path) = (folder.clone(), path.clone());
            let taken = rpc.rt().blocking(move || try_take(&folder, &path)).await.map_err(failed)?;
            if let Some((file, last)) = taken {
                return Ok(Self { file: Some(file), rpc: rpc.clone(), last });
            }
            if rpc.rt().uptime().saturating_sub(started) > TURN_LIMIT {
                let what = "another process holds the lock of this account: see whether one hangs".to_owned();
                return Err(LedgerError::Unavailable { what, source: None });
            }
            rpc.rt().sleep(TURN_PAUSE).await;
        }
    }

    /// A note that is lost costs a try, no more.
    pub(super) async fn note(&mut self, nonce: u64, hash: H256) {
        let Some(mut file) = self.file.take() else { return };
        let noted = self.rpc.rt().blocking(move || {
            let written = file.set_len(0).and_then(|()| file.rewind());
            written.and_then(|()| write!(file, "{nonce} {hash:?}"))
        });
        if let Err(error) = noted.await {
            tracing::debug!(%error, "the last nonce could not be noted");
        }
    }
}

type Taken = Option<(std::fs::File, Option<(u64, H256)>)>;

fn try_take(folder: &PathBuf, path: &PathBuf) -> std::io::Result<Taken> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    let mut file = std::fs::OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    let mut text = String::new();
    // What cannot be read is no note.
    let read = (&mut file).take(256).read_to_string(&mut text);
    let last = read
        .ok()
        .and_then(|_| text.split_once(' '))
        .and_then(|(nonce, hash)| Some((nonce.parse().ok()?, hash.trim().parse().ok()?)));
    Ok(Some((file, last)))
}
