//! Opening a link: the initiator's side of the handshake over a byte stream.

use std::io;
use std::time::Duration;

use futures_util::io::{AsyncReadExt, AsyncWriteExt};

use super::{Link, LinkError};
use crate::keys::TransportKey;
use crate::noise::{Expected, HandshakeError, Initiator, REFUSAL_LEN, SECOND_LEN};
use crate::rt::{Rt, Socket, Timestamp};

/// Opens links.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    rt: Rt,
    timeout: Duration,
}

impl Dialer {
    /// Links open within `timeout`, from name look-up to the end of the handshake, or fail.
    pub(crate) fn new(rt: Rt, timeout: Duration) -> Self {
        Self { rt, timeout }
    }

    /// Connects to `host:port` and authenticates whoever is there as `expected`.
    pub(crate) async fn connect(
        &self,
        address: &str,
        local: &TransportKey,
        expected: &Expected,
    ) -> Result<Link, LinkError> {
        self.rt.timeout(self.timeout, self.open(address, local, expected)).await?.map(|(link, _)| link)
    }

    /// As [`Dialer::connect`], but answers only the other side's clock.
    pub(crate) async fn clock(
        &self,
        address: &str,
        local: &TransportKey,
        expected: &Expected,
    ) -> Result<Timestamp, LinkError> {
        self.rt.timeout(self.timeout, self.open(address, local, expected)).await?.map(|(_, clock)| clock)
    }

    async fn open(
        &self,
        address: &str,
        local: &TransportKey,
        expected: &Expected,
    ) -> Result<(Link, Timestamp), LinkError> {
        let mut socket = self.rt.dial(address).await?;
        let (initiator, bytes) = Initiator::start(local, &self.rt.random(), expected);
        // A peer that refuses may hang up while we still write: what it said counts more than that.
        let written = socket.writer.write_all(&bytes).await;
        let second = match read_second(&mut socket).await {
            Ok(second) => second?,
            Err(error) => return Err(written.err().unwrap_or(error).into()),
        };
        let (third, session, clock) = initiator.finish(&second).map_err(LinkError::Handshake)?;
        socket.writer.write_all(&third).await?;
        Ok((Link::new(self.rt.clone(), socket, session, expected.noise_key), clock))
    }
}

/// The second message, or the refusal that came in its place.
async fn read_second(socket: &mut Socket) -> io::Result<Result<[u8; SECOND_LEN], LinkError>> {
    let mut len = [0; 2];
    socket.reader.read_exact(&mut len).await?;
    match usize::from(u16::from_be_bytes(len)) {
        0 => {
            let mut refusal = [0; REFUSAL_LEN - 2];
            socket.reader.read_exact(&mut refusal).await?;
            Ok(Err(LinkError::Handshake(HandshakeError::from_refusal(refusal))))
        }
        SECOND_LEN => {
            let mut second = [0; SECOND_LEN];
            socket.reader.read_exact(&mut second).await?;
            Ok(Ok(second))
        }
        _ => Ok(Err(LinkError::Handshake(HandshakeError::NotOurs))),
    }
}
