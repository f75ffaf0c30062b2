//! A provider that is busy, wrong, old, endless or gone, as a test asks it to be: it stands before a real chain.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::anvil::Anvil;

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) params: Value,
}

/// What becomes of a call.
pub(crate) enum Fault {
    /// It is answered.
    None,
    /// It is answered with this status; a client may come back at once.
    Status(u16),
    /// It is answered with these bytes.
    Raw(Vec<u8>),
    /// It is answered with an error of the protocol.
    Refusal(&'static str),
    /// The connection ends.
    Closed,
    /// Nothing comes, and the connection stays.
    Silence,
    /// The chain takes it, and the connection ends before the answer.
    Lost,
    /// It is answered with something else.
    Changed(fn(Value) -> Value),
}

type Rule = Box<dyn FnMut(&Call) -> Fault + Send>;

struct Shared {
    chain: String,
    rule: Mutex<Rule>,
    calls: Mutex<Vec<Call>>,
    ended: AtomicBool,
    /// Requests that are being answered, and the most of them at one time.
    open: Mutex<(usize, usize)>,
}

/// Such a provider.
pub(crate) struct Proxy {
    pub(crate) url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

impl Proxy {
    /// One that obeys `rule`.
    pub(crate) fn new(anvil: &Anvil, rule: impl FnMut(&Call) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            chain: anvil.url.clone(),
            rule: Mutex::new(Box::new(rule)),
            calls: Mutex::default(),
            ended: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let served = shared.clone();
        let accepts = std::thread::spawn(move || {
            // Silent connections stay open until the provider ends.
            let mut open = Vec::new();
            for stream in listener.incoming().flatten() {
                if served.ended.load(Ordering::SeqCst) {
                    break;
                }
                open.extend(stream.try_clone());
                let served = served.clone();
                std::thread::spawn(move || served.serve(stream));
            }
            open.iter().for_each(end);
        });
        Self { url: format!("http://{address}"), address, shared, accepts: Some(accepts) }
    }

    /// One that has no fault yet.
    pub(crate) fn honest(anvil: &Anvil) -> Self {
        Self::new(anvil, |_| Fault::None)
    }

    /// From now on it obeys this.
    pub(crate) fn obey(&self, rule: impl FnMut(&Call) -> Fault + Send + 'static) {
        *self.shared.rule.lock().expect("no rule panics") = Box::new(rule);
    }

    /// How many requests came at once, of those that were answered.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.open.lock().expect("fine").1
    }

    /// How often a method was called.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.shared.calls.lock().expect("fine").iter().filter(|call| call.method == method).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(accepts) = self.accepts.take() {
            drop(accepts.join());
        }
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(body) = read(&mut reader) {
            let Ok(request) = serde_json::from_slice::<Value>(&body) else { return };
            let call = Call {
                method: request["method"].as_str().unwrap_or_default().to_owned(),
                params: request["params"].clone(),
            };
            self.calls.lock().expect("fine").push(call.clone());
            {
                let mut open = self.open.lock().expect("fine");
                open.0 += 1;
                open.1 = open.1.max(open.0);
            }
            let fault = (*self.rule.lock().expect("no rule panics"))(&call);
            let answer = match fault {
                Fault::None => response(200, &self.ask(&body)),
                Fault::Status(status) => response(status, b"busy"),
                Fault::Raw(bytes) => response(200, &bytes),
                Fault::Refusal(message) => {
                    let error = json!({"code": -32000, "message": message});
                    response(200, json!({"jsonrpc": "2.0", "id": 1, "error": error}).to_string().as_bytes())
                }
                Fault::Closed => return end(reader.get_ref()),
                Fault::Silence => {
                    // Until either side ends.
                    let mut rest = [0; 1];
                    drop(reader.read(&mut rest));
                    return;
                }
                Fault::Lost => {
                    self.ask(&body);
                    return end(reader.get_ref());
                }
                Fault::Changed(change) => {
                    let mut answer: Value = serde_json::from_slice(&self.ask(&body)).expect("JSON");
                    answer["result"] = change(answer["result"].take());
                    response(200, answer.to_string().as_bytes())
                }
            };
            self.open.lock().expect("fine").0 -= 1;
            if reader.get_mut().write_all(&answer).is_err() {
                return;
            }
        }
    }

    fn ask(&self, body: &[u8]) -> Vec<u8> {
        let asked = ureq::post(&self.chain).header("content-type", "application/json").send(body);
        asked.expect("the chain answers").body_mut().read_to_vec().expect("a body")
    }
}

/// Clones of it exist.
fn end(stream: &TcpStream) {
    drop(stream.shutdown(Shutdown::Both));
}

/// The body of the next request.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut len = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            len = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
