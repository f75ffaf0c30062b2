//! A development chain: the real program, on a port of its own, ended with the test.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// The key of the first account that every such chain gives ether to.
pub(crate) const RICH: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// A running chain.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) url: String,
}

impl Anvil {
    /// One that makes a block of every transaction, at once.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One with more arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contracts/bin/anvil");
        let mut child = Command::new(&program)
            .args(["--port", "0", "--host", "127.0.0.1"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run `npm ci --prefix contracts` first", program.display()));
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = lines.by_ref().find_map(|line| Some(line.ok()?.strip_prefix("Listening on ")?.to_owned()));
        let Some(address) = address else {
            drop(child.kill());
            panic!("anvil ended early: run `npm ci --prefix contracts` first");
        };
        // It must never wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://{address}") }
    }

    /// Asks the chain itself, past every fault.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer = ureq::post(&self.url).send(body.to_string()).expect("anvil answers");
        let answer: Value = serde_json::from_slice(&answer.body_mut().read_to_vec().expect("a body")).expect("JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Gives an account so much ether.
    pub(crate) fn fund(&self, address: &str, wei: u128) {
        self.ask("anvil_setBalance", &json!([address, format!("{wei:#x}")]));
    }

    /// Makes so many blocks.
    pub(crate) fn mine(&self, blocks: u32) {
        self.ask("anvil_mine", &json!([format!("{blocks:#x}")]));
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
