//! The config file: TOML, one flat table, in which every name must be known.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::key::{Key, Scope, closest};
use crate::error::{Error, Result};

/// The settings of a config file.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    path: PathBuf,
    settings: BTreeMap<&'static str, String>,
}

impl ConfigFile {
    /// Reads the file at `path`; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] when it is not TOML, or has a name that is not known.
    pub fn open(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Error::config(format!("{}: not UTF-8", path.display())))
            }
            Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
        }
    }

    /// Understands `text`, which was read from `path`.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not TOML, or has a name that is not known.
    pub fn parse(path: impl Into<PathBuf>, text: &str) -> Result<Self> {
        let path = path.into();
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            Error::config(format!("{}:{line}: not TOML: {}", path.display(), error.message()))
        })?;
        let mut settings = BTreeMap::new();
        for (name, value) in &table {
            let key = Key::named(name).filter(|key| key.is_in_file());
            let key = key.ok_or_else(|| Error::config(format!("{}: {}", path.display(), unknown(name))))?;
            let value = text_of(value).ok_or_else(|| {
                Error::config(format!("{}: {name} must be a text, a number, true or false", path.display()))
            })?;
            settings.insert(key.name, value);
        }
        Ok(Self { path, settings })
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a setting.
    #[must_use]
    pub fn setting(&self, key: &Key) -> Option<&str> {
        self.settings.get(key.name).map(String::as_str)
    }
}

fn unknown(name: &str) -> String {
    if let Some(key) = Key::named(name) {
        return match key.scope {
            Scope::Secret => {
                format!("secrets do not belong in the config file: set {} in the environment or in .env", key.variable)
            }
            _ if key.variable.starts_with("ETH_") => {
                format!("{name} cannot be set in the config file: set {} in the environment or in .env", key.variable)
            }
            _ => format!("{name} cannot be set in the config file: use {} or {}", key.flag(), key.variable),
        };
    }
    let known = Key::ALL.iter().filter(|key| key.is_in_file()).map(|key| key.name);
    match closest(name, known) {
        Some(meant) => format!("unknown setting {name:?}: did you mean {meant:?}?"),
        None => format!("unknown setting {name:?}"),
    }
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => items.iter().map(text_of).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let error = ConfigFile::parse("config.toml", text).expect_err("refused");
        assert_eq!(error.code(), "config");
        error.to_string()
    }

    #[test]
    fn texts_numbers_flags_and_lists_are_read() {
        let text = "registry = [\"a\", \"b\"]\ninline_max = 0\njson = true\ntimeout = \"5s\"\n";
        let file = ConfigFile::parse("config.toml", text).expect("parses");
        assert_eq!(file.setting(&Key::REGISTRY), Some("a,b"));
        assert_eq!(file.setting(&Key::INLINE_MAX), Some("0"));
        assert_eq!(file.setting(&Key::JSON), Some("true"));
        assert_eq!(file.setting(&Key::TIMEOUT), Some("5s"));
        assert_eq!(file.setting(&Key::LEDGER), None);
    }

    #[test]
    fn an_unknown_name_is_refused_with_a_suggestion() {
        assert!(refused("regsitry = \"x\"").contains("did you mean \"registry\"?"));
        assert!(!refused("sky = \"blue\"").contains("did you mean"));
    }

    #[test]
    fn a_secret_or_a_place_in_the_file_is_refused_with_the_remedy() {
        assert!(refused("owner_key = \"x\"").contains("ETH_PRIVATE_KEY"));
        assert!(refused("rpc_url = \"x\"").contains("ETH_RPC_URL"));
        assert!(refused("keystore = \"x\"").contains("set ETH_KEYSTORE in the environment"));
        assert!(refused("dir = \"x\"").contains("--dir or DSTORE_DIR"));
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        assert!(refused("json = true\nwhat is this\n").starts_with("config.toml:2: not TOML"));
        assert!(refused("[registry]\na = 1\n").contains("registry must be"));
    }
}
