//! JSON-RPC over HTTP, in threads that may block: the transport under `ethers_providers`, whose own one needs tokio.
//!
//! Invariant: a provider can answer wrong, late, endlessly or not at all; each is an error, in bounded time and memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ethers_providers::{JsonRpcClient, JsonRpcError, ProviderError, RpcError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::chain::RpcUrl;
use crate::rt::Rt;

/// The longest answer: 256 records of the greatest length, as hex, take 3 MiB.
const MAX_ANSWER: u64 = 8 << 20;
/// Requests to one provider at the same time; others wait for them, as long as one may take.
const AT_ONCE: usize = 8;
/// Pauses between tries while a provider is busy; each is also what a provider may ask for at most.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// One provider.
#[derive(Clone)]
pub(super) struct Http {
    url: RpcUrl,
    agent: ureq::Agent,
    rt: Rt,
    timeout: Duration,
    next: Arc<AtomicU64>,
    /// Requests that may be on their way at once: providers count them.
    turns: Arc<async_lock::Semaphore>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RpcFailure {
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// It answers that it is busy.
    #[error("it answers {0}: too many requests, or overloaded")]
    Busy(u16),
    /// It refuses.
    #[error("it answers HTTP status {0}{hint}", hint = advice(*.0))]
    Status(u16),
    /// It sends too much.
    #[error("its answer is longer than {} MiB", MAX_ANSWER >> 20)]
    TooLong,
    /// It sends something else than JSON-RPC.
    #[error("its answer is not JSON-RPC ({0})")]
    Garbage(&'static str),
    /// It sends neither a result nor an error.
    #[error("its answer is not JSON-RPC: it has neither a result nor an error")]
    Empty,
    /// It answers with an error of the protocol.
    #[error("{0}")]
    Refused(JsonRpcError),
}

impl RpcError for RpcFailure {
    fn as_error_response(&self) -> Option<&JsonRpcError> {
        match self {
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }

    /// Its text would repeat what the provider sent.
    fn as_serde_error(&self) -> Option<&serde_json::Error> {
        None
    }
}

impl From<RpcFailure> for ProviderError {
    fn from(failure: RpcFailure) -> Self {
        Self::JsonRpcClientError(Box::new(failure))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Http {
    pub(super) fn new(url: RpcUrl, timeout: Duration, rt: Rt) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // Settings come from the caller, not from the environment.
            .proxy(None)
            .timeout_global(Some(timeout))
            .max_idle_connections_per_host(8)
            .build();
        Self {
            url,
            agent: config.into(),
            rt,
            timeout,
            next: Arc::default(),
            turns: Arc::new(async_lock::Semaphore::new(AT_ONCE)),
        }
    }

    /// Sends `body`, again while the provider is busy and there is time, unless it `once` only.
    async fn send(&self, body: Vec<u8>, once: bool) -> Result<(u16, Vec<u8>), RpcFailure> {
        let crowded = || RpcFailure::Unreachable("it did not answer in time".to_owned());
        let turn = self.rt.timeout(self.timeout, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| crowded())?;
        let (body, started) = (Arc::new(body), self.rt.uptime());
        let mut pauses = PAUSES.into_iter().filter(|_| !once);
        loop {
            let (agent, url, sent) = (self.agent.clone(), self.url.clone(), body.clone());
            let answer = self.rt.blocking(move || post(&agent, &url, &sent)).await;
            let (failure, wanted) = match answer {
                Ok(answer) => return Ok(answer),
                Err((failure @ (RpcFailure::Busy(_) | RpcFailure::Unreachable(_)), wanted)) => (failure, wanted),
                Err((failure, _)) => return Err(failure),
            };
            let longest = PAUSES[PAUSES.len() - 1];
            let pause = match (pauses.next(), &failure) {
                (Some(pause), _) => pause,
                (None, RpcFailure::Busy(_)) if !once => longest,
                (None, _) => return Err(failure),
            };
            let pause = wanted.map_or(pause, |wanted| wanted.min(longest));
            if self.rt.uptime().saturating_sub(started) + pause >= self.timeout {
                return Err(failure);
            }
            self.rt.sleep(pause).await;
        }
    }
}

/// The status and the body.
type Answered = Result<(u16, Vec<u8>), (RpcFailure, Option<Duration>)>;

fn post(agent: &ureq::Agent, url: &RpcUrl, body: &[u8]) -> Answered {
    let sent = agent.post(url.expose()).header("content-type", "application/json").send(body);
    let mut response = sent.map_err(|error| (unreachable(&error), None))?;
    let status = response.status().as_u16();
    if matches!(status, 429 | 502 | 503 | 504) {
        let wanted = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        return Err((RpcFailure::Busy(status), wanted.map(Duration::from_secs)));
    }
    let read = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
    let answer = read.map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(_) => (RpcFailure::TooLong, None),
        error => (unreachable(&error), None),
    })?;
    // Some providers send an error of the protocol with a status of its own.
    if !(200..300).contains(&status) && !answer.starts_with(b"{") {
        return Err((RpcFailure::Status(status), None));
    }
    Ok((status, answer))
}

/// What most often is behind a status.
fn advice(status: u16) -> &'static str {
    match status {
        401..=404 => ": look at the address in ETH_RPC_URL, or the key in ALCHEMY_API_KEY",
        _ => "",
    }
}

/// Without the address: ureq names only host and port in what it says of connections.
fn unreachable(error: &ureq::Error) -> RpcFailure {
    RpcFailure::Unreachable(match error {
        ureq::Error::Timeout(_) => "it did not answer in time".to_owned(),
        ureq::Error::HostNotFound => "its host is not known".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        // The system has no word for what a resolver says.
        ureq::Error::Io(error) if error.kind().to_string().contains("uncategorized") => {
            "its host is not known, or cannot be reached".to_owned()
        }
        ureq::Error::Io(error) => error.kind().to_string(),
        ureq::Error::Tls(what) => format!("TLS: {what}"),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        _ => "the connection broke".to_owned(),
    })
}

/// Without what was sent, which may repeat a key.
fn garbage(error: &serde_json::Error) -> RpcFailure {
    RpcFailure::Garbage(match error.classify() {
        serde_json::error::Category::Data => "it has another form than was asked for",
        serde_json::error::Category::Eof => "it is cut short",
        _ => "it is not JSON",
    })
}

#[derive(Serialize)]
struct Request<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: Value,
}

#[async_trait]
impl JsonRpcClient for Http {
    type Error = RpcFailure;

    async fn request<T, R>(&self, method: &str, params: T) -> Result<R, RpcFailure>
    where
        T: fmt::Debug + Serialize + Send + Sync,
        R: DeserializeOwned + Send,
    {
        let params = match serde_json::to_value(params).map_err(|error| garbage(&error))? {
            Value::Null => Value::Array(Vec::new()),
            params => params,
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let body =
            serde_json::to_vec(&Request { jsonrpc: "2.0", id, method, params }).map_err(|error| garbage(&error))?;
        // Whether a transaction that was sent twice was taken is harder to tell.
        let (status, answer) = self.send(body, method == "eth_sendRawTransaction").await?;
        let members: BTreeMap<String, &RawValue> = serde_json::from_slice(&answer).map_err(|error| garbage(&error))?;
        let member = |name: &str| members.get(name).map(|value| value.get());
        if let Some(error) = member("error").filter(|error| *error != "null") {
            // Some gateways say it in a text alone.
            let text = |text: String| JsonRpcError { code: 0, message: text, data: None };
            let error = serde_json::from_str(error)
                .or_else(|failed| serde_json::from_str(error).map(text).map_err(|_| garbage(&failed)))?;
            return Err(RpcFailure::Refused(self.url.redact(error)));
        }
        match member("result") {
            Some(result) => serde_json::from_str(result).map_err(|error| garbage(&error)),
            None if status == 200 => Err(RpcFailure::Empty),
            None => Err(RpcFailure::Status(status)),
        }
    }
}
