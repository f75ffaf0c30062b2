//! Settings, keys, and command lines that cannot be obeyed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use super::network::{Net, empty_home, run_alone, server, text};
use super::process::{command, run};

const REGISTRY: &str =
    "dsr1:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@127.0.0.1:1";
const KEY: &str = "00000000000000000000000000000000000000000000000000000000000000a1";

#[test]
fn what_is_missing_is_named_with_the_place_to_put_it() {
    let no_owner = run_alone(["ls", "--json"]).with(8).error();
    assert_eq!(no_owner["code"], "config");
    assert!(text(&no_owner["hint"]).contains("ETH_PRIVATE_KEY"), "{no_owner}");
    let home = empty_home();
    fs::write(home.path().join("a"), "").expect("written");
    for arguments in [&["put", "a"][..], &["init"], &["status"], &["node", "run"], &["registry", "nodes"]] {
        let ended = run(home.path(), arguments).with(8);
        assert!(ended.stderr.contains("DSTORE_REGISTRY"), "{}", ended.stderr);
        assert!(ended.stderr.contains("dstore-cli init --registry"), "{}", ended.stderr);
    }
}

#[test]
fn usage_errors_are_json_too_when_json_is_asked_for() {
    for arguments in [&["--json"][..], &["put", "--json"], &["--json", "nonsense"], &["ls", "--json", "--nonsense"]] {
        assert_eq!(run_alone(arguments).with(2).error()["code"], "usage", "{arguments:?}");
    }
    assert!(run_alone(["nonsense"]).with(2).stderr.contains("unrecognized subcommand 'nonsense'"));
    for help in [&["--help"][..], &["put", "--help"], &["help"], &["help", "node", "run"], &["--version"]] {
        assert_eq!(run_alone(help).with(0).stderr, "");
    }
}

#[test]
fn commands_that_do_not_exist_yet_are_not_there() {
    for absent in ["repair", "watch"] {
        run_alone([absent]).with(2);
    }
    run_alone(["ls", "--ledger", "paper"]).with(2);
    run_alone(["ls", "--progress", "xml"]).with(2);
    run_alone(["ls", "--timeout", "soon"]).with(2);
    run_alone(["put", "a", "--scheme", "4"]).with(2);
}

#[test]
fn each_value_says_where_it_came_from() {
    let home = empty_home();
    run(home.path(), ["init", "--dir", "d", "--registry", REGISTRY]).with(0);
    let env_file = home.path().join(".env");
    fs::write(&env_file, format!("# mine\nDSTORE_SCHEME=2+4\nETH_PRIVATE_KEY={KEY}\nDSTORE_DIR=d\n")).expect("written");
    let arguments = ["config", "show", "--origin", "--timeout", "7s"];
    let shown = command(home.path()).args(arguments).env("DSTORE_PADDING", "none").output().expect("it runs");
    let shown = super::process::Ended::from(shown).with(0);
    let line = |name: &str| shown.text().lines().find(|line| line.starts_with(name)).map(ToOwned::to_owned);
    let words = |name: &str| line(name).map(|line| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>());
    let expect = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(words("timeout"), expect(&["timeout", "flag", "7s"]));
    assert_eq!(words("padding"), expect(&["padding", "DSTORE_PADDING", "none"]));
    assert_eq!(words("scheme"), expect(&["scheme", ".env:2", "2+4"]));
    assert_eq!(words("registry"), expect(&["registry", "d/config.toml", REGISTRY]));
    assert_eq!(words("ledger"), expect(&["ledger", "default", "local"]));
    assert_eq!(words("dir"), expect(&["dir", ".env:4", "d"]));
    assert_eq!(words("owner_key "), expect(&["owner_key", ".env:3", "set", "(from", ".env:3)"]));
    assert!(!shown.text().contains(KEY));
    let json = run(home.path(), ["config", "show", "--json", "--origin"]).with(0).json();
    assert_eq!(json["schema"], "dstore.config/1");
    assert!(!json.to_string().contains(KEY));
}

#[test]
fn a_readable_env_file_with_a_secret_is_warned_of() {
    let home = empty_home();
    let env_file = home.path().join(".env");
    fs::write(&env_file, format!("ETH_PRIVATE_KEY={KEY}\n")).expect("written");
    fs::set_permissions(&env_file, fs::Permissions::from_mode(0o644)).expect("ours");
    assert!(run(home.path(), ["ls"]).with(0).stderr.contains("chmod 600 .env"));
    fs::set_permissions(&env_file, fs::Permissions::from_mode(0o600)).expect("ours");
    assert_eq!(run(home.path(), ["ls"]).with(0).stderr, "");
}

#[test]
fn unknown_settings_are_refused_with_a_suggestion() {
    let home = empty_home();
    fs::write(home.path().join("c.toml"), "regsitry = \"x\"\n").expect("written");
    let error = run(home.path(), ["ls", "--config", "c.toml", "--json"]).with(8).error();
    assert!(text(&error["message"]).contains("did you mean \"registry\"?"), "{error}");
    run(home.path(), ["ls", "--config", "nowhere.toml"]).with(8);
    fs::write(home.path().join("c.toml"), b"registry = \"\xff\"\n").expect("written");
    assert_eq!(run(home.path(), ["ls", "--config", "c.toml", "--json"]).with(8).error()["code"], "config");
    run(home.path(), ["ls", "--env-file", "nowhere.env"]).with(8);
    for folder in [&["--config", "."][..], &["--env-file", "."], &["--dir", "c.toml"]] {
        let error = run(home.path(), [&["ls", "--json"], folder].concat()).with(8).error();
        assert_eq!(error["code"], "config", "{error}");
    }
    let misspelt = command(home.path()).args(["config", "show"]).env("DSTORE_REGSITRY", "x").output().expect("it runs");
    assert!(String::from_utf8_lossy(&misspelt.stderr).contains("did you mean DSTORE_REGISTRY?"));
}

#[test]
fn init_makes_a_key_once_and_touches_nothing_after() {
    let home = empty_home();
    let made = run(home.path(), ["init", "--dir", "a", "--registry", REGISTRY, "--json"]).with(0).json();
    assert_eq!((&made["schema"], &made["registry"][0]), (&"dstore.init/1".into(), &REGISTRY.into()));
    let key = home.path().join("a/owner.key");
    let before = fs::read(&key).expect("made");
    assert_eq!(fs::metadata(&key).expect("made").permissions().mode() & 0o777, 0o600);
    let again = run(home.path(), ["init", "--dir", "a", "--registry", REGISTRY, "--json"]).with(9).error();
    assert_eq!(again["code"], "already_exists");
    assert_eq!(fs::read(&key).expect("still there"), before);
    let other = run(home.path(), ["init", "--dir", "b", "--registry", REGISTRY, "--json"]).with(0).json();
    assert_ne!(other["owner"], made["owner"]);
    let given =
        command(home.path()).args(["init", "--dir", "c", "--registry", REGISTRY]).env("ETH_PRIVATE_KEY", KEY).output();
    super::process::Ended::from(given.expect("it runs")).with(0);
    assert_eq!(fs::read_to_string(home.path().join("c/owner.key")).expect("kept").trim(), KEY);
}

#[test]
fn init_says_what_the_key_is_and_what_losing_it_means() {
    let home = empty_home();
    let said = run(home.path(), ["init", "--dir", "a", "--registry", REGISTRY]).with(0).stderr;
    for part in ["a/owner.key is the key to all of your files", "nobody can read them ever again", "keep a copy"] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    let on_chain = ["init", "--dir", "b", "--registry", REGISTRY, "--ledger", "ethereum", "--max-fee", "2.5"];
    let said = run(home.path(), on_chain).with(0).stderr;
    for part in ["send some ETH of that chain to 0x", "contract deploy"] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    let kept: toml::Table = fs::read_to_string(home.path().join("b/config.toml")).expect("made").parse().expect("TOML");
    let kept = |name: &str| kept.get(name).and_then(toml::Value::as_str);
    assert_eq!((kept("ledger"), kept("chain"), kept("max_fee")), (Some("ethereum"), Some("sepolia"), Some("2.5")));
}

#[test]
fn a_keystore_opens_with_its_password_and_says_so_when_it_is_another() {
    // From the definition of the format.
    const KEYSTORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{
        "c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"version":3,
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6"}"#;
    let home = empty_home();
    for (name, content) in [("k.json", KEYSTORE), ("password", "testpassword\n"), ("other", "hunter2")] {
        fs::write(home.path().join(name), content).expect("written");
        fs::set_permissions(home.path().join(name), fs::Permissions::from_mode(0o600)).expect("ours");
    }
    let address = |variable: &str, value: &str| {
        let mut command = command(home.path());
        command.args(["wallet", "address", "--json"]).env("ETH_KEYSTORE", "k.json").env(variable, value);
        super::process::Ended::from(command.output().expect("it runs"))
    };
    let opened = address("ETH_KEYSTORE_PASSWORD_FILE", "password").with(0).json();
    assert_eq!(opened["address"], "0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b");
    assert_eq!(address("ETH_KEYSTORE_PASSWORD", "testpassword").with(0).json(), opened);
    let wrong = address("ETH_KEYSTORE_PASSWORD_FILE", "other").with(8);
    assert!(text(&wrong.error()["message"]).contains("the password is wrong"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains("hunter2"), "{}", wrong.stderr);
    let none = address("ETH_NOTHING", "").with(8).error();
    assert!(text(&none["message"]).contains("ETH_KEYSTORE_PASSWORD_FILE"), "{none}");
}

#[test]
fn keys_of_providers_are_neither_shown_nor_taken_from_the_config_file() {
    let home = empty_home();
    let env_file = home.path().join(".env");
    fs::write(&env_file, "ALCHEMY_API_KEY=hunter2\nETH_RPC_URL=https://rpc.example/hunter3\n").expect("written");
    fs::set_permissions(&env_file, fs::Permissions::from_mode(0o600)).expect("ours");
    let shown = run(home.path(), ["config", "show", "--origin"]).with(0).text();
    assert!(shown.contains(".env:1") && !shown.contains("hunter"), "{shown}");
    fs::write(home.path().join("c.toml"), "rpc_url = \"https://rpc.example/hunter3\"\n").expect("written");
    let refused = run(home.path(), ["ls", "--config", "c.toml", "--json"]).with(8);
    assert!(text(&refused.error()["message"]).contains("ETH_RPC_URL"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("hunter"), "{}", refused.stderr);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let home = empty_home();
    run(home.path(), ["init", "--dir", "d", "--registry", REGISTRY]).with(0);
    let key = home.path().join("d/owner.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
    let error = run(home.path(), ["ls", "--dir", "d", "--json"]).with(8).error();
    assert!(text(&error["message"]).contains("chmod 600"), "{error}");
    let net = Net::start(1);
    let mut node = net.nodes.into_iter().next().expect("one");
    node.process.kill();
    fs::set_permissions(node.dir.join("identity.key"), fs::Permissions::from_mode(0o640)).expect("ours");
    let refused = server(home.path(), "node", &node.dir, &["--registry", REGISTRY]);
    assert!(text(&refused.end().with(8).error()["message"]).contains("identity.key"));
}

#[test]
fn a_busy_port_is_named() {
    let home = empty_home();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let registry = ["registry", "run", "--dir", "r", "--listen", &address];
    let node = ["node", "run", "--dir", "n", "--registry", REGISTRY, "--listen", &address];
    for arguments in [&registry[..], &node] {
        let ended = run(home.path(), arguments).with(8);
        assert!(ended.stderr.contains(&address), "{}", ended.stderr);
        assert!(ended.stderr.contains("--listen"), "{}", ended.stderr);
    }
}

#[test]
fn the_memory_ledger_says_that_it_forgets() {
    let net = Net::start(3);
    let file = net.file("a", b"one").display().to_string();
    let ended = net.run(["put", &file, "--ledger", "memory"]).with(0);
    assert!(ended.stderr.contains("forgotten"), "{}", ended.stderr);
    assert!(net.paths().is_empty());
}

#[test]
fn another_network_label_and_another_key_are_one_error_that_names_both() {
    let net = Net::start(3);
    let error = net.run(["status", "--network", "elsewhere", "--json"]).with(5).error();
    let message = text(&error["message"]);
    assert!(message.contains("key") && message.contains("network label"), "{message}");
    net.put("a", b"one");
    let unread = net.run(["cat", "a", "--network", "elsewhere", "--json"]).with(5).error();
    assert_eq!(unread["code"], "not_enough_shards");
    assert!(text(&unread["hint"]).contains("--network"), "{unread}");
}
