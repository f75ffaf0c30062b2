//! A provider that has lost every log: it passes all else on to the chain.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

/// One that serves until the test ends.
pub(crate) struct Forgetful {
    pub(crate) url: String,
}

impl Forgetful {
    pub(crate) fn start(chain: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let chain = chain.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let chain = chain.clone();
                // Whoever goes away early is the client's matter.
                std::thread::spawn(move || drop(answer(&chain, stream)));
            }
        });
        Self { url }
    }
}

/// One request, then the connection ends.
fn answer(chain: &str, mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut len, mut line) = (0, String::new());
    while reader.read_line(&mut line)? > 2 {
        if let Some((_, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            len = value.trim().parse().map_err(io::Error::other)?;
        }
        line.clear();
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    let asked: Value = serde_json::from_slice(&body)?;
    let answer = if asked["method"] == "eth_getLogs" {
        json!({"jsonrpc": "2.0", "id": asked["id"], "result": []}).to_string().into_bytes()
    } else {
        let mut answer =
            ureq::post(chain).content_type("application/json").send(&body[..]).map_err(io::Error::other)?;
        answer.body_mut().read_to_vec().map_err(io::Error::other)?
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
    write!(stream, "{head} {}\r\n\r\n", answer.len())?;
    stream.write_all(&answer)
}
