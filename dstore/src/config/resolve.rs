//! Which of the places wins, and where a value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::key::{Key, Scope, closest};
use super::{ConfigFile, EnvFile};
use crate::error::{Error, Result};

/// Environment variables, as a map. Its `Debug` shows their names alone.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, Zeroizing<String>>);

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), Zeroizing::new(value.into()))).collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line, or an argument of the caller.
    Flag,
    /// This environment variable.
    Env(&'static str),
    /// This line of a `.env` file.
    EnvFile(PathBuf, usize),
    /// This config file.
    File(PathBuf),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Env(variable) => f.write_str(variable),
            Self::EnvFile(path, line) => write!(f, "{}:{line}", path.display()),
            Self::File(path) => path.display().fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from. Its `Debug` and `Display` never show a secret.
#[derive(Clone)]
pub struct Value {
    text: Zeroizing<String>,
    secret: bool,
    /// Where it came from.
    pub origin: Origin,
}

impl Value {
    /// The value, secret or not.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret { write!(f, "set (from {})", self.origin) } else { f.write_str(&self.text) }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.origin)
    }
}

/// Settings from all places.
#[derive(Debug, Clone, Default)]
pub struct Config {
    flags: BTreeMap<&'static str, String>,
    env: Variables,
    env_file: Option<EnvFile>,
    file: Option<ConfigFile>,
    lock_folder: Option<PathBuf>,
}

impl Config {
    /// No settings but the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a flag. It wins over everything else.
    #[must_use]
    pub fn flag(mut self, key: &Key, value: impl Into<String>) -> Self {
        self.flags.insert(key.name, value.into());
        self
    }

    /// Sets the environment.
    #[must_use]
    pub fn env(mut self, variables: Variables) -> Self {
        self.env = variables;
        self
    }

    /// Sets the `.env` file.
    #[must_use]
    pub fn env_file(mut self, file: Option<EnvFile>) -> Self {
        self.env_file = file;
        self
    }

    /// Sets the config file.
    #[must_use]
    pub fn file(mut self, file: Option<ConfigFile>) -> Self {
        self.file = file;
        self
    }

    /// Sets the folder where processes that write to a chain with one key take turns: the same for all of them, whatever
    /// their own folders are. Default: none.
    #[must_use]
    pub fn lock_folder(mut self, folder: Option<PathBuf>) -> Self {
        self.lock_folder = folder;
        self
    }

    /// Where such processes take turns.
    #[cfg(feature = "ethereum")]
    pub(super) fn locks(&self) -> Option<&std::path::Path> {
        self.lock_folder.as_deref()
    }

    /// The value of a setting; `None` when nobody set it and it has no default. An empty variable is not set.
    #[must_use]
    pub fn value(&self, key: &Key) -> Option<Value> {
        let (text, origin) = self.find(key)?;
        Some(Value { text: Zeroizing::new(text.to_owned()), secret: key.scope == Scope::Secret, origin })
    }

    fn find(&self, key: &Key) -> Option<(&str, Origin)> {
        if let Some(text) = self.flags.get(key.name) {
            return Some((text, Origin::Flag));
        }
        if let Some(text) = self.env.0.get(key.variable).filter(|text| !text.is_empty()) {
            return Some((text, Origin::Env(key.variable)));
        }
        let in_env_file = self.env_file.as_ref().and_then(|file| Some((file, file.variable(key.variable)?)));
        if let Some((file, (text, line))) = in_env_file.filter(|(_, (text, _))| !text.is_empty()) {
            return Some((text, Origin::EnvFile(file.path().to_owned(), line)));
        }
        if let Some((file, text)) = self.file.as_ref().and_then(|file| Some((file, file.setting(key)?))) {
            return Some((text, Origin::File(file.path().to_owned())));
        }
        key.default.map(|text| (text, Origin::Default))
    }

    /// The value of a setting, understood by `parse`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and where it was set, and saying what `parse` said.
    pub fn parsed<T, E: fmt::Display>(&self, key: &Key, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        parse(value.text()).map(Some).map_err(|error| {
            let place = match &value.origin {
                Origin::Flag => key.flag(),
                Origin::Env(variable) => (*variable).to_owned(),
                origin => format!("{} (in {origin})", key.name),
            };
            Error::config(format!("{place}: {error}"))
        })
    }

    /// The value of a setting that is a length of time, such as `10s`.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not one, or is zero.
    pub fn duration(&self, key: &Key) -> Result<Option<Duration>> {
        self.parsed(key, |text| {
            humantime::parse_duration(text)
                .ok()
                .filter(|duration| !duration.is_zero())
                .ok_or_else(|| format!("{text:?} is not a length of time: write it like 10s or 2m"))
        })
    }

    /// Whether a setting that is on or off is on.
    ///
    /// # Errors
    /// [`Error::Config`] when it is neither.
    pub fn is_on(&self, key: &Key) -> Result<bool> {
        let on = self.parsed(key, |text| match text {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        })?;
        Ok(on.unwrap_or(false))
    }

    /// The values of a setting that is a list separated by commas or white space.
    ///
    /// # Errors
    /// As [`Config::parsed`].
    pub fn list<T, E: fmt::Display>(&self, key: &Key, parse: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>> {
        let items = |text: &str| {
            text.split([',', ' ', '\t', '\n'])
                .filter(|item| !item.is_empty())
                .map(&parse)
                .collect::<Result<Vec<T>, E>>()
        };
        Ok(self.parsed(key, items)?.unwrap_or_default())
    }

    /// What does not stop anything but should be known: a `.env` with a secret that others can read, variables
    /// that look like a setting's and are none's.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(file) = &self.env_file {
            let secrets = Key::ALL.iter().filter(|key| key.scope == Scope::Secret);
            for key in secrets.filter(|key| file.is_open_to_others() && file.variable(key.variable).is_some()) {
                let path = file.path().display();
                warnings
                    .push(format!("{path} holds {} and other users can read it; run: chmod 600 {path}", key.variable));
            }
            for (name, line) in file.names() {
                warnings.extend(misspelt(name).map(|text| format!("{}:{line}: {text}", file.path().display())));
            }
        }
        warnings.extend(self.env.0.keys().filter_map(|name| misspelt(name)));
        warnings
    }
}

fn misspelt(name: &str) -> Option<String> {
    let known = || Key::ALL.iter().map(|key| key.variable);
    if !name.starts_with("DSTORE_") || known().any(|variable| variable == name) {
        return None;
    }
    let meant = closest(name, known())?;
    Some(format!("{name} is not a setting: did you mean {meant}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Config {
        Config::new()
            .env([("DSTORE_TIMEOUT", "2s"), ("ETH_PRIVATE_KEY", "")].into_iter().collect())
            .env_file(Some(EnvFile::parse(".env", "\nDSTORE_TIMEOUT=3s\nETH_PRIVATE_KEY=hunter2\n").expect("parses")))
            .file(Some(ConfigFile::parse("c.toml", "timeout = \"4s\"\nledger = \"memory\"").expect("parses")))
    }

    fn origin(config: &Config, key: &Key) -> Option<String> {
        config.value(key).map(|value| value.origin.to_string())
    }

    #[test]
    fn flag_wins_over_environment_over_env_file_over_config_file_over_default() {
        let seconds = |config: Config| config.duration(&Key::TIMEOUT).expect("valid").map(|d| d.as_secs());
        let flag = full().flag(&Key::TIMEOUT, "1s");
        assert_eq!((origin(&flag, &Key::TIMEOUT), seconds(flag)), (Some("flag".into()), Some(1)));
        assert_eq!((origin(&full(), &Key::TIMEOUT), seconds(full())), (Some("DSTORE_TIMEOUT".into()), Some(2)));
        let no_env = full().env(Variables::default());
        assert_eq!((origin(&no_env, &Key::TIMEOUT), seconds(no_env.clone())), (Some(".env:2".into()), Some(3)));
        let file = no_env.env_file(None);
        assert_eq!((origin(&file, &Key::TIMEOUT), seconds(file.clone())), (Some("c.toml".into()), Some(4)));
        let default = file.file(None);
        assert_eq!((origin(&default, &Key::TIMEOUT), seconds(default.clone())), (Some("default".into()), Some(30)));
        assert_eq!(origin(&default, &Key::REGISTRY), None);
    }

    #[test]
    fn an_empty_variable_is_as_good_as_none() {
        assert_eq!(origin(&full(), &Key::OWNER_KEY), Some(".env:3".into()));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let value = full().value(&Key::OWNER_KEY).expect("set");
        assert_eq!(value.to_string(), "set (from .env:3)");
        assert_eq!(value.text(), "hunter2");
        assert!(!format!("{value:?} {:?}", full()).contains("hunter2"));
    }

    #[test]
    fn a_value_that_cannot_be_understood_is_named_with_its_place() {
        let text = |config: Config| config.duration(&Key::TIMEOUT).expect_err("no duration").to_string();
        assert!(text(Config::new().flag(&Key::TIMEOUT, "soon")).starts_with("--timeout: \"soon\" is not"));
        let env = Config::new().env([("DSTORE_TIMEOUT", "0s")].into_iter().collect());
        assert!(text(env).starts_with("DSTORE_TIMEOUT: "));
        let file = Config::new().file(Some(ConfigFile::parse("c.toml", "timeout = 5").expect("parses")));
        assert!(text(file).starts_with("timeout (in c.toml): "));
        assert!(Config::new().flag(&Key::JSON, "maybe").is_on(&Key::JSON).is_err());
    }

    #[test]
    fn lists_are_separated_by_commas_or_space() {
        let config = Config::new().flag(&Key::REGISTRY, "a, b\nc,");
        let list = config.list(&Key::REGISTRY, |item| Ok::<_, Error>(item.to_owned())).expect("texts");
        assert_eq!(list, ["a", "b", "c"]);
    }

    #[test]
    fn misspelt_variables_and_open_secrets_are_warned_of() {
        let config = Config::new().env([("DSTORE_REGSITRY", "x"), ("OTHER", "y")].into_iter().collect());
        assert_eq!(config.warnings(), ["DSTORE_REGSITRY is not a setting: did you mean DSTORE_REGISTRY?"]);
        assert!(full().warnings().is_empty());
    }
}
