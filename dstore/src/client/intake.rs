//! Both halves of a link to a shard: requests for ranges of its blocks, and their answers, checked and timed.
//!
//! Invariant: what comes out was proved to belong to the shard's root.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Shared;
use super::fetch::{Fetched, ShardAccess, Signs, byte_len, fault};
use super::pace::Track;
use crate::error::FaultKind;
use crate::id::ShardRoot;
use crate::merkle::{BLOCK_LEN, BlockRange, ProvedLeaves};
use crate::net::{Body, LinkError, LinkReader, LinkWriter};
use crate::proto::{BlockRequest, MAX_CONTROL_LEN, NodeReply, NodeRequest, Rights, Signed, Token, decode, encode};

/// After which part of its life a token is replaced.
const TOKEN_FRESH: Duration = Duration::from_secs(1800);

/// The outer error ends the link; the inner one is the shard's, and the link goes on.
pub(super) type Received = Result<Result<Fetched, FaultKind>, LinkError>;

/// The writing half of a link.
pub(super) struct Requests {
    client: Arc<Shared>,
    shard: ShardAccess,
    token: Option<(Signed<Token>, Duration)>,
}

impl Requests {
    pub(super) fn new(client: &Arc<Shared>, shard: ShardAccess) -> Self {
        Self { client: client.clone(), shard, token: None }
    }

    /// The shard that is asked for.
    pub(super) fn shard(&self) -> &ShardAccess {
        &self.shard
    }

    /// Adds a request for the blocks of `range`; answers when that was.
    pub(super) fn add(&mut self, writer: &mut LinkWriter, range: BlockRange) -> Duration {
        let now = self.client.rt.uptime();
        let fresh = self.token.as_ref().filter(|(_, made)| now.saturating_sub(*made) < TOKEN_FRESH);
        let token = match fresh {
            Some((token, _)) => token.clone(),
            None => {
                let token = self.shard.token(&self.client, Rights::Read);
                self.token = Some((token.clone(), now));
                token
            }
        };
        let request = BlockRequest { token, first: range.first(), count: range.count() };
        writer.control(&encode(&NodeRequest::Read(request)));
        now
    }
}

/// The reading half of a link.
pub(super) struct Intake {
    pub(super) client: Arc<Shared>,
    pub(super) root: ShardRoot,
    pub(super) len: u64,
    pub(super) track: Arc<Track>,
    pub(super) signs: Arc<Signs>,
}

impl Intake {
    /// The answer to the oldest request, which was sent at `sent`; `progress` counts its bytes.
    pub(super) async fn receive(
        &self,
        reader: &mut LinkReader,
        range: BlockRange,
        sent: Duration,
        progress: &AtomicU64,
    ) -> Received {
        let rt = &self.client.rt;
        let began = rt.uptime();
        let reply = match reader.control(MAX_CONTROL_LEN, self.client.settings.timeout).await {
            Ok(reply) => reply,
            Err(error) if error.is_refusal() => return Ok(Err(fault(&error))),
            Err(error) => return Err(error),
        };
        self.note_latency(sent, began);
        let NodeReply::Blocks { proof, lease_until } = decode("node reply", &reply)? else {
            return Err(LinkError::Protocol("another answer than blocks"));
        };
        let expected = byte_len(self.len, range);
        let proved = ProvedLeaves::verify(self.root, range, &proof);
        let mut bytes = Vec::with_capacity(expected + BLOCK_LEN);
        let mut checked = 0;
        let mut intact = proved.is_some();
        let mut arriving = None;
        loop {
            let before = bytes.len();
            let body = reader.data(&mut bytes).await?;
            if body == Body::More && bytes.len() == before {
                return Err(LinkError::Protocol("a pad where a node has all the bytes"));
            }
            let (now, count) = (rt.uptime(), (bytes.len() - before) as u64);
            match &arriving {
                None => arriving = Some(self.track.body(now)),
                Some(arriving) => arriving.add(now, count),
            }
            progress.fetch_add(count, Ordering::Relaxed);
            self.signs.progress.fetch_add(count, Ordering::Relaxed);
            if bytes.len() > expected {
                return Err(LinkError::Protocol("more bytes than were asked for"));
            }
            // Whole blocks are checked as they come; a bad answer is still read to its end, which is bounded.
            while let Some(proved) = proved.as_ref().filter(|_| intact) {
                let end = expected.min((checked + 1) * BLOCK_LEN);
                if checked * BLOCK_LEN >= expected || bytes.len() < end {
                    break;
                }
                intact = proved.matches(range.first() + checked as u64, &bytes[checked * BLOCK_LEN..end]);
                checked += 1;
            }
            if body == Body::End {
                break;
            }
        }
        let whole = intact && bytes.len() == expected;
        Ok(if whole { Ok(Fetched { bytes, lease_until }) } else { Err(FaultKind::Corrupt) })
    }

    /// An answer's first byte is there, for which we waited since `began`.
    fn note_latency(&self, sent: Duration, began: Duration) {
        let now = self.client.rt.uptime();
        let (took, waited) = (now.saturating_sub(sent), now.saturating_sub(began));
        if waited * 2 >= took {
            self.track.answered(now, took);
        } else {
            self.track.answered_behind_others(took);
        }
    }
}
