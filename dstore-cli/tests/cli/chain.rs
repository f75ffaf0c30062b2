//! Files whose records are on a chain: a real one, with a contract that the program itself puts there.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::anvil::Anvil;
use super::forgetful::Forgetful;
use super::network::{Net, bytes, text};
use super::process::{Ended, command};

/// 1 ETH
const ETHER: u128 = 1_000_000_000_000_000_000;

/// A chain, a network, and a client whose contract is there and whose config names it.
pub(crate) struct Scene {
    pub(crate) chain: Anvil,
    pub(crate) net: Net,
    pub(crate) contract: String,
    pub(crate) address: String,
    pub(crate) key: String,
}

impl Scene {
    pub(crate) fn start() -> Self {
        let mut scene = Self::without_contract();
        let deploy = scene.run(&["contract", "deploy", "--ledger", "ethereum", "--chain", "local", "--json"]);
        scene.contract = text(&deploy.with(0).json()["address"]);
        scene
    }

    /// One whose client has no contract yet.
    pub(crate) fn without_contract() -> Self {
        let chain = Anvil::start(&[]).expect("anvil: run `npm ci --prefix contracts` first");
        let net = Net::start(3);
        let address = net.run(["wallet", "address"]).with(0).text().trim().to_owned();
        let key = fs::read_to_string(net.home().join("client/owner.key")).expect("init made it").trim().to_owned();
        let scene = Self { chain, net, contract: String::new(), address, key };
        scene.fund(ETHER);
        scene
    }

    /// Asks the chain itself.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer = ureq::post(self.chain.url())
            .content_type("application/json")
            .send(body.to_string())
            .expect("anvil answers");
        let answer: Value = serde_json::from_slice(&answer.body_mut().read_to_vec().expect("a body")).expect("JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Sets what the owner has.
    pub(crate) fn fund(&self, wei: u128) {
        self.ask("anvil_setBalance", &json!([self.address, format!("{wei:#x}")]));
    }

    /// How many transactions the owner has sent.
    pub(crate) fn transactions(&self) -> u64 {
        let count = text(&self.ask("eth_getTransactionCount", &json!([self.address, "latest"])));
        u64::from_str_radix(count.trim_start_matches("0x"), 16).expect("a number")
    }

    /// A command of the client.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.net.command();
        command.env("ETH_RPC_URL", self.chain.url());
        command
    }

    /// A command of somebody who has the key and the addresses of registry and contract, and an empty folder.
    pub(crate) fn elsewhere(&self, dir: &str) -> Command {
        let mut command = command(self.net.home());
        command.env("DSTORE_DIR", self.net.home().join(dir)).env("DSTORE_REGISTRY", &self.net.address);
        command.env("ETH_PRIVATE_KEY", &self.key).env("ETH_RPC_URL", self.chain.url());
        command.env("DSTORE_LEDGER", "ethereum").env("DSTORE_CHAIN", "local").env("DSTORE_CONTRACT", &self.contract);
        command
    }

    /// Runs a command of the client, which must keep the key to itself.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.ended(self.command().args(arguments))
    }

    #[track_caller]
    pub(crate) fn ended(&self, command: &mut Command) -> Ended {
        let ended = Ended::from(command.output().expect("the binary runs"));
        let shown = format!("{} {}", ended.text(), ended.stderr);
        assert!(!shown.contains(self.key.trim_start_matches("0x")), "the key is shown: {shown}");
        ended
    }

    /// Puts a file of these bytes.
    #[track_caller]
    pub(crate) fn put(&self, path: &str, content: &[u8]) -> u64 {
        let file = self.net.file(&format!("sources/{path}"), content).display().to_string();
        let ended = self.run(&["put", &file, path, "--json"]).with(0);
        ended.events("result")[0]["version"].as_u64().expect("a version")
    }

    /// The kinds of all versions of a file, newest first.
    #[track_caller]
    fn history(&self, path: &str) -> Vec<(u64, String)> {
        let history = self.run(&["history", path, "--json"]).with(0).json();
        let version = |item: &Value| (item["version"].as_u64().expect("a number"), text(&item["kind"]));
        history["items"].as_array().expect("a list").iter().map(version).collect()
    }
}

fn content(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn files_on_a_chain_are_stored_moved_removed_and_found_elsewhere_with_the_key_alone() {
    let scene = Scene::start();
    assert_eq!(scene.put("a.txt", b"one"), 1);
    assert_eq!(scene.put("a.txt", b"two"), 2);
    assert_eq!(scene.put("docs/b.bin", &bytes(300_000)), 1);
    assert_eq!(scene.put("gone", b"gone"), 1);
    assert_eq!(scene.run(&["cat", "a.txt"]).with(0).stdout, b"two");
    scene.run(&["mv", "a.txt", "b.txt"]).with(0);
    scene.run(&["rm", "gone"]).with(0);
    scene.run(&["cat", "gone"]).with(4);
    assert_eq!(scene.history("gone"), [(2, "removed".to_owned()), (1, "put".to_owned())]);
    assert_eq!(scene.put("gone", b"back"), 3, "no version repeats");
    let whole = [(3, "put"), (2, "removed"), (1, "put")].map(|(version, kind)| (version, kind.to_owned()));
    assert_eq!(scene.history("gone"), whole);

    let found = scene.ended(scene.elsewhere("new").args(["recover", "--json"])).with(0).json();
    let files: Vec<_> = found["files"].as_array().expect("a list").iter().map(|file| text(&file["path"])).collect();
    assert_eq!(files, ["b.txt", "docs/b.bin", "gone"], "{found}");
    scene.ended(scene.elsewhere("new").args(["get", "/", "back"])).with(0);
    let back = scene.net.home().join("back");
    assert_eq!(content(&back.join("b.txt")), b"two");
    assert!(content(&back.join("docs/b.bin")) == bytes(300_000));
    assert_eq!(content(&back.join("gone")), b"back");
    let advice = scene.ended(scene.elsewhere("newer").arg("recover")).with(0);
    assert!(advice.stderr.contains("nothing has to be written"), "{}", advice.stderr);
}

#[test]
fn with_a_provider_that_lost_every_log_everything_is_found_and_read_from_copies() {
    let scene = Scene::start();
    scene.put("a.txt", b"one");
    scene.put("a.txt", b"two");
    scene.put("b.bin", &bytes(100_000));
    scene.put("gone", b"gone");
    scene.run(&["rm", "gone"]).with(0);
    let provider = Forgetful::start(scene.chain.url());
    let run = |arguments: &[&str]| {
        let mut command = scene.elsewhere("new");
        scene.ended(command.args(arguments).env("ETH_RPC_URL", &provider.url))
    };
    let ended = run(&["recover", "--json"]);
    let files: Vec<_> =
        ended.json()["files"].as_array().expect("a list").iter().map(|file| text(&file["path"])).collect();
    assert_eq!(files, ["a.txt", "b.bin"], "{} {}", ended.text(), ended.stderr);
    run(&["get", "/", "back"]).with(0);
    assert_eq!(content(&scene.net.home().join("back/a.txt")), b"two");
    assert!(content(&scene.net.home().join("back/b.bin")) == bytes(100_000));
}

#[test]
fn a_contract_is_deployed_once_kept_in_the_config_and_shown() {
    let scene = Scene::without_contract();
    let on_chain = ["--ledger", "ethereum", "--chain", "local"];
    let missing = scene.run(&[&["ls", "--json"][..], &on_chain].concat()).with(8).error();
    assert!(text(&missing["hint"]).contains("contract deploy --chain local"), "{missing}");
    let dry = scene.run(&[&["contract", "deploy", "--dry-run", "--json"][..], &on_chain].concat()).with(0).json();
    assert!(dry["gas"].as_u64().is_some_and(|gas| (800_000..1_200_000).contains(&gas)), "{dry}");
    assert_eq!(scene.transactions(), 0, "a dry run sends nothing");

    let made = scene.run(&[&["contract", "deploy", "--json"][..], &on_chain].concat()).with(0).json();
    assert_eq!((&made["schema"], &made["chain_id"]), (&"dstore.contract/1".into(), &31337.into()));
    let address = text(&made["address"]);
    let again = scene.run(&[&["contract", "deploy", "--json"][..], &on_chain].concat()).with(9).error();
    assert_eq!(again["code"], "already_exists");
    assert_eq!(scene.transactions(), 1, "no second one is deployed");
    let info = scene.run(&["contract", "info", "--json"]).with(0).json();
    assert_eq!((&info["address"], &info["owner"]), (&address.as_str().into(), &scene.address.as_str().into()));
    assert_eq!((&info["code_hash"], &info["writes"]), (&made["code_hash"], &0.into()));
    let shown = scene.run(&["contract", "info"]).with(0).text();
    assert!(shown.contains(&address) && shown.contains("local (31337)"), "{shown}");

    scene.put("a", b"one");
    let info = scene.run(&["contract", "info", "--json"]).with(0).json();
    assert_eq!(info["writes"], 1);
    let balance = scene.run(&["wallet", "balance", "--json"]).with(0).json();
    let left: u128 = text(&balance["wei"]).parse().expect("a number");
    assert!(left < ETHER && left > ETHER / 2, "{balance}");
}

#[test]
fn status_and_doctor_show_the_chain() {
    let scene = Scene::start();
    let status = scene.run(&["status", "--json"]).with(0).json();
    assert_eq!(status["ledger"], json!({"kind": "ethereum", "chain": "local", "contract": scene.contract}));
    assert!(scene.run(&["status"]).with(0).text().contains(&scene.contract));
    let doctor = scene.run(&["doctor"]).with(0).text();
    assert!(doctor.contains(&scene.contract) && doctor.contains("ETH to pay for writes"), "{doctor}");
    scene.fund(0);
    let doctor = scene.run(&["doctor"]).with(0).text();
    assert!(
        doctor.contains("WARN") && doctor.contains(&format!("send ETH of that chain to {}", scene.address)),
        "{doctor}"
    );
    let down = scene.ended(scene.command().args(["doctor", "--json"]).env("ETH_RPC_URL", "http://127.0.0.1:1/hunter2"));
    assert_eq!(down.error()["code"], "unavailable");
    let document = down.with(5).json();
    let ledger = document["checks"].as_array().expect("a list").iter().find(|check| check["check"] == "ledger");
    assert_eq!(ledger.expect("it is checked")["state"], "fail", "{document}");
    assert!(!document.to_string().contains("hunter2"), "{document}");
}

#[test]
fn two_folders_with_one_key_write_at_the_same_time_and_every_put_succeeds() {
    const EACH: usize = 10;
    let scene = Scene::start();
    let put_all = |dir: &str| {
        for index in 0..EACH {
            let path = format!("{dir}-{index}");
            let file = scene.net.file(&format!("sources/{path}"), path.as_bytes()).display().to_string();
            let ended = scene.ended(scene.elsewhere(dir).args(["put", &file])).with(0);
            assert!(!ended.stderr.contains("nonce"), "{}", ended.stderr);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| put_all("one"));
        scope.spawn(|| put_all("two"));
    });
    let list = scene.run(&["ls", "--json"]).with(0).json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2 * EACH));
    let locks = scene.net.home().join(".local/share/dstore/locks");
    assert_eq!(fs::read_dir(locks).expect("where they took turns").count(), 1);
}

#[test]
fn a_folder_of_a_hundred_files_is_one_transaction() {
    let scene = Scene::start();
    for index in 0..100 {
        scene.net.file(&format!("many/{index:03}"), format!("file {index}").as_bytes());
    }
    let before = scene.transactions();
    scene.run(&["put", "many"]).with(0);
    assert_eq!(scene.transactions() - before, 1);
    let list = scene.run(&["ls", "--json"]).with(0).json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(100));
    assert_eq!(scene.run(&["cat", "many/042"]).with(0).stdout, b"file 42");
}

#[test]
fn a_dry_run_tells_gas_and_price_and_sends_nothing() {
    let scene = Scene::start();
    scene.put("there", b"one");
    let sent = scene.transactions();
    let file = scene.net.file("new", &bytes(50_000)).display().to_string();
    let seen = scene.run(&["put", &file, "--dry-run", "--json"]).with(0).json();
    assert_eq!(seen["schema"], "dstore.put_preview/1");
    let item = &seen["items"][0];
    assert_eq!((&item["path"], &item["version"], &item["size"]), (&"new".into(), &1.into(), &50_000.into()));
    assert!(item["gas"].as_u64().is_some_and(|gas| (60_000..90_000).contains(&gas)), "{seen}");
    let number = |field: &str| text(&seen[field]).parse::<u128>().expect("a number");
    assert!(0 < number("wei") && number("wei") <= number("max_wei"), "{seen}");
    let again = scene.net.file("there", b"two").display().to_string();
    let seen = scene.run(&["put", &again, "--dry-run"]).with(0);
    assert!(seen.text().contains("there: version 2") && seen.text().contains(" gas: 0.0"), "{}", seen.text());
    assert!(seen.stderr.contains("nothing was sent"), "{}", seen.stderr);
    scene.net.file("two/a", b"a");
    scene.net.file("two/b", b"b");
    let seen = scene.run(&["put", "two", "--dry-run"]).with(0).text();
    assert!(seen.contains("two/b: version 1") && seen.contains("in all: 2 files"), "{seen}");
    scene.run(&["put", &again, "--dry-run", "--mode", "create"]).with(9);
    scene.run(&["put", "-", "x", "--dry-run"]).with(2);

    assert_eq!(scene.transactions(), sent, "nothing is sent");
    assert_eq!(scene.run(&["cat", "there"]).with(0).stdout, b"one");
    scene.run(&["cat", "new"]).with(4);
    let free = scene.run(&["put", &file, "--dry-run", "--ledger", "local", "--json"]).with(0).json();
    assert!(free["gas"].is_null() && free["stored"].as_u64() > Some(50_000), "{free}");
}
