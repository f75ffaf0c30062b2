//! Authenticated connections: links over byte streams, dialling, and serving with every limit of docs/wire.md section 9.

mod counts;
mod dial;
mod gate;
mod link;
mod registry;
mod server;
mod turn;

use std::io;
use std::time::Duration;

use crate::error::{Error, PeerProblem};
use crate::noise::HandshakeError;
use crate::proto::{Malformed, Refusal};
use crate::rt::Elapsed;

pub(crate) use counts::ServerCounts;
pub(crate) use dial::Dialer;
pub use gate::Limits;
pub(crate) use gate::{Gate, is_private, source_of};
pub(crate) use link::{Body, Link, LinkReader, LinkWriter, MAX_DATA_LEN};
pub(crate) use registry::RegistryLink;
pub use server::ServerHandle;
pub(crate) use server::{Identity, Service, Serving, start};

/// Why a connection is of no further use, or what its peer refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The peer closed it between two messages.
    #[error("the connection was closed")]
    Closed,
    /// It broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// Too little arrived, or could be sent, for too long.
    #[error("no progress for {0:?}")]
    Stalled(Duration),
    /// The handshake failed.
    #[error("the handshake failed")]
    Handshake(#[source] HandshakeError),
    /// The peer answered with a refusal; the connection can still be used unless a body was cut short.
    #[error("refused")]
    Refused(#[source] Refusal),
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Protocol(&'static str),
}

impl LinkError {
    /// What this says of the peer.
    pub(crate) fn problem(&self) -> PeerProblem {
        match self {
            Self::Closed | Self::Broken(_) => PeerProblem::Unavailable,
            Self::Stalled(limit) => PeerProblem::Timeout(*limit),
            Self::Protocol(_) => PeerProblem::Protocol,
            Self::Handshake(error) => match error {
                HandshakeError::KeyOrNetwork => PeerProblem::WrongKeyOrNetwork,
                HandshakeError::Version { min, max } => PeerProblem::Version(*min, *max),
                HandshakeError::Busy => PeerProblem::Busy,
                HandshakeError::Suite | HandshakeError::Role | HandshakeError::NotOurs => PeerProblem::Protocol,
            },
            Self::Refused(refusal) => match refusal {
                Refusal::Busy => PeerProblem::Busy,
                Refusal::NoSpace | Refusal::Quota => PeerProblem::NoSpace,
                Refusal::Denied | Refusal::Expired => PeerProblem::Denied,
                Refusal::NotFound => PeerProblem::Missing,
                Refusal::Unreachable => PeerProblem::NoWayBack,
                Refusal::Malformed | Refusal::Unsupported | Refusal::Mismatch => PeerProblem::Protocol,
                _ => PeerProblem::Failed,
            },
        }
    }

    /// The public error about `peer`.
    pub(crate) fn at(self, peer: impl Into<String>) -> Error {
        Error::Peer { peer: peer.into(), problem: self.problem(), source: Some(Box::new(self)) }
    }

    /// Whether the peer is at one of its limits, so that the same may work in a moment.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Busy) | Self::Handshake(HandshakeError::Busy))
    }

    /// Whether the connection can go on being used.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(refusal) if *refusal != Refusal::Busy)
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Elapsed> for LinkError {
    fn from(elapsed: Elapsed) -> Self {
        Self::Stalled(elapsed.0)
    }
}

impl From<Malformed> for LinkError {
    fn from(malformed: Malformed) -> Self {
        Self::Protocol(malformed.0)
    }
}
