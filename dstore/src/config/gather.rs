//! What a program starts from: its settings from all of their places, and the folder that they belong to.

use std::path::{Path, PathBuf};

use super::{CONFIG_FILE, Config, ConfigFile, EnvFile, Key};
use crate::error::{Error, Result};

/// The folder of a client in the platform's data folder.
pub const CLIENT_HOME: &str = "dstore";
/// In the platform's data folder: where processes that write to a chain with one key take turns.
const LOCK_FOLDER: &str = "dstore/locks";
/// The environment variables of the current folder.
const ENV_FILE: &str = ".env";

/// Adds to `config`, which has flags and environment, what files say, and finds the folder of a client, node or registry.
///
/// Read are the `.env` that [`Key::ENV_FILE`] names, else `.env` in the current folder if there is one; then the config file
/// that [`Key::CONFIG`] names, else [`CONFIG_FILE`] in the folder if there is one. The folder is what [`Key::DIR`] names, else
/// `home` in `data`, the platform's data folder: [`CLIENT_HOME`] for a client. It need not exist. Where `data` is known,
/// processes that write to a chain with one key take turns there ([`Config::lock_folder`]).
///
/// # Errors
/// [`Error::Config`] when a file that is named is not there, when one cannot be understood, and when neither a folder is
/// named nor `data` known; [`Error::Io`] when one cannot be read.
pub fn gather(config: Config, data: Option<&Path>, home: &str) -> Result<(Config, PathBuf)> {
    let env_file = env_file(&config)?;
    let config = config.env_file(env_file);
    let dir = folder(&config, data, home)?;
    let file = config_file(&config, &dir)?;
    Ok((config.file(file).lock_folder(data.map(|data| data.join(LOCK_FOLDER))), dir))
}

fn env_file(config: &Config) -> Result<Option<EnvFile>> {
    let Some(named) = config.value(&Key::ENV_FILE) else { return EnvFile::open(ENV_FILE) };
    let missing = || Error::config(format!("{}: no such file (from {})", named.text(), named.origin));
    EnvFile::open(named.text())?.ok_or_else(missing).map(Some)
}

fn folder(config: &Config, data: Option<&Path>, home: &str) -> Result<PathBuf> {
    let named = config.value(&Key::DIR).map(|dir| PathBuf::from(dir.text()));
    named.or_else(|| Some(data?.join(home))).ok_or_else(|| {
        let (flag, variable) = (Key::DIR.flag(), Key::DIR.variable);
        Error::config(format!("there is no home folder to keep things in: name a folder with {flag} or {variable}"))
    })
}

fn config_file(config: &Config, dir: &Path) -> Result<Option<ConfigFile>> {
    let Some(named) = config.value(&Key::CONFIG) else { return ConfigFile::open(dir.join(CONFIG_FILE)) };
    let missing = || Error::config(format!("{}: no such config file", named.text()));
    ConfigFile::open(named.text())?.ok_or_else(missing).map(Some)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with an environment file that is named in place of the `.env` of wherever the tests run.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new(env_file: &str) -> Self {
            let place = Self(tempfile::tempdir().expect("a folder"));
            place.write("env", env_file);
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn text(&self, name: &str) -> String {
            self.path(name).display().to_string()
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("in the folder")).expect("made");
            fs::write(path, text).expect("written");
        }

        fn config(&self) -> Config {
            Config::new().flag(&Key::ENV_FILE, self.text("env"))
        }

        /// As a client with this data folder.
        fn gather(&self, config: Config) -> Result<(Config, PathBuf)> {
            gather(config, Some(&self.path("data")), CLIENT_HOME)
        }
    }

    fn origin(config: &Config, key: &Key) -> String {
        config.value(key).expect("set").origin.to_string()
    }

    #[test]
    fn the_folder_is_the_one_that_is_named_wherever_that_is_and_else_in_the_data_folder() {
        let place = Place::new("");
        assert_eq!(place.gather(place.config()).expect("gathered").1, place.path("data/dstore"));
        let node = gather(place.config(), Some(&place.path("data")), "dstore/node").expect("gathered");
        assert_eq!(node.1, place.path("data/dstore/node"));
        place.write("env", "DSTORE_DIR=in-env-file\n");
        assert_eq!(place.gather(place.config()).expect("gathered").1, Path::new("in-env-file"));
        let env = place.config().env([("DSTORE_DIR", "in-env")].into_iter().collect());
        assert_eq!(gather(env, None, CLIENT_HOME).expect("gathered").1, Path::new("in-env"));
    }

    #[test]
    fn without_a_data_folder_a_folder_must_be_named() {
        let error = gather(Place::new("").config(), None, CLIENT_HOME).expect_err("no folder").to_string();
        assert!(error.contains("--dir or DSTORE_DIR"), "{error}");
    }

    #[test]
    fn the_config_file_is_the_one_that_is_named_and_else_the_folder_s() {
        let place = Place::new("DSTORE_SCHEME=2+4\n");
        place.write("data/dstore/config.toml", "timeout = \"4s\"\nscheme = \"4+2\"\n");
        let (config, _) = place.gather(place.config()).expect("gathered");
        assert_eq!(origin(&config, &Key::TIMEOUT), place.text("data/dstore/config.toml"));
        assert_eq!(origin(&config, &Key::SCHEME), format!("{}:1", place.text("env")));
        place.write("c.toml", "timeout = \"5s\"\n");
        let (config, _) = place.gather(place.config().flag(&Key::CONFIG, place.text("c.toml"))).expect("gathered");
        assert_eq!(origin(&config, &Key::TIMEOUT), place.text("c.toml"));
    }

    #[test]
    fn a_file_that_is_named_must_be_there() {
        let place = Place::new("");
        let refused = |config| {
            let error = place.gather(config).expect_err("not there");
            assert_eq!(error.code(), "config");
            error.to_string()
        };
        let nowhere = place.text("nowhere");
        assert_eq!(refused(place.config().flag(&Key::CONFIG, &nowhere)), format!("{nowhere}: no such config file"));
        let named = Config::new().env([("DSTORE_ENV_FILE", &nowhere)].into_iter().collect());
        assert_eq!(refused(named), format!("{nowhere}: no such file (from DSTORE_ENV_FILE)"));
    }

    #[cfg(feature = "ethereum")]
    #[test]
    fn one_place_in_the_data_folder_is_where_turns_are_taken_whatever_the_folder_is() {
        let place = Place::new("DSTORE_DIR=elsewhere\n");
        let (config, _) = place.gather(place.config()).expect("gathered");
        assert_eq!(config.locks(), Some(&*place.path("data/dstore/locks")));
        let (config, _) = gather(place.config(), None, CLIENT_HOME).expect("gathered");
        assert_eq!(config.locks(), None);
    }
}
