//! Messages over a pair of links, good and bad.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::future::{block_on, zip};

use super::{Body, Link, Patience};
use crate::id::NodeId;
use crate::keys::{TransportKey, network_id};
use crate::net::{Dialer, LinkError};
use crate::noise::{Expected, FIRST_LEN, PREAMBLE_LEN, Responder, Role, THIRD_LEN};
use crate::proto::Refusal;
use crate::rt::Rt;
use crate::testing::MemoryNet;

const WAIT: Duration = Duration::from_secs(20);

/// Two ends of one connection.
async fn pair() -> (Link, Link) {
    let net = MemoryNet::new();
    let (here, there) = (Rt::new(net.host()), Rt::new(net.host()));
    let listener = there.listen("10.0.0.2:0").await.expect("listens");
    let key = TransportKey::new([2; 32]);
    let (id, role, network) = (NodeId::new([3; 20]), Role::Node, network_id("test"));
    let expected = Expected { id, noise_key: key.public_key(), role, network };
    let accept = async {
        use futures_util::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = listener.accept().await.expect("accepted");
        let mut first = [0; PREAMBLE_LEN + 2 + FIRST_LEN];
        socket.reader.read_exact(&mut first).await.expect("read");
        let (preamble, rest) = first.split_first_chunk().expect("whole");
        let first = rest[2..].try_into().expect("whole");
        let me = (id, role, network);
        let (responder, second) = Responder::start(&key, &[4; 32], me, preamble, first, there.now()).expect("served");
        socket.writer.write_all(&second).await.expect("sent");
        let mut third = [0; 2 + THIRD_LEN];
        socket.reader.read_exact(&mut third).await.expect("read");
        let (session, peer) = responder.finish(third[2..].try_into().expect("whole")).expect("finished");
        Link::new(there.clone(), socket, session, peer)
    };
    let dialer = Dialer::new(here, WAIT);
    let address = listener.local_addr().to_string();
    let local = TransportKey::new([1; 32]);
    let (accepted, dialled) = zip(accept, dialer.connect(&address, &local, &expected)).await;
    (dialled.expect("connected"), accepted)
}

#[test]
fn control_messages_of_every_length_arrive_whole() {
    block_on(async {
        let (mut ours, mut theirs) = pair().await;
        for len in [0, 1, 65_517, 65_518, 65_519, 131_036, 200_000] {
            ours.writer.control(&vec![7; len]);
            ours.writer.flush().await.expect("sent");
            assert_eq!(theirs.reader.control(200_000, WAIT).await.expect("arrived"), vec![7; len]);
        }
        ours.writer.control(&[7; 1001]);
        ours.writer.flush().await.expect("sent");
        let error = theirs.reader.control(1000, WAIT).await.expect_err("too long");
        assert!(matches!(error, LinkError::Protocol(_)), "{error}");
    });
}

#[test]
fn a_body_ends_where_it_says_and_pads_are_no_part_of_it() {
    block_on(async {
        let (mut ours, mut theirs) = pair().await;
        ours.writer.data(&[b"ab", b"c"], Body::More);
        ours.writer.pad();
        ours.writer.data(&[], Body::End);
        ours.writer.control(b"next");
        ours.writer.flush().await.expect("sent");
        let mut body = vec![];
        while theirs.reader.data(&mut body).await.expect("arrived") == Body::More {}
        assert_eq!(body, b"abc");
        assert_eq!(theirs.reader.control(10, WAIT).await.expect("arrived"), b"next");
    });
}

#[test]
fn a_refusal_can_stand_for_an_answer_or_for_the_rest_of_a_body() {
    block_on(async {
        let (mut ours, mut theirs) = pair().await;
        ours.writer.data(&[b"ab"], Body::More);
        ours.writer.abort(Refusal::NoSpace);
        ours.writer.abort(Refusal::Denied);
        ours.writer.flush().await.expect("sent");
        let mut body = vec![];
        assert_eq!(theirs.reader.data(&mut body).await.expect("arrived"), Body::More);
        assert!(matches!(theirs.reader.data(&mut body).await, Err(LinkError::Refused(Refusal::NoSpace))));
        assert!(matches!(theirs.reader.control(10, WAIT).await, Err(LinkError::Refused(Refusal::Denied))));
    });
}

#[test]
fn kinds_in_the_wrong_place_break_the_connection() {
    block_on(async {
        let (mut ours, mut theirs) = pair().await;
        ours.writer.control(b"text");
        ours.writer.data(&[b"data"], Body::End);
        ours.writer.data(&[], Body::More);
        ours.writer.flush().await.expect("sent");
        let mut body = vec![];
        assert!(matches!(theirs.reader.data(&mut body).await, Err(LinkError::Protocol(_))));
        assert!(matches!(theirs.reader.control(10, WAIT).await, Err(LinkError::Protocol(_))));
        assert!(matches!(theirs.reader.data(&mut body).await, Err(LinkError::Protocol(_))), "an empty part");
    });
}

#[test]
fn a_cut_connection_is_closed_between_messages_and_broken_inside_one() {
    block_on(async {
        let (ours, mut theirs) = pair().await;
        drop(ours);
        assert!(matches!(theirs.reader.control(10, WAIT).await, Err(LinkError::Closed)));
        let (mut ours, mut theirs) = pair().await;
        ours.writer.data(&[b"ab"], Body::More);
        ours.writer.flush().await.expect("sent");
        drop(ours);
        let mut body = vec![];
        assert_eq!(theirs.reader.data(&mut body).await.expect("arrived"), Body::More);
        assert!(matches!(theirs.reader.data(&mut body).await, Err(LinkError::Broken(_))));
    });
}

#[test]
fn the_rule_of_progress_holds_for_a_body_as_a_whole_and_not_for_each_frame() {
    block_on(async {
        let (mut ours, mut theirs) = pair().await;
        let mut body = vec![];
        let mut windows = vec![];
        for _ in 0..3 {
            ours.writer.data(&[b"."], Body::More);
            ours.writer.pad();
            ours.writer.flush().await.expect("sent");
            for _ in 0..2 {
                assert_eq!(theirs.reader.data(&mut body).await.expect("arrived"), Body::More);
                windows.push(theirs.reader.body.as_ref().map(|patience| patience.until));
            }
        }
        assert!(windows[0].is_some() && windows.iter().all(|until| *until == windows[0]), "{windows:?}");
        ours.writer.data(&[], Body::End);
        ours.writer.flush().await.expect("sent");
        assert_eq!(theirs.reader.data(&mut body).await.expect("arrived"), Body::End);
        assert!(theirs.reader.body.is_none());
    });
}

#[test]
fn a_window_with_less_than_64_kib_is_the_last() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let mut patience = Patience::begun(Duration::ZERO, second);
    patience.bytes = super::MIN_PROGRESS;
    assert!(patience.renew(second));
    patience.bytes = super::MIN_PROGRESS - 1;
    assert!(!patience.renew(minute));
}

/// A window that no test outlives: what ends before it was ended by something else.
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(10);

#[test]
fn pads_do_not_extend_the_wait_for_an_answer() {
    block_on(async {
        let (mut ours, theirs) = pair().await;
        let mut theirs = theirs.with_window(LONG);
        ours.writer.pad();
        ours.writer.flush().await.expect("sent");
        let rt = theirs.reader.rt.clone();
        let answer = rt.timeout(WAIT, theirs.reader.control(10, SHORT)).await.expect("the wait ends");
        assert!(matches!(answer, Err(LinkError::Stalled(SHORT))), "{answer:?}");
    });
}

#[test]
fn a_frame_that_has_begun_does_not_extend_the_wait_for_an_answer() {
    use futures_util::io::AsyncWriteExt;
    block_on(async {
        let (mut ours, theirs) = pair().await;
        let mut theirs = theirs.with_window(LONG);
        ours.writer.io.write_all(&[0, 100, 1]).await.expect("sent");
        let rt = theirs.reader.rt.clone();
        let answer = rt.timeout(WAIT, theirs.reader.control(10, SHORT)).await.expect("the wait ends");
        assert!(matches!(answer, Err(LinkError::Stalled(SHORT))), "{answer:?}");
    });
}

#[test]
fn a_frame_that_has_begun_is_whole_within_the_window_however_long_the_wait() {
    use futures_util::io::AsyncWriteExt;
    block_on(async {
        let (mut ours, theirs) = pair().await;
        let mut theirs = theirs.with_window(SHORT);
        ours.writer.pad();
        ours.writer.flush().await.expect("sent");
        ours.writer.io.write_all(&[0, 100, 1]).await.expect("sent");
        let rt = theirs.reader.rt.clone();
        let answer = rt.timeout(WAIT, theirs.reader.control(10, LONG)).await.expect("the window ends");
        assert!(matches!(answer, Err(LinkError::Stalled(SHORT))), "{answer:?}");
    });
}

#[test]
fn what_comes_after_the_end_of_the_wait_is_too_late() {
    block_on(async {
        let (mut ours, mut theirs) = pair().await;
        ours.writer.pad();
        ours.writer.control(b"late");
        ours.writer.flush().await.expect("sent");
        let answer = theirs.reader.control(10, Duration::ZERO).await;
        assert!(matches!(answer, Err(LinkError::Stalled(Duration::ZERO))), "{answer:?}");
    });
}

/// Takes so many bytes each time.
struct Taker(usize);

impl futures_util::io::AsyncWrite for Taker {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len().min(self.0)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_peer_takes_64_kib_in_each_window_or_all_that_is_left() {
    block_on(async {
        // Each write is a window of its own, since windows have no length here.
        for (takes, len, is_kept) in [(1 << 16, 200_000, true), ((1 << 16) - 1, 200_000, false), (1 << 16, 10, true)] {
            let (ours, _theirs) = pair().await;
            let mut ours = ours.with_window(Duration::ZERO);
            ours.writer.io = Box::new(Taker(takes));
            ours.writer.control(&vec![0; len]);
            let sent = ours.writer.flush().await;
            assert_eq!(sent.is_ok(), is_kept, "{takes} of {len}: {sent:?}");
        }
    });
}

#[test]
fn a_quiet_connection_gives_its_buffers_back_and_goes_on() {
    block_on(async {
        let (mut ours, mut theirs) = pair().await;
        ours.writer.control(&vec![7; 65_000]);
        ours.writer.flush().await.expect("sent");
        let busy = theirs.reader.control(65_536, WAIT).await.expect("arrived");
        let held = |reader: &super::LinkReader| reader.buffer.len() + reader.plain.capacity();
        assert!(held(&theirs.reader) > 65_000);
        let quiet = theirs.reader.control(65_536, super::REST + Duration::from_millis(1)).await;
        assert!(matches!(quiet, Err(LinkError::Stalled(_))), "{quiet:?}");
        assert!(held(&theirs.reader) <= 2 * super::FIRST_READ_BUFFER, "{}", held(&theirs.reader));
        ours.writer.rest().await;
        assert_eq!(ours.writer.out.capacity() + ours.writer.plain.capacity(), 0);
        ours.writer.control(&[8]);
        ours.writer.flush().await.expect("sent");
        assert_eq!((busy.len(), theirs.reader.control(65_536, WAIT).await.expect("arrived")), (65_000, vec![8]));
    });
}
