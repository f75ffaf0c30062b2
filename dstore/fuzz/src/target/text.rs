//! Texts that people and peers write: what is accepted reads back from its own text.

use std::path::{Component, Path};

use dstore::config::{Config, ConfigFile, EnvFile, Key, Variables};
use dstore::id::NodeId;
use dstore::proto::{Invite, MAX_ENDPOINT_LEN, is_endpoint};
use dstore::rt::Rt;
use dstore::{FilePath, Owner, RegistryAddr, Scheme, ServerIdentity};

use super::Accepted;

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

pub(super) fn path(data: &[u8]) -> Accepted {
    let text = text(data)?;
    let path = FilePath::new(text).ok()?;
    assert_eq!(path.as_str(), text, "nothing is normalised");
    assert_eq!(text.parse::<FilePath>().expect("accepted before"), path);
    let inside = Path::new(path.as_str()).components().all(|part| matches!(part, Component::Normal(_)));
    assert!(inside, "a path stays below the folder that it is joined to");
    Some(())
}

pub(super) fn registry_address(data: &[u8]) -> Accepted {
    let text = text(data)?;
    let address = text.parse::<RegistryAddr>().ok()?;
    assert_eq!(address.to_string(), text, "an address has one form");
    assert!(is_endpoint(&address.endpoint));
    Some(())
}

pub(super) fn invite(data: &[u8]) -> Accepted {
    let text = text(data)?;
    let invite = text.parse::<Invite>().ok()?;
    assert_eq!(invite.to_string(), text, "an invite has one form");
    Some(())
}

pub(super) fn endpoint(data: &[u8]) -> Accepted {
    let text = text(data).filter(|text| is_endpoint(text))?;
    let (host, port) = text.rsplit_once(':').expect("an endpoint has a port");
    assert!(text.len() <= MAX_ENDPOINT_LEN && !host.is_empty());
    let port: u16 = port.parse().expect("a number");
    assert!(port != 0 && format!("{host}:{port}") == text, "an endpoint has one form");
    Some(())
}

pub(super) fn id(data: &[u8]) -> Accepted {
    let text = text(data)?;
    let id = text.parse::<NodeId>().ok()?;
    assert_eq!(id.to_string(), text.to_ascii_lowercase());
    Some(())
}

pub(super) fn scheme(data: &[u8]) -> Accepted {
    let scheme = text(data)?.parse::<Scheme>().ok()?;
    assert_eq!(scheme.to_string().parse::<Scheme>().expect("its own text"), scheme);
    Some(())
}

pub(super) fn owner_key(data: &[u8]) -> Accepted {
    let owner = Owner::parse(text(data)?)?;
    let again = Owner::parse(&owner.secret_hex()).expect("its own text");
    assert_eq!(again.id(), owner.id());
    Some(())
}

/// Through a file: there is no other way in.
pub(super) fn identity_file(data: &[u8]) -> Accepted {
    let text = text(data)?;
    // Made for its owner alone, as a key file must be.
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    // The environment is asked only when there is no file.
    let identity = ServerIdentity::open_or_create(file.path(), &Rt::default()).ok()?;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "dstore-identity-1");
    let secret = |line: &str| hex::decode(line).expect("hex").try_into().expect("32 bytes");
    let same = ServerIdentity::from_secrets(&secret(lines[1]), secret(lines[2])).expect("accepted before");
    assert_eq!((same.id(), same.noise_key()), (identity.id(), identity.noise_key()));
    Some(())
}

pub(super) fn env_file(data: &[u8]) -> Accepted {
    let text = text(data)?;
    let file = match EnvFile::parse("fuzz.env", text) {
        Ok(file) => file,
        Err(error) => {
            shows_nothing_of(text, &error.to_string());
            return None;
        }
    };
    let lines = text.lines().count();
    for (name, line) in file.names() {
        assert!((1..=lines).contains(&line), "{name} is in line {line} of {lines}");
        assert_eq!(file.variable(name).expect("named").1, line);
    }
    settings(&Config::new().env_file(Some(file)));
    Some(())
}

/// An error about a file that may hold a secret names the line, and repeats nothing of it.
fn shows_nothing_of(text: &str, error: &str) {
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() >= 16) {
        assert!(!error.contains(word), "{error}");
    }
}

pub(super) fn config_file(data: &[u8]) -> Accepted {
    let text = text(data)?;
    let file = ConfigFile::parse("config.toml", text).ok()?;
    settings(&Config::new().file(Some(file)));
    Some(())
}

/// Whatever a file holds, asking for a setting answers or refuses.
fn settings(config: &Config) {
    for key in Key::ALL {
        let _ = (config.value(key), config.duration(key), config.is_on(key));
    }
    let _ = (config.list(&Key::REGISTRY, str::parse::<RegistryAddr>), config.warnings());
    let _ = config.parsed(&Key::SCHEME, str::parse::<Scheme>);
}

/// Values of settings that stand in the environment.
pub(super) fn setting(data: &[u8]) -> Accepted {
    let text = text(data)?;
    settings(&Config::new().env(Key::ALL.iter().map(|key| (key.variable, text)).collect::<Variables>()));
    Some(())
}
