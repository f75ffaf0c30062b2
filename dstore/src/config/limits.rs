//! From settings to the limits of nodes and registries; docs/limits.md lists them with units, defaults and costs.

use std::str::FromStr;
use std::time::Duration;

use super::{Config, Key};
use crate::error::Result;
use crate::net::Limits;
use crate::node::{StorageNodeBuilder, Strangers};
use crate::registry::{DialBacks, Quarantine, RegistryBuilder};

/// Limits on connections, as they are set; else their defaults.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) for a value that cannot be understood.
pub fn limits(config: &Config) -> Result<Limits> {
    let mut limits = Limits::default();
    number(config, &Key::HALF_OPEN, &mut limits.half_open)?;
    number(config, &Key::HALF_OPEN_PER_SOURCE, &mut limits.half_open_per_source)?;
    number(config, &Key::HALF_OPEN_PER_PRIVATE_SOURCE, &mut limits.half_open_per_private_source)?;
    time(config, &Key::HANDSHAKE_TIMEOUT, &mut limits.handshake_timeout)?;
    number(config, &Key::RATE_PER_SOURCE, &mut limits.rate_per_source)?;
    number(config, &Key::RATE_PER_PRIVATE_SOURCE, &mut limits.rate_per_private_source)?;
    number(config, &Key::CONNECTIONS, &mut limits.connections)?;
    number(config, &Key::PER_SOURCE, &mut limits.per_source)?;
    number(config, &Key::PER_PRIVATE_SOURCE, &mut limits.per_private_source)?;
    number(config, &Key::PER_KEY, &mut limits.per_key)?;
    time(config, &Key::IDLE_TIMEOUT, &mut limits.idle_timeout)?;
    time(config, &Key::PROGRESS_WINDOW, &mut limits.progress_window)?;
    Ok(limits)
}

/// A node with the limits that are set, those on connections excepted.
///
/// # Errors
/// As [`limits`].
pub fn node_limits(config: &Config, mut node: StorageNodeBuilder) -> Result<StorageNodeBuilder> {
    let (mut bytes, mut shards) = (u64::MAX, 1 << 20);
    size(config, &Key::QUOTA_BYTES, &mut bytes)?;
    number(config, &Key::QUOTA_SHARDS, &mut shards)?;
    node = node.quota(bytes, shards);
    let bytes = config.parsed(&Key::STRANGER_BYTES, parse_size)?;
    let network_bytes = config.parsed(&Key::NETWORK_BYTES, parse_size)?;
    let mut strangers = Strangers { bytes, network_bytes, ..Strangers::default() };
    number(config, &Key::STRANGER_SHARDS, &mut strangers.shards)?;
    number(config, &Key::NETWORK_SHARDS, &mut strangers.network_shards)?;
    number(config, &Key::NETWORK_PUTS, &mut strangers.network_puts)?;
    node = node.strangers(strangers);
    if let Some(count) = config.parsed(&Key::OPEN_PUTS, count)? {
        node = node.open_puts(count);
    }
    if let Some(time) = config.duration(&Key::RETIRE_FOR)? {
        node = node.retire_for(time);
    }
    if let Some(time) = config.duration(&Key::GRACE)? {
        node = node.grace(time);
    }
    Ok(node)
}

/// A registry with the limits that are set, those on connections excepted.
///
/// # Errors
/// As [`limits`].
pub fn registry_limits(config: &Config, mut registry: RegistryBuilder) -> Result<RegistryBuilder> {
    if let Some(count) = config.parsed(&Key::MIN_NODES, count)? {
        registry = registry.min_nodes(count);
    }
    if let Some(count) = config.parsed(&Key::MAX_NODES, count)? {
        registry = registry.max_nodes(count);
    }
    let mut quarantine = Quarantine::default();
    number(config, &Key::QUARANTINE_CHANGES, &mut quarantine.changes)?;
    time(config, &Key::QUARANTINE_WINDOW, &mut quarantine.window)?;
    time(config, &Key::QUARANTINE_DURATION, &mut quarantine.duration)?;
    let mut dial_backs = DialBacks::default();
    time(config, &Key::DIAL_BACK_PERIOD, &mut dial_backs.period)?;
    number(config, &Key::DIAL_BACKS_PER_SOURCE, &mut dial_backs.per_source)?;
    number(config, &Key::DIAL_BACKS_PER_ADDRESS, &mut dial_backs.per_address)?;
    Ok(registry.quarantine(quarantine).dial_backs(dial_backs))
}

fn count<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

fn number<T: FromStr>(config: &Config, key: &Key, value: &mut T) -> Result<()> {
    config.parsed(key, count)?.into_iter().for_each(|number| *value = number);
    Ok(())
}

fn time(config: &Config, key: &Key, value: &mut Duration) -> Result<()> {
    config.duration(key)?.into_iter().for_each(|time| *value = time);
    Ok(())
}

fn size(config: &Config, key: &Key, value: &mut u64) -> Result<()> {
    config.parsed(key, parse_size)?.into_iter().for_each(|size| *value = size);
    Ok(())
}

/// A number of bytes, such as `4096` or `10GiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: Option<u64> = match unit.trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        "kB" | "KB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "TB" => Some(1_000_000_000_000),
        _ => None,
    };
    let bytes = factor.zip(number.parse::<u64>().ok()).and_then(|(factor, number)| number.checked_mul(factor));
    bytes.ok_or_else(|| format!("{text:?} is not a size: write it like 10GiB or 4096"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, Scope};

    fn config(text: &str) -> Config {
        Config::new().file(Some(ConfigFile::parse("c.toml", text).expect("parses")))
    }

    #[test]
    fn limits_are_taken_from_the_settings_and_else_are_their_defaults() {
        let set = limits(&config("per_source = 7\nidle_timeout = \"9s\"\n")).expect("valid");
        let expected = Limits { per_source: 7, idle_timeout: Duration::from_secs(9), ..Limits::default() };
        assert_eq!(set, expected);
        let error = limits(&config("connections = \"many\"")).expect_err("no number").to_string();
        assert!(error.starts_with("connections (in c.toml): "), "{error}");
    }

    #[test]
    fn every_limit_is_understood_by_somebody() {
        let wrong = |key: &Key| config(&format!("{} = \"nonsense\"", key.name));
        let is_checked = |key: &&&Key| {
            let config = wrong(key);
            limits(&config).is_err()
                || node_limits(&config, crate::StorageNode::builder()).is_err()
                || registry_limits(&config, crate::Registry::builder()).is_err()
                || crate::config::client_limits(&config, crate::Client::builder()).is_err()
                || config.duration(&Key::BATCH_WAIT).is_err()
        };
        let keys: Vec<_> = Key::ALL.iter().filter(|key| key.scope == Scope::NoFlag).collect();
        let ignored: Vec<_> = keys.iter().filter(|key| !is_checked(key)).collect();
        assert!(keys.len() > 30 && ignored.is_empty(), "{ignored:?}");
    }

    #[test]
    fn every_limit_has_a_row_in_the_page_on_limits() {
        let page = include_str!("../../../docs/limits.md");
        let keys = Key::ALL.iter().filter(|key| key.scope == Scope::NoFlag);
        let missing: Vec<_> = keys.filter(|key| !page.contains(&format!("| `{}` |", key.name))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("10GiB"), Ok(10 << 30));
        assert_eq!(parse_size("2 MB"), Ok(2_000_000));
        for bad in ["", "GiB", "-1", "1.5GiB", "99999999999TiB", "1 parsec"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
