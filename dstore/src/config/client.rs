//! From settings to a client.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::limits::parse_size;
use super::{Config, Key, Origin, Value};
use crate::client::{Client, ClientBuilder};
use crate::error::{Error, Result};
use crate::journal::DiskJournal;
use crate::keyfile::read_secret;
use crate::keys::Owner;
#[cfg(feature = "ethereum")]
use crate::ledger::EthereumLedger;
use crate::ledger::{LocalLedger, MemoryLedger};
use crate::rt::Rt;
use crate::scheme::{Padding, Scheme};

/// The owner's key in a client's folder.
pub const OWNER_FILE: &str = "owner.key";
/// The local ledger in a client's folder.
pub const LEDGER_FILE: &str = "ledger.db";
/// Notes of unfinished work in a client's folder.
const JOURNAL_FOLDER: &str = "journal";
/// The settings in the folder of a client, node or registry.
pub const CONFIG_FILE: &str = "config.toml";

/// Where records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerKind {
    /// In a file on this machine.
    Local,
    /// In this process, gone when it ends.
    Memory,
    /// In a contract on a chain.
    Ethereum,
}

impl LedgerKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Memory => "memory",
            Self::Ethereum => "ethereum",
        }
    }
}

/// Where the owner's key is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnerKey {
    /// In `ETH_PRIVATE_KEY`.
    Variable(Origin),
    /// In this file, because `ETH_PRIVATE_KEY_FILE` says so.
    File(PathBuf, Origin),
    /// In this keystore, because `ETH_KEYSTORE` says so.
    Keystore(PathBuf, Origin),
    /// In the client's folder, if it has been made.
    Folder(PathBuf),
}

/// Where the owner's key is: a key, or the name of a key file or keystore, wherever one is set first; else in the folder
/// `dir`.
///
/// # Errors
/// [`Error::Config`] when two of them are set in the same place: nobody could say which one is meant.
pub fn owner_key(config: &Config, dir: &Path) -> Result<OwnerKey> {
    let keys = [&Key::OWNER_KEY, &Key::OWNER_KEY_FILE, &Key::KEYSTORE].into_iter();
    let mut set: Vec<_> = keys.filter_map(|key| Some((key, config.value(key)?))).collect();
    let in_environment = |value: &Value| matches!(value.origin, Origin::Flag | Origin::Env(_));
    if set.iter().any(|(_, value)| in_environment(value)) {
        set.retain(|(_, value)| in_environment(value));
    }
    let [(key, value)] = &set[..] else {
        let [(one, first), (other, second), ..] = &set[..] else { return Ok(OwnerKey::Folder(dir.join(OWNER_FILE))) };
        return Err(Error::config(format!(
            "{} and {} are both set ({} and {}): keep one",
            one.variable, other.variable, first.origin, second.origin
        )));
    };
    let origin = value.origin.clone();
    Ok(match **key {
        Key::OWNER_KEY => OwnerKey::Variable(origin),
        Key::KEYSTORE => OwnerKey::Keystore(value.text().into(), origin),
        _ => OwnerKey::File(value.text().into(), origin),
    })
}

/// The password of the keystore: `ETH_KEYSTORE_PASSWORD`, else the first line of `ETH_KEYSTORE_PASSWORD_FILE`.
///
/// # Errors
/// [`Error::Io`] when that file cannot be read, [`Error::Config`] when others can read it.
pub fn keystore_password(config: &Config) -> Result<Option<Zeroizing<String>>> {
    if let Some(password) = config.value(&Key::KEYSTORE_PASSWORD) {
        return Ok(Some(Zeroizing::new(password.text().to_owned())));
    }
    let Some(file) = config.value(&Key::KEYSTORE_PASSWORD_FILE) else { return Ok(None) };
    let text = read_secret(Path::new(file.text()))?;
    Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
}

/// The owner that [`owner_key`] finds; `None` when it is to be in the folder and is not there. It may take seconds and
/// 256 MiB of memory to open a keystore.
///
/// # Errors
/// As [`owner_key`], [`keystore_password`], [`Owner::open`] and `Owner::open_keystore`.
pub fn owner(config: &Config, dir: &Path) -> Result<Option<Owner>> {
    match owner_key(config, dir)? {
        OwnerKey::Variable(_) => config.parsed(&Key::OWNER_KEY, |text| {
            Owner::parse(text).ok_or("not a private key: 64 hex digits, with or without 0x")
        }),
        OwnerKey::File(path, _) => Owner::open(path).map(Some),
        OwnerKey::Keystore(path, _) => from_keystore(config, &path).map(Some),
        OwnerKey::Folder(path) if !path.exists() => Ok(None),
        OwnerKey::Folder(path) => Owner::open(path).map(Some),
    }
}

#[cfg(feature = "ethereum")]
fn from_keystore(config: &Config, path: &Path) -> Result<Owner> {
    let password = keystore_password(config)?.ok_or_else(|| {
        Error::config(format!(
            "{} needs its password: set {} or {}",
            path.display(),
            Key::KEYSTORE_PASSWORD.variable,
            Key::KEYSTORE_PASSWORD_FILE.variable
        ))
    })?;
    Owner::open_keystore(path, &password)
}

#[cfg(not(feature = "ethereum"))]
fn from_keystore(_: &Config, _: &Path) -> Result<Owner> {
    Err(Error::config(format!("{}: this program was built without keystores", Key::KEYSTORE.variable)))
}

/// Which ledger the settings name.
///
/// # Errors
/// [`Error::Config`] for an unknown one.
pub fn ledger_kind(config: &Config) -> Result<LedgerKind> {
    let kind = config.parsed(&Key::LEDGER, |text| match text {
        "local" => Ok(LedgerKind::Local),
        "memory" => Ok(LedgerKind::Memory),
        "ethereum" => Ok(LedgerKind::Ethereum),
        _ => Err(format!("{text:?} is not a ledger: local, memory or ethereum")),
    })?;
    Ok(kind.unwrap_or(LedgerKind::Local))
}

/// A client with these settings, whose folder is `dir`: owner, ledger, registries and all else.
///
/// # Errors
/// [`Error::Config`] for a setting that is missing or wrong; those of [`owner`] and of the ledger.
pub fn client(config: &Config, dir: &Path) -> Result<ClientBuilder> {
    let owner = owner(config, dir)?.ok_or_else(|| {
        Error::config(format!(
            "no owner key: there is no {}, and {} is not set",
            dir.join(OWNER_FILE).display(),
            Key::OWNER_KEY.variable
        ))
    })?;
    client_of(config, dir, owner)
}

/// [`client`] for an owner who is known already.
///
/// # Errors
/// [`Error::Config`] for a setting that is missing or wrong; those of the ledger.
pub fn client_of(config: &Config, dir: &Path, owner: Owner) -> Result<ClientBuilder> {
    let mut builder = Client::builder().owner(owner.clone());
    for registry in config.list(&Key::REGISTRY, str::parse)? {
        builder = builder.registry(registry);
    }
    if let Some(network) = config.value(&Key::NETWORK) {
        builder = builder.network(network.text());
    }
    if let Some(timeout) = config.duration(&Key::TIMEOUT)? {
        builder = builder.timeout(timeout);
    }
    if let Some(scheme) = config.parsed(&Key::SCHEME, str::parse::<Scheme>)? {
        builder = builder.scheme(scheme);
    }
    if let Some(padding) = config.parsed(&Key::PADDING, padding)? {
        builder = builder.padding(padding);
    }
    builder = builder.resume(!config.is_on(&Key::NO_RESUME)?);
    builder = client_limits(config, builder)?;
    builder = builder.pin(config.list(&Key::PIN, str::parse)?);
    for invite in config.list(&Key::INVITE, str::parse)? {
        builder = builder.invite(invite);
    }
    let kind = ledger_kind(config)?;
    if kind == LedgerKind::Memory {
        return Ok(builder.ledger(MemoryLedger::default()));
    }
    // Before anything is made: a contract that is not named must leave nothing behind.
    let on_chain = if kind == LedgerKind::Ethereum { Some(on_chain(config, &owner)?) } else { None };
    create_private(dir)?;
    builder = builder.journal(DiskJournal::new(dir.join(JOURNAL_FOLDER), Rt::default()));
    Ok(match on_chain {
        Some(ledger) => builder.ledger(ledger),
        None => builder.ledger(LocalLedger::open(dir.join(LEDGER_FILE))?),
    })
}

#[cfg(feature = "ethereum")]
fn on_chain(config: &Config, owner: &Owner) -> Result<EthereumLedger> {
    super::ethereum::ledger(config, owner)
}

#[cfg(not(feature = "ethereum"))]
fn on_chain(_: &Config, _: &Owner) -> Result<MemoryLedger> {
    Err(Error::config("this program was built without the ledger on Ethereum".to_owned()))
}

/// A client with the limits that are set.
///
/// # Errors
/// [`Error::Config`] for a value that cannot be understood.
pub fn client_limits(config: &Config, mut builder: ClientBuilder) -> Result<ClientBuilder> {
    if let Some(bytes) = config.parsed(&Key::MEMORY, parse_size)? {
        builder = builder.memory(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if let Some(wait) = config.duration(&Key::HEDGE_AFTER)? {
        builder = builder.hedge_after(wait);
    }
    Ok(builder)
}

/// Makes the folder, for this user only, unless it is there: an owner from the environment comes without one.
fn create_private(dir: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| Error::io(format!("cannot make the folder {}", dir.display()), error))
}

fn padding(text: &str) -> Result<Padding, String> {
    match text {
        "padme" => Ok(Padding::Padme),
        "none" => Ok(Padding::None),
        _ => Err(format!("{text:?} is not a padding: padme or none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EnvFile;

    const KEY: &str = "0x00000000000000000000000000000000000000000000000000000000000000a1";

    fn env(variables: &[(&str, &str)]) -> Config {
        Config::new().env(variables.iter().copied().collect())
    }

    #[test]
    fn the_owner_comes_from_the_environment_before_env_file_and_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(owner(&Config::new(), dir.path()).expect("fine").is_none());
        let file = dir.path().join("other.key");
        let text = format!("ETH_PRIVATE_KEY_FILE={}\n", file.display());
        let both = env(&[("ETH_PRIVATE_KEY", KEY)]).env_file(Some(EnvFile::parse(".env", &text).expect("parses")));
        let found = owner(&both, dir.path()).expect("valid").expect("set");
        found.save(dir.path().join(OWNER_FILE)).expect("saved");
        let in_folder = owner(&Config::new(), dir.path()).expect("valid").expect("there");
        assert_eq!(found.id(), in_folder.id());
        let other = env(&[("ETH_PRIVATE_KEY_FILE", &file.display().to_string())]);
        assert!(owner(&other, dir.path()).is_err(), "a file that is named must be there");
    }

    #[test]
    fn a_key_and_a_key_file_in_one_place_are_refused() {
        let both = env(&[("ETH_PRIVATE_KEY", KEY), ("ETH_PRIVATE_KEY_FILE", "x")]);
        let error = owner_key(&both, Path::new(".")).expect_err("ambiguous");
        assert!(error.to_string().contains("keep one"), "{error}");
        let both = env(&[("ETH_KEYSTORE", "y"), ("ETH_PRIVATE_KEY_FILE", "x")]);
        assert!(owner_key(&both, Path::new(".")).expect_err("ambiguous").to_string().contains("ETH_KEYSTORE"));
    }

    #[test]
    fn the_password_of_a_keystore_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("password");
        crate::keyfile::write_secret(&file, "correct horse\n").expect("written");
        let named = file.display().to_string();
        let config = env(&[("ETH_KEYSTORE_PASSWORD_FILE", &named)]);
        let password = |config: &Config| keystore_password(config).expect("readable").map(|text| text.to_string());
        assert_eq!(password(&config).as_deref(), Some("correct horse"));
        let config = env(&[("ETH_KEYSTORE_PASSWORD_FILE", &named), ("ETH_KEYSTORE_PASSWORD", "itself")]);
        assert_eq!(password(&config).as_deref(), Some("itself"));
        assert_eq!(password(&Config::new()), None);
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_showing_it() {
        let error = owner(&env(&[("ETH_PRIVATE_KEY", "hunter2")]), Path::new(".")).expect_err("no key");
        assert!(error.to_string().starts_with("ETH_PRIVATE_KEY: "), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn a_client_without_an_owner_says_which_file_and_variable() {
        let error = client(&Config::new(), Path::new("/nowhere")).expect_err("no owner").to_string();
        assert!(error.contains("/nowhere/owner.key") && error.contains("ETH_PRIVATE_KEY"), "{error}");
    }

    #[test]
    fn every_setting_of_a_client_is_checked() {
        for (variable, value) in [
            ("DSTORE_REGISTRY", "dsr1:x"),
            ("DSTORE_TIMEOUT", "soon"),
            ("DSTORE_SCHEME", "4"),
            ("DSTORE_PADDING", "much"),
            ("DSTORE_LEDGER", "paper"),
            ("ETH_RPC_URL", "rpc.example"),
            ("ALCHEMY_API_KEY", "a/b"),
            ("DSTORE_CHAIN", "mainet"),
            ("DSTORE_CONTRACT", "0x12"),
            ("DSTORE_MAX_FEE", "much"),
            ("DSTORE_CONFIRMATIONS", "0"),
        ] {
            let ledger = ("DSTORE_LEDGER", if variable == "DSTORE_LEDGER" { value } else { "ethereum" });
            // The key of a provider counts only where no provider is named.
            let provider = if variable == "ALCHEMY_API_KEY" { "" } else { "http://127.0.0.1:1" };
            let config = env(&[("ETH_PRIVATE_KEY", KEY), ledger, ("ETH_RPC_URL", provider), (variable, value)]);
            let error = client(&config, Path::new("/nowhere")).expect_err(variable).to_string();
            assert!(error.starts_with(variable), "{error}");
        }
    }
}
