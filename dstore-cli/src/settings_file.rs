//! Writing a config file that the next start reads.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::failure::{Failure, Result};

/// A folder that only this user can read, with all folders above it.
pub(crate) fn create_folder(dir: &Path) -> Result {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| Failure::io(format!("cannot make the folder {}", dir.display()), error))
}

/// Adds settings to the file at `path`, and leaves what is there as it is, comments included. A setting that is there
/// with this value already is not added again; `false`, and nothing is written, when one is there with another.
pub(crate) fn add(path: &Path, settings: &[(&str, &str)]) -> Result<bool> {
    let failed = |error| Failure::io(format!("cannot read {}", path.display()), error);
    let mut text = fs::read_to_string(path).map_err(failed)?;
    // It was read as settings before: that it is no table now means that somebody is at work on it.
    let Ok(there) = text.parse::<toml::Table>() else { return Ok(false) };
    let is = |name: &str, value: &str| there.get(name).and_then(toml::Value::as_str) == Some(value);
    if settings.iter().any(|(name, value)| there.contains_key(*name) && !is(name, value)) {
        return Ok(false);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let missing = settings.iter().filter(|(name, _)| !there.contains_key(*name));
    let lines = missing.map(|(name, value)| (String::from(*name), toml::Value::String((*value).to_owned())));
    text.push_str(&lines.collect::<toml::Table>().to_string());
    replace(path, &text)?;
    Ok(true)
}

/// Writes the settings whole or not at all, over what is there.
pub(crate) fn write(path: &Path, settings: &toml::Table) -> Result {
    replace(path, &settings.to_string())
}

fn replace(path: &Path, text: &str) -> Result {
    let failed = |error| Failure::io(format!("cannot write {}", path.display()), error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_added_beside_what_is_there_and_never_over_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config.toml");
        let text = || fs::read_to_string(&path).expect("there");
        fs::write(&path, "# mine\nledger = \"ethereum\"").expect("written");
        assert!(add(&path, &[("ledger", "ethereum"), ("contract", "0x12")]).expect("added"));
        assert_eq!(text(), "# mine\nledger = \"ethereum\"\ncontract = \"0x12\"\n");
        assert!(!add(&path, &[("chain", "local"), ("contract", "0x13")]).expect("refused"));
        assert_eq!(text(), "# mine\nledger = \"ethereum\"\ncontract = \"0x12\"\n");
    }
}
