//! The administrator's listener: three pages over HTTP, for a monitoring system beside the server.
//!
//! Invariant: whoever connects can read these pages, make it hold 16 connections of 8 KiB for 15 s each, and nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, pending, select};
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use futures_util::stream::FuturesUnordered;

use crate::error::{Error, Result};
use crate::rt::{BoxFuture, Listener, Rt, Socket, Task};

/// Requests that are served at once; further ones wait to be accepted.
const AT_ONCE: usize = 16;
/// The longest request.
const MAX_REQUEST: usize = 8 << 10;
/// Lines of a request's head.
const MAX_HEADERS: usize = 64;
/// Time for a request to arrive, and for its answer to be taken.
const TRANSFER: Duration = Duration::from_secs(5);
/// Time for a check, such as a write to the disk.
const CHECK: Duration = Duration::from_secs(4);

/// What is wrong with a server, and what its operator can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// A stable word.
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Problem {
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// What the pages are about.
pub(crate) trait Subject: Send + Sync + 'static {
    /// Everything that is counted, as OpenMetrics text.
    fn metrics(&self) -> String;

    /// Why it should be restarted or repaired; empty while it can do its work.
    fn faults(&self) -> BoxFuture<'_, Vec<Problem>>;

    /// Why it should be given no work; empty while it is ready. The faults are among them.
    fn obstacles(&self) -> BoxFuture<'_, Vec<Problem>>;
}

/// Where to listen.
#[derive(Debug, Clone, Default)]
pub(crate) struct AdminSettings {
    pub(crate) address: Option<String>,
    /// Whether others than this machine may be able to connect.
    pub(crate) public: bool,
}

/// A running listener. Dropping it ends it, and all its connections.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    _task: Task,
}

impl Admin {
    /// Starts to listen, if that is asked for.
    pub(crate) async fn start(rt: &Rt, settings: AdminSettings, subject: Arc<dyn Subject>) -> Result<Option<Self>> {
        let Some(address) = settings.address else { return Ok(None) };
        let listener = rt.listen(&address).await;
        let listener = listener.map_err(|error| Error::io(format!("cannot listen at {address} (admin)"), error))?;
        let bound = listener.local_addr();
        if !bound.ip().is_loopback() && !settings.public {
            return Err(Error::config(format!(
                "the admin address {bound} can be reached from other machines, and asks nobody who they are: take a \
                 loopback address, or allow it with --admin-public (admin_public() in Rust)"
            )));
        }
        let pages = Pages { rt: rt.clone(), subject };
        Ok(Some(Self { address: bound, _task: rt.spawn(pages.run(listener)) }))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

struct Pages {
    rt: Rt,
    subject: Arc<dyn Subject>,
}

impl Pages {
    async fn run(self, listener: Box<dyn Listener>) {
        let mut running: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        // Never empty, so that its next end can always be waited for.
        running.push(Box::pin(pending()));
        loop {
            let full = running.len() > AT_ONCE;
            let accept = async { if full { pending().await } else { listener.accept().await } };
            match select(std::pin::pin!(accept), running.next()).await {
                Either::Left((Ok(socket), _)) => running.push(Box::pin(self.serve(socket))),
                Either::Left((Err(_), _)) => self.rt.sleep(Duration::from_millis(50)).await,
                Either::Right(_) => {}
            }
        }
    }

    /// One request and its answer.
    async fn serve(&self, mut socket: Socket) {
        let Ok(Ok(request)) = self.rt.timeout(TRANSFER, read_request(&mut socket)).await else { return };
        let answer = match request {
            Request::Get(path) => self.page(&path).await,
            Request::Other => Page::error("405 Method Not Allowed"),
            Request::Malformed => Page::error("400 Bad Request"),
            Request::TooLong => Page::error("431 Request Header Fields Too Large"),
        };
        let send = async {
            socket.writer.write_all(answer.response().as_bytes()).await?;
            socket.writer.close().await
        };
        let _ = self.rt.timeout(TRANSFER, send).await;
    }

    async fn page(&self, path: &str) -> Page {
        match path {
            "/metrics" => Page { status: "200 OK", kind: OPEN_METRICS, body: self.subject.metrics() },
            "/healthz" => self.report("healthy", self.subject.faults()).await,
            "/readyz" => self.report("ready", self.subject.obstacles()).await,
            _ => Page { body: "/metrics /healthz /readyz\n".to_owned(), ..Page::error("404 Not Found") },
        }
    }

    async fn report(&self, good: &str, check: BoxFuture<'_, Vec<Problem>>) -> Page {
        let stuck = || vec![Problem::new("stuck", format!("a check of the disk did not end within {CHECK:?}"))];
        let problems = self.rt.timeout(CHECK, check).await.unwrap_or_else(|_| stuck());
        if problems.is_empty() {
            return Page { status: "200 OK", kind: TEXT, body: format!("{good}\n") };
        }
        let lines = problems.iter().map(|problem| format!("{}: {}\n", problem.code, problem.text));
        Page { status: "503 Service Unavailable", kind: TEXT, body: lines.collect() }
    }
}

enum Request {
    /// The path, without what follows a `?`.
    Get(String),
    Other,
    Malformed,
    TooLong,
}

async fn read_request(socket: &mut Socket) -> io::Result<Request> {
    let mut bytes = vec![0; MAX_REQUEST];
    let mut len = 0;
    loop {
        match socket.reader.read(&mut bytes[len..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => len += count,
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&bytes[..len]) {
            Err(_) => return Ok(Request::Malformed),
            Ok(httparse::Status::Partial) if len == MAX_REQUEST => return Ok(Request::TooLong),
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
                let get = request.method == Some("GET");
                return Ok(if get { Request::Get(path.to_owned()) } else { Request::Other });
            }
        }
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

struct Page {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Page {
    fn error(status: &'static str) -> Self {
        Self { status, kind: TEXT, body: format!("{status}\n") }
    }

    fn response(&self) -> String {
        let Self { status, kind, body } = self;
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

#[cfg(test)]
mod tests;
